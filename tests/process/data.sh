#!/usr/bin/env bash
# Rows in the columns of other programs, through the real programs: they are trained on as the same rows in TRL's columns.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

# The rows of tests/golden/forms.json, which the programs' own converters have made: a file as it comes, and one in our columns.
python3 - "$SCRATCH" <<'PYTHON' || fail "the rows cannot be written"
import json, sys
groups = {}
for case in json.load(open("tests/golden/forms.json"))["cases"]:
    if case["form"] != "TRL":
        kind = "text" if any(isinstance(value, str) for value in case["columns"].values()) else "talk"
        columns = case["columns"]
        if case["kinds"] == "sft" and "messages" in columns:
            columns = {"messages": columns["messages"]}
            kind += "-whole"
        if case["kinds"] == "kto":
            columns = {"label": case["row"].get("label"), **columns}
        if case["row"].get("tools") != "[]":  # every row of a file has the same columns
            key = (case["kinds"], case["form"], kind, *sorted(case["row"]), *sorted(columns))
            groups.setdefault(key, []).append((case["row"], columns))
with open(f"{sys.argv[1]}/groups", "w") as out:
    for i, (key, rows) in enumerate(groups.items()):
        print(key[0], i, file=out)
        for name, side in (("theirs", 0), ("ours", 1)):
            with open(f"{sys.argv[1]}/{i}-{name}.jsonl", "w") as file:
                file.writelines(json.dumps(row[side]) + "\n" for row in rows * 4)
PYTHON
[ "$(wc -l <"$SCRATCH/groups")" -ge 15 ] || fail "only $(wc -l <"$SCRATCH/groups") groups of rows"
if [ -n "${TROUPE_TEST_BRIEF:-}" ]; then # slow builds: a form for each algorithm
    awk '!seen[$1]++' "$SCRATCH/groups" >"$SCRATCH/few"
    mv "$SCRATCH/few" "$SCRATCH/groups"
fi

# recipe ALGORITHM KEY: what rows it reads.
recipe()
{
    cat >"$SCRATCH/$1.yaml" <<RECIPE
name: $1
algorithm: $1
seed: 3
steps: 1
model: $MODEL
output: $SCRATCH/runs
data: {$2: [$SCRATCH/none.jsonl], batch: 2}
RECIPE
}
: >"$SCRATCH/none.jsonl"
recipe sft train
recipe dpo train
recipe kto train
recipe sample prompts
echo 'generation: {max_new_tokens: 4}
roles: {reward: [{words: {a: 1}}]}' >>"$SCRATCH/sample.yaml"
echo 'optimizer: {learning_rate: 1.0e-3}' | tee -a "$SCRATCH/sft.yaml" "$SCRATCH/dpo.yaml" "$SCRATCH/kto.yaml" >/dev/null

# run ALGORITHM NAME [KEY=VALUE...]
run()
{
    local algorithm=$1 name=$2
    shift 2
    "$TROUPE" run "$SCRATCH/$algorithm.yaml" "name=$name" "$@" >"$SCRATCH/out" 2>&1 || fail "the run '$name' failed: $(tail -n 3 "$SCRATCH/out")"
}

say "columns of other programs give the bytes of TRL's"
while read -r kinds i; do
    template=data.chat_template=chatml
    grep -q '"role"' "$SCRATCH/$i-ours.jsonl" || template=data.batch=2
    for side in theirs ours; do
        case $kinds in
        ppo) run sample "$i-$side" "data.prompts=[$SCRATCH/$i-$side.jsonl]" $template ;;
        *) run "$kinds" "$i-$side" "data.train=[$SCRATCH/$i-$side.jsonl]" $template ;;
        esac
    done
    result=final/model.safetensors
    [ "$kinds" != ppo ] || result=samples.jsonl
    cmp "$SCRATCH/runs/$i-theirs/$result" "$SCRATCH/runs/$i-ours/$result" || fail "$(head -n 1 "$SCRATCH/$i-theirs.jsonl") gives other bytes than $(head -n 1 "$SCRATCH/$i-ours.jsonl")"
done <"$SCRATCH/groups"

