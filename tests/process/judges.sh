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
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 24}
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
    echo "{exec: [$PYTHON, $PWD/tests/process/naughty_judge.py, $1, $2], name: judge, $3}"
}

recipe good "{exec: [$PYTHON, $PWD/examples/rewards/happy_words.py], name: judge}"
ends_well good
grep -q '"judge/judge/happy_words"' "$SCRATCH/good/metrics.jsonl" || fail "the judge's extras are not in the metrics"
! grep -v '"exact/logprob_mismatch": 0,' "$SCRATCH/good/metrics.jsonl" || fail "a logprob_mismatch is not 0"
head -n 1 "$SCRATCH/good/metrics.jsonl" | grep -q '"objective/kl": 0,' ||
    fail "the KL of the reference with itself is not 0"

# In JavaScript, by the same words and from the same page: its ids and scores are doubles, and the run's bytes the same.
if (cd examples/rewards && node -e 'require("zeromq"); require("@msgpack/msgpack")') 2>/dev/null; then
    recipe script "{exec: [node, $PWD/examples/rewards/happy_words.js], name: judge}"
    ends_well script
    same "$SCRATCH/good" "$SCRATCH/script" "a judge in JavaScript"
    grep -q '"judge/judge/happy_words"' "$SCRATCH/script/metrics.jsonl" || fail "the extras of the judge in JavaScript are not in the metrics"
else
    echo "   (no judge in JavaScript: node, zeromq or @msgpack/msgpack is missing)"
fi

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

# One that hangs is killed when its deadline and the limit of silence are over.
recipe hung "$(naughty hang "$SCRATCH/hung.marker" 'timeout_s: 2, retries: 20')"
ends_well hung
grep -q 'process=judge-0 "gave no sign of life and was killed' "$SCRATCH/hung/logs/supervisor.log" || fail "the judge that hangs is not killed"
same "$SCRATCH/good" "$SCRATCH/hung" "a judge that hung"

# A judge that never works ends the run, in its own words, with its log and the request.
for manner in nan text raise; do
    recipe always_$manner "$(naughty $manner always 'retries: 1')"
    run always_$manner && fail "a judge that always is '$manner' passes"
    out=$SCRATCH/always_$manner.out
    log=$SCRATCH/always_$manner/logs/judge-0.log request=$SCRATCH/always_$manner/logs/failed-request.json
    tail -n 1 "$out" | grep -q "judge.*(failed 2 times; its log: $log; the request: $request)" ||
        fail "the last sentence does not say who failed at what: $(tail -n 1 "$out")"
    grep -q '"response"' "$request" || fail "'$manner': the request is not kept"
    [ "$(grep -c '^failed, and is tried again: .*judge' "$out")" -eq 1 ] || fail "'$manner': the first failure is not on the terminal: $(cat "$out")"
    say "always '$manner': $(tail -n 1 "$out")"
done
sed -n "/^the end of '.*judge-0.log':/,\$p" "$SCRATCH/always_raise.out" | grep -q 'in judge' || fail "the traceback is not on the terminal"
tail -n 1 "$SCRATCH/always_raise.out" | grep -q 'RuntimeError: bad mood' || fail "the judge's own words are not said"

# One that is waited for, as the recipe asks, is seen in the status.
recipe waited "$(naughty raise always 'retries: 1, on_failure: wait')"
"$TROUPE" run "$SCRATCH/waited.yaml" >"$SCRATCH/waited.out" 2>&1 &
JOB=$!
status_says()
{
    "$TROUPE" status "$SCRATCH/waited" 2>&1 | grep -q -- "$1"
}
wait_for "the status has no failure" status_says 'failure reward worker .judge-0.*bad mood'
wait_for "the status does not say who is waited for" status_says 'waits_for .*score  for [0-9.]* s'
kill -INT "$JOB" && wait_for "Ctrl-C is not seen" grep -q 'is to end: SIGINT' "$SCRATCH/waited/logs/supervisor.log"
kill -INT "$JOB" && wait "$JOB" # a second one: the step never ends
grep -q 'waits for .*: score' "$SCRATCH/waited/logs/controller.log" || fail "the log does not say who is waited for"
say "a judge that is waited for is seen"

recipe absent "{exec: [/bin/false], name: judge}"
run absent && fail "a judge that never starts passes"
tail -n 1 "$SCRATCH/absent.out" | grep -q judge-0 || fail "the worker that fails is not named: $(tail -n 1 "$SCRATCH/absent.out")"
say "a program that ends at once: $(tail -n 1 "$SCRATCH/absent.out")"

