#!/usr/bin/env bash
# What learns from a choice among its own responses, and `troupe sample`, through the real programs.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

steps=40
prompts=90
if [ -n "${TROUPE_TEST_BRIEF:-}" ]; then # slow builds
    steps=2
    prompts=6
fi
head -n $prompts examples/data/openings.jsonl >"$SCRATCH/prompts.jsonl"

# recipe ALGORITHM
recipe()
{
    cat >"$SCRATCH/$1.yaml" <<RECIPE
name: $1
algorithm: $1
seed: 3
steps: $steps
model: $MODEL
output: $SCRATCH
data: {prompts: [$SCRATCH/prompts.jsonl], batch: 6}
generation: {samples: 4, temperature: 1.0, max_new_tokens: 24, stop_token: eos}
optimizer: {learning_rate: 1.0e-3, chunk: 4}
roles: {reward: [{words: {was: 1, very: 1, the: 0.1, a: 0.1, and: 0.1, to: 0.1}}]}
checkpoint: {every: 10, keep: 9}
RECIPE
}

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    local recipe=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 ||
        fail "the run '$name' failed: $(tail -n 3 "$SCRATCH/$name.out")"
}

recipe online_dpo
recipe rejection_sampling
run online_dpo online_dpo
run rejection_sampling rejection_sampling
python3 - "$SCRATCH" "$steps" <<'PYTHON' || fail "the metrics are not those of policies that learn what the judge likes"
import json, math, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")]
mean = lambda rows: sum(row["objective/scores"] for row in rows) / len(rows)
for name in ("online_dpo", "rejection_sampling"):
    rows = read(name)
    assert len(rows) == int(sys.argv[2]), len(rows)
    assert all(row["objective/scores_margin"] >= 0 for row in rows)
    if len(rows) >= 40:
        assert mean(rows[-10:]) > mean(rows[:10]) + 0.1, (name, mean(rows[:10]), mean(rows[-10:]))
first = read("online_dpo")[0]  # policy and reference are the same bits
assert first["rewards/chosen"] == first["rewards/rejected"] == 0 and abs(first["loss"] - math.log(2)) < 1e-12, first
PYTHON
say "online DPO and rejection sampling raise the score"

run online_dpo two roles.rollout.workers=2 roles.actor.threads=1 roles.reference.separate=true
cmp -s "$SCRATCH/online_dpo/final/model.safetensors" "$SCRATCH/two/final/model.safetensors" ||
    fail "other bytes with two rollouts, one thread and a reference of its own"
say "two rollouts, one thread, a reference of its own: the same bytes"

