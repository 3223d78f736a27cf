"""Golden numbers of next-token training: transformers' own loss with `num_items_in_batch`, its LabelSmoother, and TRL's dft_loss, on
random logits.

    python tests/golden/sft.py          # writes tests/golden/sft.json

Two chunks of one batch, some labels ignored (-100, the prompt). The normaliser is the number of learnt tokens of both,
as transformers' Trainer passes it when it accumulates gradients.
"""

import json
import pathlib
from types import SimpleNamespace

import torch
from trl.trainer.sft_trainer import dft_loss
from transformers.loss.loss_utils import fixed_cross_entropy
from transformers.trainer_pt_utils import LabelSmoother

torch.manual_seed(11)
VOCABULARY = 9
SMOOTHING = 0.15
logits = [torch.randn(n, VOCABULARY).double().requires_grad_() for n in (14, 5)]
labels = [torch.randint(0, VOCABULARY, (n,)) for n in (14, 5)]
labels[0][:6] = -100
labels[1][:1] = -100
items = sum((y != -100).sum() for y in labels)
golden = {"normalizer": items.item(), "chunks": {}}
for i, (x, y) in enumerate(zip(logits, labels)):
    # d loss / d logits = dlogprob (1[v = label] - p[v]): the C test carries its gradient through that.
    loss = fixed_cross_entropy(x, y, num_items_in_batch=items)
    (dlogits,) = torch.autograd.grad(loss, x)
    learnt = y != -100
    chosen = torch.log_softmax(x, -1)[learnt].gather(1, y[learnt].unsqueeze(1)).squeeze(1)
    golden["chunks"][str(i)] = {
        "loss": loss.item(),
        "logprobs": chosen.tolist(),
        "labels": y[learnt].tolist(),
        "probabilities": torch.softmax(x, -1)[learnt].tolist(),
        "dlogits": dlogits[learnt].tolist(),
    }
    # dft_loss shifts labels to the left: one more row in front, whose label nothing predicts
    whole = torch.cat([x, x[:1]]).unsqueeze(0)
    shifted = torch.cat([torch.tensor([-100]), y]).unsqueeze(0)
    dft = dft_loss(SimpleNamespace(logits=whole), shifted, num_items_in_batch=items)
    (dlogits,) = torch.autograd.grad(dft, x)
    golden["chunks"][str(i)] |= {"dft": dft.item(), "dft_dlogits": dlogits[learnt].tolist()}
    # d loss / d logits = dlogprob (1[v = label] - p[v]) + dmean (1/V - p[v])
    smooth = LabelSmoother(epsilon=SMOOTHING)({"logits": x}, y, num_items_in_batch=items)
    (dlogits,) = torch.autograd.grad(smooth, x)
    golden["chunks"][str(i)] |= {
        "means": torch.log_softmax(x, -1)[learnt].mean(-1).tolist(),
        "smooth": smooth.item(),
        "smooth_dlogits": dlogits[learnt].tolist(),
    }
golden["vocabulary"] = VOCABULARY
golden["smoothing"] = SMOOTHING
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
