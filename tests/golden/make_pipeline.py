#!/usr/bin/env python3
"""Golden ids and texts of the `tokenizers` library for every step that a tokenizer.json may have.

    python3 tests/golden/make_pipeline.py > tests/golden/pipeline.json

Made with tokenizers 0.23.3. "models" are shared by the cases, each of which has parts of a tokenizer.json, and for each text its ids and
what they are decoded to. "all": the CRC-32 of the ids, as 32-bit numbers, of all code points but surrogates, 2048 a text.
"""

import array
import json
import sys
import zlib

import tokenizers

TEXTS = [
    "", " ", "  ", "a", " a", "a ", "  a  b  ", "Hello, world! don't", "a-b--c", "-a-", "--", "a1b22c333 4444", "x\u0661\u00b2\u00bd\u2167 12,3",
    "caf\u00e9 cafe\u0301 \u212b \ufb01 \u1e9b\u0323 \uac00 \u1100\u1161", "\u0130I\u0307 \u03a3\u03a3 \u01c5 STRASSE \ua7cb \U00010d50", "\t\n x \u00a0\u3000y\u200b\u2028",
    "\u0001\u0008\u000b\u007f\u008f\u2581\ufeff\ufffd.", "\u2581a \u2581\u2581b\u2581", "e\u0301\u0308 \u1cf2 \u0897 \u20dd", "\u4e2d\u6587\u3002\u3001x\u061d\u166d", "a_b \u200d x\u24d0 \U0001f600!\u200dz",
    "<x>a<x> b <x>", "a <l> b<l>c  <l>", "a<r>  b<r>\n\n\nc", "xwordx word word. _word \u00e9word 1word", "UP Up up", "ababab abc cab", "aaab", "\u00ff\u0000\ud7fb", "<0x41><0xZZ>",
]  # fmt: skip
BYTES = {"<0x%02X>" % b: b for b in range(256)}
WORDS = ["a", "b", "c", "ab", "abc", "\u2581", "\u2581a", "e", "l", "o", "-", " ", "?", "h", "\u0301", "ca"]
MERGES = ["a b", "ab c", "\u2581 a", "c a"]


def bpe(**options):
    vocab = {**BYTES, **{w: 256 + i for i, w in enumerate(WORDS)}}
    return {"type": "BPE", "vocab": vocab, "merges": MERGES, "byte_fallback": True, **options}


def unigram(**options):
    words = [["<unk>", 0.0], ["a", -2.0], ["b", -2.5], ["c", -3.0], ["ab", -3.5], ["abc", -6.0], ["bc", -4.0], ["\u2581", -2.0], ["\u2581a", -3.25], ["aa", -4.0]]
    words += [[name, -9.0] for name in BYTES] if options.pop("bytes", False) else []
    return {"type": "Unigram", "vocab": words, "unk_id": 0, "byte_fallback": False, **options}


MODELS = {
    "bpe": bpe(),
    "ignore": bpe(ignore_merges=True, merges=MERGES[1:2] + MERGES[:1]),
    "unk": bpe(unk_token="?", fuse_unk=True, byte_fallback=False),
    "some_bytes": {**bpe(unk_token="?"), "vocab": {k: v for k, v in bpe()["vocab"].items() if k not in ("<0xC3>", "<0xE2>")}},
    "unigram": unigram(),
    "unigram_bytes": unigram(bytes=True, byte_fallback=True),
    "unigram_whole": unigram(unk_id=None, vocab=[["\u2581", -2.0], ["xy", -1.0], ["x", -3.0]]),
}
FUSE = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(name, *members):
    return {"type": "Sequence", name: list(members)}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def metaspace(scheme, cut=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}


def token(content, i, **flags):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}
    return {"id": 272 + i, "content": content, **flags}


SIMPLE = "NFC NFD NFKC NFKD Lowercase StripAccents Nmt".split()
CLASSES = [r"\s", r"\S", r"\d", r"\w", r"[\w]", r"\W", r"\h", "[[:space:]]", "[[:digit:]]", "[[:cntrl:]]", "[[:blank:]]", "[[:xdigit:]]", "."]
CLASSES += [r"\p{%s}" % c for c in "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Cn Co".split()]
CLASSES += [r"\p{%s}" % c for c in "Han Hiragana Katakana Hangul Latin Greek Hebrew Thai".split()] + [r"[^\s\p{L}\p{N}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"]
ADDED = [token("<x>", 0, special=True), token("<l>", 1, lstrip=True), token("<r>", 2, rstrip=True), token("\n\n\n", 3), token("word", 4, single_word=True), token("up", 5, normalized=True)]


