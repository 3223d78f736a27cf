"""Golden numbers of GRPO and its kin: TRL 1.16.0's and verl's own code, run in double precision on random ragged tensors.

    PYTHONPATH=TRL VERL=VERL python tests/golden/grpo.py          # writes tests/golden/grpo.json

TRL is the unpacked wheel of trl 1.16.0, VERL a checkout of verl-project/verl. Nothing is retyped: losses are TRL's `_compute_loss`
with a model that returns our log-probs and verl's registered functions, gradients are autograd's; TRL's advantages are the lines of
`_generate_and_score_completions`, cut out and executed. Of verl, core_algos.py alone is run; what it imports and does not need here is
left empty.
"""

import importlib.util
import inspect
import json
import math
import os
import pathlib
import sys
import textwrap
import types
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import torch
import trl
from trl.trainer import grpo_trainer, rloo_trainer

assert trl.__version__ == "1.16.0", trl.__version__


def load_verl():
    """core_algos.py beside stubs of what it imports."""

    def module(name, **members):
        sys.modules[name] = made = types.ModuleType(name)
        vars(made).update(members)
        return made

    def load(name, path):
        spec = importlib.util.spec_from_file_location(name, os.path.join(os.environ["VERL"], path))
        sys.modules[name] = made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    class Nothing(dict):
        pass

    for name in ("verl", "verl.trainer", "verl.utils", "verl.workers", "verl.trainer.ppo"):
        module(name).__path__ = []
    module("omegaconf", DictConfig=Nothing)
    module("tensordict", TensorDict=Nothing)
    module("verl.trainer.config", AlgoConfig=Nothing)
    module("verl.workers.config", ActorConfig=Config)
    module("verl.utils.device", get_device_name=lambda: "cpu", get_torch_device=lambda: None)
    module("verl.utils.import_utils", deprecated=lambda *_, **__: lambda function: function)
    sys.modules["verl.utils"].as_torch_index = sys.modules["verl.utils"].group_mean_std = None
    sys.modules["verl.utils"].torch_functional = load("verl.utils.torch_functional", "verl/utils/torch_functional.py")
    return load("verl.trainer.ppo.core_algos", "verl/trainer/ppo/core_algos.py")


class Config(dict):
    __getattr__ = dict.get


verl = load_verl()


def single(*shape, scale=1.0):
    """Random numbers that a C float holds exactly, as doubles."""
    return (torch.randn(*shape) * scale).float().double()


def flat(tensor, lengths):
    return [x for row, n in zip(tensor.double().tolist(), lengths) for x in row[:n]]


def starts_of(lengths):
    return [0, *np.cumsum(lengths).tolist()]


LENGTHS = [5, 1, 9, 3, 7, 2, 8, 4]
ROWS, COLUMNS = len(LENGTHS), max(LENGTHS)
REAL = (torch.arange(COLUMNS).repeat(ROWS, 1) < torch.tensor(LENGTHS).unsqueeze(1)).double()
MOST_TOKENS = 16  # max_completion_length


def scene(spread=0.25):
    old = (-single(ROWS, COLUMNS).abs() - 0.1).float().double()
    logprobs = (old + single(ROWS, COLUMNS, scale=spread)).float().double()
    return {"entropies": single(ROWS, COLUMNS).abs(), "old": old, "logprobs": logprobs, "reference": (old + single(ROWS, COLUMNS, scale=0.3)).float().double(),
            "advantages": single(ROWS), "masked": [4]}


def written(tensors):
    advantages = tensors["advantages"].unsqueeze(1).expand(ROWS, COLUMNS)
    return {"starts": starts_of(LENGTHS), **{n: flat(tensors[n], LENGTHS) for n in ("old", "logprobs", "reference", "entropies")},
            "advantages": flat(advantages, LENGTHS), "mask": flat(mask_of(tensors), LENGTHS)}


def mask_of(tensors):
    mask = REAL.clone()
    mask[tensors["masked"]] = 0
    return mask


# ---- TRL's losses

METRICS = {"kl": "kl", "clip_ratio/low_mean": "low", "clip_ratio/high_mean": "high", "clip_ratio/low_min": "low_least",
           "clip_ratio/high_max": "high_most", "cispo_clip_ratio": "high", "vespo/phi_seq_mean": "phi"}


