"""PyTorch and transformers doing on a GPU what bench-gpu does:

    gpu_torch.py CONFIG.json CASE...     a case as bench-gpu names it: 'train 7B 4x2048', 'rollout 7B 16x128+128'

For each case it can do, a line of two fields between tabs: the case, and tokens a second. Random weights in bf16, sdpa attention, fused
AdamW with its moments in bf16 too, no gradient checkpointing unless memory runs out without. Rollouts are generate() with its static
cache; the time of the prompts' passes is taken off. GPU_TORCH_DEVICE=cpu tries the script without a GPU, which measures nothing.
"""
import json
import os
import re
import statistics
import sys
import time

try:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError as lacking:
    raise SystemExit(f"skipped: this Python has no {lacking.name} (bench/requirements.txt)")

DEVICE = os.environ.get("GPU_TORCH_DEVICE", "cuda")
TURNS = 5
if DEVICE == "cuda" and not torch.cuda.is_available():
    raise SystemExit("skipped: PyTorch finds no GPU")


def median_seconds(work):
    seconds = []
    for turn in range(TURNS + 1):  # the first warms up
        start = time.perf_counter()
        work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def make(config):
    torch.manual_seed(1)
    with torch.device(DEVICE):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
        torch.set_default_dtype(torch.float32)
    return model


def random_ids(config, rows, columns):
    return torch.randint(0, config.vocab_size, (rows, columns), device=DEVICE)


def train_seconds(config, count, length, checkpointing):
    model = make(config).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    ids = random_ids(config, count, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return median_seconds(step)


def train(config, count, length):
    try:
        return count * length / train_seconds(config, count, length, False)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return count * length / train_seconds(config, count, length, True)


def rollout(config, count, prompt, answer):
    model = make(config).eval()
    model.generation_config.eos_token_id = None  # every response has all its tokens
    ids = random_ids(config, count, prompt)
    mask = torch.ones_like(ids)

    def speak(tokens):
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=tokens,
                           min_new_tokens=tokens, pad_token_id=0, cache_implementation="static")

    first = median_seconds(lambda: speak(1))
    return count * (answer - 1) / (median_seconds(lambda: speak(answer)) - first)


def main(config_path, *cases):
    with open(config_path, encoding="utf-8") as file:
        config = LlamaConfig(**json.load(file))
    for case in cases:
        what, _, sizes = case.split(" ", 2)
        if what not in ("train", "rollout"):
            continue
        try:
            speed = {"train": train, "rollout": rollout}[what](config, *map(int, re.findall(r"\d+", sizes)))
            print(f"{case}\t{speed:.4g}", flush=True)
        except torch.OutOfMemoryError:
            print(f"{case}: PyTorch runs out of memory", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
