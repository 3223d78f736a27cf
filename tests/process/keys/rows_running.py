"""Rows of the keys' table: the run itself, data, the roles but judges, checkpoint, samples, network."""
import array
import json
import math
import os
import socket
import struct

import oracle
from data import BATCH, COMPLETIONS, PAIRS, PROMPTS, TEXTS, completion_ids, recipe, write_rows, write_text
from harness import SCRATCH, attended, check, close, mean, measured, once, run, same, troupe, write_recipe
from machine import PROGRAMS, check_lines, gpu, mpi, plan
from models import EOS, STORIES, ids, policy_in_bf16, table_model, zero_head_adapter
from rows_generating import first_update, responses
from rows_learning import updated
from table import row

# ---- the run


@row("name", "sft", "another-name")
def _(t):
    same(os.path.basename(t.other.directory), "another-name", "the directory's name")
    check(t.other.exists("final", "model.safetensors"), "the run is not in output/name")
    same(t.other.hashes, t.base.hashes, "what is learnt")


@row("output", "sft", os.path.join(SCRATCH, "elsewhere"))
def _(t):
    check(t.other.directory.startswith(t.value) and t.other.exists("final", "model.safetensors"), "the run is not in output/name")
    same(t.other.hashes, t.base.hashes, "what is learnt")


@row("algorithm", "dpo", "reward", {"reference": None})
def _(t):
    # Policy and reference are the same, so that DPO's loss is log 2; a reward model's is that of its scores.
    close(t.base.first["loss"], math.log(2), what="the loss of dpo")
    alone = t.at("reward", model=STORIES, data__batch=1)
    close(alone.first["loss"], -oracle.log_sigmoid(alone.first["margin"]), what="the loss of reward")
    for it, algorithm, head in ((t.base, "dpo", "lm_head.weight"), (t.other, "reward", "score.weight")):
        same(json.loads(it.text("checkpoints", "step-000001", "state.json"))["algorithm"], algorithm, "the checkpoint's algorithm")
        check(head in it.weights("final"), f"{algorithm} gives no {head}")


@row("seed", "sft", 6)
def _(t):
    # No closed form says what is drawn. The seed orders the rows, of an epoch and within a batch; one row a step in the file's order is no draw.
    check(t.other.hashes != t.base.hashes and t.other.first["loss"] == t.base.first["loss"], "the rows of a batch are summed in one order")
    shuffled = [t.recipe(value, data__shuffle=True) for value in (None, (6,))]
    check(len({run(it).first["loss"] for it in shuffled}) == 2, "two seeds give one batch")
    same(t.at(6, data__batch=1).hashes, t.without(data__batch=1).hashes, "what is learnt, with nothing drawn")


@row("steps", "sft", 3, {"optimizer.schedule": "linear"})
def _(t):
    same((len(t.base.rows), len(t.other.rows)), (1, 3), "the lines of metrics")
    for found, rate in zip(t.other.rows, (1e-3, 2e-3 / 3, 1e-3 / 3)):
        close(found["learning_rate"], rate, what="the rate, which goes to 0 at `steps`")
    same(t.other.optimizer()["step"][0], 3, "the number of updates")


@row("model", "sft", STORIES, lambda: {"data.train": write_rows("completions-few", COMPLETIONS[:BATCH]), "sft.max_length": 13})
def _(t):
    # Rows are cut before their end, since `troupe logprobs` measures texts without the token that ends them.
    room = [13 - 1 - len(ids(r["prompt"])) for r in COMPLETIONS[:BATCH]]
    check(all(0 < n <= len(ids(r["completion"])) for n, r in zip(room, COMPLETIONS)), f"the rows have room for {room} tokens")
    close(t.base.first["loss"], oracle.sft([(a, tokens[:n]) for n, (a, tokens) in zip(room, map(row_tokens, COMPLETIONS))]), what="the loss of the table")
    found = [x for n, r in zip(room, COMPLETIONS) for x in measured(STORIES, r["prompt"], r["completion"])["logprobs"][:n]]
    close(t.other.first["loss"], -mean(found), what="the loss of the example's model")


@row("reference", "dpo", "(the table `reference`)", {"reference": None})
def _(t):
    same(t.base.first["rewards/chosen"], 0, "the reward where policy and reference are the same")
    other = t.at(table_model("reference"))
    for name, expected in oracle.dpo()[0].items():
        close(other.first[name], expected, 1e-5, 1e-6, name)
    t.used = True


