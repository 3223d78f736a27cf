#!/usr/bin/env bash
# Devices: what this machine lacks is told in one sentence before anything starts; what does not fit is refused with the sum; and
# on the GPU that tests emulate, in fp32, a run learns and says the CPU's bytes.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
EMULATED=$PWD/$BUILD/bin/troupe-cuda-emulated.so
[ "${BUILD#/}" = "$BUILD" ] || EMULATED=$BUILD/bin/troupe-cuda-emulated.so

for word in dog cat fox hen; do
    echo "{\"text\": \"Once upon a time there was a little $word who liked to run.\", \"prompt\": \"The $word\"}"
done >"$SCRATCH/rows.jsonl"
cat >"$SCRATCH/sft.yaml" <<RECIPE
name: sft
algorithm: sft
steps: 2
model: $MODEL
output: $SCRATCH
data: {train: [$SCRATCH/rows.jsonl], batch: 2}
precision: fp32
RECIPE
cat >"$SCRATCH/ppo.yaml" <<RECIPE
name: ppo
algorithm: ppo
steps: 1
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/rows.jsonl], batch: 4}
generation: {max_new_tokens: 6}
ppo: {num_ppo_epochs: 1}
precision: fp32
roles: {reward: [{words: {dog: 1}}]}
RECIPE

# refused CODE WORDS COMMAND...: it fails with the code and one sentence that has the words, and starts nothing.
refused()
{
    local code=$1 words=$2 got
    shift 2
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" </dev/null
    got=$?
    [ $got -eq "$code" ] || fail "'$*' ended with $got instead of $code: $(cat "$SCRATCH/err")"
    [ "$(wc -l <"$SCRATCH/err")" -eq 1 ] || fail "'$*' says more than one line: $(cat "$SCRATCH/err")"
    grep -qF -- "$words" "$SCRATCH/err" || fail "'$*' does not say '$words': $(cat "$SCRATCH/err")"
    [ ! -e "$SCRATCH/sft" ] && [ ! -e "$SCRATCH/ppo" ] || fail "'$*' began a run"
}

say "without a module"
export TROUPE_CUDA_MODULE=$SCRATCH/none.so
for command in check run; do
    refused 15 "roles.actor.device: the GPU module cannot be loaded: $SCRATCH/none.so" \
        "$TROUPE" $command "$SCRATCH/sft.yaml" roles.actor.device=cuda:0
done
refused 15 "the GPU module cannot be loaded" "$TROUPE" generate -m "$MODEL" -p The --device cuda
"$TROUPE" devices >"$SCRATCH/out" || fail "troupe devices fails without GPUs"
grep -q '^cpu .* threads ' "$SCRATCH/out" || fail "no CPU is listed"
[ "$(grep -c '^no GPU: the GPU module cannot be loaded' "$SCRATCH/out")" -eq 1 ] || fail "why no GPU is listed is not said"

say "more than the CPU has"
refused 12 "cpu: " "$TROUPE" run "$SCRATCH/ppo.yaml" roles.rollout.workers=1000 roles.rollout.max_batch=1000000 \
    generation.samples=1000
grep -qE '1000 x rollout [0-9.]+ [GM]iB \+ host memory' "$SCRATCH/err" || fail "the sum is not shown: $(cat "$SCRATCH/err")"

[ -f "$EMULATED" ] || {
    say "this build emulates no GPU: the rest cannot be tried"
    exit 0
}
export TROUPE_CUDA_MODULE=$EMULATED

say "without a GPU"
EMULATED_GPUS=0 refused 15 "roles.actor.device: this machine shows no GPU" \
    "$TROUPE" run "$SCRATCH/sft.yaml" roles.actor.device=cuda:0
refused 15 "there is no cuda:1: this machine shows 1 GPU(s)" "$TROUPE" run "$SCRATCH/sft.yaml" roles.actor.device=cuda:1
EMULATED_GPUS=0 "$TROUPE" devices | grep -q "^no GPU: this machine shows no GPU" || fail "devices does not say why"

