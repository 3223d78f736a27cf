#!/usr/bin/env bash
# Reward models, DPO and KTO through the real programs: what is learnt, and that a run is a function of recipe, data and seed,
# whatever is killed, stopped, or set apart.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

# Pairs that any model can tell apart: stories whose end is whole are chosen, those whose words stand backwards rejected.
python3 examples/models/make_corpus.py "$SCRATCH/stories.jsonl" --count 240 || fail "no corpus"
python3 - "$SCRATCH" <<'PYTHON'
import json, sys
folder = sys.argv[1]
pairs, rows = [], []
for i, line in enumerate(open(folder + "/stories.jsonl", encoding="utf-8")):
    head, _, tail = json.loads(line)["text"].partition(". ")
    words = tail.split()[:24]
    pair = {"prompt": head + ".", "chosen": " " + " ".join(words), "rejected": " " + " ".join(reversed(words)), "margin": 0.25}
    pairs.append(pair)
    side = "chosen" if i % 3 else "rejected"
    rows.append({"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"})
for name, items in (("pairs", pairs[:193]), ("held_out", pairs[200:]), ("rows", rows[:193])):
    with open(f"{folder}/{name}.jsonl", "w") as out:
        out.writelines(json.dumps(item) + "\n" for item in items)
PYTHON
gzip -k "$SCRATCH/pairs.jsonl" # 24 batches of 8 and a pair; KTO's 193rd row joins the 24th batch

# There must be many steps for a kill to come before the end.
steps=60
held_out=40
killed=(dpo kto)
if [ -n "${TROUPE_TEST_BRIEF:-}" ]; then # slow builds
    steps=12
    held_out=8
    killed=(dpo)
fi
every=$((steps / 3))
head -n $held_out "$SCRATCH/held_out.jsonl" >"$SCRATCH/measured.jsonl"

# recipe ALGORITHM FILE: how the algorithm learns from the file.
recipe()
{
    cat >"$SCRATCH/$1.yaml" <<RECIPE
name: $1
algorithm: $1
seed: 5
steps: $steps
model: $MODEL
output: $SCRATCH
data: {train: [$SCRATCH/$2], batch: 8}
optimizer: {learning_rate: 3.0e-4, chunk: 3}
checkpoint: {every: $every, keep: 5}
RECIPE
}
recipe reward pairs.jsonl.gz
recipe dpo pairs.jsonl.gz
recipe kto rows.jsonl