def trl_loss(tensors, trainer, **changes):
    """The loss of a minibatch of a step that has two, and its gradient. The metrics are of the same without a masked response, which TRL
    counts among the ratios of responses."""
    loss, gradient, _ = trl_minibatch(tensors, trainer, **changes)
    _, _, metrics = trl_minibatch({**tensors, "masked": []}, trainer, **changes)
    return {"options": {n: x for n, x in changes.items() if x is not None}, "loss": loss, "gradient": gradient, **metrics}


def trl_minibatch(tensors, trainer, **changes):
    options = {"loss_type": "dapo", "beta": 0.0, "epsilon": 0.2, "epsilon_high": None, "delta": None, "importance_sampling_level": "token",
               "use_bias_correction_kl": True, "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05, "vespo_k_pos": 2.0,
               "vespo_lambda_pos": 3.0, "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0, "top_entropy_quantile": 1.0, **changes}
    args = SimpleNamespace(steps_per_generation=2, **options)
    logprobs = tensors["logprobs"].clone().requires_grad_()
    identity = lambda x, **__: x
    self = SimpleNamespace(
        **{n: options[n] for n in ("loss_type", "beta", "importance_sampling_level")}, args=args, top_entropy_quantile=options["top_entropy_quantile"],
        epsilon_low=options["epsilon"], epsilon_high=options["epsilon_high"] or options["epsilon"], off_policy_mask_threshold=None, use_vllm=False,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1, max_completion_length=MOST_TOKENS,
        _entropy_bonus_enabled=False, aux_loss_enabled=False, _metrics={"train": defaultdict(list)},
        accelerator=SimpleNamespace(num_processes=1, reduce=identity, gather=identity, pad_across_processes=identity),
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, tensors["entropies"], None),
        get_high_entropy_mask=lambda *a: grpo_trainer.GRPOTrainer.get_high_entropy_mask(self, *a), get_gamma_weights=grpo_trainer.GRPOTrainer.get_gamma_weights)
    mask = mask_of(tensors)
    inputs = {"prompt_ids": torch.zeros(ROWS, 1), "prompt_mask": torch.ones(ROWS, 1), "completion_ids": torch.zeros(ROWS, COLUMNS),
              "completion_mask": mask, "advantages": tensors["advantages"], "old_per_token_logps": tensors["old"],
              "old_logps": (tensors["old"] * mask).sum(1), "ref_per_token_logps": tensors["reference"],
              "num_items_in_batch": torch.tensor(60.0)}
    loss = trainer._compute_loss(self, None, inputs)
    (gradient,) = torch.autograd.grad(loss, [logprobs])
    metrics = {ours: self._metrics["train"][theirs][0] for theirs, ours in METRICS.items() if theirs in self._metrics["train"]}
    return loss.item(), flat(gradient, LENGTHS), metrics


def trl_losses(tensors):
    grpo = grpo_trainer.GRPOTrainer
    cases = {}
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo"):
        cases[loss] = trl_loss(tensors, grpo, loss_type=loss)
        cases[loss + "_sequence"] = trl_loss(tensors, grpo, loss_type=loss, importance_sampling_level="sequence", epsilon=0.02, epsilon_high=0.03)
        cases[loss + "_kl"] = trl_loss(tensors, grpo, loss_type=loss, beta=0.4, epsilon_high=0.28)
        cases[loss + "_sequence_kl"] = trl_loss(tensors, grpo, loss_type=loss, beta=0.4, importance_sampling_level="sequence")
        cases[loss + "_plain_kl"] = trl_loss(tensors, grpo, loss_type=loss, beta=0.4, use_bias_correction_kl=False)
    for loss in ("grpo", "cispo"):
        cases[loss + "_entropy"] = trl_loss(tensors, grpo, loss_type=loss, beta=0.4, epsilon_high=1.1, top_entropy_quantile=0.35)
    cases["delta"] = trl_loss(tensors, grpo, loss_type="dapo", delta=1.3)
    for loss, more in {"cispo": {"epsilon_high": 1.1}, "vespo": {}}.items():
        cases[loss] = trl_loss(tensors, grpo, loss_type=loss, **more)
        cases[loss + "_kl"] = trl_loss(tensors, grpo, loss_type=loss, beta=0.4, **more)
    return cases


