#!/usr/bin/env bash
# Rollouts on another machine: they join by TCP, with keys, get the weights from the actor, and the run ends with the bytes of one on a
# single machine, also when such a rollout or the actor dies; on GPUs too.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ "${BUILD#/}" = "$BUILD" ] && BUILD=$PWD/$BUILD
imitate_machine || skip "another machine cannot be imitated (this needs root, and iproute2)"

cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: base
algorithm: ppo
seed: 7
steps: 8
model: $MODEL
output: $SCRATCH
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 4}
generation: {temperature: 0.9, max_new_tokens: 16, samples: 2, top_k: 200}
ppo: {num_ppo_epochs: 1}
optimizer: {learning_rate: 1.0e-3, chunk: 2}
roles:
  reward: [{words: {happy: 1.0, sad: -1.0}}]
checkpoint: {every: 2}
RECIPE
"$TROUPE" keys "$SCRATCH/keys" >/dev/null || fail "no keys"

# start NAME [KEY=VALUE...]: a run in the background, ready for external rollouts; sets RUN, JOB and ENDPOINT.
start()
{
    RUN=$SCRATCH/$1
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$1" network.bind="tcp://$HERE:*" network.keys="$SCRATCH/keys" "${@:2}" >"$RUN.out" 2>&1 &
    JOB=$!
    wait_for "the run does not say how to start rollouts" grep -qs 'is to be started by hand' "$RUN.out"
    ENDPOINT=$(cat "$RUN/endpoint")
}

# join NAME WHERE: a rollout, in the background; WHERE: elsewhere or env (here). Its log: RUN.NAME; sets PID.
join()
{
    "$2" "$BUILD/bin/troupe-rollout" --connect "$ENDPOINT" --keys "$SCRATCH/keys" --name "$1" >>"$RUN.$1" 2>&1 &
    PID=$!
}

finish()
{
    wait "$JOB" && return
    tail -n 5 "$RUN.out" "$RUN"/logs/*.log "$RUN".rollout*
    fail "the run in $RUN failed"
}

# printed WORD: the line that says how rollout-0 is started has it.
printed()
{
    grep 'rollout-0 is to be started by hand' "$RUN.out" | grep -qF -- "$1" || fail "'$1' is not printed: $(cat "$RUN.out")"
}

"$TROUPE" run "$SCRATCH/recipe.yaml" >"$SCRATCH/base.out" 2>&1 || fail "the run on one machine failed: $(tail -n 1 "$SCRATCH/base.out")"

start far roles.rollout.external=1
join rollout-0 elsewhere
finish
printed "TROUPE_ENDPOINT=$ENDPOINT TROUPE_KEYS=$SCRATCH/keys troupe-rollout --name rollout-0"
[ "$(grep -c '"fetched"' "$RUN.rollout-0")" = 8 ] || fail "eight versions were not fetched: $(cat "$RUN.rollout-0")"
same "$SCRATCH/base" "$RUN" "the only rollout on another machine"

start near roles.rollout.external=1
join rollout-0 env
finish
! grep -q '"fetched"' "$RUN.rollout-0" || fail "a rollout of this machine fetches what it could map"
same "$SCRATCH/base" "$RUN" "a rollout of this machine, started by hand"

# Two; one is killed, another takes its place; then the actor is killed, and serves again at its port.
start deaths roles.rollout.external=2 roles.rollout.workers=2 network.weights_port=5556
join rollout-0 elsewhere
join rollout-1 elsewhere
wait_for "no first step" has_steps "$RUN" 1
kill -9 "$PID"
{ wait "$PID"; } 2>/dev/null
join rollout-1 elsewhere
wait_for "no third step" has_steps "$RUN" 3
kill -9 "$(pid_of "$RUN" actor)" || fail "the actor could not be killed"
finish
grep -q 'worker=rollout-1 "lost' "$RUN/logs/controller.log" || fail "no rollout was lost: the kill came too late"
grep -q 'back to the last checkpoint' "$RUN/logs/controller.log" || fail "the actor was killed, and the run did not go back"
same "$SCRATCH/base" "$RUN" "two rollouts on another machine, one killed, and the actor killed"

# One that cannot get the weights says why, and leaves its work to others.
start stranger roles.rollout.external=1 network.bind="ipc://$SCRATCH/socket"
join rollout-0 elsewhere
wait_for "no rollout leaves" grep -qs 'leaving for 5 seconds' "$RUN.rollout-0"
join rollout-1 env
finish
grep -q 'worker=rollout-0 "lost: .*rollouts elsewhere need network.bind: tcp://' "$RUN/logs/controller.log" ||
    fail "the controller does not say why it left: $(cat "$RUN/logs/controller.log")"
same "$SCRATCH/base" "$RUN" "a rollout that cannot get the weights, and another"

[ -e "$BUILD/bin/troupe-cuda-emulated.so" ] || {
    say "GPUs: not tried, for this build emulates none"
    exit 0
}
export TROUPE_CUDA_MODULE=$BUILD/bin/troupe-cuda-emulated.so
little=(steps=1 data.batch=2 generation.max_new_tokens=6 precision=fp32) # it is slow
"$TROUPE" run "$SCRATCH/recipe.yaml" name=little "${little[@]}" >"$SCRATCH/little.out" 2>&1 || fail "a little run failed"
start gpus "${little[@]}" roles.rollout.external=1 roles.actor.device=cuda roles.rollout.device=cuda
join rollout-0 elsewhere
finish
grep -q 'device=cuda' "$RUN.rollout-0" && grep -q '"fetched"' "$RUN.rollout-0" || fail "no weights came to a GPU: $(cat "$RUN.rollout-0")"
same "$SCRATCH/little" "$RUN" "GPUs of two machines"
