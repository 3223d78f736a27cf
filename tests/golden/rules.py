"""Golden scores of the judges that are rules: what the functions say that people train with.

    python tests/golden/rules.py SOURCES     # writes tests/golden/rules.json

SOURCES holds checkouts of huggingface/trl (f2cd577), volcengine/verl (b178a3c), huggingface/open-r1 (1416fa0), Jiayi-Pan/TinyZero (95df88f)
and TIGER-AI-Lab/MMLU-Pro (f418b11), in folders named after the repository. Their functions are run as they stand there; math-verify 0.9.0,
jsonschema 4.26.0 and numpy are needed. A case is {judge, options, response, tokens, columns, score}; a score is null where the function
returns None.
"""
import ast
import asyncio
import itertools
import json
import math
import pathlib
import random
import re
import sys
import types

import jsonschema
import numpy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

SOURCES = pathlib.Path(sys.argv[1])
CASES = []


def functions(path, **more):
    """The functions and classes of a file, without its imports."""
    tree = ast.parse((SOURCES / path).read_text(encoding="utf-8"))
    keep = (ast.FunctionDef, ast.ClassDef, ast.Assign)
    tree.body = [node for node in tree.body if isinstance(node, keep)]
    space = {"re": re, "math": math, "asyncio": asyncio, "random": random, "json": json, "print": lambda *_: None, **more}
    exec(compile("from __future__ import annotations\n" + ast.unparse(tree), path, "exec"), space)  # annotations name what is not imported
    return types.SimpleNamespace(**space)


class Loud:
    """A stand-in for modules that a file uses while it is read, or not at all here."""

    def __getattr__(self, name):
        return Loud()

    def __call__(self, *_, **__):
        return Loud()


VERIFY = {"parse": parse, "verify": verify, "LatexExtractionConfig": LatexExtractionConfig, "NormalizationConfig": NormalizationConfig}
GSM8K = functions("verl/verl/utils/reward_score/gsm8k.py")
MATH = functions("verl/verl/utils/reward_score/math_reward.py")
TRL_ACCURACY = functions("trl/trl/rewards/accuracy_rewards.py", is_math_verify_available=lambda: True, threading=__import__("threading"),
                         logging=__import__("logging"), **VERIFY)
TRL_FORMAT = functions("trl/trl/rewards/format_rewards.py")
TRL_OTHER = functions("trl/trl/rewards/other_rewards.py")
OPEN_R1 = functions("open-r1/src/open_r1/rewards.py", partial=None, update_wrapper=None, **VERIFY)
COUNTDOWN = functions("TinyZero/verl/utils/reward_score/countdown.py")
MMLU = functions("MMLU-Pro/evaluate_from_local.py", torch=Loud())


def case(judge, options, score, response="", tokens=None, **columns):
    CASES.append({"judge": judge, "options": options, "response": response, "tokens": tokens or [], "columns": columns, "score": score})


def chat(text):
    return [[{"role": "assistant", "content": text}]]


# GSM8K

NUMBERS = [
    "#### 72", "so the total is\n#### 72", "####72", "#### 72.", "#### 7,200", "#### 1,234,567.50", "#### $72", "#### -5", "#### --5", "#### - 5",
    "##### 72", "#### 5 #### 72", "#### 72 apples, 3 pears", "#### .5", "#### ,", "#### .", "#### 72\n#### x", "### 72", "####  72", "#### 72#### 7",
    "72", "The answer is 72.", "The answer is 72, I think", "72 .", ". . .", "no number at all", "", " ", "-", "-.", "5-72", "5 - -72", "1,000", "1.2.3",
    "\u0664\u0662", "#### \u0664\u0662", "\uff17\uff12", "72\u00a0", "#### 72\u3002", "\U0001f600#### 72\U0001f600", "#### 72" + " " * 292, "#### 72" + " " * 293,
    "#### 72" + " " * 294, "#### 72" + "\u00e9" * 293, "#### 72" + "\U0001f600" * 294, "x" * 500 + "#### 72", "9" * 310, "#### " + "9" * 310, "####\t72", "####\n72",
    "#### 0072", "#### 72.0", "#### 7 2", "#### 1e3", "#### +72", "#### 72%", "72%", "($72)", "\\boxed{72}", "#### \\boxed{72}", "##### #### 72", "#### -72.", "-72",
    "#### 72 ####", "#### 72 #### ", "#### #### 72", "# ### 72", "#### 72,", "#### ,72", "72,000.", "a72b", "7\n2", "#### 7\n2"]
