"""What TRL's trainers are given of a run of Troupe: the prompts, responses and scores of each step.

make_ppo_trl.py and make_grpo_trl.py run a recipe with a second judge, of weight 0, which is this file: it notes the ids of all responses.
TROUPE_BUILD: default build.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def serve_notes(path):
    """The judge: appends each sample that it is asked about to the file."""
    sys.path.insert(0, str(ROOT / "examples/rewards"))
    import happy_words  # starts itself again under the distribution's Python where this one has no zmq

    def judge(body):
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(sample) + "\n" for sample in body["samples"]))
        return {"scores": [0.0] * len(body["samples"])}

    happy_words.judge = judge
    sys.argv = sys.argv[:1]
    happy_words.main()


def trainer_options(settings, output):
    """Those of transformers' TrainingArguments that say of a recipe the same to every trainer of TRL."""
    optimizer = settings["optimizer"]
    return dict(
        learning_rate=optimizer["learning_rate"],
        lr_scheduler_type=optimizer["schedule"],
        max_grad_norm=optimizer["clip"],
        adam_beta1=optimizer["beta1"],
        adam_beta2=optimizer["beta2"],
        adam_epsilon=optimizer["epsilon"],
        weight_decay=optimizer["weight_decay"],
        optim="adamw_torch",
        seed=settings["seed"],
        gradient_accumulation_steps=1,
        output_dir=str(output / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )


def troupe(recipe, output, name, *overrides):
    """Runs the recipe; returns the run's directory."""
    program = ROOT / os.environ.get("TROUPE_BUILD", "build") / "bin/troupe"
    command = [program, "run", recipe, f"output={output}", f"name={name}", *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return output / name


def noted_run(settings, recipe, output):
    """The run; returns its directory and the noted samples of each step, in the order of the batch."""
    path = output / "notes.jsonl"
    notes = {"exec": [sys.executable, str(pathlib.Path(__file__).resolve()), str(path)], "weight": 0.0}
    judges = json.dumps([*settings["roles"]["reward"], notes])
    run = troupe(recipe, output, "run", f"roles.reward={judges}")
    samples = {sample["id"]: sample for sample in map(json.loads, open(path, encoding="utf-8"))}
    batch = settings["data"]["batch"] * settings["generation"].get("samples", 1)
    return run, [[samples[step * batch + i] for i in range(batch)] for step in range(settings["steps"])]


def words_of(settings):
    return settings["roles"]["reward"][0]["words"]


def score(words, text):
    """What the judge of words says."""
    return float(sum(worth * len(re.findall(rf"\b{word}\b", text, re.I)) for word, worth in words.items()))


def texts_hash(samples):
    """Of a step's lines of samples.jsonl: whether a run gave the responses that TRL was given."""
    text = json.dumps([[sample["response"], sample["finish"]] for sample in samples])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    serve_notes(sys.argv[1])