@row("adapter", "sft", "(what a run with lora.r saved)")
def _(t):
    # Four rows are every batch, so that the second step's loss is that of the first of a run that begins with what the first step gave.
    few = {**t.recipe(), "data.train": write_rows("completions-few", COMPLETIONS[:BATCH])}
    once, twice = (run({**few, "lora.r": 4, "steps": steps}) for steps in (1, 2))
    on = run({**few, "adapter": once.path("final")})
    same(on.first["loss"], twice.rows[1]["loss"], "the loss of the model with its adapter")
    check(on.first["loss"] != once.first["loss"] and on.adapter("final").keys() == once.adapter("final").keys(), "the adapter is not trained on")
    t.used = True


@row("from_scratch", "sft", True)
def _(t):
    # Fresh weights know nothing: each of 1024 tokens is as likely.
    close(t.other.first["loss"], 6.931, 0.02, what="the loss of fresh weights")
    check(t.base.first["loss"] > 7.5, "the base is as fresh")
    check(t.at(True, seed=6).first["loss"] != t.other.first["loss"], "fresh weights do not depend on the seed")


ON_GPU = {"roles.actor.device": "cuda"}


@row("precision", "sft", "bf16")
def _(t):
    # By itself a CPU computes in fp32 and a GPU in bf16; in fp32 both learn the same bytes.
    same(t.at("fp32").hashes, t.base.hashes, "what a CPU learns by itself and in fp32")
    check(t.other.hashes != t.base.hashes, "a CPU learns the same in bf16")
    close(t.other.first["loss"], t.base.first["loss"], 1e-2, what="the loss in bf16 on a CPU")
    own, half, full = (t.at(kind, environment=gpu(), roles__actor__device="cuda") for kind in ("auto", "bf16", "fp32"))
    same(own.hashes, half.hashes, "what a GPU learns by itself and in bf16")
    same(full.hashes, t.base.hashes, "what a GPU learns in fp32")
    check(half.hashes != full.hashes, "a GPU learns the same in bf16")
    close(half.first["loss"], full.first["loss"], 1e-2, what="the loss in bf16")


def half(value):
    """IEEE's, as its bits."""
    return struct.unpack("<H", struct.pack("<e", value))[0]


def brain(value):
    """The nearest bfloat16, ties to even, as its bits."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@row("save_dtype", "sft", "float16")
def _(t):
    def check_saved(it, full, kind, bits):
        for name, values in full.weights("final").items():
            same(list(it.weights("final")[name]), [bits(value) for value in values], f"{name} in {kind}")
        same(json.loads(it.text("final", "config.json"))["torch_dtype"], kind, "the dtype that config.json names")
        last = os.path.join("checkpoints", it.checkpoints[-1])
        same(it.weights(last), full.weights(last), "the checkpoint, which has fp32")

    same(t.base.weights("final"), t.base.weights("checkpoints", t.base.checkpoints[-1]), "what is saved as a base of fp32 is")
    check_saved(t.other, t.base, "float16", half)
    check_saved(t.at("bfloat16"), t.base, "bfloat16", brain)
    short = policy_in_bf16()
    check_saved(t.at(None, model=short), t.at("float32", model=short), "bfloat16", brain)


@row("log_level", "sft", "warn")
def _(t):
    def levels(it):
        return {line.split()[1] for name in ("actor.log", "controller.log") for line in it.text("logs", name).splitlines()}

    same((levels(t.base), levels(t.other)), ({"info"}, set()), "the levels of a run without a warning")


# ---- data


def prompts_of(it):
    return [s["prompt"] for s in it.samples if s["step"] == 1]


@row("data.prompts", "sample", os.path.join(SCRATCH, "prompts-more.jsonl"))
def _(t):
    write_rows("prompts-more", PROMPTS[4:])
    same((prompts_of(t.base), prompts_of(t.other)), ([r["prompt"] for r in PROMPTS[:4]], [r["prompt"] for r in PROMPTS[4:]]), "the prompts")


def row_tokens(r):
    return ids(r["prompt"])[-1], completion_ids(r["completion"])


@row("data.train", "sft", os.path.join(SCRATCH, "completions-more.jsonl"))
def _(t):
    write_rows("completions-more", COMPLETIONS[4:])
    close(t.other.first["loss"], oracle.sft([row_tokens(r) for r in COMPLETIONS[4:8]]), what="the loss")


@row("data.eval", "sft", os.path.join(SCRATCH, "measured.jsonl"), {"optimizer.learning_rate": 1e-12})
def _(t):
    write_rows("measured", COMPLETIONS[5:11])
    check("eval_loss" not in t.base.first, "there is an eval_loss without rows")
    close(t.other.first["eval_loss"], oracle.sft([row_tokens(r) for r in COMPLETIONS[5:11]]), what="eval_loss")
    close(t.other.first["loss"], t.base.first["loss"], what="the loss of what is learnt")
    evaluates_prompts()


def evaluates_prompts():
    """Held-out prompts: their responses' scores, and the KL by `troupe logprobs` of policy and reference."""
    ppo = {**recipe("ppo"), "reference": None, "steps": 2, "checkpoint.every": 1, "checkpoint.keep": 9, "data.eval": write_rows("held-prompts", PROMPTS[4:])}
    it, without = run(ppo), run({**ppo, "data.eval": None})
    same([s for s in it.samples if "split" not in s], without.samples, "the samples of training")
    same(it.weights("final"), without.weights("final"), "what is learnt")
    for row in it.rows:
        samples = [s for s in it.samples if s.get("split") == "eval" and s["step"] == row["step"]]
        same([s["prompt"] for s in samples], [r["prompt"] for r in PROMPTS[4:]], "the held-out prompts")
        close(row["eval_objective/scores"], mean(s["score"] for s in samples), what="eval_objective/scores")
    last, folder = [s for s in it.samples if s.get("split") == "eval" and s["step"] == 2], it.path("final")
    sums = [[sum(measured(model, s["prompt"], s["response"])["logprobs"]) for s in last] for model in (folder, ppo["model"])]
    close(it.rows[1]["eval_objective/kl"], mean(a - b for a, b in zip(*sums)), 1e-4, 1e-5, "eval_objective/kl")
    # The same draws each time: weights that do not change say the same again.
    still = run({**ppo, "optimizer.learning_rate": 1e-12})
    one, two = ([s["response"] for s in still.samples if s.get("split") == "eval" and s["step"] == step] for step in (1, 2))
    same(one, two, "what the same weights say")