for text, gold, (method, form) in itertools.product(NUMBERS, ["72", "-5", "7200", "."], [("strict", "strict"), ("flexible", "flexible")]):
    case("exact_answer", {"form": form}, GSM8K.compute_score(text, gold, method), text, answer=gold)
for text in NUMBERS[:30]:
    case("exact_answer", {"form": "strict", "score": 2.0, "format_score": 0.25}, GSM8K.compute_score(text, "72", "strict", 0.25, 2.0), text, answer="72")
# the column of the data set itself: verl's preprocessing takes the number from it
for text in NUMBERS[:12]:
    case("exact_answer", {}, GSM8K.compute_score(text, "7200"), text, answer="He pays 72 * 100 = <<72*100=7200>>7,200 dollars.\n#### 7,200")

# MATH

LATEX = [
    "5", "05", "5.0", "0.5", ".5", "-.5", "\\frac{1}{2}", "\\frac12", "\\dfrac12", "\\tfrac{1}{2}", "\\frac1{2}", "\\frac{1}2", "1/2", "-1/2", "1 / 2", "1/2/3", "01/2", "1/-2",
    "-0/2", "a/b", "x/2", "\\frac{a}b", "\\frac ab", "\\frac", "\\frac1", "\\frac{1}{2}\\frac", "\\frac\\frac12", "\\frac12\\frac34", "\\frac1\\frac23", "\\sqrt2", "\\sqrt{2}",
    "\\sqrt", "2\\sqrt3", "\\sqrt{3}\\sqrt2", "\\sqrt\\sqrt2", "\\sqrt 2", "\\sqrt\u03c0", "x=5", "x = 5", "xy=5", "abc=5", "5=5=5", "=5", "x=", "50\\%", "50%", "50\\\\%",
    "\\$50", "$50", "5\\text{ cm}", "5\\text{cm}", "5 \\text{ cm}\\text{ m}", "90^\\circ", "90^{\\circ}", "90^{ \\circ }", "\\left(1,2\\right)", "(1,2)", "(1, 2)", "( 1,2 )", "[1,2)",
    "\\{1,2\\}", "1\\!000", "1,000", "1{,}000", "x^2+1", "x^{2}+1", "x^2 + 1", "\\pi", " \\pi", "\\text{yes}", "yes", "Yes", "", " ", "\n5", "5\n", "5.", " .5", "{.5}", "{0.5}",
    "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\2\\end{pmatrix}", "\u0665", "\uff15", "3\\frac12", "3 \\frac{1}{2}", "\\frac{\\frac12}{3}", "\\frac{\\frac{1}{2}}{3}",
    "tfrac{1}{2}", "9" * 50 + "/7", "\\frac{" + "9" * 50 + "}{7}", "-\\frac12", "-\\frac{1}{2}", "\\frac{-1}{2}", "\\frac\u00e92", "\u00e9=5", "\u00e9\u00e9=5", "1/\u0662"]
WRAPS = ["\\boxed{%s}", "The answer is $\\boxed{%s}$.", "\\boxed %s$ and more", "\\boxed{1} then \\boxed{%s}", "\\fbox{%s}", "%s", "\\boxed{%s", "\\boxed\n{%s}", "\\boxed{\\boxed{%s}}",
         "} \\boxed{%s}", "\\boxed}{%s}", "\\boxed{%s} \\boxed"]
