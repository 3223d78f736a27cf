"""Directories of other forms, made of the fetched ones that have a tokenizer.json: SentencePiece's and tiktoken's tokenizer.model, vocab.json and
merges.txt. Used by make_tokenizers.py and tests/process/tokenizers.py."""

import base64
import hashlib
import json
import os
import shutil
import struct

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    """Of a message of Protocol Buffers: bytes, a float or an integer."""
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    return varint(number << 3 | 5) + struct.pack("<f", content) if isinstance(content, float) else varint(number << 3) + varint(content)


def sentencepiece(tokenizer, target):
    """The model that the pieces may have come from."""
    kinds = {token["content"]: 3 if token["special"] else 4 for token in tokenizer["added_tokens"]}
    pieces = b""
    for text, at in sorted(tokenizer["model"]["vocab"].items(), key=lambda row: row[1]):
        kind = 2 if text == "<unk>" else 6 if len(text) == 6 and text.startswith("<0x") else kinds.get(text, 1)
        pieces += field(1, field(1, text.encode()) + field(2, -float(at)) + field(3, kind))
    trainer = field(3, 2) + field(35, 1)
    with open(os.path.join(target, "tokenizer.model"), "wb") as file:
        file.write(pieces + field(2, trainer) + field(3, field(1, b"identity")))


def tiktoken(tokenizer, target):
    """Lines of a token in base64 and its rank."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
    with open(os.path.join(target, "tokenizer.model"), "w", encoding="ascii") as file:
        for text, at in sorted(tokenizer["model"]["vocab"].items(), key=lambda row: row[1]):
            file.write("%s %d\n" % (base64.b64encode(bytes(byte_of[c] for c in text)).decode(), at))


def pairs(tokenizer, target):
    """vocab.json and merges.txt."""
    with open(os.path.join(target, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer["model"]["vocab"], file)
    with open(os.path.join(target, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n")
        file.writelines((merge if isinstance(merge, str) else " ".join(merge)) + "\n" for merge in tokenizer["model"]["merges"])


FORMS = {"llama2": sentencepiece, "gemma3": sentencepiece, "llama3_1": tiktoken, "qwen3": pairs}


def directories(fetched, scratch):
    """{name: path} of the fetched directories and of what is made of them in scratch."""
    found = {name: os.path.join(fetched, name) for name in sorted(os.listdir(fetched))} if os.path.isdir(fetched) else {}
    for name, make in FORMS.items():
        if name in found:
            target = os.path.join(scratch, "%s_%s" % (name, make.__name__))
            os.makedirs(target)
            with open(os.path.join(found[name], "tokenizer.json"), encoding="utf-8") as file:
                make(json.load(file), target)
            shutil.copy(os.path.join(found[name], "tokenizer_config.json"), target)
            found[os.path.basename(target)] = target
    return found


def digest(directory):
    """The SHA-256 of a directory's vocabulary."""
    for name in VOCABULARIES:
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
    return None
