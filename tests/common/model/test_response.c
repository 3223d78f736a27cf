/// One pass over prompts with responses: gradients by finite differences, entropies and log-probs
/// from the logits in double precision, and what is refused.
#include "common/model/response.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/small.h"

enum { SEQUENCES = 4 };
static const size_t LENGTHS[SEQUENCES] = {9, 3, 17, 4};
static const size_t PROMPTS[SEQUENCES] = {4, 1, 2, 4};

/// Some hundred parameters, so that each can be moved.
static tr_model_config_t tiny_config(bool scalar)
{
    tr_model_config_t config = small_config();
    config.vocabulary = 13;
    config.hidden = 6;
    config.intermediate = 5;
    config.heads = 2;
    config.key_value_heads = 1;
    config.head_dim = 4;
    config.max_positions = 24;
    config.scalar_head = scalar;
    return config;
}

static size_t tokens_of(const tr_sequences_t *sequences)
{
    return (size_t)sequences->response_starts[sequences->count];
}

static double weighted(small_t *small, const tr_sequences_t *sequences, const float *factors,
                       float temperature)
{
    const float *out = small_response(small, sequences, SEQUENCES, temperature);
    double sum = 0.0;
    for (size_t i = 0; i < tokens_of(sequences); i++) {
        sum += (double)factors[i] * (double)out[i];
    }
    return sum;
}

/// The slope of the weighted sum along parameter i, from a central difference at step h.
static double difference(small_t *small, const tr_sequences_t *sequences, const float *factors,
                         float temperature, float *weights, size_t i, float h)
{
    const float middle = weights[i];
    double sides[2];
    for (size_t side = 0; side < 2; side++) {
        weights[i] = side == 0 ? middle - h : middle + h;
        tr_model_write_parameters(small->model, weights);
        sides[side] = weighted(small, sequences, factors, temperature);
    }
    weights[i] = middle;
    return (sides[1] - sides[0]) / ((double)(middle + h) - (double)(middle - h));
}

/// Every parameter's gradient against differences at two steps, extrapolated to none (Richardson):
/// what is left is the rounding of float log-probs, some 1e-5 over a step of 2^-7.
static void check_gradient(small_t *small, const tr_sequences_t *sequences, float temperature)
{
    const float h = 1.0f / 128.0f;
    const float *factors = small_factors(small, sequences);
    const float *gradient = small_gradient(small, sequences, factors, temperature);
    float *weights = small_weights(&small->rig, tr_model_layout(small->model));
    double *expected = rig_memory(&small->rig, small->total * sizeof *expected);
    double largest = 0.0;
    for (size_t i = 0; i < small->total; i++) {
        double wide = difference(small, sequences, factors, temperature, weights, i, h);
        double narrow = difference(small, sequences, factors, temperature, weights, i, h / 2.0f);
        expected[i] = (4.0 * narrow - wide) / 3.0;
        largest = fmax(largest, fabs(expected[i]));
    }
    cr_assert_gt(largest, 1.0);
    check_close(gradient, expected, small->total, 2e-3, "gradient");
}

/// Lists of ids, about half the vocabulary and always the token, for all but every third token.
static void add_kept(small_t *small, tr_sequences_t *sequences)
{
    size_t tokens = tokens_of(sequences), V = small->config->vocabulary;
    int32_t *offsets = rig_memory(&small->rig, (tokens + 1) * sizeof *offsets);
    int32_t *ids = rig_memory(&small->rig, tokens * V * sizeof *ids);
    int32_t filled = 0;
    size_t at = 0;
    for (size_t s = 0; s < sequences->count; s++) {
        for (int32_t t = sequences->starts[s] + sequences->prompt_lengths[s];
             t < sequences->starts[s + 1]; t++, at++) {
            for (int32_t id = 0; at % 3 != 0 && id < (int32_t)V; id++) {
                float chance = tr_rng_uniform(1, TR_RNG_SHUFFLE, (uint32_t)at, (uint32_t)id, 0);
                if (chance < 0.5f || id == sequences->ids[t]) {
                    ids[filled++] = id;
                }
            }
            offsets[at + 1] = filled;
        }
    }
    sequences->kept_offsets = offsets;
    sequences->kept_ids = ids;
}

Test(response, the_gradient_of_logprobs_is_their_slope)
{
    small_t small;
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    check_gradient(&small, &sequences, 1.0f);
    small_close(&small);
}

