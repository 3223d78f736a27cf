#!/usr/bin/env bash
# What bench/table publishes: medians of ours, the rival's best, ratios within runs with their range; none of fewer than three runs, and
# of no two that are less than ten minutes apart.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v python3 >/dev/null || skip "there is no python3"

# line TIME NAME UNIT LOWER_IS_BETTER OURS THEIRS [CPU]
line()
{
    printf '{"at": "2026-01-01T%s+00:00", "commit": "abc", "cpu": "%s", "case": "train", "name": "%s", "threads": 2, "unit": "%s", ' \
        "$1" "${7:-Some CPU}" "$2" "$3"
    printf '"lower_is_better": %s, "troupe": %s, "rivals": {"PyTorch": %s}}\n' "$4" "$5" "$6"
}

# expect ROW FILE...
expect()
{
    local row=$1
    shift
    bench/table "$@" >"$SCRATCH/table" || fail "bench/table fails"
    grep -qxF "$row" "$SCRATCH/table" || fail "no row '$row' in: $(cat "$SCRATCH/table")"
}

say "three runs of two files: the ratio is of pairs, and no better pair is made of two runs"
line 10:00:00 fast tokens/s false 1500 750 >"$SCRATCH/one"
line 12:00:00 fast tokens/s false 1200 1000 >>"$SCRATCH/one"
line 11:00:00 fast tokens/s false 1300 1040 >"$SCRATCH/two"
expect '| fast | 2 | 3 | 1300 | 1040 | 1.25 [1.20 to 2.00] |' "$SCRATCH/one" "$SCRATCH/two"

say "where less is better, the least of the rival's and ratios the other way round"
for hour in 10 11 12 13; do
    line $hour:00:00 small MiB true $((hour * 10)) 390
done >"$SCRATCH/memory"
expect '| small | 2 | 4 | 115 | 390 | 3.40 [3.00 to 3.90] |' "$SCRATCH/memory"

say "two runs have no ratio, nor three of which two are nine minutes apart, nor three of a rival that was there twice"
head -n 2 "$SCRATCH/one" >"$SCRATCH/few"
expect '| fast | 2 | 2 | 1350 | 1000 | 2 of 3 runs |' "$SCRATCH/few"
line 12:09:59 fast tokens/s false 9000 1 >>"$SCRATCH/few"
expect '| fast | 2 | 2 | 1350 | 1000 | 2 of 3 runs |' "$SCRATCH/few"
line 12:10:00 fast tokens/s false 1400 null >>"$SCRATCH/few"
expect '| fast | 2 | 3 | 1400 | 1000 | 2 of 3 runs |' "$SCRATCH/few"

say "two CPUs make no table"
line 13:00:00 fast tokens/s false 1 1 "Another CPU" >"$SCRATCH/other"
bench/table "$SCRATCH/one" "$SCRATCH/other" 2>"$SCRATCH/why" && fail "a table of two CPUs"
grep -q '2 CPUs (Another CPU; Some CPU)' "$SCRATCH/why" || fail "$(cat "$SCRATCH/why")"