say "a judge gets verl's ground truth, by the name that the recipe gives it"
if python3 -c 'import msgpack, zmq' 2>/dev/null; then
    sed 's/\[score(sample\["response"\])/[(float(sample["columns"]["answer"]), 0, 0)/' examples/rewards/happy_words.py >"$SCRATCH/judge.py"
    for i in 1 2 3 4; do
        echo '{"data_source": "math", "prompt": [{"role": "user", "content": "What is '$i'?"}], "reward_model": {"style": "rule", "ground_truth": "'$i'"}, "extra_info": {"index": 18446744073709551615}}'
    done >"$SCRATCH/verl.jsonl"
    run sample verl "data.prompts=[$SCRATCH/verl.jsonl]" data.chat_template=chatml data.batch=4 'data.columns={answer: reward_model.ground_truth}' \
        "roles.reward=[{exec: [python3, $SCRATCH/judge.py]}]"
    python3 - "$SCRATCH/runs/verl/samples.jsonl" <<'PYTHON' || fail "the judge did not get the answers"
import json, re, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert len(rows) == 4 and all(f"What is {row['score']:g}?" in row["prompt"] for row in rows), rows
PYTHON
fi

# refused WORDS FILE-CONTENT [KEY=VALUE...]: by check, of sft.
refused()
{
    local words=$1
    printf '%s\n' "$2" >"$SCRATCH/rows.jsonl"
    shift 2
    "$TROUPE" check "$SCRATCH/sft.yaml" name=refused data.batch=1 "data.train=[$SCRATCH/rows.jsonl]" "$@" >/dev/null 2>"$SCRATCH/err" && fail "'$words' is not refused"
    tail -n 1 "$SCRATCH/err" | grep -qF -- "$words" || fail "check does not say '$words', but: $(cat "$SCRATCH/err")"
}

say "no column is guessed"
refused "the first row has the columns question, answer: data.columns says which is which, such as {text: question}" '{"question": "q", "answer": "a"}'
refused "rows.jsonl:1: answer (completion): expected a text" '{"question": "q", "answer": 3}' 'data.columns={prompt: question, completion: answer}'
refused "rows.jsonl: data.columns: prompt: the first row has no column 'ask'; it has question" '{"question": "q"}' 'data.columns={prompt: ask}'
refused "rows.jsonl: the columns may be read as alpaca or as query and response: data.columns: {query: null} takes the first" \
    '{"instruction": "i", "query": "q"}'
refused "rows.jsonl:2: output (completion): expected a text or a list of messages, found null" \
    '{"instruction": "i", "output": "o"}
{"instruction": "i", "output": null}' data.chat_template=chatml

refused "the file is one object: if the rows are its list \`data\`, write that list alone" '{"data": [{"text": "a"}]}'
printf 'text\n1,a\n2,b\n' >"$SCRATCH/rows.csv"
refused "rows.csv:2: 2 cells where the header has 1, as in each row: the header lacks a name" '{}' "data.train=[$SCRATCH/rows.csv]"
printf 'text\na, b\nc\n' >"$SCRATCH/rows.csv"
refused "rows.csv:2: 2 cells where the header has 1: a text with a ',' needs quotes" '{}' "data.train=[$SCRATCH/rows.csv]"
printf 'a;text\n1;b\n' >"$SCRATCH/rows.csv"
refused "rows.csv: the header is one name, 'a;text': names and cells stand between commas" '{}' "data.train=[$SCRATCH/rows.csv]"

say "files with weights give the bytes of the epoch that they stand for, also after a stop; each has its own names"
python3 - "$SCRATCH" <<'PYTHON' || fail "the rows cannot be written"
import json, sys
texts = [json.loads(line) for line in open("examples/data/pairs.jsonl")]
rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in texts]
a, b = rows[:5], rows[5:9]
takes = [round(max(5 / 2, 4 / 1) * 2), 4]  # shares 2 and 1, each row once at least: 8 and 4
places = sorted([((k + 0.5) / takes[0], 0, a[k % 5]) for k in range(takes[0])] + [((k + 0.5) / takes[1], 1, b[k % 4]) for k in range(takes[1])],
                key=lambda place: place[:2])
