#!/usr/bin/env bash
# `troupe run` and `troupe resume` with stand-ins for the daemons: who is started and how, what is printed at the end, and
# which exit code and last sentence a failure, a stop and a finished run leave.
set -u -o pipefail
troupe=${TROUPE_BUILD:-build}/bin/troupe
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin" && cp "$troupe" "$scratch/bin/troupe" || exit 1
failures=0

complain()
{
    echo "FAILED: $*"
    sed 's/^/    /' "$scratch/err"
    failures=$((failures + 1))
}

# program NAME: its shell script comes from standard input; the daemons lie beside the command.
program()
{
    { echo '#!/bin/bash'; cat; } >"$scratch/bin/$1"
    chmod +x "$scratch/bin/$1"
}

# Each worker leaves a line about itself in the FIFO and stays.
for role in actor critic rollout reward; do
    program "troupe-$role" <<'SH'
exec 9<>"$NEWS"
echo "$(basename "$0")${*:+ $*} name=$TROUPE_NAME group=$TROUPE_GROUP endpoint=$TROUPE_ENDPOINT keys=${TROUPE_KEYS-none}" >&9
read -r _ < <(sleep 600)
SH
done

cat >"$scratch/recipe.yaml" <<YAML
name: run
algorithm: ppo
steps: 2
model: $PWD/examples/models/stories
output: $scratch/runs
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 2}
roles:
  rollout: {workers: 2}
  reference: {separate: true}
  reward:
    - {exec: [$scratch/bin/troupe-reward, --judge], name: program, workers: 2}
    - {words: {happy: 1.0}}
    - {external: stranger}
YAML
export NEWS="$scratch/news" UP="$scratch/up" # what workers tell the controller, and the controller us
mkfifo "$NEWS" "$UP"
exec 9<>"$NEWS" 8<>"$UP"
export TROUPE_KEYS=left-over TROUPE_GROUP=left-over TROUPE_NAME=left-over

# The controller waits for eight workers, as far as this one is a run for ppo, then does what $SCENE says.
program troupe-controller <<'SH'
exec 9<>"$NEWS"
directory=${!#}
echo "controller $* endpoint=${TROUPE_ENDPOINT-none}" >>"$directory/seen"
echo "tcp://127.0.0.1:1" >"$directory/endpoint.tmp"
mv "$directory/endpoint.tmp" "$directory/endpoint"
for ((i = 0; i < WORKERS; i++)); do
    read -r line <&9 && echo "$line" >>"$directory/seen"
done
echo "progress"
case $SCENE in
succeed)
    printf '%s\n' '{"step": 1, "prompt": "one", "response": " day\u001b[2J", "score": 0.5, "finish": "eos"}' \
        '{"step": 2, "prompt": "two", "response": " birds", "score": -1, "finish": "eos"}' >"$directory/samples.jsonl"
    mkdir "$directory/final" && echo {} >"$directory/final/config.json"
    ;;
fail)
    echo "troupe-controller: the disk is full" >&2
    exit 13
    ;;
wait)
    trap 'exit 21' TERM
    echo up >"$UP"
    while :; do read -r -t 600 _ < <(sleep 600); done
    ;;
esac
SH

# run SCENE WORKERS ARGUMENT...: the exit code in $code.
run()
{
    SCENE=$1 WORKERS=$2 "$scratch/bin/troupe" "${@:3}" >"$scratch/out" 2>"$scratch/err" </dev/null
    code=$?
}

expect()
{
    [ "$code" -eq "$1" ] || complain "$2: exit code $code instead of $1"
}

printed()
{
    grep -qF -- "$1" "$scratch/out" || complain "'$1' is not printed"
}

said_last()
{
    tail -n 1 "$scratch/err" | grep -qF -- "$1" || complain "'$1' is not said last"
}

nobody_left()
{
    ! grep -qsF "$scratch/bin/troupe-" /proc/[0-9]*/cmdline || complain "a daemon is left"
}

