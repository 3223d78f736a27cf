#!/usr/bin/env bash
# The tree's rules that no compiler knows:
#   - a header compiles alone;
#   - includes point down: daemons -> proto -> common, and no daemon includes another daemon's header;
#   - inside common: base knows only base; algo, text and data know no tensor, algo no input, output or heap,
#     text no data, and data neither a recipe nor an algorithm;
#     nothing but a backend knows a backend's folder, save for the header that opens it;
#   - a quoted include is a path from the repository root.
# Prints each breach as FILE:LINE: sentence; exits 1 when there is any. Needs a C compiler and pkg-config.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

DAEMONS='actor|critic|reward|rollout|controller'

files_in()
{
    find "$@" -name '*.[ch]' -type f -not -path 'tests/gpu/emulator/*' 2>/dev/null | sort # which is C++, with CUDA's own paths
}

# forbid FILES_REGEX INCLUDE_REGEX SENTENCE: no file whose path matches includes a path that matches.
forbid()
{
    printf '%s\n' "$sources" | grep -E "^($1)" | while read -r file; do
        grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" "$file" |
            sed "s|^\([0-9]*\):.*[<\"]\(.*\)[>\"].*|$file:\1: $3: '\2'|"
    done >>"$breaches"
}

sources=$(files_in common proto actor critic reward rollout controller deploy)

forbid 'common/' "proto/|deploy/|($DAEMONS)/" 'common/ includes what stands above it'
forbid 'proto/' "deploy/|($DAEMONS)/" 'proto/ includes what stands above it'
forbid 'common/|proto/' '(zmq|czmq)[a-z_]*\.h' 'sockets belong to proto/' # proto is let off below
sed -i '/^proto\/.*sockets belong to/d' "$breaches"
for daemon in ${DAEMONS//|/ }; do
    others=$(tr '|' '\n' <<<"$DAEMONS" | grep -vx "$daemon" | paste -sd '|')
    forbid "$daemon/" "($others|deploy)/" 'a daemon includes what belongs to another'
done
forbid 'common/base/' 'common/(tensor|model|text|data|optim|algo|hf|collective)/' 'base includes what stands above it'
forbid 'common/(algo|text|data)/' 'common/(tensor|model|hf|optim)/' 'algo, text and data know no tensor'
forbid 'common/text/' 'common/data/' 'text knows no rows'
forbid 'common/data/' 'common/(base/recipe|algo/)' 'rows know no recipe and no algorithm'
forbid 'common/algo/' 'stdio\.h|stdlib\.h|unistd\.h|fcntl\.h|common/base/(file|log)\.h' \
    'algo does no input or output and allocates nothing'
forbid 'common/(model|optim|hf)/|common/tensor/[^/]*$|proto/' 'common/tensor/(cpu|cuda)/' 'the operator table hides its backends'

for file in $(files_in common proto actor critic reward rollout controller deploy tests); do
    sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$file" | while read -r path; do
        [ -f "$path" ] || echo "$file: an include in quotes is a path from the repository root: '$path'"
    done
done >>"$breaches"

flags=$(pkg-config --cflags libczmq libzmq jansson yaml-0.1 libpcre2-8 libxxhash criterion 2>/dev/null)
alone()
{
    printf '#include "%s"\n#include "%s"\n' "$1" "$1" |
        ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -DTROUPE_VERSION='"0"' -I. $2 -Wall -Wextra -Werror -Wno-unused-function \
            -fsyntax-only -x c - 2>&1 | sed -n "s|^\(.*error:\)|$1: does not compile alone: \1|p"
}
for header in $(files_in common proto actor critic reward rollout controller deploy tests | grep '\.h$'); do
    case $header in
    common/tensor/cuda/*) continue ;; # C++, and needs the toolkit or what emulates it
    esac
    alone "$header" "$flags" >>"$breaches"
done

if [ -s "$breaches" ]; then
    cat "$breaches"
    exit 1
fi
echo "the layout holds: $(printf '%s\n' "$sources" | wc -l) files"
