#!/usr/bin/python3
"""examples/rewards/happy_words.py with bad manners, for tests: naughty_judge.py MANNER MARKER [OPTIONS].

MANNER: nan, null (all), nulls (some), moody, picky, short, text, raise: answers like that; die: ends without an answer; slow: answers after 5 seconds; long: after 12; hang: is
stopped; prompt: scores the prompt alone, by its number of characters. It does so for the first request only, which the file MARKER
remembers, or for every one when MARKER is `always`.
"""
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "rewards"))
import happy_words

manner, marker = sys.argv.pop(1), sys.argv.pop(1)
good = happy_words.judge


def judge(body):
    if marker != "always":
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return good(body)
    answer = good(body)
    if manner == "nan":
        answer["scores"][0] = float("nan")
    elif manner == "null":
        answer["scores"] = [None] * len(body["samples"])
    elif manner == "nulls":  # in a way that does not depend on how samples are sent
        answer["scores"] = [None if sample["id"] % 3 == 0 else float(sample["id"] % 7) for sample in body["samples"]]
    elif manner == "moody":  # by the place in the request
        answer["scores"] = [float(i) for i in range(len(body["samples"]))]
    elif manner == "picky":
        answer["scores"] = [float(sample["response"].split()[0] == "yes") for sample in body["samples"]]
    elif manner == "short":
        answer["scores"].pop()
    elif manner == "text":
        answer["scores"] = "very good"
    elif manner == "raise":
        raise RuntimeError("bad mood")
    elif manner == "die":
        os._exit(3)
    elif manner == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif manner == "prompt":
        answer["scores"] = [float(len(sample["prompt"])) for sample in body["samples"]]
    elif manner in ("slow", "long"):
        time.sleep(5 if manner == "slow" else 12)
    return answer


happy_words.judge = judge
happy_words.main()