for (a, b), wrap in itertools.chain(
        itertools.product(itertools.product(LATEX[::5], ["5", "\\frac{1}{2}"]), WRAPS),
        itertools.product(zip(LATEX, LATEX), WRAPS[:2]), itertools.product(zip(LATEX, LATEX[1:]), WRAPS[:1])):
    text = wrap % a if "%s" in wrap else wrap
    case("exact_answer", {"form": "boxed"}, MATH.compute_score(text, b), text, answer=b)
for a, b in itertools.product(LATEX, LATEX):
    if MATH.is_equiv(a, b) and a != b:
        case("exact_answer", {"form": "boxed"}, 1.0, f"\\boxed{{{a}}}" if "\\boxed{%s}" % a == MATH.last_boxed_only_string("\\boxed{%s}" % a) else f"\\boxed {a}", answer=b)

# TRL's accuracy_reward on numbers; math-verify rounds to six digits, so the tolerance is half of the last
PLAIN = ["5", "-5", "5.0", "0.5", "\\frac{1}{2}", "\\frac12", "1/2", "1{,}000", "1,000", "1000", "0.333333", "\\frac{1}{3}", "-\\frac{1}{2}", "0", "1234567.25", "\\dfrac{3}{4}", "0.75", "-0.75", "6"]
for a, b in itertools.product(PLAIN, PLAIN):
    text = f"So it is $\\boxed{{{a}}}$."
    # "\frac12" and "1{,}000" are notations that only exact_answer's boxed form and math-verify read
    if not any(odd in (a, b) for odd in ("\\frac12", "1{,}000")):
        case("numeric", {"extract": "boxed", "tolerance": 5e-7}, TRL_ACCURACY.accuracy_reward(chat(text), [f"${b}$"])[0], text, answer=f"${b}$")

# Numbers against numpy.isclose and Python's own reading
for response, number in [("The sum is 12, not 13", 13), ("-4", -4), ("5-4", 4), ("a-4", 4), ("(-4)", -4), ("1,234.5 m", 1234.5), ("12,34", 34), ("1e3", 1000), ("2.5e-3", 0.0025),
                         ("3/4", 0.75), ("3/0", 0), ("\\frac{3}{4} of it", 0.75), ("-\\frac{-3}{4}", 0.75), ("\\frac{1}{3}", 1 / 3), (".5", 0.5), ("5.", 5), ("v1.2.3", 0.3), ("+7", 7), ("--7", -7),
                         ("none", None), ("", None), ("1e999", math.inf), ("\u0665 or 5", 5), ("100%", 100), ("$1,000,000.00", 1e6), ("1,0000", 0), ("7e", 7), ("1e+", 1), ("9" * 30, float("9" * 30))]:
    for right, tolerance, relative in itertools.product([13, -4, 1000, 0.75, 5, 0, float("9" * 30)], [0.0, 1.0], [0.0, 0.05]):
        close = number is not None and bool(numpy.isclose(number, right, rtol=relative, atol=tolerance))
        case("numeric", {"tolerance": tolerance, "relative": relative}, float(close), response, answer=right)
for whole, number in [("5", 5), (" 5. ", 5), ("x = 5", 5), ("\\$5", 5), ("5\\%", 5), ("5\\text{ cm}", 5), ("5 cm", None), ("five", None), ("1 000", 1000), ("", None), ("5 6", 56), ("5/6", 5 / 6)]:
    for wrap, place in [("<answer>%s</answer>", "tag"), ("\\boxed{%s}", "boxed"), ("#### %s\nbye", "hash"), ("%s", "whole"), ("```\n%s\n```", "fence")]:
        case("numeric", {"extract": place}, float(number == 5), wrap % whole, answer="5")
for gold, score in [("five", None), (None, None), ("", None), ("5", 1.0), ("$5$", 1.0), ("so 4+1=5\n#### 5", 1.0), ("thus \\boxed{5}", 1.0), (5, 1.0), (5.0, 1.0), ("5 apples", None)]:
    case("numeric", {}, score, "5", answer=gold)

