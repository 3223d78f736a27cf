#!/usr/bin/env bash
# A run is a function of recipe, data and seed: PPO ends with the same bytes with one rollout worker or two, with every
# instruction set, after a rollout, the actor or the critic was killed, and after the whole run was stopped or killed and resumed.
# With TROUPE_TEST_BRIEF (slow builds) only what sets processes and threads against each other is tried.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

steps=8
[ -z "${TROUPE_TEST_BRIEF:-}" ] || steps=6

# Every third step takes the four prompts that are left of an epoch.
head -n 20 examples/data/openings.jsonl >"$SCRATCH/prompts.jsonl"
tail -n 4 examples/data/openings.jsonl >"$SCRATCH/held.jsonl"
cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: base
algorithm: ppo
seed: 7
steps: $steps
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/prompts.jsonl], eval: [$SCRATCH/held.jsonl], batch: 8}
generation: {temperature: 0.9, max_new_tokens: 24, samples: 2, stop_token: eos, top_k: 200, top_p: 0.98}
ppo: {num_ppo_epochs: 2, num_mini_batches: 2, missing_eos_penalty: 0.5}
optimizer: {learning_rate: 1.0e-3, chunk: 4}
roles:
  reward:
    - {words: {happy: 1.0, sad: -1.0, friend: 0.5}}
    - {length: {target: 20}, weight: 0.1}
checkpoint: {every: 2, keep: 2, best: eval_objective/scores}
samples: {every: 1, count: 2}
log_level: debug
RECIPE

# run NAME [KEY=VALUE...]: to the end.
run()
{
    local name=$1
    shift
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$name.out" "$SCRATCH/$name"/logs/*.log
    fail "the run '$name' failed"
}

# start NAME [KEY=VALUE...]: in the background; sets RUN and JOB.
start()
{
    RUN=$SCRATCH/$1
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$1" "${@:2}" >"$RUN.out" 2>&1 &
    JOB=$!
}

# finish: the run in the background must end well.
finish()
{
    wait "$JOB" && return
    tail -n 5 "$RUN.out" "$RUN"/logs/*.log
    fail "the run in $RUN failed"
}

# kill_worker NAME: kill -9 in the middle of the run.
kill_worker()
{
    wait_for "no second step" has_steps "$RUN" 2
    kill -9 "$(pid_of "$RUN" "$1")" || fail "$1 could not be killed"
}

run base
head -n 1 "$SCRATCH/base/metrics.jsonl" | grep -q '"objective/kl": 0,' ||
    fail "before the first update the KL to the reference is not 0: log-probs of two distributions were mixed"
grep -q '"exact/logprob_mismatch": 0,' "$SCRATCH/base/metrics.jsonl" || fail "no exact/logprob_mismatch of 0"
! grep -v '"exact/logprob_mismatch": 0,' "$SCRATCH/base/metrics.jsonl" || fail "a logprob_mismatch is not 0"

run two roles.rollout.workers=2
same "$SCRATCH/base" "$SCRATCH/two" "two rollout workers"

run bf16 precision=bf16
! grep -v '"exact/logprob_mismatch": 0,' "$SCRATCH/bf16/metrics.jsonl" || fail "a logprob_mismatch in bf16 is not 0"
[ "$(hashes "$SCRATCH/base")" != "$(hashes "$SCRATCH/bf16")" ] || fail "bf16 learns what fp32 does"
start bf16_stopped precision=bf16 roles.rollout.workers=2 roles.rollout.max_batch=3
wait_for "no second step" has_steps "$RUN" 2
kill -TERM "$JOB"
wait "$JOB" # stopped or, on a quick machine, at its end
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
same "$SCRATCH/bf16" "$RUN" "bf16, stopped and resumed, with other workers and batches"

configurations()
{
    run again
    same "$SCRATCH/base" "$SCRATCH/again" "once more"
    [ "$(timeless "$SCRATCH/base")" = "$(timeless "$SCRATCH/again")" ] || fail "other metrics the second time"

    run threads roles.rollout.threads=1 roles.actor.threads=1 roles.critic.threads=1 roles.rollout.max_batch=3
    same "$SCRATCH/base" "$SCRATCH/threads" "one thread, three sequences at once"

    run separate roles.reference.separate=true
    same "$SCRATCH/base" "$SCRATCH/separate" "a reference process of its own"

    for isa in amx avx512bf16 avx512 avx2; do
        grep -qw "$(sed 's/amx/amx_bf16/; s/avx512bf16/avx512_bf16/; s/avx512$/avx512f/' <<<"$isa")" /proc/cpuinfo || {
            say "$isa: this CPU lacks it"
            continue
        }
        TROUPE_CPU=$isa run "$isa"
        same "$SCRATCH/base" "$SCRATCH/$isa" "$isa"
        TROUPE_CPU=$isa run "$isa-bf16" precision=bf16
        same "$SCRATCH/bf16" "$SCRATCH/$isa-bf16" "bf16 with $isa"
    done

    local little=(steps=2 data.batch=2 generation.max_new_tokens=8 generation.samples=1) # plain C is slow
    run little "${little[@]}"
    TROUPE_CPU=generic run generic "${little[@]}"
    same "$SCRATCH/little" "$SCRATCH/generic" "plain C"
    run little-bf16 precision=bf16 "${little[@]}"
    TROUPE_CPU=generic run generic-bf16 precision=bf16 "${little[@]}"
    same "$SCRATCH/little-bf16" "$SCRATCH/generic-bf16" "bf16 in plain C"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || configurations

start rollout_killed roles.rollout.workers=2
kill_worker rollout-1
finish
grep -q 'worker=rollout-1 "lost' "$RUN/logs/controller.log" || fail "no rollout was lost: the kill came too late"
same "$SCRATCH/base" "$RUN" "a rollout killed"

for role in actor critic; do
    start "${role}_killed"
    kill_worker $role
    finish
    grep -q 'back to the last checkpoint' "$RUN/logs/controller.log" || fail "the $role was killed, and the run did not go back"
    same "$SCRATCH/base" "$RUN" "the $role killed"
    [ "$(timeless "$SCRATCH/base")" = "$(timeless "$RUN")" ] || fail "other metrics after the $role was killed"
done

start stopped
wait_for "no second step" has_steps "$RUN" 2
kill -TERM "$JOB"
wait "$JOB" && fail "a stopped run exits 0"
last=$(printf '%s/checkpoints/step-%06d' "$RUN" "$(wc -l <"$RUN/metrics.jsonl")")
[ -d "$last" ] || fail "the step at which the run was stopped has no checkpoint: $(ls "$RUN/checkpoints")"
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
same "$SCRATCH/base" "$RUN" "stopped and resumed"
[ "$(timeless "$SCRATCH/base")" = "$(timeless "$RUN")" ] || fail "other metrics after resuming"
cmp -s "$SCRATCH/base/samples.jsonl" "$RUN/samples.jsonl" || fail "other samples after resuming"
[ "$(readlink "$SCRATCH/base/best")" = "$(readlink "$RUN/best")" ] || fail "another best step after resuming"

start killed
wait_for "no second step" has_steps "$RUN" 2
kill -9 "$(pgrep -f "troupe-controller $RUN\$")" || fail "the controller could not be killed"
wait "$JOB" && fail "a run whose controller was killed exits 0"
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
same "$SCRATCH/base" "$RUN" "the controller killed, and resumed"
