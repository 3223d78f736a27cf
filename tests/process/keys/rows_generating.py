"""Rows of the keys' table: generation and ppo."""
from itertools import combinations
from operator import mul

from data import BATCH, PROMPTS, recipe, write_rows
from harness import check, close, mean, once, run, same, troupe
from models import STORIES, hidden, ids, scaled_stories, table_model
from oracle import Experience
from table import row

# ---- generation


def responses(run):
    """Responses of the first step by prompt, with how they ended."""
    return {s["prompt"]: (s["response"], s["finish"]) for s in run.samples if s["step"] == 1}


def greedy(prompt, tokens=8):
    arguments = ("generate", "--greedy", "--model", STORIES, "--max-new-tokens", str(tokens), "--prompt", prompt)
    text = once(arguments, lambda: troupe(*arguments))
    return text[:-1] if text.endswith("\n") else text


def becomes_greedy(t):
    found = responses(t.other)
    same(len(found), BATCH, "the number of responses")
    for prompt, (response, _) in found.items():
        check(greedy(prompt).startswith(response) or response.startswith(greedy(prompt)), f"the response is {response!r}, the likeliest {greedy(prompt)!r}")
    check(responses(t.base) != found, "the base is greedy too")


@row("generation.temperature", "sample", 0)
def _(t):
    becomes_greedy(t)
    # Log-probabilities of what learns are at the temperature that was sampled at.
    warm = run({**recipe("ppo"), "generation.temperature": 0.6, "ppo.num_ppo_epochs": 2})
    once_only = run({**recipe("ppo"), "generation.temperature": 0.6})
    first_update(once_only, temperature=0.6)
    second = experience(warm, temperature=0.6).policy_update(once_only.path("final"), 0.6)
    close(warm.first["policy/approxkl_avg"], 0.5 * second["policy/approxkl_avg"], 1e-3, 1e-6, "policy/approxkl_avg")


@row("generation.top_k", "sample", 1)
def _(t):
    becomes_greedy(t)
    same(t.other.first["val/kept_tokens"], 1, "val/kept_tokens")


row("generation.top_p", "sample", 1e-6)(becomes_greedy)
row("generation.min_p", "sample", 1.0)(becomes_greedy)


@row("generation.max_new_tokens", "sample", 5)
def _(t):
    same(t.base.first["response_length"], 8, "response_length")
    same(t.other.first["response_length"], 5, "response_length")
    # A token depends on what stands before it and on the place of its draw, so that a shorter response is the beginning of the longer one.
    for prompt, (response, finish) in responses(t.other).items():
        check(responses(t.base)[prompt][0].startswith(response) and finish == "length", f"{response!r} does not begin the longer response")
    # The stories model has 512 positions, and this prompt and the token that begins it leave room for so many.
    room = 512 - 1 - len(ids(PROMPTS[0]["prompt"]))
    path, says = write_rows("one-prompt", PROMPTS[:1]), "generation.max_new_tokens is %d, and the model has 512 positions: responses to 1 of 1 prompts"
    full, cut = (t.at(n, data__prompts=path, data__batch=1, generation__stop_token=None) for n in (room, room + 1))
    same((full.first["response_length"], cut.first["response_length"]), (room, room), "response_length")
    check(says % (room + 1) in cut.out and f"after {room} tokens" in cut.out and "positions" not in full.out, f"the run says {cut.out!r}, {full.out!r}")
    check(says % (room + 1) in cut.text("logs", "controller.log"), "the log does not say so")


@row("generation.response_length", "sample", 5, {"generation.max_new_tokens": None})
def _(t):
    # TRL's name of the same: the same responses.
    with_name = {key: what for key, what in t.recipe((5,)).items() if key != "generation.max_new_tokens"}
    t.used = True
    named = run(with_name)
    same(named.first["response_length"], 5, "response_length")
    del with_name["generation.response_length"]
    same(responses(named), responses(run({**with_name, "generation.max_new_tokens": 5})), "the responses")


@row("generation.samples", "sample", 3)
def _(t):
    same(len([s for s in t.base.samples if s["step"] == 1]), BATCH, "the number of responses")
    same(len([s for s in t.other.samples if s["step"] == 1]), 3 * BATCH, "the number of responses")
    texts = [s["response"] for s in t.other.samples]
    check(len(set(texts)) > BATCH, "a prompt's responses are all the same")


STOP = ids(" the")[0]


@row("generation.stop_ids", "sample", [STOP], {"generation.max_new_tokens": 32})
def _(t):
    stopped = 0
    for prompt, (response, finish) in responses(t.other).items():
        whole = responses(t.base)[prompt][0]
        tokens = ids(whole)
        if STOP in tokens:
            same(ids(response), tokens[: tokens.index(STOP) + 1], "the tokens of a response that stops")
            same(finish, "stop", "how the response ended")
            stopped += 1
        else:
            same((response, finish), (whole, "length"), "a response without the id")
    check(stopped > 0, "no response has the id")


