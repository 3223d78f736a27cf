#!/usr/bin/env bash
# Thirty steps of PPO follow TRL's PPOTrainer, and fifty of GRPO and RLOO its trainers of these, number for number: they were given
# the same responses, scores and first critic, and options are away from their defaults. tests/golden/make_ppo_trl.py says how, and which
# lines of TRL's PPO were changed for it; make_grpo_trl.py changes none.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"
[ -z "${TROUPE_TEST_BRIEF:-}" ] || skip "TRL's numbers are those of the model with all of its layers"

# follow NAME: the run of tests/golden/NAME_trl.yaml.
follow()
{
    "$TROUPE" run "tests/golden/$1_trl.yaml" "output=$SCRATCH" >"$SCRATCH/out" 2>&1 || {
        tail -n 5 "$SCRATCH/out" "$SCRATCH/$1-trl"/logs/*.log
        fail "the run of $1 failed"
    }
    compare "$1" || fail "Troupe does not learn what TRL's trainer of $1 learns"
}

# compare NAME
# A metric agrees when it is off by at most 1e-4 of TRL's value, or of a tenth of TRL's largest where the value itself is nearer to 0.
compare()
{
    python3 - "$SCRATCH/$1-trl" "tests/golden/$1_trl.json" <<'PYTHON'
import hashlib, json, sys

run, golden = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
rows = [json.loads(line) for line in open(run + "/metrics.jsonl", encoding="utf-8")]
samples = [[] for _ in rows]
for line in open(run + "/samples.jsonl", encoding="utf-8"):
    sample = json.loads(line)
    samples[sample["step"] - 1].append([sample["response"], sample["finish"]])
hashes = [hashlib.sha256(json.dumps(step).encode()).hexdigest()[:16] for step in samples]
assert len(rows) == len(golden["responses"]) == golden["recipe"]["steps"], "%d steps" % len(rows)

far = {}
for name, theirs in golden["metrics"].items():
    floor = max(map(abs, theirs)) / 10
    off = [abs(row[name] - x) / (max(abs(x), floor) or 1.0) for row, x in zip(rows, theirs)]
    worst = off.index(max(off))
    print("%-28s off by at most %.1e, at step %d" % (name, off[worst], worst + 1))
    far[name] = next((step for step, x in enumerate(off, 1) if not x <= 1e-4), None)

others = next((step for step, (a, b) in enumerate(zip(hashes, golden["responses"]), 1) if a != b), None)
first = min((step for step in far.values() if step), default=None)
if first and (not others or first < others):
    names = [name for name, step in far.items() if step == first]
    sys.exit("from step %d on too far from TRL: %s" % (first, ", ".join(names)))
if others:
    sys.exit("the responses of step %d are not those that TRL was given, though all metrics before agree. Whoever changes what is\n"
             "sampled runs tests/golden/make_ppo_trl.py and make_grpo_trl.py again." % others)
PYTHON
}
for algorithm in ppo grpo rloo; do
    follow $algorithm
    say "TRL's steps of $algorithm"
done
