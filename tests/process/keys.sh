#!/usr/bin/env bash
# Each key of a recipe has the effect that its formula says: keys.py sets each to another value once.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"
[ -z "${TROUPE_TEST_BRIEF:-}" ] || skip "too many runs for a slow build"
TROUPE=$(realpath "$TROUPE") MODEL=$MODEL SCRATCH=$SCRATCH DEADLINE=$DEADLINE PYTHONDONTWRITEBYTECODE=1 \
    python3 tests/process/keys.py "$@" || fail "a key does not do what it should, or has no row"
