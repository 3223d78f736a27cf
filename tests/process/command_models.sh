#!/usr/bin/env bash
# `troupe generate` and `troupe logprobs` on a real model. Skipped where stories260K is not at hand.
set -u -o pipefail
troupe=${TROUPE_BUILD:-build}/bin/troupe
model=${TROUPE_TEST_DATA:-../shared/data}/stories260K
[ -f "$model/model.safetensors" ] || {
    echo "stories260K is not here: set TROUPE_TEST_DATA to the folder that holds it."
    exit 77
}
failures=0

complain()
{
    echo "FAILED: $*"
    failures=$((failures + 1))
}

same()
{
    [ "$2" = "$3" ] || complain "$1: '$2' and '$3'"
}

differ()
{
    [ "$2" != "$3" ] || complain "$1: both are '$2'"
}

say()
{
    "$troupe" generate --model "$model" --prompt "Once upon a time" --max-new-tokens 24 "$@" || complain "generate $* fails"
}

# list NAME JSON: an array of the object on one line.
list()
{
    sed -n "s/.*\"$1\": \[\([^]]*\)\].*/\1/p" <<<"$2"
}

logprobs()
{
    "$troupe" logprobs --model "$model" --prompt "$1" --response "$2" || complain "logprobs fails"
}

# A text is a function of model, prompt, seed and number of the sample.
same "the same seed" "$(say --seed 7)" "$(say --seed 7)"
same "threads change nothing" "$(say --threads 1)" "$(say --threads 2)"
differ "another seed" "$(say --seed 7)" "$(say --seed 8)"
same "temperature 0 is greedy" "$(say --greedy)" "$(say --temperature 0)"
same "the likeliest of one is greedy" "$(say --greedy)" "$(say --top-k 1)"
same "greedy has no seed" "$(say --greedy)" "$(say --greedy --seed 9)"
both=$(say --samples 2)
same "the first sample" "$(say)" "$(sed -n '2p' <<<"$both")"
differ "the samples" "$(sed -n '2p' <<<"$both")" "$(sed -n '4p' <<<"$both")"
longer=$(say --greedy --max-new-tokens 30)
same "a longer text begins as the shorter one" "$(say --greedy)" "${longer:0:$(say --greedy | tr -d '\n' | wc -m)}"
# The model has 512 positions: what they cut is said, beside the response.
same "a short response needs no word" "$(say 2>&1 >/dev/null)" ""
grep -q "600 new tokens are more than the model's 512 positions leave" <<<"$(say --max-new-tokens 600 2>&1 >/dev/null)" ||
    complain "nobody says that the response is cut"

# The chain rule: a response in two pieces has the log-probabilities of the whole, bit for bit.
whole=$(logprobs "Once upon a time" ", there was")
first=$(logprobs "Once upon a time" ",")
rest=$(logprobs "Once upon a time," " there was")
for name in ids tokens logprobs; do
    same "$name in two pieces" "$(list "$name" "$whole")" "$(list "$name" "$first"), $(list "$name" "$rest")"
done
same "tokens as the tokenizer spells them" '",", "▁there", "▁was"' "$(list tokens "$whole")"
grep -qE '^(-[0-9.e-]+(, |$))+$' <<<"$(list logprobs "$whole")" || complain "a log-probability is not negative: $whole"

# What greedy speech says is likelier than what it does not say.
likely=$(logprobs "Once upon a time" "$(say --greedy --max-new-tokens 1)")
unlikely=$(logprobs "Once upon a time" " zoo")
[ "$(printf '%s\n' "$(list logprobs "$unlikely" | cut -d, -f1)" "$(list logprobs "$likely")" | sort -g | tail -n 1)" = \
    "$(list logprobs "$likely")" ] || complain "greedy speech is not the likeliest"

"$troupe" logprobs --model "$model" --prompt x --response "" 2>/dev/null && complain "an empty response has log-probabilities"

[ "$failures" -eq 0 ]
