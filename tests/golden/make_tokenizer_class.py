#!/usr/bin/env python3
"""Golden ids and texts of transformers for directories that differ in what tokenizer_config.json and config.json say.

    python3 tests/golden/make_tokenizer_class.py MODEL_DIRECTORY > tests/golden/tokenizer_class.json

MODEL_DIRECTORY is stories260K. Made with transformers 5.24. "config" is the text of the one file, "model_type" goes into the other; "texts" are [text, ids with
the template's tokens, what they are decoded to].
"""

import json
import os
import shutil
import sys
import tempfile

import transformers

TEXTS = ["", " ", "Once", " Once", "  Once", "Lily</s> said", "Lily </s>  said", "</s>Once upon", "</s> Once", "a\n b", "\u2581a \u2581", "<unk>x", "\u4f60\u00e9"]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
CONFIGS = [
    {"tokenizer_class": "LlamaTokenizerFast", "model_max_length": 1000000000000000019884624838656, "add_bos_token": False, "add_eos_token": True},
    {"tokenizer_class": "LlamaTokenizer", "legacy": True},
    {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": None},
    {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False},
    {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_prefix_space": False},
    {"tokenizer_class": "PreTrainedTokenizerFast"},
    {},
]


def golden(source, config, model_type):
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(os.path.join(source, "tokenizer.json"), directory)
        for name, content in (("tokenizer_config.json", config), ("config.json", {"model_type": model_type})):
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                json.dump(content, file)
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    rows = [[text, ids, tokenizer.decode(ids, clean_up_tokenization_spaces=False)] for text in TEXTS for ids in [tokenizer.encode(text)]]
    return {"config": json.dumps(config), "model_type": model_type, "texts": rows}


def main():
    cases = [({**NAMES, **config}, "llama") for config in CONFIGS]
    cases += [({**NAMES, **CONFIGS[1]}, family) for family in ("mistral", "mixtral", "phi3", "granite", "olmo2", "olmo3", "qwen3", "gemma2")]
    print("[" + ",\n".join(json.dumps(golden(sys.argv[1], *case), separators=(",", ":")) for case in cases) + "]")


if __name__ == "__main__":
    main()
