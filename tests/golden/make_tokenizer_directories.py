#!/usr/bin/env python3
"""Golden ids and texts of transformers for directories of every form: which files they have, and what those say.

    python3 tests/golden/make_tokenizer_directories.py > tests/golden/tokenizer_directories.json

Made with transformers 5.24, tokenizers 0.23.3, sentencepiece 0.2.3, tiktoken 0.14 and protobuf. "files" are texts, or base64 where their name ends in
.model; "cases": which of them a directory has, and [text, ids with the template's tokens, what they are decoded to], or "refused".
"""

import base64
import itertools
import json
import os
import sys
import tempfile

import sentencepiece
import tokenizers
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

ROOT = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "", " ", "  ", "Once upon a time", " Once", "  Once  upon ", "Lily</s> said", "Lily </s>  said ", "</s>Once", "</s> Once", "<s>a", "a\n b\r\n\tc ",
    "\u2581a \u2581 b\u2581", "<unk>x", "\u4f60\u597d \u00e9", "e\u0301 caf\u00e9", "\U0001f600\ufe0f", "12345 67", "don't WE'LL I'm", "<u>x<u> <u>", "a<pin>b <pin> c",
    "<|endoftext|>a <|im_start|>b", "<x> <y>y  <z> z", "x<y>", "\uff21\uff42\uff43 \ufb01\u2460", "\u00a0a\u3000b", "\u0939\u093f\u0928\u094d\u0926\u0940", "0x1F == a->b(); // !", "<0x41><0x0A>",
    "   \n\n  x", "\u0041\u030a\u0301", "\u1112\u1161\u11ab", "<|reserved_token_402|>q", "<SPECIAL_3>q[INST]", "a\0b", "naive\u0301\u0323 \ufb03\u0301",
]  # fmt: skip


def corpus():
    with open(os.path.join(ROOT, "text_stories.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line).get("text", "") for line in file]
    # Few characters, so that a small vocabulary has more than them.
    return [part for line in lines for part in line.replace("\0", "").split("\n") if part.strip() and max(part) < "\u00ff"] * 2


def sentencepiece_model(scratch, **options):
    """A model.proto of a few hundred pieces."""
    path = os.path.join(scratch, "m")
    rules = os.path.join(scratch, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as file:  # hexadecimal code points: what, and what it becomes
        for source, target in (("FF21", "41"), ("FF42", "62"), ("FB01", "66 69"), ("2460", "31"), ("A0", "20"), ("3000", "20"), ("65 301", "E9"),
                               ("FB03", "66 66 69"), ("200B", ""), ("41 30A", "C5"), ("E9", "65")):  # fmt: skip
            file.write("%s\t%s\n" % (source, target))
    options = {"vocab_size": 330, "model_type": "bpe", "normalization_rule_name": "identity", "minloglevel": 2, "num_threads": 1, **options}
    if options.pop("rules", False):
        del options["normalization_rule_name"]
        options["normalization_rule_tsv"] = rules
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_prefix=path, hard_vocab_limit=False, **options)
    with open(path + ".model", "rb") as file:
        return base64.b64encode(file.read()).decode()


def byte_level_files():
    """vocab.json, merges.txt, and tiktoken's and Mistral's forms of the same."""
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(corpus(), vocab_size=400, show_progress=False)
    model = json.loads(tokenizer.to_str())["model"]
    points = bytes_to_unicode()
    byte_of = {point: byte for byte, point in points.items()}
    vocab = sorted(model["vocab"].items(), key=lambda item: item[1])
    encoded = [base64.b64encode(bytes(byte_of[c] for c in token)).decode() for token, _ in vocab]
    merges = [" ".join(merge) for merge in model["merges"]]
    specials = ["<unk>", "<s>", "</s>", "[INST]"]
    tekken = {
        "config": {"pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+(?!\S)|\s+", "default_vocab_size": 390, "default_num_special_tokens": 6},
        "special_tokens": [{"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(specials)],
        "vocab": [{"rank": rank, "token_bytes": token, "token_str": None} for rank, token in enumerate(encoded)],
    }
    with_special = {"<|endoftext|>": 0, **{token: id + 1 for token, id in vocab}, "<|padding|>": 401}
    return {
        "gpt2/vocab.json": json.dumps(with_special),
        "gpt2/vocab_alone.json": json.dumps(dict(vocab), ensure_ascii=False, indent=1),
        "gpt2/merges.txt": "#version: 0.2\n" + "\n".join(merges) + "\n",
        "tiktoken.model": base64.b64encode("".join("%s %d\n" % row for row in zip(encoded, itertools.count())).encode()).decode(),
        "tekken.json": json.dumps(tekken),
        "gpt2/tokenizer.json": json.dumps(
            {
                "version": "1.0", "truncation": None, "padding": None,
                "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": True, "normalized": False, "special": True},
                                 {"id": 402, "content": "<y>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": True, "special": False}],
                "normalizer": {"type": "Lowercase"},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]},
                "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                                   "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                   "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}},
                "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                          "byte_fallback": False, "ignore_merges": True, "vocab": with_special, "merges": [merge.split(" ") for merge in merges]},
            }
        ),
    }  # fmt: skip


