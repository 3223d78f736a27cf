"""Rows of the keys' table: grpo. Each option against the formulas of docs/algorithms.md, in two passes over a step's responses."""
import math

from data import BATCH
from harness import check, close, mean, measured, same
from models import STORIES, scaled_stories
from oracle import whiten
from table import row

REFERENCE = 0.7
MOST_TOKENS = 8
DEFAULTS = {"beta": 0.0, "kl_in": "loss", "kl_estimator": None, "use_bias_correction_kl": True, "loss_type": "dapo", "loss_agg_mode": None,
            "importance_sampling_level": "token", "epsilon": 0.2, "epsilon_high": None, "delta": None, "sapo_temperature_pos": 1.0,
            "sapo_temperature_neg": 1.05, "vespo_k_pos": 2.0, "vespo_lambda_pos": 3.0, "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0,
            "scale_rewards": "group", "normalize_advantages": False, "multi_objective_aggregation": "sum_then_normalize", "gamma": 1.0, "mask_truncated_completions": False}
AGGREGATIONS = {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dr_grpo": "seq-mean-token-sum-norm", "luspo": "seq-mean-token-sum",
                "sapo": "seq-mean-token-mean", "gmpo": "seq-mean-token-mean"}


def deviation(values):
    return math.sqrt(sum((x - mean(values)) ** 2 for x in values) / (len(values) - 1))


def kl_of(kind, l, r):
    return {"k1": l - r, "k2": 0.5 * (l - r) ** 2, "k3": math.exp(r - l) - 1 - (r - l), "abs": abs(l - r)}[kind]


def advantages(o, algorithm, rewards, samples=2):
    """A list for each response, of its tokens'. rewards: likewise."""
    if algorithm == "reinforce_plus_plus":
        found = [[sum(o["gamma"] ** (later - t) * row[later] for later in range(t, len(row))) for t in range(len(row))] for row in rewards]
        whitened = iter(whiten([x for row in found for x in row], True))
        return [[next(whitened) for _ in row] for row in found]
    sums = [sum(row) for row in rewards]
    if o["multi_objective_aggregation"] == "normalize_then_sum":
        # Of one judge of weight 1 and no KL in the reward.
        groups = [sums[i : i + samples] for i in range(0, len(sums), samples)]
        sums = [(x - mean(group)) / (deviation(group) + 1e-4) for group in groups for x in group]
        return [[(x - mean(sums)) / (deviation(sums) + 1e-4)] * len(row) for x, row in zip(sums, rewards)]
    groups = [sums[i : i + samples] for i in range(0, len(sums), samples)]
    if algorithm == "rloo":
        found = [x - mean(group[:i] + group[i + 1 :]) for group in groups for i, x in enumerate(group)]
        found = [(x - mean(found)) / (deviation(found) + 1e-4) for x in found] if o["normalize_advantages"] else found
    else:
        scale = {"group": lambda group: deviation(group) + 1e-4, "batch": lambda _: deviation(sums) + 1e-4, "none": lambda _: 1.0}[o["scale_rewards"]]
        found = [(x - mean(group)) / scale(group) for group in groups for x in group]
    return [[x] * len(row) for x, row in zip(found, rewards)]


def surrogate(o, x, a, l):
    """Of one log ratio, advantage and log-probability."""
    ratio, high = math.exp(x), o["epsilon_high"] or o["epsilon"]
    if o["loss_type"] == "cispo":
        return -min(ratio, high) * a * l
    if o["loss_type"] == "sapo":
        t = o["sapo_temperature_pos" if a > 0 else "sapo_temperature_neg"]
        return -4 / t / (1 + math.exp(-t * (ratio - 1))) * a
    if o["loss_type"] == "vespo":
        side = "pos" if a >= 0 else "neg"
        k, decay = o["vespo_k_" + side], o["vespo_lambda_" + side]
        return -math.exp(decay + k * x - decay * ratio) * a * l
    if o["loss_type"] == "gmpo":
        return -ratio * a
    return -min(min(ratio, o["delta"] or math.inf) * a, min(max(ratio, 1 - o["epsilon"]), 1 + high) * a)


