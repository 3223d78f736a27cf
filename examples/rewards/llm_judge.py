#!/usr/bin/env python3
"""A judge that asks a language model, by any server with OpenAI's chat completions (vLLM, SGLang, llama.cpp, a provider).

    {exec: [python3, examples/rewards/llm_judge.py, http://HOST:8000/v1, MODEL], timeout_s: 600}
    {exec: [python3, examples/rewards/llm_judge.py, https://HOST/v1, MODEL, question.txt], timeout_s: 600}

The question is a text with {prompt}, {response} and columns of the rows in braces. The score is the number after the last "Score:" of the answer, or
null where there is none; how many answers had none is the metric `unread`. The temperature is 0, and an answer is kept: the same sample
gets the same score as long as this process lives. The key is OPENAI_API_KEY. Those of a message are asked together, and again as
http_rewards.py does.
"""
import concurrent.futures
import os
import re
import sys

import happy_words  # the worker: all of the protocol
from http_rewards import post

QUESTION = """A user wrote:

{prompt}

An assistant answered:

{response}

How good is the answer? Say why in one sentence, then end with a line "Score: N", where N is a whole number from 0 (useless) to 10 (perfect)."""
SCORE = re.compile(r"[Ss]core:[^\w-]*(-?\d+(?:\.\d+)?)")
TRIES = 5


def fill(question, sample):
    """The question; braces that name nothing stay as they are."""
    values = {**sample["columns"], "prompt": sample["prompt"], "response": sample["response"]}
    return re.sub(r"\{(\w+)\}", lambda name: str(values.get(name[1], name[0])), question)


def judge_of(url, model, question, pool):
    kept = {}  # text -> score
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(text):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 0}
        answer = post(url.rstrip("/") + "/chat/completions", body, TRIES, **headers)
        numbers = SCORE.findall(answer["choices"][0]["message"]["content"] or "")
        return float(numbers[-1]) if numbers else None

    def judge(body):
        texts = [fill(question, sample) for sample in body["samples"]]
        new = [text for text in dict.fromkeys(texts) if text not in kept]
        kept.update(zip(new, pool.map(ask, new)))
        scores = [kept[text] for text in texts]
        return {"scores": scores, "extras": {"unread": [float(score is None) for score in scores]}}

    return judge


def main():
    words = [sys.argv.pop(1) for _ in range(3) if len(sys.argv) > 1 and not sys.argv[1].startswith("--")]
    if len(words) < 2:
        sys.exit("llm_judge: expected URL and MODEL, and perhaps a file with the question")
    question = QUESTION
    if len(words) > 2:
        with open(words[2], encoding="utf-8") as file:
            question = file.read()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        happy_words.judge = judge_of(words[0], words[1], question, pool)
        happy_words.main()


if __name__ == "__main__":
    main()
