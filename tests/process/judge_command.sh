#!/usr/bin/env bash
# `troupe judge`: rules and programs tried without a run. What is wrong with a judge is said in a sentence, with exit code 1 or more, and
# nothing is left behind.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON=/usr/bin/python3
"$PYTHON" -c 'import zmq, msgpack' 2>/dev/null || skip "$PYTHON lacks pyzmq or msgpack"

# try WANTED ENTRY [ARGUMENT...]: 0 or 1, whether the judge passes; its output lies in out.
try()
{
    local wanted=$1 got
    shift
    "$TROUPE" judge "$@" >"$SCRATCH/out" 2>&1
    got=$?
    [ "$((got != 0))" -eq "$wanted" ] || fail "troupe judge $*: exit code $got: $(cat "$SCRATCH/out")"
}

says()
{
    grep -qF -- "$1" "$SCRATCH/out" || fail "'$1' is not said: $(cat "$SCRATCH/out")"
}

naughty()
{
    echo "exec: [$PYTHON, $PWD/tests/process/naughty_judge.py, $1, always], timeout_s: ${2:-100}"
}

# A rule, and rows of the user's: texts and conversations, scores and nulls.
cat >"$SCRATCH/rows.jsonl" <<'ROWS'
{"prompt": "1+1", "completion": "#### 2", "answer": "2"}
{"prompt": [{"role": "user", "content": "1+1"}], "completion": [{"role": "assistant", "content": "#### 3"}], "answer": "2"}
{"prompt": "1+1", "completion": "#### 2", "answer": null}
ROWS
try 0 '{exact_answer: answer, weight: 2}' --rows "$SCRATCH/rows.jsonl" --out "$SCRATCH/scores.jsonl"
says '         1  1+1 > #### 2'
says '      null  1+1 > #### 2'
says 'mean 0.5, std 0.707107, null 1 of 3'
says 'ok       an empty response: 0,'
says '0 problems'
"$PYTHON" - "$SCRATCH" <<'PYTHON' || fail "the scores are not written beside the rows"
import json, sys
rows, scored = ([json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")] for name in ("rows", "scores"))
assert scored == [{**row, "score": score} for row, score in zip(rows, [1.0, 0.0, None])], scored
PYTHON
# Tokens are those of a model, or characters.
try 0 --brief 'length: {target: 6}' --rows "$SCRATCH/rows.jsonl"
says 'mean 1, std 0'
echo '{"prompt": "It", "completion": " was a"}' >"$SCRATCH/words.jsonl"
tokens=$("$TROUPE" tokenize --model "$MODEL" --no-special <<<'"a was a"' | "$PYTHON" -c 'import json; print(len(json.loads(input())) - 1)')
[ "$tokens" -lt 6 ] || fail "the model has no token for a word"
try 0 --brief "length: {min: $tokens, max: $tokens}" --rows "$SCRATCH/words.jsonl" --model "$MODEL"
says 'mean 1, std 0'
say "a rule is tried"

# Programs: one that is well, and each way to be unwell.
try 0 "exec: [$PYTHON, $PWD/examples/rewards/happy_words.py]"
says 'happy_words: [0, 0, 0, 0]'
says 'ok       each row again, alone: the same scores'
for case in 'nan 100 NaN is not allowed' 'short 100 expected 4 elements, found 3' 'text 100 scores: expected an array, found a string' \
    'raise 100 RuntimeError: bad mood' 'die 100 exited with code 3' 'slow 1 in 1 seconds (timeout_s)'; do
    read -r manner seconds words <<<"$case"
    try 1 "$(naughty "$manner" "$seconds")"
    says "$words"
    say "'$manner': $(tail -n 1 "$SCRATCH/out")"
done
try 0 "$(naughty null)"
says 'null 4 of 4'
try 1 "$(naughty moody)"
says 'among others and'
says 'a run with this judge cannot be repeated'
try 1 "$(naughty picky)"
says 'PROBLEM  an empty response: '
says 'IndexError'
says 'the judge has 2 problems'
try 1 'exec: [/bin/false]'
says 'its process exited with code 1'
try 1 "exec: [$PYTHON, $SCRATCH/none.py]"
says "cannot read the script"
say "programs are tried"

# By hand.
"$TROUPE" judge --brief 'external: mine, timeout_s: 100' >"$SCRATCH/out" 2>&1 &
JOB=$!
wait_for "it is not said how to start the judge" grep -q 'start the judge: ' "$SCRATCH/out"
place=$(sed -n 's/.*TROUPE_ENDPOINT=\([^ ]*\).*/\1/p' "$SCRATCH/out")
"$PYTHON" examples/rewards/happy_words.py --connect "$place" --group mine >"$SCRATCH/mine.out" 2>&1 &
wait "$JOB" || fail "the judge started by hand is not asked: $(cat "$SCRATCH/out")"
says '4 samples in'
directory=${place#ipc://}
[ ! -e "${directory%/*}" ] || fail "'${directory%/*}' is left behind"

# Mistakes of the caller.
try 1 'exact_answer: anser'
says "the row has no column 'anser' (it has: 'answer')"
try 1 'exact: answer'
says 'expected one of exec, model, exact_answer'
try 1 'cosine: {column: answer}'
says 'cosine.max_len: expected a length above 0, found none'
echo '{"prompt": "x"}' >"$SCRATCH/bad.jsonl"
try 1 'format: think' --rows "$SCRATCH/bad.jsonl"
says "bad.jsonl:1: expected a JSON object with 'prompt' and 'completion'"
say "mistakes are named"
