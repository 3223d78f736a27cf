"""Golden numbers of PPO, made by running trl==1.9.0's own lines on random tensors.

    python tests/golden/ppo.py          # writes tests/golden/ppo.json

The trainer keeps its mathematics inside PPOTrainer.train, so the statements between two of its lines are cut out of
the installed source and executed, in double precision, with our tensors as its variables. Nothing is retyped.

Cases: "full" has responses of one length, where the trainer's padding plays no part; it is run as it stands.
"ragged" has responses of different lengths. Rewards and advantages come from running the trainer on each response
alone, unpadded (its score lands on the last token then, as ours does); whitening and the losses from running it on the
padded batch with its mask over the real tokens.
"""

import inspect
import json
import pathlib
import textwrap
from types import SimpleNamespace

import torch
import trl
from trl.experimental.ppo import PPOConfig, ppo_trainer

assert trl.__version__ == "1.9.0", trl.__version__
SOURCE = inspect.getsource(ppo_trainer.PPOTrainer.train).split("\n")


def cut(first, last):
    """The trainer's lines from the one that starts with `first` to the next that starts with `last`."""
    start = next(i for i, line in enumerate(SOURCE) if line.strip().startswith(first))
    end = next(i for i in range(start, len(SOURCE)) if SOURCE[i].strip().startswith(last))
    return compile(textwrap.dedent("\n".join(SOURCE[start : end + 1])), f"trl:{first}", "exec")


PENALTY = cut("contain_eos_token = torch.any", "scores[~contain_eos_token]")
ADVANTAGES = cut("response_idxs = torch.arange", "advantages = torch.masked_fill(advantages")
LOSS = cut("new_logprobs = torch.masked_fill(", "loss = pg_loss +")
CLIPFRAC = cut("pg_clipfrac = masked_mean(", ")")
APPROXKL = cut("approxkl = 0.5", "approxkl")
OBJECTIVE = cut("mean_kl = kl", "rlhf_reward = ")


def pg_statistics(v):
    """What the trainer notes of a micro-batch after the backward pass."""
    exec(CLIPFRAC, v)
    exec(APPROXKL, v)
    mask = ~v["padding_mask"]
    real = mask.sum().item()
    padded = mask.numel() - real
    return {
        "clipfrac": v["pg_clipfrac"].item(),
        # TRL's means run over the padded rectangle, where diff is 0 and ratio 1: brought back to real tokens
        "approxkl": v["approxkl"].item() * mask.numel() / real,
        "ratio": (v["ratio"].mean().item() * mask.numel() - padded) / real,
    }


def scope(args, **variables):
    # the module's functions (masked_mean, masked_whiten, INVALID_LOGPROB, np, torch), then our variables
    return {**vars(ppo_trainer), "args": args, **variables}


def options(**changes):
    """TRL's own defaults, as its dataclass declares them."""
    names = "num_ppo_epochs num_mini_batches kl_coef kl_estimator cliprange vf_coef cliprange_value gamma lam"
    names += " whiten_rewards missing_eos_penalty temperature response_length learning_rate"
    fields = PPOConfig.__dataclass_fields__
    return SimpleNamespace(**{**{n: fields[n].default for n in names.split()}, **changes})


def single(*shape, scale=1.0):
    """Random numbers that a C float holds exactly, as doubles."""
    return (torch.randn(*shape) * scale).float().double()


def flat(tensor, lengths=None):
    if lengths is None:
        return tensor.double().flatten().tolist()
    return [x for row, n in zip(tensor.double().tolist(), lengths) for x in row[:n]]


def batch(lengths):
    rows, columns = len(lengths), max(lengths)
    logprobs = (-single(rows, columns).abs() - 0.1).float().double()
    return {
        "logprobs": logprobs,
        "ref_logprobs": (logprobs + single(rows, columns, scale=0.3)).float().double(),
        "new_logprobs": (logprobs + single(rows, columns, scale=0.25)).float().double(),
        "values": single(rows, columns),
        "vpred": None,
        "scores": single(rows),
    }


def advantages(args, tensors, lengths):
    v = scope(
        args,
        responses=torch.zeros(len(lengths), max(lengths), dtype=torch.long),
        sequence_lengths=torch.tensor(lengths) - 1,
        logprobs=tensors["logprobs"].clone(),
        ref_logprobs=tensors["ref_logprobs"].clone(),
        values=tensors["values"].clone(),
        scores=tensors["scores"].clone(),
        empty_cache=lambda: None,
    )
    exec(ADVANTAGES, v)
    exec(OBJECTIVE, v)
    return v


