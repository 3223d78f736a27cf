#!/usr/bin/env bash
# Next-token training from fresh weights: the loss falls, eval_loss is there, and a run is a function of recipe, data and seed,
# whatever is killed or stopped; prompts with completions are learnt too; a response ends as rows do; a bad row ends the run by its file and line.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

# 196 rows are 24 batches of 8 and one of 4.
python3 examples/models/make_corpus.py "$SCRATCH/stories.jsonl" --count 196 || fail "no corpus"
head -n 24 "$SCRATCH/stories.jsonl" >"$SCRATCH/eval.jsonl"
python3 - "$SCRATCH" <<'PYTHON'
import json, sys
with open(sys.argv[1] + "/stories.jsonl", encoding="utf-8") as rows, open(sys.argv[1] + "/pairs.jsonl", "w") as pairs:
    for row in rows:
        head, _, tail = json.loads(row)["text"].partition(". ")
        json.dump({"prompt": head + ".", "completion": " " + tail}, pairs)
        pairs.write("\n")
PYTHON

# A step of a quick build takes 20 ms: there must be many of them for a kill to come before the end.
steps=120
[ -z "${TROUPE_TEST_BRIEF:-}" ] || steps=12
every=$((steps / 3))

cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: base
algorithm: sft
seed: 5
steps: $steps
model: $MODEL
from_scratch: true
output: $SCRATCH
data: {train: [$SCRATCH/stories.jsonl], eval: [$SCRATCH/eval.jsonl], batch: 8}
sft: {max_length: 64}
optimizer: {learning_rate: 4.0e-3, schedule: cosine, warmup: 2, weight_decay: 0.1, chunk: 3}
checkpoint: {every: $every, keep: 5}
RECIPE

# run NAME [KEY=VALUE...]: to the end.
run()
{
    local name=$1
    shift
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$name.out" "$SCRATCH/$name"/logs/*.log
    fail "the run '$name' failed"
}

# start NAME [KEY=VALUE...]: in the background; sets RUN and JOB.
start()
{
    RUN=$SCRATCH/$1
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$1" "${@:2}" >"$RUN.out" 2>&1 &
    JOB=$!
}

# refused NAME PLACE [KEY=VALUE...]: the run ends badly, and its last sentence names the place.
refused()
{
    local name=$1 place=$2
    shift 2
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 && fail "'$name' passes"
    tail -n 1 "$SCRATCH/$name.out" | grep -qF "$place" ||
        fail "'$name': the last sentence does not name $place: $(tail -n 1 "$SCRATCH/$name.out")"
    [ ! -e "$SCRATCH/$name/final" ] || fail "'$name' left a final model"
    say "$name: $(tail -n 1 "$SCRATCH/$name.out")"
}

run base
[ "$(wc -l <"$SCRATCH/base/metrics.jsonl")" -eq $steps ] || fail "not $steps lines of metrics"
python3 - "$SCRATCH/base/metrics.jsonl" $every <<'PYTHON' || fail "the metrics are not those of a model that learns"
import json, math, sys
every = int(sys.argv[2])
rows = [json.loads(line) for line in open(sys.argv[1])]
losses = [row["loss"] for row in rows]
assert abs(losses[0] - math.log(1024)) < 0.3, "fresh weights know nothing: %g" % losses[0]
assert losses[-1] < losses[0] - 0.5, losses
evaluated = {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}
assert sorted(evaluated) == [every, 2 * every, 3 * every], evaluated
assert evaluated[3 * every] < evaluated[every] < math.log(1024), evaluated
for row in rows:
    assert 0 < row["num_tokens"] <= 64 * 8 * row["step"] and row["grad_norm"] > 0 and row["entropy"] > 0, row
    assert math.isclose(row["epoch"], row["step"] / 25), row
assert all(a["num_tokens"] < b["num_tokens"] for a, b in zip(rows, rows[1:]))
assert [row["learning_rate"] for row in rows][1:3] == [2.0e-3, 4.0e-3], "warmup"
PYTHON
say "the loss falls, eval_loss is there"

run again roles.actor.threads=1
same "$SCRATCH/base" "$SCRATCH/again" "once more, one thread"
[ "$(timeless "$SCRATCH/base")" = "$(timeless "$SCRATCH/again")" ] || fail "other metrics the second time"
run seed seed=6
[ "$(hashes "$SCRATCH/base")" != "$(hashes "$SCRATCH/seed")" ] || fail "another seed gives the same bytes"

