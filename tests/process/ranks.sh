#!/usr/bin/env bash
# A run does not depend on how many ranks its actor and critic have: PPO, DPO and SFT end with the bytes and the metrics of one process,
# whatever the ranks share, after one of them was killed, where a checkpoint of two goes on with one, and on two machines.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The last batch of each epoch is smaller than the others.
head -n 10 examples/data/openings.jsonl >"$SCRATCH/prompts.jsonl"
head -n 17 examples/data/pairs.jsonl >"$SCRATCH/pairs.jsonl"

cat >"$SCRATCH/ppo.yaml" <<RECIPE
name: ppo
algorithm: ppo
seed: 7
steps: 4
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/prompts.jsonl], batch: 7}
generation: {temperature: 0.9, max_new_tokens: 16, samples: 2, stop_token: eos, top_k: 200}
ppo: {num_ppo_epochs: 1, num_mini_batches: 2}
optimizer: {learning_rate: 1.0e-3, chunk: 2}
roles:
  reward: [{words: {happy: 1.0, sad: -1.0, friend: 0.5}}]
checkpoint: {every: 2, keep: 2}
log_level: debug
RECIPE

# The reference follows the policy.
cat >"$SCRATCH/dpo.yaml" <<RECIPE
name: dpo
algorithm: dpo
seed: 5
steps: 6
model: $MODEL
output: $SCRATCH
data: {train: [$SCRATCH/pairs.jsonl], eval: [$SCRATCH/held-out.jsonl], batch: 7}
dpo: {sync_ref_model: true, ref_model_sync_steps: 2}
optimizer: {learning_rate: 3.0e-4, chunk: 1}
checkpoint: {every: 3, keep: 2}
RECIPE
head -n 5 examples/data/held-out-pairs.jsonl >"$SCRATCH/held-out.jsonl"

# Pairs without what was rejected are prompts with completions.
sed 's/"chosen": /"completion": /; s/, "rejected": .*/}/' "$SCRATCH/pairs.jsonl" >"$SCRATCH/rows.jsonl"
cat >"$SCRATCH/sft.yaml" <<RECIPE
name: sft
algorithm: sft
seed: 5
steps: 12
model: $MODEL
from_scratch: true
output: $SCRATCH
data: {train: [$SCRATCH/rows.jsonl], batch: 7}
optimizer: {learning_rate: 4.0e-3, chunk: 1}
checkpoint: {every: 6, keep: 2}
RECIPE

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    local recipe=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$name.out" "$SCRATCH/$name"/logs/*.log
    fail "the run '$name' failed"
}

# start RECIPE NAME [KEY=VALUE...]: in the background; sets RUN and JOB.
start()
{
    RUN=$SCRATCH/$2
    "$TROUPE" run "$SCRATCH/$1.yaml" "name=$2" "${@:3}" >"$RUN.out" 2>&1 &
    JOB=$!
}

# ranks N STAGE: what a recipe with a critic says of both roles.
ranks()
{
    local role
    for role in actor critic; do
        echo "roles.$role.ranks=$1 roles.$role.zero_stage=$2"
    done
}

# actor_ranks N STAGE: what a recipe without one says.
actor_ranks()
{
    echo "roles.actor.ranks=$1 roles.actor.zero_stage=$2"
}

# all_same A B SENTENCE: two runs ended with the same bytes, and said the same of every step.
all_same()
{
    same "$SCRATCH/$1" "$SCRATCH/$2" "$3"
    [ "$(timeless "$SCRATCH/$1")" = "$(timeless "$SCRATCH/$2")" ] || fail "$3: other metrics"
}

# last_loss RUN
last_loss()
{
    tail -n 1 "$1/metrics.jsonl" | sed -E 's/.*"loss": ([^,]*),.*/\1/'
}

# near A B: the loss of both fell to nearly the same.
near()
{
    local first
    first=$(head -n 1 "$1/metrics.jsonl" | sed -E 's/.*"loss": ([^,]*),.*/\1/')
    awk -v first="$first" -v a="$(last_loss "$1")" -v b="$(last_loss "$2")" \
        'BEGIN { exit !(a < first - 1 && b < first - 1 && (a - b) ^ 2 < 1e-6) }' ||
        fail "the loss fell from $first to $(last_loss "$1") and $(last_loss "$2")"
    say "$(basename "$2"): the loss fell from $first to $(last_loss "$2"), near $(last_loss "$1")"
}

