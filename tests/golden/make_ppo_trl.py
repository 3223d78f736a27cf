"""Golden metrics of a PPO run of 30 steps: trl==1.12.0's own PPOTrainer on Troupe's responses and scores.

    python tests/golden/make_ppo_trl.py          # writes tests/golden/ppo_trl.json

Troupe runs tests/golden/ppo_trl.yaml, and replay.py notes the ids of all responses. Then TRL's trainer learns from
the same policy, reference and first critic, in float32 on the CPU. What it would sample, judge or draw is replaced: the prompts of
each step, the responses, the scores, and the permutations of the minibatches. All that follows, from the log-probs to the optimizer,
is TRL's own code but for the lines in CHANGES, each of them a row of "Where Troupe departs from TRL" in docs/algorithms.md. The other
rows make no difference here: there is one rank, and a minibatch is one micro-batch.

TRL's `eps` is left out, since it measures time. `grad_norm/actor` and `grad_norm/critic` are no metrics of TRL: they are what
torch.nn.utils.clip_grad_norm_ says of its gradients. The prompts are sentences of examples/data/held-out-pairs.jsonl, from near the
end of stories, so that some responses end within the few tokens that they have.

    python tests/golden/make_ppo_trl.py RECIPE.yaml OUT.json      # for another recipe with the same keys

TROUPE_BUILD: default build. PPO_TRL_DTYPE: default float32; float64 shows how much of a difference is TRL's rounding.
"""

import inspect
import json
import os
import pathlib
import sys
import tempfile
import textwrap

import numpy
import torch
import transformers
import trl
import yaml
from datasets import Dataset
from replay import ROOT, noted_run, score, texts_hash, trainer_options, troupe, words_of
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, ppo_trainer

assert trl.__version__ == "1.12.0", trl.__version__
FOLDER = ROOT / "tests/golden"

# What is replaced in the source of PPOTrainer.train: its text, ours, and the row of docs/algorithms.md that says why.
CHANGES = [
    (
        "sequence_lengths_p1 = sequence_lengths + 1",
        "sequence_lengths_p1 = sequence_lengths",
        "place of the score; value past the end; value loss: no position after the last token takes part",
    ),
    (
        "accelerator.backward(loss)",
        "accelerator.backward(loss); notes.end_backward(model, args, ~padding_mask[micro_batch_inds])",
        "gradient clipping; optimizers: the policy's gradient and the critic's are clipped, each by its norm",
    ),
    *(
        (theirs, ours, "KL, entropy, approxkl, ratio: means over real tokens only")
        for theirs, ours in (
            ("(logprobs_diff**2).mean()", "masked_mean(logprobs_diff**2, ~padding_mask[micro_batch_inds])"),
            ("= entropy.mean()", "= masked_mean(entropy, ~padding_mask[micro_batch_inds])"),
            ("= ratio.mean()", "= masked_mean(ratio, ~padding_mask[micro_batch_inds])"),
        )
    ),
    *(
        (
            f"self.accelerator.gather_for_metrics({name}_stats).mean()",
            f"notes.token_mean({name}_stats)",
            "means of losses: the metrics are means over the tokens of all minibatches, not over minibatches",
        )
        for name in ("approxkl", "pg_clipfrac", "pg_loss", "vf_loss", "vf_clipfrac", "entropy", "ratio")
    ),
]


class Notes:
    """What the changed lines leave for the metrics of a step."""

    def __init__(self):
        self.begin_step()

    def begin_step(self):
        self.tokens, self.norms = [], []

    def end_backward(self, model, args, mask):
        self.tokens.append(mask.sum().item())
        self.norms.append(
            [
                torch.nn.utils.clip_grad_norm_(role.parameters(), args.max_grad_norm).item()
                for role in (model.policy, model.value_model)
            ]
        )

    def token_mean(self, stats):
        weights = torch.tensor(self.tokens, dtype=stats.dtype).view(stats.shape)
        return (stats * weights).sum() / weights.sum()


def philox(counter, key):
    """tr_philox (common/base/rng.c)."""
    c, k, low = list(counter), list(key), 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & low, p0 >> 32 ^ c[3] ^ k[1], p0 & low]
        k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
    return c


def permutation(n, seed, step, epoch):
    """tr_rng_permutation: the order in which Troupe's learners visit a step's sequences in an epoch."""
    order, shuffle = list(range(n)), 2
    for i in range(n, 1, -1):
        j = philox((i, epoch, step, shuffle), (seed & 0xFFFFFFFF, seed >> 32))[0] * i >> 32
        order[i - 1], order[j] = order[j], order[i - 1]
    return numpy.array(order)


# Troupe's run


def first_critic(recipe, output):
    """The critic before it learns: that of a run of one step, whose learning rate is 0."""
    run = troupe(recipe, output, "first", "steps=1", "optimizer.warmup=1")
    (critic,) = run.glob("checkpoints/*/critic")
    return critic


def check_samples(run, settings, steps):
    """The samples that the run wrote are the noted ones, and have the scores that TRL is given. Returns the hash of each step."""
    lines = [json.loads(line) for line in open(run / "samples.jsonl", encoding="utf-8")]
    noted = [sample for step in steps for sample in step]
    assert len(lines) == len(noted)
    for line, sample in zip(lines, noted):
        penalty = 0.0 if sample["finish"] == "eos" else settings["ppo"]["missing_eos_penalty"]
        assert [line["response"], line["finish"]] == [sample["response"], sample["finish"]], (line, sample)
        assert line["score"] == score(words_of(settings), sample["response"]) - penalty, (line, sample)
    size = len(steps[0])
    return [texts_hash(lines[i : i + size]) for i in range(0, len(lines), size)]


# TRL's run


