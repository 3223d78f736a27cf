"""The closed forms of docs/algorithms.md once more, in Python: losses of pairs and labels, AdamW, and PPO up to its second update."""
import math

from data import BATCH, COMPLETIONS, LABELLED, PAIRS, completion_ids
from harness import check, mean, measured
from models import STORIES, WIDTH, hidden, ids, log_probs, logits, token_log_probs, value


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > -30 else x


class Pair:
    """Log-probabilities of both sides of a pair under policy and reference, token by token."""

    def __init__(self, row, chosen_tokens=None, rejected_tokens=None):
        self.last = ids(row["prompt"])[-1]
        self.chosen, self.rejected = completion_ids(row["chosen"])[:chosen_tokens], completion_ids(row["rejected"])[:rejected_tokens]
        self.nw, self.nl = len(self.chosen), len(self.rejected)

    def sums(self, model, alpha=1.0):
        """L of both sides; tokens past the shorter one's length count alpha."""
        shorter = min(self.nw, self.nl)
        both = (token_log_probs(model, self.last, side) for side in (self.chosen, self.rejected))
        return [sum(side[:shorter]) + alpha * sum(side[shorter:]) for side in both]

    def weight(self):
        """WPO's: how likely the policy makes both completions, against how likely it makes what it draws."""
        product = 1.0
        for side in (self.chosen, self.rejected):
            terms = []
            for before, token in zip([self.last, *side], side):
                row = log_probs("policy", before)
                terms.append(row[token] - math.log(sum(math.exp(2 * x) for x in row)))
            product *= math.exp(mean(terms))
        return product


DEFAULTS = {"loss_type": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5, "ld_alpha": 1.0,
            "discopop_tau": 0.05, "simpo_gamma": 0.5, "use_weighting": False, "reference_free": False, "same_reference": False}


def divergence_score(o, u):
    kind, a = o["f_divergence_type"], o["f_alpha_divergence_coef"]
    return {"reverse_kl": lambda: u, "forward_kl": lambda: -math.exp(-u), "js_divergence": lambda: log_sigmoid(u),
            "alpha_divergence": lambda: math.exp((a - 1) * u) / (a - 1)}[kind]()


def dpo_pair_loss(o, kind, lw, ll, rw, rl, nw, nl):
    b, e = o["beta"], o["label_smoothing"]
    c, j = lw - rw, ll - rl
    fc, fj = divergence_score(o, c), divergence_score(o, j)
    z = b * (fc - fj)
    smooth = lambda x: -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)
    if kind == "discopop":
        m = sigmoid(z / o["discopop_tau"])
        return -log_sigmoid(z) * (1 - m) + math.exp(-z) * m
    if kind == "exo_pair":
        return sigmoid(z) * (log_sigmoid(z) - math.log(1 - e)) + sigmoid(-z) * (log_sigmoid(-z) - math.log(e))
    if kind == "orpo":
        log_odds = lambda x: x - math.log1p(-math.exp(x))
        return -b * log_sigmoid(log_odds(lw / nw) - log_odds(ll / nl))
    return {"sigmoid": lambda: smooth(z), "hinge": lambda: max(0.0, 1 - z), "ipo": lambda: (fc / nw - fj / nl - 1 / (2 * b)) ** 2,
            "nca_pair": lambda: -log_sigmoid(b * fc) - 0.5 * log_sigmoid(-b * fc) - 0.5 * log_sigmoid(-b * fj),
            "robust": lambda: (-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e),
            "bco_pair": lambda: -log_sigmoid(b * fc) - log_sigmoid(-b * fj),
            "sppo_hard": lambda: (fc - 1 / (2 * b)) ** 2 + (fj + 1 / (2 * b)) ** 2,
            "apo_zero": lambda: 1 - sigmoid(b * c) + sigmoid(b * j), "apo_down": lambda: sigmoid(b * c) + 1 - sigmoid(z),
            "sigmoid_norm": lambda: -log_sigmoid(b * (fc / nw - fj / nl)), "cpo": lambda: smooth(b * (lw - ll)),
            "simpo": lambda: smooth(b * (lw / nw - ll / nl) - o["simpo_gamma"])}[kind]()


def dpo_loss(o, pairs, sums, asked, weights):
    """The loss of a batch from its log-probabilities, summed over completions."""
    kind, b, e = o["loss_type"], o["beta"], o["label_smoothing"]
    smooth = lambda x: -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)
    if kind == "sft":
        return -sum(w for w, _ in sums) / sum(pair.nw for pair in pairs)
    if kind == "aot":
        return mean(smooth(b * (x - y)) for x, y in zip(sorted(w - l for w, l in sums), sorted(w - l for w, l in asked)))
    if kind == "aot_unpaired":
        sides = zip(sorted(s[0] - r[0] for s, r in zip(sums, asked)), sorted(s[1] - r[1] for s, r in zip(sums, asked)))
        return mean(smooth(b * (x - y)) for x, y in sides)
    return mean(w * dpo_pair_loss(o, kind, *s, *r, pair.nw, pair.nl) for w, s, r, pair in zip(weights, sums, asked, pairs))


