"""Every key that an algorithm takes has an effect on a run of it.

keys.py asserts what a key does, in one recipe. Here each key of each algorithm and loss is set to another value, in a recipe in which all of
them can matter (rows that are cut, responses that end, epochs that end, ...): the run must refuse the key by its name, or leave something
else behind: weights, metrics, samples, files.
    effects.py [PATTERN]    only the variants whose name matches
"""
import concurrent.futures
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "keys"))
import rows_generating  # noqa: E402,F401
import rows_grpo  # noqa: E402,F401
import rows_judging  # noqa: E402,F401
import rows_learning  # noqa: E402,F401
import rows_running  # noqa: E402,F401
from data import COMPLETIONS, LABELLED, PAIRS, PROMPTS, STEPS, TEXTS, write_rows, write_text  # noqa: E402
from harness import run, troupe  # noqa: E402
from models import table_model  # noqa: E402
from table import ROWS, leaves  # noqa: E402

# Speed, place and memory: the same bytes by design, which keys.py asserts, and by code that no algorithm has for itself.
ELSEWHERE = re.compile(r"algorithm|name|output|log_level|network\..*|optimizer\.gradient_checkpointing|"
                       r"optimizer\.router_aux_loss_coef|"  # of mixtures of experts
                       r"generation\.response_length|"  # another name
                       r"roles\..*\.(device|threads|workers|max_batch|weights|external|ranks|zero_stage|gradient_sum)|roles\.reward.*")

# ---- recipes


def said(role, text):
    return [{"role": role, "content": text}]


