#!/usr/bin/env python3
"""Trains the embedded model's tokenizer: byte-level BPE (Sennrich et al. 2016, Radford et al. 2019).

    python3 examples/models/make_corpus.py build/stories.jsonl
    python3 examples/models/make_tokenizer.py build/stories.jsonl examples/models/stories

Writes tokenizer.json, tokenizer_config.json, generation_config.json and config.json as transformers reads them.
Standard library only; ties go to the pair whose ids are smaller, so every Python 3 writes the same bytes.
"""

import argparse
import collections
import json
import os
import re

END = "<|endoftext|>"
PAD = "<|pad|>"

# GPT-2's split for a corpus in ASCII: \p{L} is a letter, \p{N} a digit.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def alphabet():
    """GPT-2's printable character of each byte."""
    printable = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    others = [byte for byte in range(256) if byte not in printable]
    points = {byte: byte for byte in printable}
    points.update({byte: 256 + index for index, byte in enumerate(others)})
    return [chr(points[byte]) for byte in range(256)]


def count_words(path):
    """How often each piece of the split occurs; read in order, so the order of keys is the file's."""
    words = collections.Counter()
    with open(path, encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            if not text.isascii():
                raise SystemExit(f"{path}: the corpus is expected to be ASCII")
            words.update(SPLIT.findall(text))
    return words


def train(words, first_id, count):
    """The `count` merges as (left id, right id), the commonest pair first; new ids count up from first_id."""
    pieces = [[byte + 2 for byte in word.encode()] for word in words]
    times = list(words.values())
    merges = []
    for merge in range(count):
        pairs = collections.Counter()
        for piece, n in zip(pieces, times):
            for pair in zip(piece, piece[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            raise SystemExit("the corpus is too small for this vocabulary")
        merges.append(best)
        for piece in pieces:
            replace(piece, best, first_id + merge)
    return merges


def replace(piece, pair, merged):
    at = 0
    while at + 1 < len(piece):
        if piece[at] == pair[0] and piece[at + 1] == pair[1]:
            piece[at:at + 2] = [merged]
        at += 1


def tokenizer_json(vocab, merges):
    def special(token):
        return {"id": vocab[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True}

    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    template = [{"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [special(END), special(PAD)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing", "single": template,
            "pair": template + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {END: {"id": END, "ids": [vocab[END]], "tokens": [END]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }


def model_config(size):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 96, "intermediate_size": 256,
        "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 16,
        "vocab_size": size, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
        "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
        "torch_dtype": "float32",
    }


def parameter_count(config):
    """Of a Llama with tied embeddings."""
    hidden, heads, kv = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    attention = hidden * config["head_dim"] * (2 * heads + 2 * kv)
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    return config["vocab_size"] * hidden + config["num_hidden_layers"] * layer + hidden


def write_json(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="JSONL with a text column")
    parser.add_argument("directory", help="the model directory to write into")
    parser.add_argument("--vocab-size", type=int, default=1024)
    arguments = parser.parse_args()
    texts = [END, PAD] + alphabet()
    merges = []
    for left, right in train(count_words(arguments.corpus), len(texts), arguments.vocab_size - len(texts)):
        merges.append([texts[left], texts[right]])
        texts.append(texts[left] + texts[right])
    vocab = {text: index for index, text in enumerate(texts)}
    if len(vocab) != len(texts):
        raise SystemExit("two merges spell the same token; change the vocabulary's size")
    config = model_config(len(texts))
    os.makedirs(arguments.directory, exist_ok=True)
    write_json(arguments.directory, "tokenizer.json", tokenizer_json(vocab, merges))
    write_json(arguments.directory, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END, "pad_token": PAD,
        "model_max_length": 512, "clean_up_tokenization_spaces": False})
    write_json(arguments.directory, "generation_config.json", {
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1})
    write_json(arguments.directory, "config.json", config)
    print(f"{len(texts)} tokens; a model of {parameter_count(config)} parameters")


if __name__ == "__main__":
    main()
