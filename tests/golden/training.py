"""Golden metrics of every training request of an actor: PyTorch and transformers on the same models, sequences and options.

    python tests/golden/training.py          # writes tests/golden/training.json

Each case is a request with learning rate 0, so that all of its epochs see the same weights, and the metrics that TRL's formulae give
in double precision from transformers' logits: a loss, its gradient's norm by autograd, and sums over tokens, completions or pairs.
tests/actor/test_training_golden.c sends the requests.
"""

import json
import math
import pathlib

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

ROOT = pathlib.Path(__file__).resolve().parents[2]
POLICY, SCALAR = "tests/golden/models/tied", "tests/golden/models/scalar"
# Prompts and lengths of responses of six sequences: unequal, so that means over tokens, completions and pairs differ. Their
# tokens are the policy's first and third choice in turn.
PROMPTS, LENGTHS = [[5, 6], [5, 6], [7], [7], [12, 3, 8], [6]], [3, 1, 2, 4, 2, 3]
CHUNK = 2


def single(values):
    """Numbers that a C float holds exactly."""
    return torch.tensor(values).float().double()


class Tokens:
    """The response tokens of some sequences under a policy."""

    def __init__(self, model, sequences):
        self.logps, self.entropies, self.logits, self.greedy, self.means, self.collisions = [], [], [], [], [], []
        for prompt, response in sequences:
            rows = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            all_logps = rows.log_softmax(-1)
            labels = torch.tensor(response)
            self.logps.append(all_logps.gather(1, labels[:, None])[:, 0])
            self.entropies.append(-(all_logps.exp() * all_logps).sum(-1))
            self.logits.append(rows.mean(-1))
            self.greedy.append((rows.argmax(-1) == labels).double())
            self.means.append(all_logps.mean(-1))
            self.collisions.append((2 * all_logps).logsumexp(-1))


def mean(tensors):
    return torch.cat(list(tensors)).mean().item()


def norm(loss, model):
    model.zero_grad()
    loss.backward(retain_graph=True)
    return math.sqrt(sum((p.grad**2).sum().item() for p in model.parameters() if p.grad is not None))


def case(name, method, model, count, options, tensors, metrics):
    sequences = SEQUENCES[:count]
    return {
        "name": name,
        "model": model,
        "method": method,
        "ids": [i for prompt, response in sequences for i in prompt + response],
        "prompts": [len(prompt) for prompt, _ in sequences],
        "responses": [len(response) for _, response in sequences],
        "options": {"chunk": CHUNK, **options},
        "tensors": {key: value.tolist() for key, value in tensors.items()},
        "metrics": metrics,
    }


def ppo():
    """One sequence a minibatch, two epochs: val/ratio_var is over eight means."""
    model = policy()
    tokens = Tokens(model, SEQUENCES[:4])
    logps = torch.cat(tokens.logps)
    old = single((logps + torch.tensor([-0.4, -0.1, 0.0, 0.1, 0.4]).repeat(2)).tolist())
    advantages = single([0.5, -1.0, 0.75, 1.25, -0.5, -0.25, 2.0, -1.5, 0.3, 1.0])
    ratio, new = (logps - old).exp(), logps - old
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(0.7, 1.3)
    losses = torch.max(unclipped, clipped)
    parts = losses.split([len(r) for _, r in SEQUENCES[:4]])
    ratios = [part.mean().item() for part in ratio.split([len(r) for _, r in SEQUENCES[:4]])]
    metrics = {
        "policy/approxkl_avg": (0.5 * new**2).mean().item(),
        "policy/clipfrac_avg": (clipped > unclipped).double().mean().item(),
        "policy/entropy_avg": mean(tokens.entropies),
        "loss/policy_avg": losses.mean().item(),
        "policy/epochs": 2.0,
        "val/ratio": ratio.mean().item(),
        "val/ratio_var": torch.tensor(2 * ratios).var().item(),
        "grad_norm/actor": sum(norm(part.mean(), model) for part in parts) / len(parts),
    }
    options = {"epochs": 2, "minibatches": 4, "cliprange": 0.3}
    return case("ppo", "train", POLICY, 4, options, {"logprobs": old, "advantages": advantages}, metrics)


def sft(name, loss_of, mask=None, **options):
    model = policy()
    tokens = Tokens(model, SEQUENCES[:4])
    keep = torch.ones(10, dtype=bool) if mask is None else torch.tensor(mask, dtype=bool)
    logps, means = torch.cat(tokens.logps)[keep], torch.cat(tokens.means)[keep]
    loss = loss_of(logps, means).mean()
    metrics = {
        "loss": loss.item(),
        "grad_norm": norm(loss, model),
        "entropy": torch.cat(tokens.entropies)[keep].mean().item(),
        "mean_token_accuracy": torch.cat(tokens.greedy)[keep].mean().item(),
    }
    return case(name, "train_sft", POLICY, 4, options, {} if mask is None else {"mask": single(mask)}, metrics)


