#!/usr/bin/env bash
# A model of each family through every algorithm: trained from fresh weights, then by PPO (whose first pass is compared with the rollout's to the
# bit), as a reward model that judges, by DPO and KTO; asked; and saved with every key of its config.json.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

names=(llama_biases qwen2 qwen3 qwen3_5 qwen3_5_moe qwen3_next deepseek_v3 ministral gemma2 gemma3 phi3 smollm3 olmo2 olmo3 granite qwen3_moe mixtral qwen2_moe olmoe gpt_oss gpt2 gpt_neox)
[ -z "${TROUPE_TEST_BRIEF:-}" ] || names=(qwen3 qwen3_5 qwen3_moe gpt2) # slow builds

python3 - "$SCRATCH" <<'PYTHON' || fail "no rows"
import json, sys
pairs = [json.loads(line) for line in open("examples/data/pairs.jsonl", encoding="utf-8")][:8]
rows = {"pairs": pairs,
        "texts": [{"text": pair["prompt"] + pair["chosen"]} for pair in pairs],
        "labels": [{"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"} for pair in pairs for side in ("chosen", "rejected")]}
for name, items in rows.items():
    with open(f"{sys.argv[1]}/{name}.jsonl", "w", encoding="utf-8") as out:
        out.writelines(json.dumps(item) + "\n" for item in items)
PYTHON

# learn ALGORITHM NAME MODEL [KEY=VALUE...]: two steps.
learn()
{
    local algorithm=$1 name=$2 model=$3
    shift 3
    cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: $name
algorithm: $algorithm
steps: 2
model: $model
output: $SCRATCH
optimizer: {learning_rate: 1.0e-3, chunk: 3}
RECIPE
    "$TROUPE" run "$SCRATCH/recipe.yaml" "$@" >"$SCRATCH/out" 2>&1 && return
    tail -n 5 "$SCRATCH/out"
    fail "$algorithm of $model failed"
}

# Every key of the shape stands in what was saved, but those that a run sets.
carried()
{
    python3 - "$SCRATCH/$1/config.json" "$2/config.json" <<'PYTHON' || fail "config.json of $1 is not carried along"
import json, sys
before, after = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
lost = [key for key in before if key != "dtype" and after.get(key) != before[key]]
assert not lost and "a_key_of_nobody" in after, lost
PYTHON
}

for name in "${names[@]}"; do
    say "$name"
    shape "$name"
    learn sft "$name-sft" "$SCRATCH/$name" from_scratch=true "data.train=[$SCRATCH/texts.jsonl]" data.batch=4
    model=$SCRATCH/$name-sft/final
    carried "$name" "$model"
    learn reward "$name-reward" "$model" "data.train=[$SCRATCH/pairs.jsonl]" data.batch=4
    learn dpo "$name-dpo" "$model" "data.train=[$SCRATCH/pairs.jsonl]" data.batch=4
    learn kto "$name-kto" "$model" "data.train=[$SCRATCH/labels.jsonl]" data.batch=8
    learn ppo "$name-ppo" "$model" "data.prompts=[$PWD/examples/data/openings.jsonl]" data.batch=4 generation.max_new_tokens=24 \
        "roles.reward=[{model: $SCRATCH/$name-reward/final}]"
    carried "$name" "$SCRATCH/$name-ppo/final"
    grep -q '"exact/logprob_mismatch": *0[,}.]' "$SCRATCH/$name-ppo/metrics.jsonl" || fail "$name: PPO does not say that it is exact"
    "$TROUPE" generate --model "$SCRATCH/$name-dpo/final" --prompt "Once" -n 8 >/dev/null || fail "$name: nothing is generated"
    "$TROUPE" logprobs --model "$SCRATCH/$name-kto/final" --prompt "Once" --response " upon a time" >"$SCRATCH/out" || fail "$name: no log-probs"
done

# Files of a model without a head have names without "transformer." (those of the published GPT-2), and GPT-2's own have masks.
say "names without the first part"
cp -r "$SCRATCH/gpt2-sft/final" "$SCRATCH/plain"
python3 - "$SCRATCH/plain/model.safetensors" <<'PYTHON' || fail "the file is not rewritten"
import json, struct, sys
with open(sys.argv[1], "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    data = file.read()
names = {name: name.removeprefix("transformer.") for name in header}
header = {names[name]: entry for name, entry in header.items()}
header["h.0.attn.bias"] = {"dtype": "U8", "shape": [1, 1, 2, 2], "data_offsets": [len(data), len(data) + 4]}
text = json.dumps(header).encode()
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data + bytes(4))
PYTHON
for model in gpt2-sft/final plain; do
    "$TROUPE" logprobs --model "$SCRATCH/$model" --prompt "Once" --response " upon a time" >"$SCRATCH/$(basename "$model").out" 2>/dev/null ||
        fail "$model is not read"
done
cmp "$SCRATCH/final.out" "$SCRATCH/plain.out" || fail "the same weights give other log-probs"