say "too little memory"
refused 12 "cuda: " env EMULATED_GPU_MEMORY=10000000 "$TROUPE" run "$SCRATCH/sft.yaml" roles.actor.device=cuda
grep -qF "are needed (actor " "$SCRATCH/err" && grep -qF "are free: lower optimizer.chunk" "$SCRATCH/err" ||
    fail "the sum is not shown: $(cat "$SCRATCH/err")"
refused 12 "its \`memory\` is 10.2 MiB: raise it" "$TROUPE" run "$SCRATCH/sft.yaml" roles.actor.device=cuda \
    roles.actor.memory=0.01
grep -qF "(weights 2.7 MiB + optimizer 5.4 MiB + gradient 2.7 MiB + activations " "$SCRATCH/err" ||
    fail "the sum is not shown: $(cat "$SCRATCH/err")"
refused 12 "lower the role's 'memory'" "$TROUPE" run "$SCRATCH/sft.yaml" roles.actor.device=cuda roles.actor.memory=64

say "the list"
EMULATED_GPUS=2 "$TROUPE" devices --json >"$SCRATCH/out" || fail "troupe devices fails"
for device in cpu cuda:0 cuda:1; do
    grep -qF "\"device\": \"$device\"" "$SCRATCH/out" || fail "$device is not listed"
done
grep -qF '"no_gpu": null' "$SCRATCH/out" || fail "GPUs are listed, and none"

say "one word, one text"
for device in cpu cuda; do
    "$TROUPE" generate -m "$MODEL" -p "Once upon" -n 8 --device $device --precision fp32 >"$SCRATCH/$device.text" &&
        "$TROUPE" logprobs -m "$MODEL" -p "Once" -r " upon a time" --device $device --precision fp32 >"$SCRATCH/$device.json" ||
        fail "a model does not speak on $device"
done
cmp "$SCRATCH/cpu.text" "$SCRATCH/cuda.text" && cmp "$SCRATCH/cpu.json" "$SCRATCH/cuda.json" ||
    fail "in fp32 a GPU says something else than the CPU"

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    "$TROUPE" run "$SCRATCH/$1.yaml" "name=$2" "${@:3}" >"$SCRATCH/$2.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$2.out" "$SCRATCH/$2"/logs/*.log
    fail "the run '$2' failed"
}

say "learning on a GPU"
run sft on-cpu
run sft on-gpu roles.actor.device=cuda:0 roles.actor.memory=0.5
same "$SCRATCH/on-cpu" "$SCRATCH/on-gpu" "a run on a GPU in fp32"
grep -qF 'device=cuda form=sm_' "$SCRATCH/on-gpu/logs/actor.log" || fail "the actor does not say where it computes"

say "rollouts on several GPUs"
export EMULATED_GPUS=2
run ppo gpus roles.actor.device=cuda:1 roles.critic.device=cuda:0 'roles.rollout.device=[cuda:0, cuda:1]' roles.rollout.workers=2
run ppo by-host roles.actor.device=cuda:1 roles.critic.device=cuda:0 'roles.rollout.device=[cuda:0, cuda:1]' roles.rollout.workers=2 \
    roles.rollout.weights=host
same "$SCRATCH/gpus" "$SCRATCH/by-host" "weights read on a GPU or copied from another, and by the host"
grep -q 'place=emulated:1 "published"' "$SCRATCH/gpus/logs/actor.log" || fail "the actor's weights left its GPU"
grep -qE '"exact/logprob_mismatch": 0(\.0)?[,}]' "$SCRATCH/gpus/metrics.jsonl" ||
    fail "rollouts and actor disagree: $(cat "$SCRATCH/gpus/metrics.jsonl")"
for i in 0 1; do
    grep -qF 'device=cuda form=' "$SCRATCH/gpus/logs/rollout-$i.log" || fail "rollout-$i computes elsewhere"
done
