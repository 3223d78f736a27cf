#!/usr/bin/env bash
# GRPO and RLOO through the real programs: what their metrics say follows from the responses, the score rises, no critic and no idle
# reference is started, and a run ends with the same bytes whatever workers, threads, chunks and deaths it has.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

steps=40
prompts=90
if [ -n "${TROUPE_TEST_BRIEF:-}" ]; then # slow builds
    steps=4
    prompts=10
fi
head -n $prompts examples/data/openings.jsonl >"$SCRATCH/prompts.jsonl"

# recipe ALGORITHM OPTIONS
recipe()
{
    cat >"$SCRATCH/$1.yaml" <<RECIPE
name: $1
algorithm: $1
seed: 3
steps: $steps
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/prompts.jsonl], batch: 6}
generation: {samples: 4, temperature: 1.0, max_new_tokens: 24, stop: ["."]}
grpo: $2
optimizer: {learning_rate: 1.0e-3, chunk: 4}
roles: {reward: [{words: {was: 1, very: 1, the: 0.1, a: 0.1, and: 0.1, to: 0.1}}]}
checkpoint: {every: 2, keep: 2}
samples: {every: 1, count: 24}
RECIPE
}

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    local recipe=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 ||
        fail "the run '$name' failed: $(tail -n 3 "$SCRATCH/$name.out")"
}

recipe grpo '{}'
recipe rloo '{beta: 0.05, num_iterations: 2, steps_per_generation: 2}'
run grpo grpo
run rloo rloo
python3 - "$SCRATCH" "$steps" "$prompts" <<'PYTHON' || fail "the metrics are not those of the responses, or nothing is learnt"
import json, math, sys
read = lambda name, file: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/{file}.jsonl")]
mean = lambda values: sum(values) / len(values)
deviation = lambda values: math.sqrt(sum((x - mean(values)) ** 2 for x in values) / (len(values) - 1))
close = lambda a, b, what: abs(a - b) <= 1e-5 * max(1, abs(b)) or sys.exit(f"{what}: {a}, expected {b}")
for name in ("grpo", "rloo"):
    rows, samples = read(name, "metrics"), read(name, "samples")
    assert len(rows) == int(sys.argv[2]), len(rows)
    for row in rows:
        assert row["exact/logprob_mismatch"] == 0 and ("kl" in row) == (name == "rloo"), row
        scores = [sample["score"] for sample in samples if sample["step"] == row["step"]]
        groups = [scores[i:i + 4] for i in range(0, len(scores), 4)]
        assert len(scores) == 24 or row["step"] * 6 > int(sys.argv[3]), len(scores)
        close(row["reward"], mean(scores), "reward")
        close(row["reward_std"], deviation(scores), "reward_std")
        if name == "grpo":
            close(row["frac_reward_zero_std"], mean([len(set(group)) == 1 for group in groups]), "frac_reward_zero_std")
        ends = [sample["finish"] for sample in samples if sample["step"] == row["step"]]
        close(row["completions/clipped_ratio"], mean([end == "length" for end in ends]), "completions/clipped_ratio")
        assert row["completions/min_length"] <= row["completions/mean_length"] <= row["completions/max_length"] <= 24, row
        # With one pass nothing is clipped.
        assert (row["clip_ratio/region_mean"] == 0) or name == "rloo", row
    if len(rows) >= 40:
        first, last = (mean([row["reward"] for row in part]) for part in (rows[:10], rows[-10:]))
        assert last > first + 0.1, (name, first, last)
assert read("rloo", "metrics")[0]["kl"] == 0, "policy and reference are the same bits"
PYTHON
say "GRPO and RLOO raise the score, and say so"

for worker in critic reference; do
    [ ! -e "$SCRATCH/grpo/logs/$worker.log" ] || fail "GRPO starts a $worker"
done
"$TROUPE" run "$SCRATCH/grpo.yaml" name=refused "reference=$MODEL" >"$SCRATCH/refused.out" 2>&1 && fail "a reference that nothing reads is taken"
grep -q 'reference: the loss compares with no reference' "$SCRATCH/refused.out" || fail "the refusal says $(cat "$SCRATCH/refused.out")"
say "no critic, and no reference without a KL penalty"