# Multiple choice: MMLU-Pro's patterns

for text in ["The answer is (C).", "the answer is C", "answer is (Z) so B", "The Answer is (C)", "Answer: C", "answer:\n\nC", "My answer: A. No, answer: C", "Answer: c", "I choose C", "A or B or C", "C",
             "(C)", "C) because", "ABC", "Cat", "A cat sat on C", "C_1", "C1", "\u00e9C", "C\u00e9", "C.", "", "none", "answer is (C or answer is (D", "answer is  C", "answer: x\nAnswer: C\nanswer: D",
             "answer: D answer: C", "K", "J", "The answer is J", "C\nD\nE no", "so I am sure: C", "\u0421", "answer is (\u0421)", "answer:\u00a0C", "C'", "-C-", "1C", "it is A.", "answer is ((C)"]:
    for gold in ["C", "A", "J", "D", "I"]:
        case("choice", {}, float(MMLU.extract_answer(text) == gold), text, answer=gold)
        case("choice", {}, float(MMLU.extract_answer(text) == gold), text, answer=ord(gold) - ord("A"))

# Tags

THINK = ["<think>a</think>b", "<think>\na\n</think>\nb", "<think></think>", "<think>", "</think>", "", " <think>a</think>", "\n<think>a</think>", "<think>a</think>", "<think>a<think>b</think>", "<think>a</think><think>b</think>",
         "<think>a</think>\n<think>", "<THINK>a</THINK>", "<think>a</think", "<think >a</think>", "<think>a</think></think>", "x<think>a</think>", "<think>\u00e9\U0001f600</think>",
         "<think>\na\n</think>\n<answer>\nb\n</answer>", "<think>\n\n</think>\n<answer>\n\n</answer>", "<think>\n</think>\n<answer>\n</answer>", "<think>\na\n</think>\n<answer>\nb\n</answer>\n", "<think>\na\n</think>\n<answer>\nb\n</answer>\nmore",
         "<think>\na\n</think>\n<answer>\nb\n</answer> ", "<think>\na\n</think>\n<answer>\nb</answer>", "<think>a\n</think>\n<answer>\nb\n</answer>", "<think>\na\n</think>\n\n<answer>\nb\n</answer>",
         "<think>\na\n</think>\n<answer>\nb\n</answer>x\n</answer>", "<think>\na\n</think>\n<answer>\nb\n</think>\n<answer>\nc\n</answer>", "<think>\na\n</answer>\n</think>\n<answer>\nb", "<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>",
         "<think>\na\n</think>\n</think>\n<answer>\nb\n</answer>", "<answer>\nb\n</answer>", "<think>\n" * 3, "\n</think>\n</think>\n", "<think>\na\n</think>\n<answer>\n</answer>"]
for text in THINK:
    case("format", {"form": "think"}, TRL_FORMAT.think_format_reward(chat(text))[0], text)
    case("format", {"form": "think_answer"}, OPEN_R1.format_reward(chat(text))[0], text)
    case("format", {"form": "tag_count"}, OPEN_R1.tag_count_reward(chat(text))[0], text)

# Countdown

EQUATIONS = ["1+2*3", "3*2+1", "(1+2)*3", "1+2+3", "1 + 2 * 3", "2*3+1", "1+2*3=7", "1+2*3 ", "1+6", "1+2*3*1", "1*2*3", "2**3-1", "7", "", " ", "()", "1+2*(3)", "1+2*3)", "((1+2*3", "1+2 3", "1+2*03", "1+2*3.", "1.+2*3", "1+23",
             "3-(-(2*(1+1)))", "3*2--1", "3*2-+-1", "--1+2*3", "1+2*+3", "2*3 + 1/1", "3//2+1", "1/(2-3)", "1/(3-2-1)", "3**2/1", "-2**2+3+1", "1+2*3 # no", "1+2\u00d73", "\uff11+2*3", "1\t+2*3", "1\u00a0+2*3", "1(2)+3", "1.2+3", ".1+2*3", "2*3+1.",
             "00+1+2*3", "0x1+2*3", "1_2+3", "1+2*3;", "1,2,3", "3**-1*2+1", "2**-1+1+3", "1//2**3", "3-2/1", "1-2//3", "(1)+(2)*(3)", "(" * 20 + "1+2*3" + ")" * 20, "-" * 50 + "1+2*3", "99999999999999999999+2"]
