"""Rows of the keys' table: the judges of roles.reward, each kind's keys."""
import json
import math
import os
import re
import shutil
import subprocess
import tempfile

from data import BATCH, PROMPTS, write_rows
from harness import DEADLINE, SCRATCH, TROUPE, Job, Skip, attended, check, close, mean, once, run, same, write_recipe
from models import EOS, ids, table_model, value, zero_head_adapter
from oracle import sigmoid
from table import row

PYTHON = "/usr/bin/python3"  # the distribution's has pyzmq and msgpack


def need_messages():
    if not once("messages", lambda: subprocess.run([PYTHON, "-c", "import zmq, msgpack"], capture_output=True, check=False).returncode == 0):
        raise Skip(f"{PYTHON} lacks pyzmq or msgpack")


def letters():
    """A judge that counts the characters of a response."""

    def write():
        path = os.path.join(SCRATCH, "letters.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"import sys\nsys.path.insert(0, {os.path.abspath('examples/rewards')!r})\nimport happy_words\n"
                       'happy_words.judge = lambda body: {"scores": [float(len(s["response"])) for s in body["samples"]]}\nhappy_words.main()\n')
        return path

    return once("letters", write)


def deaf():
    """A copy of the programs whose judges never say a word."""

    def copy():
        folder = os.path.join(SCRATCH, "deaf")
        os.mkdir(folder)
        programs = os.path.dirname(os.path.realpath(TROUPE))
        for name in os.listdir(programs):
            if name in ("troupe", "troupe-controller", "troupe-rollout"):
                shutil.copy(os.path.join(programs, name), folder)
        path = os.path.join(folder, "troupe-reward")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(path, 0o755)
        return os.path.join(folder, "troupe")

    return once("deaf", copy)


def scores(it):
    return [(s["response"], s["score"]) for s in it.samples if s["step"] == 1]


def judged(it, score, what="a score", relative=1e-5):
    found = scores(it)
    same(len(found), BATCH, "the number of scores")
    for response, number in found:
        close(number, score(response), relative, 1e-6, f"{what} of {response!r}")
    return [number for _, number in found]


def count(word):
    return lambda text: len(re.findall(rf"\b{word}\b", text.lower()))


def said_again(text, n):
    """The share of runs of n words that stand there already."""
    words = text.lower().split()
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def cosine(n, max_len, shortest, longest):
    return longest + 0.5 * (shortest - longest) * (1 + math.cos(min(1.0, n / max_len) * math.pi))


ANSWERED = [{**row, "answer": "5", "letter": "B", "target": 7, "nums": [1, 2, 3]} for row in PROMPTS]

KINDS = {"exec": lambda: {"exec": [PYTHON, letters()]}, "model": lambda: {"model": table_model("critic")}, "words": lambda: {"words": {"was": 1.0, "a": 0.5}},
         "regex": lambda: {"regex": {"pattern": "[A-Z]"}}, "length": lambda: {"length": {"target": 12}}, "repetition": lambda: {"repetition": {"ngram_size": 1}},
         "exact_answer": lambda: {"exact_answer": {"form": "flexible"}}, "numeric": lambda: {"numeric": "answer"}, "choice": lambda: {"choice": "letter"},
         "countdown": lambda: {"countdown": {"score": 2.0}}, "format": lambda: {"format": "think"}, "json": lambda: {"json": "whole"},
         "cosine": lambda: {"cosine": 9}, "overlong": lambda: {"overlong": {"max_completion_len": 8, "soft_punish_cache": 6}},
         "external": lambda: {"external": "mine"}}
RAW = {"exec": len, "external": len, "words": lambda text: count("was")(text) + 0.5 * count("a")(text), "regex": lambda text: float(bool(re.search("[A-Z]", text))),
       "length": lambda text: 1 - abs(len(ids(text)) - 12) / 12, "model": lambda text: value("critic", ids(text)[-1]),
       "repetition": lambda text: -said_again(text, 1), "cosine": lambda text: cosine(len(ids(text)), 9, -1.0, -0.5),
       "overlong": lambda text: -max(0.0, min(1.0, (len(ids(text)) - 2) / 6)),
       # stories have no numbers, tags or JSON: what these say of other texts is in RULES
       **dict.fromkeys(("exact_answer", "numeric", "choice", "countdown", "format", "json"), lambda text: 0.0)}


def entry(kind, **more):
    return lambda: {"roles.reward": [{**KINDS[kind](), **more}], "data.prompts": write_rows("answered", ANSWERED)}


