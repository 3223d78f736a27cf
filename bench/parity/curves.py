#!/usr/bin/env python3
"""Whole training runs beside TRL's: SFT, a reward model, DPO and KTO, 50 steps each, on rows of hh-rlhf and the model stories260K.

    bench/parity/curves.py check [ALGORITHM...]     Troupe's curves against those of TRL in tests/golden/curves (no TRL needed)
    bench/parity/curves.py remake [ALGORITHM...]    run TRL again ($BENCH_PYTHON), write its curves, draw both in docs/images

Both read the same rows in the same order, with the same batch, schedule and first weights (the reward model's fresh head is
Troupe's). TROUPE_TEST_DATA: the folder that holds stories260K and hh-rlhf. TROUPE_BUILD: default build.

A value agrees when it is off by at most 1e-5 (first step) or 1e-3 (later ones) of TRL's value, or of a hundredth of the
curve's largest where the value itself is nearer to zero. At the first step rewards are zero on both sides.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CURVES = ROOT / "tests/golden/curves"
DATA = pathlib.Path(os.environ.get("TROUPE_TEST_DATA", ""))
MODEL = DATA / "stories260K"
TROUPE = ROOT / os.environ.get("TROUPE_BUILD", "build") / "bin/troupe"

# What both sides are told.
SETTINGS = {
    "sft": {"steps": 50, "batch": 8, "learning_rate": 5e-4, "max_length": 256, "rows": 500},
    "reward": {"steps": 50, "batch": 8, "learning_rate": 1e-4, "max_length": 384, "rows": 1600},
    "dpo": {"steps": 50, "batch": 8, "learning_rate": 5e-5, "max_length": 384, "rows": 1200},
    "kto": {"steps": 50, "batch": 8, "learning_rate": 5e-5, "max_length": 384, "rows": 1200},
}
CLASSES = "rewards/chosen rewards/rejected rewards/margins logps/chosen logps/rejected logits/chosen logits/rejected entropy"
METRICS = {
    "sft": "loss grad_norm mean_token_accuracy entropy num_tokens",
    "reward": "loss grad_norm accuracy margin mean_reward min_reward max_reward num_tokens",
    "dpo": f"loss grad_norm {CLASSES} rewards/accuracies mean_token_accuracy num_tokens",
    "kto": f"loss grad_norm kl {CLASSES} num_tokens",
}


def labelled(index, row):
    """A labelled completion of a pair: TRL's extract_prompt, then two chosen ones and a rejected one in turn."""
    side = "chosen" if index % 3 else "rejected"
    chosen, rejected = row["chosen"], row["rejected"]
    end = next(i for i, (a, b) in enumerate(zip(chosen + "\0", rejected + "\1")) if a != b)
    end -= chosen[end - 1] == " "
    return {"prompt": row[side][:end], "completion": row[side][end:], "label": side == "chosen"}


