/// Epochs of files with weights: shares, that no row is lost, and the order.
#include "common/data/mixture.h"

#include <criterion/criterion.h>

#include "common/base/status.h"

Test(mixture, shares_are_the_weights_and_the_longest_file_for_its_weight_is_taken_once)
{
    static const struct {
        size_t counts[3], takes[3], files;
        double weights[3];
    } cases[] = {
        {{10, 10}, {20, 10}, 2, {2, 1}},       {{30, 10}, {30, 15}, 2, {2, 1}},
        {{100, 3}, {100, 100}, 2, {1, 1}},     {{7}, {7}, 1, {0.3}},
        {{3, 5, 7}, {14, 7, 7}, 3, {4, 2, 2}}, {{1, 1000}, {111, 1000}, 2, {0.1, 0.9}},
        {{0, 4}, {0, 4}, 2, {5, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t takes[3], sum = 0;
        for (size_t k = 0; k < cases[i].files; k++) {
            sum += cases[i].takes[k];
        }
        cr_expect_eq(tr_mixture_takes(takes, cases[i].counts, cases[i].weights, cases[i].files),
                     sum, "%zu", i);
        cr_expect_arr_eq(takes, cases[i].takes, cases[i].files * sizeof *takes, "%zu", i);
    }
}

Test(mixture, an_epoch_of_more_than_all_numbers_is_none)
{
    size_t takes[2];
    cr_expect_eq(tr_mixture_takes(takes, (const size_t[]){1000, 1}, (const double[]){1e-9, 1}, 2),
                 SIZE_MAX);
}

Test(mixture, rows_of_files_stand_in_even_distances_and_begin_anew)
{
    static const size_t counts[2] = {2, 3}, takes[2] = {6, 3};
    // places 1/12, 3/12, ... of the first file; 1/6, 3/6, 5/6 of the second
    static const uint32_t expected[9] = {0, 2, 1, 0, 3, 1, 0, 4, 1};
    uint32_t rows[9];
    tr_mixture(rows, takes, counts, 2);
    cr_expect_arr_eq(rows, expected, sizeof rows);
}