for equation in EQUATIONS:
    for target, numbers in [(7, [1, 2, 3]), (7, [3, 1, 2]), (5, [1, 1, 2, 3]), (9, [1, 2, 3]), (0, []), (6.5, [1, 2, 3])]:
        for wrap in ["<answer>%s</answer>", "<think>so</think>\n<answer>%s</answer>"]:
            text = wrap % equation
            case("countdown", {}, COUNTDOWN.compute_score("Assistant:" + text, {"target": target, "numbers": numbers}), text, target=target, nums=numbers)
for text in ["1+2*3", "<answer>1+2*3", "<answer>1+2*3</answer>\n", "<answer>1+2*3</answer> yes", "<answer>1</answer><answer>1+2*3</answer>", "<answer>1+2*3</answer><answer>1</answer>", "<answer><answer>1+2*3</answer>",
             "<answer>1+\n2*3</answer>", "", "<answer></answer>", "<answer>1+2*3</answer></answer>", "a\nb<answer>1+2*3</answer>", "<answer>1+2*3</answer\n>"]:
    case("countdown", {"score": 3.0, "format_score": -0.5, "target": "t", "numbers": "n"}, COUNTDOWN.compute_score("Assistant:" + text, {"target": 7, "numbers": [1, 2, 3]}, format_score=-0.5, score=3.0), text, t=7, n=[1, 2, 3])

# JSON

def strict(text):
    """json.loads, without what is no JSON, and without a key twice."""
    def refuse(name):
        raise ValueError(name)

    def once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


VALUES = ["1", "1.0", "1.5", "-3", "1e3", "100", "true", "false", "null", '""', '"a"', '"abc"', '"\u00e9\U0001f600"', '"\\u00e9"', "[]", "[1]", "[1, 2, 3]", "[1, 1.0]", '["a", 1]', "{}", '{"a": 1}', '{"a": "x", "b": [1]}', '{"a": 1, "c": 2}',
          '{"a": {"a": {"a": 1}}}', '{"b": 1}', "[[1], [2]]", '{"name": "Ada", "age": 36}', '{"name": "", "age": -1}', '{"age": "36"}']