# A whole run
run succeed 8 run "$scratch/recipe.yaml"
expect 0 "a run that succeeds"
cat >"$scratch/expected" <<TEXT
controller $scratch/runs/run endpoint=none
troupe-actor name=actor group=actor endpoint=tcp://127.0.0.1:1 keys=none
troupe-actor --role reference name=reference group=reference endpoint=tcp://127.0.0.1:1 keys=none
troupe-critic name=critic group=critic endpoint=tcp://127.0.0.1:1 keys=none
troupe-reward --judge name=program-0 group=program endpoint=tcp://127.0.0.1:1 keys=none
troupe-reward --judge name=program-1 group=program endpoint=tcp://127.0.0.1:1 keys=none
troupe-reward name=words-0 group=words endpoint=tcp://127.0.0.1:1 keys=none
troupe-rollout name=rollout-0 group=rollout endpoint=tcp://127.0.0.1:1 keys=none
troupe-rollout name=rollout-1 group=rollout endpoint=tcp://127.0.0.1:1 keys=none
TEXT
diff <(LC_ALL=C sort "$scratch/expected") <(LC_ALL=C sort "$scratch/runs/run/seen") || complain "other processes than expected"
printed "progress"
printed "TROUPE_ENDPOINT=tcp://127.0.0.1:1 TROUPE_GROUP=stranger"
printed "before (step 1)"
printed "one > day [2J"
printed "after (step 2)"
printed "two > birds"
printed "$scratch/runs/run/final"
[ ! -e "$scratch/runs/run/endpoint" ] || complain "the endpoint of a run that ended is left"
nobody_left

run succeed 0 resume "$scratch/runs/run"
expect 0 "a finished run"
printed "the run is finished"
run succeed 8 run "$scratch/recipe.yaml"
expect 11 "a second run of the same name"

run succeed 0 check "$scratch/recipe.yaml" name=twins "roles.reward=[{words: {happy: 1}, name: rollout}]"
expect 11 "a judge whose worker bears the name of another"
said_last "'rollout-0'"

# A run that fails, and goes on; sft needs the actor alone.
sft=("$scratch/recipe.yaml" name=sft algorithm=sft data.train=[examples/data/openings.jsonl] data.text_column=prompt
    data.prompts=[] roles={})
run fail 1 run "${sft[@]}"
expect 13 "a run that fails"
said_last "the disk is full"
[ "$(wc -l <"$scratch/runs/sft/seen")" -eq 2 ] || complain "sft starts more than the actor"
nobody_left
run succeed 1 resume "$scratch/runs/sft"
expect 0 "a resumed run"
grep -qF "controller --resume $scratch/runs/sft" "$scratch/runs/sft/seen" || complain "the controller is not told to resume"

# A run that is stopped
SCENE=wait WORKERS=1 "$scratch/bin/troupe" run "${sft[@]}" name=stopped >"$scratch/out" 2>"$scratch/err" &
pid=$!
read -r -t 20 line <&8 && [ "$line" = up ] || complain "the run does not start"
kill -TERM "$pid"
wait "$pid"
code=$?
expect 21 "a run that is stopped"
said_last "troupe resume $scratch/runs/stopped"
nobody_left

# A daemon that cannot run, and one that was not built
program troupe-actor <<'SH'
echo "no memory for the weights" >&2
exit 12
SH
run wait 1 run "${sft[@]}" name=hopeless
expect 18 "a worker that keeps failing"
said_last "worker 'actor'"
said_last "no memory for the weights"
nobody_left
rm "$scratch/bin/troupe-actor"
run wait 1 run "${sft[@]}" name=unbuilt
expect 13 "a daemon that was not built"
said_last "troupe-actor"
[ ! -e "$scratch/runs/unbuilt" ] || complain "a run that cannot start leaves a directory"

[ "$failures" -eq 0 ]
