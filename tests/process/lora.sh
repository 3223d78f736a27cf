#!/usr/bin/env bash
# Adapters through the real programs: SFT, DPO, PPO and reward models train them alone; a run is a function of recipe, data and seed, whatever is
# stopped, resumed, or shared by ranks; DPO's reference is the model without the adapter; what is saved generates, judges, goes on, and merges.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

head -n 17 examples/data/pairs.jsonl >"$SCRATCH/pairs.jsonl"
sed 's/"chosen": /"completion": /; s/, "rejected": .*/}/' "$SCRATCH/pairs.jsonl" >"$SCRATCH/rows.jsonl"
head -n 10 examples/data/openings.jsonl >"$SCRATCH/prompts.jsonl"

# recipe ALGORITHM DATA [KEY: VALUE...]
recipe()
{
    local algorithm=$1 data=$2
    shift 2
    cat >"$SCRATCH/$algorithm.yaml" <<RECIPE
name: $algorithm
algorithm: $algorithm
seed: 5
steps: 6
model: $MODEL
output: $SCRATCH
data: {$data, batch: 7}
lora: {r: 4, lora_alpha: 8}
optimizer: {learning_rate: 5.0e-3, schedule: constant, chunk: 2}
checkpoint: {every: 3, keep: 5}
RECIPE
    printf '%s\n' "$@" >>"$SCRATCH/$algorithm.yaml"
}
recipe sft "train: [$SCRATCH/rows.jsonl]"
recipe dpo "train: [$SCRATCH/pairs.jsonl]"
recipe reward "train: [$SCRATCH/pairs.jsonl]"
recipe ppo "prompts: [$SCRATCH/prompts.jsonl]" "generation: {max_new_tokens: 16, samples: 2}" "ppo: {num_mini_batches: 2}" \
    "roles: {reward: [{words: {happy: 1.0, sad: -1.0}}]}"
recipe grpo "prompts: [$SCRATCH/prompts.jsonl]" "generation: {max_new_tokens: 16, samples: 4}" "grpo: {beta: 0.1}" \
    "roles: {reward: [{words: {was: 1, very: 1, the: 0.1, a: 0.1, and: 0.1, to: 0.1}}]}"

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

# refused SENTENCE KEY=VALUE...: of SFT.
refused()
{
    local sentence=$1
    shift
    "$TROUPE" run "$SCRATCH/sft.yaml" name=refused "$@" >"$SCRATCH/refused.out" 2>&1 && fail "$* passes"
    grep -qF "$sentence" "$SCRATCH/refused.out" || fail "$*: $(tail -n 2 "$SCRATCH/refused.out")"
}

# logprobs FLAG...: of a response.
logprobs()
{
    "$TROUPE" logprobs --prompt "Once upon a time" --response " there was a happy dog." "$@" || fail "no log-probs of $*"
}

run sft sft
[ ! -e "$SCRATCH/sft/final/config.json" ] && [ ! -e "$SCRATCH/sft/final/model.safetensors" ] || fail "the adapter's directory holds a model"
python3 - "$SCRATCH/sft" "$MODEL" <<'PYTHON' || fail "what is saved is no adapter that learnt"
import json, os, struct, sys
def header(path):
    with open(path, "rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
run, model = sys.argv[1:]
config = json.load(open(run + "/final/adapter_config.json"))
assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, os.path.realpath(model)), config
tensors = header(run + "/final/adapter_model.safetensors")
names = [name for name in tensors if name != "__metadata__"]
assert len(names) == 2 * len(config["target_modules"]) and all(name.startswith("base_model.model.model.layers.") for name in names)
count = sum(tensors[n]["shape"][0] * tensors[n]["shape"][1] for n in names)
state = header(run + "/checkpoints/step-000006/optimizer.safetensors")
assert state["exp_avg"]["shape"] == state["exp_avg_sq"]["shape"] == [count], "moments are the adapter's alone"
losses = [json.loads(line)["loss"] for line in open(run + "/metrics.jsonl")]
assert sum(losses[3:]) < sum(losses[:3]), losses # an epoch has three steps
PYTHON
run sft twice
repeats sft twice "the same run again"
run sft stopped steps=3
"$TROUPE" resume "$SCRATCH/stopped" steps=6 >"$SCRATCH/out" 2>&1 || fail "no resume: $(tail -n 2 "$SCRATCH/out")"
diff -r "$SCRATCH/sft/final" "$SCRATCH/stopped/final" >/dev/null || fail "a resumed run has other bytes"
run sft dropping lora.lora_dropout=0.3
run sft dropping-again lora.lora_dropout=0.3 optimizer.gradient_checkpointing=true
repeats dropping dropping-again "dropout"
cmp -s "$SCRATCH/sft/final/adapter_model.safetensors" "$SCRATCH/dropping/final/adapter_model.safetensors" && fail "nothing is dropped"
run sft checkpointing optimizer.gradient_checkpointing=true
repeats sft checkpointing "gradient checkpointing"

