#!/usr/bin/env bash
# Fifty steps of SFT, reward model, DPO and KTO on real rows follow TRL's curves (tests/golden/curves), number for number.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"
for folder in stories260K hh-rlhf; do
    [ -d "${TROUPE_TEST_DATA:-}/$folder" ] ||
        skip "$folder is not here: set TROUPE_TEST_DATA to the folder that holds it."
done

python3 bench/parity/curves.py check
