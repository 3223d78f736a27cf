#!/usr/bin/env python3
"""What the `tokenizers` library makes of nasty texts with the tokenizers that people have, as hashes.

    python3 tests/golden/make_tokenizers.py DIRECTORY > tests/golden/tokenizers.json

DIRECTORY is what `tests/golden/tokenizers_fetch DIRECTORY` has fetched: NAME/tokenizer.json. Checked with tokenizers 0.23.3, and
transformers 5.24.0, which gives a LlamaTokenizer other steps than its file has (docs/tokenizers.md). For each chunk of texts a SHA-256 of the lines "[1,2,3]\\n" of ids, without the template's tokens, and one of the texts that decoding gives for
them, special tokens kept, each behind its length in bytes.
"""

import hashlib
import json
import os
import sys

import nasty_texts
import tokenizers
import transformers


def hashes(tokenizer):
    result = {"ids": [], "texts": []}
    batch = []

    def finish():
        ids, texts = hashlib.sha256(), hashlib.sha256()
        encoded = [e.ids for e in tokenizer.encode_batch(batch, add_special_tokens=False)]
        for line, text in zip(encoded, tokenizer.decode_batch(encoded, skip_special_tokens=False)):
            data = text.encode()
            ids.update((json.dumps(line, separators=(",", ":")) + "\n").encode())
            texts.update(b"%d:" % len(data) + data)
        result["ids"].append(ids.hexdigest()[:16])
        result["texts"].append(texts.hexdigest()[:16])
        batch.clear()

    for text in nasty_texts.texts():
        batch.append(text)
        if len(batch) == nasty_texts.CHUNK:
            finish()
    return result


def read(directory):
    """The tokenizer of the library that stands for the directory."""
    with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as file:
        llama = json.load(file).get("tokenizer_class") == "LlamaTokenizer"
    if llama:
        return transformers.AutoTokenizer.from_pretrained(directory).backend_tokenizer
    return tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))


def main():
    golden = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    for name in sorted(os.listdir(sys.argv[1])):
        path = os.path.join(sys.argv[1], name, "tokenizer.json")
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        golden[name] = {"sha256": digest, **hashes(read(os.path.dirname(path)))}
    json.dump(golden, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