say "the adapter is the model's, merged or not"
adapter=$SCRATCH/sft/final
logprobs --model "$MODEL" >"$SCRATCH/base.json"
logprobs --model "$MODEL" --adapter "$adapter" >"$SCRATCH/adapted.json"
"$TROUPE" merge --model "$MODEL" --adapter "$adapter" "$SCRATCH/merged" || fail "no merge"
logprobs --model "$SCRATCH/merged" >"$SCRATCH/merged.json"
python3 - "$SCRATCH" <<'PYTHON' || fail "a merged model is another"
import json, sys
base, adapted, merged = (json.load(open(f"{sys.argv[1]}/{name}.json"))["logprobs"] for name in ("base", "adapted", "merged"))
assert max(abs(a - b) for a, b in zip(adapted, merged)) < 1e-4 < 1e-3 < max(abs(a - b) for a, b in zip(adapted, base))
PYTHON
[ -e "$SCRATCH/merged/tokenizer.json" ] || fail "a merged model has no tokenizer"
"$TROUPE" generate --model "$MODEL" --adapter "$adapter" --prompt "Once" --max-new-tokens 8 >/dev/null || fail "no generation"

say "training goes on from an adapter"
run sft on "adapter=$adapter" lora.r=null lora.lora_alpha=32
cmp -s "$adapter/adapter_model.safetensors" "$SCRATCH/on/final/adapter_model.safetensors" && fail "it was not trained"
grep -q '"r": 4' "$SCRATCH/on/final/adapter_config.json" || fail "another rank"

say "DPO's reference is the model without the adapter"
run dpo dpo
run dpo apart roles.reference.separate=true
repeats dpo apart "a reference of its own"
"$TROUPE" check "$SCRATCH/dpo.yaml" name=plan >"$SCRATCH/out" 2>&1 || fail "check: $(tail -n 1 "$SCRATCH/out")"
grep -q "reference (in actor)" "$SCRATCH/out" && fail "the plan has a second copy"

say "PPO's rollouts get the adapter and compute the actor's bits"
run ppo ppo
python3 - "$SCRATCH/ppo" <<'PYTHON' || fail "rollouts and actor differ"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
assert all(row["exact/logprob_mismatch"] == 0 for row in rows), rows
assert abs(rows[0]["objective/kl"]) < 1e-6, "before the first update policy and reference are one"
PYTHON
run ppo three roles.rollout.workers=3
repeats ppo three "three rollouts"

say "GRPO too, whose KL is to the model without the adapter"
run grpo grpo
python3 - "$SCRATCH/grpo" <<'PYTHON' || fail "rollouts and actor of GRPO differ"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
assert all(row["exact/logprob_mismatch"] == 0 for row in rows) and rows[0]["kl"] == 0 < rows[-1]["kl"], rows
PYTHON

say "a reward model's adapter has its head: it judges, and a critic begins with it"
run reward reward
judge="[{model: $MODEL, adapter: $SCRATCH/reward/final}]"
run ppo judged steps=2 "roles.reward=$judge" "roles.critic.adapter=$SCRATCH/reward/final"
[ -e "$SCRATCH/judged/checkpoints/step-000002/critic/adapter_model.safetensors" ] || fail "the critic trained no adapter"

cp -r "$adapter" "$SCRATCH/edited"
run sft of-edited "adapter=$SCRATCH/edited" lora.r=null lora.lora_alpha=32
printf '\1' | dd of="$SCRATCH/edited/adapter_model.safetensors" bs=1 seek=$(($(stat -c %s "$SCRATCH/edited/adapter_model.safetensors") - 3)) conv=notrunc status=none
"$TROUPE" resume "$SCRATCH/of-edited" steps=8 >"$SCRATCH/out" 2>&1 && fail "a run goes on with another adapter"
grep -qF "adapter: '$SCRATCH/edited/adapter_model.safetensors' is another file" "$SCRATCH/out" || fail "$(tail -n 1 "$SCRATCH/out")"

refused "the model has no module 'q_prj'" "lora.target_modules=[q_prj]"
refused "lora.r" "adapter=$adapter"
refused "from_scratch" from_scratch=true
refused "lora.lora_alpha: read only where r is given" lora.r=null
"$TROUPE" generate --model "$adapter" --prompt Once >"$SCRATCH/out" 2>&1 && fail "an adapter alone generates"
grep -q "name the model that it is of" "$SCRATCH/out" || fail "$(cat "$SCRATCH/out")"

need_mpi
say "ranks"
for stage in 1 2 3; do
    run sft "ranks-$stage" roles.actor.ranks=2 "roles.actor.zero_stage=$stage"
    repeats sft "ranks-$stage" "two ranks with zero_stage $stage"
done
run sft dropping-ranks lora.lora_dropout=0.3 roles.actor.ranks=2
repeats dropping dropping-ranks "two ranks with dropout"
run dpo dpo-ranks roles.actor.ranks=2 roles.actor.zero_stage=3
repeats dpo dpo-ranks "two ranks of DPO"
