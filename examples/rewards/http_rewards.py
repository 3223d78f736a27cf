#!/usr/bin/env python3
"""A judge that asks a reward server over HTTP: OpenRLHF's or LLaMA-Factory's.

    {exec: [python3, examples/rewards/http_rewards.py, http://HOST:5000/get_reward, openrlhf], timeout_s: 600}
    {exec: [python3, examples/rewards/http_rewards.py, http://HOST:8000/v1/score/evaluation, llamafactory], timeout_s: 600}

openrlhf: {"query": [prompt + response], "prompts": [...], "labels": [the column `label` or `answer`]}, answered by {"rewards": [...]}, whose lists of
numbers under extra_logs become metrics. llamafactory: {"model": "model", "messages": [prompt + response]}, answered by {"scores": [...]}. Each
sample is a request of its own, and those of a message go out together; what fails by the network, 429 or 5xx is sent again, with pauses
that double. A third word sets how often (5).
"""
import concurrent.futures
import json
import sys
import time
import urllib.error
import urllib.request

import happy_words  # the worker: all of the protocol
from trl_rewards import is_number, number

TIMEOUT, PAUSE = 180.0, 0.5  # seconds


def openrlhf(sample):
    columns = sample["columns"]
    return {"query": [sample["prompt"] + sample["response"]], "prompts": [sample["prompt"]], "labels": [columns.get("label", columns.get("answer"))]}


def llamafactory(sample):
    return {"model": "model", "messages": [sample["prompt"] + sample["response"]]}


FORMS = {"openrlhf": (openrlhf, "rewards"), "llamafactory": (llamafactory, "scores")}


def passes(error):
    """Whether it may be better next time."""
    return not isinstance(error, urllib.error.HTTPError) or error.code == 429 or error.code >= 500


def post(url, body, tries, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    for attempt in range(1, tries + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except OSError as error:  # URLError, HTTPError, timeouts
            if attempt == tries or not passes(error):
                raise RuntimeError(f"{url}: {error} (asked {attempt} times)") from error
            time.sleep(PAUSE * 2 ** (attempt - 1))


def judge_of(url, form, tries, pool):
    body_of, key = FORMS[form]

    def ask(sample):
        answer = post(url, body_of(sample), tries)
        if not isinstance(answer.get(key), list) or len(answer[key]) != 1:
            raise RuntimeError(f"{url}: expected a list of one score under '{key}', found {json.dumps(answer)[:200]}")
        logs = answer.get("extra_logs") or {}
        return number(answer[key][0]), {name: values[0] for name, values in logs.items() if len(values) == 1 and is_number(values[0])}

    def judge(body):
        answers = list(pool.map(ask, body["samples"]))  # in the samples' order
        names = dict.fromkeys(name for _, logs in answers for name in logs)
        return {"scores": [score for score, _ in answers], "extras": {name: [number(logs.get(name)) for _, logs in answers] for name in names}}

    return judge


def main():
    words = [sys.argv.pop(1) for _ in range(3) if len(sys.argv) > 1 and not sys.argv[1].startswith("--")]
    if len(words) < 2 or words[1] not in FORMS:
        sys.exit("http_rewards: expected URL, 'openrlhf' or 'llamafactory', and perhaps a number of tries")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        happy_words.judge = judge_of(words[0], words[1], int(words[2]) if len(words) > 2 else 5, pool)
        happy_words.main()


if __name__ == "__main__":
    main()