Test(response, the_gradient_within_kept_sets_at_a_temperature_is_the_slope)
{
    small_t small;
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    add_kept(&small, &sequences);
    check_gradient(&small, &sequences, 0.7f);
    small_close(&small);
}

Test(response, the_gradient_of_a_tied_embedding_is_the_sum_of_both_uses)
{
    small_t small;
    tr_model_config_t config = tiny_config(false);
    config.tied_embeddings = true;
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    check_gradient(&small, &sequences, 1.0f);
    small_close(&small);
}

Test(response, the_gradient_of_values_is_their_slope)
{
    small_t small;
    tr_model_config_t config = tiny_config(true);
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    check_gradient(&small, &sequences, 1.0f);
    small_close(&small);
}

/// The distribution of one token from logits: [V], in double precision, over the kept ids.
static double logprob_of(const float *logits, const int32_t *kept, size_t count, int32_t id,
                         double temperature, double *entropy)
{
    double sum = 0.0, weighted_sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        double z = (double)logits[kept[i]] / temperature;
        sum += exp(z);
        weighted_sum += z * exp(z);
    }
    *entropy = log(sum) - weighted_sum / sum;
    return (double)logits[id] / temperature - log(sum);
}

Test(response, logprobs_and_entropies_are_those_of_the_kept_and_tempered_softmax)
{
    small_t small;
    tr_error_t err = {0};
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, false);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    add_kept(&small, &sequences);
    size_t n = tokens_of(&sequences), at = 0, V = config.vocabulary;
    float *out = rig_memory(&small.rig, 2 * n * sizeof *out), *entropy = out + n;
    tr_token_facts_t *facts = rig_memory(&small.rig, n * sizeof *facts);
    double *logprobs = rig_memory(&small.rig, 2 * n * sizeof *logprobs), *entropies = logprobs + n;
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    cr_assert_eq(tr_response_forward_all(pass, &sequences, 3, 0.6f, out, facts, &err), TR_OK);
    for (size_t i = 0; i < n; i++) {
        entropy[i] = facts[i].entropy;
    }
    int32_t all[64];
    for (int32_t id = 0; id < 64; id++) {
        all[id] = id;
    }
    for (size_t s = 0; s < SEQUENCES; s++) {
        const int32_t *ids = sequences.ids + sequences.starts[s];
        const float *logits = small_logits(&small, ids, LENGTHS[s]);
        for (size_t t = PROMPTS[s]; t < LENGTHS[s]; t++, at++) {
            const int32_t *list = sequences.kept_offsets + at;
            size_t count = (size_t)(list[1] - list[0]);
            logprobs[at] =
                logprob_of(logits + (t - 1) * V, count > 0 ? sequences.kept_ids + list[0] : all,
                           count > 0 ? count : V, ids[t], (double)0.6f, &entropies[at]);
        }
    }
    check_close(out, logprobs, n, 1e-5, "logprobs");
    check_close(entropy, entropies, n, 1e-5, "entropies");
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

