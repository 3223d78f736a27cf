"""Golden metrics of 50 steps of GRPO and of RLOO: the trainers of trl==1.16.0 on Troupe's responses and scores.

    PYTHONPATH=TRL python tests/golden/make_grpo_trl.py          # writes tests/golden/grpo_trl.json and rloo_trl.json

TRL is the unpacked wheel of trl 1.16.0. Troupe runs grpo_trl.yaml or rloo_trl.yaml, and replay.py notes the ids of all responses. Then
TRL's trainer learns from the same policy and reference, in float32 on the CPU: its two methods that tokenize prompts and generate, and its
reward function, give what was noted. All that follows is TRL's own code, of which no line is changed.

A step of Troupe has `num_iterations` updates, each of which TRL logs by itself: `clip_ratio/low_min` is the least of them,
`clip_ratio/high_max` the greatest, and the other metrics are means, as docs/algorithms.md says. The prompts are those of make_ppo_trl.py.
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers
import trl
import yaml
from datasets import Dataset
from replay import ROOT, noted_run, score, texts_hash, trainer_options, words_of
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

assert trl.__version__ == "1.16.0", trl.__version__
FOLDER = ROOT / "tests/golden"
TRAINERS = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}
LEFT_OUT = {"step_time", "epoch"}


def config_of(settings, output):
    """TRL's options for a recipe."""
    generation = settings["generation"]
    responses = settings["data"]["batch"] * generation["samples"]
    return TRAINERS[settings["algorithm"]][0](
        **settings["grpo"],  # the same names
        num_generations=generation["samples"],
        temperature=generation["temperature"],
        max_completion_length=generation["max_new_tokens"],
        **trainer_options(settings, output),
        per_device_train_batch_size=responses,  # one micro-batch an update: a mean over all of its tokens
        max_steps=settings["steps"] * settings["grpo"]["num_iterations"],
        logging_steps=1,
        model_init_kwargs={"dtype": "float32"},
    )


def learn(settings, steps, output):
    """What TRL logs of each update."""
    model = str((FOLDER / settings["model"]).resolve())
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    logged, step = [], [-1]

    class Trainer(TRAINERS[settings["algorithm"]][1]):
        def _tokenize_prompts(self, prompts):
            step[0] += 1
            return [sample["prompt_ids"] for sample in steps[step[0]]], None, {}

        def _generate_single_turn(self, *_):
            responses = [sample["response_ids"] for sample in steps[step[0]]]
            return (responses, None) if settings["algorithm"] == "grpo" else responses

        def log(self, logs, start_time=None):
            means = {name: sum(values) / len(values) for name, values in self._metrics["train"].items()}
            if "loss" in logs:  # the last line is of the whole training
                logged.append({**logs, **means})
            super().log(logs, start_time)

    def words(completions, **_):
        return [score(words_of(settings), sample["response"]) for sample in steps[step[0]]]

    assert not any(tokenizer.pad_token_id in sample["response_ids"] for samples in steps for sample in samples)
    dataset = Dataset.from_dict({"prompt": [sample["prompt"] for samples in steps for sample in samples[:: settings["generation"]["samples"]]]})
    Trainer(model=model, reward_funcs=words, args=config_of(settings, output), train_dataset=dataset, processing_class=tokenizer).train()
    return logged


def metrics_of(updates):
    """Of a step, from what was logged of its updates."""
    together = {"clip_ratio/low_min": min, "clip_ratio/high_max": max, "num_tokens": max}
    values = {name: [update[name] for update in updates if name in update] for name in {**updates[0], **updates[-1]} if name not in LEFT_OUT}
    return {name: together.get(name, lambda x: sum(x) / len(x))(found) for name, found in values.items()}


def main(name):
    settings = yaml.safe_load((FOLDER / f"{name}_trl.yaml").read_text())
    torch.set_num_threads(1)  # the same numbers wherever it runs
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        run, steps = noted_run(settings, FOLDER / f"{name}_trl.yaml", scratch)
        lines = [json.loads(line) for line in open(run / "samples.jsonl", encoding="utf-8")]
        updates = learn(settings, steps, scratch)
    size, passes = len(steps[0]), settings["grpo"]["num_iterations"]
    assert [line["score"] for line in lines] == [score(words_of(settings), sample["response"]) for step in steps for sample in step]
    metrics = [metrics_of(updates[i : i + passes]) for i in range(0, len(updates), passes)]
    assert len(metrics) == settings["steps"]
    golden = {
        "made_by": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "recipe": settings,
        "left_out": sorted(LEFT_OUT),
        "responses": [texts_hash(lines[i : i + size]) for i in range(0, len(lines), size)],
        "metrics": {name: [row[name] for row in metrics] for name in metrics[0]},
    }
    (FOLDER / f"{name}_trl.json").write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or TRAINERS:
        main(name)