def dpo(pairs=None, **options):
    """Loss, metrics and slopes of the first step of DPO on PAIRS, of a policy and a reference that are tables."""
    o = {**DEFAULTS, **options}
    pairs = pairs or [Pair(row) for row in PAIRS[:BATCH]]
    sums = [pair.sums("policy", o["ld_alpha"]) for pair in pairs]
    none = [(0.0, 0.0)] * len(pairs)
    asked = none if o["reference_free"] else [pair.sums("policy" if o["same_reference"] else "reference", o["ld_alpha"]) for pair in pairs]
    weights = [pair.weight() if o["use_weighting"] else 1.0 for pair in pairs]
    loss = lambda: dpo_loss(o, pairs, sums, asked, weights)
    slopes, value_there = [], loss()
    for i, pair in enumerate(pairs):
        shorter = min(pair.nw, pair.nl)
        for side, tokens in ((0, pair.chosen), (1, pair.rejected)):
            slope = derivative(loss, sums[i], side)
            slopes += [(a, b, slope * (1 if t < shorter else o["ld_alpha"])) for t, (a, b) in enumerate(zip([pair.last, *tokens], tokens))]
    b = o["beta"]
    logps = {"logps/chosen": mean(s[0] for s in sums), "logps/rejected": mean(s[1] for s in sums)}
    if o["loss_type"] in ("simpo", "orpo"):  # their rewards are of means over a completion's tokens
        sums, asked = [(s[0] / pair.nw, s[1] / pair.nl) for s, pair in zip(sums, pairs)], none
    margins = [b * ((s[0] - r[0]) - (s[1] - r[1])) for s, r in zip(sums, asked)]
    metrics = {**logps, "loss": value_there, "rewards/margins": mean(margins), "rewards/accuracies": mean(m > 0 for m in margins),
               "rewards/chosen": mean(b * (s[0] - r[0]) for s, r in zip(sums, asked)), "rewards/rejected": mean(b * (s[1] - r[1]) for s, r in zip(sums, asked))}
    return metrics, slopes


def derivative(function, place, i, step=1e-4):
    middle = place[i]
    place[i] = middle + step
    above = function()
    place[i] = middle - step
    below = function()
    place[i] = middle
    return (above - below) / (2 * step)


def head_row_gradient(slopes, token):
    """Of one row of a table model's head: slopes are (token before, token, derivative of the loss by its log-probability)."""
    total = [0.0] * WIDTH
    for before, it, slope in slopes:
        factor = slope * ((it == token) - math.exp(log_probs("policy", before)[token]))
        total = [a + factor * x for a, x in zip(total, hidden(before))]
    return total


def kto(loss_type="kto", beta=0.1, desirable_weight=1.0, undesirable_weight=1.0, cut=None, rows=None):
    """Loss, KL and slopes of the first step of KTO on LABELLED, or on rows. cut: how many tokens a completion after this prompt keeps."""
    rows = rows or LABELLED[:BATCH]
    cut = cut or (lambda prompt: None)

    def difference(prompt, completion):
        tokens, before = completion_ids(completion)[: cut(prompt)], ids(prompt)[-1]
        return sum(token_log_probs("policy", before, tokens)) - sum(token_log_probs("reference", before, tokens))

    z = max(0.0, mean(difference(row["prompt"], rows[i - 1]["completion"]) for i, row in enumerate(rows)))
    if loss_type == "apo_zero_unpaired":
        z = 0.0
    losses, slopes = [], []
    for row in rows:
        u = [difference(row["prompt"], row["completion"])]
        if row["label"]:
            loss = lambda: desirable_weight * (1 - sigmoid(beta * (u[0] - z)))
        else:
            loss = lambda: undesirable_weight * (1 - sigmoid(beta * (z - u[0])))
        tokens = completion_ids(row["completion"])[: cut(row["prompt"])]
        slope = derivative(loss, u, 0) / len(rows)
        slopes += [(a, b, slope) for a, b in zip([ids(row["prompt"])[-1], *tokens], tokens)]
        losses.append(loss())
    return {"loss": mean(losses), "kl": z}, slopes


def sft(rows=None, loss_type="nll", smoothing=0.0):
    """Loss of next-token training on rows, each the token before and the tokens that are learnt."""
    rows = rows or [(ids(row["prompt"])[-1], completion_ids(row["completion"])) for row in COMPLETIONS[:BATCH]]
    losses = []
    for before, tokens in rows:
        for a, b in zip([before, *tokens], tokens):
            row = log_probs("policy", a)
            nll = -row[b] * (math.exp(row[b]) if loss_type == "dft" else 1.0)
            losses.append((1 - smoothing) * nll - smoothing * mean(row))
    return mean(losses)