def rloo_losses(tensors):
    """Of responses that all count: a masked one adds a constant in TRL."""
    settings = {"loss_type": "grpo", "importance_sampling_level": "sequence_sum"}
    return {f"{epsilon}": trl_loss({**tensors, "masked": []}, rloo_trainer.RLOOTrainer, epsilon=epsilon, **settings) for epsilon in (0.2, 0.4)}


# ---- verl's losses

MODES = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")


def verl_loss(tensors, name, ours, mode="seq-mean-token-mean", **settings):
    """Of responses that all count: verl leaves the others out of its means, TRL does not."""
    logprobs = tensors["logprobs"].clone().requires_grad_()
    advantages = tensors["advantages"].unsqueeze(1).expand(ROWS, COLUMNS) * REAL
    settings = {"clip_ratio": 0.2, "clip_ratio_c": 1e9, "tau_pos": 1.0, "tau_neg": 1.05, **settings}
    config = Config(settings, global_batch_info={"loss_scale_factor": MOST_TOKENS}, policy_loss=Config(settings))
    loss, _ = verl.get_policy_loss_fn(name)(tensors["old"], logprobs, advantages, REAL, mode, config, None)
    (gradient,) = torch.autograd.grad(loss, [logprobs])
    return {"options": {**ours, "loss_agg_mode": mode}, "loss": loss.item(), "gradient": flat(gradient, LENGTHS)}


def verl_losses(tensors):
    modes = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")
    cases = {"vanilla_" + mode: verl_loss(tensors, "vanilla", {"loss_type": "dapo"}, mode) for mode in modes}
    wide = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.3}
    cases["clip_higher"] = verl_loss(tensors, "vanilla", {"loss_type": "dapo", "epsilon": 0.1, "epsilon_high": 0.3}, **wide)
    cases["dual_clip"] = verl_loss(tensors, "vanilla", {"loss_type": "dapo", "delta": 1.3}, "token-mean", clip_ratio_c=1.3)
    cases["gspo"] = verl_loss(tensors, "gspo", {"loss_type": "grpo", "importance_sampling_level": "sequence_token", "epsilon": 0.02},
                              clip_ratio=0.02)
    cases["sapo"] = verl_loss(tensors, "sapo", {"loss_type": "sapo"})
    cases["geo_mean"] = verl_loss(tensors, "geo_mean", {"loss_type": "gmpo", "epsilon": 0.1, "epsilon_high": 0.3}, **wide)
    del cases["geo_mean"]["options"]["loss_agg_mode"]
    cases["cispo"] = verl_loss(tensors, "cispo", {"loss_type": "cispo", "epsilon_high": 1.3}, "token-mean", clip_ratio_low=1.0, clip_ratio_high=0.3)
    return cases


def verl_kl(tensors):
    """Each estimator and its gradient, as a loss adds it."""
    logprobs = tensors["logprobs"].clone().requires_grad_()
    cases = {}
    for name in ("k1", "k2", "k3", "abs"):
        values = verl.kl_penalty(logprobs, tensors["reference"], name)
        (gradient,) = torch.autograd.grad(values.sum(), [logprobs])
        cases[name] = {"values": flat(values.detach(), LENGTHS), "gradient": flat(gradient, LENGTHS)}
    return cases


# ---- advantages

SAMPLES = 4


def cut(source, first, last):
    """The lines of a method from the one that starts with `first` to the one that starts with `last`, to be executed."""
    lines = inspect.getsource(source).split("\n")
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i in range(start, len(lines)) if lines[i].strip().startswith(last))
    return compile(textwrap.dedent("\n".join(lines[start : end + 1])), "trl", "exec")