# rank_of RUN ROLE RANK: its process.
rank_of()
{
    local files
    files=$(grep -lszx "TROUPE_NAME=$2" /proc/[0-9]*/environ | xargs grep -lsz "^TROUPE_ENDPOINT=ipc://$1/")
    [ -n "$files" ] || return 1
    # shellcheck disable=SC2086 # one word a file
    files=$(grep -lszxE "(OMPI_COMM_WORLD|PMIX)_RANK=$3" $files | head -n 1)
    [ -n "$files" ] && basename "$(dirname "$files")"
}

# Without the module there is one clear sentence, and nothing starts.
mkdir "$SCRATCH/bin"
cp "$BUILD"/bin/troupe "$BUILD"/bin/troupe-* "$SCRATCH/bin"
rm -f "$SCRATCH/bin/troupe-mpi.so"
"$SCRATCH/bin/troupe" run "$SCRATCH/sft.yaml" name=none roles.actor.ranks=2 >"$SCRATCH/none.out" 2>&1 &&
    fail "two ranks without MPI pass"
grep -q '^roles.actor.ranks: 2 needs MPI, and this build has none' "$SCRATCH/none.out" ||
    fail "no sentence: $(tail -n 1 "$SCRATCH/none.out")"
say "no MPI: $(tail -n 1 "$SCRATCH/none.out")"

need_mpi

# shellcheck disable=SC2046 # a word an override
{
    run ppo ppo
    run ppo two $(ranks 2 1)
    all_same ppo two "PPO, two ranks, moments sharded"
    run ppo four $(ranks 4 3)
    all_same ppo four "PPO, four ranks, parameters sharded"

    start ppo killed $(ranks 2 2)
    wait_for "no second step" has_steps "$RUN" 2
    kill -9 "$(rank_of "$RUN" actor 1)" || fail "rank 1 of the actor could not be killed"
    wait "$JOB" || fail "the run failed: $(tail -n 1 "$RUN.out")"
    grep -q 'back to the last checkpoint' "$RUN/logs/controller.log" || fail "rank 1 was killed, and the run did not go back"
    all_same ppo killed "PPO, a rank killed"

    start ppo resumed $(ranks 2 1)
    wait_for "no first step" has_steps "$RUN" 1
    kill -TERM "$JOB"
    wait "$JOB" && fail "a stopped run exits 0"
    sed -i 's/ranks: 2/ranks: 1/' "$RUN/recipe.yaml"
    "$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
    all_same ppo resumed "PPO, a checkpoint of two ranks resumed with one"

    run dpo dpo
    run dpo three $(actor_ranks 3 3)
    all_same dpo three "DPO, three ranks, parameters sharded"

    run sft sft
    run sft sft_two $(actor_ranks 2 2)
    all_same sft sft_two "SFT, two ranks"
    run sft sft_bf16 precision=bf16
    run sft sft_bf16_two precision=bf16 $(actor_ranks 2 3)
    all_same sft_bf16 sft_bf16_two "SFT in bf16, two ranks, parameters sharded"
    for name in qwen3_moe qwen3_next; do # each rank balances the experts of its own chunks
        shape $name
        run sft "$name-one" model="$SCRATCH/$name"
        run sft "$name-three" model="$SCRATCH/$name" $(actor_ranks 3 3)
        all_same "$name-one" "$name-three" "SFT of $name, three ranks, parameters sharded"
    done
    for stage in 1 3; do
        run sft "sum_$stage" $(actor_ranks 3 $stage) roles.actor.gradient_sum=all_reduce
        near "$SCRATCH/sft" "$SCRATCH/sum_$stage"
    done
}

# Open MPI is told of the machines as its users tell it, and goes to the other one by this instead of ssh.
imitate_machine || {
    say "ranks on two machines: not tried, for that needs root, and iproute2"
    exit 0
}
printf '%s slots=1\n' "$HERE" "$THERE" >"$SCRATCH/hostfile"
{
    echo '#!/usr/bin/env bash'
    declare -f elsewhere
    echo 'echo "$1" >>"$0.log"'
    echo 'elsewhere sh -c "${*:2}"'
} >"$SCRATCH/go"
chmod +x "$SCRATCH/go"
export OMPI_MCA_orte_default_hostfile=$SCRATCH/hostfile OMPI_MCA_plm_rsh_agent=$SCRATCH/go
export PRTE_MCA_prte_default_hostfile=$SCRATCH/hostfile PRTE_MCA_plm_ssh_agent=$SCRATCH/go
# shellcheck disable=SC2046 # a word an override
run ppo machines $(ranks 2 3)
grep -qxF "$THERE" "$SCRATCH/go.log" || fail "no rank was on the other machine"
all_same ppo machines "PPO, ranks on two machines"
