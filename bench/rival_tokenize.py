"""`tokenizers` or tiktoken doing what bench-tokenize does, on one core: rival_tokenize.py tokenizers|tiktoken MODEL FILE

Measures once for each line on standard input and answers with a line: MB a second.
"""
import json
import sys
import time


def of_tiktoken(path):
    """tiktoken's encoding of a byte-level tokenizer.json: its tokens, ranked by their ids, and its expression."""
    import tiktoken

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    with open(path, encoding="utf-8") as file:
        root = json.load(file)
    special = {token["content"] for token in root["added_tokens"]}
    ranks = {bytes(byte_of[c] for c in text): i for text, i in root["model"]["vocab"].items() if text not in special and all(c in byte_of for c in text)}
    pattern = root["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    encoding = tiktoken.Encoding("rival", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: encoding.encode_ordinary(text)


def of_tokenizers(path):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def main():
    kind, model, path = sys.argv[1:]
    encode = {"tiktoken": of_tiktoken, "tokenizers": of_tokenizers}[kind](model + "/tokenizer.json")
    with open(path, "rb") as file:
        data = file.read()
    texts = data.decode().split("\n")
    for _ in sys.stdin:
        start = time.perf_counter()
        for text in texts:
            encode(text)
        print(f"{len(data) / 1e6 / (time.perf_counter() - start):.2f}", flush=True)


main()