run grpo two roles.rollout.workers=2 roles.actor.threads=1 roles.rollout.max_batch=3
same "$SCRATCH/grpo" "$SCRATCH/two" "GRPO with two rollouts and one thread"
run rloo separate roles.reference.separate=true roles.rollout.workers=2
same "$SCRATCH/rloo" "$SCRATCH/separate" "RLOO with two rollouts and a reference of its own"
[ "$(timeless "$SCRATCH/rloo")" = "$(timeless "$SCRATCH/separate")" ] || fail "other metrics with a reference of its own"

# ReMax: the baseline is what greedy responses to the step's prompts are worth, in the order of the data.
recipe remax '{}'
run remax remax steps=2 data.shuffle=false
run remax remax_two steps=2 data.shuffle=false roles.rollout.workers=2
same "$SCRATCH/remax" "$SCRATCH/remax_two" "ReMax with two rollouts"
head -n 6 "$SCRATCH/prompts.jsonl" >"$SCRATCH/first.jsonl"
"$TROUPE" run "$SCRATCH/remax.yaml" name=greedy algorithm=sample steps=1 "data.prompts=[$SCRATCH/first.jsonl]" generation.samples=1 \
    generation.temperature=0 grpo=null optimizer=null samples=null >"$SCRATCH/greedy.out" 2>&1 || fail "$(tail -n 3 "$SCRATCH/greedy.out")"
worth=$(sed -E 's/.*"reward_greedy": ([^,]*),.*/\1/; q' "$SCRATCH/remax/metrics.jsonl")
grep -qF "\"objective/scores\": $worth," "$SCRATCH/greedy/metrics.jsonl" || fail "the baseline is $worth: $(<"$SCRATCH/greedy/metrics.jsonl")"
say "ReMax's baseline is the score of greedy responses"

for worker in actor rollout-1; do
    "$TROUPE" run "$SCRATCH/rloo.yaml" name="killed-$worker" steps=6 roles.rollout.workers=2 >"$SCRATCH/killed.out" 2>&1 &
    JOB=$!
    wait_for "no second step" has_steps "$SCRATCH/killed-$worker" 2
    kill -9 "$(pid_of "$SCRATCH/killed-$worker" "$worker")" || fail "$worker could not be killed"
    wait "$JOB" || fail "the run whose $worker was killed failed: $(tail -n 1 "$SCRATCH/killed.out")"
done
run rloo few steps=6
for worker in actor rollout-1; do
    same "$SCRATCH/few" "$SCRATCH/killed-$worker" "$worker killed"
    [ "$(timeless "$SCRATCH/few")" = "$(timeless "$SCRATCH/killed-$worker")" ] || fail "other metrics after $worker was killed"
done

"$TROUPE" run "$SCRATCH/rloo.yaml" name=stopped steps=6 >"$SCRATCH/stopped.out" 2>&1 &
JOB=$!
wait_for "no second step" has_steps "$SCRATCH/stopped" 2
kill -TERM "$JOB"
wait "$JOB" # stopped or, on a quick machine, at its end
"$TROUPE" resume "$SCRATCH/stopped" >"$SCRATCH/resumed.out" 2>&1 || fail "resume failed: $(tail -n 1 "$SCRATCH/resumed.out")"
same "$SCRATCH/few" "$SCRATCH/stopped" "stopped and resumed"
[ "$(timeless "$SCRATCH/few")" = "$(timeless "$SCRATCH/stopped")" ] || fail "other metrics after resuming"

mpi()
{
    run grpo ranks steps=3 roles.actor.ranks=2 grpo.top_entropy_quantile=0.5
    run grpo alone steps=3 roles.actor.threads=1 grpo.top_entropy_quantile=0.5
    same "$SCRATCH/alone" "$SCRATCH/ranks" "two ranks"
}
if [ -e "$BUILD/bin/troupe-mpi.so" ] && [ -n "$(type -P mpirun)" ]; then
    need_mpi
    mpi
fi