def trl_advantages(trainer, module, scores, **settings):
    defaults = {"multi_objective_aggregation": "sum_then_normalize", "scale_rewards": "group", "normalize_advantages": False, "beta": 0.0,
                "reward_clip_range": None, "reward_funcs": [None] * scores.shape[1], "reward_weights": torch.ones(scores.shape[1]).double()}
    v = {**vars(module), "self": SimpleNamespace(**{**defaults, **settings}), "rewards_per_func": scores, "num_generations": SAMPLES, "device": "cpu",
         "gather": lambda x: x}
    v |= {n: settings[n] for n in ("old_per_token_logps", "ref_per_token_logps", "completion_mask") if n in settings}
    exec(cut(trainer._generate_and_score_completions, "unscorable_mask = torch.isnan(", "advantages = torch.nan_to_num("), v)
    zero = torch.isclose(v["std_rewards"], torch.zeros_like(v["std_rewards"])).double().mean().item()
    return {"advantages": v["advantages"].tolist(), "frac_reward_zero_std": zero}


def scores_of(nulls):
    """Two judges' scores of two groups and a third without spread."""
    scores = single(3 * SAMPLES, 2)
    scores[-SAMPLES:] = scores[-1]
    if nulls:
        scores[1] = scores[5] = math.nan  # nobody scored it
        scores[6] = scores[4] = math.nan  # the second group has one score left
        scores[2, 0] = math.nan  # one judge did not
    return scores


UNSCORED = 1e30  # JSON has no NaN


def trl_estimators():
    grpo, rloo = (grpo_trainer.GRPOTrainer, grpo_trainer), (rloo_trainer.RLOOTrainer, rloo_trainer)
    cases = {}
    for name, scores in {"known": scores_of(False), "nulls": scores_of(True)}.items():
        case = {"scores": scores.nan_to_num(UNSCORED).tolist()}
        weights = torch.tensor([1.0, 0.5]).double()
        for scale in ("group", "batch", "none"):
            case["grpo_" + scale] = trl_advantages(*grpo, scores, scale_rewards=scale, reward_weights=weights)
        case["gdpo"] = trl_advantages(*grpo, scores, multi_objective_aggregation="normalize_then_sum", reward_weights=weights)
        case["rloo"] = trl_advantages(*rloo, scores, reward_weights=weights)
        case["rloo_normalized"] = trl_advantages(*rloo, scores, normalize_advantages=True, reward_weights=weights)
        cases[name] = case
    return cases


def verl_estimators(tensors):
    """Of rewards for each token, with the score on the last and a KL penalty on all."""
    rewards = single(ROWS, COLUMNS, scale=0.1)
    for i, n in enumerate(LENGTHS):
        rewards[i, n - 1] += single(1).item()
    rewards = (rewards.float().double()) * REAL
    index = np.array([i // SAMPLES for i in range(ROWS)])
    config = Config(gamma=0.97, norm_adv_by_std_in_grpo=True)
    case = {"rewards": flat(rewards, LENGTHS), "gamma": 0.97}
    for name in ("rloo", "opo", "reinforce_plus_plus", "reinforce_plus_plus_baseline"):
        advantages, _ = verl.get_adv_estimator_fn(name)(token_level_rewards=rewards.clone(), response_mask=REAL, index=index, config=config)
        case[name] = flat(advantages, LENGTHS)
    advantages, _ = verl.get_adv_estimator_fn("grpo")(token_level_rewards=rewards.clone(), response_mask=REAL, index=index,
                                                      norm_adv_by_std_in_grpo=False, config=config)
    case["grpo_none"] = flat(advantages, LENGTHS)
    baselines = single(ROWS // SAMPLES)
    advantages, _ = verl.get_adv_estimator_fn("remax")(token_level_rewards=rewards.clone(), reward_baselines=baselines.repeat_interleave(SAMPLES),
                                                       response_mask=REAL, config=config)
    case |= {"remax": flat(advantages, LENGTHS), "baselines": baselines.tolist()}
    return case | {"starts": starts_of(LENGTHS)}


torch.manual_seed(20261201)
tensors = scene()
golden = {
    "made_by": "trl 1.16.0, verl 1dda039b9c6311889a9c9a26040677e1254814f9",
    "samples": SAMPLES,
    "most_tokens": MOST_TOKENS,
    "batch_tokens": 30.0,
    "tensors": written(tensors),
    "trl": trl_losses(tensors),
    "rloo": rloo_losses(tensors),
    "verl": verl_losses(tensors),
    "kl": verl_kl(tensors),
    "trl_estimators": trl_estimators(),
    "verl_estimators": verl_estimators(tensors),
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