@row("generation.stop", "ppo", ["e w", "zzz"], {"generation.max_new_tokens": 32, "ppo.missing_eos_penalty": 0.5, "reference": None})
def _(t):
    stopped = 0
    for prompt, (response, finish) in responses(t.other).items():
        whole = responses(t.base)[prompt][0]
        if "e w" in whole:
            # The text crosses a border of tokens: the token that ends it is the last, and stays.
            check(whole.startswith(response) and "e w" in response and "e w" not in response[:-1].rsplit(" ", 1)[0], f"{response!r} of {whole!r}")
            same(finish, "stop", "how the response ended")
            stopped += 1
        else:
            same((response, finish), (whole, "length"), "a response without the text")
    check(0 < stopped < BATCH, f"{stopped} responses have the text")
    # What the recipe ends is no response without an end.
    plain = t.at(t.value, ppo__missing_eos_penalty=None)
    for one, other in zip(t.other.samples, plain.samples):
        close(one["score"], other["score"] - (0.5 if one["finish"] == "length" else 0), what="the score, less the penalty for no end")


@row("generation.stop_token", "ppo", None, {"generation.max_new_tokens": 160, "reference": None})
def _(t):
    check(t.other.first["val/num_eos_tokens"] > 0, "no response ends")
    ended = sum(finish == "eos" or finish == "stop" for _, finish in responses(t.base).values())
    same(t.base.first["val/num_eos_tokens"], ended, "the end-of-sequence tokens, one a response that ends")
    check(ended > 0 and t.base.first["response_length"] < t.other.first["response_length"] == 160, "no response is shorter")


# ---- ppo

REFERENCE = 0.7  # how the reference's last norm is scaled: see data.recipe


def experience(run, **options):
    return Experience(run, scaled_stories(REFERENCE), **options)


def first_update(run, vf_coef=0.1, **options):
    """Asserts what a step says of its experience, and the critic's first update."""
    e = experience(run, **options)
    metrics = run.first
    kl_coef = options.get("kl_coef", 0.5)
    kl = mean(sum(row) for row in e.kl)
    close(metrics["objective/kl"], kl, 1e-4, 1e-5, "objective/kl")
    close(metrics["objective/non_score_reward"], -kl_coef * kl, 1e-4, 1e-5, "objective/non_score_reward")
    close(metrics["objective/scores"], mean(s["score"] for s in e.samples), what="objective/scores")
    close(metrics["objective/rlhf_reward"], metrics["objective/non_score_reward"] + metrics["objective/scores"], what="objective/rlhf_reward")
    close(metrics["loss/value_avg"], e.value_loss(), 1e-4, what="loss/value_avg")
    close(metrics["val/explained_var"], e.explained(), 1e-4, what="val/explained_var")
    moment = run.optimizer("critic")["exp_avg"][-96:]
    expected = [(1 - 0.9) * x for x in e.head_gradient(vf_coef)]
    largest = max(map(abs, expected))
    for a, b in zip(moment, expected):
        close(a, b, 1e-3, 1e-3 * largest, "the gradient of the critic's head")
    return e


def ppo_row(key, value, also=None, **beyond):
    """A row of a key that decides what is learnt from: both runs against the formulas."""
    base = {name.split(".")[1]: what for name, what in (also or {}).items() if name.startswith("ppo.")}

    def test(t):
        first_update(t.base, **base)
        first_update(t.other, **{**base, key.split(".")[1]: value})

    row(key, "ppo", value, also)(test)


ppo_row("ppo.kl_coef", 2.0)
ppo_row("ppo.kl_estimator", "k3")
ppo_row("ppo.gamma", 0.4, {"ppo.lam": 0.8})
ppo_row("ppo.lam", 0.3, {"ppo.gamma": 0.9})
ppo_row("ppo.whiten_rewards", True)


@row("ppo.vf_coef", "ppo", 0.6)
def _(t):
    first_update(t.other, vf_coef=0.6)
    close(t.other.first["grad_norm/critic"], 6 * t.base.first["grad_norm/critic"], what="grad_norm/critic")
    close(t.other.first["loss/value_avg"], t.base.first["loss/value_avg"], what="loss/value_avg, which is without vf_coef")


TWICE = {"ppo.num_ppo_epochs": 2}


def two_updates(t, run, **options):
    """Asserts the policy's part of two updates: in the first new and old are the same, the second begins with what one epoch learnt."""
    once_only = t.without(ppo__num_ppo_epochs=1)
    e = experience(run)
    second = e.policy_update(once_only.path("final"), **options)
    first = {"loss/policy_avg": mean(-a for a in e.flat(e.whitened)), "policy/clipfrac_avg": 0, "policy/approxkl_avg": 0, "val/ratio": 1}
    for name, what in second.items():
        close(run.first[name], 0.5 * (first[name] + what), 1e-3, 1e-5, name)
    check(second["loss/policy_avg"] < first["loss/policy_avg"], "an update does not lower the policy's loss")
    return second


