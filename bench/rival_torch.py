"""PyTorch and transformers doing what bench-model does, and what `troupe generate` does:

    rival_torch.py train DIRECTORY THREADS BATCH LENGTH [bf16]
    rival_torch.py rollout DIRECTORY THREADS BATCH PROMPT NEW [bf16]
    rival_torch.py generate DIRECTORY PROMPT

train and rollout measure once for each line on standard input and answer with a line: tokens a second. bf16: training by autocast,
with parameters in fp32; generating with weights in bf16.
"""
import contextlib
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(directory, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa")


def random_ids(model, rows, columns):
    torch.manual_seed(1)
    return torch.randint(3, model.config.vocab_size, (rows, columns))


def answer_lines(measure, tokens):
    for _ in sys.stdin:
        start = time.perf_counter()
        measure()
        print(f"{tokens / (time.perf_counter() - start):.1f}", flush=True)


def train(directory, bf16, batch, length):
    model = load(directory).train()
    ids = random_ids(model, batch, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    answer_lines(step, batch * length)


def rollout(directory, bf16, batch, length, new_tokens):
    model = load(directory, torch.bfloat16 if bf16 else torch.float32).eval()
    ids = random_ids(model, batch, length)
    model.generation_config.eos_token_id = None  # every response has all its tokens
    mask = torch.ones_like(ids)

    def speak():
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=mask, do_sample=True, temperature=0.7, top_k=0, top_p=1.0,
                                 max_new_tokens=new_tokens, pad_token_id=0)
        assert out.shape == (batch, length + new_tokens), out.shape

    answer_lines(speak, batch * new_tokens)


def generate(directory, prompt):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    out = load(directory).generate(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False),
                                   do_sample=False, max_new_tokens=1, pad_token_id=0)
    print(tokenizer.decode(out[0]))


if __name__ == "__main__":
    what, directory, *rest = sys.argv[1:]
    if what == "generate":
        generate(directory, *rest)
    else:
        bf16 = rest[-1] == "bf16"
        threads, *sizes = map(int, rest[:-1] if bf16 else rest)
        torch.set_num_threads(threads)
        {"train": train, "rollout": rollout}[what](directory, bf16, *sizes)