def talked(rows):
    """The rows as conversations."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant", "completion": "assistant"}
    return [{name: said(roles[name], what) if name in roles else what for name, what in row.items()} for row in rows]


def rows_file(name, rows):
    """With a row that is bad, and columns that might be meant instead."""
    others = {"prompt": "question", "text": "story"}
    rows = [{**row, **{others[name]: rows[i - 1].get(name, what) for name, what in row.items() if name in others}} for i, row in enumerate(rows)]
    return write_rows("walk-" + name, rows + [{"nothing": "of use"}])


def rows_files(name, *kinds):
    """A file for the rows of each kind."""
    return {"data.train": [rows_file(f"{name}-{i}", rows) for i, rows in enumerate(kinds)],
            "data.eval": [rows_file(f"held-out-{name}-{i}", rows[-2:]) for i, rows in enumerate(kinds)]}


TALKS = [{"messages": said("user", row["prompt"]) + said("assistant", row["completion"])} for row in COMPLETIONS[:10]]
TEMPLATE = ("{% for message in messages %}{{ mood }}{% if message.role == 'user' %}Human: {{ message.content }}{% else %}"
            "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}")
# Ten rows in batches of four: the third batch is a smaller one, the fourth of another epoch.
EVERY = {"steps": 4, "seed": 5, "data.batch": 4, "data.on_bad_row": "drop", "data.chat_template": write_text("walk.jinja", TEMPLATE),
         "checkpoint.every": 1}
LEARNS = {**EVERY, "model": table_model("policy"), "optimizer.learning_rate": 1e-2, "optimizer.weight_decay": 0.5, "checkpoint.best": "eval_loss",
          "evaluation.every": 2}
LONG = {"prompt": " ".join(row["prompt"] for row in PROMPTS)}
GENERATES = {"data.prompts": [rows_file("prompts", [*PROMPTS[:4], LONG]), rows_file("talks", talked(PROMPTS[4:6]))],
             "generation.max_new_tokens": 12, "generation.temperature": 1.0, "model": table_model("ending"),
             "roles.reward": [{"words": {"a": 1.0, "was": 2.0, "the": 0.5}}, {"length": {"target": 6}}]}
ONLINE = {**LEARNS, **GENERATES, "samples.every": 1, "data.eval": [rows_file("held-out-prompts", PROMPTS[:3])], "checkpoint.best": "eval_objective/scores"}
REFERENCE = {"reference": table_model("reference")}
SFT = {**LEARNS, "algorithm": "sft", "sft.max_length": 24, **rows_files("texts", COMPLETIONS[:7], talked(COMPLETIONS[7:10]))}
PAIRED = {**LEARNS, **rows_files("pairs", PAIRS[:7], talked(PAIRS[7:10]))}
DPO = {**PAIRED, **REFERENCE, "algorithm": "dpo", "dpo.max_length": 24}
KTO = {**LEARNS, **REFERENCE, "algorithm": "kto", "kto.max_length": 30, **rows_files("labels", LABELLED[:7], talked(LABELLED[7:10]))}
ONLINE_DPO = {**ONLINE, **REFERENCE, "algorithm": "online_dpo", "generation.samples": 3}
# Responses of which some end, in two passes of two updates that clip.
GRPO = {**ONLINE, **REFERENCE, "algorithm": "grpo", "generation.samples": 4, "grpo.num_iterations": 2, "grpo.steps_per_generation": 2,
        "grpo.beta": 0.1}
GRPO_KEYS = r"grpo\..*|reference|roles\.reference.*"
FOLLOWING = {"reference": None, "dpo.sync_ref_model": True, "dpo.ref_model_sync_steps": 1}
DPO_KEYS = r"dpo\..*|reference|roles\.reference.*"


def with_loss(recipe, loss):
    """Of dpo, one without a reference."""
    return {**recipe, "dpo.loss_type": loss, "reference": None}


def variants():
    """Name, recipe, and the keys to walk: of the variants of an algorithm those alone that may depend on what varies."""
    yield "ppo", {**ONLINE, **REFERENCE, "algorithm": "ppo", "roles.critic.model": table_model("critic"), "ppo.num_ppo_epochs": 2,
                  "ppo.num_mini_batches": 2, "ppo.gamma": 0.9}, ".*"
    yield "grpo", {**GRPO, "grpo.epsilon": 0.01}, ".*"
    for loss, clip in {"cispo": {"grpo.epsilon_high": 1.01}, "sapo": {}, "vespo": {}, "gmpo": {"grpo.epsilon": 0.01}}.items():
        yield f"grpo: {loss}", {**GRPO, **clip, "grpo.loss_type": loss}, r"grpo\..*"
    yield "grpo: without a reference", {**GRPO, "reference": None, "grpo.beta": None}, GRPO_KEYS
    for name in ("rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "opo", "flash_reinforce", "remax"):
        yield name, {**GRPO, "algorithm": name}, GRPO_KEYS
    yield "sft", SFT, ".*"
    yield "sft: dft", {**SFT, "sft.loss_type": "dft"}, r"sft\..*"
    yield "sft: conversations", {**SFT, "sft.max_length": 60, **rows_files("talks", TALKS)}, r"(sft|data)\..*"
    yield "sft: texts", {**SFT, "data.chat_template": None, **rows_files("lines", TEXTS[:10])}, r"(sft|data)\..*"
    yield "sft: packed", {**SFT, "sft.packing": True}, r"(sft|data)\..*"
    yield "reward", {**PAIRED, "algorithm": "reward"}, ".*"
    yield "reward: steps", {**LEARNS, "algorithm": "reward", "data.chat_template": None, **rows_files("steps", STEPS[:10])}, r"(reward|data)\..*"
    yield "dpo", DPO, ".*"
    yield "dpo: following", {**DPO, **FOLLOWING}, DPO_KEYS
    for loss in ("sft", "simpo"):  # the options of each other loss: tests/common/algo/test_dpo.c
        yield f"dpo: {loss}", with_loss(DPO, loss), DPO_KEYS
    yield "kto", KTO, ".*"
    yield "kto: apo_zero_unpaired", {**KTO, "kto.loss_type": "apo_zero_unpaired"}, r"kto\..*|reference"
    yield "online_dpo", ONLINE_DPO, ".*"
    yield "online_dpo: following", {**ONLINE_DPO, **FOLLOWING}, DPO_KEYS
    yield "online_dpo: simpo", with_loss(ONLINE_DPO, "simpo"), DPO_KEYS
    yield "rejection_sampling", {**ONLINE, "algorithm": "rejection_sampling", "generation.samples": 2}, ".*"
    yield "sample", {**EVERY, **GENERATES, "steps": 3, "data.batch": 2, "algorithm": "sample"}, ".*"


# Where the value of keys.py's row would not do here, or is the recipe's.
OTHER = {"steps": 2, "data.batch": 3, "data.on_bad_row": "fail",
         "generation.temperature": 0.8, "generation.top_k": 3, "generation.top_p": 0.5, "generation.min_p": 0.3, "generation.stop": ["a", "e"],
         "generation.stop_ids": list(range(100, 600)), "ppo.num_mini_batches": 4, "ppo.gamma": 0.4,
         "dpo.loss_weights": [0.5], "dpo.max_length": 16, "kto.max_length": 15, "roles.critic.model": table_model("zero"), "evaluation.patience": 1,
         "checkpoint.every": 4, "checkpoint.keep": 9, "data.max_prompt_length": 60, "data.columns": {"prompt": "question"}}
# What both runs need for the key to matter.
ALSO = {"evaluation.patience": {"optimizer.learning_rate": 1e-12, "evaluation.every": 1},  # nothing becomes better
        **{f"lora.{name}": {"lora.r": 2} for name in ("lora_alpha", "lora_dropout", "use_rslora", "target_modules", "modules_to_save", "init_lora_weights")},
        "dpo.f_alpha_divergence_coef": {"dpo.f_divergence_type": "alpha_divergence"}}

# ---- the walk


def other_value(key, recipe):
    if key == "data.train" and key in recipe:
        return recipe["data.train"] + recipe["data.eval"][:1]
    if key == "data.prompts" and key in recipe:
        return [rows_file("more", PROMPTS[6:8])] + recipe["data.prompts"]
    if key == "data.eval" and key in recipe:
        return recipe["data.train"] if "data.train" in recipe else recipe["data.prompts"]
    if key == "reference":
        return table_model("ending" if recipe["model"] == table_model("policy") else "policy")
    if key == "lora.modules_to_save" and recipe["algorithm"] == "reward":  # whose head is always trained and saved
        return ["norm"]
    if key == "grpo.kl_in":
        return "loss" if recipe["algorithm"] in ("rloo", "reinforce_plus_plus", "remax") else "reward"
    if key == "evaluation.target":  # reached at once
        return -1e3 if recipe.get("checkpoint.best") == "eval_objective/scores" else 1e3
    return OTHER[key] if key in OTHER else ROWS[key].value


def left_behind(found):
    """All of a run but its times and its own recipe."""
    names = sorted(os.path.relpath(os.path.join(folder, name), found.directory) for folder, *names in os.walk(found.directory) for name in sum(names, []))
    samples = found.text("samples.jsonl") if found.exists("samples.jsonl") else ""
    configs = [found.text(name) for name in names if name.endswith("/config.json")]
    return found.hashes, found.timeless, samples, configs, [name for name in names if "events.out" not in name]


def tried(recipe, key):
    """What became of a key: "refused", "has an effect", or a sentence."""
    base = {**recipe, **ALSO.get(key, {})}
    value = other_value(key, recipe)
    if key in base and base[key] == value:
        value = None  # of a variant: the default
    found = run({**base, key: value}, ends_well=False)
    if found.code != 0:
        # by its name, beside another key that is of no use then, or because rows that it makes bad are missing
        named = key in found.out or re.search(r"nothing reads this key|read only where|is for learners on GPUs|rows are bad and were dropped|the files hold", found.out)
        return "refused" if named else "the run ends: " + " / ".join(found.out.strip().splitlines()[-2:])
    return "has an effect" if left_behind(found) != left_behind(run(base)) else f"{value!r} is taken, and changes nothing"


def main():
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else ".")
    schema = json.loads(troupe("schema"))["properties"]
    keys = [key for key, _ in leaves(schema) if not ELSEWHERE.fullmatch(key)]
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        jobs = [(name, [(key, pool.submit(tried, recipe, key)) for key in keys if re.fullmatch(walked, key)])
                for name, recipe, walked in variants() if pattern.search(name)]
        for name, walk in jobs:
            outcomes = [(key, job.result()) for key, job in walk]
            wrong = [(key, what) for key, what in outcomes if what not in ("refused", "has an effect")]
            for key, what in wrong:
                print(f"   FAILED {name}: {key}: {what}")
            failures += len(wrong)
            effects = sum(what == "has an effect" for _, what in outcomes)
            print(f"-- {name}: {effects} keys with an effect, {len(outcomes) - effects - len(wrong)} refused", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
