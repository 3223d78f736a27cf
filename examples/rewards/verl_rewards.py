#!/usr/bin/env python3
"""A judge that runs a compute_score of verl's unchanged.

    {exec: [python3, examples/rewards/verl_rewards.py, my_rewards.py:compute_score]}
    {exec: [python3, examples/rewards/verl_rewards.py, verl.utils.reward_score:default_compute_score]}

The rows are verl's: data_source, reward_model.ground_truth, extra_info. The function gets data_source, solution_str, ground_truth, extra_info, and
returns a number, or a map with `score` whose other numbers become metrics. A row without ground_truth is not scored.
"""
import sys

import happy_words  # the worker: all of the protocol
from trl_rewards import is_number, load, number


def score_of(compute_score, sample):
    """What it says of one sample, as a map."""
    columns = sample["columns"]
    truth = (columns.get("reward_model") or {}).get("ground_truth")
    if truth is None:
        return {"score": None}
    result = compute_score(data_source=columns.get("data_source"), solution_str=sample["response"], ground_truth=truth,
                           extra_info=columns.get("extra_info"))
    return result if isinstance(result, dict) else {"score": result}


def judge_of(compute_score):
    def judge(body):
        rows = [score_of(compute_score, sample) for sample in body["samples"]]
        names = dict.fromkeys(name for row in rows for name in row if name != "score")
        extras = {name: [row.get(name) for row in rows] for name in names}
        return {"scores": [number(row["score"]) for row in rows],
                "extras": {name: [number(value) for value in values] for name, values in extras.items() if all(map(is_number, values))}}

    return judge


def main():
    if len(sys.argv) < 2 or ":" not in sys.argv[1]:
        sys.exit("verl_rewards: expected MODULE:FUNCTION or FILE.py:FUNCTION")
    happy_words.judge = judge_of(load(sys.argv.pop(1)))
    happy_words.main()


if __name__ == "__main__":
    main()
