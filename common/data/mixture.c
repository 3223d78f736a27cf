// Pure functions: what an epoch is depends on weights and numbers of rows alone.
#include "common/data/mixture.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/status.h"

size_t tr_mixture_takes(size_t *takes, const size_t *counts, const double *weights, size_t files)
{
    double scale = 0; // takes for a weight of 1
    for (size_t i = 0; i < files; i++) {
        scale = fmax(scale, (double)counts[i] / weights[i]);
    }
    double sum = 0;
    for (size_t i = 0; i < files; i++) {
        // a file without rows is in no epoch; the largest one's product may be a hair too small
        double wanted = counts[i] == 0 ? 0 : fmax(round(scale * weights[i]), (double)counts[i]);
        sum += wanted;
        takes[i] = sum <= UINT32_MAX ? (size_t)wanted : 0;
    }
    return sum <= UINT32_MAX ? (size_t)sum : SIZE_MAX;
}

void tr_mixture(uint32_t *rows, const size_t *takes, const size_t *counts, size_t files)
{
    size_t *taken = tr_calloc(files, sizeof *taken), total = 0;
    for (size_t i = 0; i < files; i++) {
        total += takes[i];
    }
    for (size_t n = 0; n < total; n++) {
        size_t next = files, first = 0, first_of_next = 0;
        double place = 2;
        for (size_t i = 0; i < files; first += counts[i++]) {
            // row k of so many stands in the middle of its part of the epoch
            double own = takes[i] > taken[i] ? ((double)taken[i] + 0.5) / (double)takes[i] : 2;
            if (own < place) {
                place = own;
                next = i;
                first_of_next = first;
            }
        }
        rows[n] = (uint32_t)(first_of_next + taken[next]++ % counts[next]);
    }
    free(taken);
}