def adamw(before, first, second, step, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
    """A parameter after an update, from its moments after it."""
    scaled = (first / (1 - beta1**step)) / (math.sqrt(second / (1 - beta2**step)) + epsilon)
    return before * (1 - learning_rate * weight_decay) - learning_rate * scaled


def whiten(values, shift_mean):
    m = mean(values)
    deviation = math.sqrt(sum((x - m) ** 2 for x in values) / (len(values) - 1) + 1e-8)
    return [(x - m) / deviation + (0 if shift_mean else m) for x in values]


class Experience:
    """The first step of a PPO run, from its samples: rewards, values, advantages and returns, a list a response."""

    def __init__(self, run, reference, temperature=1.0, kl_coef=0.5, kl_estimator="k1", gamma=1.0, lam=0.95, whiten_rewards=False, critic="critic"):
        samples = [row for row in run.samples if row["step"] == 1]
        policy = [measured(STORIES, s["prompt"], s["response"], temperature) for s in samples]
        self.samples, self.tokens = samples, [m["ids"] for m in policy]
        check(mean(map(len, self.tokens)) == run.first["response_length"], "the text of a response gives other tokens than were sampled")
        self.old = [m["logprobs"] for m in policy]
        asked = [measured(reference, s["prompt"], s["response"], temperature)["logprobs"] for s in samples]
        self.before = [[ids(s["prompt"])[-1], *tokens][:-1] for s, tokens in zip(samples, self.tokens)]
        self.values = [[value(critic, token) for token in row] for row in self.before]
        estimate = (lambda d: d) if kl_estimator == "k1" else (lambda d: math.exp(-d) - 1 + d)
        self.kl = [[estimate(o - r) for o, r in zip(*pair)] for pair in zip(self.old, asked)]
        self.rewards = [[-kl_coef * k for k in row] for row in self.kl]
        for row, s in zip(self.rewards, samples):
            row[-1] += s["score"]
        if whiten_rewards:
            self.rewards = self._like(whiten(self.flat(self.rewards), False))
        self.advantages = [self._gae(r, v, gamma, lam) for r, v in zip(self.rewards, self.values)]
        self.returns = [[a + v for a, v in zip(*pair)] for pair in zip(self.advantages, self.values)]
        self.whitened = self._like(whiten(self.flat(self.advantages), True))

    @staticmethod
    def flat(rows):
        return [x for row in rows for x in row]

    def _like(self, values):
        values = iter(values)
        return [[next(values) for _ in row] for row in self.tokens]

    @staticmethod
    def _gae(rewards, values, gamma, lam):
        last, out = 0.0, []
        for t in reversed(range(len(rewards))):
            after = values[t + 1] if t + 1 < len(values) else 0.0
            last = rewards[t] + gamma * after - values[t] + gamma * lam * last
            out.append(last)
        return out[::-1]

    def explained(self):
        variance = lambda x: mean((a - mean(x)) ** 2 for a in x)
        returns = self.flat(self.returns)
        return 1 - variance([g - v for g, v in zip(returns, self.flat(self.values))]) / variance(returns)

    def value_loss(self):
        """Of the first update, in which nothing is clipped."""
        return 0.5 * mean((v - g) ** 2 for v, g in zip(self.flat(self.values), self.flat(self.returns)))

    def head_gradient(self, vf_coef=0.1, responses=None):
        """Of the critic's scalar head, where nothing is clipped; of the minibatch of these responses."""
        chosen = range(len(self.values)) if responses is None else responses
        part = lambda rows: self.flat(rows[i] for i in chosen)
        total, n = [0.0] * WIDTH, len(part(self.values))
        for v, g, token in zip(part(self.values), part(self.returns), part(self.before)):
            total = [a + vf_coef * (v - g) / n * x for a, x in zip(total, hidden(token))]
        return total

    def policy_update(self, model, temperature=1.0, cliprange=0.2):
        """Loss, share clipped, approximate KL and mean ratio of an update by the policy in a directory."""
        new = [measured(model, s["prompt"], s["response"], temperature)["logprobs"] for s in self.samples]
        losses, clipped, differences = [], [], []
        for l, o, a in zip(self.flat(new), self.flat(self.old), self.flat(self.whitened)):
            ratio = math.exp(l - o)
            plain, bounded = -a * ratio, -a * min(max(ratio, 1 - cliprange), 1 + cliprange)
            losses.append(max(plain, bounded))
            clipped.append(bounded > plain)
            differences.append(l - o)
        return {"loss/policy_avg": mean(losses), "policy/clipfrac_avg": mean(clipped), "policy/approxkl_avg": mean(0.5 * d * d for d in differences),
                "val/ratio": mean(math.exp(d) for d in differences)}


def mean_logit(pairs):
    return mean(mean(logits("policy", token)) for pair in pairs for token in [pair.last, *pair.chosen][:-1])
