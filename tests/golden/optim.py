"""Golden numbers of learning rate schedules (transformers' get_scheduler) and of clipping (torch's clip_grad_norm_).

    python tests/golden/optim.py        # writes tests/golden/optim.json
"""

import json
import pathlib
import warnings

import torch
from transformers import get_scheduler

warnings.filterwarnings("ignore")  # we step the scheduler without the optimizer


def rates(name, learning_rate, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    out = []
    for _ in range(total + 1):
        out.append(scheduler.get_last_lr()[0])
        scheduler.step()
    return {"learning_rate": learning_rate, "warmup": warmup, "total": total, "rates": out}


def clipped(max_norm, scale):
    tensors = [torch.nn.Parameter(torch.zeros(*shape)) for shape in ((3, 5), (7,), (2, 2, 2))]
    for t in tensors:
        t.grad = torch.randn_like(t) * scale
    before = [t.grad.flatten().tolist() for t in tensors]
    norm = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    after = [t.grad.flatten().tolist() for t in tensors]
    sizes = [len(g) for g in before]
    return {"max_norm": max_norm, "sizes": sizes, "norm": norm.item(), "before": before, "after": after}


torch.manual_seed(7)
golden = {
    "constant": rates("constant", 3e-6, 0, 10),
    "constant_warmup": rates("constant_with_warmup", 1e-5, 4, 10),
    "linear": rates("linear", 3e-6, 0, 12),
    "linear_warmup": rates("linear", 1e-4, 5, 40),
    "cosine": rates("cosine", 2e-5, 0, 17),
    "cosine_warmup": rates("cosine", 5e-4, 3, 60),
    "clip_large": clipped(1.0, 3.0),
    "clip_small": clipped(1.0, 0.01),
    "clip_half": clipped(0.5, 0.2),
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
