#!/usr/bin/env bash
# What ranks say to each other, by one to four processes: every operation of the collective; a trainer of several ranks beside one
# process; and how a group ends whose ranks disagree.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_mpi

# together RANKS PROGRAM [ARGUMENT...]: its output in $SCRATCH/out.
together()
{
    timeout "$DEADLINE" mpirun -n "$1" "$BUILD/tests/$2" "${@:3}" >"$SCRATCH/out" 2>&1
}

for ranks in 1 2 3 4; do
    together $ranks common_collective_ranks_operations $ranks || fail "$ranks ranks: $(cat "$SCRATCH/out")"
    say "$(tail -n 1 "$SCRATCH/out")"
done
for ranks in 2 3; do
    together $ranks common_model_ranks_trainer $ranks "$SCRATCH" || fail "$ranks ranks: $(cat "$SCRATCH/out")"
    say "$(tail -n 1 "$SCRATCH/out")"
done

together 2 common_collective_ranks_operations 3 && fail "a group of 2 passes for one of 3"
grep -q 'a group of 2 processes where 3 ranks were asked for' "$SCRATCH/out" || fail "no sentence: $(cat "$SCRATCH/out")"

together 2 proto_ranks_agree fine || fail "two ranks that agree: $(cat "$SCRATCH/out")"
together 2 proto_ranks_agree same || fail "two ranks that fail alike: $(cat "$SCRATCH/out")"
together 2 proto_ranks_agree rank1 && fail "rank 1 fails alone, and the group goes on"
grep -q '^rank 1 failed alone: a buffer of 7 bytes cannot be had' "$SCRATCH/out" || fail "no sentence: $(cat "$SCRATCH/out")"
together 2 proto_ranks_agree rank0 && fail "rank 0 fails alone, and the group goes on"
grep -q '^rank 1 failed alone: it succeeded where rank 0 failed' "$SCRATCH/out" || fail "no sentence: $(cat "$SCRATCH/out")"
say "ranks that disagree end with a sentence"