def cases():
    """Yields (parts of a tokenizer.json, whether its text is all code points, or its texts)."""
    yield {"model": "unigram_whole"}, ["xy", "xyxxy", "x\u2581"]  # y alone has no token, and nothing stands for it
    for name in [name for name in MODELS if name != "unigram_whole"]:
        yield {"model": name}, False
        yield {"model": name, "pre_tokenizer": split(r"\s+", "MergedWithNext")}, False
    for name in SIMPLE:
        yield {"normalizer": {"type": name}}, name != "Nmt"
    for left, right in ((True, True), (True, False), (False, True)):
        yield {"normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}, False
    yield {"normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"}, replace(" ", "\u2581"))}, False
    yield {"normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, replace(r"[a-c]+", "<>", "Regex"))}, False
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield {"pre_tokenizer": split("-", behavior, invert, "String")}, False
            yield {"pre_tokenizer": split(r"[a-c]|(?=\d\d)", behavior, invert)}, False
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            yield {"pre_tokenizer": metaspace(scheme, cut), "decoder": metaspace(scheme), "added_tokens": ADDED}, False
    for each in (True, False):
        yield {"pre_tokenizer": {"type": "Digits", "individual_digits": each}}, False
    yield {"pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "WhitespaceSplit"})}, False
    for name in ("Whitespace", "WhitespaceSplit"):
        yield {"pre_tokenizer": {"type": name}}, True
    yield {"pre_tokenizer": {"type": "Punctuation", "behavior": "Removed"}}, True
    yield {"pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "b"}}, False
    for prefix in (True, False):
        for regex in (True, False):
            yield {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "use_regex": regex, "trim_offsets": True}, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}, "added_tokens": ADDED}, False
    yield {"normalizer": {"type": "Lowercase"}, "added_tokens": ADDED}, False
    # Ids are the library's, not the file's; normalized tokens are decoded to what is looked for; what white space took leaves none.
    other = [token("ab", 30, normalized=True), token("<x>", 50), token("UP", 40, normalized=True), token("h", 90)]
    yield {"normalizer": {"type": "Lowercase"}, "added_tokens": other}, False
    yield {"normalizer": {"type": "Prepend", "prepend": "\u2581"}, "added_tokens": other}, False
    yield {"added_tokens": [token("a", 0, rstrip=True), token("  ", 1, lstrip=True)]}, False
    yield {"model": "unigram", "added_tokens": [token("<x>", 9), token("aa", 77)]}, False
    steps = [{"type": "ByteFallback"}, replace("a+", "", "Regex"), {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 1}]
    yield {"decoder": sequence("decoders", *steps)}, False
    yield {"decoder": sequence("decoders", replace("\u2581", " "), {"type": "ByteFallback"}, {"type": "Strip", "content": "a", "start": 1, "stop": 0})}, False
    for expression in CLASSES:
        yield {"pre_tokenizer": split(expression, "Removed")}, True


def decode(tokenizer, ids):
    """None where the library panics: Strip takes from the end of an empty text."""
    try:
        return tokenizer.decode(ids, skip_special_tokens=False)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None


def golden(parts, everything):
    full = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None}
    full |= {"post_processor": None, "decoder": FUSE, **parts, "model": MODELS[parts.get("model", "bpe")]}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(full))
    texts = everything if isinstance(everything, list) else [text for text in TEXTS if everything is False or text == ""]
    case = {"parts": parts, "texts": [[text, ids, decode(tokenizer, ids)] for text in texts for ids in [tokenizer.encode(text).ids]]}
    if everything is True:
        blocks = ["".join(chr(c) for c in range(at, at + 2048)) for at in range(0, 0x110000, 2048) if at != 0xD800]
        case["all"] = zlib.crc32(array.array("i", [i for e in tokenizer.encode_batch(blocks) for i in e.ids]).tobytes())
    return case


def main():
    print('{"models": ' + json.dumps(MODELS, separators=(",", ":")) + ',\n"cases": [')
    print(",\n".join(json.dumps(golden(*case), separators=(",", ":")) for case in cases()) + "]}")


if __name__ == "__main__":
    main()
