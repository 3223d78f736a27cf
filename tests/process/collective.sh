#!/usr/bin/env bash
# What ranks say to each other: every operation of the collective, by one to four processes.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_mpi

program=$BUILD/tests/common_collective_ranks_operations
for ranks in 1 2 3 4; do
    timeout "$DEADLINE" mpirun -n $ranks "$program" $ranks >"$SCRATCH/out" 2>&1 || {
        cat "$SCRATCH/out"
        fail "$ranks ranks"
    }
    say "$(tail -n 1 "$SCRATCH/out")"
done

timeout "$DEADLINE" mpirun -n 2 "$program" 3 >"$SCRATCH/out" 2>&1 && fail "a group of 2 passes for one of 3"
grep -q 'a group of 2 processes where 3 ranks were asked for' "$SCRATCH/out" || fail "no sentence: $(cat "$SCRATCH/out")"
