// The losses of supervised fine-tuning against transformers and TRL (tests/golden/sft.json), with
// chunks of unequal length.
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/algo/sft.h"
#include "tests/support/golden.h"

static const tr_sft_options_t NLL = {.loss_type = TR_SFT_NLL};
static const tr_sft_options_t DFT = {.loss_type = TR_SFT_DFT};

// The golden gradient is of the logits; d logprob / d logit[v] = 1[v = label] - p[v], and d mean /
// d logit[v] = 1/V - p[v], carry ours there. dmeans: NULL is 0.
static void expect_logit_gradient(golden_t *golden, const char *chunk, const float *dlogprobs,
                                  const float *dmeans, const char *expected)
{
    char path[64];
    size_t n;
    float dlogits[128];
    size_t vocabulary = (size_t)golden_number(golden, "vocabulary");
    snprintf(path, sizeof path, "chunks/%s/labels", chunk);
    const size_t *labels = golden_sizes(golden, path, &n);
    snprintf(path, sizeof path, "chunks/%s/probabilities", chunk);
    const float *p = golden_floats(golden, path, NULL);
    cr_assert(n * vocabulary <= 128);
    for (size_t i = 0; i < n * vocabulary; i++) {
        float own = i % vocabulary == labels[i / vocabulary] ? 1.0f : 0.0f;
        dlogits[i] = dlogprobs[i / vocabulary] * (own - p[i]);
        if (dmeans != NULL) {
            dlogits[i] += dmeans[i / vocabulary] * (1.0f / (float)vocabulary - p[i]);
        }
    }
    snprintf(path, sizeof path, "chunks/%s/%s", chunk, expected);
    golden_expect(golden, path, dlogits, n * vocabulary, 1e-5, 1e-7);
}

Test(sft, losses_and_gradients_of_chunks_equal_transformers_and_trl_with_num_items_in_batch)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/sft.json");
    size_t normalizer = (size_t)golden_number(golden, "normalizer");
    tr_sft_sums_t sums = {0};
    for (int i = 0; i < 2; i++) {
        char chunk[2] = {(char)('0' + i), 0};
        char path[64];
        float dlogprobs[16];
        size_t n;
        snprintf(path, sizeof path, "chunks/%s/logprobs", chunk);
        const float *logprobs = golden_floats(golden, path, &n);
        double before = sums.loss;
        tr_sft_loss(dlogprobs, NULL, &sums, logprobs, NULL, n, normalizer, &NLL);
        snprintf(path, sizeof path, "chunks/%s/loss", chunk);
        golden_expect_number(golden, path, (sums.loss - before) / (double)normalizer, 1e-6, 0);
        expect_logit_gradient(golden, chunk, dlogprobs, NULL, "dlogits");
        tr_sft_sums_t dft = {0};
        tr_sft_loss(dlogprobs, NULL, &dft, logprobs, NULL, n, normalizer, &DFT);
        snprintf(path, sizeof path, "chunks/%s/dft", chunk);
        golden_expect_number(golden, path, dft.loss / (double)normalizer, 1e-6, 0);
        expect_logit_gradient(golden, chunk, dlogprobs, NULL, "dft_dlogits");
    }
    cr_assert_eq(sums.tokens, normalizer);
    golden_close(&golden);
}

Test(sft, smoothed_labels_equal_those_of_transformers)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/sft.json");
    size_t normalizer = (size_t)golden_number(golden, "normalizer");
    const tr_sft_options_t options = {.loss_type = TR_SFT_NLL,
                                      .label_smoothing_factor = golden_number(golden, "smoothing")};
    for (int i = 0; i < 2; i++) {
        char chunk[2] = {(char)('0' + i), 0};
        char path[64];
        float dlogprobs[16], dmeans[16];
        size_t n;
        tr_sft_sums_t sums = {0};
        snprintf(path, sizeof path, "chunks/%s/logprobs", chunk);
        const float *logprobs = golden_floats(golden, path, &n);
        snprintf(path, sizeof path, "chunks/%s/means", chunk);
        const float *means = golden_floats(golden, path, NULL);
        tr_sft_loss(dlogprobs, dmeans, &sums, logprobs, means, n, normalizer, &options);
        snprintf(path, sizeof path, "chunks/%s/smooth", chunk);
        golden_expect_number(golden, path, sums.loss / (double)normalizer, 1e-6, 0);
        expect_logit_gradient(golden, chunk, dlogprobs, dmeans, "smooth_dlogits");
    }
    golden_close(&golden);
}

Test(sft, chunks_of_unequal_length_give_the_mean_over_all_tokens)
{
    const float logprobs[5] = {-1.0f, -2.0f, -3.0f, -4.0f, -10.0f};
    float whole[5];
    float parts[5];
    tr_sft_sums_t one = {0};
    tr_sft_sums_t two = {0};
    tr_sft_loss(whole, NULL, &one, logprobs, NULL, 5, 5, &NLL);
    tr_sft_loss(parts, NULL, &two, logprobs, NULL, 4, 5, &NLL);
    tr_sft_loss(parts + 4, NULL, &two, logprobs + 4, NULL, 1, 5, &NLL);
    cr_assert_arr_eq(whole, parts, sizeof whole);
    cr_assert(one.loss == 20.0 && two.loss == 20.0 &&
              two.tokens == 5); // not the mean of means, 6.25
    cr_assert(whole[0] == -0.2f);
}
