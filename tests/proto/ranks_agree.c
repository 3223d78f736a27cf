/// A handler that ends on one rank otherwise than on the others: run by tests/process/collective.sh
/// as two ranks. Exits 0 when all ended alike; else the group ends with a sentence, which the
/// script looks for.
///
///     mpirun -n 2 proto_ranks_agree fine|same|rank0|rank1
#include <stdio.h>
#include <string.h>

#include "proto/service_ranks.h"

int main(int argc, char **argv)
{
    tr_collective_t *group;
    tr_error_t err = {0};
    const char *who = argc == 2 ? argv[1] : "fine";
    if (tr_collective_open(&group, "mpi", TEST_BINARY_DIR, 2, &err) != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    bool fails = strcmp(who, "same") == 0 || strcmp(who, group->rank == 0 ? "rank0" : "rank1") == 0;
    tr_status status =
        fails ? tr_fail(&err, TR_ERR_MEMORY, "a buffer of 7 bytes cannot be had") : TR_OK;
    service_ranks_agree(group, status, &err);
    tr_collective_close(&group);
    return 0;
}
