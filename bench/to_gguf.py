"""A Llama that bench-model made, as llama.cpp reads it, in bf16 (norms in fp32):

    to_gguf.py DIRECTORY FILE

Without a vocabulary: llama-batched-bench takes ids by chance.
"""
import json
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import load_file

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}


def name_of(name):
    name = name.removesuffix(".weight")
    if name.startswith("model.layers."):
        _, _, layer, kind = name.split(".", 3)
        return f"blk.{layer}.{NAMES[kind]}.weight"
    return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[name] + ".weight"


def interleaved(weight, heads):
    """Rows of a head in the order of llama.cpp's rotation, whose pairs are neighbours; here they are half a head apart."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def bf16(values):
    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def main(directory, path):
    directory = pathlib.Path(directory)
    config = json.loads((directory / "config.json").read_text())
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, weight in load_file(directory / "model.safetensors").items():
        if "q_proj" in name or "k_proj" in name:
            weight = interleaved(weight, heads if "q_proj" in name else shared)
        if weight.ndim == 1:
            writer.add_tensor(name_of(name), weight.astype(numpy.float32))
        else:
            writer.add_tensor(name_of(name), bf16(weight).view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:])