def all_files(scratch):
    pieces = {"user_defined_symbols": ["<u>", "<pin>", "[x].*"], "control_symbols": ["<x>"]}
    files = byte_level_files()
    files["bpe.model"] = sentencepiece_model(scratch, byte_fallback=True, vocab_size=640, **pieces)
    files["bare.model"] = sentencepiece_model(scratch, add_dummy_prefix=False, remove_extra_whitespaces=False)
    files["rules.model"] = sentencepiece_model(scratch, rules=True, byte_fallback=True, vocab_size=600)
    files["unigram.model"] = sentencepiece_model(scratch, model_type="unigram", rules=True, bos_id=-1, pad_id=3)
    files["unigram_bytes.model"] = sentencepiece_model(scratch, model_type="unigram", byte_fallback=True, vocab_size=560, remove_extra_whitespaces=False, **pieces)
    files["gemma.model"] = sentencepiece_model(scratch, byte_fallback=True, vocab_size=620, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>",
                                               eos_piece="<eos>", bos_piece="<bos>", user_defined_symbols=["<mask>", "<u>", "\n\n"], remove_extra_whitespaces=False)  # fmt: skip
    files["no_escape.model"] = sentencepiece_model(scratch, model_type="unigram", vocab_size=300, split_by_whitespace=False)
    for kind in ("char", "word"):
        files[kind + ".model"] = sentencepiece_model(scratch, model_type=kind, vocab_size=200)
    return files


