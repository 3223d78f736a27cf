#!/usr/bin/env python3
"""What transformers makes of nasty texts with the tokenizers that people have, as hashes.

    python3 tests/golden/make_tokenizers.py DIRECTORY > tests/golden/tokenizers.json

DIRECTORY is what `tests/golden/tokenizers_fetch DIRECTORY` has fetched; tokenizer_forms.py makes directories of other forms of it. Made with
transformers 5.24.0, tokenizers 0.23.3, sentencepiece, tiktoken and protobuf, without mistral-common. For each chunk of texts a SHA-256 of the
lines "[1,2,3]\\n" of ids, without the template's tokens, and one of the texts that decoding gives for them, special tokens kept, each behind its
length in bytes.
"""

import hashlib
import json
import sys
import tempfile

import nasty_texts
import tokenizer_forms
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


def main():
    golden = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in tokenizer_forms.directories(sys.argv[1], scratch).items():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path).backend_tokenizer
            golden[name] = {"sha256": tokenizer_forms.digest(path), **hashes(tokenizer)}
    json.dump(golden, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