def policy_loss(o, responses):
    """responses: (new, old, reference, advantages), those that count; o["all"]: how many there are with the others."""
    tokens = sum(len(old) for _, old, _, _ in responses)
    total = 0.0
    for new, old, reference, a in responses:
        x, n = [l - b for l, b in zip(new, old)], len(old)
        held = x
        if o["loss_type"] == "gmpo":
            high = o["epsilon_high"] or o["epsilon"]
            held = [min(d, high) if b > 0 else max(d, -o["epsilon"]) for d, b in zip(x, a)]
        level = {"vespo": "sequence_sum", "gmpo": "sequence"}.get(o["loss_type"], o["importance_sampling_level"])
        at = lambda level, own, all: {"token": own, "sequence_sum": sum(all)}.get(level, sum(all) / n)
        losses = [surrogate(o, at(level, held[t], held), a[t], new[t]) for t in range(n)]
        if o["beta"] > 0 and o["kl_in"] == "loss":
            ratio = [math.exp(at(o["importance_sampling_level"], d, x)) if o["use_bias_correction_kl"] else 1.0 for d in x]
            losses = [v + o["beta"] * kl_of(o["kl_estimator"] or "k3", *pair) * c for v, pair, c in zip(losses, zip(new, reference), ratio)]
        aggregation = o["loss_agg_mode"] or AGGREGATIONS.get(o["loss_type"], "batch-token-mean")
        total += sum(losses) / {"seq-mean-token-mean": o["all"] * n, "seq-mean-token-sum": o["all"],
                                "seq-mean-token-sum-norm": o["all"] * MOST_TOKENS}.get(aggregation, max(tokens, 1))
    return total


def expect_losses(t, it, algorithm, options):
    """Asserts the loss of two passes: the first by the policy that sampled, the second by the one that the first learnt."""
    o = {**DEFAULTS, **options}
    if algorithm == "rloo":
        o = {**o, "beta": options.get("beta", 0.05), "kl_in": options.get("kl_in", "reward"), "loss_type": options.get("loss_type", "grpo"),
             "importance_sampling_level": options.get("importance_sampling_level", "sequence_sum")}
    samples = [s for s in it.samples if s["step"] == 1]
    o["all"] = len(samples)
    log_probs = lambda model: [measured(model, s["prompt"], s["response"], 1.0)["logprobs"] for s in samples]
    old = log_probs(STORIES)
    check(mean(map(len, old)) == it.first["response_length"], "the text of a response gives other tokens than were sampled")
    reference = log_probs(scaled_stories(REFERENCE)) if o["beta"] > 0 else old
    rewards = [[0.0] * len(row) for row in old]
    if o["beta"] > 0 and o["kl_in"] == "reward":
        rewards = [[-o["beta"] * kl_of(o["kl_estimator"] or "k1", *pair) for pair in zip(a, b)] for a, b in zip(old, reference)]
    for row, s in zip(rewards, samples):
        row[-1] += s["score"]
    found = advantages(o, algorithm, rewards)
    counts = [i for i, s in enumerate(samples) if not (o["mask_truncated_completions"] and s["finish"] == "length")]
    one_pass = t.at(t.value, grpo__num_iterations=1) if it is t.other else t.without(grpo__num_iterations=1)
    new = log_probs(one_pass.path("final"))
    losses = [policy_loss(o, [(policy[i], old[i], reference[i], found[i]) for i in counts]) for policy in (old, new)]
    close(one_pass.first["loss"], losses[0], 1e-3, 1e-5, "the first loss")
    close(it.first["loss"], mean(losses), 1e-3, 2e-5, "the mean of both losses")
    return losses


def grpo_row(key, value, also=None, base="grpo"):
    """A row of a key that decides what is learnt: both runs against the formulas, which differ."""
    more = {name.split(".")[1]: what for name, what in (also or {}).items() if name.startswith("grpo.")}

    def test(t):
        losses = expect_losses(t, t.base, base, more)
        others = expect_losses(t, t.other, base, {**more, key.split(".")[1]: value})
        check(losses != others, f"the losses are {losses} both times")

    also = {"grpo.num_iterations": 2, **(also or {})}
    if also.get("grpo.beta") or key == "grpo.beta" or base == "rloo":
        row(key, base, value, lambda: {**also, "reference": scaled_stories(REFERENCE)})(test)
    else:
        row(key, base, value, also)(test)


