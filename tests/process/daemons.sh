#!/usr/bin/env bash
# The daemons as a user meets them: --help and --version, mistakes, no controller; SIGTERM to one of a running group, which the run
# survives with the same bytes; and `troupe status` before, during and after.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ -f "$MODEL/model.safetensors" ] || skip "$MODEL/model.safetensors is not there"

# outcome CODE PROGRAM ARGUMENT...: it exits with CODE within the deadline; what it says lies in $SCRATCH/said.
outcome()
{
    local expected=$1 code
    shift
    timeout "$DEADLINE" "$@" >"$SCRATCH/said" 2>&1 </dev/null
    code=$?
    [ $code -eq "$expected" ] || fail "'$*' exited with $code, not $expected: $(cat "$SCRATCH/said")"
    [ -s "$SCRATCH/said" ] || fail "'$*' says nothing"
}

# started RUN WORKER: it has its process.
started()
{
    pid_of "$1" "$2" >/dev/null
}

# says WORD: the last outcome's output has it.
says()
{
    grep -qF -- "$1" "$SCRATCH/said" || fail "no '$1' in: $(cat "$SCRATCH/said")"
}

for daemon in actor critic reward rollout controller; do
    program=$BUILD/bin/troupe-$daemon
    outcome 0 "$program" --help
    says --log-level
    says "troupe-$daemon"
    outcome 0 "$program" --version
    says troupe
    outcome 64 "$program" --no-such-option
    says no-such-option
    outcome 64 "$program" --log-level loud
    says loud
done
say "--help, --version, and mistakes"

for daemon in actor critic reward rollout; do
    program=$BUILD/bin/troupe-$daemon
    outcome 64 "$program" stray
    says stray
    outcome 64 "$program" --threads many
    says many
    outcome 11 env -u TROUPE_ENDPOINT "$program"
    says --connect
    for address in nonsense tcp://192.0.2.1:5555; do
        timeout "$DEADLINE" "$program" --connect $address >"$SCRATCH/said" 2>&1
        case $? in
        0 | 124) fail "troupe-$daemon --connect $address is not refused" ;;
        esac
        says "$address"
    done
done
outcome 64 "$BUILD/bin/troupe-controller"
outcome 64 "$BUILD/bin/troupe-controller" one two
says two
timeout "$DEADLINE" "$BUILD/bin/troupe-controller" "$SCRATCH/nowhere" >"$SCRATCH/said" 2>&1 && fail "a run that is not there runs"
says "$SCRATCH/nowhere"
say "no address, a wrong address, no run"

cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: base
algorithm: ppo
seed: 11
steps: 30
model: $MODEL
output: $SCRATCH
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 8}
generation: {temperature: 0.9, max_new_tokens: 24, stop_token: eos}
ppo: {num_ppo_epochs: 1}
optimizer: {learning_rate: 1.0e-3, chunk: 4}
roles:
  reference: {separate: true}
  reward: [{words: {happy: 1.0, sad: -1.0}}]
checkpoint: {every: 2}
RECIPE
# Prints the roles of the workers of a status.
workers='import json, sys; print(*sorted(w["role"] for w in json.load(sys.stdin)["workers"]))'

# remains RUN: what only a run that goes on may have.
remains()
{
    find "$1" -name '*.part' -o -name '*.sock' -o -name lock -o -name endpoint
}

# Whoever reads its output may leave: the run goes on.
"$TROUPE" run "$SCRATCH/recipe.yaml" 2>"$SCRATCH/base.out" | head -n 1 >/dev/null
[ "${PIPESTATUS[0]}" -eq 0 ] || fail "a run whose reader left failed: $(tail -n 3 "$SCRATCH/base.out")"
[ -z "$(remains "$SCRATCH/base")" ] || fail "a run that ended leaves $(remains "$SCRATCH/base")"
say "a run without its terminal goes on, and leaves no socket and no lock"

RUN=$SCRATCH/group
"$TROUPE" run "$SCRATCH/recipe.yaml" name=group steps=100000 >"$RUN.out" 2>&1 &
JOB=$!
wait_for "no first step" has_steps "$RUN" 1
outcome 0 "$TROUPE" status "$RUN"
for word in actor critic rollout reference reward phase step; do
    says $word
done
outcome 0 "$TROUPE" status --json "$RUN"
if command -v python3 >/dev/null; then
    [ "$(python3 -c "$workers" <"$SCRATCH/said")" = "actor critic reference reward rollout" ] ||
        fail "other workers than the recipe's: $(cat "$SCRATCH/said")"
    python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["run"]["weights_version"] < 1)' <"$SCRATCH/said" ||
        fail "status does not say the version of the weights: $(cat "$SCRATCH/said")"
fi
say "status of a running run"