# Null: a response that the judge cannot score. PPO needs a score of each; what chooses among responses leaves it out.
recipe nulls "$(naughty nulls always '')"
run nulls && fail "PPO trains on responses without a score"
grep -q "no judge could score a response to the prompt" "$SCRATCH/nulls.out" || fail "PPO does not say which prompt: $(tail -n 2 "$SCRATCH/nulls.out")"
for algorithm in online_dpo rejection_sampling sample; do
    "$TROUPE" run "$SCRATCH/nulls.yaml" name=nulls_$algorithm algorithm=$algorithm generation.samples=4 steps=1 data.batch=6 ppo=null optimizer=null \
        >"$SCRATCH/nulls_$algorithm.out" 2>&1 || fail "'$algorithm' with nulls: $(tail -n 3 "$SCRATCH/nulls_$algorithm.out")"
done
"$PYTHON" - "$SCRATCH" <<'PYTHON' || fail "nulls are not left out and counted"
import json, statistics, sys
scores = [None if i % 3 == 0 else float(i % 7) for i in range(24)]
scored = [s for s in scores if s is not None]
for algorithm in ("online_dpo", "rejection_sampling", "sample"):
    first = json.loads(open(f"{sys.argv[1]}/nulls_{algorithm}/metrics.jsonl").readline())
    assert first["rewards/judge/unscored"] == 8, first
    assert abs(first["rewards/judge/mean"] - statistics.mean(scored)) < 1e-9, first
    assert abs(first["objective/scores_std"] - statistics.stdev(scored)) < 1e-9, first
    groups = [[s for s in scores[4 * i : 4 * i + 4] if s is not None] for i in range(6)]
    assert abs(first["objective/scores_margin"] - statistics.mean(max(g) - min(g) for g in groups)) < 1e-9, first
samples = [json.loads(line)["score"] for line in open(f"{sys.argv[1]}/nulls_sample/samples.jsonl")]
assert samples == scores, samples
PYTHON
recipe all_null "$(naughty null always '')"
for algorithm in online_dpo rejection_sampling; do
    "$TROUPE" run "$SCRATCH/all_null.yaml" name=all_null_$algorithm algorithm=$algorithm generation.samples=4 steps=1 data.batch=6 ppo=null \
        >"$SCRATCH/all_null.out" 2>&1 || fail "'$algorithm' of nulls alone: $(tail -n 3 "$SCRATCH/all_null.out")"
    cmp -s "$MODEL/model.safetensors" "$SCRATCH/all_null_$algorithm/final/model.safetensors" || fail "'$algorithm' learns what nobody scored"
done
say "null is left out where responses are chosen, and refused by PPO: $(grep 'no judge could' "$SCRATCH/nulls.out" | tail -n 1)"

# By hand, against a running group, with garbage on the socket before.
recipe by_hand "{external: judge}"
run by_hand &
JOB=$!
wait_for "no controller" test -s "$SCRATCH/by_hand/endpoint"
ENDPOINT=$(cat "$SCRATCH/by_hand/endpoint")
"$PYTHON" - "$ENDPOINT" <<'PYTHON'
import msgpack, os, sys, zmq
socket = zmq.Context.instance().socket(zmq.DEALER)
socket.connect(sys.argv[1])
for size in (0, 1, 5, 100, 70000):
    socket.send(os.urandom(size))
    socket.send_multipart([os.urandom(size), os.urandom(size)])
socket.send(b"\xdf\xff\xff\xff\xff")
socket.close(linger=2000)
# A stray worker of a role that the run has once is refused, and its leaving is nobody's loss.
for role, name in [(role, name) for role in ("actor", "critic") for name in (role, "stray")] * 2:
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(sys.argv[1])
    socket.send(msgpack.packb({"type": "register", "body": {"role": role, "name": name, "instance": "1", "protocol": [1, 0]}}))
    answer = msgpack.unpackb(socket.recv())
    socket.send(msgpack.packb({"type": "bye"}))
    socket.close(linger=2000)
    if answer["type"] != "refused" or f"the {role} is the worker that this run started" not in answer["body"]["text"]:
        sys.exit(f"a stray {role} is answered {answer}")
PYTHON
[ $? -eq 0 ] || fail "a stray worker is let in"
"$PYTHON" examples/rewards/happy_words.py --connect "$ENDPOINT" --group judge --name mine >"$SCRATCH/mine.out" 2>&1 &
MINE=$!
wait "$JOB" || fail "the run with a judge started by hand failed: $(tail -n 3 "$SCRATCH/by_hand.out")"
wait "$MINE" || fail "the judge started by hand did not leave in peace: $(cat "$SCRATCH/mine.out")"
same "$SCRATCH/good" "$SCRATCH/by_hand" "a judge started by hand, after garbage"
