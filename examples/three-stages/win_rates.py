#!/usr/bin/env python3
"""What the three stages were good for, from the files that `run` leaves.

    python3 examples/three-stages/win_rates.py runs/three-stages

A policy wins over SFT where its response to a prompt has the higher score by a judge that nothing was trained on; equal scores count
half. The 95 % interval is of 2000 bootstrap samples of the prompts, whose eight responses stay together. Standard library only.
"""
import json
import random
import statistics
import sys

SAMPLES = 8


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def scores(path):
    """[prompts][SAMPLES]"""
    rows = [row["score"] for row in read(path)]
    return [rows[i:i + SAMPLES] for i in range(0, len(rows), SAMPLES)]


def interval(values):
    """The mean over prompts, and its 95 % bootstrap interval."""
    draw = random.Random(1)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(2000))
    return statistics.fmean(values), means[50], means[1949]


def main():
    folder = sys.argv[1]
    reward = read(f"{folder}/reward/metrics.jsonl")[-1]
    print(f"reward model: accuracy {reward['eval_accuracy']:.2f} on held-out pairs")
    base = scores(f"{folder}/judged-sft.jsonl")
    print("policy  mean score of the other judge   wins over SFT (95 % interval)")
    for name in ("sft", "ppo", "dpo", "kto"):
        policy = scores(f"{folder}/judged-{name}.jsonl")
        mean, low, high = interval([statistics.fmean(group) for group in policy])
        line = f"{name:6}  {mean:5.2f} [{low:5.2f}, {high:5.2f}]"
        if name != "sft":
            wins = [statistics.fmean((a > b) + 0.5 * (a == b) for a in ours for b in theirs) for ours, theirs in zip(policy, base)]
            line += "            {:.2f} [{:.2f}, {:.2f}]".format(*interval(wins))
        print(line)


main()
