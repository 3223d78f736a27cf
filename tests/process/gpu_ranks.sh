#!/usr/bin/env bash
# Ranks on a GPU each, by the NCCL and on the GPUs that tests emulate: every operation of the collective; PPO and DPO in fp32 end with
# the bytes and the metrics of one process on the CPU, whatever the ranks share, and in bf16 with those of one GPU.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_mpi
[ "${BUILD#/}" = "$BUILD" ] && BUILD=$PWD/$BUILD
for module in cuda nccl; do
    [ -e "$BUILD/bin/troupe-$module-emulated.so" ] || skip "this build emulates no GPU"
done
export TROUPE_CUDA_MODULE=$BUILD/bin/troupe-cuda-emulated.so EMULATED_GPUS=3

for word in dog cat fox; do
    echo "{\"prompt\": \"The $word\", \"chosen\": \" liked to run.\", \"rejected\": \" was sad.\"}"
done >"$SCRATCH/rows.jsonl"
cat >"$SCRATCH/ppo.yaml" <<RECIPE
name: ppo
algorithm: ppo
steps: 1
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/rows.jsonl], batch: 3}
generation: {max_new_tokens: 6}
ppo: {num_ppo_epochs: 1}
optimizer: {learning_rate: 1.0e-3, chunk: 1}
precision: fp32
roles: {reward: [{words: {happy: 1}}]}
RECIPE
cat >"$SCRATCH/dpo.yaml" <<RECIPE
name: dpo
algorithm: dpo
steps: 2
model: $MODEL
output: $SCRATCH
data: {train: [$SCRATCH/rows.jsonl], batch: 3}
optimizer: {learning_rate: 1.0e-3, chunk: 1}
precision: fp32
RECIPE
TWO='[cuda:0, cuda:1]'

# refused WORDS: a run of two ranks on GPUs fails with a sentence that has the words.
refused()
{
    "$TROUPE" check "$SCRATCH/dpo.yaml" roles.actor.ranks=2 "roles.actor.device=$TWO" >"$SCRATCH/out" 2>&1 &&
        fail "two ranks pass, and '$1' is not said"
    grep -qF -- "$1" "$SCRATCH/out" || fail "'$1' is not said: $(cat "$SCRATCH/out")"
    say "refused: $(tail -n 1 "$SCRATCH/out")"
}

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    "$TROUPE" run "$SCRATCH/$1.yaml" "name=$2" "${@:3}" >"$SCRATCH/$2.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$2.out" "$SCRATCH/$2"/logs/*.log
    fail "the run '$2' failed"
}

# all_same A B SENTENCE: two runs ended with the same bytes, and said the same of every step.
all_same()
{
    same "$SCRATCH/$1" "$SCRATCH/$2" "$3"
    [ "$(timeless "$SCRATCH/$1")" = "$(timeless "$SCRATCH/$2")" ] || fail "$3: other metrics"
    grep -qF 'rank=1 of=2 by=nccl' "$SCRATCH/$2/logs/actor.log" || fail "$3: its ranks do not speak by NCCL"
}

TROUPE_NCCL_MODULE=$SCRATCH/none.so refused "2 on GPUs needs NCCL, and this build has none: '$SCRATCH/none.so' is not there"
export TROUPE_NCCL_MODULE=$BUILD/bin/troupe-nccl-emulated.so
TWO=cuda:1 refused "expected 2 different GPUs, one for each rank of roles.actor.ranks, found 'cuda:1' for two of them"

for ranks in 1 3; do
    timeout "$DEADLINE" mpirun -n $ranks "$BUILD/tests/common_collective_ranks_operations" $ranks cuda >"$SCRATCH/out" 2>&1 ||
        fail "$ranks ranks: $(cat "$SCRATCH/out")"
    say "$(tail -n 1 "$SCRATCH/out")"
done

run ppo ppo
run ppo ppo-gpus roles.actor.ranks=2 "roles.actor.device=$TWO" roles.actor.zero_stage=1 roles.critic.ranks=2 \
    "roles.critic.device=$TWO" roles.critic.zero_stage=3 roles.rollout.device=cuda:2
all_same ppo ppo-gpus "PPO, an actor and a critic of two GPUs"

run dpo dpo
for stage in 2 3; do
    run dpo dpo-$stage roles.actor.ranks=2 "roles.actor.device=$TWO" roles.actor.zero_stage=$stage
    all_same dpo dpo-$stage "DPO, two GPUs, stage $stage"
done
run dpo bf16 steps=1 precision=bf16 roles.actor.device=cuda
run dpo bf16-two steps=1 precision=bf16 roles.actor.ranks=2 "roles.actor.device=$TWO" roles.actor.zero_stage=3
all_same bf16 bf16-two "DPO in bf16, two GPUs beside one"

run dpo sum roles.actor.ranks=2 "roles.actor.device=$TWO" roles.actor.gradient_sum=all_reduce
for name in dpo sum; do
    tail -n 1 "$SCRATCH/$name/metrics.jsonl" | sed -E 's/.*"loss": ([^,]*),.*/\1/'
done | awk '{ loss[NR] = $1 } END { exit !(NR == 2 && (loss[1] - loss[2]) ^ 2 < 1e-8) }' ||
    fail "sums by NCCL: another loss than that of one process"
say "sums by NCCL: nearly the loss of one process"
