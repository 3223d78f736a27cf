"""Adapters as PEFT saves them, and what PEFT makes of them: logits, gradients, three steps of AdamW.

    python tests/golden/lora.py           # writes tests/golden/lora/*/, needs peft besides what make_llama.py needs
    python tests/golden/lora.py DIR       # checks what Troupe saved of them (tests/common/model/test_lora.c says how)

Each directory is an adapter of a model of tests/golden/models, with golden.safetensors as make_llama.py has it; gradients and
parameters after the steps (after.P) are those of what the adapter trains, by the names of its file without their prefix.
"""

import json
import os
import pathlib
import shutil
import sys
import warnings

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from make_llama import LENGTHS, batch

ROOT = pathlib.Path(__file__).resolve().parent
PREFIX = "base_model.model."
LINEAR, ATTENTION = "all-linear", ["q_proj", "k_proj", "v_proj", "o_proj"]
# Name: base, and what differs from r 3 and lora_alpha 7.
ADAPTERS = {
    "tied": ("tied", dict(target_modules=LINEAR)),
    "suffixes": ("tied", dict(target_modules=["v_proj", "layers.1.mlp.down_proj"], use_rslora=True, r=5, lora_alpha=16)),
    "pattern": ("tied", dict(target_modules=r".*\.1\.(self_attn\.[qo]|mlp\.up)_proj", init_lora_weights="gaussian")),
    "saved": ("untied_bf16", dict(target_modules=["q_proj", "up_proj"], modules_to_save=["lm_head", "norm"])),
    "scalar": ("scalar", dict(target_modules=LINEAR)),
    "phi3": ("phi3", dict(target_modules=LINEAR)),
    "gpt2": ("gpt2", dict(target_modules=LINEAR)),
    "gpt_neox": ("gpt_neox", dict(target_modules=LINEAR)),
    "gemma3": ("gemma3", dict(target_modules=LINEAR)),
    "qwen3_5": ("qwen3_5", dict(target_modules=LINEAR)),
    "deepseek_v3": ("deepseek_v3", dict(target_modules=["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"])),
    "mixtral": ("mixtral", dict(target_modules=ATTENTION)),
}


def load(base):
    scalar = base.endswith("scalar")
    auto = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    # A path that is nobody's own: base_model_name_or_path has it.
    return auto.from_pretrained(f"tests/golden/models/{base}", dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval(), scalar


def plain(name):
    return name.removeprefix(PREFIX).replace(".default", "").replace(".modules_to_save", "")


def trained(model):
    return {plain(name): p for name, p in model.named_parameters() if p.requires_grad}


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(trained(model).items()):
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * (0.7 / parameter.shape[-1] ** 0.5)
        else:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


def loss_of(model, scalar, ids, targets, weights):
    rows, loss = [], 0
    for sequence, target, c in zip(ids, targets, weights):
        if scalar:
            inner = model.base_model.model
            rows.append(inner.score(inner.model(sequence.unsqueeze(0), use_cache=False).last_hidden_state[0])[:, 0])
            loss = loss + (c * rows[-1]).sum()
        else:
            rows.append(model(input_ids=sequence.unsqueeze(0), use_cache=False).logits[0])
            loss = loss + (c * torch.log_softmax(rows[-1], -1).gather(1, target[:, None])[:, 0]).sum()
    return torch.cat(rows).detach(), loss


def make(name, base, options, seed):
    directory = ROOT / "lora" / name
    shutil.rmtree(directory, ignore_errors=True)
    model, scalar = load(base)
    model = get_peft_model(model, LoraConfig(**{"r": 3, "lora_alpha": 7, "task_type": "SEQ_CLS" if scalar else "CAUSAL_LM", **options}))
    randomize(model, seed)
    model.eval().save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    ids, targets, weights = batch(100 + seed)
    rows, loss = loss_of(model, scalar, ids, targets, weights)
    loss.backward()
    tensors = {"ids": torch.cat(ids).int(), "targets": torch.cat(targets).int(), "weights": torch.cat(weights),
               "starts": torch.tensor([0, *LENGTHS]).cumsum(0).int(), "values" if scalar else "logits": rows}
    tensors |= {"grad." + key: p.grad.clone() for key, p in trained(model).items()}
    optimizer = torch.optim.AdamW(list(trained(model).values()), lr=0.01, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, scalar, ids, targets, weights)[1].backward()
        optimizer.step()
    tensors |= {"after." + key: p.detach().clone() for key, p in trained(model).items()}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, directory / "golden.safetensors",
              metadata={"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"})
    print(name, json.loads((directory / "adapter_config.json").read_text())["target_modules"], len(trained(model)))


def check(name, base, saved):
    """PEFT takes what Troupe saved of the adapter and computes the same."""
    model, scalar = load(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of keys that are missing
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = PeftModel.from_pretrained(model, saved).eval()
    golden = load_file(ROOT / "lora" / name / "golden.safetensors")
    wanted = load_file(ROOT / "lora" / name / "adapter_model.safetensors")
    found = load_file(saved / "adapter_model.safetensors")
    assert wanted.keys() == found.keys(), (name, wanted.keys() ^ found.keys())
    assert all(torch.equal(found[key], wanted[key].float()) for key in wanted), name
    starts = golden["starts"].tolist()
    ids = [golden["ids"][begin:end].long() for begin, end in zip(starts, starts[1:])]
    with torch.no_grad():
        rows, _ = loss_of(model, scalar, ids, ids, [torch.zeros(len(i)) for i in ids])
    torch.testing.assert_close(rows, golden["values" if scalar else "logits"], rtol=1e-6, atol=1e-6)
    print(f"{name}: loads")


def main():
    torch.set_num_threads(1)
    saved = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    os.chdir(ROOT.parents[1])
    for seed, (name, (base, options)) in enumerate(ADAPTERS.items()):
        if saved is not None:
            check(name, base, saved / name)
        else:
            make(name, base, options, seed)


if __name__ == "__main__":
    main()