def write_rows(algorithm, path):
    with gzip.open(DATA / "hh-rlhf/harmless-base-test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][: SETTINGS[algorithm]["rows"]]
    if algorithm == "sft":
        rows = [{"text": row["chosen"]} for row in rows]
    elif algorithm == "kto":
        rows = [labelled(i, row) for i, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def yaml_real(value):
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def troupe(algorithm, rows, output, name, **changes):
    """Runs the recipe; returns its directory."""
    s = {**SETTINGS[algorithm], **changes}
    recipe = output / f"{name}.yaml"
    recipe.write_text(
        f"name: {name}\nalgorithm: {algorithm}\nsteps: {s['steps']}\nmodel: {MODEL}\noutput: {output}\n"
        f"data: {{train: [{rows}], batch: {s['batch']}, shuffle: false, on_bad_row: drop}}\n"
        f"{algorithm}: {{max_length: {s['max_length']}}}\n"
        f"optimizer: {{learning_rate: {yaml_real(s['learning_rate'])}, schedule: linear}}\n"
    )
    subprocess.run([TROUPE, "run", recipe], check=True, stdout=subprocess.DEVNULL)
    return output / name


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def compare(algorithm, ours, theirs):
    """Prints a line a metric; whether all agree."""
    agree = len(ours) == len(theirs) == SETTINGS[algorithm]["steps"]
    for name in METRICS[algorithm].split():
        floor = max(abs(row.get(name, 0.0)) for row in theirs) / 100
        off = []
        for a, b in zip(ours, theirs):
            agree = agree and (name in a) == (name in b)
            if name in b:
                size = max(abs(b[name]), floor)
                off.append(abs(a[name] - b[name]) / size if size else abs(a[name]))
        fine = off[0] <= 1e-5 and max(off) <= 1e-3
        agree = agree and fine
        print(
            f"{algorithm:7} {name:20} first step off by {off[0]:.1e}, worst by {max(off):.1e} at step "
            f"{off.index(max(off)) + 1}{'' if fine else '   TOO FAR'}"
        )
    return agree


def draw(algorithm, ours, theirs):
    """Both curves of three metrics in one picture."""
    names = ["loss", "grad_norm", "rewards/margins" if algorithm in ("dpo", "kto") else METRICS[algorithm].split()[2]]
    width, height, parts = 260, 170, []
    for k, name in enumerate(names):
        curves = [[row.get(name) for row in rows] for rows in (theirs, ours)]
        values = [v for curve in curves for v in curve if v is not None]
        low, high = min(values), max(values)
        x0 = 40 + k * (width + 50)
        place = lambda i, v: f"{x0 + width * i / (len(theirs) - 1):.1f},{30 + height * (high - v) / (high - low or 1):.1f}"
        parts.append(f'<text x="{x0}" y="20">{algorithm}: {name}</text>')
        for value, y in ((high, 34), (low, 30 + height)):
            parts.append(f'<text x="{x0 - 4}" y="{y}" text-anchor="end" font-size="9">{value:.3g}</text>')
        parts.append(f'<rect x="{x0}" y="30" width="{width}" height="{height}" fill="none" stroke="#ccc"/>')
        for curve, style in zip(curves, ('stroke="#e08020" stroke-width="5" opacity="0.5"', 'stroke="#203070" stroke-width="1.2"')):
            points = " ".join(place(i, v) for i, v in enumerate(curve) if v is not None)
            parts.append(f'<polyline fill="none" {style} points="{points}"/>')
    total = 40 + 3 * (width + 50)
    legend = f'<text x="40" y="{height + 50}" font-size="11">wide: TRL 1.9.0; thin: Troupe; 50 steps</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height + 60}" font-family="sans-serif" '
        f'font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + f"\n{legend}\n</svg>\n"
    )


def remake(algorithm, rows, scratch, ours):
    """TRL's curve, from the same first weights."""
    model = MODEL
    if algorithm == "reward":  # a step of no length saves the fresh head
        model = troupe(algorithm, rows, scratch, "first", steps=1, learning_rate=1e-30, batch=1) / "final"
    out = scratch / "trl.jsonl"
    script = pathlib.Path(__file__).with_name("trl_curve.py")
    settings = json.dumps(SETTINGS[algorithm])
    subprocess.run([os.environ["BENCH_PYTHON"], script, algorithm, model, rows, out, settings], check=True)
    keep = ["step", *METRICS[algorithm].split()]
    lines = [json.dumps({k: row[k] for k in keep if k in row}) + "\n" for row in read(out)]
    CURVES.mkdir(exist_ok=True)
    (CURVES / f"{algorithm}.jsonl").write_text("".join(lines))
    (ROOT / f"docs/images/parity-{algorithm}.svg").write_text(draw(algorithm, ours, read(CURVES / f"{algorithm}.jsonl")))


def main(command, *algorithms):
    if command not in ("check", "remake"):
        sys.exit(__doc__)
    agree = True
    for algorithm in algorithms or SETTINGS:
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            rows = scratch / "rows.jsonl"
            write_rows(algorithm, rows)
            ours = read(troupe(algorithm, rows, scratch, "ours") / "metrics.jsonl")
            if command == "remake":
                remake(algorithm, rows, scratch, ours)
            agree = compare(algorithm, ours, read(CURVES / f"{algorithm}.jsonl")) and agree
    sys.exit(0 if agree else "the curves differ")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