def with_judge(it, kind):
    """The run of a recipe; one whose judge is external has it started by hand."""
    if kind in ("exec", "external"):
        need_messages()
    return by_hand(it) if kind == "external" else run(it)


def by_hand(it):
    """The run of a recipe whose judge is external, with the judge started as the run says."""
    group = it["roles.reward"][0]["external"]

    def join(job):
        line = job.line_with("is to be started by hand")
        place = dict(word.split("=", 1) for word in line.split() if "=" in word)
        same(place["TROUPE_GROUP"], group, "the group that the run prints")
        return [PYTHON, letters(), "--connect", place["TROUPE_ENDPOINT"], "--group", group]

    return once(("by hand", json.dumps(it, sort_keys=True)), lambda: attended(it, join))


def silent(it):
    """The run with judges that never answer, and how many warnings say so."""

    def start():
        path, directory = write_recipe(it)
        done = subprocess.run([deaf(), "run", path], capture_output=True, text=True, timeout=DEADLINE, check=False)
        return done.returncode, done.stdout + done.stderr, warnings(directory)

    return once(("silent", json.dumps(it, sort_keys=True)), start)


def warnings(directory):
    try:
        with open(os.path.join(directory, "logs", "controller.log"), encoding="utf-8") as file:
            return [line for line in file if "did not answer" in line]
    except FileNotFoundError:
        return []


def waits(it):
    """Asserts that a run goes on asking judges that never answer."""
    with Job(it, deaf()) as job:
        job.wait_for("the judge is not asked again", lambda: len(warnings(job.directory)) >= 2)


