#!/usr/bin/env bash
# Two machines: rollouts on the other one join by TCP, with keys, and get the weights from the actor; ranks of a role are on both. The
# run ends with the bytes of one on a single machine, also when such a rollout or the actor dies. The other machine has a
# network, shared memory and a name of its own; processor and files are this one's.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ "${BUILD#/}" = "$BUILD" ] && BUILD=$PWD/$BUILD
command -v ip >/dev/null || skip "there is no 'ip' (iproute2)"
export OTHER=troupe-$$
HERE=10.231.$(($$ % 250)).1
THERE=${HERE%1}2

part()
{
    clean_up
    ip netns del "$OTHER" 2>/dev/null
}
trap part EXIT

link_machines()
{
    ip netns add "$OTHER" && ip link add "tr$$" type veth peer name there netns "$OTHER" && ip addr add "$HERE/24" dev "tr$$" &&
        ip link set "tr$$" up && ip -n "$OTHER" addr add "$THERE/24" dev there && ip -n "$OTHER" link set there up &&
        ip -n "$OTHER" link set lo up
}

# elsewhere COMMAND...: on the other machine.
elsewhere()
{
    exec ip netns exec "$OTHER" unshare --mount --uts sh -c \
        'hostname "$OTHER" && mount -t tmpfs -o size=64m none /dev/shm && exec "$@"' sh "$@"
}
link_machines 2>/dev/null && (elsewhere true) 2>/dev/null || skip "another machine cannot be imitated (this needs root)"

cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: base
algorithm: ppo
seed: 7
steps: 8
model: $MODEL
output: $SCRATCH
data: {prompts: [examples/data/openings.jsonl], batch: 4}
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
    wait_for "the run does not say how to start rollouts" grep -q 'is yours to start' "$RUN.out"
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
    grep 'rollout-0 is yours to start' "$RUN.out" | grep -qF -- "$1" || fail "'$1' is not printed: $(cat "$RUN.out")"
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

# Two; one is killed, another takes its place; then the actor is killed, and serves at another port.
start deaths roles.rollout.external=2 roles.rollout.workers=2
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
wait_for "no rollout leaves" grep -q 'leaving for 5 seconds' "$RUN.rollout-0"
join rollout-1 env
finish
grep -q 'worker=rollout-0 "lost: .*rollouts elsewhere need network.bind: tcp://' "$RUN/logs/controller.log" ||
    fail "the controller does not say why it left: $(cat "$RUN/logs/controller.log")"
same "$SCRATCH/base" "$RUN" "a rollout that cannot get the weights, and another"

# Ranks: Open MPI is told of the machines as its users tell it, and goes to the other one by this instead of ssh.
need_mpi
printf '%s slots=1\n' "$HERE" "$THERE" >"$SCRATCH/machines"
{
    echo '#!/usr/bin/env bash'
    declare -f elsewhere
    echo 'echo "$1" >>"$0.log"'
    echo 'elsewhere sh -c "${*:2}"'
} >"$SCRATCH/go"
chmod +x "$SCRATCH/go"
export OMPI_MCA_orte_default_hostfile=$SCRATCH/machines OMPI_MCA_plm_rsh_agent=$SCRATCH/go
export PRTE_MCA_prte_default_hostfile=$SCRATCH/machines PRTE_MCA_plm_ssh_agent=$SCRATCH/go
"$TROUPE" run "$SCRATCH/recipe.yaml" name=ranks steps=2 roles.actor.ranks=2 roles.critic.ranks=2 roles.critic.zero_stage=3 \
    >"$SCRATCH/ranks.out" 2>&1 || fail "the ranks failed: $(tail -n 5 "$SCRATCH/ranks.out" "$SCRATCH"/ranks/logs/*)"
grep -qxF "$THERE" "$SCRATCH/go.log" || fail "no rank was on the other machine"
"$TROUPE" run "$SCRATCH/recipe.yaml" name=alone steps=2 >"$SCRATCH/alone.out" 2>&1 || fail "a run of two steps failed"
same "$SCRATCH/alone" "$SCRATCH/ranks" "ranks on two machines"
