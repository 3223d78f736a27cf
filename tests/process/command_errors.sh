#!/usr/bin/env bash
# Mistakes of a person at the `troupe` command: each fails with its exit code and says what is wrong, last on standard error.
set -u -o pipefail
troupe=${TROUPE_BUILD:-build}/bin/troupe
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

complain()
{
    echo "FAILED: $*"
    sed 's/^/    /' "$scratch/err"
    failures=$((failures + 1))
}

# expect CODE WORDS ARGUMENT...: troupe's exit code, and words that must stand in standard error; standard output is empty.
expect()
{
    local code=$1 words=$2 got
    shift 2
    "$troupe" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    got=$?
    [ "$got" -eq "$code" ] || complain "troupe $*: exit code $got instead of $code"
    grep -qF -- "$words" "$scratch/err" || complain "troupe $*: '$words' is not said"
    [ ! -s "$scratch/out" ] || complain "troupe $*: a failure prints on standard output"
}

says()
{
    grep -qF -- "$1" "$scratch/err" || complain "'$1' is not said"
}

last_line_says()
{
    tail -n 1 "$scratch/err" | grep -qF -- "$1" || complain "the last line does not say '$1'"
}

# Usage
expect 64 "unknown command 'dance'" dance
expect 64 "a command is missing"
expect 64 "unrecognized option '--no-such'" run --no-such
expect 64 "the recipe is missing" run
expect 64 "the recipe is missing" check
expect 64 "the run directory is missing" resume
expect 11 "there is no run in 'first'" resume first steps=2
expect 64 "the run directory is missing" status
expect 64 "--model and --prompt are needed" generate --prompt x
expect 64 "--top-p: expected a number" generate --top-p 2 --model x --prompt x
expect 64 "--seed: expected a whole number" generate --seed -1 --model x --prompt x
expect 64 "found 'many'" generate --samples many --model x --prompt x
expect 64 "--temperature: expected a number" logprobs --temperature nan --model x --prompt x --response x
expect 64 "--model, --prompt and --response are needed" logprobs --model x
expect 64 "the directory of the keys is missing" keys

# Every mistake of a recipe at once
cat >"$scratch/bad.yaml" <<'YAML'
name: bad
algorithm: ppo
steps: none
optimizer: {learning_rate: fast}
colour: red
YAML
for command in run check; do
    expect 11 "bad.yaml:3: steps:" "$command" "$scratch/bad.yaml" "output=$scratch/runs" roles.rollout.wrokers=2
    says "bad.yaml:4: optimizer.learning_rate:"
    says "bad.yaml:5: colour:"
    says "command line: roles.rollout.wrokers:"
    last_line_says "mistakes above"
done
[ ! -e "$scratch/runs" ] || complain "a recipe with mistakes left a run directory"
expect 13 "no-such.yaml" run "$scratch/no-such.yaml"
expect 13 "no-such.yaml" check "$scratch/no-such.yaml"

# What is not there
expect 13 "there is no model directory '$scratch/none'; of the Hub's, hf download NAME" generate --model "$scratch/none" --prompt x
expect 13 "there is no model directory '$scratch/none'; of the Hub's, hf download NAME" logprobs --model "$scratch/none" --prompt x --response y
expect 11 "there is no run in" resume "$scratch"
expect 18 "no run is going on in" status "$scratch"
echo "ipc://$scratch/nobody.sock" >"$scratch/endpoint"
expect 17 "no controller answered" status "$scratch"

# A reward model has no probabilities of tokens
mkdir "$scratch/scores"
sed 's/"LlamaForCausalLM"/"LlamaForSequenceClassification"/; s/{/{"num_labels": 1,/' examples/models/stories/config.json >"$scratch/scores/config.json"
cp examples/models/stories/token* examples/models/stories/model.safetensors "$scratch/scores"
for algorithm in ppo sft; do
    cat >"$scratch/$algorithm.yaml" <<YAML
{name: scores, algorithm: $algorithm, steps: 1, model: $scratch/scores, output: $scratch/runs,
 $([ $algorithm = sft ] && echo "data: {train: [$PWD/examples/data/openings.jsonl]}" || echo "data: {prompts: [$PWD/examples/data/openings.jsonl]}, roles: {reward: [{words: {happy: 1}}]}")}
YAML
    expect 11 "holds a model with a scalar head, which generates no text" run "$scratch/$algorithm.yaml"
done
expect 11 "which generates no text" sample --model "$scratch/scores" --prompts examples/data/openings.jsonl --judge 'words: {happy: 1}' \
    --out "$scratch/rows.jsonl"

# Keys are made once
"$troupe" keys "$scratch/keys" >"$scratch/out" 2>"$scratch/err" || complain "keys cannot be made"
expect 11 "holds keys already" keys "$scratch/keys"
expect 11 "cannot name a certificate" keys "$scratch/keys" --add ../worker
"$troupe" keys "$scratch/keys" --add far >"$scratch/out" 2>"$scratch/err" || complain "a certificate cannot be added"
[ "$(stat -c %a "$scratch/keys/far.cert_secret")" = 600 ] || complain "a secret is readable by others"

# Help
for command in "" run resume check status generate logprobs tokenize keys devices; do
    "$troupe" $command --help >"$scratch/out" 2>"$scratch/err" || complain "troupe $command --help fails"
    grep -q '^Usage: troupe' "$scratch/out" || complain "troupe $command --help shows no usage"
done
for command in run resume check status generate logprobs tokenize keys devices; do
    "$troupe" --help | grep -qE "^  $command " || complain "--help does not list '$command'"
done
"$troupe" --version | grep -qE '^troupe [0-9]' || complain "--version names no version"

[ "$failures" -eq 0 ]