BAD = ["", " ", "{", "}", "{'a': 1}", '{"a": 1,}', "[1,]", "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "tru", "nul", '"a', "'a'", '{"a" 1}', '{"a": 1} x', "// c\n1", '{"a": 1, "a": 2}', '"\t"', '{a: 1}', "[1 2]", "1 2", "\ufeff1", "undefined"]
SCHEMAS = [True, False, {}, {"type": "object"}, {"type": "integer"}, {"type": ["string", "null"]}, {"enum": [1, "a", None, [1]]}, {"const": {"a": 1}}, {"const": 1.0}, {"minimum": 1, "maximum": 100}, {"exclusiveMinimum": 1, "exclusiveMaximum": 100},
           {"multipleOf": 1.5}, {"minLength": 1, "maxLength": 2}, {"pattern": "^a"}, {"pattern": "b"}, {"minItems": 1, "maxItems": 2}, {"items": {"type": "integer"}}, {"items": {"items": {"minimum": 2}}}, {"uniqueItems": True},
           {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, {"prefixItems": [{"const": 1}], "items": False}, {"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "integer"}}, "additionalProperties": False},
           {"additionalProperties": {"type": "integer"}}, {"required": ["a"]}, {"minProperties": 1, "maxProperties": 1}, {"allOf": [{"type": "object"}, {"required": ["a"]}]}, {"anyOf": [{"type": "string"}, {"minimum": 2}]},
           {"oneOf": [{"minimum": 1}, {"maximum": 1}]}, {"not": {"type": "object"}}, {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "integer"}]}}, "required": ["a"]}}},
           {"type": "object", "title": "Person", "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}}, "required": ["name", "age"], "additionalProperties": False}]
for text in VALUES + BAD:
    for wrap, options in [("%s", {}), ("say\n<answer> %s </answer>", {"extract": "tag"}), ("x\n```json\n%s\n```\ny", {"extract": "fence"}), ("x %s", {"extract": "tag"}), ("```\n%s", {"extract": "fence"})]:
        try:
            strict(text)
            valid = 1.0 if wrap.count("answer") != 0 or "\n```\n" in wrap or wrap == "%s" else 0.0
        except ValueError:
            valid = 0.0
        case("json", options, valid, wrap % text)
for schema in SCHEMAS:
    for text in VALUES:
        allowed = jsonschema.Draft202012Validator(schema).is_valid(strict(text))
        if isinstance(schema, dict):
            case("json", {"schema": json.dumps(schema), "valid_score": 0.25}, 1.0 if allowed else 0.25, text)
        case("json", {"column": "schema"}, float(allowed), text, schema=schema)
case("json", {"column": "schema"}, 1.0, "1", schema=None)
case("json", {"column": "schema"}, 0.0, "1", schema=json.dumps({"type": "string"}))

# Lengths and repetitions

for n in [0, 1, 79, 80, 81, 90, 99, 100, 101, 150]:
    for limit, cache in [(100, 20), (100, 0), (100, 100), (1, 1)]:
        case("overlong", {"max_completion_len": limit, "soft_punish_cache": cache}, TRL_OTHER.get_soft_overlong_punishment(limit, cache)([[1] * n])[0], tokens=[1] * n)
for n, (text, gold) in itertools.product([0, 1, 25, 50, 99, 100, 101, 130], [("\\boxed{5}", "5"), ("\\boxed{6}", "5"), ("5", "5"), ("\\boxed{5}", None)]):
    for values in [{}, {"min_value_wrong": -3.0, "max_value_wrong": 0.25, "min_value_correct": 0.0, "max_value_correct": 2.0}]:
        reward = TRL_ACCURACY.get_cosine_scaled_reward(100, **values)
        score = None if gold is None else reward(chat(text), [f"${gold}$"], [[1] * n])[0]
        case("cosine", {"max_len": 100, **values}, score, text, [1] * n, answer=gold)
for text in ["\\boxed{5}", "\\boxed{6}", "\u00e9\U0001f600 \\boxed{5}", "x" * 80 + "\\boxed{5}", "x" * 80 + "\\boxed{6}"]:
    case("cosine", {"max_len": 100, "unit": "characters"}, OPEN_R1.get_cosine_scaled_reward(max_len=100)(chat(text), ["$5$"])[0], text, answer="5")
DRAW = random.Random(7)
for n, size in itertools.product([0, 1, 2, 3, 5, 20, 200], [1, 2, 3, 7]):
    ids = [DRAW.randrange(4) for _ in range(n)]
    case("repetition", {"ngram_size": size, "max_penalty": -1.5, "unit": "tokens"}, TRL_OTHER.get_repetition_penalty_reward(size, -1.5)([ids])[0], tokens=ids)
    text = " ".join(DRAW.choice(["the", "The", "cat", "sat.", "\u00e9"]) + DRAW.choice(["", "\n", "\t"]) for _ in range(n))
    case("repetition", {"ngram_size": size, "max_penalty": -1.5}, OPEN_R1.get_repetition_penalty_reward(size, -1.5)(chat(text))[0], text)

with open(pathlib.Path(__file__).with_suffix(".json"), "w", encoding="utf-8") as file:
    file.write("[\n" + ",\n".join(json.dumps(one, separators=(",", ":")) for one in CASES) + "\n]\n")
print(len(CASES), "cases")
