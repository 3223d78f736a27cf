"""Golden numbers of DPO, CPO, SimPO, ORPO, KTO and the reward loss: trl==1.9.0's own trainers on random log-probs.

    python tests/golden/preference.py          # writes tests/golden/preference.json

The trainers' loss methods run as they stand, in double precision, on a stand-in for `self` and a model whose logits are
chosen: with two tokens, the label 0 and logits (l, log(1 - e^l)), the log-prob of the label is l, and so is its gradient.
Numbers are floats' values, so that the C test reads the very same ones.
"""

import json
import pathlib
from collections import defaultdict
from types import SimpleNamespace

import torch
import trl
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_trainer import RewardTrainer

assert trl.__version__ == "1.9.0", trl.__version__
torch.manual_seed(5)
DTYPE = torch.float64
PAIRS, LONGEST = 6, 7


def single(tensor):
    """Random numbers that a C float holds exactly, as doubles."""
    return tensor.float().double()


def model_of(*leaves):
    """A model that answers with the logits of each of these log-probs [rows, T] in turn."""
    turn = iter(leaves)

    def model(**_):
        l = next(turn)
        logits = torch.stack([l, torch.log1p(-torch.exp(l))], -1)
        return SimpleNamespace(logits=torch.cat([logits, logits[:, -1:]], 1))

    return model


class Accelerator:
    device = "cpu"

    def gather(self, x):
        return x

    gather_for_metrics = gather


def trainer(**fields):
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        **fields,
    )


# Completions of different lengths; column 0 of the ids is the prompt's token.
lengths = torch.randint(1, LONGEST + 1, (2 * PAIRS,))
mask = (torch.arange(LONGEST) < lengths.unsqueeze(1)).long()
policy = single(-torch.rand(2 * PAIRS, LONGEST) * 2.5 - 0.05)
reference = single(-torch.rand(2 * PAIRS, LONGEST) * 2.5 - 0.05)
ids = torch.zeros(2 * PAIRS, LONGEST + 1, dtype=torch.long)
completion_mask = torch.cat([torch.zeros(2 * PAIRS, 1, dtype=torch.long), mask], 1)
inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": completion_mask}


def ragged(x):
    return [v for row, n in zip(x.tolist(), lengths.tolist()) for v in row[:n]]


def metrics_of(fake):
    names = "rewards/chosen rewards/rejected rewards/accuracies rewards/margins logps/chosen logps/rejected"
    return {n.replace("/", "_"): fake._metrics["train"][n][-1] for n in names.split()}


def dpo(loss_types, weights=None, dtype=DTYPE, **changes):
    options = dict(
        beta=0.1,
        loss_types=loss_types,
        loss_weights=weights or [1.0] * len(loss_types),
        label_smoothing=0.0,
        f_divergence_type="reverse_kl",
        f_alpha_divergence_coef=0.5,
        ld_alpha=None,
        use_weighting=False,
        discopop_tau=0.05,
    )
    options.update(changes)
    leaf = policy.to(dtype).requires_grad_()
    fake = trainer(
        ref_model=model_of(reference.to(dtype)),
        args=SimpleNamespace(
            discopop_tau=options["discopop_tau"], gradient_checkpointing=False, gradient_checkpointing_kwargs=None
        ),
        **options,
    )
    fake.model.is_gradient_checkpointing = False
    model = model_of(leaf)
    loss = DPOTrainer._compute_loss(fake, model, inputs, False)
    (gradient,) = torch.autograd.grad(loss, leaf)
    options["ld_alpha"] = 1.0 if options["ld_alpha"] is None else options["ld_alpha"]
    del options["loss_types"], options["loss_weights"]
    options["weights"] = dict(zip(loss_types, weights or [1.0] * len(loss_types)))
    return {"options": options, "loss": loss.item(), "gradient": ragged(gradient), "metrics": metrics_of(fake)}


