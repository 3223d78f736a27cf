#!/usr/bin/env bash
# What `troupe check` refuses `run` refuses too, in the same words, before anything starts: and no run directory is left.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

# Directories that are not what a role needs, from the model that ships: a reward model, files cut short, another vocabulary, ...
PYTHONPATH=tests/process/keys TROUPE=$TROUPE SCRATCH=$SCRATCH python3 - "$MODEL" "$SCRATCH" <<'PYTHON' || fail "the models cannot be made"
import array, json, os, shutil, sys
from harness import read_tensors, write_tensors

source, scratch = sys.argv[1:]


def copy(name, **config):
    shutil.copytree(source, os.path.join(scratch, name))
    path = os.path.join(scratch, name, "config.json")
    with open(path, encoding="utf-8") as file:
        old = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**old, **config}, file)
    return os.path.join(scratch, name)


def shapes(path):
    with open(os.path.join(path, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def rewrite(path, change):
    old, shape = read_tensors(os.path.join(path, "model.safetensors")), shapes(path)
    tensors = {name: (shape[name], values) for name, values in old.items()}
    change(tensors)
    write_tensors(os.path.join(path, "model.safetensors"), tensors)


with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
    config = json.load(file)
hidden, vocabulary = config["hidden_size"], config["vocab_size"]


def scalar(tensors):
    tensors.pop("lm_head.weight", None)
    tensors["score.weight"] = ([1, hidden], array.array("f", [0.0] * hidden))


def shorter(tensors):
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in tensors:
            tensors[name] = ([vocabulary - 8, hidden], tensors[name][1][: (vocabulary - 8) * hidden])


one_label = {"architectures": ["LlamaForSequenceClassification"], "num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
             "tie_word_embeddings": False}
rewrite(copy("reward-model", **one_label), scalar)
rewrite(copy("few-tokens", vocab_size=vocabulary - 8), shorter)
copy("short", max_position_embeddings=64)
path = os.path.join(copy("picture-token"), "tokenizer.json")
with open(path, encoding="utf-8") as file:
    tokenizer = json.load(file)
tokenizer["added_tokens"].append({"id": vocabulary, "content": "<image_soft_token>", "special": True})
with open(path, "w", encoding="utf-8") as file:
    json.dump(tokenizer, file)
copy("other-tokens")
path = os.path.join(scratch, "other-tokens", "tokenizer.json")
with open(path, encoding="utf-8") as file:
    tokenizer = json.load(file)
ids = tokenizer["model"]["vocab"]
ids["e"], ids["t"] = ids["t"], ids["e"]
with open(path, "w", encoding="utf-8") as file:
    json.dump(tokenizer, file)
cut = os.path.join(copy("cut"), "model.safetensors")
os.truncate(cut, os.path.getsize(cut) - 1000)
os.truncate(os.path.join(copy("cut-header"), "model.safetensors"), 100)
os.remove(os.path.join(copy("no-weights"), "model.safetensors"))
os.remove(os.path.join(copy("no-tokenizer"), "tokenizer.json"))
os.rename(os.path.join(copy("adapter"), "config.json"), os.path.join(scratch, "adapter", "adapter_config.json"))
copy("window", sliding_window=512)


def another_head(tensors):
    tensors["lm_head.weight"] = ([vocabulary, hidden], array.array("f", [0.5] * (vocabulary * hidden)))


rewrite(copy("own-head", tie_word_embeddings=True, attention_dropout=0.1), another_head)
rewrite(copy("no-head"), lambda tensors: tensors.pop("model.norm.weight"))
shutil.copytree(os.path.join(scratch, "reward-model"), os.path.join(scratch, "cut-judge"))
os.truncate(os.path.join(scratch, "cut-judge", "model.safetensors"), 5000)
shutil.copytree(os.path.join(scratch, "reward-model"), os.path.join(scratch, "mute-judge"))
os.remove(os.path.join(scratch, "mute-judge", "tokenizer.json"))
PYTHON

cat >"$SCRATCH/ppo.yaml" <<YAML
name: a
algorithm: ppo
steps: 1
model: $MODEL
output: $SCRATCH/runs
data: {prompts: [$PWD/examples/data/openings.jsonl], batch: 4}
generation: {max_new_tokens: 4}
roles: {reward: [{words: {a: 1}}]}
YAML
cat >"$SCRATCH/dpo.yaml" <<YAML
name: a
algorithm: dpo
steps: 1
model: $MODEL
output: $SCRATCH/runs
data: {train: [$PWD/examples/data/pairs.jsonl], batch: 4}
YAML
cat >"$SCRATCH/sft.yaml" <<YAML
name: a
algorithm: sft
steps: 1
model: $MODEL
output: $SCRATCH/runs
data: {train: [$SCRATCH/texts.jsonl], batch: 1}
YAML
echo '{"text": "Once upon a time."}' >"$SCRATCH/texts.jsonl"

# refused RECIPE WORDS [KEY=VALUE ...]: by `check` and by `run`, each on its standard error, and nothing is left behind.
refused()
{
    local recipe=$1 words=$2 command
    shift 2
    for command in check run; do
        if "$TROUPE" $command "$SCRATCH/$recipe.yaml" "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"; then
            fail "$command takes $recipe $*"
        fi
        grep -qF -- "$words" "$SCRATCH/err" || fail "$command $recipe $* does not say '$words', but: $(cat "$SCRATCH/err")"
        [ ! -e "$SCRATCH/runs/a" ] || fail "$command $recipe $* leaves a run directory"
    done
}

say "models that cannot be what their role needs"
"$TROUPE" check "$MODEL" 2>"$SCRATCH/err" && fail "a directory is a recipe"
grep -qF "expected a recipe, found the directory '$MODEL': a model's stands in a recipe" "$SCRATCH/err" || fail "check of a directory says $(cat "$SCRATCH/err")"
refused sft "there is no model directory '$SCRATCH/Qwen/Qwen3-0.6B'; of the Hub's, hf download NAME" "model=$SCRATCH/Qwen/Qwen3-0.6B"
refused ppo "model: '$SCRATCH/reward-model' holds a model with a scalar head" model="$SCRATCH/reward-model"
refused dpo "model: '$SCRATCH/reward-model' holds a model with a scalar head" model="$SCRATCH/reward-model"
refused sft "model: $SCRATCH/cut/model.safetensors: " model="$SCRATCH/cut"
refused sft "model: $SCRATCH/cut-header/model.safetensors: " model="$SCRATCH/cut-header"
refused sft "' holds no model.safetensors and no model.safetensors.index.json: expected what save_pretrained" model="$SCRATCH/no-weights"
touch "$SCRATCH/no-weights/pytorch_model.bin"
refused sft "a pickle can run any program, so pytorch_model.bin is not read: load it in transformers" model="$SCRATCH/no-weights"
mkdir -p "$SCRATCH/models--a--b/snapshots"
refused sft "'$SCRATCH/models--a--b' holds no config.json: it is of the Hub's cache: name the folder of a revision" model="$SCRATCH/models--a--b"
refused sft "$SCRATCH/no-tokenizer/tokenizer.json" model="$SCRATCH/no-tokenizer"
refused sft "there is no tensor 'model.norm.weight'" model="$SCRATCH/no-head"
refused sft "the tokenizer has" model="$SCRATCH/few-tokens"
refused sft "model: '$SCRATCH/adapter' holds an adapter of PEFT" model="$SCRATCH/adapter"
refused sft "sliding_window: expected no such key of a llama model, found 512" model="$SCRATCH/window"
refused dpo "reference: '$SCRATCH/reward-model' holds a model with a scalar head" reference="$SCRATCH/reward-model"
refused ppo "reference: '$SCRATCH/few-tokens' has a vocabulary of" reference="$SCRATCH/few-tokens"
refused dpo "reference: '$SCRATCH/other-tokens' and '$MODEL' have different tokenizers" reference="$SCRATCH/other-tokens"
refused dpo "reference: $SCRATCH/cut/model.safetensors: " reference="$SCRATCH/cut"
refused ppo "roles.critic.model: '$SCRATCH/few-tokens' has a vocabulary of" roles.critic.model="$SCRATCH/few-tokens"
refused ppo "roles.reward.0.model: '$MODEL' is a language model" "roles.reward=[{model: $MODEL}]"
refused ppo "roles.reward.1.model: $SCRATCH/cut-judge/model.safetensors: " "roles.reward=[{words: {a: 1}}, {model: $SCRATCH/cut-judge}]"
refused ppo "$SCRATCH/mute-judge/tokenizer.json" "roles.reward=[{model: $SCRATCH/mute-judge}]"
# 512 positions of the policy against 64: rows of up to max_length tokens, a prompt and its response
room="'$SCRATCH/short' has 64 positions, and the recipe lets sequences of"
refused dpo "reference: $room 512 tokens through: lower dpo.max_length" reference="$SCRATCH/short"
refused dpo "reference: $room 65 tokens through" reference="$SCRATCH/short" dpo.max_length=65
refused ppo "reference: $room 512 tokens through: lower data.max_prompt_length and generation.max_new_tokens" reference="$SCRATCH/short"
refused ppo "roles.critic.model: $room 65 tokens through" roles.critic.model="$SCRATCH/short" data.max_prompt_length=61
"$TROUPE" check "$SCRATCH/ppo.yaml" reference="$SCRATCH/short" data.max_prompt_length=60 >/dev/null || fail "64 tokens do not fit 64 positions"
"$TROUPE" run "$SCRATCH/dpo.yaml" name=fits reference="$SCRATCH/short" dpo.max_length=64 data.on_bad_row=drop data.batch=1 >/dev/null || fail "rows of 64 tokens do not fit 64 positions"
"$TROUPE" check "$SCRATCH/ppo.yaml" "roles.reward=[{model: $SCRATCH/reward-model}]" roles.critic.model="$SCRATCH/reward-model" >/dev/null ||
    fail "a reward model is no judge and no critic"
"$TROUPE" check "$SCRATCH/sft.yaml" model="$SCRATCH/own-head" >/dev/null 2>"$SCRATCH/err" || fail "a head of its own is refused"
grep -q "the file's head is used" "$SCRATCH/err" || fail "check does not say which head is used, but: $(cat "$SCRATCH/err")"
grep -q 'attention_dropout=0.1 .*"dropout is not applied' "$SCRATCH/err" || fail "check does not say that there is no dropout"
"$TROUPE" sample --model "$SCRATCH/reward-model" --prompts examples/data/openings.jsonl -J 'words: {a: 1}' -o "$SCRATCH/o.jsonl" 2>"$SCRATCH/err" &&
    fail "a reward model is sampled from"
grep -qF "'$SCRATCH/reward-model' holds a model with a scalar head" "$SCRATCH/err" || fail "sample says $(cat "$SCRATCH/err")"
[ ! -e "$SCRATCH/o.jsonl.run" ] || fail "sample leaves a run directory"

say "an added token that the model has no id for, as of Gemma 3's text models: a row that has it is named"
"$TROUPE" run "$SCRATCH/sft.yaml" name=picture model="$SCRATCH/picture-token" >/dev/null 2>"$SCRATCH/err" || fail "such a tokenizer is refused: $(cat "$SCRATCH/err")"
cmp "$SCRATCH/picture-token/tokenizer.json" "$SCRATCH/runs/picture/final/tokenizer.json" || fail "the token is not saved"
echo '{"text": "See <image_soft_token> here."}' >"$SCRATCH/picture.jsonl"
refused sft "picture.jsonl:1: the token '<image_soft_token>' has the id 1024, and the model's vocabulary 1024: resize the model" \
    model="$SCRATCH/picture-token" "data.train=[$SCRATCH/picture.jsonl]"
"$TROUPE" logprobs --model "$SCRATCH/picture-token" --prompt Once --response " <image_soft_token>" >/dev/null 2>"$SCRATCH/err" && fail "an id past the vocabulary is read"
grep -qF "the response: the token '<image_soft_token>' has the id 1024" "$SCRATCH/err" || fail "logprobs says $(cat "$SCRATCH/err")"

say "chat templates"
echo '{% if %}' >"$SCRATCH/broken.jinja"
echo '{% for m in messages %}{% if m.role == "tool" %}{{ raise_exception("no tools") }}{% endif %}{% endfor %}' >"$SCRATCH/raises.jinja"
echo '{"messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "Yes"}]}' >"$SCRATCH/talk.jsonl"
talks="data.train=[$SCRATCH/talk.jsonl]"
refused sft "data.chat_template: expected chatml, llama2, llama3" "$talks" data.chat_template=none.jinja
refused sft "the chat template of '$SCRATCH/broken.jinja': line 1: expected a value" "$talks" "data.chat_template=$SCRATCH/broken.jinja"
refused sft "talk.jsonl:1: the chat template: line 1: the template says: no tools" "$talks" "data.chat_template=$SCRATCH/raises.jinja"
refused sft "data.chat_template_kwargs: expected a map" "$talks" data.chat_template=chatml data.chat_template_kwargs=3

say "judges that cannot start"
echo 'import no_such_module' >"$SCRATCH/imports.py"
echo 'def judge(' >"$SCRATCH/unfinished.py"
refused ppo "roles.reward.0.exec: cannot read the script '$SCRATCH/none.py'" "roles.reward=[{exec: [python3, $SCRATCH/none.py]}]"
refused ppo "there is no module 'no_such_module'" "roles.reward=[{exec: [python3, $SCRATCH/imports.py]}]"
refused ppo "'$SCRATCH/unfinished.py' would fail: line 1" "roles.reward=[{exec: [python3, $SCRATCH/unfinished.py]}]"

say "what nothing reads"
refused dpo "data.prompts: algorithm 'dpo' does not read this key" 'data.prompts=[examples/data/openings.jsonl]'
refused ppo "data.train: algorithm 'ppo' does not read this key" 'data.train=[examples/data/pairs.jsonl]'
refused dpo "kto.beta: algorithm 'dpo' does not read this key" kto.beta=0.3
refused dpo "dpo.f_divergence_type: read only where loss_type is none of" dpo.loss_type=simpo dpo.f_divergence_type=forward_kl
refused dpo "dpo.ld_alpha: read only where loss_type is none of" dpo.loss_type=simpo dpo.ld_alpha=0.5
refused dpo "reference: the loss compares with no reference" dpo.loss_type=simpo reference="$MODEL"
"$TROUPE" check "$SCRATCH/dpo.yaml" kto.beta=0.1 >/dev/null 2>"$SCRATCH/err" || fail "a default that nothing reads is a mistake"
grep -qF "note: command line: kto.beta: algorithm 'dpo' does not read this key" "$SCRATCH/err" || fail "a default that nothing reads is not noted"
refused sft "data.chat_template: no row of the data files is of the kind" data.chat_template=plain
refused dpo "data.prompt_column: no row of the data files is of the kind" data.prompt_column=question
refused ppo "generation.stop_ids: expected ids below 1024" 'generation.stop_ids=[1024]'

say "a place for the run, and an address, that cannot be had"
: >"$SCRATCH/plain"
refused sft "output: '$SCRATCH/plain/a' cannot be made: '$SCRATCH/plain' is no directory" "output=$SCRATCH/plain"
refused sft "network: expected an address such as tcp://127.0.0.1:5555 or ipc://PATH, found 'garbage'" network.bind=garbage
refused sft "network: expected an address such as tcp://127.0.0.1:5555 or ipc://PATH, found 'tcp://127.0.0.1:99999'" network.bind=tcp://127.0.0.1:99999
refused sft "holds no readable certificate" "network.keys=$SCRATCH"
refused ppo "network.weights_port: read only where roles.rollout.external is above 0" network.weights_port=7001
refused ppo "ppo.target_kl: ends epochs early, and ppo.num_ppo_epochs is 1" ppo.target_kl=0.1 ppo.num_ppo_epochs=1
refused dpo "dpo.loss_weights: expected a weight other than 0" "dpo.loss_weights=[0]"

say "data that cannot be learnt from, each mistake listed to a bound"
for i in $(seq 60); do
    [ $((i % 2)) = 0 ] && echo '{"text": "Once."}' || echo '{"txt": "Once."}'
done >"$SCRATCH/halves.jsonl"
refused sft "halves.jsonl:1: text: the column is missing (and 29 more bad rows); data.on_bad_row: drop" "data.train=[$SCRATCH/halves.jsonl]"
[ "$("$TROUPE" check "$SCRATCH/sft.yaml" "data.train=[$SCRATCH/halves.jsonl]" 2>&1 >/dev/null | grep -c ': text: the column is missing$')" = 20 ] ||
    fail "check does not list twenty bad rows"
[ "$("$TROUPE" run "$SCRATCH/sft.yaml" "data.train=[$SCRATCH/halves.jsonl]" 2>/dev/null | grep -c ': text: the column is missing$')" = 20 ] ||
    fail "run does not list twenty bad rows"

say "columns that nothing reads are free to hold anything; a flawed one that is read is named, and so are held-out rows"
cat >"$SCRATCH/clean.jsonl" <<'ROWS'
{"text": "Once upon a time."}
{"text": "The cat sat."}
ROWS
cat >"$SCRATCH/strange.jsonl" <<'ROWS'
{"id": 18446744073709551615, "text": "Once upon a time.", "score": NaN, "more": [Infinity, -1e400]}
{"raw": "\u0000 \ud800", "text": "The cat sat.", "raw": {"a": 1, "a": 2}}
ROWS
printf '\xEF\xBB\xBF%s\r\n \r\n%s\r\n' '{"text": "Once\ud800"}' '{"text": "One", "text": "Two"}' >"$SCRATCH/flawed.jsonl"
python3 -c 'import json, sys; [json.loads(line) for path in sys.argv[1:] for line in open(path, encoding="utf-8-sig") if line.strip()]' \
    "$SCRATCH/strange.jsonl" "$SCRATCH/flawed.jsonl" || fail "Python does not take these rows either"
for name in clean strange; do
    "$TROUPE" run "$SCRATCH/sft.yaml" name=$name steps=2 "data.train=[$SCRATCH/$name.jsonl]" >/dev/null 2>"$SCRATCH/err" || fail "$name rows: $(cat "$SCRATCH/err")"
done
cmp "$SCRATCH/runs/clean/final/model.safetensors" "$SCRATCH/runs/strange/final/model.safetensors" || fail "what nothing reads changes the weights"
refused sft "flawed.jsonl:1: text: found half of a surrogate pair" "data.train=[$SCRATCH/strange.jsonl]" "data.eval=[$SCRATCH/flawed.jsonl]"
"$TROUPE" check "$SCRATCH/sft.yaml" "data.train=[$SCRATCH/halves.jsonl]" "data.eval=[$SCRATCH/flawed.jsonl]" >/dev/null 2>"$SCRATCH/err" && fail "bad rows pass"
grep -qx "$SCRATCH/flawed.jsonl:3: text: found the column twice" "$SCRATCH/err" || fail "a held-out row is not named beside the others: $(cat "$SCRATCH/err")"
grep -q "halves.jsonl:3: text: the column is missing" "$SCRATCH/err" || fail "a row is not named beside held-out ones: $(cat "$SCRATCH/err")"

say "the corrected command just runs"
refused sft "data.batch is 2 and the files hold 1 rows" data.batch=2
"$TROUPE" run "$SCRATCH/sft.yaml" "data.train=[$SCRATCH/halves.jsonl]" data.on_bad_row=drop >"$SCRATCH/out" 2>"$SCRATCH/err" ||
    fail "the corrected command does not run: $(cat "$SCRATCH/err")"
grep -qF "data.train: 30 of 60 rows are bad and were dropped" "$SCRATCH/out" || fail "dropped rows are not counted"

say "a run that is there"
for command in check run; do
    "$TROUPE" $command "$SCRATCH/sft.yaml" >/dev/null 2>"$SCRATCH/err" && fail "$command takes a run that is there"
    grep -qF "there is a run in '$SCRATCH/runs/a' already" "$SCRATCH/err" || fail "$command says $(cat "$SCRATCH/err")"
done
# As deploy/quickstart does: what is done is not done twice.
again()
{
    "$TROUPE" run --again "$SCRATCH/sft.yaml" "data.train=[$SCRATCH/halves.jsonl]" data.on_bad_row=drop "$@"
}
before=$(sha256sum "$SCRATCH/runs/a/final/model.safetensors")
again | grep -qF "the run is finished" || fail "a finished run is not said to be"
[ "$(sha256sum "$SCRATCH/runs/a/final/model.safetensors")" = "$before" ] || fail "a finished run runs again"
again seed=2 >/dev/null 2>"$SCRATCH/err" && fail "another recipe goes on with a run"
grep -qF "was begun with other options" "$SCRATCH/err" || fail "another recipe is refused by $(cat "$SCRATCH/err")"
rm -r "$SCRATCH/runs/a/final" "$SCRATCH"/runs/a/checkpoints/*
again >/dev/null || fail "a run that is not finished does not go on"
[ "$(sha256sum "$SCRATCH/runs/a/final/model.safetensors")" = "$before" ] || fail "it goes on to other bytes"

say "shared memory and a group's limit that are too small"
narrow()
{
    unshare -m sh -c "mount -t tmpfs -o size=$1 none /dev/shm && exec \"\$0\" check \"\$@\"" "$TROUPE" "$SCRATCH/ppo.yaml" name=narrow 2>&1
}
if unshare -m mount -t tmpfs -o size=64k none /dev/shm 2>/dev/null; then
    narrow 64k >"$SCRATCH/out" && fail "check takes a /dev/shm of 64 KiB"
    grep -qF "/dev/shm: " "$SCRATCH/out" || fail "it is refused by $(cat "$SCRATCH/out")"
    narrow 64m >/dev/null || fail "check refuses a /dev/shm of 64 MiB"
else
    echo "   (mounting is not allowed here)"
fi

say "paths are relative to the recipe's file, those of the command line to the current directory"
mkdir -p "$SCRATCH/place/data" "$SCRATCH/elsewhere"
cp -r "$MODEL" "$SCRATCH/place/model"
cp "$SCRATCH/texts.jsonl" "$SCRATCH/place/data/texts.jsonl"
head -n 8 examples/data/openings.jsonl >"$SCRATCH/place/data/prompts.jsonl"
cp examples/rewards/happy_words.py "$SCRATCH/place/judge.py"
cat >"$SCRATCH/place/sft.yaml" <<YAML
name: a
algorithm: sft
steps: 2
model: model
output: runs
data: {train: [./data/texts.jsonl], batch: 1}
YAML
cat >"$SCRATCH/place/sample.yaml" <<YAML
name: b
algorithm: sample
steps: 1
model: ../place/model
data: {prompts: data/prompts.jsonl, batch: 8}
generation: {max_new_tokens: 4}
roles: {reward: [{exec: [python3, judge.py]}]}
YAML
troupe=$(realpath "$TROUPE")
(
    cd "$SCRATCH/elsewhere" || exit 1
    "$troupe" run ../place/sft.yaml >/dev/null || fail "a recipe cannot be run from another directory"
    [ -d "$SCRATCH/place/runs/a/final" ] || fail "output is not relative to the recipe"
    grep -qxF "model: $SCRATCH/elsewhere/../place/model" "$SCRATCH/place/runs/a/recipe.yaml" || fail "the frozen copy has a relative path"
    cp "$SCRATCH/texts.jsonl" here.jsonl
    "$troupe" run ../place/sft.yaml name=c output=mine 'data.train=[here.jsonl]' >"$SCRATCH/out" || fail "paths of the command line are not its own"
    [ -d "$SCRATCH/elsewhere/mine/c/final" ] || fail "output of the command line is not relative to the current directory"
    grep -qF "running mine/c: " "$SCRATCH/out" || fail "the run is not called by its relative name"
) || exit 1
if python3 -c 'import zmq, msgpack' 2>/dev/null; then
    (
        cd "$SCRATCH/elsewhere" || exit 1
        "$troupe" run ../place/sample.yaml >/dev/null || fail "a judge beside the recipe is not found"
        [ -d runs/b ] || fail "the default of output is not in the current directory"
        grep -qF "/place/judge.py" runs/b/recipe.yaml || fail "the frozen copy has a relative judge"
    ) || exit 1
fi
rm -r "$SCRATCH"/place/runs/a/final "$SCRATCH"/place/runs/a/checkpoints/*
sum=$(sha256sum "$SCRATCH/elsewhere/mine/c/final/model.safetensors" | cut -d' ' -f1)
(cd / && "$troupe" resume "$SCRATCH/place/runs/a" >/dev/null) || fail "resume does not work from another directory"
sha256sum "$SCRATCH/place/runs/a/final/model.safetensors" | grep -qF "$sum" || fail "another directory gives other bytes"

say "a run that goes on with more steps, another learning rate; and what may not change"
rows=$SCRATCH/learnt.jsonl
for word in cat dog bird fish; do
    echo "{\"text\": \"The $word was happy.\"}"
done >"$rows"
sft()
{
    "$TROUPE" run "$SCRATCH/sft.yaml" "data.train=[$rows]" optimizer.schedule=constant optimizer.learning_rate=1e-3 checkpoint.every=1 checkpoint.keep=9 "$@" \
        >"$SCRATCH/out" 2>&1 || fail "the run fails: $(tail -n 2 "$SCRATCH/out")"
}
goes_on()
{
    "$TROUPE" resume "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" || fail "resume $* fails: $(cat "$SCRATCH/err")"
}
stays()
{
    local words=$1
    shift
    "$TROUPE" resume "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" && fail "resume $* is taken"
    grep -qF -- "$words" "$SCRATCH/err" || fail "resume $* does not say '$words', but: $(cat "$SCRATCH/err")"
}
same_model()
{
    [ "$(sha256sum <"$SCRATCH/runs/$1/final/model.safetensors")" = "$(sha256sum <"$SCRATCH/runs/$2/final/model.safetensors")" ]
}
sft name=long steps=4
sft name=short steps=2
same_model long short && fail "two steps more change nothing"
goes_on "$SCRATCH/runs/short"
grep -qF "the run is finished" "$SCRATCH/out" || fail "a finished run goes on without more steps"
goes_on "$SCRATCH/runs/short" steps=4
same_model long short || fail "an extended run is not the longer run"
[ "$(wc -l <"$SCRATCH/runs/short/metrics.jsonl")" = 4 ] || fail "the extended run has other lines"
goes_on "$SCRATCH/runs/short" steps=5 optimizer.learning_rate=2e-3
tail -n 1 "$SCRATCH/runs/short/metrics.jsonl" | grep -qF '"learning_rate": 0.002' || tail -n 1 "$SCRATCH/runs/short/metrics.jsonl" | grep -qF '"learning_rate":0.002' ||
    fail "the learning rate is the old one"
grep -qF '"step": 4, "changes": ["steps: 4 -> 5", "optimizer.learning_rate: 0.001 -> 0.002"]' "$SCRATCH/runs/short/changes.jsonl" ||
    fail "the change is not recorded: $(cat "$SCRATCH/runs/short/changes.jsonl")"
stays "seed: it was 1 when the run was saved, and may not change" "$SCRATCH/runs/short" steps=6 seed=2
stays "data.batch: it was 1" "$SCRATCH/runs/short" steps=6 data.batch=2
stays "model: it was" "$SCRATCH/runs/short" steps=6 model="$SCRATCH/place/model"
stays "data.shuffle: it was true" "$SCRATCH/runs/short" steps=6 data.shuffle=false
stays "steps: the run has taken 5 already" "$SCRATCH/runs/short" steps=3
sed -i 's/^seed: 1$/seed: 2/' "$SCRATCH/runs/short/recipe.yaml"
stays "seed: it was 1" "$SCRATCH/runs/short" steps=6
sed -i 's/^seed: 2$/seed: 1/' "$SCRATCH/runs/short/recipe.yaml"
sed -i 's/dog/cow/' "$rows"
cp "$SCRATCH/runs/short/recipe.yaml" "$SCRATCH/before.yaml"
stays "the rows of data.train are others than when the run was saved" "$SCRATCH/runs/short" steps=6
cmp -s "$SCRATCH/before.yaml" "$SCRATCH/runs/short/recipe.yaml" && [ -d "$SCRATCH/runs/short/final" ] || fail "a refused resume changes the run"
sed -i 's/cow/dog/' "$rows"
goes_on "$SCRATCH/runs/short" steps=6
stays "is a checkpoint: \`troupe resume $SCRATCH/runs/short\` resumes its run" "$SCRATCH/runs/short/checkpoints/step-000006" steps=8

# Rows are others by another template too.
echo '{"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]}' >"$SCRATCH/messages.jsonl"
echo '{% for m in messages %}{{ m.content }}.{% endfor %}' >"$SCRATCH/own.jinja"
sft name=templated steps=1 "data.train=[$SCRATCH/messages.jsonl]" data.batch=1 "data.chat_template=$SCRATCH/own.jinja"
sed -i 's/content }}[.]/content }}!/' "$SCRATCH/own.jinja"
stays "the rows of data.train or data.chat_template are others" "$SCRATCH/runs/templated" steps=2

# Values of other held-out rows, or of another metric, are not compared.
sft name=best steps=2 "data.eval=[$rows]" checkpoint.best=eval_loss
goes_on "$SCRATCH/runs/best" steps=3 checkpoint.best=eval_mean_token_accuracy
grep -qF "checkpoint.best is another metric: the best step so far, 2, is forgotten" "$SCRATCH/out" || fail "the best of another metric stays"
head -n 3 "$rows" >"$SCRATCH/fewer.jsonl"
goes_on "$SCRATCH/runs/best" steps=4 "data.eval=[$SCRATCH/fewer.jsonl]"
grep -qF "data.eval has other rows: the best step so far, 3, is forgotten" "$SCRATCH/out" || fail "the best of other rows stays"

say "models that are edited between a run and its resume are named; what is only copied, or put back, is the same"
cp -r "$MODEL" "$SCRATCH/own"
cp -r "$SCRATCH/reward-model" "$SCRATCH/judge"
# edited KEY DIRECTORY RUN WAY-OUT: each file that a model is loaded from
edited()
{
    local key=$1 directory=$2 run=$SCRATCH/runs/$3 way=$4 file
    for file in config.json tokenizer.json model.safetensors generation_config.json; do
        cp "$directory/$file" "$SCRATCH/kept"
        case $file in
        generation_config.json) rm "$directory/$file" ;;
        model.safetensors) printf '\1' | dd of="$directory/$file" bs=1 seek=$(($(stat -c %s "$directory/$file") - 3)) conv=notrunc status=none ;;
        *) echo >>"$directory/$file" ;;
        esac
        stays "$key: '$directory/$file' is another file than when the run began: put it back, or $way" "$run" steps=3
        cp "$SCRATCH/kept" "$directory/$file"
    done
    touch "$directory"/*
    goes_on "$run" steps=3
}
sft name=edited model="$SCRATCH/own" steps=2
edited model "$SCRATCH/own" edited "start a new run"
"$TROUPE" run "$SCRATCH/dpo.yaml" name=against reference="$SCRATCH/own" data.on_bad_row=drop dpo.max_length=64 data.batch=1 >/dev/null || fail "dpo does not run"
edited reference "$SCRATCH/own" against "start a new run"
"$TROUPE" run "$SCRATCH/ppo.yaml" name=judged "roles.reward=[{model: $SCRATCH/judge}]" >/dev/null || fail "ppo does not run"
edited roles.reward.0.model "$SCRATCH/judge" judged "name another model (roles.reward.0.model=DIR)"
echo >>"$SCRATCH/judge/config.json"
goes_on "$SCRATCH/runs/judged" steps=4 roles.reward.0.model="$SCRATCH/reward-model"