def classes(tokens, chosen, rejected, rewards):
    """TRL's metrics of two classes of completions: indices of each."""
    w, l = chosen, rejected
    return {
        "rewards/chosen": sum(rewards[i].item() for i in w) / len(w),
        "rewards/rejected": sum(rewards[i].item() for i in l) / len(l),
        "logps/chosen": sum(tokens.logps[i].sum().item() for i in w) / len(w),
        "logps/rejected": sum(tokens.logps[i].sum().item() for i in l) / len(l),
        "logits/chosen": mean(tokens.logits[i] for i in w),
        "logits/rejected": mean(tokens.logits[i] for i in l),
        "entropy": mean(tokens.entropies[i] for i in w + l),
    }


def dpo(name, pairs, loss_of, options, nll=0.0, ld=1.0):
    """loss_of(policy's sums of chosen, of rejected, reference's, tokens): losses of the pairs; nll: weight of sft."""
    model = policy()
    tokens = Tokens(model, SEQUENCES[: 2 * pairs])
    w, l = list(range(0, 2 * pairs, 2)), list(range(1, 2 * pairs, 2))

    def total(rows, i):
        shared = min(len(SEQUENCES[i][1]), len(SEQUENCES[i ^ 1][1]))
        return rows[:shared].sum() + ld * rows[shared:].sum()

    policy_sums = [total(row, i) for i, row in enumerate(tokens.logps)]
    reference_sums = [total(single(REFERENCE[i]), i) for i in range(2 * pairs)]
    rewards = [0.25 * (p - r).detach() for p, r in zip(policy_sums, reference_sums)]
    losses = loss_of(*(torch.stack([x[i] for i in side]) for x in (policy_sums, reference_sums) for side in (w, l)), tokens)
    chosen_nll = -torch.cat([tokens.logps[i] for i in w]).mean()
    loss = losses.mean() + nll * chosen_nll
    metrics = {"loss": loss.item(), "grad_norm": norm(loss, model), **classes(tokens, w, l, rewards)}
    metrics["logps/chosen"] = sum(policy_sums[i].item() for i in w) / pairs
    metrics["logps/rejected"] = sum(policy_sums[i].item() for i in l) / pairs
    metrics["rewards/accuracies"] = sum(float(rewards[a] > rewards[b]) for a, b in zip(w, l)) / pairs
    metrics["rewards/margins"] = sum((rewards[a] - rewards[b]).item() for a, b in zip(w, l)) / pairs
    metrics["mean_token_accuracy"] = mean(tokens.greedy[i] for i in w)
    if nll:
        metrics["nll_loss"] = chosen_nll.item()
    tensors = {"reference": single([x for row in REFERENCE[: 2 * pairs] for x in row])}
    return case(name, "train_dpo", POLICY, 2 * pairs, {"beta": 0.25, **options}, tensors, metrics)


def sigmoid(chosen, rejected, reference_chosen, reference_rejected, tokens):
    return -logsigmoid(0.25 * (chosen - reference_chosen - rejected + reference_rejected))


def weighted(chosen, rejected, reference_chosen, reference_rejected, tokens):
    """WPO: TRL's weights, which are constants to the gradient."""
    per_row = torch.stack([(p - c).detach().mean() for p, c in zip(tokens.logps, tokens.collisions)])
    return (per_row[0::2] + per_row[1::2]).exp() * sigmoid(chosen, rejected, reference_chosen, reference_rejected, tokens)


def aot(chosen, rejected, reference_chosen, reference_rejected, tokens):
    return -logsigmoid(0.25 * ((chosen - rejected).sort()[0] - (reference_chosen - reference_rejected).sort()[0]))


