"""Golden numbers of torch.optim.AdamW with gradients clipped by their global norm.

    python tests/golden/adamw.py        # writes tests/golden/adamw.json
"""

import json
import pathlib

import torch

N, STEPS = 37, 6


def run(learning_rate, betas, eps, weight_decay, max_norm, spared=()):
    """spared: (first, end) of parts without weight decay, as transformers' second group of parameters has none."""
    weight = torch.nn.Parameter(torch.randn(N))
    optimizer = torch.optim.AdamW([weight], lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay)
    undecayed = torch.optim.AdamW([torch.nn.Parameter(weight.detach().clone())], lr=learning_rate, betas=betas, eps=eps, weight_decay=0.0)
    case = {"learning_rate": learning_rate, "beta1": betas[0], "beta2": betas[1], "epsilon": eps,
            "weight_decay": weight_decay, "clip": max_norm, "start": weight.tolist(),
            "gradients": [], "norms": [], "weights": []}
    for step in range(STEPS):
        weight.grad = torch.randn(N) * 2.0 ** (step - 3)
        case["gradients"].append(weight.grad.tolist())
        case["norms"].append(torch.nn.utils.clip_grad_norm_([weight], max_norm or float("inf")).item())
        optimizer.step()
        (other,) = undecayed.param_groups[0]["params"]
        other.grad = weight.grad
        undecayed.step()
        for first, end in spared:
            weight.data[first:end] = other.data[first:end]
        case["weights"].append(weight.tolist())
    state = optimizer.state[weight]
    return case | {"m": state["exp_avg"].tolist(), "v": state["exp_avg_sq"].tolist()}


torch.manual_seed(5)
golden = {
    "defaults": run(1e-3, (0.9, 0.999), 1e-8, 0.0, 0.0),
    "decay": run(2e-2, (0.9, 0.95), 1e-5, 0.1, 0.0),
    "clipped": run(5e-3, (0.8, 0.99), 1e-8, 0.01, 1.0),
    "spared": run(2e-2, (0.9, 0.95), 1e-5, 0.5, 0.0, spared=((4, 9), (30, 37))),
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