def padded(rows, length, pad, left):
    fill = [[pad] * (length - len(row)) for row in rows]
    return torch.tensor([more + row if left else row + more for row, more in zip(rows, fill)])


class Judge(torch.nn.Module):
    """Stands where TRL expects a reward model."""


class Replay:
    """The parts of ppo_trainer's namespace that are not TRL's own: what would be sampled, judged or drawn."""

    def __init__(self, settings, steps, pad):
        self.settings, self.steps, self.pad = settings, steps, pad
        self.step = 0  # of which the prompts were taken last
        self.epoch = 0

    def batches(self):
        """What TRL's data loader would give."""
        for self.step, samples in enumerate(self.steps, 1):
            self.epoch = 0
            prompts = [sample["prompt_ids"] for sample in samples]
            yield {"input_ids": padded(prompts, max(map(len, prompts)), self.pad, left=True)}

    def batch_generation(self, model, queries, chunk, pad, generation_config):
        """Responses, and the logits that generate would report: divided by the temperature."""
        rows = [sample["response_ids"] for sample in self.steps[self.step - 1]]
        responses = padded(rows, self.settings["generation"]["max_new_tokens"], pad, left=False)
        both = torch.cat([queries, responses], 1)
        logits = ppo_trainer.forward(model, both, pad).logits[:, queries.shape[1] - 1 : -1]
        return both, logits / generation_config.temperature

    def get_reward(self, model, query_responses, pad, context_length):
        if not isinstance(model, Judge):
            return ppo_trainer.get_reward(model, query_responses, pad, context_length)
        scores = [score(words_of(self.settings), sample["response"]) for sample in self.steps[self.step - 1]]
        return None, torch.tensor(scores, dtype=torch.get_default_dtype()), None

    def permutation(self, n):
        self.epoch += 1
        return permutation(n, self.settings["seed"], self.step, self.epoch - 1)


def changed_train(replay, notes):
    """PPOTrainer.train with CHANGES, in a namespace where the replay stands for what is sampled, judged or drawn."""
    source = textwrap.dedent(inspect.getsource(ppo_trainer.PPOTrainer.train))
    for theirs, ours, _ in CHANGES:
        assert source.count(theirs) == 1, theirs
        source = source.replace(theirs, ours)
    space = {**vars(ppo_trainer), "notes": notes}
    space["batch_generation"], space["get_reward"] = replay.batch_generation, replay.get_reward
    space["np"] = type("np", (), {"random": replay})
    exec(compile(source, "ppo_trainer.train", "exec"), space)
    return space["train"]


def config_of(settings, output):
    """TRL's options for a recipe."""
    ppo, batch = settings["ppo"], settings["data"]["batch"]
    return PPOConfig(
        **ppo,  # the same names
        temperature=settings["generation"]["temperature"],
        response_length=settings["generation"]["max_new_tokens"],
        stop_token=settings["generation"]["stop_token"],
        **trainer_options(settings, output),
        warmup_steps=settings["optimizer"]["warmup"],
        per_device_train_batch_size=batch,  # one micro-batch a minibatch: a mean over all of its tokens
        local_rollout_forward_batch_size=batch,
        total_episodes=batch * settings["steps"],
        num_sample_generations=0,
    )


def learn(settings, steps, critic, output):
    """TRL's metrics of each step."""
    dtype = torch.get_default_dtype()
    model = ROOT / settings["model"]
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    pad = tokenizer.pad_token_id
    assert not any(pad in sample["prompt_ids"] + sample["response_ids"] for step in steps for sample in step)
    replay, notes, metrics = Replay(settings, steps, pad), Notes(), []

    class Trainer(ppo_trainer.PPOTrainer):
        train = changed_train(replay, notes)

        def log(self, logs, *_, **__):
            norms = torch.tensor(notes.norms, dtype=torch.float64).mean(0).tolist()
            metrics.append({**logs, "grad_norm/actor": norms[0], "grad_norm/critic": norms[1]})
            notes.begin_step()

    def policy():
        return AutoModelForCausalLM.from_pretrained(model, dtype=dtype)

    value_model = AutoModelForSequenceClassification.from_pretrained(critic, num_labels=1, dtype=dtype)
    # never read; the trainer asks for the number of rows
    dataset = Dataset.from_dict({"input_ids": [sample["prompt_ids"] for sample in steps[0]]})
    trainer = Trainer(
        args=config_of(settings, output),
        processing_class=tokenizer,
        model=policy(),
        ref_model=policy(),
        reward_model=Judge(),
        value_model=value_model,
        train_dataset=dataset,
        eval_dataset=dataset,
    )
    trainer.dataloader = replay.batches()
    trainer.train()
    return metrics


def main(recipe=FOLDER / "ppo_trl.yaml", golden=FOLDER / "ppo_trl.json"):
    settings = yaml.safe_load(pathlib.Path(recipe).read_text())
    settings["model"] = str(pathlib.Path(recipe).resolve().parent / settings["model"])
    torch.set_num_threads(1)  # the same numbers wherever it runs
    torch.set_default_dtype(getattr(torch, os.environ.get("PPO_TRL_DTYPE", "float32")))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        critic = first_critic(recipe, scratch)
        run, steps = noted_run(settings, recipe, scratch)
        responses = check_samples(run, settings, steps)
        metrics = learn(settings, steps, critic, scratch)
    assert len(metrics) == settings["steps"]
    golden_of = {
        "made_by": {"trl": trl.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "recipe": settings,
        "changes": [{"theirs": theirs, "ours": ours, "why": why} for theirs, ours, why in CHANGES],
        "left_out": {"eps": "measures time"},
        "responses": responses,
        "metrics": {name: [row[name] for row in metrics] for name in metrics[0] if name != "eps"},
    }
    pathlib.Path(golden).write_text(json.dumps(golden_of, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
