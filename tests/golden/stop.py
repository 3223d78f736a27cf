"""Golden stop strings: the token with which transformers first reads a stop string in a response.

    python tests/golden/stop.py             # writes tests/golden/stop.json

For each tokenizer of chat.py, responses (texts, and ids drawn at random, most of which spell no UTF-8), each with stop strings and the
number of tokens with which the decoded text first holds one (null: none does). Where transformers' StopStringCriteria understands the
tokens (it knows no byte tokens), it says the same.
"""
import json
import pathlib
import random
import sys

import torch
from transformers.generation.stopping_criteria import StopStringCriteria

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import chat

TEXTS = ["Once upon a time there was a little girl.\n\nHuman: What is two and two?", " It is four.</s> Hello", "caf\u00e9 \u4f60\u597d \U0001f600!\n\n\nUser",
         "I am fine, thank you.<|im_end|>\nuser", "aaaaab", "the thethe The END"]
STOPS = [["\n\nHuman:"], ["\n"], ["\n\n"], [" girl", "girl."], ["</s>", "<|im_end|>"], ["\u4f60"], ["\u00e9 "], ["\U0001f600!"], ["aab"], ["e t", "END"], [" "], ["zzz"]]


def text_of(tokenizer, ids):
    """As a continuation: without what the first token of a text loses."""
    first = tokenizer.convert_tokens_to_ids("a")
    return tokenizer.decode([first, *ids], skip_special_tokens=False)[len(tokenizer.decode([first])):]


def first_stop(tokenizer, ids, stops):
    for n in range(1, len(ids) + 1):
        if any(stop in text_of(tokenizer, ids[:n]) for stop in stops):
            return n
    return None


def criteria_stop(tokenizer, ids, stops):
    criteria = StopStringCriteria(tokenizer, stops)
    return next((n for n in range(1, len(ids) + 1) if criteria(torch.tensor([ids[:n]]), None).item()), None)


def cases_of(tokenizer):
    generator, size = random.Random(1), len(tokenizer)
    responses = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    responses += [[generator.randrange(size) for _ in range(40)] for _ in range(12)]
    for i, ids in enumerate(responses):
        for stops in STOPS:
            n = first_stop(tokenizer, ids, stops)
            plain = i < len(TEXTS) and not any(token.startswith("<0x") for token in tokenizer.convert_ids_to_tokens(ids))
            if plain and all(stop.isascii() for stop in stops):
                assert criteria_stop(tokenizer, ids, stops) == n, (ids, stops, n, criteria_stop(tokenizer, ids, stops))
            yield {"ids": ids, "stop": stops, "tokens": n}


golden = {name: list(cases_of(make())) for name, make in (("bytes", chat.bytes_tokenizer), ("pieces", chat.pieces_tokenizer))}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
for name, cases in golden.items():
    print(name, len(cases), sum(case["tokens"] is not None for case in cases))