def held_out(**more):
    """Rows that are measured in every step, of a run that learns too fast, so that the loss falls and rises again."""
    return lambda: {"data.eval": write_rows("held", COMPLETIONS[5:11]), "evaluation.every": 1, "steps": 10, "checkpoint.every": 1, "checkpoint.keep": 1,
                    "checkpoint.best": "eval_loss", "optimizer.learning_rate": 0.4, **more}


def measures(it):
    return [row["eval_loss"] for row in it.rows if "eval_loss" in row]


@row("evaluation.every", "sft", 3, held_out(**{"evaluation.every": None, "checkpoint.every": 2, "checkpoint.best": None, "steps": 7}))
def _(t):
    steps = [[row["step"] for row in it.rows if "eval_loss" in row] for it in (t.base, t.other)]
    same(steps, [[2, 4, 6, 7], [3, 6, 7]], "the steps that are evaluated")


@row("checkpoint.best", "sft", "eval_loss", held_out(**{"checkpoint.best": None}))
def _(t):
    losses = measures(t.other)
    best = losses.index(min(losses)) + 1
    check(1 < best < 10, f"the best step is {best} of {losses}")
    same(t.other.checkpoints, [f"step-{best:06}", "step-000010"], "the checkpoints")
    same(os.readlink(t.other.path("best")), f"checkpoints/step-{best:06}", "the link")
    check(t.base.checkpoints == ["step-000010"] and not t.base.exists("best"), "the base keeps a best step")
    # Rewards are better when they are greater.
    rewards = run({**recipe("dpo"), "data.eval": write_rows("held-pairs", PAIRS[5:11]), "steps": 4, "checkpoint.every": 1, "checkpoint.keep": 1,
                   "checkpoint.best": "eval_rewards/margins"})
    margins = [r["eval_rewards/margins"] for r in rewards.rows]
    same(os.readlink(rewards.path("best")), f"checkpoints/step-{margins.index(max(margins)) + 1:06}", "the link of margins")
    refused = run({**t.recipe(("eval_num_tokens",))}, False)
    check("checkpoint.best: expected a metric" in refused.out, refused.out)