# left WORKER: the supervisor saw it leave in peace.
left()
{
    grep -q "$1.*exited with code 0" "$RUN/logs/supervisor.log"
}

# took_step: a step more than when `steps` was counted.
took_step()
{
    has_steps "$RUN" $((steps + 1))
}

for worker in rollout-0 actor critic reference words-0; do
    wait_for "no process of $worker" started "$RUN" $worker
    kill -TERM "$(pid_of "$RUN" $worker)" || fail "$worker could not be signalled"
    wait_for "$worker did not leave with 0: $(tail -n 3 "$RUN/logs/supervisor.log")" left $worker
    wait_for "no $worker again" started "$RUN" $worker
    steps=$(wc -l <"$RUN/metrics.jsonl")
    wait_for "the run did not go on after $worker left" took_step
    say "SIGTERM to $worker: it leaves with 0, and the run goes on"
done

controller=$(pgrep -f "troupe-controller $RUN\$") || fail "no controller"
kill -TERM "$controller"
wait "$JOB" && fail "a run whose controller was stopped exits 0"
[ -s "$RUN.out" ] && ! started "$RUN" actor || fail "workers outlive their run"
for file in actor critic; do
    ! tail -n 1 "$RUN/logs/$file.log" | grep -qi "error" || fail "$file: $(tail -n 1 "$RUN/logs/$file.log")"
done
outcome 18 "$TROUPE" status "$RUN"
says "no run is going on"
say "SIGTERM to the controller ends the group: $(tail -n 1 "$RUN.out")"

# hung WORKER: the supervisor saw that it gave no sign of life.
hung()
{
    grep -q "process=$1 .*gave no sign of life and was killed" "$RUN/logs/supervisor.log"
}

# A second Ctrl-C does not wait. The first one comes while a checkpoint is written, as likely as not.
RUN=$SCRATCH/killed
"$TROUPE" run "$SCRATCH/recipe.yaml" name=killed steps=100000 checkpoint.every=1 >"$RUN.out" 2>&1 &
JOB=$!
wait_for "no third step" has_steps "$RUN" 3
controller=$(pgrep -f "troupe-controller $RUN\$") || fail "no controller"
segments=$(find "/proc/$(pid_of "$RUN" actor)/fd" -lname '/dev/shm/troupe.*' -printf '%l\n')
[ -n "$segments" ] || fail "the actor has no shared memory"
kill -STOP "$controller" "$(pid_of "$RUN" actor)" # they do not end by themselves
kill -INT "$JOB" && wait_for "the first Ctrl-C is not seen" grep -q 'is to end: SIGINT' "$RUN/logs/supervisor.log"
kill -INT "$JOB"
wait "$JOB"
code=$?
[ $code -eq 130 ] || fail "two Ctrl-C end with code $code"
[ -z "$(remains "$RUN")" ] || fail "two Ctrl-C leave $(remains "$RUN")"
for segment in $segments; do
    [ ! -e "$segment" ] || fail "two Ctrl-C leave $segment"
done
"$TROUPE" resume "$RUN" >"$RUN.out" 2>&1 &
JOB=$!
steps=$(wc -l <"$RUN/metrics.jsonl")
wait_for "a run that was killed does not go on" took_step
kill -TERM "$JOB" && wait "$JOB"
say "two Ctrl-C: code 130, and nothing is left"

RUN=$SCRATCH/stopped
"$TROUPE" run "$SCRATCH/recipe.yaml" name=stopped >"$RUN.out" 2>&1 &
JOB=$!
steps=1
for worker in rollout-0 critic; do
    wait_for "no step $((steps + 1))" took_step
    steps=$((steps + 2))
    kill -STOP "$(pid_of "$RUN" $worker)" || fail "$worker could not be signalled"
    wait_for "$worker, which is stopped, is not started anew" hung $worker
done
wait "$JOB" || fail "the run failed: $(tail -n 3 "$RUN.out")"
same "$SCRATCH/base" "$RUN" "rollout and critic that hang"

RUN=$SCRATCH/disturbed
"$TROUPE" run "$SCRATCH/recipe.yaml" name=disturbed >"$RUN.out" 2>&1 &
JOB=$!
steps=1
for worker in rollout-0 actor; do
    wait_for "no step $((steps + 1))" took_step
    steps=$((steps + 2))
    kill -TERM "$(pid_of "$RUN" $worker)" || fail "$worker could not be signalled"
done
wait "$JOB" || fail "the run failed: $(tail -n 3 "$RUN.out")"
same "$SCRATCH/base" "$RUN" "rollout and actor asked to leave"

outcome 18 "$TROUPE" status "$RUN"
says finished
outcome 18 "$TROUPE" status "$SCRATCH/nowhere"
say "status of a finished run"
