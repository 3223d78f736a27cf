#!/usr/bin/env bash
# Any process is the judge: one in Python, started by the recipe or by hand, killed, slow, dying or talking nonsense. Whatever it
# does, the run ends with the same bytes, or with an error that names it; never with a score that nobody gave.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON=/usr/bin/python3
"$PYTHON" -c 'import zmq, msgpack' 2>/dev/null || skip "$PYTHON lacks pyzmq or msgpack"

# recipe NAME JUDGE: the recipe of a short run with this judge.
recipe()
{
    cat >"$SCRATCH/$1.yaml" <<RECIPE
name: $1
algorithm: ppo
seed: 3
steps: 3
model: $MODEL
output: $SCRATCH
data: {prompts: [examples/data/openings.jsonl], batch: 24}
generation: {temperature: 1.0, max_new_tokens: 12, stop_token: eos}
ppo: {num_ppo_epochs: 1}
optimizer: {learning_rate: 1.0e-3}
roles: {reward: [$2]}
RECIPE
}

# run NAME: its exit code; the output lies in NAME.out.
run()
{
    "$TROUPE" run "$SCRATCH/$1.yaml" >"$SCRATCH/$1.out" 2>&1
}

ends_well()
{
    run "$1" || {
        tail -n 5 "$SCRATCH/$1.out" "$SCRATCH/$1"/logs/*.log
        fail "the run '$1' failed"
    }
}

naughty()
{
    echo "{exec: [$PYTHON, tests/process/naughty_judge.py, $1, $2], name: judge, $3}"
}

recipe good "{exec: [$PYTHON, examples/rewards/happy_words.py], name: judge}"
ends_well good
grep -q '"judge/judge/happy_words"' "$SCRATCH/good/metrics.jsonl" || fail "the judge's extras are not in the metrics"
! grep -v '"exact/logprob_mismatch": 0,' "$SCRATCH/good/metrics.jsonl" || fail "a logprob_mismatch is not 0"
head -n 1 "$SCRATCH/good/metrics.jsonl" | grep -q '"objective/kl": 0,' ||
    fail "the KL of the reference with itself is not 0"

recipe prompts "$(naughty prompt always "weight: 1.0")"
"$TROUPE" run "$SCRATCH/prompts.yaml" generation.samples=2 samples.every=1 samples.count=48 >"$SCRATCH/prompts.out" 2>&1 ||
    fail "the run 'prompts' failed: $(tail -n 3 "$SCRATCH/prompts.out")"
"$PYTHON" - "$SCRATCH/prompts/samples.jsonl" <<'CHECK' || fail "a response was not judged with its own prompt"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
sys.exit(len(rows) != 3 * 48 or len({row["prompt"] for row in rows}) < 20 or any(row["score"] != len(row["prompt"]) for row in rows))
CHECK
say "every response is judged with its own prompt"

for manner in nan short text raise die slow long; do
    recipe $manner "$(naughty $manner "$SCRATCH/$manner.marker" "timeout_s: $([ $manner = long ] && echo 60 || echo 2)")"
    ends_well $manner
    same "$SCRATCH/good" "$SCRATCH/$manner" "a judge that once was '$manner'"
done
for manner in nan short text raise; do
    grep -q "warn.*'judge\(-0\)\?'" "$SCRATCH/$manner/logs/controller.log" || fail "'$manner': the judge is not named in the log"
done
! grep -E 'silent|lost|failures' "$SCRATCH/long/logs/controller.log" || fail "a judge that computes for 12 s is not left alone"
grep -q 'judge-0: .*3' "$SCRATCH/die/logs/supervisor.log" || grep -q 'judge-0' "$SCRATCH/die/logs/supervisor.log" ||
    fail "the supervisor does not say how the judge ended"

for manner in nan text raise; do
    recipe always_$manner "$(naughty $manner always 'retries: 1, on_failure: fail')"
    run always_$manner && fail "a judge that always is '$manner' passes"
    tail -n 1 "$SCRATCH/always_$manner.out" | grep -q judge ||
        fail "the last sentence does not name the judge: $(tail -n 1 "$SCRATCH/always_$manner.out")"
    say "always '$manner': $(tail -n 1 "$SCRATCH/always_$manner.out")"
done

recipe absent "{exec: [/bin/false], name: judge}"
run absent && fail "a judge that never starts passes"
tail -n 1 "$SCRATCH/absent.out" | grep -q judge-0 || fail "the worker that fails is not named: $(tail -n 1 "$SCRATCH/absent.out")"
say "a program that ends at once: $(tail -n 1 "$SCRATCH/absent.out")"

# By hand, against a running group, with garbage on the socket before.
recipe by_hand "{external: judge}"
run by_hand &
JOB=$!
wait_for "no controller" test -s "$SCRATCH/by_hand/endpoint"
ENDPOINT=$(cat "$SCRATCH/by_hand/endpoint")
"$PYTHON" - "$ENDPOINT" <<'PYTHON'
import os, sys, zmq
socket = zmq.Context.instance().socket(zmq.DEALER)
socket.connect(sys.argv[1])
for size in (0, 1, 5, 100, 70000):
    socket.send(os.urandom(size))
    socket.send_multipart([os.urandom(size), os.urandom(size)])
socket.send(b"\xdf\xff\xff\xff\xff")
socket.close(linger=2000)
PYTHON
"$PYTHON" examples/rewards/happy_words.py --connect "$ENDPOINT" --group judge --name mine >"$SCRATCH/mine.out" 2>&1 &
MINE=$!
wait "$JOB" || fail "the run with a judge started by hand failed: $(tail -n 3 "$SCRATCH/by_hand.out")"
wait "$MINE" || fail "the judge started by hand did not leave in peace: $(cat "$SCRATCH/mine.out")"
same "$SCRATCH/good" "$SCRATCH/by_hand" "a judge started by hand, after garbage"
