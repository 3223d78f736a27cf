#!/usr/bin/env python3
"""Draws a run's score and KL over its steps: docs/plot_curve.py runs/NAME/metrics.jsonl > curve.svg (standard library only)."""

import json
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 60, 60, 30, 40


def nice_ticks(low, high, count=5):
    step = 10 ** len(str(int(max(high - low, 1e-9) * 1000))) / 10000
    for factor in (0.1, 0.2, 0.5, 1, 2, 5):
        if (high - low) / (step * factor) <= count:
            step *= factor
            break
    first = int(low / step) * step
    return [round(first + i * step, 6) for i in range(count + 3) if low - 1e-9 <= first + i * step <= high + 1e-9]


def line(xs, ys, low, high, colour, steps):
    points = " ".join(f"{x_of(x, steps):.1f},{y_of(y, low, high):.1f}" for x, y in zip(xs, ys))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'


def x_of(step, steps):
    return LEFT + (WIDTH - LEFT - RIGHT) * (step - 1) / max(steps - 1, 1)


def y_of(value, low, high):
    return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)


def axis(low, high, colour, x, anchor, offset):
    parts = []
    for tick in nice_ticks(low, high):
        y = y_of(tick, low, high)
        parts.append(f'<text x="{x + offset}" y="{y + 4:.1f}" text-anchor="{anchor}" fill="{colour}">{tick:g}</text>')
        if anchor == "end":
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
    return "\n".join(parts)


def draw(rows):
    steps = rows[-1]["step"]
    xs = [row["step"] for row in rows]
    scores = [row["objective/scores"] for row in rows]
    kls = [row["objective/kl"] for row in rows]
    score_range = (min(0.0, min(scores)), max(scores) * 1.1)
    kl_range = (0.0, max(max(kls) * 1.1, 1.0))
    ticks = "\n".join(f'<text x="{x_of(s, steps):.1f}" y="{HEIGHT - 16}" text-anchor="middle" fill="#555">{s}</text>'
                      for s in range(steps // 6, steps + 1, max(steps // 6, 1)))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
{axis(*score_range, "#1f6f8b", LEFT, "end", -8)}
{axis(*kl_range, "#c0563a", WIDTH - RIGHT, "start", 8)}
{ticks}
<text x="{WIDTH / 2}" y="{HEIGHT - 2}" text-anchor="middle" fill="#555">step</text>
<text x="{LEFT}" y="18" fill="#1f6f8b">mean score (objective/scores)</text>
<text x="{WIDTH - RIGHT}" y="18" text-anchor="end" fill="#c0563a">KL to the reference (objective/kl)</text>
{line(xs, kls, *kl_range, "#c0563a", steps)}
{line(xs, scores, *score_range, "#1f6f8b", steps)}
</svg>"""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        print(draw([json.loads(text) for text in file]))
