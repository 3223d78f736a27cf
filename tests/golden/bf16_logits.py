"""Logits of golden models in bf16, by PyTorch: weights and activations in bf16, and in fp32 to compare with.

    python tests/golden/bf16_logits.py     # writes tests/golden/bf16_logits.json, needs torch, transformers
"""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
golden = {}
for name in ("tied", "gemma2", "granite", "qwen3"):
    directory = HERE / "models" / name
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, model.config.vocab_size, (24,), generator=generator)
    with torch.no_grad():
        full = model(ids[None]).logits[0]
        half = model.to(torch.bfloat16)(ids[None]).logits[0].float()
    golden[name] = {"ids": ids.tolist(), "fp32": [[round(x, 5) for x in row] for row in full.tolist()], "bf16": half.tolist()}
(HERE / "bf16_logits.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