# run RECIPE NAME [KEY=VALUE...]: to the end.
run()
{
    local recipe=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 && return
    tail -n 5 "$SCRATCH/$name.out" "$SCRATCH/$name"/logs/*.log
    fail "the run '$name' failed"
}

# repeats RUN NAME SENTENCE: the same bytes and metrics.
repeats()
{
    same "$SCRATCH/$1" "$SCRATCH/$2" "$3"
    [ "$(timeless "$SCRATCH/$1")" = "$(timeless "$SCRATCH/$2")" ] || fail "$3: other metrics"
}

run reward reward "data.eval=[$SCRATCH/measured.jsonl]"
run reward normalized steps=9 reward.normalize=true checkpoint.every=3 "data.eval=[$SCRATCH/measured.jsonl]"
python3 - "$SCRATCH/normalized" <<'PYTHON' || fail "the model does not say what its scores are like"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
for folder, row in (("final", rows[8]), ("checkpoints/step-000006", rows[5])):
    config = json.load(open(f"{sys.argv[1]}/{folder}/config.json"))
    assert config["score_mean"] == row["eval_mean_reward"] and config["score_std"] == row["eval_reward_std"] > 0, (config, row)
PYTHON
grep -q score_ "$SCRATCH/reward/final/config.json" && fail "a model that is not normalized says that it is"
say "a reward model keeps the mean and deviation of its scores"

# Steps that are whole and steps whose words stand backwards: a process reward model tells them apart, and judges by them.
python3 - "$SCRATCH" <<'PYTHON'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/pairs.jsonl")]
with open(sys.argv[1] + "/steps.jsonl", "w") as out:
    for i, row in enumerate(rows):
        sides = [(row["chosen"].strip(), True), (row["rejected"].strip(), False)]
        steps = sides if i % 2 else sides[::-1]
        out.write(json.dumps({"prompt": row["prompt"], "completions": [s[0] for s in steps], "labels": [s[1] for s in steps]}) + "\n")
PYTHON
run reward steps "data.train=[$SCRATCH/steps.jsonl]"
python3 - "$SCRATCH/steps" "$steps" <<'PYTHON' || fail "the process reward model does not tell its steps apart"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
assert rows[-1]["loss"] < rows[0]["loss"] and (int(sys.argv[2]) < 60 or rows[-1]["accuracy"] > 0.9), rows[-1]
PYTHON
"$TROUPE" sample --model "$MODEL" --prompts "$SCRATCH/measured.jsonl" --judge "{model: $SCRATCH/steps/final, steps: min}" --samples 2 \
    --max-new-tokens 12 --out "$SCRATCH/judged.jsonl" >"$SCRATCH/judged.out" 2>&1 || fail "the process reward model does not judge"
python3 -c 'import json, sys; assert all(0 < json.loads(line)["score"] < 1 for line in sys.stdin)' <"$SCRATCH/judged.jsonl" ||
    fail "the least chance of a step is none"
say "a process reward model tells steps apart, and judges"

run dpo dpo "data.eval=[$SCRATCH/measured.jsonl]"
run kto kto "data.eval=[$SCRATCH/measured.jsonl]"
python3 - "$SCRATCH" "$steps" <<'PYTHON' || fail "the metrics are not those of models that learn"
import json, math, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")]
reward, dpo, kto = read("reward"), read("dpo"), read("kto")
# Before the first update policy and reference are the same bits: no reward, and the losses' values at 0.
assert dpo[0]["rewards/chosen"] == dpo[0]["rewards/rejected"] == 0 and abs(dpo[0]["loss"] - math.log(2)) < 1e-12, dpo[0]
assert kto[0]["kl"] == 0 and abs(kto[0]["loss"] - 0.5) < 1e-12, kto[0]
if int(sys.argv[2]) < 60:
    sys.exit()  # too few to learn much
for rows, name in ((reward, "accuracy"), (dpo, "rewards/accuracies")):
    assert rows[-1][name] > 0.9 and rows[-1]["eval_" + name] > 0.9, rows[-1]
    assert rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["eval_loss"] < rows[0]["loss"], rows[-1]
margins = [row["rewards/margins"] for row in kto if "rewards/margins" in row]  # a batch may lack one of the classes
assert dpo[-1]["rewards/margins"] > 0.5 and margins[-1] > 0.5 and kto[-1]["eval_rewards/margins"] > 0.5
assert kto[-1]["eval_loss"] < 0.45, kto[-1]
PYTHON
say "a reward model, DPO and KTO learn, on held-out rows too"

run dpo apart roles.reference.separate=true roles.actor.threads=1
cmp -s "$SCRATCH/dpo/final/model.safetensors" "$SCRATCH/apart/final/model.safetensors" || fail "other bytes with a separate reference"
say "a reference of its own, one thread: the same bytes"

precomputed()
{
    run dpo precomputed dpo.precompute_ref_log_probs=true "data.eval=[$SCRATCH/measured.jsonl]"
    repeats dpo precomputed "the reference asked once"
    [ -s "$SCRATCH/precomputed/reference-train.safetensors" ] && [ -s "$SCRATCH/precomputed/reference-eval.safetensors" ] ||
        fail "the reference's log-probs were not kept"
    run kto kto_precomputed kto.precompute_ref_log_probs=true "data.eval=[$SCRATCH/measured.jsonl]"
    repeats kto kto_precomputed "KTO's reference asked once"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || precomputed

# A reference that follows the policy: what the formula says of the weights, and the same bytes after a kill.
followed()
{
    local run=$SCRATCH/followed
    local options=(dpo.sync_ref_model=true dpo.ref_model_sync_steps=15 dpo.ref_model_mixup_alpha=0.25 checkpoint.every=15 steps=45)
    run dpo followed "${options[@]}"
    python3 - "$MODEL" "$run/checkpoints/step-000015" <<'PYTHON' || fail "the reference is not the mixture that was asked for"
import array, json, struct, sys
def read(path):
    data = open(path + "/model.safetensors", "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8:8 + size])
    entries.pop("__metadata__", None)
    return {name: array.array("f", data[8 + size + e["data_offsets"][0]:8 + size + e["data_offsets"][1]]) for name, e in entries.items()}
first, policy, mixed = read(sys.argv[1]), read(sys.argv[2]), read(sys.argv[2] + "/reference")
assert mixed.keys() == policy.keys()
worst = max(abs(m - (0.75 * a + 0.25 * b)) for name in mixed for a, b, m in zip(first[name], policy[name], mixed[name]))
moved = max(abs(a - b) for name in policy for a, b in zip(first[name], policy[name]))
assert worst < 1e-6 < 1e-4 < moved, (worst, moved)
PYTHON
    "$TROUPE" run "$SCRATCH/dpo.yaml" name=followed_killed "${options[@]}" >"$SCRATCH/followed_killed.out" 2>&1 &
    JOB=$!
    wait_for "no 20th step" has_steps "$SCRATCH/followed_killed" 20
    kill -9 "$(pid_of "$SCRATCH/followed_killed" actor)" || fail "the actor could not be killed"
    wait "$JOB" || fail "the run whose actor was killed failed: $(tail -n 1 "$SCRATCH/followed_killed.out")"
    repeats followed followed_killed "a reference that follows the policy, the actor killed"
    say "a reference that follows the policy"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || followed

variations()
{
    run kto again roles.actor.threads=1 "data.eval=[$SCRATCH/measured.jsonl]"
    repeats kto again "KTO once more, one thread"
    run reward short steps=2
    TROUPE_CPU=generic run reward generic steps=2
    repeats short generic "a reward model in plain C"
    for loss in hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down discopop sft \
        sigmoid_norm cpo simpo orpo; do
        smoothing=0.0
        [[ $loss =~ ^(exo_pair|robust|aot|aot_unpaired|cpo|simpo)$ ]] && smoothing=0.1 # the others do not read it
        run dpo "$loss" "dpo.loss_type=$loss" "dpo.label_smoothing=$smoothing" steps=4
        tail -n 1 "$SCRATCH/$loss/metrics.jsonl" | grep -q '"loss": ' || fail "$loss has no loss"
    done
    run dpo mpo "dpo.loss_type=[sigmoid, bco_pair, sft]" "dpo.loss_weights=[0.8, 0.2, 1.0]" steps=4
    run dpo weighted dpo.use_weighting=true dpo.ld_alpha=0.5 dpo.f_divergence_type=js_divergence steps=4
    run kto apo kto.loss_type=apo_zero_unpaired steps=4
    say "every loss runs"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || variations

for algorithm in "${killed[@]}"; do
    name=${algorithm}_killed
    "$TROUPE" run "$SCRATCH/$algorithm.yaml" "name=$name" >"$SCRATCH/$name.out" 2>&1 &
    JOB=$!
    wait_for "no fifth step" has_steps "$SCRATCH/$name" 5
    kill -9 "$(pid_of "$SCRATCH/$name" actor)" || fail "the actor could not be killed"
    wait "$JOB" || fail "the run whose actor was killed failed: $(tail -n 1 "$SCRATCH/$name.out")"
    cmp -s "$SCRATCH/$algorithm/final/model.safetensors" "$SCRATCH/$name/final/model.safetensors" ||
        fail "$algorithm: other bytes after the actor was killed"
    say "$algorithm: the actor killed: the same bytes"
done

# stop RECIPE NAME [KEY=VALUE...]: after some steps.
stop()
{
    local recipe=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$recipe.yaml" "name=$name" "$@" >"$SCRATCH/$name.out" 2>&1 &
    JOB=$!
    wait_for "no second step" has_steps "$SCRATCH/$name" 2
    kill -TERM "$JOB"
    wait "$JOB" && fail "a stopped run exits 0"
}

# resume RECIPE NAME: to the bytes of the run that was never stopped.
resume()
{
    "$TROUPE" resume "$SCRATCH/$2" >"$SCRATCH/$2.out" 2>&1 || fail "resume failed: $(tail -n 1 "$SCRATCH/$2.out")"
    cmp -s "$SCRATCH/$1/final/model.safetensors" "$SCRATCH/$2/final/model.safetensors" || fail "$2: other bytes after resuming"
}

stop reward stopped
resume reward stopped
stop dpo kept dpo.precompute_ref_log_probs=true
inode=$(stat -c %i "$SCRATCH/kept/reference-train.safetensors")
resume dpo kept
[ "$(stat -c %i "$SCRATCH/kept/reference-train.safetensors")" = "$inode" ] || fail "the reference was asked again"
torn()
{
    stop dpo torn dpo.precompute_ref_log_probs=true
    truncate -s 100 "$SCRATCH/torn/reference-train.safetensors"
    resume dpo torn
    grep -q 'asked anew' "$SCRATCH/torn/logs/controller.log" || fail "a torn file was not noticed"
}
[ -n "${TROUPE_TEST_BRIEF:-}" ] || torn
say "stopped and resumed: the same bytes"

# The reward model judges at once.
cat >"$SCRATCH/ppo.yaml" <<RECIPE
name: ppo
algorithm: ppo
steps: 1
model: $MODEL
output: $SCRATCH
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 8}
generation: {max_new_tokens: 16}
roles: {reward: [{model: $SCRATCH/reward/final}]}
RECIPE
run ppo ppo
grep -q '"objective/scores": ' "$SCRATCH/ppo/metrics.jsonl" || fail "no scores of the reward model"
say "PPO with the reward model"

{
    head -n 40 "$SCRATCH/pairs.jsonl"
    echo '{"prompt": "One day.", "chosen": " yes"}'
    echo 'nonsense'
} >"$SCRATCH/bad.jsonl"
"$TROUPE" run "$SCRATCH/dpo.yaml" name=bad "data.train=[$SCRATCH/bad.jsonl]" >"$SCRATCH/bad.out" 2>&1 && fail "bad rows pass"
tail -n 1 "$SCRATCH/bad.out" | grep -qF "$SCRATCH/bad.jsonl:41: rejected: the column is missing (and 1 more bad rows)" || fail "the bad row is not named: $(tail -n 1 "$SCRATCH/bad.out")"
run dpo dropped "data.train=[$SCRATCH/bad.jsonl]" data.on_bad_row=drop steps=2
grep -qF 'data.train: 2 of 42 rows are bad and were dropped' "$SCRATCH/dropped.out" || fail "dropped rows are not counted"
grep -qF "$SCRATCH/bad.jsonl:42: malformed JSON" "$SCRATCH/dropped/logs/controller.log" || fail "a dropped row is not named"
head -n 1 "$SCRATCH/rows.jsonl" >"$SCRATCH/one.jsonl"
"$TROUPE" run "$SCRATCH/kto.yaml" name=one "data.eval=[$SCRATCH/one.jsonl]" >"$SCRATCH/one.out" 2>&1 && fail "KTO measures a row alone"
tail -n 1 "$SCRATCH/one.out" | grep -qF 'data.eval has one row' || fail "the row alone is not named: $(tail -n 1 "$SCRATCH/one.out")"
grep -qF "desirable_weight in [" "$SCRATCH/kto.out" || fail "no advice on the weights of unbalanced rows"
say "bad rows end the run or are dropped, and counted"
