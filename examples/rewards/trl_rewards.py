#!/usr/bin/env python3
"""A judge that runs a reward function of TRL's unchanged: async ones, and those that say None, too.

    {exec: [python3, examples/rewards/trl_rewards.py, my_rewards.py:length_reward]}
    {exec: [python3, examples/rewards/trl_rewards.py, trl.rewards:get_soft_overlong_punishment, '{"max_completion_len": 100, "soft_punish_cache": 20}']}

The function is named by a file or a module; with a JSON object behind it, it is called with that first and returns the reward function. It
gets prompts, completions, completion_ids, each other column of the rows as a list (None where a row has it not), log_extra, log_metric, and
trainer_state=None, for a judge must not depend on the step. Prompts and completions are conversations where the data's prompts are. What it
logs by log_metric, and numbers by log_extra, become metrics. It needs pyzmq and msgpack beside what the function imports.
"""
import asyncio
import importlib
import importlib.util
import inspect
import json
import math
import os
import sys

import happy_words  # the worker: all of the protocol


def load(name):
    """MODULE:FUNCTION or FILE.py:FUNCTION."""
    place, _, function = name.rpartition(":")
    if not place.endswith(".py"):
        return getattr(importlib.import_module(place), function)
    sys.path.insert(0, os.path.dirname(os.path.abspath(place)))  # as `python FILE.py` would have it
    spec = importlib.util.spec_from_file_location("rewards_of_user", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def number(value):
    """A finite float, or None for what the message calls nil."""
    value = None if value is None else float(value)
    return None if value is None or math.isnan(value) else value


def is_number(value):
    return value is None or isinstance(value, (int, float)) or hasattr(value, "item")


def arguments_of(samples, extras):
    """The keyword arguments that TRL's trainer gives."""
    conversational = all("messages" in sample for sample in samples)
    names = dict.fromkeys(name for sample in samples for name in sample["columns"])
    columns = {name: [sample["columns"].get(name) for sample in samples] for name in names if name not in ("prompt", "completion", "completion_ids")}

    def log_extra(name, values):
        if len(values) == len(samples) and all(is_number(value) for value in values):
            extras[name] = [number(value) for value in values]

    def log_metric(name, value):
        extras[name] = [number(value)] * len(samples)

    return {
        **columns,
        "prompts": [s["messages"][:-1] if conversational else s["prompt"] for s in samples],
        "completions": [s["messages"][-1:] if conversational else s["response"] for s in samples],
        "completion_ids": [s["response_ids"] for s in samples],
        "trainer_state": None,
        "log_extra": log_extra,
        "log_metric": log_metric,
    }


def judge_of(reward):
    def judge(body):
        extras = {}
        scores = reward(**arguments_of(body["samples"], extras))
        if inspect.isawaitable(scores):
            async def wait():
                return await scores

            scores = asyncio.run(wait())
        return {"scores": [number(score) for score in scores], "extras": extras}

    return judge


def main():
    if len(sys.argv) < 2 or ":" not in sys.argv[1]:
        sys.exit("trl_rewards: expected MODULE:FUNCTION or FILE.py:FUNCTION")
    reward = load(sys.argv.pop(1))
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        reward = reward(**json.loads(sys.argv.pop(1)))
    happy_words.judge = judge_of(reward)
    happy_words.main()


if __name__ == "__main__":
    main()
