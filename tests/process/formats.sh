#!/usr/bin/env bash
# The same rows in files of each format train to the same bytes as in JSON Lines. The files are those of tests/golden/data.py.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ -z "${TROUPE_TEST_BRIEF:-}" ] || shallow_model

DATA=$PWD/tests/golden/data

cat >"$SCRATCH/recipe.yaml" <<RECIPE
name: texts
algorithm: sft
seed: 5
steps: 2
model: $MODEL
output: $SCRATCH
data: {batch: 8}
sft: {max_length: 64}
RECIPE

# run NAME FILE [KEY=VALUE...]
run()
{
    "$TROUPE" run "$SCRATCH/recipe.yaml" "name=$1" "data.train=[$2]" "${@:3}" >"$SCRATCH/$1.out" 2>&1 ||
        fail "$2: $(tail -n 1 "$SCRATCH/$1.out")"
}

gzip -c "$DATA/train_texts.csv" >"$SCRATCH/train_texts.csv.gz"
run texts "$DATA/train_texts.jsonl"
for path in "$DATA/train_texts.csv" "$DATA/train_texts.tsv" "$SCRATCH/train_texts.csv.gz"; do
    file=$(basename "$path")
    run "run_$file" "$path"
    same "$SCRATCH/texts" "$SCRATCH/run_$file" "$file"
done

run chats "$DATA/train.jsonl" data.chat_template=chatml
for file in train_array.json train.jsonl.zst train.parquet; do
    run "$file" "$DATA/$file" data.chat_template=chatml
    same "$SCRATCH/chats" "$SCRATCH/$file" "$file"
done