# Responses of equal scores make no pair: where all are equal, nothing moves; else the others are learnt and the ties counted.
ties()
{
    local few=(steps=2 samples.every=1 samples.count=24 data.batch=5 generation.max_new_tokens=8)
    run online_dpo tied "${few[@]}" 'roles.reward=[{words: {zebra: 1}}]'
    run online_dpo still "${few[@]}" optimizer.learning_rate=1.0e-30
    cmp -s "$SCRATCH/tied/final/model.safetensors" "$SCRATCH/still/final/model.safetensors" || fail "ties are learnt"
    run online_dpo some "${few[@]}" 'roles.reward=[{words: {was: 1}}]' generation.samples=2
    python3 - "$SCRATCH" <<'PYTHON' || fail "ties are not counted"
import json, math, sys
read = lambda name, file: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/{file}.jsonl")]
for row in read("tied", "metrics"):
    assert row["objective/ties"] == 5 and row["num_tokens"] == 0 and "loss" not in row and row["epoch"] == row["step"] / 18, row
samples, some = read("some", "samples"), read("some", "metrics")
for row in some:
    scores = [sample["score"] for sample in samples if sample["step"] == row["step"]]
    assert len(scores) == 10 and row["objective/ties"] == sum(a == b for a, b in zip(scores[::2], scores[1::2])), (row, scores)
assert 0 < some[0]["objective/ties"] < 5 and abs(some[0]["loss"] - math.log(2)) < 1e-12 and some[1]["num_tokens"] > some[0]["num_tokens"] > 0, some
PYTHON
    say "ties are counted, and not learnt"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || ties

killed()
{
    "$TROUPE" run "$SCRATCH/online_dpo.yaml" name=killed >"$SCRATCH/killed.out" 2>&1 &
    JOB=$!
    wait_for "no fifth step" has_steps "$SCRATCH/killed" 5
    kill -9 "$(pid_of "$SCRATCH/killed" actor)" || fail "the actor could not be killed"
    wait "$JOB" || fail "the run whose actor was killed failed: $(tail -n 1 "$SCRATCH/killed.out")"
    same "$SCRATCH/online_dpo" "$SCRATCH/killed" "the actor killed"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || killed

# sample OUT [ARGUMENT...]
sample()
{
    local out=$1
    shift
    "$TROUPE" sample --model "$MODEL" --prompts "$SCRATCH/prompts.jsonl" --judge 'words: {happy: 1, sad: -1}' \
        --judge '{length: {target: 20}, weight: 0.01}' --samples 3 --max-new-tokens 40 --pairs "$SCRATCH/$out.jsonl" \
        --out "$SCRATCH/$out-all.jsonl" --best "$SCRATCH/$out-best.jsonl" data.batch=4 "$@" >"$SCRATCH/$out.out" 2>&1
}
sample pairs || fail "troupe sample failed: $(tail -n 3 "$SCRATCH/pairs.out")"
[ ! -e "$SCRATCH/pairs.jsonl.run" ] || fail "the run directory stays after the rows are written"
python3 - "$SCRATCH" "$prompts" <<'PYTHON' || fail "the rows are not what was asked for"
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]
prompts, pairs, every, best = read("prompts"), read("pairs"), read("pairs-all"), read("pairs-best")
assert len(prompts) == int(sys.argv[2]) and len(every) == 3 * len(prompts) and len(best) == len(prompts)
groups = [every[i:i + 3] for i in range(0, len(every), 3)]
assert [group[0]["prompt"] for group in groups] == [row["prompt"] for row in prompts]
found = iter(pairs)
for group, row in zip(groups, best):
    scores = [one["score"] for one in group]
    best_one, worst_one = group[scores.index(max(scores))], [one for one in group if one["score"] == min(scores)][-1]
    assert row == best_one and row["score"] == max(scores)
    if max(scores) > min(scores):
        pair = next(found)
        assert pair["prompt"] == row["prompt"] and pair["chosen"] == row["completion"]
        assert pair["score_chosen"] == max(scores) and pair["score_rejected"] == min(scores)
        assert pair["finish_chosen"] == best_one["finish"] and pair["finish_rejected"] == worst_one["finish"]
assert next(found, None) is None
ends = {row["finish"] for row in every}  # the model of slow builds may say the same always
assert ends == {"eos", "length"} or len(prompts) == 6 and ends < {"eos", "length"}, ends
happy = lambda text: text.lower().count("happy")
assert sum(happy(p["chosen"]) for p in pairs) > sum(happy(p["rejected"]) for p in pairs)
PYTHON
say "troupe sample: pairs, the best, and all responses"

# A stop string ends a response where its text first holds it, in both commands; the text stays.
stop_strings()
{
    whole=$("$TROUPE" generate --model "$MODEL" --prompt "Once upon a time" --greedy)
    ended=$("$TROUPE" generate --model "$MODEL" --prompt "Once upon a time" --greedy --stop zzz --stop "${whole:30:3}")
    [[ $whole == "$ended"* && $ended == *"${whole:30:3}"* && ${#ended} -le 40 ]] || fail "'$whole' ended as '$ended'"
    "$TROUPE" generate --model "$MODEL" --prompt "Once" --stop "" >"$SCRATCH/empty.out" 2>&1 && fail "an empty stop string is taken"
    sample stopped --stop "d th" --stop zzz || fail "troupe sample --stop failed: $(tail -n 3 "$SCRATCH/stopped.out")"
    python3 - "$SCRATCH" <<'PYTHON' || fail "responses do not end at the stop string"
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]
ended = 0
for whole, row in zip(read("pairs-all"), read("stopped-all")):
    text, at = whole["completion"], whole["completion"].find("d th")
    assert text.startswith(row["completion"])
    if at >= 0:
        ended += 1
        assert row["finish"] == "stop" and len(row["completion"]) < at + 4 + 12 and "d th" in row["completion"], row
    else:
        assert (row["completion"], row["finish"]) == (text, whole["finish"]), row
assert 0 < ended < len(read("pairs-all"))
PYTHON
    say "stop strings"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || stop_strings

# Prompts that are conversations give rows that are conversations, which a run with the same template learns.
conversations()
{
    python3 - "$SCRATCH" <<'PYTHON'
import json, sys
rows = [json.loads(line)["prompt"] for line in open(sys.argv[1] + "/prompts.jsonl")][:8]
with open(sys.argv[1] + "/asked.jsonl", "w") as file:
    file.writelines(json.dumps({"prompt": [{"role": "user", "content": row}]}) + "\n" for row in rows)
PYTHON
    "$TROUPE" sample --model "$MODEL" --prompts "$SCRATCH/asked.jsonl" --judge 'words: {the: 1, was: 0.5, and: 0.3, a: 0.2}' --samples 3 --max-new-tokens 24 \
        --pairs "$SCRATCH/chats.jsonl" --out "$SCRATCH/chats-all.jsonl" data.batch=4 data.chat_template=plain >"$SCRATCH/chats.out" 2>&1 ||
        fail "troupe sample failed: $(tail -n 3 "$SCRATCH/chats.out")"
    python3 - "$SCRATCH" <<'PYTHON' || fail "the rows are not conversations"
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]
asked, every = read("asked"), read("chats-all")
for i, row in enumerate(every):
    assert row["prompt"] == asked[i // 3]["prompt"], row
    [message] = row["completion"]
    assert message["role"] == "assistant" and isinstance(message["content"], str), row
said = {row["completion"][0]["content"] for row in every}
assert all(row["chosen"][0]["content"] in said and row["rejected"][0]["content"] in said for row in read("chats"))
# The template's own space before an answer is none of its content.
assert not any(text.startswith(" ") for text in said)
PYTHON
    cat >"$SCRATCH/chats.yaml" <<RECIPE
name: chats
algorithm: dpo
steps: 1
model: $MODEL
output: $SCRATCH
data: {train: [$SCRATCH/chats.jsonl], batch: 2, chat_template: plain}
RECIPE
    "$TROUPE" run "$SCRATCH/chats.yaml" >"$SCRATCH/chats.run.out" 2>&1 || fail "the rows are not learnt: $(tail -n 3 "$SCRATCH/chats.run.out")"
    say "conversations, sampled and learnt"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || conversations

# A command that was stopped goes on when it is given again; another one is refused.
mkdir "$SCRATCH/again.jsonl.run" && touch "$SCRATCH/again.jsonl.run/recipe.yaml"
sample again && fail "a run directory of other options was taken"
grep -q "begun with other options" "$SCRATCH/again.out" || fail "unclear: $(tail -n 1 "$SCRATCH/again.out")"
rm -r "$SCRATCH/again.jsonl.run"
stopped()
{
    sample again &
    JOB=$!
    wait_for "no third step" has_steps "$SCRATCH/again.jsonl.run" 3
    kill -INT "$(pgrep -f -n -- "sample --model $MODEL --prompts $SCRATCH")" || fail "the command could not be stopped"
    wait "$JOB" && fail "the command ended before it was stopped"
    [ -e "$SCRATCH/again.jsonl.run" ] || fail "what was done is gone"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || stopped
sample again roles.rollout.workers=1 || fail "troupe sample did not go on: $(tail -n 3 "$SCRATCH/again.out")"
for rows in "" -all -best; do
    cmp -s "$SCRATCH/pairs$rows.jsonl" "$SCRATCH/again$rows.jsonl" || fail "other rows the second time"
done
say "stopped and given again: the same rows"