def tried(entry, rows):
    """What `troupe judge` says of rows of (response, columns)."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        before, after = os.path.join(folder, "rows.jsonl"), os.path.join(folder, "scores.jsonl")
        with open(before, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"prompt": "", "completion": response, **columns}) + "\n" for response, columns in rows)
        done = subprocess.run([TROUPE, "judge", "--brief", "--model", os.environ["MODEL"], "--rows", before, "--out", after, json.dumps(entry)],
                              capture_output=True, text=True, timeout=DEADLINE, check=False)
        check(done.returncode == 0, f"troupe judge says {done.stdout + done.stderr!r}")
        with open(after, encoding="utf-8") as file:
            return [json.loads(line)["score"] for line in file]


# Of each key of a rule: the rule's other options, another value, rows, and their scores without and with the value.
ANSWER, BOTH = {"answer": "5"}, {"answer": "5", "gold": "6"}
FIVE_SIX = [("#### 5", BOTH), ("#### 6", BOTH)]
GAME = {"target": 7, "nums": [1, 2, 3], "goal": 6, "others": [3, 4]}
BOXED = [("\\boxed{5}", ANSWER), ("5", ANSWER), ("\\boxed{5} and so on and on and on", ANSWER), ("#### 5", ANSWER), ("\\boxed{6}", {"answer": "5", "gold": "6"})]


def scaled(shortest=1.0, longest=0.5, wrong_shortest=-1.0, wrong_longest=-0.5, length=lambda text: len(ids(text)), max_len=40, right="\\boxed{5}"):
    """Of BOXED."""
    return [cosine(length(text), max_len, *((shortest, longest) if right in text else (wrong_shortest, wrong_longest))) for text, _ in BOXED]


RULES = {
    "exact_answer.column": ({}, "gold", FIVE_SIX, [1, 0], [0, 1]),
    "exact_answer.form": ({}, "boxed", [("#### 5", ANSWER), ("\\boxed{5}", ANSWER)], [1, 0], [0, 1]),
    "exact_answer.score": ({}, 2.5, FIVE_SIX, [1, 0], [2.5, 0]),
    "exact_answer.format_score": ({}, 0.25, [*FIVE_SIX, ("5", BOTH)], [1, 0, 0], [1, 0.25, 0]),
    "numeric.column": ({}, "gold", [("5", BOTH), ("6.0", BOTH)], [1, 0], [0, 1]),
    "numeric.extract": ({}, "boxed", [("\\boxed{5} 6", ANSWER), ("5", ANSWER)], [0, 1], [1, 0]),
    "numeric.tolerance": ({}, 0.5, [("5.4", ANSWER), ("5.6", ANSWER), ("5.0000001", ANSWER)], [0, 0, 1], [1, 0, 1]),
    "numeric.relative": ({}, 0.1, [("5.4", ANSWER), ("5.6", ANSWER)], [0, 0], [1, 0]),
    "numeric.score": ({}, 2.5, [("5", ANSWER), ("6", ANSWER)], [1, 0], [2.5, 0]),
    "choice.column": ({}, "gold", [("B", {"answer": "B", "gold": 2}), ("C", {"answer": "B", "gold": 2})], [1, 0], [0, 1]),
    "choice.options": ({}, 2, [("B, not C", {"answer": "B"}), ("C, not B", {"answer": 1})], [0, 1], [1, 1]),
    "choice.score": ({}, 2.5, [("B", {"answer": "B"}), ("C", {"answer": "B"})], [1, 0], [2.5, 0]),
    "countdown.target": ({}, "goal", [("<answer>1+2*3</answer>", GAME), ("<answer>1+2+3</answer>", GAME)], [1, 0.1], [0.1, 1]),
    "countdown.numbers": ({}, "others", [("<answer>1+2*3</answer>", GAME), ("<answer>3+4</answer>", GAME)], [1, 0.1], [0.1, 1]),
    "countdown.score": ({}, 2.5, [("<answer>1+2*3</answer>", GAME)], [1], [2.5]),
    "countdown.format_score": ({}, 0.5, [("<answer>7</answer>", GAME), ("7", GAME)], [0.1, 0], [0.5, 0]),
    "format.form": ({}, "tag_count", [("<think>a</think>b", {}), ("<think>\na\n</think>\n", {})], [1, 1], [0, 0.5]),
    "json.schema": ({}, {"type": "object"}, [("{}", {}), ("1", {}), ("no", {})], [1, 1, 0], [1, 0, 0]),
    "json.column": ({}, "schema", [("1", {"schema": {"type": "object"}}), ("1", {"schema": None})], [1, 1], [0, 1]),
    "json.extract": ({}, "tag", [("1", {}), ("so <answer>1</answer>", {})], [1, 0], [0, 1]),
    "json.score": ({}, 2.5, [("1", {}), ("no", {})], [1, 0], [2.5, 0]),
    "json.valid_score": ({"schema": {"type": "object"}}, 0.25, [("1", {}), ("{}", {}), ("no", {})], [0, 1, 0], [0.25, 1, 0]),
    "overlong.max_completion_len": ({"max_completion_len": 8}, 100, [("a", {}), ("a " * 20, {})], [0, -1], [0, 0]),
    "overlong.soft_punish_cache": ({"max_completion_len": 1000}, 1000, [("was " * 4, {})], [0], lambda: [-len(ids("was " * 4)) / 1000]),
    "cosine.column": ({"max_len": 40}, "gold", BOXED[4:], lambda: scaled()[4:], lambda: scaled(right="\\boxed{6}")[4:]),
    "cosine.form": ({"max_len": 40}, "strict", BOXED[:4], lambda: scaled()[:4], lambda: scaled(right="#### 5")[:4]),
    "cosine.max_len": ({"max_len": 40}, 5, BOXED[:4], lambda: scaled()[:4], lambda: scaled(max_len=5)[:4]),
    "cosine.unit": ({"max_len": 40}, "characters", BOXED[:4], lambda: scaled()[:4], lambda: scaled(length=len)[:4]),
    "cosine.min_value_wrong": ({"max_len": 40}, -3.0, BOXED[:4], lambda: scaled()[:4], lambda: scaled(wrong_shortest=-3.0)[:4]),
    "cosine.max_value_wrong": ({"max_len": 40}, -0.25, BOXED[:4], lambda: scaled()[:4], lambda: scaled(wrong_longest=-0.25)[:4]),
    "cosine.min_value_correct": ({"max_len": 40}, 0.25, BOXED[:4], lambda: scaled()[:4], lambda: scaled(longest=0.25)[:4]),
    "cosine.max_value_correct": ({"max_len": 40}, 3.0, BOXED[:4], lambda: scaled()[:4], lambda: scaled(shortest=3.0)[:4]),
}


def rule_row(name, options, value, rows, without, with_value):
    kind, key = name.split(".")

    @row(f"roles.reward[{kind}].{name}", "sample", value)
    def _(t):
        for more, expected in (({}, without), ({key: t.value}, with_value)):
            found = tried({kind: {**options, **more}}, rows)
            for (response, _), a, b in zip(rows, found, expected() if callable(expected) else expected, strict=True):
                close(a, b, 1e-6, 1e-6, f"the score of {response!r} with {more}")
        t.used = True


for name, what in RULES.items():
    rule_row(name, *what)

QUICK = {"timeout_s": 0.05, "retries": 0, "on_failure": "fail"}


def common_rows(kind):
    place = f"roles.reward[{kind}]."
    if kind == "exec":
        quick = lambda **more: lambda: {"roles.reward": [{"exec": ["sleep", "600"], **QUICK, **more}]}
    else:
        quick = lambda **more: lambda: {"roles.reward": [{**KINDS[kind](), **QUICK, **more}]}

    @row(place + "weight", "sample", -2.5, entry(kind))
    def _(t):
        raw = RAW[kind]
        judged(with_judge(t.recipe(), kind), raw, relative=1e-4)
        other = with_judge(t.recipe((t.value,)), kind)
        t.used = True
        judged(other, lambda text: -2.5 * raw(text), relative=1e-4)
        name = "mine" if kind == "external" else kind
        close(other.first[f"rewards/{name}/mean"], mean(raw(text) for text, _ in scores(other)), 1e-4, what="the judge's mean, before its weight")

    @row(place + "name", "sample", "someone", entry(kind))
    def _(t):
        other = with_judge(t.recipe((t.value,)), kind)
        t.used = True
        same(scores(other), scores(with_judge(t.recipe(), kind)), "the scores")
        check("rewards/someone/mean" in other.first, "the name is not in the metrics")
        check(kind == "external" or other.exists("logs", "someone-0.log"), "the name is not the log's")

    @row(place + "timeout_s", "sample", 0.02, quick())
    def _(t):
        for seconds in (0.05, 0.02):
            code, out, _ = silent(t.recipe((seconds,)))
            check(code != 0 and f"did not answer 'score' in {seconds:g} seconds" in out, f"the run says {out!r}")
        t.used = True

    @row(place + "retries", "sample", 1, quick())
    def _(t):
        for retries in (0, 1):
            code, _, warned = silent(t.recipe((retries,)))
            same((code != 0, len(warned)), (True, retries + 1), "whether the run fails, and how often the judge was asked")
        t.used = True

    @row(place + "on_failure", "sample", "wait", quick())
    def _(t):
        code, out, _ = silent(t.recipe())
        check(code != 0 and "did not answer" in out, f"the run says {out!r}")
        waits(t.recipe((t.value,)))
        t.used = True


for each in KINDS:
    common_rows(each)


@row("roles.reward[exec].exec", "sample", [PYTHON, os.path.abspath("examples/rewards/happy_words.py")], entry("exec"))
def _(t):
    need_messages()
    judged(t.base, len)
    with open("examples/rewards/happy_words.py", encoding="utf-8") as file:
        happy, sad = (set(words.split()) for words in re.findall(r'= set\("""(.*?)"""', file.read(), re.DOTALL))
    # Responses are of fewer than ten words, which count as ten.
    found = judged(t.other, lambda text: max(-1, min(1, sum((w in happy) - (w in sad) for w in re.findall("[a-z']+", text.lower())))))
    check(any(found), "no response has a happy word")


@row("roles.reward[external].external", "sample", "theirs", entry("external"))
def _(t):
    # The group is what the run prints, and what a judge must say to be taken: see by_hand.
    judged(with_judge(t.recipe((t.value,)), "external"), len)
    t.used = True


def more_workers(kind):
    @row(f"roles.reward[{kind}].workers", "sample", 2, entry(kind))
    def _(t):
        if kind == "exec":
            need_messages()
        same(scores(t.other), scores(t.base), "the scores")
        check(t.other.exists("logs", f"{kind}-1.log") and not t.base.exists("logs", f"{kind}-1.log"), "there is no second process")


more_workers("exec")
more_workers("model")


@row("roles.reward[model].model", "sample", "(a scalar head of zeros)", entry("model"))
def _(t):
    judged(t.base, RAW["model"])
    judged(run({**t.recipe(), "roles.reward": [{"model": table_model("zero")}]}), lambda _: 0.0)
    t.used = True


@row("roles.reward[model].adapter", "sample", "(a scalar head of zeros)", entry("model"))
def _(t):
    judged(t.at(zero_head_adapter()), lambda _: 0.0)
    t.used = True


def judged_by_endings(it, end):
    """Finished responses have the value of the token that ends them, cut ones that of their last token."""
    found = {s["finish"]: 0 for s in it.samples}
    for s in it.samples:
        token = ids(s["response"])[-1] if s["finish"] == "length" else end
        close(s["score"], value("critic", token), 1e-5, 1e-6, f"the score of {s['response']!r}, which ended by {s['finish']}")
        found[s["finish"]] += 1
    check(found.get("stop") and found.get("length"), "all responses are finished, or cut")


def asked():
    """Prompts that are conversations, and responses that end at a full stop, or are cut."""
    prompts = write_rows("asked", [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in PROMPTS])
    return {**entry("model")(), "generation.max_new_tokens": 6, "data.prompts": prompts, "data.chat_template": "plain", "generation.stop_ids": [ids_of_stop()]}


@row("roles.reward[model].chat_template", "sample", "chatml", asked)
def _(t):
    # Without a template the judge scores the text that the policy's wrote, and its own end token.
    judged_by_endings(t.base, EOS)
    judged_by_endings(t.other, ids("<|im_end|>\n")[-1])


def chance(separator):
    return sigmoid(value("critic", ids(separator)[-1]))


def steps_of(text, separator):
    return len([piece for piece in text.split(separator) if piece.strip()])


LONGER = {"generation.max_new_tokens": 32}


@row("roles.reward[model].steps", "sample", "product", lambda: {**LONGER, **entry("model")()})
def _(t):
    def at(kind):
        # step_separator is read only with steps, so the base cannot have it.
        return t.at(kind, roles__reward=[{**KINDS["model"](), "step_separator": "."}])

    # In a table model each step has the same chance: a product counts the steps, and the least, the mean and the last do not.
    judged(at("product"), lambda text: chance(".") ** steps_of(text, "."))
    check(any(steps_of(text, ".") > 1 for text, _ in scores(at("product"))), "no response has two steps")
    for kind in ("min", "mean", "last"):
        judged(at(kind), lambda text: chance("."))


@row("roles.reward[model].step_separator", "sample", ".", lambda: {**LONGER, **entry("model", steps="product")()})
def _(t):
    judged(t.base, lambda text: chance("\n") ** steps_of(text, "\n"))
    judged(t.other, lambda text: chance(".") ** steps_of(text, "."))


@row("roles.reward[model].threads", "sample", 1, entry("model"))
def _(t):
    # Threads share the work and not the result.
    same(scores(t.other), scores(t.base), "the scores")


@row("roles.reward[words].words", "sample", {"she": 2.0, "the": -1.0}, entry("words"))
def _(t):
    judged(t.base, RAW["words"])
    found = judged(t.other, lambda text: 2 * count("she")(text) - count("the")(text))
    check(any(found), "no response has the words")


@row("roles.reward[regex].regex.pattern", "sample", "^ [ST]he", entry("regex"))
def _(t):
    judged(t.base, RAW["regex"])
    found = judged(t.other, lambda text: float(bool(re.search("^ [ST]he", text))))
    check(0 < sum(found) < len(found), "all responses match, or none")


@row("roles.reward[regex].regex.score", "sample", 3.5, entry("regex"))
def _(t):
    judged(t.other, lambda text: 3.5 * RAW["regex"](text))


@row("roles.reward[repetition].repetition.ngram_size", "sample", 2, lambda: {**LONGER, **entry("repetition")()})
def _(t):
    first, second = judged(t.base, RAW["repetition"]), judged(t.other, lambda text: -said_again(text, 2))
    check(any(first) and first != second, "no response says a word again")


@row("roles.reward[repetition].repetition.max_penalty", "sample", -3.0, lambda: {**LONGER, **entry("repetition")()})
def _(t):
    judged(t.other, lambda text: 3 * RAW["repetition"](text))


@row("roles.reward[repetition].repetition.unit", "sample", "tokens", {**LONGER, "roles.reward": [{"repetition": {"ngram_size": 2}}]})
def _(t):
    first = judged(t.base, lambda text: -said_again(text, 2))
    second = judged(t.other, lambda text: -said_again(" ".join(map(str, ids(text))), 2))
    check(first != second, "the scores are the same")


def length_row(key, value, also, score, base_score):
    @row(f"roles.reward[length].length.{key}", "sample", value, {"generation.stop_ids": [ids_of_stop()], **LONGER, "roles.reward": [{"length": also}]})
    def _(t):
        first, second = judged(t.base, base_score), judged(t.other, score)
        check(first != second, "the scores are the same")


def ids_of_stop():
    return 48  # a full stop: responses end there, so that their lengths differ


def tokens(text):
    return len(ids(text))


length_row("target", 20, {"target": 10}, lambda text: max(0.0, 1 - abs(tokens(text) - 20) / 20), lambda text: max(0.0, 1 - abs(tokens(text) - 10) / 10))
length_row("min", 10, {"max": 12}, lambda text: float(10 <= tokens(text) <= 12), lambda text: float(tokens(text) <= 12))
length_row("max", 9, {"min": 8}, lambda text: float(8 <= tokens(text) <= 9), lambda text: float(tokens(text) >= 8))
length_row("unit", "characters", {"target": 30}, lambda text: max(0.0, 1 - abs(len(text) - 30) / 30), lambda text: max(0.0, 1 - abs(tokens(text) - 30) / 30))