Test(response, gradients_add_to_what_is_there)
{
    small_t small;
    tr_error_t err = {0};
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    const float *factors = small_factors(&small, &sequences);
    const float *once = small_gradient(&small, &sequences, factors, 1.0f);
    double *twice = rig_memory(&small.rig, small.total * sizeof *twice);
    for (size_t i = 0; i < small.total; i++) {
        twice[i] = 2.0 * (double)once[i];
    }
    const uint32_t all[] = {0, 1, 2, 3};
    float out[64];
    tr_tensor_t gradient = rig_tensor(&small.rig, 1, small.total, once);
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    cr_assert_eq(tr_response_forward(pass, &sequences, all, SEQUENCES, 1.0f, true, out, NULL, &err),
                 TR_OK);
    tr_gradient_t sink = tr_gradient_whole(gradient);
    tr_response_backward(pass, factors, NULL, &sink);
    check_close(rig_read(&small.rig, gradient), twice, small.total, 1e-5, "twice");
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

/// The bytes that a pass over everything and back takes from the arena; gradient: written.
static size_t peak_of_pass(small_t *small, const tr_sequences_t *sequences, tr_tensor_t gradient)
{
    tr_arena_t *arena = tr_arena_new(small->rig.backend);
    tr_queue_t *queue = tr_model_queue(small->model);
    tr_activations_t *saved = NULL;
    tr_span_t spans[SEQUENCES];
    tr_batch_t batch;
    for (size_t i = 0; i < SEQUENCES; i++) {
        spans[i] = (tr_span_t){.ids = sequences->ids + sequences->starts[i], .length = LENGTHS[i]};
    }
    tr_batch_init(&batch, arena, queue, spans, SEQUENCES);
    tr_tensor_t hidden = tr_model_forward(small->model, &batch, arena, &saved);
    tr_gradient_t sink = tr_gradient_whole(gradient);
    tr_model_backward(small->model, saved, hidden, &sink, arena);
    // Nothing is given back before a reset, so the next tensor of the only buffer begins at the
    // peak.
    size_t peak = tr_arena_tensor(arena, TR_F32, 1, 0).offset;
    cr_assert_eq(tr_arena_generation(arena), 1, "the arena has several buffers");
    tr_activations_destroy(&saved);
    tr_arena_destroy(&arena);
    return peak;
}

Test(response, layers_that_are_run_again_give_the_same_gradient_for_less_memory)
{
    for (size_t layers = 1; layers <= 5; layers += 2) {
        small_t small;
        size_t peaks[2];
        const float *gradients[2];
        tr_model_config_t config = tiny_config(layers == 3);
        config.layers = layers;
        small_open(&small, &config, NULL, 2, true);
        tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
        for (size_t again = 0; again < 2; again++) {
            tr_tensor_t gradient = rig_zeros(&small.rig, 1, small.total);
            tr_model_recompute(small.model, again == 1);
            peaks[again] = peak_of_pass(&small, &sequences, gradient);
            gradients[again] = rig_read(&small.rig, gradient);
        }
        check_same(gradients[1], gradients[0], small.total, "gradient");
        // each layer but one keeps [T, H] of [T, 2H + (Hq+2Hk)D + HqD + Hq + 2F + 2]
        cr_expect(layers == 1 ? peaks[1] == peaks[0] : peaks[1] < peaks[0], "%zu of %zu bytes",
                  peaks[1], peaks[0]);
        small_close(&small);
    }
}

Test(response, noise_is_uniform_and_of_the_size_of_the_paper)
{
    enum { LENGTH = 300, HIDDEN = 64, N = LENGTH * HIDDEN };
    static float noise[N], other[N];
    const tr_noise_t options = {.alpha = 5.0, .seed = 11, .step = 7};
    const tr_noise_t later = {.alpha = 5.0, .seed = 11, .step = 8};
    const double bound = 5.0 / sqrt((double)N);
    double mean = 0.0, variance = 0.0, product = 0.0, least = 1.0, most = -1.0;
    tr_noise_draw(noise, &options, 3, LENGTH, HIDDEN);
    tr_noise_draw(other, &later, 3, LENGTH, HIDDEN);
    for (size_t i = 0; i < N; i++) {
        double x = (double)noise[i] / bound;
        least = fmin(least, x);
        most = fmax(most, x);
        mean += x / N;
        variance += x * x / N;
        product += x * (double)other[i] / bound / N;
    }
    cr_expect(least >= -1.0000001 && least < -0.999);
    cr_expect(most <= 1.0000001 && most > 0.999);
    double deviation = sqrt(1.0 / 3.0 / N); // of the mean; four of them
    cr_expect_float_eq(mean, 0.0, 4.0 * deviation);
    cr_expect_float_eq(variance, 1.0 / 3.0, 4.0 * sqrt(4.0 / 45.0 / N));
    cr_expect_float_eq(product, 0.0, 4.0 / 3.0 / sqrt((double)N)); // steps are independent
}

/// Log-probs of the chosen sequences of all, in a pass of their own that learns.
static void noisy_pass(small_t *small, const tr_sequences_t *sequences, const uint32_t *chosen,
                       size_t count, double alpha, bool learn, float *out)
{
    tr_error_t err = {0};
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    const tr_noise_t noise = {.alpha = alpha, .seed = 11, .step = 7};
    tr_response_noise(pass, &noise);
    cr_assert_eq(tr_response_forward(pass, sequences, chosen, count, 1.0f, learn, out, NULL, &err),
                 TR_OK, "%s", err.text);
    tr_response_pass_destroy(&pass);
}

Test(response, noise_belongs_to_a_sequence_wherever_it_runs_and_only_where_it_learns)
{
    small_t small;
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 2, true);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    const uint32_t all[] = {0, 1, 2, 3};
    float plain[64], noisy[64], quiet[64], one[64];
    size_t n = (size_t)sequences.response_starts[SEQUENCES];
    noisy_pass(&small, &sequences, all, SEQUENCES, 0.0, true, plain);
    noisy_pass(&small, &sequences, all, SEQUENCES, 5.0, true, noisy);
    noisy_pass(&small, &sequences, all, SEQUENCES, 5.0, false, quiet);
    check_same(quiet, plain, n, "a pass that does not learn");
    for (size_t s = 0; s < SEQUENCES; s++) {
        size_t start = (size_t)sequences.response_starts[s];
        size_t length = (size_t)sequences.response_starts[s + 1] - start;
        noisy_pass(&small, &sequences, all + s, 1, 5.0, true, one);
        check_same(one, noisy + start, length, "one sequence alone");
        cr_expect(length == 0 || memcmp(one, plain + start, length * sizeof *one) != 0);
    }
    small_close(&small);
}

