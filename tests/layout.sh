#!/usr/bin/env bash
# The tree's rules that no compiler knows:
#   - a header compiles alone;
#   - includes point down: daemons -> proto -> common, and no daemon includes another daemon's header;
#   - inside common: base knows only base; algo and text know no tensor, and algo no input, output or heap;
#     nothing but a backend knows a backend's folder, and no backend the other's;
#   - a quoted include is a path from the repository root;
#   - a file begins with a comment that says what it is for;
#   - no line is longer than 100 columns, comments included;
#   - what README.md, CONTRIBUTING.md and docs/ name by a path or a link is there.
# C, CUDA and C++ alike. Prints each breach as FILE:LINE: sentence; exits 1 when there is any. Needs a C compiler and pkg-config.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

DAEMONS='actor|critic|reward|rollout|controller'
FOLDERS='common proto actor critic reward rollout controller deploy'

files_in()
{
    find "$@" \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' \) -type f 2>/dev/null | sort
}

# The emulator of CUDA has the toolkit's paths.
without_emulator()
{
    grep -v '^tests/gpu/emulator/'
}

# forbid FILES_REGEX INCLUDE_REGEX SENTENCE: no file whose path matches includes a path that matches.
forbid()
{
    printf '%s\n' "$sources" | grep -E "^($1)" | while read -r file; do
        grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" "$file" |
            sed "s|^\([0-9]*\):.*[<\"]\(.*\)[>\"].*|$file:\1: $3: '\2'|"
    done >>"$breaches"
}

# shellcheck disable=SC2086 # a word a folder
sources=$(files_in $FOLDERS)
all_sources=$(files_in $FOLDERS bench tests)

forbid 'common/' "proto/|deploy/|($DAEMONS)/" 'common/ includes what stands above it'
forbid 'proto/' "deploy/|($DAEMONS)/" 'proto/ includes what stands above it'
forbid 'common/|proto/' '(zmq|czmq)[a-z_]*\.h' 'sockets belong to proto/' # proto is let off below
sed -i '/^proto\/.*sockets belong to/d' "$breaches"
for daemon in ${DAEMONS//|/ }; do
    others=$(tr '|' '\n' <<<"$DAEMONS" | grep -vx "$daemon" | paste -sd '|')
    forbid "$daemon/" "($others|deploy)/" 'a daemon includes what belongs to another'
done
forbid 'common/base/' 'common/(tensor|model|text|data|optim|algo|judge|recipe|hf|collective)/' 'base includes what stands above it'
forbid 'common/(algo|text|data)/' 'common/(tensor|model|hf|optim)/' 'algo, text and data know no tensor'
forbid 'common/text/' 'common/data/' 'text knows no rows'
forbid 'common/data/' 'common/(recipe|algo|judge)/' 'rows know no recipe and no algorithm'
forbid 'common/(algo|text|data|judge|model|optim|tensor|hf|collective)/' 'common/recipe/' 'the recipe stands above what it is made of'
forbid 'common/algo/' 'stdio\.h|stdlib\.h|unistd\.h|fcntl\.h|common/base/(file|log)\.h' \
    'algo does no input or output and allocates nothing'
forbid "common/(base|algo|text|data|judge|recipe|model|optim|hf|collective)/|common/tensor/[^/]*$|proto/|deploy/|($DAEMONS)/" \
    'common/tensor/(cpu|cuda)/' 'the operator table hides its backends'
forbid 'common/tensor/cpu/' 'common/tensor/cuda/' 'a backend includes what belongs to another'
forbid 'common/tensor/cuda/' 'common/tensor/cpu/' 'a backend includes what belongs to another'

for file in $(without_emulator <<<"$all_sources"); do
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
for header in $(without_emulator <<<"$all_sources" | grep '\.h$'); do
    case $header in
    common/tensor/cuda/*) continue ;; # C++, and needs the toolkit or what emulates it
    esac
    alone "$header" "$flags" >>"$breaches"
done

for file in $all_sources; do
    read -r first <"$file"
    [[ $first == //* ]] || echo "$file:1: no comment at the head says what the file is for"
done >>"$breaches"
# Characters, not bytes: a comment may have letters beyond ASCII.
LC_ALL=C.UTF-8 xargs grep -nE '^.{101,}' <<<"$all_sources" | sed 's/^\([^:]*:[0-9]*\):.*/\1: longer than 100 columns/' >>"$breaches"

# A path stands in backticks and begins with a folder of the tree (metrics have slashes too); it may be a glob.
shopt -s globstar
for page in README.md CONTRIBUTING.md docs/*.md; do
    {
        grep -noE '`[^`[:space:]]+' "$page" | tr -d '`' |
            grep -E "^[0-9]+:(${FOLDERS// /|}|bench|docs|examples|tests|\.ci)/"
        grep -noE '\]\([^)#:[:space:]]+' "$page" | sed -E "s|^([0-9]+):..|\1:$(dirname "$page")/|"
    } | while IFS=: read -r line path _; do
        compgen -G "${path%/}" >/dev/null || echo "$page:$line: there is no '$path'"
    done
done >>"$breaches"

if [ -s "$breaches" ]; then
    cat "$breaches"
    exit 1
fi
echo "the layout holds: $(wc -l <<<"$all_sources") files"
