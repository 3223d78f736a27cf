#!/usr/bin/env bash
# Each key that an algorithm takes changes a run of it: effects.py sets each to another value once, for every algorithm and loss.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"
[ -z "${TROUPE_TEST_BRIEF:-}" ] || skip "too many runs for a slow build"
TROUPE=$(realpath "$TROUPE") MODEL=$MODEL SCRATCH=$SCRATCH DEADLINE=$DEADLINE PYTHONDONTWRITEBYTECODE=1 \
    python3 tests/process/effects.py "$@" || fail "a key is taken that nothing reads"