def cpo(loss_type, alpha, **changes):
    """CPOTrainer's loss from log-probs as its concatenated_forward would give them."""
    options = dict(beta=0.1, label_smoothing=0.0, simpo_gamma=0.5)
    options.update(changes)
    leaf = policy.clone().requires_grad_()
    sums = (leaf * mask).sum(1)
    logps = sums / lengths if loss_type == "simpo" else sums
    nll = -(leaf * mask)[:PAIRS].sum() / lengths[:PAIRS].sum()
    fake = trainer(alpha=0.0, cpo_alpha=alpha, loss_type=loss_type, **options)
    fake.concatenated_forward = lambda *_: (*logps.chunk(2), torch.zeros(1), torch.zeros(1), nll)
    fake.cpo_loss = lambda *a: CPOTrainer.cpo_loss(fake, *a)
    loss, metrics = CPOTrainer.get_batch_loss_metrics(fake, None, {})
    (gradient,) = torch.autograd.grad(loss, leaf)
    name = "simpo" if loss_type == "simpo" else "cpo"
    options["weights"] = {name: 1.0, "sft": alpha}
    names = "rewards/chosen rewards/rejected rewards/accuracies rewards/margins"
    return {
        "options": options,
        "loss": loss.item(),
        "gradient": ragged(gradient),
        "metrics": {n.replace("/", "_"): metrics[n] for n in names.split()},
    }


def orpo(beta):
    leaf = policy.clone().requires_grad_()
    logps = (leaf * mask).sum(1) / lengths
    nll = -(leaf * mask)[:PAIRS].sum() / lengths[:PAIRS].sum()
    fake = trainer(beta=beta)
    float_, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double  # the trainer's .float() would cut our doubles
    try:
        losses, chosen, rejected, _, _ = ORPOTrainer.odds_ratio_loss(fake, *logps.chunk(2))
    finally:
        torch.Tensor.float = float_
    loss = nll - losses.mean()  # the line of get_batch_loss_metrics
    (gradient,) = torch.autograd.grad(loss, leaf)
    return {
        "options": {"beta": beta, "weights": {"orpo": 1.0, "sft": 1.0}},
        "loss": loss.item(),
        "gradient": ragged(gradient),
        "metrics": {"rewards_chosen": chosen.mean().item(), "rewards_rejected": rejected.mean().item()},
    }


cases = {}
for name in "hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down discopop".split():
    cases[name] = dpo([name], label_smoothing=0.1 if name in ("exo_pair", "robust", "aot", "aot_unpaired") else 0.0)
