"""Tiny random Llamas, and what transformers and PyTorch make of them.

    python tests/golden/make_llama.py      # writes tests/golden/models/*/, needs torch, transformers, safetensors

Each directory is a Hugging Face model (config.json, model.safetensors or shards) and golden.safetensors:

    ids      I32 [tokens]             ragged sequences, one after another
    starts   I32 [sequences + 1]      where each begins
    targets  I32 [tokens]             the next token; at a sequence's end 0, where the weight is 0
    weights  F32 [tokens]             c: fixed factors in [-1, 1], 0 at a sequence's end
    logits   F32 [tokens, vocabulary] causal models: each sequence alone, float32, eager attention
    logprobs F32 [tokens]             causal models: of the targets
    values   F32 [tokens]             the scalar head: at every position
    loss     F32 [1]                  sum of c * logprob, or of c * value, over all sequences
    grad.P   F32, P's shape           its gradient with respect to every parameter P
    aux, aux.grad.P                   of some mixtures of experts: the auxiliary loss of the routers, and its gradients

Weights are scaled so that logits are lively (log-probabilities down to -7 and below) and float32 still agrees with float64,
to 3e-6 in logits and 2e-5 in gradients, of the largest of each; the script checks this.
"""

import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

HERE = pathlib.Path(__file__).parent / "models"
BALANCED = ("qwen3_moe", "mixtral", "gpt_oss")
LENGTHS = (1, 5, 17, 33, 40)
COMMON = dict(vocab_size=61, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
              max_position_embeddings=64, bos_token_id=1, eos_token_id=2)


def adds_one(model_type, name):
    """Whether the norm adds 1 to its weights."""
    return "gemma" in model_type or (model_type.startswith(("qwen3_5", "qwen3_next")) and "linear_attn" not in name)


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or "ln_" in name:
            offset = 0.0 if adds_one(model.config.model_type, name) else 1.0
            parameter.data = offset + 0.2 * noise
        elif "embed" in name:
            parameter.data = 0.7 * noise
        elif name.endswith("A_log"):  # slow decay: transformers' sums over chunks lose the digits of fast ones
            parameter.data = 0.3 * noise - 2.0
        elif parameter.dim() == 1:
            parameter.data = 0.3 * noise
        else:
            parameter.data = noise * (1.5 / parameter.shape[-1] ** 0.5)
    for name, buffer in sorted(model.named_buffers()):
        if name.endswith("e_score_correction_bias"):
            buffer.data = 0.2 * torch.randn(buffer.shape, generator=generator)


def save(name, auto, config, seed, dtype=torch.float32, **options):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    model = auto.from_config(config)
    randomize(model, seed)
    model.to(dtype).save_pretrained(directory, **options)
    return directory


def as_transformers_4_wrote_it(directory):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(0, COMMON["vocab_size"], (n,), generator=generator) for n in LENGTHS]
    targets, weights = [], []
    for sequence in ids:
        targets.append(torch.cat([sequence[1:], torch.zeros(1, dtype=torch.long)]))
        weights.append(2 * torch.rand(len(sequence), generator=generator) - 1)
        weights[-1][-1] = 0
    return ids, targets, weights


def run(model, scalar, ids, targets, weights):
    rows, chosen = [], []
    for sequence, target in zip(ids, targets):
        hidden = model.base_model(sequence.unsqueeze(0), use_cache=False).last_hidden_state[0]
        rows.append(model.score(hidden)[:, 0] if scalar else model(sequence.unsqueeze(0), use_cache=False).logits[0])
        chosen.append(rows[-1] if scalar else torch.log_softmax(rows[-1], -1).gather(1, target[:, None])[:, 0])
    loss = sum((c.to(x.dtype) * x).sum() for c, x in zip(weights, chosen))
    model.zero_grad()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return torch.cat(rows).detach(), torch.cat(chosen).detach(), loss.detach(), gradients


def balance(model, ids):
    """The auxiliary loss of the routers over all sequences, and its gradients."""
    logits = [model(sequence.unsqueeze(0), use_cache=False, output_router_logits=True).router_logits for sequence in ids]
    layers = tuple(torch.cat(layer) for layer in zip(*logits))
    loss = load_balancing_loss_func(layers, layers[0].shape[1], model.config.num_experts_per_tok)
    model.zero_grad()
    loss.backward()
    return loss.detach(), {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def difference(a, b):
    return ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()


def load(directory, auto):
    return auto.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()


def as_stored(model, gradients):
    """Under the names and in the shapes of a file: what transformers saves where they are the weights."""
    for name, parameter in model.named_parameters():
        parameter.data = gradients[name]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(pathlib.Path(folder) / "model.safetensors")


def golden(directory, auto, scalar, seed):
    ids, targets, weights = batch(seed)
    model = load(directory, auto)
    rows, chosen, loss, gradients = run(model, scalar, ids, targets, weights)
    exact_rows, _, _, exact_gradients = run(model.double(), scalar, ids, targets, weights)
    off = max(difference(gradients[name], exact_gradients[name]) for name in gradients)
    print(f"{directory.name:16} rows {rows.abs().max():6.2f}  lowest logprob {chosen.min():7.2f}  "
          f"float32 against float64: rows {difference(rows, exact_rows):.1e}, gradients {off:.1e}")
    assert difference(rows, exact_rows) < 3e-6 and off < 2e-5 and (scalar or chosen.min() < -7)
    tensors = {"ids": torch.cat(ids).int(), "targets": torch.cat(targets).int(), "weights": torch.cat(weights),
               "starts": torch.tensor([0, *LENGTHS]).cumsum(0).int(), "loss": loss.reshape(1)}
    tensors |= {"values": rows} if scalar else {"logits": rows, "logprobs": chosen}
    tensors |= {"grad." + name: value for name, value in as_stored(load(directory, auto), gradients).items()}
    if directory.name in BALANCED:
        loss, gradients = balance(load(directory, auto), ids)
        tensors |= {"aux": loss.reshape(1)}
        tensors |= {"aux.grad." + name: value for name, value in as_stored(load(directory, auto), gradients).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / "golden.safetensors",
              metadata={"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}"})


def main():
    causal, scalar = AutoModelForCausalLM, AutoModelForSequenceClassification
    torch.set_num_threads(1)
    directory = save("tied", causal, LlamaConfig(**COMMON, num_key_value_heads=2, tie_word_embeddings=True), 1)
    as_transformers_4_wrote_it(directory)
    golden(directory, causal, False, 11)
    config = LlamaConfig(**COMMON, num_key_value_heads=2, head_dim=12, rms_norm_eps=1e-5, rope_parameters={
        "rope_type": "default", "rope_theta": 500000.0})
    golden(save("untied_bf16", causal, config, 2, torch.bfloat16), causal, False, 12)
    config = LlamaConfig(**COMMON, num_key_value_heads=1, head_dim=10)
    directory = save("sharded_f16", causal, config, 3, torch.float16, max_shard_size="20KB")
    (directory / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": [2, 7], "pad_token_id": 3}\n')
    golden(directory, causal, False, 13)
    config = LlamaConfig(**COMMON, num_key_value_heads=4, num_labels=1, pad_token_id=0)
    golden(save("scalar", scalar, config, 4), scalar, True, 14)


if __name__ == "__main__":
    main()