@row("ppo.cliprange", "ppo", 0.03, TWICE)
def _(t):
    wide, narrow = two_updates(t, t.base, cliprange=0.2), two_updates(t, t.other, cliprange=0.03)
    check(narrow["policy/clipfrac_avg"] > wide["policy/clipfrac_avg"], "both ranges clip as much")


@row("ppo.cliprange_value", "ppo", 0.002, lambda: {**TWICE, "roles.critic.model": table_model("zero")})
def _(t):
    # A head of zeros gives its trunk no gradient: after one update the values are the new head's, of the states that were there before.
    once_only = t.without(ppo__num_ppo_epochs=1)
    e, new = experience(once_only, critic="zero"), once_only.weights("checkpoints", "step-000001", "critic")["score.weight"]
    values, returns = [sum(map(mul, new, hidden(token))) for token in e.flat(e.before)], e.flat(e.returns)
    shares = []
    for it, most in ((t.base, 0.2), (t.other, 0.002)):
        held = [min(max(v, -most), most) for v in values]
        losses = [0.5 * max((v - g) ** 2, (h - g) ** 2) for v, h, g in zip(values, held, returns)]
        clipped = mean((h - g) ** 2 > (v - g) ** 2 for v, h, g in zip(values, held, returns))
        close(it.first["loss/value_avg"], 0.5 * (e.value_loss() + mean(losses)), what="loss/value_avg")
        close(it.first["val/clipfrac_avg"], 0.5 * clipped, what="val/clipfrac_avg")
        shares.append(clipped)
    check(shares[0] == 0 < shares[1], f"the shares clipped are {shares}")


@row("ppo.missing_eos_penalty", "ppo", 0.75, {"generation.max_new_tokens": 82, "generation.stop_token": "eos", "reference": None, "data.batch": 8})
def _(t):
    def scores(run):
        return {s["prompt"]: (s["score"], s["finish"]) for s in run.samples if s["step"] == 1}

    base, other = scores(t.base), scores(t.other)
    endings = {finish for _, finish in base.values()}
    check(len(endings) == 2 and "length" in endings, f"responses all end by {endings}")
    for prompt, (score, finish) in base.items():
        close(other[prompt][0], score - (0.75 if finish == "length" else 0), what=f"the score of a response that ends by {finish}")
    # What a stop id ended has its end, and no EOS.
    base, other = scores(t.without(generation__stop_ids=[STOP])), scores(t.at(0.75, generation__stop_ids=[STOP]))
    check("stop" in {finish for _, finish in base.values()}, "no response ends by the stop id")
    for prompt, (score, finish) in base.items():
        close(other[prompt][0], score - (0.75 if finish == "length" else 0), what=f"the score of a response that ends by {finish}")
    base = scores(t.base)
    missing = mean(finish == "length" for _, finish in base.values())
    close(t.other.first["objective/scores"], t.base.first["objective/scores"] - 0.75 * missing, what="objective/scores")


def updates_made(run):
    return run.optimizer()["step"][0], run.optimizer("critic")["step"][0]


@row("ppo.target_kl", "ppo", 1e-12, {"ppo.num_ppo_epochs": 3})
def _(t):
    # The first epoch's policy is the one that sampled; the second has moved, and is the actor's last. The critic takes all.
    same(t.base.first["policy/epochs"], 3, "policy/epochs")
    same(t.other.first["policy/epochs"], 2, "policy/epochs")
    steps = len(t.other.rows)
    same(updates_made(t.base), (3 * steps, 3 * steps), "the number of updates")
    same(updates_made(t.other), (2 * steps, 3 * steps), "the number of updates")


STILL = {"optimizer.learning_rate": 1e-12}  # nothing moves: the gradients of a step's updates are those of its first policy and critic


def near_vector(a, b):
    return all(abs(x - y) <= 1e-3 * max(map(abs, b)) for x, y in zip(a, b))


@row("ppo.num_ppo_epochs", "ppo", 3, STILL)
def _(t):
    same(updates_made(t.base), (1, 1), "the updates of actor and critic")
    same(updates_made(t.other), (3, 3), "the updates of actor and critic")
    # Three times the same gradient g make exp_avg (1 - beta1^3) g.
    g = experience(t.other).head_gradient()
    check(near_vector(t.other.optimizer("critic")["exp_avg"][-96:], [(1 - 0.9**3) * x for x in g]), "the critic's head has other gradients")


@row("ppo.num_mini_batches", "ppo", 2, STILL)
def _(t):
    same(updates_made(t.base), (1, 1), "the updates of actor and critic")
    same(updates_made(t.other), (2, 2), "the updates of actor and critic")
    # One half's gradient, then the other's: which half is drawn.
    e, found = experience(t.other), t.other.optimizer("critic")["exp_avg"][-96:]
    halves = {half: e.head_gradient(responses=half) for half in combinations(range(BATCH), 2)}
    rest = lambda half: tuple(i for i in range(BATCH) if i not in half)
    fits = [half for half in halves if near_vector(found, [0.09 * a + 0.1 * b for a, b in zip(halves[half], halves[rest(half)])])]
    same(len(fits), 1, "the ways to halve the batch that give the critic's gradients")