@row("evaluation.patience", "sft", 2, held_out())
def _(t):
    whole, losses = measures(t.base), measures(t.other)
    best = whole.index(min(whole)) + 1
    same(len(losses), best + 2, f"the last step, after {whole}")
    check(t.other.exists("final", "model.safetensors") and "(evaluation.patience)" in t.other.out, t.other.out)
    same(t.other.checkpoints[-1], f"step-{best + 2:06}", "the last checkpoint")


@row("evaluation.target", "sft", 9.0, held_out())
def _(t):
    whole = measures(t.base)
    check(whole[0] > 9.0 > min(whole), f"9 is not among {whole}")
    first = next(i for i, loss in enumerate(whole) if loss <= 9.0) + 1
    same(len(measures(t.other)), first, f"the last step, after {whole}")
    check("(evaluation.target)" in t.other.out and t.other.exists("final", "model.safetensors"), t.other.out)


@row("data.batch", "sft", 6)
def _(t):
    close(t.other.first["loss"], oracle.sft([row_tokens(r) for r in COMPLETIONS[:6]]), what="the loss")
    close(t.other.first["epoch"], 6 / len(COMPLETIONS), what="epoch")


@row("data.columns", "sample", {"prompt": "asked.by.us"})
def _(t):
    path = write_rows("asked-by-us", [{"asked": {"by": {"us": r["prompt"]}}, "prompt": "not this"} for r in PROMPTS])
    same(responses(t.at(t.value, data__prompts=path)), responses(t.base), "the responses")
    check(set(prompts_of(t.without(data__prompts=path))) == {"not this"}, "the base reads the other column")


@row("data.prompt_column", "sample", "question")
def _(t):
    path = write_rows("questions", [{"question": r["prompt"], "prompt": "not this"} for r in PROMPTS])
    same(responses(t.at("question", data__prompts=path)), responses(t.base), "the responses")
    check(set(prompts_of(t.without(data__prompts=path))) == {"not this"}, "the base reads the other column")


@row("data.text_column", "sft", "story", lambda: {"data.train": write_rows("texts", TEXTS)})
def _(t):
    path = write_rows("stories", [{"story": r["text"], "text": "not this"} for r in TEXTS])
    same(t.at("story", data__train=path).hashes, t.base.hashes, "what is learnt")
    close(t.base.first["loss"], oracle.sft([(EOS, ids(r["text"]) + [EOS]) for r in TEXTS[:BATCH]]), what="the loss of texts")


@row("data.chat_template", "sample", "zephyr")
def _(t):
    # The texts are those of transformers' apply_chat_template, in tests/golden/chat.json, with this model's own special tokens.
    with open("tests/golden/chat.json", encoding="utf-8") as file:
        formats = json.load(file)["formats"]
    tried = 0
    for name in ("chatml", "zephyr", "plain"):
        cases = [c for c in formats[name]["cases"] if c["add_generation_prompt"] and c["messages"][-1]["role"] != "assistant"][:BATCH]
        path = write_rows("talks-" + name, [{"prompt": c["messages"]} for c in cases])
        expected = [c["text"].replace("</s>", "<|endoftext|>").replace("<|end_of_text|>", "<|endoftext|>") for c in cases]
        same(prompts_of(t.at(name, data__prompts=path, data__batch=len(cases))), expected, f"the texts of '{name}'")
        tried += len(cases)
    check(tried >= 3, "too few conversations")


MOOD = "{% for message in messages %}{{ message.role }} ({{ mood }}): {{ message.content }}{% endfor %}{{ tools | tojson }}"


@row("data.chat_template_kwargs", "sample", {"mood": "glad"}, lambda: {"data.chat_template": write_text("mood.jinja", MOOD)})
def _(t):
    talk, tools = [{"role": "user", "content": "Once."}], [{"type": "function", "function": {"name": "f"}}]
    rows = [{"prompt": talk}, {"prompt": talk, "chat_template_kwargs": {"mood": "sad"}}, {"prompt": talk, "tools": json.dumps(tools)}]
    path = write_rows("moods", [{"tools": None, "chat_template_kwargs": None, **row} for row in rows])
    texts = ["user (glad): Once.null", "user (sad): Once.null", "user (glad): Once." + json.dumps(tools)]
    same(prompts_of(t.at(t.value, data__prompts=path, data__batch=3)), texts, "the texts with variables and tools")
    same(prompts_of(t.without(data__prompts=path, data__batch=3)), [text.replace("glad", "") for text in texts], "the texts without")


