"""Tiny random models of every family besides plain Llama, as make_llama.py makes them.

    python tests/golden/make_families.py [NAME...]      # writes tests/golden/models/NAME/, needs what make_llama.py needs

Each directory is what transformers saves and what it makes of it; config.json has a key more that nobody knows, which is to be
carried along. Those of tests/golden/wrapped are text models within others. Sizes are multiples of nothing. Weights are bf16, half
as large as float32; the golden numbers are those of float32.
"""

import json
import sys
import zlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSequenceClassification

from make_llama import batch, golden, save

SIZES = dict(vocab_size=61, hidden_size=20, intermediate_size=22, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=6, max_position_embeddings=640, bos_token_id=1, eos_token_id=[2, 5],
             tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=2.5)
DYNAMIC = dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.2, 1.7], long_factor=[2.0] * 3,
                original_max_position_embeddings=320)
GPT = dict(num_key_value_heads=None, head_dim=None)
LATENT = dict(num_key_value_heads=4, head_dim=None, kv_lora_rank=11, qk_nope_head_dim=8, qk_rope_head_dim=6, v_head_dim=7)
DELTA = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=5, linear_value_head_dim=7)

# A family by name; a scalar head by "+".
MODELS = {
    "llama_biases": ("llama", dict(num_hidden_layers=1, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3)),
    "llama_linear": ("llama", dict(num_hidden_layers=1, rope_parameters=LINEAR)),
    "llama_dynamic": ("llama", dict(num_hidden_layers=1, rope_parameters=DYNAMIC)),
    "llama_yarn": ("llama", dict(num_hidden_layers=1, rope_parameters=YARN)),
    "llama_longrope": ("llama", dict(num_hidden_layers=1, rope_parameters=LONGROPE)),
    "llama_own_head": ("llama", dict(num_hidden_layers=1)),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, head_dim=None, hidden_size=24)),
    "qwen2_sliding": ("qwen2", dict(head_dim=None, hidden_size=24, use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "qwen2_scalar": ("qwen2+", dict(head_dim=None, hidden_size=24, num_hidden_layers=1)),
    "qwen3": ("qwen3", dict()),
    "qwen3_biases": ("qwen3", dict(num_hidden_layers=1, attention_bias=True, tie_word_embeddings=True)),
    "qwen3_sliding": ("qwen3", dict(num_hidden_layers=1, use_sliding_window=True, sliding_window=9, max_window_layers=0)),
    "qwen3_scalar": ("qwen3+", dict(num_hidden_layers=1)),
    "qwen3_5": ("qwen3_5_text", dict(num_hidden_layers=3, head_dim=8, layer_types=["linear_attention", "full_attention", "linear_attention"],
                                     rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75,
                                                          mrope_section=[1, 1, 1], mrope_interleaved=True), **DELTA)),
    "qwen3_5_biases": ("qwen3_5_text", dict(num_hidden_layers=2, full_attention_interval=2, head_dim=8, tie_word_embeddings=True,
                                          attention_bias=True, **{**DELTA, "linear_value_head_dim": 18, "linear_conv_kernel_dim": 3})),
    "qwen3_5_scalar": ("qwen3_5_text+", dict(num_hidden_layers=1, head_dim=8, **DELTA)),
    "qwen3_5_moe": ("qwen3_5_moe_text", dict(num_hidden_layers=2, head_dim=8, intermediate_size=None, num_experts=6, num_experts_per_tok=3,
                                             moe_intermediate_size=18, shared_expert_intermediate_size=14,
                                             layer_types=["linear_attention", "full_attention"], **DELTA)),
    "qwen3_next": ("qwen3_next", dict(num_hidden_layers=2, full_attention_interval=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
                                      moe_intermediate_size=14, shared_expert_intermediate_size=16, mlp_only_layers=[1], **DELTA)),
    "qwen3_next_scalar": ("qwen3_next+", dict(num_hidden_layers=1, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=14,
                                              shared_expert_intermediate_size=18, **DELTA)),
    "mistral": ("mistral", dict(sliding_window=7)),
    "ministral": ("ministral", dict(num_hidden_layers=3, sliding_window=18, layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "ministral_scalar": ("ministral+", dict(num_hidden_layers=2, sliding_window=11, layer_types=["full_attention", "sliding_attention"])),
    "mistral_scalar": ("mistral+", dict(num_hidden_layers=1, sliding_window=21)),
    "gemma2": ("gemma2", dict(sliding_window=9, query_pre_attn_scalar=5, attn_logit_softcapping=3.0, final_logit_softcapping=9.0,
                              tie_word_embeddings=True)),
    "gemma2_scalar": ("gemma2+", dict(num_hidden_layers=1, sliding_window=9)),
    "gemma3": ("gemma3_text", dict(num_hidden_layers=3, sliding_window=9, query_pre_attn_scalar=11, tie_word_embeddings=True,
                                   layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "gemma3_scalar": ("gemma3_text+", dict(num_hidden_layers=1, sliding_window=9)),
    "phi3": ("phi3", dict(sliding_window=13, head_dim=None, hidden_size=24, tie_word_embeddings=True)),
    "phi3_partial": ("phi3", dict(num_hidden_layers=1, head_dim=None, hidden_size=32, original_max_position_embeddings=320,
                                  rope_parameters={**LONGROPE, "partial_rotary_factor": 0.75})),
    "phi3_scalar": ("phi3+", dict(num_hidden_layers=1, head_dim=None, hidden_size=24)),
    "smollm3": ("smollm3", dict(num_hidden_layers=3, head_dim=None, hidden_size=24, no_rope_layers=[1, 0, 1])),
    "smollm3_scalar": ("smollm3+", dict(num_hidden_layers=1, head_dim=None, hidden_size=24)),
    "olmo2": ("olmo2", dict(head_dim=None, hidden_size=24)),
    "olmo2_scalar": ("olmo2+", dict(num_hidden_layers=1, head_dim=None, hidden_size=24)),
    "olmo3": ("olmo3", dict(head_dim=None, hidden_size=24, sliding_window=9, layer_types=["sliding_attention", "full_attention"],
                            rope_parameters={"full_attention": YARN, "sliding_attention": dict(rope_type="default", rope_theta=10000.0)})),
    "olmo3_scalar": ("olmo3+", dict(num_hidden_layers=2, head_dim=None, hidden_size=24, sliding_window=12,
                                    layer_types=["sliding_attention", "full_attention"])),
    "granite": ("granite", dict(head_dim=None, hidden_size=24, embedding_multiplier=1.7, logits_scaling=1.3, residual_multiplier=0.6,
                                attention_multiplier=0.31, attention_bias=True, tie_word_embeddings=True)),
    "qwen3_moe": ("qwen3_moe", dict(num_hidden_layers=3, mlp_only_layers=[1], moe_intermediate_size=14, num_experts=7,
                                    num_experts_per_tok=3, norm_topk_prob=True)),
    "qwen3_moe_odd": ("qwen3_moe", dict(decoder_sparse_step=2, moe_intermediate_size=9, num_experts=5, num_experts_per_tok=2,
                                        attention_bias=True, use_sliding_window=True, sliding_window=9, tie_word_embeddings=True)),
    "qwen3_moe_scalar": ("qwen3_moe+", dict(num_hidden_layers=1, moe_intermediate_size=11, num_experts=4, num_experts_per_tok=1)),
    "mixtral": ("mixtral", dict(num_local_experts=5, num_experts_per_tok=2, sliding_window=11)),
    "qwen2_moe": ("qwen2_moe", dict(num_hidden_layers=3, head_dim=None, hidden_size=24, moe_intermediate_size=14, num_experts=6,
                                    num_experts_per_tok=2, shared_expert_intermediate_size=19, mlp_only_layers=[2],
                                    use_sliding_window=True, sliding_window=9, max_window_layers=2)),
    "qwen2_moe_scalar": ("qwen2_moe+", dict(num_hidden_layers=1, head_dim=None, hidden_size=24, moe_intermediate_size=7, num_experts=4,
                                            num_experts_per_tok=2, shared_expert_intermediate_size=5, norm_topk_prob=True,
                                            qkv_bias=False)),
    "olmoe": ("olmoe", dict(head_dim=None, hidden_size=24, num_experts=9, num_experts_per_tok=4)),
    "mixtral_scalar": ("mixtral+", dict(num_hidden_layers=1, num_local_experts=3, num_experts_per_tok=2)),
    "deepseek_v3": ("deepseek_v3", dict(**LATENT, q_lora_rank=13, n_routed_experts=12, num_experts_per_tok=3, n_group=4,
                                        topk_group=2, moe_intermediate_size=10, n_shared_experts=2, first_k_dense_replace=1,
                                        routed_scaling_factor=1.7, rope_parameters={**YARN, "mscale": 0.8, "mscale_all_dim": 0.6})),
    "deepseek_v3_plain": ("deepseek_v3", dict(**{**LATENT, "qk_nope_head_dim": 4, "v_head_dim": 10}, num_hidden_layers=1, q_lora_rank=None,
                                              n_routed_experts=6, num_experts_per_tok=2, n_group=1, topk_group=1, moe_intermediate_size=9,
                                              first_k_dense_replace=0, norm_topk_prob=False, rope_interleave=False,
                                              tie_word_embeddings=True)),
    "deepseek_v3_scalar": ("deepseek_v3+", dict(**LATENT, num_hidden_layers=1, q_lora_rank=None, n_routed_experts=4, num_experts_per_tok=2,
                                                n_group=2, topk_group=1, moe_intermediate_size=8, first_k_dense_replace=0)),
    "gpt_oss": ("gpt_oss", dict(num_hidden_layers=3, num_local_experts=5, num_experts_per_tok=2, sliding_window=9, swiglu_limit=0.8,
                                rope_parameters={**YARN, "truncate": False})),
    "gpt_oss_odd": ("gpt_oss", dict(num_hidden_layers=1, num_local_experts=3, num_experts_per_tok=3, attention_bias=False, swiglu_alpha=1.3,
                                    layer_types=["full_attention"], tie_word_embeddings=True)),
    "gpt_oss_mxfp4": ("gpt_oss", dict(num_hidden_layers=1, hidden_size=64, intermediate_size=32, num_local_experts=3, num_experts_per_tok=2,
                                      sliding_window=11)),
    "gpt_oss_scalar": ("gpt_oss+", dict(num_hidden_layers=1, num_local_experts=3, num_experts_per_tok=1, sliding_window=9)),
    "gpt2": ("gpt2", dict(**GPT, tie_word_embeddings=True, hidden_size=24, intermediate_size=None, n_inner=22)),
    "gpt2_exact": ("gpt2", dict(**GPT, intermediate_size=None, num_hidden_layers=1, hidden_size=30, num_attention_heads=3,
                                activation_function="gelu", tie_word_embeddings=False)),
    "gpt2_scalar": ("gpt2+", dict(**GPT, tie_word_embeddings=True, intermediate_size=None, num_hidden_layers=1, num_attention_heads=2)),
    "gpt_neox": ("gpt_neox", dict(**GPT, hidden_size=24, rotary_pct=0.34)),
    "gpt_neox_serial": ("gpt_neox", dict(**GPT, num_hidden_layers=1, hidden_size=24, use_parallel_residual=False, attention_bias=False,
                                         hidden_act="gelu_new", tie_word_embeddings=True,
                                         rope_parameters={**YARN, "partial_rotary_factor": 1.0})),
    "gpt_neox_scalar": ("gpt_neox+", dict(**GPT, num_hidden_layers=1, hidden_size=24, rotary_pct=0.67)),
}


def edit(directory):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["a_key_of_nobody"] = {"of": [1, 2.5, "\u00e9"]}
    if directory.name == "llama_own_head":  # saved untied: transformers reads the file's head, and warns
        config["tie_word_embeddings"] = True
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def pack(directory, seed):
    """The experts' weights as MXFP4, with every number and scales from 2^-9 to 2^-3. What they are is transformers' to say, which
    reads them as bf16; the file of gradients has the tensors that it saves."""
    generator = torch.Generator().manual_seed(seed)
    file, path = directory / "model.safetensors", directory / "config.json"
    tensors, config = load_file(file), json.loads(path.read_text())
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        tensors[name + "_blocks"] = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
        tensors[name + "_scales"] = torch.randint(118, 125, shape, generator=generator, dtype=torch.uint8)
    save_file(tensors, file, metadata={"format": "pt"})
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(name):
    family, options = MODELS[name]
    seed = zlib.crc32(name.encode()) % 10000  # a new name changes no other model
    scalar = family.endswith("+")
    auto = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    sizes = {**SIZES, **options}
    config = AutoConfig.for_model(family.rstrip("+"), **{key: value for key, value in sizes.items() if value is not None or key == "q_lora_rank"},
                                  **({"num_labels": 1, "pad_token_id": 0} if scalar else {"pad_token_id": None}))
    directory = save(name, auto, config, seed, torch.bfloat16)
    edit(directory)
    if name.endswith("mxfp4"):
        pack(directory, seed)
    golden(directory, auto, scalar, seed + 1000)


def make_whole(name, **options):
    """A text model as it is published: within one of text and pictures, beside what draws several tokens ahead. transformers'
    AutoModelForCausalLM reads its text model alone."""
    text = {**SIZES, "pad_token_id": None, "num_hidden_layers": 2, "full_attention_interval": 2, "head_dim": 8, "tie_word_embeddings": True, **DELTA, **options}
    vision = dict(depth=1, hidden_size=16, intermediate_size=12, num_heads=2, out_hidden_size=20, num_position_embeddings=16, patch_size=2)
    config = AutoConfig.for_model(name, text_config=text, vision_config=vision, tie_word_embeddings=True)
    directory = save("../wrapped/" + name, AutoModelForImageTextToText, config, 5, torch.bfloat16)
    file = directory / "model.safetensors"
    save_file({**load_file(file), "mtp.fc.weight": torch.zeros(2, 3, dtype=torch.bfloat16)}, file, metadata={"format": "pt"})
    golden(directory, AutoModelForCausalLM, False, 1005)


# Published models of the mixture have the experts of a layer in one tensor.
WHOLE = {"qwen3_5": {}, "qwen3_5_moe": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=10, shared_expert_intermediate_size=14)}


def quantize(weight):
    """F8_E4M3 by blocks of 128, and the scales, as files of DeepSeek V3 have them."""
    rows, columns = weight.shape
    scales = torch.ones((rows + 127) // 128, (columns + 127) // 128)
    quantized = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = (slice(128 * i, 128 * i + 128), slice(128 * j, 128 * j + 128))
            scales[i, j] = weight[block].float().abs().max() / 448
            quantized[block] = (weight[block].float() / scales[i, j]).to(torch.float8_e4m3fn)
    return quantized, scales


def dequantize(quantized, scales):
    """As DeepSeek's own kernel reads it: blocks of 128 from the first row and column on, the last of either cut. transformers divides
    a matrix into as many equal parts instead, or refuses it."""
    rows, columns = quantized.shape
    grid = scales.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
    return (quantized.float() * grid).bfloat16()


def make_fp8(name="deepseek_v3"):
    """A model in FP8, and the logits that transformers gets of it once it is bf16; read.P: what each P in FP8 is then."""
    options = {key: value for key, value in {**SIZES, **LATENT, **FP8}.items() if key != "head_dim"}
    directory = save("../fp8/" + name, AutoModelForCausalLM, AutoConfig.for_model(name, **options), 6, torch.bfloat16)
    file, path = directory / "model.safetensors", directory / "config.json"
    tensors, plain = {}, load_file(file)
    for key in [key for key in plain if "_proj" in key]:
        for i in range(0, plain[key].shape[0], 128):  # no two blocks have nearly one scale
            for j in range(0, plain[key].shape[1], 128):
                plain[key][i:i + 128, j:j + 128] *= 1 + (i + 2 * j) / 256
        tensors[key], tensors[key + "_scale_inv"] = quantize(plain[key])
        plain[key] = dequantize(tensors[key], tensors[key + "_scale_inv"])
    save_file(plain, file, metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    read = {"read." + key: plain[key] for key in tensors if key in plain and "q_proj" in key}
    save_file({**plain, **tensors}, file, metadata={"format": "pt"})
    config = json.loads(path.read_text())
    config["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    ids, _, _ = batch(1006)
    with torch.no_grad():
        logits = torch.cat([model.eval()(sequence[None], use_cache=False).logits[0] for sequence in ids])
    starts = torch.tensor([0, *(len(sequence) for sequence in ids)]).cumsum(0).int()
    save_file({"ids": torch.cat(ids).int(), "starts": starts, "logits": logits, **read}, directory / "golden.safetensors")


FP8 = dict(hidden_size=160, qk_nope_head_dim=70, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, q_lora_rank=None,
           first_k_dense_replace=0, n_routed_experts=4, num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=16)


def main():
    torch.set_num_threads(1)
    if not sys.argv[1:] or "fp8" in sys.argv:
        make_fp8()
    for name in [name for name in sys.argv[1:] if name != "fp8"] if sys.argv[1:] else [*MODELS, *("wrapped/" + name for name in WHOLE)]:
        whole = name.removeprefix("wrapped/")
        make_whole(whole, **WHOLE[whole]) if whole != name else make(name)


if __name__ == "__main__":
    main()
