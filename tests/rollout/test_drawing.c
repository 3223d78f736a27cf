/// What the decoder draws, against the softmax of a full pass in double precision.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "rollout/decoder.h"
#include "tests/support/small.h"

enum { NEW_TOKENS = 24 };
static const int32_t PROMPT[] = {5, 80, 33};

static rollout_request_t request(void)
{
    return (rollout_request_t){.prompt = PROMPT, .length = 3, .prompt_number = 11};
}

static rollout_options_t sampled(void)
{
    return (rollout_options_t){.sampling = {.temperature = 1.0f, .top_k = 0, .top_p = 1.0f},
                               .max_new_tokens = NEW_TOKENS,
                               .seed = 2};
}

static void decode(small_t *small, rollout_response_t *responses, const rollout_request_t *requests,
                   size_t count, const rollout_options_t *options)
{
    tr_error_t err = {0};
    rollout_decoder_t *decoder = rollout_decoder_new(small->model, 64);
    tr_status status =
        rollout_decode(decoder, responses, requests, count, options, NULL, NULL, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    rollout_decoder_destroy(&decoder);
}

/// log softmax(logits / temperature)[id], in double precision.
static double log_softmax(const float *logits, size_t n, double temperature, size_t id)
{
    double greatest = (double)logits[0], sum = 0.0;
    for (size_t i = 1; i < n; i++) {
        greatest = fmax(greatest, (double)logits[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(((double)logits[i] - greatest) / temperature);
    }
    return ((double)logits[id] - greatest) / temperature - log(sum);
}

static size_t argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

Test(drawing, greedy_takes_the_greatest_logit_of_a_full_pass)
{
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 2, false);
    size_t V = small.config->vocabulary;
    rollout_options_t options = sampled();
    rollout_request_t one = request();
    rollout_response_t response;
    int32_t text[3 + NEW_TOKENS];
    options.sampling.temperature = 0.0f;
    decode(&small, &response, &one, 1, &options);
    memcpy(text, PROMPT, sizeof PROMPT);
    for (size_t t = 0; t < NEW_TOKENS; t++) {
        const float *logits = small_logits(&small, text, 3 + t) + (2 + t) * V;
        size_t best = argmax(logits, V);
        cr_assert_eq(response.ids[t], (int32_t)best, "token %zu", t);
        cr_assert_eq(response.logprobs[t], 0.0f);
        cr_assert_float_eq((double)response.raw[t], log_softmax(logits, V, 1.0, best), 1e-5);
        text[3 + t] = response.ids[t];
    }
    rollout_response_release(&response);
    small_close(&small);
}

enum { DRAWS = 20000 };

/// Pearson's statistic of the first tokens of DRAWS samples against probabilities: [V], ids with
/// few expected counts pooled; *freedom: degrees. An id of probability 0 must not come.
static double chi_square(small_t *small, const rollout_options_t *options,
                         const double *probability, size_t *freedom)
{
    size_t V = small->config->vocabulary;
    rollout_request_t *requests = rig_memory(&small->rig, DRAWS * sizeof *requests);
    rollout_response_t *responses = rig_memory(&small->rig, DRAWS * sizeof *responses);
    double *counts = rig_memory(&small->rig, V * sizeof *counts);
    for (size_t i = 0; i < DRAWS; i++) {
        requests[i] = request();
        requests[i].sample = (uint32_t)i;
    }
    decode(small, responses, requests, DRAWS, options);
    for (size_t i = 0; i < DRAWS; i++) {
        cr_assert_eq(responses[i].length, 1);
        counts[responses[i].ids[0]] += 1.0;
        rollout_response_release(&responses[i]);
    }
    double statistic = 0.0, rare_expected = 0.0, rare_count = 0.0;
    *freedom = 0;
    for (size_t id = 0; id < V; id++) {
        double expected = DRAWS * probability[id];
        cr_assert(expected > 0.0 || counts[id] == 0.0, "id %zu was cut, yet drawn", id);
        if (expected < 8.0) {
            rare_expected += expected;
            rare_count += counts[id];
        } else {
            statistic += (counts[id] - expected) * (counts[id] - expected) / expected;
            ++*freedom;
        }
    }
    if (rare_expected < 8.0) {
        --*freedom;
    } else {
        statistic += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
    }
    return statistic;
}

/// The statistic stays within four standard deviations of its mean; a fixed seed, so always.
static void check_frequencies(float temperature, int32_t top_k)
{
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 2, false);
    size_t V = small.config->vocabulary, freedom, kept = 0;
    const float *logits = small_logits(&small, PROMPT, 3) + 2 * V;
    double *probability = rig_memory(&small.rig, V * sizeof *probability);
    double mass = 0.0;
    for (size_t id = 0; id < V; id++) {
        size_t greater = 0;
        for (size_t other = 0; other < V; other++) {
            greater += logits[other] > logits[id];
        }
        if (top_k == 0 || greater < (size_t)top_k) {
            probability[id] = exp(log_softmax(logits, V, (double)temperature, id));
            mass += probability[id];
            kept++;
        }
    }
    for (size_t id = 0; id < V; id++) {
        probability[id] /= mass;
    }
    cr_assert(top_k == 0 || kept == (size_t)top_k);
    rollout_options_t options = sampled();
    options.max_new_tokens = 1;
    options.sampling.temperature = temperature;
    options.sampling.top_k = top_k;
    double statistic = chi_square(&small, &options, probability, &freedom);
    double far = (statistic - (double)freedom) / sqrt(2.0 * (double)freedom);
    cr_assert(fabs(far) < 4.0, "chi-square %g with %zu degrees of freedom", statistic, freedom);
    cr_assert_gt(freedom, 3);
    small_close(&small);
}

Test(drawing, frequencies_are_those_of_the_softmax)
{
    check_frequencies(1.0f, 0);
    check_frequencies(2.5f, 0);
}

Test(drawing, frequencies_within_top_k_are_the_softmax_over_what_is_kept)
{
    check_frequencies(1.5f, 10);
}

Test(drawing, samples_seeds_and_prompt_numbers_each_change_what_is_drawn)
{
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 2, false);
    rollout_request_t requests[3] = {request(), request(), request()};
    rollout_response_t responses[3], other;
    rollout_options_t options = sampled();
    requests[1].sample = 1;
    requests[2].prompt_number = 12;
    decode(&small, responses, requests, 3, &options);
    options.seed++;
    decode(&small, &other, requests, 1, &options);
    size_t bytes = NEW_TOKENS * sizeof(int32_t);
    cr_assert_neq(memcmp(responses[0].ids, responses[1].ids, bytes), 0);
    cr_assert_neq(memcmp(responses[0].ids, responses[2].ids, bytes), 0);
    cr_assert_neq(memcmp(responses[0].ids, other.ids, bytes), 0);
    for (size_t i = 0; i < 3; i++) {
        rollout_response_release(&responses[i]);
    }
    rollout_response_release(&other);
    small_close(&small);
}