Test(response, sequences_without_a_response_are_nothing_to_learn_from)
{
    static const size_t same[] = {5, 1};
    small_t small;
    tr_error_t err = {0};
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, true);
    tr_sequences_t sequences = small_sequences(&small, same, same, 2, 1);
    const uint32_t all[] = {0, 1};
    float untouched = 5.0f;
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    tr_tensor_t gradient = rig_zeros(&small.rig, 1, small.total);
    cr_assert_eq(tr_response_forward(pass, &sequences, all, 2, 1.0f, true, &untouched, NULL, &err),
                 TR_OK);
    tr_gradient_t sink = tr_gradient_whole(gradient);
    tr_response_backward(pass, &untouched, NULL, &sink);
    float *zeros = rig_memory(&small.rig, small.total * sizeof *zeros);
    check_same(rig_read(&small.rig, gradient), zeros, small.total, "gradient");
    cr_assert_eq(untouched, 5.0f);
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

Test(response, selecting_follows_the_order_of_the_chosen)
{
    const int32_t response_starts[] = {0, 2, 2, 5};
    const float values[] = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f};
    const tr_sequences_t sequences = {.count = 3, .response_starts = response_starts};
    const uint32_t chosen[] = {2, 1, 0};
    const float expected[] = {2.0f, 3.0f, 4.0f, 0.0f, 1.0f};
    float out[5];
    cr_assert_eq(tr_response_select(out, values, &sequences, chosen, 3), 5);
    check_same(out, expected, 5, "selected");
    cr_assert_eq(tr_response_select(out, values, &sequences, chosen, 1), 3);
}

Test(response, a_sequence_longer_than_the_positions_is_refused_by_number)
{
    static const size_t lengths[] = {24, 25};
    static const size_t prompts[] = {1, 1};
    small_t small;
    tr_error_t err = {0};
    tr_model_config_t config = tiny_config(true);
    small_open(&small, &config, NULL, 1, false);
    tr_sequences_t sequences = small_sequences(&small, lengths, prompts, 2, 1);
    const uint32_t all[] = {0, 1};
    float out[64];
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    cr_assert_eq(tr_response_forward(pass, &sequences, all, 1, 1.0f, false, out, NULL, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_response_forward(pass, &sequences, all, 2, 1.0f, false, out, NULL, &err),
                 TR_ERR_ARGUMENT);
    cr_assert_not_null(strstr(err.text, "sequence 1 has 25 tokens"), "%s", err.text);
    cr_assert_eq(tr_response_scores(pass, &sequences, all, 2, false, out, &err), TR_ERR_ARGUMENT);
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

Test(response, a_policy_has_no_logprobs_at_temperature_0)
{
    small_t small;
    tr_model_config_t config = tiny_config(false);
    small_open(&small, &config, NULL, 1, false);
    tr_sequences_t sequences = small_sequences(&small, LENGTHS, PROMPTS, SEQUENCES, 1);
    const float temperatures[] = {0.0f, -1.0f, NAN};
    float out[64];
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    for (size_t i = 0; i < 3; i++) {
        tr_error_t err = {0};
        cr_assert_eq(
            tr_response_forward_all(pass, &sequences, SEQUENCES, temperatures[i], out, NULL, &err),
            TR_ERR_ARGUMENT);
        cr_assert_not_null(strstr(err.text, "temperature"), "%s", err.text);
    }
    tr_response_pass_destroy(&pass);
    small_close(&small);
}