write = lambda name, rows: open(f"{sys.argv[1]}/{name}.jsonl", "w").writelines(json.dumps(row) + "\n" for row in rows)
write("heavy", [{"question": row["prompt"], "completion": row["completion"]} for row in a])
write("light", b)
write("mixed", [row for *_, row in places])
PYTHON
weighted="data.train=[{path: $SCRATCH/heavy.jsonl, weight: 2, columns: {prompt: question}}, $SCRATCH/light.jsonl]"
steps=(steps=5 data.batch=5 optimizer.schedule=constant)
run sft mixed "data.train=[$SCRATCH/mixed.jsonl]" "${steps[@]}"
run sft weighted "$weighted" "${steps[@]}"
cmp "$SCRATCH/runs/weighted/final/model.safetensors" "$SCRATCH/runs/mixed/final/model.safetensors" || fail "weights give other rows than those of the formula"
run sft stopped "$weighted" "${steps[@]}" steps=3
"$TROUPE" resume "$SCRATCH/runs/stopped" steps=5 >"$SCRATCH/out" 2>&1 || fail "the run does not go on: $(tail -n 1 "$SCRATCH/out")"
cmp "$SCRATCH/runs/stopped/final/model.safetensors" "$SCRATCH/runs/mixed/final/model.safetensors" || fail "a run that was stopped takes other rows"
run sft packed "$weighted" "${steps[@]}" steps=2 data.batch=2 sft.packing=true
run sft packed-mixed "data.train=[$SCRATCH/mixed.jsonl]" "${steps[@]}" steps=2 data.batch=2 sft.packing=true
cmp "$SCRATCH/runs/packed/final/model.safetensors" "$SCRATCH/runs/packed-mixed/final/model.safetensors" || fail "packs of weighted files are others"
sentence="data.train.0: expected a path, or dataset_info and name, a weight above 0, and maps of columns and tags"
refused "$sentence, found 'weight'" '{}' "data.train=[{path: $SCRATCH/light.jsonl, weight: 0}]"
refused "data.train.0: the path is missing" '{}' 'data.train=[{weight: 2}]'
refused "data.train.1: there is no file '$SCRATCH/missing.jsonl'" '{}' "data.train=[$SCRATCH/light.jsonl, {path: $SCRATCH/missing.jsonl}]"
refused "data.eval: each row is taken once, whatever its file's weight: leave the weights out" '{"text": "a"}' "data.eval=[{path: $SCRATCH/rows.jsonl, weight: 2}]"

