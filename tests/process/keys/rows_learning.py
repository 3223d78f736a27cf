"""Rows of the keys' table: optimizer, sft, reward, dpo, kto."""
import json
import math
import os
from operator import mul

import oracle
from data import BATCH, COMPLETIONS, LABELLED, PAIRS, STEPS, completion_ids, token_count, write_rows
from harness import check, close, mean, peak, read_tensors, same
from machine import plan
from models import (CHOSEN, EOS, EXPERTS, HEADS, INNER, KEYS, SIZE, STORIES, VOCABULARY, WIDTH, hidden, ids, log_probs, mixture, router, table_model,
                    value)
from oracle import Pair, adamw, sigmoid
from table import row

SAMPLED = 97  # every so many of a vector's numbers are compared
HEAD = "lm_head.weight"


def moments(run, name, role=""):
    return run.optimizer(role)[name][::SAMPLED]


def vector_scaled(found, expected, factor, what, relative=1e-5):
    """Element by element; where some lie near 0, compare with a share of the largest (optimizer.chunk does)."""
    check(any(expected), f"{what}: the base is 0")
    for a, b in zip(found, expected):
        close(a, factor * b, relative, 1e-12, what)


def updated(run, before, steps=1, role="", **options):
    """Asserts AdamW's last update of the embeddings, the first in the optimizer's vectors, and of the last norm and the head, the last.
    Weight decay spares the norm."""
    place = ("checkpoints", run.checkpoints[-1], role)
    old, new, state = read_tensors(os.path.join(before, "model.safetensors")), run.weights(*place), run.optimizer(role)
    same(state["step"][0], steps, "the number of updates")
    head = "score.weight" if role else HEAD
    last, norm = len(state["exp_avg"]) - len(new[head]), {**options, "weight_decay": 0.0}
    places = (("model.embed_tokens.weight", 0, options), ("model.norm.weight", last - WIDTH, norm), (head, last, options))
    for name, start, its in places:
        for i in range(0, len(new[name]), 7 if role else SAMPLED):
            expected = adamw(old[name][i], state["exp_avg"][start + i], state["exp_avg_sq"][start + i], steps, **its)
            close(new[name][i], expected, 1e-6, 3e-7, f"{name}[{i}]")
    check(any(a != b for a, b in zip(old[head], new[head])), "nothing was learnt")


def updates(base_value, other_value, option):
    """A test of an option of AdamW: both runs' updates from their moments."""

    def test(t):
        updated(t.at(base_value), table_model("policy"), **{option: base_value})
        updated(t.other, table_model("policy"), **{option: other_value})

    return test


row("optimizer.learning_rate", "sft", 3e-3)(updates(1e-3, 3e-3, "learning_rate"))
row("optimizer.weight_decay", "sft", 2.0)(updates(0.0, 2.0, "weight_decay"))
row("optimizer.epsilon", "sft", 1e-2)(updates(1e-8, 1e-2, "epsilon"))


@row("optimizer.beta1", "sft", 0.5)
def _(t):
    # After one update exp_avg is (1 - beta1) g.
    vector_scaled(moments(t.other, "exp_avg"), moments(t.base, "exp_avg"), (1 - 0.5) / (1 - 0.9), "exp_avg")
    updated(t.other, table_model("policy"), beta1=0.5)


@row("optimizer.beta2", "sft", 0.9)
def _(t):
    vector_scaled(moments(t.other, "exp_avg_sq"), moments(t.base, "exp_avg_sq"), (1 - 0.9) / (1 - 0.999), "exp_avg_sq", 1e-4)
    updated(t.other, table_model("policy"), beta2=0.9)


@row("optimizer.clip", "sft", 0.25)
def _(t):
    norm = t.base.first["grad_norm"]
    check(norm > 0.5, "the gradient is too small to be clipped")
    close(t.other.first["grad_norm"], norm, what="the norm before clipping")
    vector_scaled(moments(t.other, "exp_avg"), moments(t.base, "exp_avg"), 0.25 / (norm + 1e-6), "exp_avg")
    same(t.at(0).hashes, t.base.hashes, "what is learnt with clip 0, which is none")


