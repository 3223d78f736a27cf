#!/usr/bin/env python3
"""Golden encodings and decodings from the `tokenizers` library, of a directory as transformers 5 reads it.

    python3 tests/golden/make_text.py MODEL_DIRECTORY tests/golden/text_NAME.jsonl

Each line is one case: {"text", "ids", "special", "decoded", "skipped"} for a text (ids without and with the
template), or {"ids", "decoded", "skipped"} for ids drawn at random, most of which spell no valid UTF-8.
"""

import json
import random
import sys

import transformers

PLAIN = [
    "", " ", "  ", "   ", "a", " a", "a ", "  a  b  ", "\n", "\n\n", " \n ", "\t", "\r\n", "a\nb", "a \n b", "\u00a0",
    "Once upon a time, there was a little girl named Lily.", "Hello, world!", "don't we'll I'm you're he'd it's they've",
    "DON'T WE'LL", "1", "12", "123 4567 89", "3.14159", "a1b2c3", "x=1;y=2", "!!!", "... ---", "\"quoted\"", "(a)[b]{c}",
    "caf\u00e9", "cafe\u0301", "na\u00efve r\u00e9sum\u00e9", "\u00fc\u00f6\u00e4\u00df", "\u0420\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u4f60\u597d\uff0c\u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\ud55c\uad6d\uc5b4", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u05e2\u05d1\u05e8\u05d9\u05ea", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\U0001F600", "\U0001F600\U0001F601 \U0001F602",
    "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F1E9\U0001F1EA", "\u2764\ufe0f", "\u2581", "\u2581\u2581a", "a\u2581b", " \u2581 ",
    "\u0120hello", "\u0000", "a\u0000b", "\u0001\u0002\u001f", "\u007f", "\u0080\u0085\u009f", "\u00ad", "\u2028\u2029", "\u200b", "\u3000a\u3000",
    "\u2003x\u2003y", "\u180ex", "a\u180eb", "\ufeffbom", "\ufffd", "\U0010FFFF", "\u00bd \u00b2 \u2167", "\u0660\u0661", "\u0301alone",
    "<0x41>", "<0x0A>", "<0xZZ>", "<s", "s>", "<unk", "< s >", "tab\tseparated\tvalues", "trailing   ", "   leading",
    "a  b   c    d", "line one\n  line two\n\n\nline three", "a\n \n b", "ends with newline\n", "a" * 100, "ab" * 60, " " * 70, "\n" * 40,
    "the the the the", "thethethe", "http://example.com/a?b=c&d=e#f", "me@example.org", "snake_case camelCase UPPER", "C++ and C#", "50% off $9.99",
    "She said, \"Let's go!\" and ran.", "\u201ccurly\u201d \u2018quotes\u2019 \u2014 dash\u2026", "\u017fs '\u017f", "'s", " 's", "s's", "''s",
]
AROUND = ["", " ", "  ", "\n", "a", "word ", " word", "\u00e9", "\U0001F600", "."]


def texts(specials, generator):
    cases = list(PLAIN)
    for special in specials:
        for before in AROUND:
            cases.append(before + special + generator.choice(AROUND))
        cases += [special, special * 2, special + " " + special, special[:-1], special.upper(), special + "Hello"]
    pool = PLAIN[8:] + specials + ["lily", " was", " happy", "ing", ",", " ", "\n"]
    for _ in range(120):
        cases.append("".join(generator.choice(pool) for _ in range(generator.randint(1, 4))))
    for _ in range(60):
        points = [generator.choice([(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0x10000, 0x1F9FF)]) for _ in range(8)]
        cases.append("".join(chr(generator.randint(*span)) for span in points))
    return cases


def decodings(tokenizer, ids):
    return {"decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(ids, skip_special_tokens=True)}


def main():
    directory, output = sys.argv[1:]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory).backend_tokenizer
    specials = [token.content for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]
    generator = random.Random(1)
    with open(output, "w", encoding="ascii", newline="\n") as file:
        for text in texts(specials, generator):
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            special = tokenizer.encode(text, add_special_tokens=True).ids
            case = {"text": text, "ids": ids, "special": special, **decodings(tokenizer, special)}
            file.write(json.dumps(case, separators=(",", ":")) + "\n")
        for _ in range(80):
            ids = [generator.randrange(tokenizer.get_vocab_size()) for _ in range(generator.randint(1, 12))]
            if generator.random() < 0.6:
                ids = [generator.randrange(min(260, tokenizer.get_vocab_size())) for _ in ids]
            file.write(json.dumps({"ids": ids, **decodings(tokenizer, ids)}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