FAST = {"optimizer.learning_rate": 3e-3}  # the second pass clips
KL = {"grpo.beta": 0.5}
grpo_row("grpo.beta", 2.0, KL)
grpo_row("grpo.kl_in", "reward", KL)
grpo_row("grpo.kl_estimator", "k2", KL)
grpo_row("grpo.use_bias_correction_kl", False, {**KL, **FAST})
grpo_row("grpo.loss_type", "luspo")
grpo_row("grpo.loss_agg_mode", "seq-mean-token-sum")
grpo_row("grpo.importance_sampling_level", "sequence", FAST)
grpo_row("grpo.epsilon", 0.03, FAST)
grpo_row("grpo.epsilon_high", 0.6, {**FAST, "grpo.epsilon": 0.05})
grpo_row("grpo.delta", 1.1, {**FAST, "grpo.beta": 20.0, "grpo.epsilon": 0.05})
grpo_row("grpo.sapo_temperature_pos", 3.0, {**FAST, "grpo.loss_type": "sapo"})
grpo_row("grpo.sapo_temperature_neg", 3.0, {**FAST, "grpo.loss_type": "sapo"})
grpo_row("grpo.vespo_k_pos", 0.5, {"grpo.loss_type": "vespo"})
grpo_row("grpo.vespo_lambda_pos", 1.0, {"grpo.loss_type": "vespo"})
grpo_row("grpo.vespo_k_neg", 0.5, {"grpo.loss_type": "vespo"})
grpo_row("grpo.vespo_lambda_neg", 1.0, {"grpo.loss_type": "vespo"})
grpo_row("grpo.scale_rewards", "batch")
grpo_row("grpo.multi_objective_aggregation", "normalize_then_sum")
grpo_row("grpo.mask_truncated_completions", True, {"generation.stop": ["was"]})
grpo_row("grpo.normalize_advantages", True, base="rloo")
grpo_row("grpo.gamma", 0.5, base="reinforce_plus_plus")

STILL = {"optimizer.learning_rate": 1e-12}


@row("grpo.num_iterations", "grpo", 3, STILL)
def _(t):
    # Three times the same gradient, of which the loss is the mean.
    same((t.base.optimizer()["step"][0], t.other.optimizer()["step"][0]), (1, 3), "the updates of a step")
    close(t.other.first["loss"], t.base.first["loss"], 1e-5, 1e-7, what="loss")


@row("grpo.steps_per_generation", "grpo", 2, STILL)
def _(t):
    same((t.base.optimizer()["step"][0], t.other.optimizer()["step"][0]), (1, 2), "the updates of a step")
    # Each minibatch divides by its share of the step's tokens: their losses are together twice the whole's.
    close(t.other.first["loss"], t.base.first["loss"], 1e-5, 1e-7, what="loss")
    same(len([s for s in t.other.samples if s["step"] == 1]), 2 * BATCH, "the number of responses")


SHORT = {**STILL, "generation.max_new_tokens": 1, "generation.temperature": 1.5, "roles.reward": [{"regex": "[aeo]"}], "samples.count": 8}


@row("grpo.top_entropy_quantile", "flash_reinforce", 0.4, SHORT)
def _(t):
    # Responses of one token, whose entropy is that of the prompt alone: what steps of one prompt each say, since nothing is learnt.
    entropies = [found["entropy"] for found in t.without(data__batch=1, steps=BATCH).rows for _ in range(2)]
    for it, share in ((t.base, 1.0), (t.other, 0.4)):
        scores = [s["score"] for s in it.samples if s["step"] == 1]
        ascending = sorted(entropies)
        place = (1 - share) * (len(ascending) - 1)
        low, high = ascending[int(place)], ascending[min(int(place) + 1, len(ascending) - 1)]
        chosen = [x - mean(scores) for x, e in zip(scores, entropies) if e >= low + (place - int(place)) * (high - low) - 1e-6]
        check((len(chosen) < len(scores)) == (share < 1) and len(set(scores)) > 1, f"{len(chosen)} of {scores} are chosen")
        close(it.first["loss"], -sum(chosen) / len(scores), 1e-5, 1e-7, "loss")
        close(it.first["entropy"], mean(entropies), 1e-5, what="entropy, of all tokens")
    check(t.base.first["loss"] != t.other.first["loss"], "the losses are the same")