say "LLaMA-Factory's dataset_info.json, and tags without one, give the bytes of TRL's columns"
python3 - "$SCRATCH" <<'PYTHON' || fail "the rows cannot be written"
import json, os, sys
texts = [json.loads(line) for line in open("examples/data/pairs.jsonl")][:6]
turns = [[{"who": "Me", "said": row["prompt"]}, {"who": "It", "said": row["chosen"]}] for row in texts]
ours = [[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}] for row in texts]
os.makedirs(f"{sys.argv[1]}/factory/parts")
def write(name, rows):
    with open(f"{sys.argv[1]}/{name}", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
write("factory/turns.jsonl", [{"talk": turn, "messages": "is no column"} for turn in turns])
write("factory/parts/a.jsonl", [{"question": row["prompt"], "answer": row["chosen"]} for row in texts[:2]])
write("factory/parts/b.jsonl", [{"question": row["prompt"], "answer": row["chosen"]} for row in texts[2:]])
write("talks.jsonl", [{"messages": talk} for talk in ours])
write("halves.jsonl", [{"prompt": talk[:1], "completion": talk[1:]} for talk in ours])
tags = {"role_tag": "who", "content_tag": "said", "user_tag": "Me", "assistant_tag": "It"}
json.dump({"turns": {"file_name": "turns.jsonl", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags},
           "parts": {"file_name": "parts", "columns": {"prompt": "question", "response": "answer"}}, "far": {"hf_hub_url": "a/b"}},
          open(f"{sys.argv[1]}/factory/dataset_info.json", "w"))
PYTHON
# same NAME OF ITEM: the item's rows give the bytes of the file OF.
same()
{
    run sft "$1" "data.train=[$3]" data.chat_template=chatml steps=2
    run sft "$1-ours" "data.train=[$SCRATCH/$2.jsonl]" data.chat_template=chatml steps=2
    cmp "$SCRATCH/runs/$1/final/model.safetensors" "$SCRATCH/runs/$1-ours/final/model.safetensors" || fail "$3 gives other bytes than $2"
}
same turns talks "{dataset_info: $SCRATCH/factory, name: turns}"
same parts halves "{dataset_info: $SCRATCH/factory/dataset_info.json, name: parts}"
same tags talks "{path: $SCRATCH/factory/turns.jsonl, columns: {conversations: talk, messages: null}, tags: {role_tag: who, content_tag: said, user_tag: Me, assistant_tag: It}}"
refused "dataset_info.json: far: hf_hub_url: data sets are read from this disk" '{}' "data.train=[{dataset_info: $SCRATCH/factory, name: far}]"
refused "dataset_info.json: there is no data set 'near'; those with files are turns, parts" '{}' "data.train=[{dataset_info: $SCRATCH/factory, name: near}]"
refused "data.train.0: expected dataset_info and name together" '{}' "data.train=[{dataset_info: $SCRATCH/factory}]"
refused "data.train.0: there is no file '$SCRATCH/dataset_info.json'" '{}' "data.train=[{dataset_info: $SCRATCH, name: far}]"
refused "data.train.0: tags: expected texts for role_tag" '{}' "data.train=[{path: $SCRATCH/light.jsonl, tags: {who: me}}]"
refused "rows.jsonl:1: talk (conversations)[0]: who: expected Me, It, found 'You'" '{"talk": [{"who": "You", "said": "a"}]}' \
    "data.train=[{path: $SCRATCH/rows.jsonl, columns: {conversations: talk}, tags: {role_tag: who, content_tag: said, user_tag: Me, assistant_tag: It}}]" data.chat_template=chatml
sed -i 's/"said"/"SAID"/' "$SCRATCH/factory/dataset_info.json"
"$TROUPE" resume "$SCRATCH/runs/turns" steps=3 >/dev/null 2>"$SCRATCH/err" && fail "another dataset_info.json goes on"
sed -i 's/"SAID"/"said"/' "$SCRATCH/factory/dataset_info.json"
"$TROUPE" resume "$SCRATCH/runs/turns" steps=3 >"$SCRATCH/out" 2>&1 || fail "the run does not go on: $(tail -n 1 "$SCRATCH/out")"

say "troupe data: columns, lengths, who reads the rows, what is bad"
cat >"$SCRATCH/look.jsonl" <<'ROWS'
{"instruction": "Sag „ja“.", "output": "ja", "id": 1}
{"instruction": "Say no.", "output": null, "id": NaN}
{"instruction": "Say
{"instruction": "Say it.", "output": ["it"], "id": 18446744073709551615}
ROWS
# look WORDS...: lines that must stand in the output, spaces aside.
look()
{
    local line
    for line in "$@"; do
        tr -s ' ' <"$SCRATCH/out" | grep -qxF -- "$line" || fail "troupe data does not say '$line', but: $(cat "$SCRATCH/out")"
    done
}
"$TROUPE" data "$SCRATCH/look.jsonl" >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
look "4 rows in 1 file" "1 of 4 rows are bad: such a row ends a run, or is left out (data.on_bad_row: drop)" \
    "instruction 3 0 text 7, 7.7, 9" "output 3 1 text, list (1) 2, 2.0, 2" "id 3 1 number 2 flawed" \
    "sft prompts with completions, columns as in alpaca" "dpo nothing: there is no column chosen"
grep -q "look.jsonl:3: malformed JSON at byte" "$SCRATCH/out" || fail "the row that is no JSON is not named"
echo '{"prompt": "What?", "completion": "That.", "chosen": "That.", "rejected": "This.", "label": true}' >"$SCRATCH/all.jsonl"
for algorithm in ppo sft reward dpo kto online_dpo rejection_sampling sample; do
    "$TROUPE" data "$SCRATCH/all.jsonl" --model "$MODEL" --algorithm $algorithm >"$SCRATCH/out" 2>&1 || fail "troupe data --algorithm $algorithm: $(cat "$SCRATCH/out")"
    grep -q " by $algorithm: . rows an epoch" "$SCRATCH/out" || fail "troupe data --algorithm $algorithm shows no rows"
done
echo '{"messages_of_mine": "What?", "label": "That."}' >"$SCRATCH/unknown.jsonl"
"$TROUPE" data "$SCRATCH/unknown.jsonl" >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
look "kto nothing: there is no column prompt"
echo '{"question": "What?", "answer": "That."}' >"$SCRATCH/unknown.jsonl"
"$TROUPE" data "$SCRATCH/unknown.jsonl" >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
look "sft nothing: there is no column text" "say which column is which of these: --columns='{\"prompt\": \"NAME\"}', in a recipe data.columns"
"$TROUPE" data "$SCRATCH/unknown.jsonl" --columns='{prompt: question}' >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
look "sft nothing: data.columns: expected a JSON object such as {\"prompt\": \"question\"}, found '{prompt: question}'"
"$TROUPE" data "$SCRATCH/unknown.jsonl" --columns='{"prompt": "question", "completion": "answer"}' >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
look "sft prompts with completions, columns as in TRL"
"$TROUPE" data "$SCRATCH/look.jsonl" --model "$MODEL" data.chat_template=chatml >"$SCRATCH/out" 2>"$SCRATCH/err" || fail "troupe data: $(cat "$SCRATCH/err")"
look "prompts with completions by sft: 4 rows an epoch" "3 of 4 rows are bad: such a row ends a run, or is left out (data.on_bad_row: drop)" "Sag „ja“.<|im_end|>"
grep -q "look.jsonl:2: output (completion): expected a text or a list of messages, found null" "$SCRATCH/out" || fail "a null is not named"
for command in "data $SCRATCH/look.jsonl --model $MODEL data.chat_template=chatml" "check $SCRATCH/sft.yaml name=look data.train=[$SCRATCH/look.jsonl] data.chat_template=chatml" \
    "render --model $MODEL --template chatml $SCRATCH/look.jsonl"; do
    $TROUPE $command >/dev/null 2>"$SCRATCH/err" # the rows are bad besides
    grep -qF 'tokens="<|im_start|> <|im_end|>" "the chat template writes these and the tokenizer lacks them' "$SCRATCH/err" ||
        fail "troupe ${command%% *} does not say that the tokenizer lacks ChatML's tokens"
done
# warned TOKENS MODEL TEMPLATE-TEXT: these tokens are said to be missing, and no other.
warned()
{
    printf '%s' "$3{%- for m in messages %}{{ m.role }} {{ m.content }} {%- endfor %}{% if tools %}<tools>{{ tools }}</tools>{% endif %}" >"$SCRATCH/template.jinja"
    "$TROUPE" render --model "$2" --template "$SCRATCH/template.jinja" "$SCRATCH/look.jsonl" >/dev/null 2>"$SCRATCH/err"
    found=$(sed -n 's/.*tokens="\([^"]*\)".*/\1/p' "$SCRATCH/err")
    [ "$found" = "$1" ] || fail "of '$3' the tokens '$found' are said to be missing, not '$1'"
}
cp -r "$MODEL" "$SCRATCH/llama" && sed -i 's/<|endoftext|>/<s>/g' "$SCRATCH"/llama/*.json
warned "<｜User｜> <start_of_turn> <think> </think>" "$SCRATCH/llama" '<s>[INST]<｜User｜><start_of_turn><think></think> <1> <a b> [inst]'
warned "" "$SCRATCH/llama" '<s>[INST] [/INST]' # plain text to Llama 2
warned "<s> [INST] [/INST]" "$MODEL" '<s>[INST]<|endoftext|>[/INST]'
# Lengths by `troupe tokenize`: a begin token, the text, an end token.
head -n 20 examples/data/pairs.jsonl | python3 -c 'import json, sys; [print(json.dumps(json.loads(line)["prompt"])) for line in sys.stdin]' >"$SCRATCH/texts"
python3 -c 'import json, sys; [print(json.dumps({"text": json.loads(line)})) for line in open(sys.argv[1])]' "$SCRATCH/texts" >"$SCRATCH/texts.jsonl"
"$TROUPE" data "$SCRATCH/texts.jsonl" --model "$MODEL" --algorithm sft --rows 0 >"$SCRATCH/out" 2>&1 || fail "troupe data: $(cat "$SCRATCH/out")"
"$TROUPE" tokenize --model "$MODEL" "$SCRATCH/texts" | python3 -c '
import json, sys
lengths = [len(json.loads(line)) + 1 for line in sys.stdin]
print(f"rows with their prompts: {min(lengths)} to {max(lengths)} tokens, {sum(lengths) / len(lengths):.1f} on average")' >"$SCRATCH/lengths"
look "$(cat "$SCRATCH/lengths")"
"$TROUPE" data --recipe "$SCRATCH/sft.yaml" "data.train=[{path: $SCRATCH/heavy.jsonl, weight: 2, columns: {prompt: question}}, $SCRATCH/light.jsonl]" >"$SCRATCH/out" 2>&1 ||
    fail "troupe data: $(cat "$SCRATCH/out")"
look "9 rows in 2 files" "prompts with completions by sft: 12 rows an epoch"
"$TROUPE" data "$SCRATCH/light.jsonl" --algorithm none >/dev/null 2>"$SCRATCH/err" && fail "no algorithm reads rows"
grep -qF "there is no algorithm 'none'" "$SCRATCH/err" || fail "the algorithm is not named: $(cat "$SCRATCH/err")"
"$TROUPE" data >/dev/null 2>"$SCRATCH/err" && fail "no file is looked at"
grep -qF "expected data files, or --recipe, which names them" "$SCRATCH/err" || fail "no file is named: $(cat "$SCRATCH/err")"