@row("data.shuffle", "sft", False, {"data.shuffle": True, "steps": 6, "optimizer.learning_rate": 1e-12})
def _(t):
    # In the file's order each epoch has the same batches; shuffled, each has every row once, in an order of its own.
    for i, found in enumerate(t.other.rows):
        rows = [row_tokens(r) for r in COMPLETIONS[BATCH * (i % 3) : BATCH * (i % 3 + 1)]]
        close(found["loss"], oracle.sft(rows), what=f"the loss of batch {i}")
    tokens = [found["num_tokens"] for found in t.base.rows]
    same((tokens[2], tokens[5]), (t.other.rows[2]["num_tokens"], t.other.rows[5]["num_tokens"]), "the tokens of one epoch and two")
    check(len({found["loss"] for found in t.base.rows}) == 6, "two shuffled batches are the same")


@row("data.drop_last", "sft", True, lambda: {"data.train": write_rows("five", COMPLETIONS[:5]), "steps": 3, "optimizer.learning_rate": 1e-12})
def _(t):
    # Five rows in batches of four: the fifth alone, or never.
    tokens = [row_tokens(r) for r in COMPLETIONS[:5]]
    for it, batches, epochs in ((t.base, (tokens[:4], tokens[4:], tokens[:4]), (0.5, 1, 1.5)), (t.other, (tokens[:4],) * 3, (1, 2, 3))):
        for found, batch, epoch in zip(it.rows, batches, epochs):
            close(found["loss"], oracle.sft(batch), what="the loss")
            close(found["epoch"], epoch, what="epoch")
    # Four prompts in batches of three: what generates takes the fourth too, PPO in one minibatch, and counts its episodes.
    prompts = {"data.prompts": write_rows("four-prompts", PROMPTS[:4]), "data.batch": 3, "steps": 3}
    ppo = run({**recipe("ppo"), **prompts, "ppo.num_mini_batches": 3})
    same([found["episode"] for found in ppo.rows], [3, 4, 7], "episodes")
    for it in (ppo, run({**recipe("online_dpo"), **prompts}), run({**recipe("online_dpo"), **prompts, "algorithm": "rejection_sampling"})):
        taken = [list(dict.fromkeys(s["prompt"] for s in it.samples if s["step"] == step)) for step in (1, 2, 3)]
        answered = [r["prompt"] for r in PROMPTS[:4]]
        same(taken, [answered[:3], answered[3:], answered[:3]], "the prompts")


@row("data.on_bad_row", "sft", "drop", lambda: {"data.train": write_rows("bad", COMPLETIONS[:2] + [{"prompt": "no completion"}] + COMPLETIONS[2:])})
def _(t):
    refused = t.without(ends_well=False)
    check(refused.code != 0 and "bad.jsonl:3" in refused.out, f"the bad row is not named: {refused.out!r}")
    check("1 of 13 rows are bad" in t.other.out, "the bad row is not counted")
    close(t.other.first["loss"], oracle.sft(), what="the loss of the other rows")


@row("data.max_prompt_length", "sample", 14, {"data.on_bad_row": "drop", "data.batch": 1})
def _(t):
    lengths = [1 + len(ids(r["prompt"])) for r in PROMPTS]
    long = sum(n > 14 for n in lengths)
    check(0 < long < len(PROMPTS), f"{long} prompts are too long")
    check(f"{long} of {len(PROMPTS)} rows are bad" in t.other.out, f"{long} prompts of {lengths} tokens are too long, and the run says {t.other.out!r}")
    same(prompts_of(t.other), [r["prompt"] for r, n in zip(PROMPTS, lengths) if n <= 14][:1], "the prompts")


# ---- checkpoint, samples


@row("checkpoint.every", "sft", 2, {"steps": 5, "checkpoint.keep": 9})
def _(t):
    same(t.base.checkpoints, ["step-000005"], "the checkpoints")
    same(t.other.checkpoints, ["step-000002", "step-000004", "step-000005"], "the checkpoints")


@row("checkpoint.keep", "sft", 3, {"steps": 5, "checkpoint.every": 1})
def _(t):
    same(t.base.checkpoints, ["step-000004", "step-000005"], "the checkpoints")
    same(t.other.checkpoints, ["step-000003", "step-000004", "step-000005"], "the checkpoints")


def sampled(it):
    steps = [s["step"] for s in it.samples]
    return {step: steps.count(step) for step in steps}