start killed
wait_for "no fifth step" has_steps "$RUN" 5
kill -9 "$(pid_of "$RUN" actor)" || fail "the actor could not be killed"
wait "$JOB" || {
    tail -n 5 "$RUN.out" "$RUN"/logs/*.log
    fail "the run whose actor was killed failed"
}
same "$SCRATCH/base" "$RUN" "the actor killed"
[ "$(timeless "$SCRATCH/base")" = "$(timeless "$RUN")" ] || fail "other metrics after the actor was killed"

start stopped
wait_for "no second step" has_steps "$RUN" 2
kill -TERM "$JOB"
wait "$JOB" # stopped or, on a quick machine, at its end
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
same "$SCRATCH/base" "$RUN" "stopped and resumed"
[ "$(timeless "$SCRATCH/base")" = "$(timeless "$RUN")" ] || fail "other metrics after resuming"

run bf16 precision=bf16
[ "$(hashes "$SCRATCH/base")" != "$(hashes "$SCRATCH/bf16")" ] || fail "bf16 learns what fp32 does"
start bf16_stopped precision=bf16 roles.actor.threads=1
wait_for "no second step" has_steps "$RUN" 2
kill -TERM "$JOB"
wait "$JOB" # as above
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
same "$SCRATCH/bf16" "$RUN" "bf16, stopped and resumed with one thread"

# Two epochs beside TRL's: the one row that is left after two batches of three is learnt, and weight decay spares norms.
python3 - "$SCRATCH" <<'PYTHON'
import json, sys
golden = json.load(open("tests/golden/sft_trl.json", encoding="utf-8"))
with open(sys.argv[1] + "/seven.jsonl", "w", encoding="utf-8") as out:
    out.writelines(json.dumps(row) + "\n" for row in golden["rows"])
PYTHON
[ -n "${TROUPE_TEST_BRIEF:-}" ] || {
    run trl steps=6 from_scratch=false "data.train=[$SCRATCH/seven.jsonl]" "data.eval=[]" data.batch=3 data.shuffle=false \
        optimizer.learning_rate=2.0e-3 optimizer.schedule=constant optimizer.warmup=0 optimizer.weight_decay=5.0
    python3 - "$SCRATCH/trl" <<'PYTHON' || fail "the epochs are not TRL's"
import array, json, struct, sys
golden = json.load(open("tests/golden/sft_trl.json", encoding="utf-8"))
rows = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
near = lambda a, b: abs(a - b) <= 2e-4 * abs(b)
for row, theirs in zip(rows, golden["metrics"], strict=True):
    assert all(near(row[name], value) for name, value in theirs.items()), (row, theirs)
with open(sys.argv[1] + "/final/model.safetensors", "rb") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(size))
    for name, theirs in golden["size"].items():
        begin, end = header[name]["data_offsets"]
        file.seek(8 + size + begin)
        values = array.array("f", file.read(end - begin))
        ours = (sum(x * x for x in values) / len(values)) ** 0.5
        assert abs(ours - theirs) <= 1e-5 * theirs, (name, ours, theirs)
PYTHON
    say "two epochs of TRL's SFTTrainer"
}

# newest RUN: its last checkpoint.
newest() { find "$1/checkpoints" -maxdepth 1 -name 'step-*' 2>/dev/null | sort | tail -n 1; }

# limited RUN ARGUMENT...: with a time that is over at once. The step at hand is still taken, if the actor has joined by then; else
# the time is doubled until a new checkpoint is there.
limited()
{
    local time=1 run=$1 before
    before=$(newest "$run")
    shift
    while [ "$(newest "$run")" = "$before" ]; do
        "$TROUPE" "$@" --max-time "0.$(printf %03d $time)s" >>"$run.out" 2>&1
        code=$?
        [ $code -eq 75 ] || fail "$1: a run whose time is over exits $code: $(tail -n 2 "$run.out")"
        set -- resume "$run"
        time=$((time * 2))
        [ $time -lt 1000 ] || fail "no checkpoint when the time is over: $(tail -n 2 "$run.out")"
    done
    [ "$(basename "$(newest "$run")")" = "$(printf 'step-%06d' "$(wc -l <"$run/metrics.jsonl")")" ] ||
        fail "the checkpoint of a run whose time is over is not of its last step"
}

RUN=$SCRATCH/limited
limited "$RUN" run "$SCRATCH/recipe.yaml" name=limited
cp -r "$RUN" "$SCRATCH/damaged"
"$TROUPE" resume "$RUN" --max-time 1h >>"$RUN.out" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.out")"
same "$SCRATCH/base" "$RUN" "--max-time ends a run with a checkpoint"

RUN=$SCRATCH/damaged
limited "$RUN" resume "$RUN"
damaged=$(newest "$RUN")/optimizer.safetensors
truncate -s -1 "$damaged"
"$TROUPE" resume "$RUN" >"$RUN.resumed" 2>&1 || fail "resume failed: $(tail -n 1 "$RUN.resumed")"
grep -q "damaged: .*${damaged#"$RUN"/}" "$RUN.resumed" || fail "damage is not named: $(cat "$RUN.resumed")"
same "$SCRATCH/base" "$RUN" "a damaged checkpoint is named, and the one before it is used"

# Nine megabytes of rows: the steps begin when they are found, and all are looked at before the run ends.
python3 - "$SCRATCH" <<'PYTHON'
import sys
rows = open(sys.argv[1] + "/stories.jsonl").readlines()
with open(sys.argv[1] + "/large.jsonl", "w") as out:
    written = 0
    while written < 9 << 20:
        written += sum(out.write(row) for row in rows)
with open(sys.argv[1] + "/large_bad.jsonl", "w") as out:
    out.write(open(sys.argv[1] + "/large.jsonl").read() + '{"txt": 1}\n')
PYTHON
few=(steps=2 data.shuffle=false "data.eval=[]" optimizer.schedule=constant)
run few "${few[@]}"
run large "${few[@]}" "data.train=[$SCRATCH/large.jsonl]"
cmp -s "$SCRATCH/few/final/model.safetensors" "$SCRATCH/large/final/model.safetensors" || fail "a large file: other bytes"
refused large_bad "large_bad.jsonl:$(wc -l <"$SCRATCH/large_bad.jsonl"): text: the column is missing" "${few[@]}" \
    "data.train=[$SCRATCH/large_bad.jsonl]"
say "rows of a large file are looked at beside the steps"

run pairs steps=6 "data.train=[$SCRATCH/pairs.jsonl]" "data.eval=[]"
python3 - "$SCRATCH/pairs/metrics.jsonl" <<'PYTHON' || fail "prompts with completions are not learnt"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert rows[-1]["loss"] < rows[0]["loss"] and not any("eval_loss" in row for row in rows), rows
PYTHON
say "prompts with completions"

run packed steps=6 sft.packing=true sft.max_length=256 data.batch=2 sft.loss_type=dft
python3 - "$SCRATCH/packed/metrics.jsonl" <<'PYTHON' || fail "packs are not learnt"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
# Best fit leaves little room: two packs of 256 tokens a step, nearly full.
assert all(0.75 * 512 * row["step"] < row["num_tokens"] <= 512 * row["step"] for row in rows), rows
assert all(0 < row["loss"] < row["entropy"] + 8 for row in rows), rows
PYTHON
say "packs of rows"

for i in 1 2 3 4 5 6 7 8; do
    echo '{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Lily."}]}'
done >"$SCRATCH/asked.jsonl"
run templated steps=2 "data.train=[$SCRATCH/asked.jsonl]" "data.eval=[]" data.chat_template=zephyr
run retrained steps=2 "data.train=[$SCRATCH/asked.jsonl]" "data.eval=[]" "model=$SCRATCH/templated/final" from_scratch=false
python3 - "$SCRATCH" <<'PYTHON' || fail "final/ has not the template that conversations were learnt by"
import json, sys
formats = json.load(open("tests/golden/chat.json"))["formats"]
for name in ("templated/final", "retrained/final"):
    assert open(f"{sys.argv[1]}/{name}/chat_template.jinja").read() == formats["zephyr"]["saved"], name
PYTHON
[ ! -e "$SCRATCH/base/final/chat_template.jinja" ] || fail "a model of texts has a template"
say "the template of the conversations that were learnt"

# The tokenizer's end token is none of the model's: both end responses, and final/ says so (tests/golden/eos.py has transformers' word).
cp -r "$MODEL" "$SCRATCH/other-end" && sed -i 's/"eos_token": "[^"]*"/"eos_token": "<|pad|>"/' "$SCRATCH/other-end/tokenizer_config.json"
for i in 1 2 3 4 5 6 7 8; do echo '{"prompt": "Once", "completion": " upon a time."}'; done >"$SCRATCH/once.jsonl"
run other_end steps=24 "model=$SCRATCH/other-end" "data.train=[$SCRATCH/once.jsonl]" "data.eval=[]"
grep -qF '<|pad|> (1) is none of the model' "$SCRATCH/other_end.out" || fail "the other end token is not said"
grep -qF '<|pad|> (1) is none of the model' "$SCRATCH/other_end/logs/controller.log" || fail "the other end token is not in the log"
python3 - "$SCRATCH/other_end/final" <<'PYTHON' || fail "final/ does not stop at both end tokens"
import json, sys
for name in ("config.json", "generation_config.json"):
    assert json.load(open(f"{sys.argv[1]}/{name}"))["eos_token_id"] == [1, 0], name
PYTHON
said=$("$TROUPE" generate --model "$SCRATCH/other_end/final" --prompt Once --greedy --max-new-tokens 40)
[ "$said" = " upon a time." ] || fail "the response does not end where it was learnt to: '$said'"
cmp -s "$MODEL/generation_config.json" "$SCRATCH/base/final/generation_config.json" || fail "an aligned model gets another generation_config.json"
say "the tokenizer's end token beside the model's"

{
    head -n 10 "$SCRATCH/stories.jsonl"
    echo '{"txt": "no text"}'
} >"$SCRATCH/bad.jsonl"
refused no_column "$SCRATCH/bad.jsonl:11" "data.train=[$SCRATCH/bad.jsonl]"
sed -i '11s/.*/{"text": "cut off/' "$SCRATCH/bad.jsonl"
refused no_json "$SCRATCH/bad.jsonl:11" "data.train=[$SCRATCH/bad.jsonl]"
refused long_prompt "$SCRATCH/pairs.jsonl:1:" "data.train=[$SCRATCH/pairs.jsonl]" sft.max_length=3
refused small_file "data.batch" "data.train=[$SCRATCH/stories.jsonl]" data.batch=197