def losses(args, tensors, lengths, advantage, returns):
    """The trainer's losses of one micro-batch, and their gradients by autograd."""
    rows, columns = len(lengths), max(lengths)
    padding = torch.arange(columns).repeat(rows, 1) >= torch.tensor(lengths).unsqueeze(1)
    old = tensors["logprobs"].masked_fill(padding, ppo_trainer.INVALID_LOGPROB)
    logprobs = tensors["new_logprobs"].clone().requires_grad_()
    # values near the old ones, so that some are clipped and some are not
    values = (tensors["values"] + single(rows, columns, scale=0.25)).float().double().requires_grad_()
    v = scope(
        args,
        new_logprobs=logprobs,
        mb_logprobs=old,
        mb_advantage=advantage,
        mb_return=returns,
        mb_values=tensors["values"],
        vpred_temp=torch.cat([values, torch.zeros(rows, 1)], 1).unsqueeze(-1),
        context_length=1,
        padding_mask=padding,
        padding_mask_p1=padding,  # ours: values of real tokens only
        micro_batch_inds=torch.arange(rows),
    )
    exec(LOSS, v)
    dlogprobs, dvalues = torch.autograd.grad(v["loss"], [logprobs, values])
    return {
        "new_logprobs": flat(logprobs.detach(), lengths),
        "new_values": flat(values.detach(), lengths),
        "pg_loss": v["pg_loss"].item(),
        "vf_loss": v["vf_loss"].item(),
        "vf_clipfrac": v["vf_clipfrac"].item(),
        "dlogprobs": flat(dlogprobs, lengths),
        "dvalues": flat(dvalues, lengths),
        **pg_statistics(v),
    }


def starts_of(lengths):
    starts = [0]
    for n in lengths:
        starts.append(starts[-1] + n)
    return starts


def inputs(tensors, lengths):
    names = ("logprobs", "ref_logprobs", "values")
    return {"starts": starts_of(lengths), "scores": flat(tensors["scores"])} | {
        n: flat(tensors[n], lengths) for n in names
    }


def settings(args):
    names = "kl_coef cliprange vf_coef cliprange_value gamma lam whiten_rewards".split()
    return {n: float(getattr(args, n)) for n in names} | {"k3": args.kl_estimator == "k3"}


def full_case(args):
    lengths = [13] * 6
    tensors = batch(lengths)
    v = advantages(args, tensors, lengths)
    objective = {n: v[f"mean_{n}"].item() for n in ("kl", "entropy", "non_score_reward")}
    objective |= {"rlhf_reward": v["rlhf_reward"].item(), "scores": v["scores"].mean().item()}
    # the losses get what a C program has: floats
    single_precision = {n: v[n].float().double() for n in ("advantages", "returns")}
    case = {"options": settings(args), **inputs(tensors, lengths), "objective": objective}
    case |= {n: flat(v[n], lengths) for n in ("kl", "rewards", "advantages", "returns")}
    case["losses"] = losses(args, tensors, lengths, *single_precision.values())
    case["losses"] |= {n: flat(t, lengths) for n, t in single_precision.items()}
    return case


def ragged_case(args):
    lengths = [1, 7, 3, 16, 2, 9]
    rows, columns = len(lengths), max(lengths)
    tensors = batch(lengths)
    padded = {n: torch.zeros(rows, columns, dtype=torch.double) for n in ("kl", "rewards", "raw", "returns")}
    for i, n in enumerate(lengths):
        alone = {k: (t[i : i + 1, :n] if t.dim() == 2 else t[i : i + 1]) for k, t in tensors.items() if t is not None}
        v = advantages(args, alone, [n])
        padded["kl"][i, :n] = v["kl"][0]
        padded["rewards"][i, :n] = v["rewards"][0]
        padded["returns"][i, :n] = v["returns"][0]
        padded["raw"][i, :n] = v["returns"][0] - v["values"][0]
    mask = torch.arange(columns).repeat(rows, 1) < torch.tensor(lengths).unsqueeze(1)
    whitened = ppo_trainer.masked_whiten(padded["raw"], mask).masked_fill(~mask, 0)
    unshifted = ppo_trainer.masked_whiten(padded["rewards"], mask, shift_mean=False)
    single_precision = {"advantages": whitened.float().double(), "returns": padded["returns"].float().double()}
    case = {"options": settings(args), **inputs(tensors, lengths)}
    case |= {n: flat(t, lengths) for n, t in padded.items()}
    case |= {"advantages": flat(whitened, lengths), "whitened_rewards": flat(unshifted, lengths)}
    case["losses"] = losses(args, tensors, lengths, *single_precision.values())
    case["losses"] |= {n: flat(t, lengths) for n, t in single_precision.items()}
    return case


def penalty_case():
    eos, args = 2, options(missing_eos_penalty=1.5)
    tokens = torch.tensor([[5, 6, 2, 0], [5, 6, 7, 8], [2, 0, 0, 0], [9, 3, 0, 0]])
    lengths = [3, 4, 1, 2]
    v = scope(
        args,
        postprocessed_responses=tokens,
        scores=single(4),
        self=SimpleNamespace(args=args, processing_class=SimpleNamespace(eos_token_id=eos)),
    )
    before = flat(v["scores"])
    exec(PENALTY, v)
    return {
        "eos": [eos],
        "penalty": args.missing_eos_penalty,
        "starts": starts_of(lengths),
        "tokens": flat(tokens, lengths),
        "scores": before,
        "penalised": flat(v["scores"]),
    }


torch.manual_seed(20240607)
defaults = vars(options())
golden = {
    "made_by": "trl 1.9.0",
    "defaults": {n: x for n, x in defaults.items() if x is not None},
    "full": full_case(options()),
    "whitened_rewards": full_case(options(whiten_rewards=True, kl_coef=0.2)),
    "discounted_k3": full_case(options(kl_estimator="k3", gamma=0.97, lam=0.8, cliprange=0.1, cliprange_value=0.3)),
    "ragged": ragged_case(options()),
    "ragged_k3": ragged_case(options(kl_estimator="k3", kl_coef=0.1, gamma=0.99, vf_coef=0.5)),
    "penalty": penalty_case(),
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