# ---- adapters: the modules of the table's one layer are [outputs, inputs]

MODULES = {"self_attn.q_proj": (HEADS * SIZE, WIDTH), "self_attn.k_proj": (KEYS * SIZE, WIDTH), "self_attn.v_proj": (KEYS * SIZE, WIDTH),
           "self_attn.o_proj": (WIDTH, HEADS * SIZE), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
ADAPTED = {"lora.r": 4}


def adapts(it, r, modules):
    """The adapter that is saved, and whose moments there are, is of these modules alone."""
    found = it.adapter("final")
    shapes = {f"model.layers.0.{name}.lora_{part}.weight": r * MODULES[name][part == "A"] for name in modules for part in "AB"}
    same({name: len(values) for name, values in found.items()}, shapes, "the adapter")
    same(len(it.optimizer()["exp_avg"]), sum(shapes.values()), "the length of exp_avg")
    check(not it.exists("final", "model.safetensors"), "the model is saved with the adapter")
    return found


@row("lora.r", "sft", 4)
def _(t):
    found = adapts(t.other, 4, MODULES)
    close(t.other.first["loss"], t.base.first["loss"], 1e-7, what="the loss with a fresh adapter, which adds nothing")
    # B is 0 before the first update, and moves where something reads what it writes: in the table attention and MLP add nothing.
    check(any(found["model.layers.0.self_attn.o_proj.lora_B.weight"]), "B is 0 after an update")
    adapts(t.at(1), 1, MODULES)


def scaled(factor):
    """A test of what the adapter is multiplied by: before the first update the gradient of B is in proportion to it, and that of A is 0."""

    def test(t):
        base, other = (it.optimizer()["exp_avg"] for it in (t.base, t.other))
        check(any(base), "nothing is learnt")
        for a, b in zip(other, base):
            close(a, factor * b, 1e-4, 1e-9, "exp_avg")

    return test


row("lora.lora_alpha", "sft", 8.0, ADAPTED)(scaled(8 / 32))
row("lora.use_rslora", "sft", True, ADAPTED)(scaled(4 / math.sqrt(4)))


@row("lora.lora_dropout", "sft", 0.5, ADAPTED)
def _(t):
    # Before the first update B is 0, so that the loss is the model's. What is let through is scaled so that its mean is what it was: the
    # gradient of B is another, whose part along that without dropout has the mean 1.
    same(t.other.first["loss"], t.base.first["loss"], "the loss")
    base, other = (it.optimizer()["exp_avg"] for it in (t.base, t.other))
    check(base != other, "nothing is dropped")
    close(sum(map(mul, base, other)) / sum(map(mul, base, base)), 1.0, 0.3, what="the part of the gradient without dropout")


@row("lora.target_modules", "sft", ["o_proj", "mlp.up_proj"], ADAPTED)
def _(t):
    adapts(t.other, 4, ["self_attn.o_proj", "mlp.up_proj"])
    adapts(t.at(r".*\.(down|gate)_proj"), 4, ["mlp.gate_proj", "mlp.down_proj"])


@row("lora.modules_to_save", "sft", ["lm_head"], ADAPTED)
def _(t):
    found, before = t.other.adapter("final"), read_tensors(os.path.join(table_model("policy"), "model.safetensors"))
    same(found.keys() - t.base.adapter("final").keys(), {HEAD}, "what is saved besides")
    state, count = t.other.optimizer(), len(before[HEAD])
    for i in range(0, count, SAMPLED):
        expected = adamw(before[HEAD][i], state["exp_avg"][i - count], state["exp_avg_sq"][i - count], 1)
        close(found[HEAD][i], expected, 1e-6, 3e-7, f"{HEAD}[{i}]")
    check(any(a != b for a, b in zip(found[HEAD], before[HEAD])), "the head is not trained")


@row("lora.init_lora_weights", "sft", "gaussian", ADAPTED)
def _(t):
    # The gradient of A is 0 at the first update, as B is, so that A is still what it began with.
    uniform, normal = (it.adapter("final")["model.layers.0.self_attn.q_proj.lora_A.weight"] for it in (t.base, t.other))
    bound = 1 / math.sqrt(WIDTH)
    check(0.9 * bound < max(map(abs, uniform)) <= bound, "A is not uniform within 1/sqrt(inputs)")
    for values, deviation in ((uniform, bound / math.sqrt(3)), (normal, 1 / 4)):
        close(math.sqrt(mean(x * x for x in values)), deviation, 0.15, what="the deviation of A")
    check(max(map(abs, normal)) > 2 / 4, "A is not normal")


def rates(run):
    return [metrics["learning_rate"] for metrics in run.rows]


@row("optimizer.schedule", "sft", "cosine", {"steps": 4, "optimizer.warmup": 1})
def _(t):
    for kind, factor in (("constant", lambda x: 1.0), ("linear", lambda x: 1 - x), ("cosine", lambda x: 0.5 * (1 + math.cos(math.pi * x)))):
        expected = [0.0] + [1e-3 * factor((k - 1) / 3) for k in (1, 2, 3)]
        for found, rate in zip(rates(t.at(kind)), expected):
            close(found, rate, what=f"the rate of '{kind}'")
    updated_last = t.other.optimizer()["step"][0]
    same(updated_last, 4, "the number of updates")


@row("optimizer.warmup", "sft", 2, {"steps": 4, "optimizer.schedule": "linear"})
def _(t):
    for found, k in zip(rates(t.base), range(4)):
        close(found, 1e-3 * (1 - k / 4), what="the rate without warm-up")
    for found, factor in zip(rates(t.other), (0, 0.5, 1, 0.5)):
        close(found, 1e-3 * factor, what="the rate with warm-up")


@row("optimizer.chunk", "sft", 1)
def _(t):
    # Chains of one sequence instead of eight: the same sums, rounded otherwise.
    close(t.other.first["loss"], t.base.first["loss"], what="the loss")
    largest = max(abs(x) for x in moments(t.base, "exp_avg"))
    for a, b in zip(moments(t.other, "exp_avg"), moments(t.base, "exp_avg")):
        close(a, b, 1e-5, 1e-5 * largest, "exp_avg")
    check(t.other.hashes != t.base.hashes, "another chunk rounds otherwise, and yet gives the same bytes")


@row("optimizer.gradient_checkpointing", "sft", True, {"model": STORIES})
def _(t):
    # The same bytes by design; that it is on shows in the memory that `troupe check` counts, and that the actor takes.
    same(t.other.hashes, t.base.hashes, "what is learnt")
    kept, computed = (plan(t.recipe(value))["actor"]["activations"] for value in (None, (True,)))
    check(computed < 0.9 * kept, f"activations take {computed} MiB instead of {kept}")
    large = {"data__train": write_rows("large", [{"text": (r["prompt"] + r["chosen"]) * 2} for r in PAIRS] * 2), "data__batch": 24, "optimizer__chunk": 24}
    kept, computed = (peak(t.recipe(value, **large)) for value in (None, (True,)))
    check(computed < 0.9 * kept, f"the actor takes {computed} KiB instead of {kept}")


def router_balance(rows):
    """The loss of an untrained mixture's router over the rows (Fedus et al. 2021, eq. 4 to 6), and its gradient by the router's weights."""
    # A text begins with the token that also ends it.
    tokens = [token for row in rows for token in [EOS, *ids(row["prompt"]), *completion_ids(row["completion"])]]
    logits = [[sum(map(mul, router()[e * WIDTH : (e + 1) * WIDTH], hidden(token))) for e in range(EXPERTS)] for token in tokens]
    chances = [[math.exp(z) / sum(map(math.exp, row)) for z in row] for row in logits]
    counts = [sum(e in sorted(range(EXPERTS), key=lambda i: -row[i])[:CHOSEN] for row in logits) for e in range(EXPERTS)]
    pull = [EXPERTS * count / len(tokens) ** 2 for count in counts]
    slopes = [0.0] * (EXPERTS * WIDTH)
    for token, row in zip(tokens, chances):
        mean = sum(map(mul, row, pull))
        for i, x in enumerate(hidden(token) * EXPERTS):
            slopes[i] += row[i // WIDTH] * (pull[i // WIDTH] - mean) * x
    return sum(map(mul, pull, map(sum, zip(*chances)))), slopes


@row("optimizer.router_aux_loss_coef", "sft", 0.5, lambda: {"model": mixture()})
def _(t):
    # The experts add nothing, so the router has no other gradient: the first moment is 0.1 of it.
    loss, slopes = router_balance(COMPLETIONS[:BATCH])
    place = VOCABULARY * WIDTH + WIDTH + 2 * (HEADS + KEYS) * SIZE * WIDTH + WIDTH
    for coefficient in (0.0, 0.001, 0.5):
        run = t.at(coefficient)
        close(run.first["aux_loss"], loss, 1e-5, what="aux_loss")
        found = run.optimizer()["exp_avg"][place : place + len(slopes)]
        for a, b in zip(found, slopes):
            close(a, 0.1 * coefficient * b, 1e-4, 1e-6 * coefficient * max(map(abs, slopes)), "the router's gradient")
    same(t.base.hashes, t.at(0.001).hashes, "the default")


# ---- sft


def sft_slopes(power):
    """The derivatives of -log p, times the constant p for dft."""
    rows = [(ids(r["prompt"])[-1], completion_ids(r["completion"])) for r in COMPLETIONS[:BATCH]]
    pieces = [(a, b) for before, tokens in rows for a, b in zip([before, *tokens], tokens)]
    return [(a, b, -math.exp(power * log_probs("policy", a)[b]) / len(pieces)) for a, b in pieces]


def sft_loss(t, expected, run=None):
    close((run or t.other).first["loss"], expected, 1e-6, what="the loss")


@row("sft.loss_type", "sft", "dft")
def _(t):
    sft_loss(t, oracle.sft(), t.base)
    sft_loss(t, oracle.sft(loss_type="dft"))
    learnt_by(t.base, sft_slopes(0))
    learnt_by(t.other, sft_slopes(1))


@row("sft.label_smoothing_factor", "sft", 0.3, lambda: {"data.eval": write_rows("completions", COMPLETIONS)})
def _(t):
    sft_loss(t, oracle.sft(smoothing=0.3))
    # Part of the slope goes to every token alike.
    slopes = [(a, b, 0.7 * slope) for a, b, slope in sft_slopes(0)]
    learnt_by(t.other, slopes + [(a, b, 0.3 * slope / VOCABULARY) for a, _, slope in sft_slopes(0) for b in range(VOCABULARY)])
    # Measured rows too: a rate that changes nothing leaves the loss of all rows as it was.
    rows = [(ids(r["prompt"])[-1], completion_ids(r["completion"])) for r in COMPLETIONS]
    close(t.at(0.3, optimizer__learning_rate=1e-12).first["eval_loss"], oracle.sft(rows, smoothing=0.3), what="eval_loss")


@row("sft.neftune_noise_alpha", "sft", 1.0, lambda: {"data.eval": write_rows("completions", COMPLETIONS)})
def _(t):
    # The noise is alpha times one draw of a seed, so that a small one moves the loss in proportion; measuring has none.
    base = t.base.first["loss"]
    moved, twice = t.at(1.0).first["loss"] - base, t.at(2.0).first["loss"] - base
    close(twice / moved, 2, 0.1, what="what twice the noise moves, over what it moves once")
    # Uniform in +-a/sqrt(L H) for each number of the embeddings, it moves the loss with the variance |gradient|^2 a^2 / (3 L H).
    alone = t.without(data__batch=1)
    gradient = [x / (1 - 0.9) for x in alone.optimizer()["exp_avg"][: VOCABULARY * WIDTH]]
    length = token_count(COMPLETIONS[0], "prompt", "completion")
    variance = sum(x * x for x in gradient) / (3 * length * WIDTH)
    draws = [t.at(1.0, data__batch=1, seed=seed).first["loss"] - alone.first["loss"] for seed in range(1, 9)]
    check(0.3 < mean(x * x for x in draws) / variance < 2.5, f"the variance of {draws} is not near {variance}")
    quiet = {"optimizer__learning_rate": 1e-12}
    close(t.at(1.0, **quiet).first["eval_loss"], t.without(**quiet).first["eval_loss"], 1e-7, what="eval_loss")


@row("sft.max_length", "sft", 14)
def _(t):
    rows, tokens = [], 0
    for r in COMPLETIONS[:BATCH]:
        prompt = ids(r["prompt"])
        kept = max(0, 14 - 1 - len(prompt))
        rows.append((prompt[-1], completion_ids(r["completion"])[:kept]))
        tokens += min(14, token_count(r, "prompt", "completion"))
    check(all(kept for _, kept in rows), "a prompt fills the row")
    same(t.base.first["num_tokens"], sum(token_count(r, "prompt", "completion") for r in COMPLETIONS[:BATCH]), "num_tokens")
    same(t.other.first["num_tokens"], tokens, "num_tokens")
    sft_loss(t, oracle.sft(rows))


@row("sft.packing", "sft", True, {"sft.max_length": 64, "data.batch": 1})
def _(t):
    # Best fit decreasing: the longest rows first, each into the fullest pack that has room.
    packs = []
    for length in sorted((token_count(r, "prompt", "completion") for r in COMPLETIONS), reverse=True):
        room = [i for i, pack in enumerate(packs) if sum(pack) + length <= 64]
        if room:
            packs[max(room, key=lambda i: sum(packs[i]))].append(length)
        else:
            packs.append([length])
    close(t.base.first["epoch"], 1 / len(COMPLETIONS), what="the share of an epoch that a row is")
    close(t.other.first["epoch"], 1 / len(packs), what="the share of an epoch that a pack is")
    check(t.other.first["num_tokens"] in {sum(pack) for pack in packs}, "a step has other tokens than a pack")
    every = t.at(True, steps=len(packs)).rows[-1]["num_tokens"]
    same(every, sum(map(sum, packs)), "the tokens of all packs")


@row("sft.completion_only_loss", "sft", False)
def _(t):
    sft_loss(t, oracle.sft(), t.base)
    sft_loss(t, oracle.sft([(EOS, ids(r["prompt"]) + completion_ids(r["completion"])) for r in COMPLETIONS[:BATCH]]))


TALK = [{"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["chosen"].strip()}]} for r in PAIRS]


@row("sft.assistant_only_loss", "sft", True, lambda: {"data.train": write_rows("talk", TALK), "data.chat_template": "chatml"})
def _(t):
    def pieces(r):
        user, assistant = (m["content"] for m in r["messages"])
        return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n", f"{assistant}<|im_end|>\n"

    everything, answers = [], []
    for r in TALK[:BATCH]:
        before, after = pieces(r)
        all_ids = ids(before + after)
        start = len(ids(before))
        same(all_ids[:start], ids(before), "the tokens before the answer")
        everything.append((all_ids[0], all_ids[1:]))
        answers.append((all_ids[start - 1], all_ids[start:]))
    sft_loss(t, oracle.sft(everything), t.base)
    sft_loss(t, oracle.sft(answers))


# ---- reward


@row("reward.center_rewards_coefficient", "reward", 0.5, {"data.batch": 1})
def _(t):
    # A pair alone: its scores' sum is twice their mean.
    close(t.base.first["loss"], -oracle.log_sigmoid(t.base.first["margin"]), what="the loss")
    both = 2 * t.base.first["mean_reward"]
    close(t.other.first["loss"], t.base.first["loss"] + 0.5 * both**2, what="the loss")


@row("reward.max_length", "reward", 20, {"data.on_bad_row": "drop", "data.batch": 2})
def _(t):
    sides = [max(token_count(r, "prompt", side) for side in ("chosen", "rejected")) for r in PAIRS]
    bad = sum(n > 20 for n in sides)
    check(0 < bad <= len(PAIRS) - 2, f"{bad} pairs are too long")
    close(t.base.first["epoch"], 2 / len(PAIRS), what="epoch")
    close(t.other.first["epoch"], 1 / math.ceil((len(PAIRS) - bad) / 2), what="epoch")
    check(f"{bad} of {len(PAIRS)} rows are bad" in t.other.out, "the dropped pairs are not counted")


@row("reward.normalize", "reward", True, lambda: {"data.eval": write_rows("pairs", PAIRS)})
def _(t):
    config = json.loads(t.other.text("final", "config.json"))
    close(config["score_mean"], t.other.first["eval_mean_reward"], what="score_mean")
    close(config["score_std"], t.other.first["eval_reward_std"], what="score_std")
    check("score_mean" not in t.base.text("final", "config.json"), "a model that is not normalized says that it is")


@row("reward.step_separator", "reward", " and then", lambda: {"data.train": write_rows("steps", STEPS), "model": table_model("critic")})
def _(t):
    # A step's logit is the score at the separator's last token: in a table model, the same for each step.
    for run, separator in ((t.base, "\n"), (t.other, " and then")):
        score = value("critic", ids(separator)[-1])
        close(run.first["loss"], -0.5 * (oracle.log_sigmoid(score) + oracle.log_sigmoid(-score)), what="the loss")
        close(run.first["mean_step_score"], sigmoid(score), what="mean_step_score")
        # num_tokens counts one more a row, which stands after the last separator and is not read.
        tokens = sum(2 + len(ids(r["prompt"])) + sum(len(ids(step)) + len(ids(separator)) for step in r["completions"]) for r in STEPS[:BATCH])
        same(run.first["num_tokens"], tokens, "num_tokens")


# ---- dpo

ALL_LOSSES = ["sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
              "sft", "sigmoid_norm", "cpo", "simpo", "orpo"]


def learnt_by(run, slopes):
    """Asserts the gradient of some of the head's rows, which is a tenth of their exp_avg after one update."""
    moment = run.optimizer()["exp_avg"][-VOCABULARY * WIDTH :]
    rows = [[x / (1 - 0.9) for x in moment[token * WIDTH : (token + 1) * WIDTH]] for token in SOME]
    expected = [oracle.head_row_gradient(slopes, token) for token in SOME]
    largest = max(abs(x) for row in expected for x in row)
    for token, found, wanted in zip(SOME, rows, expected):
        for a, b in zip(found, wanted):
            close(a, b, 1e-3, 1e-4 * largest, f"the gradient of the head's row {token}")


SOME = sorted({EOS, *ids(PAIRS[0]["chosen"])[-2:], *ids(PAIRS[1]["rejected"])[-2:], *ids(PAIRS[3]["rejected"])[:2]})


def dpo_metrics(run, what="", **options):
    expected, slopes = oracle.dpo(**options)
    for name, number in expected.items():
        if name not in ("logps/chosen", "logps/rejected") or options.get("ld_alpha", 1) == 1:
            close(run.first[name], number, 1e-5, 1e-6, name + what)
    learnt_by(run, slopes)


def dpo_row(key, value, also=None, **options):
    """A row of a key that the formulas know: both runs against them."""
    short = key.split(".")[1]
    base = {name.split(".")[1]: what for name, what in (also or {}).items() if name.startswith("dpo.")}

    def test(t):
        dpo_metrics(t.base, **base, **options)
        dpo_metrics(t.other, **{**base, short: value}, **options)

    row(key, "dpo", value, also)(test)


dpo_row("dpo.beta", 0.7)
dpo_row("dpo.label_smoothing", 0.3)
dpo_row("dpo.f_divergence_type", "js_divergence")
dpo_row("dpo.f_alpha_divergence_coef", 0.2, {"dpo.f_divergence_type": "alpha_divergence"})
dpo_row("dpo.discopop_tau", 0.5, {"dpo.loss_type": "discopop"})
dpo_row("dpo.simpo_gamma", 1.5, {"dpo.loss_type": "simpo", "reference": None}, reference_free=True)
dpo_row("dpo.use_weighting", True, {"dpo.beta": 0.5})
dpo_row("dpo.reference_free", True, {"reference": None}, same_reference=True)


SMOOTHED = ("sigmoid", "exo_pair", "robust", "aot", "aot_unpaired", "cpo", "simpo")


@row("dpo.loss_type", "dpo", "ipo", {"data.batch": len(PAIRS)})
def _(t):
    # Each loss by its own name; from where policy and reference differ, so that no two have the same value.
    values = []
    for kind in ALL_LOSSES:
        smoothing = {"dpo__label_smoothing": 0.1} if kind in SMOOTHED else {}
        alone = {"reference": None} if kind in ("sft", "cpo", "simpo", "orpo") else {}
        found = t.at(kind, **smoothing, **alone)
        dpo_metrics(found, f" of {kind}", pairs=[Pair(r) for r in PAIRS], loss_type=kind, label_smoothing=0.1 if smoothing else 0.0, reference_free=bool(alone))
        values.append(found.first["loss"])
    values.sort()
    check(all(b - a > 1e-7 for a, b in zip(values, values[1:])), f"two losses have the same value: {values}")


@row("dpo.loss_weights", "dpo", [0.5, 2.0, 3.0], {"dpo.loss_type": ["sigmoid", "hinge", "sft"]})
def _(t):
    parts = [oracle.dpo(loss_type=kind) for kind in ("sigmoid", "hinge", "sft")]
    for it, weights in ((t.base, (1, 1, 1)), (t.other, t.value)):
        close(it.first["loss"], sum(w * metrics["loss"] for w, (metrics, _) in zip(weights, parts)), what="the loss")
        close(it.first["nll_loss"], parts[2][0]["loss"], what="nll_loss, which is without its weight")
        learnt_by(it, [(a, b, w * slope) for w, (_, slopes) in zip(weights, parts) for a, b, slope in slopes])


@row("dpo.ld_alpha", "dpo", 0.25, {"dpo.loss_type": "sppo_hard"})
def _(t):
    check(any(Pair(r).nw != Pair(r).nl for r in PAIRS[:BATCH]), "no side is longer")
    dpo_metrics(t.base, loss_type="sppo_hard")
    dpo_metrics(t.other, loss_type="sppo_hard", ld_alpha=0.25)


def cut_pairs(length):
    pairs = []
    for r in PAIRS[:BATCH]:
        room = length - 1 - len(ids(r["prompt"]))
        check(room > 0, "a prompt fills the row")
        pairs.append(Pair(r, room, room))
    check(any(p.nw < len(completion_ids(r["chosen"])) for p, r in zip(pairs, PAIRS)), "no completion is cut")
    return pairs


@row("dpo.max_length", "dpo", 18)
def _(t):
    dpo_metrics(t.base)
    dpo_metrics(t.other, pairs=cut_pairs(18))


@row("dpo.truncation_mode", "dpo", "keep_end", {"dpo.max_length": 18})
def _(t):
    # What goes is the beginning of the prompt; a table model sees the token before alone, so that it scores completions as if whole.
    dpo_metrics(t.base, pairs=cut_pairs(18))
    check(all(max(p.nw, p.nl) < 18 for p in map(Pair, PAIRS[:BATCH])), "a completion fills the row")
    dpo_metrics(t.other)


def asked_once(t):
    same(t.other.hashes, t.base.hashes, "what is learnt")
    same(t.other.timeless, t.base.timeless, "the metrics")
    check(t.other.exists("reference-train.safetensors") and not t.base.exists("reference-train.safetensors"), "the reference's answers are not kept")


row("dpo.precompute_ref_log_probs", "dpo", True, {"steps": 2})(asked_once)
row("kto.precompute_ref_log_probs", "kto", True, {"steps": 2})(asked_once)


def mixed(run, share, before, place):
    """Asserts that the reference is `share` of the policy and the rest of what it was before."""
    policy, found = run.weights(*place), run.weights(*place, "reference")
    moved = 0.0
    for name, values in found.items():
        for i in range(0, len(values), SAMPLED):
            close(values[i], share * policy[name][i] + (1 - share) * before[name][i], 1e-6, 1e-6, f"the reference's {name}")
            moved = max(moved, abs(policy[name][i] - before[name][i]))
    check(moved > 1e-4, "the policy is the reference")


@row("dpo.sync_ref_model", "dpo", True, {"reference": None})
def _(t):
    before = read_tensors(os.path.join(table_model("policy"), "model.safetensors"))
    mixed(t.at(True, dpo__ref_model_sync_steps=1), 0.6, before, ("checkpoints", "step-000001"))
    check(not t.base.exists("checkpoints", "step-000001", "reference"), "a reference that stays is saved")


@row("dpo.ref_model_mixup_alpha", "dpo", 0.25, {"reference": None, "dpo.sync_ref_model": True, "dpo.ref_model_sync_steps": 1})
def _(t):
    before = read_tensors(os.path.join(table_model("policy"), "model.safetensors"))
    mixed(t.other, 0.25, before, ("checkpoints", "step-000001"))


@row("dpo.ref_model_sync_steps", "dpo", 2, {"reference": None, "dpo.sync_ref_model": True, "steps": 3, "checkpoint.every": 1, "checkpoint.keep": 9})
def _(t):
    before = read_tensors(os.path.join(table_model("policy"), "model.safetensors"))
    mixed(t.other, 0.0, before, ("checkpoints", "step-000001"))
    mixed(t.other, 0.6, before, ("checkpoints", "step-000002"))
    mixed(t.base, 0.0, before, ("checkpoints", "step-000003"))


# ---- kto


def kto_metrics(run, **options):
    expected, slopes = oracle.kto(**options)
    for name, what in expected.items():
        close(run.first[name], what, 1e-5, 1e-6, name)
    learnt_by(run, slopes)


def kto_row(key, value, also=None):
    def test(t):
        base = {name.split(".")[1]: what for name, what in (also or {}).items()}
        kto_metrics(t.base, **base)
        kto_metrics(t.other, **{**base, key.split(".")[1]: value})

    row(key, "kto", value, also)(test)


kto_row("kto.loss_type", "apo_zero_unpaired", {"kto.beta": 0.5})


@row("kto.beta", "kto", 0.6)
def _(t):
    kto_metrics(t.base)
    kto_metrics(t.other, beta=0.6)
    # Three rows in batches of two: in training and in evaluation the third, which would meet itself, joins the others.
    expected = ({}, None)
    for first in range(10):
        rows = LABELLED[first : first + 3]
        expected = oracle.kto(beta=0.6, rows=rows)[0]
        if expected["kl"] > 0:
            break
    check(expected["kl"] > 0, "no rows with a divergence")
    path = write_rows("three-labelled", rows)
    for kept in (False, True):
        found = t.at(0.6, data__batch=2, data__train=path, data__eval=path, optimizer__learning_rate=1e-12, kto__precompute_ref_log_probs=kept).first
        for name, what in {**expected, **{"eval_" + name: what for name, what in expected.items()}}.items():
            close(found[name], what, 1e-4, 1e-6, name)


kto_row("kto.desirable_weight", 1.75)
kto_row("kto.undesirable_weight", 0.3)


@row("kto.max_length", "kto", 17)
def _(t):
    room = lambda prompt: 17 - 1 - len(ids(prompt))
    check(all(room(r["prompt"]) > 0 for r in LABELLED[:BATCH]), "a prompt fills the row")
    kto_metrics(t.base)
    kto_metrics(t.other, cut=room)