def kto(name, loss_type):
    """Three completions, of which two are desirable; for kto the other three sequences are the mismatched ones."""
    model, rows, desirable = policy(), 3, [1, 0, 1]
    count = 2 * rows if loss_type == "kto" else rows
    tokens = Tokens(model, SEQUENCES[:count])
    ratios = [p.sum() - sum(r) for p, r in zip(tokens.logps, REFERENCE)]
    kl = torch.stack(ratios[rows:]).mean().clamp(min=0).detach() if loss_type == "kto" else torch.tensor(0.0).double()
    losses = [
        1.5 * (1 - (0.25 * (r - kl)).sigmoid()) if good else 0.5 * (1 - (0.25 * (kl - r)).sigmoid())
        for r, good in zip(ratios, desirable)
    ]
    loss = torch.stack(losses).mean()
    w, l = [i for i in range(rows) if desirable[i]], [i for i in range(rows) if not desirable[i]]
    rewards = [0.25 * r.detach() for r in ratios]
    metrics = {"loss": loss.item(), "grad_norm": norm(loss, model), "kl": kl.item(), **classes(tokens, w, l, rewards)}
    tensors = {"reference": single([x for row in REFERENCE[:count] for x in row]), "desirable": torch.tensor(desirable)}
    options = {"beta": 0.25, "desirable_weight": 1.5, "undesirable_weight": 0.5, "loss_type": loss_type}
    return case(name, "train_kto", POLICY, count, options, tensors, metrics)


def reward():
    model = scalar()
    scores = torch.stack([model(torch.tensor([p + r])).logits[0, 0] for p, r in SEQUENCES])
    margins = single([0.5, 0.25, -0.125])
    w, l = scores[0::2], scores[1::2]
    losses = -logsigmoid(w - l - margins) + 0.25 * (w + l) ** 2
    loss = losses.mean()
    metrics = {
        "loss": loss.item(),
        "grad_norm": norm(loss, model),
        "accuracy": (w > l).double().mean().item(),
        "margin": (w - l).mean().item(),
        "mean_reward": scores.mean().item(),
        "mean_squared_reward": (scores**2).mean().item(),
        "min_reward": scores.min().item(),
        "max_reward": scores.max().item(),
    }
    options = {"center_rewards_coefficient": 0.25, "chunk": 4}
    return case("reward", "train_reward", SCALAR, 6, options, {"margins": margins}, metrics)


def steps():
    """A label stands with the token after the step; the score is the head's output before that token."""
    model = scalar()
    labels = [-1, 1, 0, -1, -1, 1, 0, -1, 1, -1]
    logits = torch.cat(
        [model.score(model.model(torch.tensor([p + r])).last_hidden_state)[0, len(p) - 1 : -1, 0] for p, r in SEQUENCES[:4]]
    )
    keep = torch.tensor(labels) >= 0
    logits, right = logits[keep], torch.tensor(labels)[keep].double()
    loss = binary_cross_entropy_with_logits(logits, right)
    metrics = {
        "loss": loss.item(),
        "grad_norm": norm(loss, model),
        "accuracy": ((logits > 0) == (right > 0.5)).double().mean().item(),
        "mean_step_score": logits.sigmoid().mean().item(),
    }
    return case("steps", "train_steps", SCALAR, 4, {}, {"labels": torch.tensor(labels)}, metrics)


def policy():
    return AutoModelForCausalLM.from_pretrained(ROOT / POLICY, dtype=torch.float64)


def scalar():
    model = AutoModelForSequenceClassification.from_pretrained(ROOT / SCALAR, dtype=torch.float64)
    model.config.pad_token_id = 0
    return model


def sequences():
    """(prompt, response) of each sequence."""
    model, made = policy(), []
    for row, (prompt, length) in enumerate(zip(PROMPTS, LENGTHS)):
        ids = list(prompt)
        for place in range(length):
            likely = model(torch.tensor([ids])).logits[0, -1].topk(3).indices.tolist()
            ids.append(likely[2 * ((row + place) % 2)])
        made.append((prompt, ids[len(prompt) :]))
    return made


SEQUENCES = sequences()
REFERENCE = [[-1.0, -0.25, -0.5], [-4.0], [-0.25, -1.5], [-1.5, -3.25, -2.75, -2.5], [-3.25, -2.75], [-3.5, -1.0, -2.5]]
CASES = [
    ppo(),
    sft("sft", lambda logps, means: -logps),
    sft("sft_masked", lambda logps, means: -logps, [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]),
    sft("sft_smoothed", lambda logps, means: -0.9 * logps - 0.1 * means, label_smoothing_factor=0.1),
    sft("sft_dft", lambda logps, means: -logps.detach().exp() * logps, loss_type="dft"),
    dpo("dpo", 3, sigmoid, {}),
    dpo("dpo_with_sft", 2, sigmoid, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}, nll=0.5),
    dpo("dpo_ld", 2, sigmoid, {"ld_alpha": 0.5}, ld=0.5),
    dpo("dpo_weighted", 2, weighted, {"use_weighting": True}),
    dpo("dpo_aot", 3, aot, {"loss_type": ["aot"]}),
    kto("kto", "kto"),
    kto("kto_apo_zero_unpaired", "apo_zero_unpaired"),
    reward(),
    steps(),
]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text('{"cases": [\n' + ",\n".join(map(json.dumps, CASES)) + "\n]}\n")