@row("samples.every", "ppo", 2, {"steps": 5, "samples.count": 3, "data.batch": 4})
def _(t):
    same(sampled(t.base), {step: 3 for step in range(1, 6)}, "the samples of each step")
    same(set(sampled(t.other)), {1, 2, 4, 5}, "the steps with samples, the first and the last among them")
    same(sum(sampled(t.at(0)).values()) if t.at(0).exists("samples.jsonl") else 0, 0, "the samples")


@row("samples.count", "ppo", 2)
def _(t):
    same((sampled(t.base), sampled(t.other)), ({1: BATCH}, {1: 2}), "the samples")


# ---- roles: what may not change the bytes, and how else it is seen


def unchanged(t, *seen):
    same(t.other.hashes, t.base.hashes, "what is learnt")
    for name in seen:
        check(t.other.exists("logs", name) and not t.base.exists("logs", name), f"{name} is not the other run's alone")


def same_bytes(key, base, value, *seen, also=None):
    row(key, base, value, also)(lambda t: unchanged(t, *seen))


# Threads share the work and not the result; the number itself is seen nowhere in what a run leaves.
for role in ("rollout", "actor", "critic"):
    same_bytes(f"roles.{role}.threads", "ppo", 1)
same_bytes("roles.reference.threads", "ppo", 1, also={"roles.reference.separate": True})
same_bytes("roles.reference.separate", "ppo", True, "reference.log")
same_bytes("roles.rollout.workers", "ppo", 2, "rollout-1.log")
same_bytes("roles.rollout.max_batch", "ppo", 1)


@row("roles.critic.model", "ppo", "(a scalar head of zeros)")
def _(t):
    first_update(t.base)
    first_update(run({**t.recipe(), "roles.critic.model": table_model("zero")}), critic="zero")
    t.used = True


@row("roles.critic.adapter", "ppo", "(a scalar head of zeros)")
def _(t):
    other = run({**t.recipe(), "roles.critic.adapter": zero_head_adapter()})
    first_update(other, critic="zero")
    check("score.weight" in other.adapter("checkpoints", other.checkpoints[-1], "critic"), "the critic's checkpoint is no adapter")
    t.used = True


@row("roles.critic.learning_rate", "ppo", 5e-3)
def _(t):
    updated(t.base, table_model("critic"), role="critic", learning_rate=1e-3)
    updated(t.other, table_model("critic"), role="critic", learning_rate=5e-3)
    same(t.other.weights("final"), t.base.weights("final"), "what the actor learns")


# ---- ranks

def rank_rows(role, base):
    two = {f"roles.{role}.ranks": 2, "optimizer.chunk": 1}
    place = f"roles.{role}."

    @row(place + "ranks", base, 2, {"optimizer.chunk": 1})
    def _(t):
        other = t.at(2, environment=mpi())
        same(other.hashes, t.base.hashes, "what two ranks learn")
        same(other.timeless, t.base.timeless, "the metrics of two ranks")
        check(plan(t.recipe((2,)))[role]["optimizer"] < 0.6 * plan(t.recipe())[role]["optimizer"], "two ranks keep as much each as one alone")

    @row(place + "zero_stage", base, 3, two)
    def _(t):
        same(t.at(3, environment=mpi()).hashes, t.without(environment=mpi()).hashes, "what is learnt")
        whole = {"actor": "model", "critic": "roles__critic__model"}[role]
        shares = {stage: plan(t.recipe((stage,), **{whole: None if role == "critic" else STORIES}))[role] for stage in (1, 2, 3)}
        check(shares[2]["gradient"] < shares[1]["gradient"] and shares[3]["weights"] < shares[2]["weights"], f"the ranks' shares are {shares}")

    @row(place + "gradient_sum", base, "all_reduce", {**two, f"roles.{role}.ranks": 3})
    def _(t):
        # Another order of the sums: other bytes, and the same numbers to rounding.
        tree, other = t.without(environment=mpi()), t.at("all_reduce", environment=mpi())
        name = "critic" if role == "critic" else ""
        a, b = tree.optimizer(name)["exp_avg"], other.optimizer(name)["exp_avg"]
        largest = max(map(abs, a))
        for x, y in zip(a[::97], b[::97]):
            close(x, y, 1e-4, 1e-5 * largest, "exp_avg")
        check(a != b, "the sums are the tree's, bit for bit")


rank_rows("actor", "sft")
rank_rows("critic", "ppo")

# ---- GPUs, emulated: in fp32 they give a CPU's bytes

FP32 = {"precision": "fp32"}