def cases():
    """(name, {file of the directory: one of all_files, or JSON})"""

    def spm(name, model_type="llama", **config):
        return {"tokenizer.model": name + ".model", "config.json": {"model_type": model_type}, "tokenizer_config.json": config}

    def added(content, **flags):
        return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True, **flags}

    names = ("bpe", "bare", "rules", "unigram", "unigram_bytes", "gemma", "no_escape", "char", "word")
    for name in names:
        yield name, spm(name, "mistral", tokenizer_class="LlamaTokenizer", add_bos_token=True)
        yield name + " not legacy", spm(name, "mistral", legacy=False, add_eos_token=True)
    for name in ("bpe", "rules", "unigram", "gemma"):
        yield name + " as Llama", spm(name, tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False, legacy=True)
        yield name + " as Llama, new", spm(name, tokenizer_class="LlamaTokenizerFast", add_bos_token=True, add_prefix_space=name != "rules", additional_special_tokens=[])
    yield "gemma as Gemma", spm("gemma", "gemma3_text", tokenizer_class="GemmaTokenizer", add_bos_token=True)
    yield "gemma by its family", spm("gemma", "gemma2")
    decoder = {"1": added("<s>"), "3": added("<z>", lstrip=True), "4": added("<x>"), "5": added("<u>", special=False), "900": added("<y>", normalized=True, special=False)}
    yield "renamed pieces", spm("bpe", "mistral", added_tokens_decoder=decoder, bos_token="<s>", pad_token="<z>")
    yield "renamed pieces as Llama", spm("bpe", tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder)
    yield "legacy is null", spm("rules", "mistral", legacy=None, tokenizer_class="LlamaTokenizer")
    yield "extra tokens are none", spm("bpe", "mistral", extra_special_tokens=[])
    yield "lists of both files", {**spm("bpe", "mistral", extra_special_tokens=["<y>"], image_token="<z>"), "special_tokens_map.json": {"extra_special_tokens": ["<q>", "<y>"], "boi_token": "<w>"}}
    yield "lists of the old file", {**spm("bpe", "mistral"), "special_tokens_map.json": {"extra_special_tokens": ["a<pin>"], "pad_token": None}}
    yield "renamed by the old file", {**spm("bpe", "mistral", eos_token="<u>"), "added_tokens.json": {"a<pin>": 399, "<q>": 705}, "special_tokens_map.json": {"eos_token": added("<z>", rstrip=True)}}
    yield "an extra token again", {**spm("unigram_bytes"), "special_tokens_map.json": {"bos_token": added("</s>", rstrip=True)}}
    yield "a list beside names", spm("unigram_bytes", "gemma2", tokenizer_class="GemmaTokenizer", additional_special_tokens=["<|im_start|>"], extra_special_tokens={"foo_token": "<s>"})
    yield "a model alone", {"tokenizer.model": "bpe.model", "config.json": {"model_type": "llama"}}
    yield "old lists", {**spm("bpe", "mistral", extra_special_tokens=["<y>"], mask_token="<q>"), "special_tokens_map.json": {"bos_token": "<z>", "additional_special_tokens": ["<w>"]},
                        "added_tokens.json": {"<|im_start|>": 700, "x<y>": 701, "<z>": 702}}  # fmt: skip

    pair = {"vocab.json": "gpt2/vocab.json", "merges.txt": "gpt2/merges.txt"}
    for kind in ("GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "GPTNeoXTokenizerFast", "CodeGenTokenizer"):
        yield kind, {**pair, "tokenizer_config.json": {"tokenizer_class": kind, "add_bos_token": True}, "config.json": {"model_type": "llama"}}
        yield kind + " rebuilt", {"tokenizer.json": "gpt2/tokenizer.json", "tokenizer_config.json": {"tokenizer_class": kind, "add_bos_token": False}}
    for family in ("gpt2", "qwen2", "qwen3", "gpt_neox", "olmoe", "opt"):
        yield family, {**pair, "config.json": {"model_type": family}, "tokenizer_config.json": {"add_prefix_space": True, "pad_token": "<|padding|>"}}
        yield family + " rebuilt", {"tokenizer.json": "gpt2/tokenizer.json", "config.json": {"model_type": family}, "tokenizer_config.json": {}}
    yield "no special token in it", {**pair, "vocab.json": "gpt2/vocab_alone.json", "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "pad_token": "<|im_start|>"}}
    for kind in ("Qwen3_5Tokenizer", "PreTrainedTokenizerFast", "NoSuchTokenizer", "LlamaTokenizer"):
        yield kind + " with a tokenizer.json", {"tokenizer.json": "gpt2/tokenizer.json", "tokenizer_config.json": {"tokenizer_class": kind}}
    for family, kind in (("qwen2", "LlamaTokenizerFast"), ("qwen3", "LlamaTokenizerFast"), ("qwen2", "PreTrainedTokenizerFast"), ("qwen3", "PreTrainedTokenizerFast"),
                         ("granite", "GPT2Tokenizer"), ("olmo2", "GPT2Tokenizer"), ("phi3", "LlamaTokenizer"), ("gemma3_text", "PreTrainedTokenizerFast")):  # fmt: skip
        yield "%s of %s" % (kind, family), {"tokenizer.json": "gpt2/tokenizer.json", "config.json": {"model_type": family}, "tokenizer_config.json": {"tokenizer_class": kind}}

    whole = {"tokenizer.json": "gpt2/tokenizer.json"}
    more = {"402": added("<y>", special=False, lstrip=True, normalized=True), "403": added("<|im_start|>", rstrip=True), "407": added("<z>", single_word=True), "0": added("<|endoftext|>", lstrip=True)}
    for kind in ("PreTrainedTokenizerFast", "Qwen2Tokenizer", "GPT2Tokenizer"):
        config = {"tokenizer_class": kind, "added_tokens_decoder": more, "bos_token": "<|endoftext|>", "eos_token": "<z>", "image_token": "<u>", "extra_special_tokens": ["<x>", "a<pin>"]}
        yield "more tokens, " + kind, {**whole, "tokenizer_config.json": config}
        config = {"tokenizer_class": kind, "bos_token": {"__type": "AddedToken", **added("<x>", lstrip=True)}, "additional_special_tokens": ["<u>", "<y>"], "extra_special_tokens": {"boi_token": "<pin>"}}
        yield "old lists, " + kind, {**whole, "tokenizer_config.json": config, "special_tokens_map.json": {"eos_token": added("<z>", rstrip=True), "pad_token": "<pad>"},
                                     "added_tokens.json": {"<q>": 500, "<u>": 410, "<|im_start|>": 405, "<z>": 404}}  # fmt: skip

    for kind in ("PreTrainedTokenizerFast", "LlamaTokenizer", "TikTokenTokenizer"):
        for file in ("tokenizer.model", "tiktoken.model"):
            yield "tiktoken %s %s" % (kind, file), {file: "tiktoken.model", "tokenizer_config.json": {"tokenizer_class": kind, "add_bos_token": True, "bos_token": "<s>"}}
    reserved = {"400": added("<|endoftext|>"), "403": added("<|im_start|>"), "404": added("<y>", special=False)}
    yield "tiktoken, numbered", {"tiktoken.model": "tiktoken.model", "config.json": {"model_type": "kimi_k25"}, "tokenizer_config.json": {"added_tokens_decoder": reserved, "extra_special_tokens": ["<x>"]}}
    extra = {"additional_special_tokens": ["<z>", "<u>"], "bos_token": "<x>", "image_token": "<y>"}
    yield "tiktoken, extra tokens", {"tiktoken.model": "tiktoken.model", "tokenizer_config.json": extra, "added_tokens.json": {"<|endoftext|>": 402}}
    yield "tekken", {"tekken.json": "tekken.json", "config.json": {"model_type": "mistral"}}
    yield "tekken, a class", {"tekken.json": "tekken.json", "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": True}}


def golden(name, case, files):
    with tempfile.TemporaryDirectory() as directory:
        for file, content in case.items():
            with open(os.path.join(directory, file), "wb") as out:
                out.write(json.dumps(content).encode() if not isinstance(content, str) else base64.b64decode(files[content]) if content.endswith(".model") else files[content].encode())
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        except Exception as error:  # pylint: disable=broad-exception-caught
            print("%s: %s: %s" % (name, type(error).__name__, str(error)[:300]), file=sys.stderr)
            return None
    case = {file: content if isinstance(content, str) else json.dumps(content) for file, content in case.items()}
    backend = tokenizer.backend_tokenizer
    rows = []
    for text in TEXTS:
        ids = backend.encode(text, add_special_tokens=True).ids
        rows.append([text, ids, backend.decode(ids, skip_special_tokens=False)])
    return {"name": name, "files": case, "texts": rows}


def main():
    with tempfile.TemporaryDirectory() as scratch:
        files = all_files(scratch)
    rows = [row for name, case in cases() if (row := golden(name, case, files)) is not None]
    json.dump({"files": files, "cases": rows}, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
