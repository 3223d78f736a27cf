"""Golden process rewards: the cross-entropy of TRL's PRMTrainer, two logits a token, as PyTorch has it, and PRMTrainer's tokens of a row.

    python tests/golden/process_reward.py          # writes tests/golden/process_reward.json
"""

import json
import pathlib

import torch
from transformers import AutoTokenizer
from trl.experimental.prm import PRMTrainer

HERE = pathlib.Path(__file__).resolve().parent
torch.manual_seed(11)
labels = torch.tensor([-100, 1, -100, -100, 0, 1, -100, 0, 0, -100, 1])
logits = (3 * torch.randn(len(labels))).float().double().requires_grad_()
pairs = torch.stack([torch.zeros_like(logits), logits], dim=1)
loss = torch.nn.functional.cross_entropy(pairs, labels, ignore_index=-100)
(gradient,) = torch.autograd.grad(loss, logits)
kept = labels >= 0
tokenizer = AutoTokenizer.from_pretrained(HERE.parents[1] / "examples/models/stories")
row = {"prompt": "Once there was a cat.", "completions": ["It was happy.", "It was a dog."], "labels": [True, False]}
made = PRMTrainer.tokenize_row(row, tokenizer, "\n", None, None, False, False)
chances = torch.sigmoid(logits.detach())[kept]
golden = {
    "labels": [int(label) if label >= 0 else -1 for label in labels],
    "logits": logits.tolist(),
    "loss": loss.item(),
    "gradient": gradient.tolist(),
    "accuracy": (pairs.argmax(1) == labels)[kept].double().mean().item(),
    "scores": [chances.min().item(), chances.mean().item(), chances[-1].item(), chances.prod().item()],
    "ids": made["input_ids"],
    "ends": [i + 1 for i, label in enumerate(made["labels"]) if label >= 0],
}
(HERE / "process_reward.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