def little():
    """A PPO run that is quick where a GPU is emulated."""
    return {"generation.max_new_tokens": 2, "data.batch": 2, "model": table_model("policy"), "reference": None}


def device_row(key, base, value, also=None, on_cpu=None):
    @row(key, base, value, lambda: {**FP32, **(little() if base == "ppo" else {}), **(also or {})})
    def _(t):
        other, plain = t.at(value, environment=gpu()), run({**t.recipe(), **(on_cpu or {})})
        same(other.hashes, plain.hashes, "what is learnt")
        role = key.split(".")[1]
        check(device(t.recipe((value,)), role) == value and device(t.recipe(), role) == "cpu", f"`troupe check` has {role} elsewhere")
        if role != "reference":  # it does not log where it computes
            log = "rollout-0.log" if role == "rollout" else role + ".log"
            check("device=cuda" in other.text("logs", log) and "device=cuda" not in plain.text("logs", log), f"{log} says that it computes elsewhere")


def device(it, role):
    """Where `troupe check` says that a role computes."""
    path, _ = write_recipe({**it, "roles.rollout.device": it.get("roles.actor.device", "cpu")} if role == "actor" and it["algorithm"] == "ppo" else it)
    line = next(line for line in check_lines(path, gpu()) if line.split()[:1] == [role])
    return line.split()[2]


ON_CPU = {"roles.actor.device": "cpu", "roles.rollout.device": "cpu", "roles.critic.device": "cpu", "roles.reference.device": "cpu"}
device_row("roles.actor.device", "sft", "cuda:0")
device_row("roles.critic.device", "ppo", "cuda:0")
device_row("roles.reference.device", "dpo", "cuda:1", {"roles.reference.separate": True, "roles.actor.device": "cuda:0"}, ON_CPU)


@row("roles.rollout.device", "ppo", "cuda:1", lambda: {**FP32, **little(), "roles.actor.device": "cuda:0", "roles.rollout.device": "cuda:0"})
def _(t):
    base, other = t.without(environment=gpu()), t.at("cuda:1", environment=gpu())
    same((device(t.recipe(), "rollout"), device(t.recipe((t.value,)), "rollout")), ("cuda:0", "cuda:1"), "where `troupe check` has the rollout")
    same(other.hashes, base.hashes, "what two GPUs learn")
    same(other.hashes, run({**t.recipe(), **ON_CPU}).hashes, "what a CPU learns")


def memory_row(key, base, also):
    @row(key, base, 1e-4, lambda: {**FP32, **(little() if base == "ppo" else {}), **also()})
    def _(t):
        # The emulated GPU has room for all; the row's role is allowed too little, and the run is refused.
        refused = t.at(1e-4, ends_well=False, environment=gpu())
        check(refused.code == 12 and "its `memory` is" in refused.out, f"the run says {refused.out!r}")
        enough, free = t.at(2, environment=gpu()), t.without(environment=gpu())
        same((enough.code, enough.hashes), (0, free.hashes), "what is learnt with enough memory")


memory_row("roles.actor.memory", "sft", lambda: ON_GPU)
memory_row("roles.critic.memory", "ppo", lambda: {"roles.critic.device": "cuda"})
memory_row("roles.rollout.memory", "ppo", lambda: {"roles.rollout.device": "cuda", "roles.actor.device": "cuda"})
memory_row("roles.reference.memory", "dpo", lambda: {"roles.reference.separate": True, "roles.actor.device": "cuda", "roles.reference.device": "cuda"})
memory_row("roles.reward[model].memory", "sample", lambda: {"roles.reward": [{"model": table_model("critic"), "device": "cuda"}]})


@row("roles.rollout.weights", "ppo", "host", lambda: {**little(), **FP32, "roles.actor.device": "cuda:0", "roles.rollout.device": "cuda:0"})
def _(t):
    base, other = t.without(environment=gpu()), t.at("host", environment=gpu())
    same(other.hashes, base.hashes, "what is learnt")
    check("place=emulated" in base.text("logs", "actor.log"), "the weights leave the GPU")
    check("place=emulated" not in other.text("logs", "actor.log"), "the weights do not leave the GPU")