cases["sigmoid"] = dpo(["sigmoid"])
cases["sft"] = dpo(["sft"])
cases["sft"]["metrics"] = {}  # TRL asks the reference even here; Troupe does not
cases["sigmoid_norm"] = dpo(["sigmoid_norm"], beta=2.0)
cases["hinge_beyond"] = dpo(["hinge"], beta=2.0)
cases["mpo"] = dpo(["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 1.0])
cases["ld"] = dpo(["sigmoid"], ld_alpha=0.3)
cases["ld_ipo"] = dpo(["ipo"], ld_alpha=0.3)
cases["wpo"] = dpo(["sigmoid"], use_weighting=True)
cases["wpo_aot"] = dpo(["aot"], use_weighting=True)
cases["forward_kl"] = dpo(["sigmoid"], f_divergence_type="forward_kl")
cases["forward_kl_ipo"] = dpo(["ipo", "nca_pair", "sppo_hard"], f_divergence_type="forward_kl")
cases["js"] = dpo(["sigmoid"], f_divergence_type="js_divergence")
cases["js_bco"] = dpo(["bco_pair", "exo_pair"], f_divergence_type="js_divergence", label_smoothing=0.001)
# TRL's table of clamps has no float64
cases["alpha"] = dpo(["sigmoid"], dtype=torch.float32, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.5)
cases["alpha_limit"] = dpo(["sigmoid"], f_divergence_type="alpha_divergence", f_alpha_divergence_coef=1.0)
cases["cpo"] = cpo("sigmoid", 1.0)
cases["cpo_smoothed"] = cpo("sigmoid", 0.5, label_smoothing=0.2)
cases["simpo"] = cpo("simpo", 0.0, beta=2.0, simpo_gamma=1.4)
cases["orpo"] = orpo(0.25)

log_denominator = torch.log(torch.exp(policy) ** 2 + (1 - torch.exp(policy)) ** 2)


def kto(loss_type, labels, **changes):
    options = dict(beta=0.1, desirable_weight=1.0, undesirable_weight=1.0)
    options.update(changes)
    rows = len(labels)
    leaf = policy[:rows].clone().requires_grad_()
    mismatched, ref_mismatched = policy[rows : 2 * rows], reference[rows : 2 * rows]
    mismatched = single(mismatched * options.pop("scale", 1.0))
    fake = trainer(
        loss_type=loss_type,
        calculate_KL=loss_type == "kto",
        use_liger_kernel=False,
        args=SimpleNamespace(gradient_checkpointing=False, gradient_checkpointing_kwargs=None),
        **options,
    )
    fake.model.is_gradient_checkpointing = False
    fake._compute_kl_logps = lambda model, batch: KTOTrainer._compute_kl_logps(fake, model, batch)
    kl = loss_type == "kto"  # TRL asks for the mismatched completions first
    fake.ref_model = model_of(ref_mismatched, reference[:rows]) if kl else model_of(reference[:rows])
    model = model_of(mismatched, leaf) if kl else model_of(leaf)
    batch = {
        "input_ids": ids[:rows],
        "attention_mask": torch.ones_like(ids[:rows]),
        "completion_mask": completion_mask[:rows],
        "KL_input_ids": ids[rows : 2 * rows],
        "KL_attention_mask": torch.ones_like(ids[:rows]),
        "KL_completion_mask": completion_mask[rows : 2 * rows],
        "label": torch.tensor(labels),
    }
    loss = KTOTrainer._compute_loss(fake, model, batch, False)
    (gradient,) = torch.autograd.grad(loss, leaf)
    names = "kl rewards/chosen rewards/rejected rewards/margins logps/chosen logps/rejected"
    got = fake._metrics["train"]
    n = lengths[:rows].tolist()
    return {
        "options": options,
        "labels": labels,
        "mismatched": [v for row, k in zip(mismatched.tolist(), lengths[rows:].tolist()) for v in row[:k]],
        "loss": loss.item(),
        "gradient": [v for row, k in zip(gradient.tolist(), n) for v in row[:k]],
        "metrics": {m.replace("/", "_"): got[m][-1] for m in names.split() if m in got},
    }


labels = [True, False, True, True, False, True]
kto_cases = {
    "kto": kto("kto", labels, scale=0.5),
    "weights": kto("kto", labels, scale=0.7, desirable_weight=0.8, undesirable_weight=1.7, beta=0.4),
    "no_kl": kto("kto", labels, scale=1.8),
    "one_class": kto("kto", [True] * PAIRS, scale=0.5),
    "apo_zero_unpaired": kto("apo_zero_unpaired", labels),
}


def reward(margin, center):
    scores = single(torch.randn(2 * PAIRS)).requires_grad_()
    margins = single(torch.rand(PAIRS))
    fake = trainer(args=SimpleNamespace(center_rewards_coefficient=center))
    batch = {"attention_mask": torch.ones(2 * PAIRS, 1)}
    if margin:
        batch["margin"] = margins
    model = lambda **_: SimpleNamespace(logits=scores.unsqueeze(1))
    loss = RewardTrainer.compute_loss(fake, model, batch)
    (gradient,) = torch.autograd.grad(loss, scores)
    got = fake._metrics["train"]
    return {
        "scores": scores.tolist(),
        "margins": margins.tolist() if margin else [],
        "center": center or 0.0,
        "loss": loss.item(),
        "gradient": gradient.tolist(),
        "metrics": {m: got[m][-1] for m in "min_reward mean_reward max_reward accuracy margin".split()},
    }


golden = {
    "lengths": lengths.tolist(),
    "policy": ragged(policy),
    "reference": ragged(reference),
    "collisions": ragged(log_denominator),
    "dpo": cases,
    "kto": kto_cases,
    "reward": {"plain": reward(False, None), "margin": reward(True, None), "centered": reward(True, 0.01)},
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
