"""The rows that the recipes of the keys' table learn from, and the recipes that its rows begin with."""
import json
import os

from harness import SCRATCH, once
from models import EOS, STORIES, ids, table_model, scaled_stories

EXAMPLES = "examples/data"


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(name, rows):
    """The path of a file of these rows, written once."""

    def write():
        path = os.path.join(SCRATCH, name + ".jsonl")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        return path

    return once(("rows", name), write)


def write_text(name, text):
    """The path of a file of this text, written once."""

    def write():
        path = os.path.join(SCRATCH, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    return once(("text", name), write)


def _words(text, start, end):
    return " ".join(text.split(" ")[start:end])


PAIRS = [{"prompt": _words(row["prompt"], -5 - i % 3, None), "chosen": _words(row["chosen"], 0, 9 - i % 4), "rejected": _words(row["rejected"], 0, 6 + i % 3)}
         for i, row in enumerate(read_rows(EXAMPLES + "/pairs.jsonl")[:12])]
COMPLETIONS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
TEXTS = [{"text": row["prompt"] + row["chosen"]} for row in PAIRS]
LABELLED = [{"prompt": row["prompt"], "completion": row["rejected" if i % 3 == 1 else "chosen"], "label": i % 3 != 1} for i, row in enumerate(PAIRS)]
STEPS = [{"prompt": row["prompt"], "completions": [row["chosen"].strip(), row["rejected"].strip()], "labels": [True, False]} for row in PAIRS]
PROMPTS = [{"prompt": row["prompt"]} for row in read_rows(EXAMPLES + "/openings.jsonl")[:8]]
BATCH = 4


def completion_ids(text):
    return ids(text) + [EOS]


def token_count(row, *columns):
    """Tokens of a row of texts, with the token that begins it and the one that ends it."""
    return 1 + sum(len(ids(row[column])) for column in columns) + 1


def recipe(name):
    """The recipe that a row of the table begins with: one step, of four rows in their order, with gradients as they are."""
    learns = {"steps": 1, "seed": 5, "data.batch": BATCH, "data.shuffle": False, "optimizer.clip": None, "optimizer.schedule": "constant",
              "optimizer.learning_rate": 1e-3}
    generates = {**learns, "model": STORIES, "data.prompts": write_rows("prompts", PROMPTS), "generation.max_new_tokens": 8,
                 "generation.temperature": 1.0, "samples.every": 1, "samples.count": 8,
                 "roles.reward": [{"words": {"a": 1.0, "was": 2.0, "the": 0.5}}]}
    if name == "sft":
        return {**learns, "algorithm": "sft", "model": table_model("policy"), "data.train": write_rows("completions", COMPLETIONS)}
    if name == "reward":
        return {**learns, "algorithm": "reward", "model": STORIES, "data.train": write_rows("pairs", PAIRS)}
    if name == "dpo":
        return {**learns, "algorithm": "dpo", "model": table_model("policy"), "reference": table_model("reference"),
                "data.train": write_rows("pairs", PAIRS)}
    if name == "kto":
        return {**learns, "algorithm": "kto", "model": table_model("policy"), "reference": table_model("reference"),
                "data.train": write_rows("labelled", LABELLED)}
    if name == "ppo":
        return {**generates, "algorithm": "ppo", "reference": scaled_stories(0.7), "roles.critic.model": table_model("critic"),
                "ppo.num_ppo_epochs": 1, "ppo.kl_coef": 0.5}
    if name in ("grpo", "rloo", "reinforce_plus_plus", "flash_reinforce"):
        return {**generates, "algorithm": name, "generation.samples": 2}
    if name == "online_dpo":
        return {**generates, "algorithm": "online_dpo", "generation.samples": 2}
    generates = {key: what for key, what in generates.items() if not key.startswith(("optimizer.", "samples.")) and key != "data.shuffle"}
    return {**generates, "algorithm": "sample", "generation.temperature": 1.0}