@row("optimizer.offload", "sft", True, {**FP32, **ON_GPU, "data.batch": 1})
def _(t):
    # The same bytes; the moments, 8 bytes a parameter, are in the host's memory instead of the GPU's.
    same(t.at(True, environment=gpu()).hashes, t.without(environment=gpu()).hashes, "what is learnt")
    refused = t.at(True, ends_well=False, roles__actor__device="cpu")
    check(refused.code == 11 and "optimizer.offload: read only where the actor is on a GPU" in refused.out, f"the run says {refused.out!r}")
    check(plan(t.recipe((True,)))["actor"]["optimizer"] == 0 < plan(t.recipe())["actor"]["optimizer"], "the moments are on the GPU")


@row("optimizer.rounding", "sft", "stochastic", {**ON_GPU, "data.batch": 1})
def _(t):
    # The parameters are bf16 numbers: the lower half of each is 0.
    other, base = t.at("stochastic", environment=gpu()), t.without(environment=gpu())
    close(other.first["loss"], base.first["loss"], what="the loss before the first update")
    halves = lambda it: set(array.array("I", it.weights("final")["lm_head.weight"].tobytes())[::97])
    check(all(x & 0xFFFF == 0 for x in halves(other)), "a parameter is no bf16 number")
    check(any(x & 0xFFFF for x in halves(base)), "the base's parameters are bf16 numbers too")


@row("roles.reward[model].device", "sample", "cuda:0", lambda: {**FP32, "roles.reward": [{"model": table_model("critic")}]})
def _(t):
    other = t.at("cuda:0", environment=gpu())
    check("device=cuda" in other.text("logs", "model-0.log"), "the judge does not say that it computes on a GPU")
    same(responses(other), responses(t.base), "the responses")
    same([s["score"] for s in other.samples], [s["score"] for s in t.base.samples], "the scores")


# ---- network


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def with_rollout(it, watch=lambda job: None):
    """The run of a recipe whose rollout is started by hand, as the run says; watch(job) looks at it before."""

    def join(job):
        line = job.line_with("is to be started by hand")
        place = dict(word.split("=", 1) for word in line.split() if "=" in word)
        watched.append((line, place, watch(job)))
        keys = ["--keys", place["TROUPE_KEYS"]] if "TROUPE_KEYS" in place else []
        return [os.path.join(PROGRAMS, "troupe-rollout"), "--connect", place["TROUPE_ENDPOINT"], *keys, "--name", "rollout-0"]

    watched = []
    found = attended(it, join)
    return found, watched[0]


@row("roles.rollout.external", "ppo", 1)
def _(t):
    found, (line, _, _) = with_rollout(t.recipe((1,)))
    t.used = True
    check("rollout-0" in line, f"the run says {line!r}")
    check(not found.exists("logs", "rollout-0.log"), "the run starts the rollout itself")
    same(found.hashes, t.base.hashes, "what is learnt")


BY_HAND = {"roles.rollout.external": 1}


@row("network.bind", "ppo", "tcp://127.0.0.1:*", BY_HAND)
def _(t):
    found, (_, place, endpoint) = with_rollout(t.recipe((t.value,)), lambda job: open(os.path.join(job.directory, "endpoint"), encoding="utf-8").read().strip())
    t.used = True
    check(endpoint.startswith("tcp://127.0.0.1:") and place["TROUPE_ENDPOINT"] == endpoint, f"the endpoint is {endpoint!r}")
    same(found.hashes, run(recipe("ppo")).hashes, "what is learnt")
    _, (_, place, _) = with_rollout(t.recipe())
    check(place["TROUPE_ENDPOINT"].startswith("ipc://"), f"the endpoint is {place['TROUPE_ENDPOINT']!r}")


@row("network.keys", "ppo", os.path.join(SCRATCH, "keys"), {**BY_HAND, "network.bind": "tcp://127.0.0.1:*"})
def _(t):
    once("keys", lambda: troupe("keys", t.value))
    found, (_, place, _) = with_rollout(t.recipe((t.value,)))
    t.used = True
    same(place.get("TROUPE_KEYS"), t.value, "the keys that the run prints")
    same(found.hashes, run(recipe("ppo")).hashes, "what is learnt")


@row("network.weights_port", "ppo", free_port(), {**BY_HAND, "network.bind": "tcp://127.0.0.1:*"})
def _(t):
    def answers(job):
        job.wait_for("nobody listens at the port", listens)
        return True

    def listens():
        with socket.socket() as s:
            s.settimeout(1)
            return s.connect_ex(("127.0.0.1", t.value)) == 0

    check(not listens(), "the port is taken")
    found, _ = with_rollout(t.recipe((t.value,)), answers)
    t.used = True
    same(found.hashes, run(recipe("ppo")).hashes, "what is learnt")
