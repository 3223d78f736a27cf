/// Frequencies and angles of RoPE, each step in the precision of transformers: a table in double
/// would differ in the last bits, and grow apart with the position.
#include "common/model/rope.h"

#include <math.h>

#include "common/base/real.h"
#include "common/base/status.h"

static const double TWO_PI = 6.283185307179586;

/// theta^(2i/R) in float.
static float power_of(double theta, size_t i, size_t dim)
{
    float exponent = (float)(2 * i) / (float)dim;
    return (float)tr_real_pow(theta, (double)exponent);
}

/// Llama 3.1: long wavelengths are divided by factor, short ones stay, those between are mixed.
static void scale_llama3(float *frequency, size_t pairs, const tr_rope_scaling_t *s)
{
    const float longest = (float)(s->original_positions / s->low_freq_factor);
    const float shortest = (float)(s->original_positions / s->high_freq_factor);
    for (size_t i = 0; i < pairs; i++) {
        const float wave = (float)TWO_PI / frequency[i];
        const float slow = frequency[i] / (float)s->factor;
        if (wave > longest) {
            frequency[i] = slow;
        } else if (wave >= shortest) {
            const float mix = ((float)s->original_positions / wave - (float)s->low_freq_factor) /
                              (float)(s->high_freq_factor - s->low_freq_factor);
            frequency[i] = (1.0f - mix) * slow + mix * frequency[i];
        }
    }
}

/// The pair whose angle turns so many times over the original positions (Peng et al. 2023, eq. 17).
static double pair_of(double turns, const tr_model_config_t *config)
{
    const double positions = config->rope_scaling.original_positions;
    return (double)rope_dim(config) * tr_real_log(positions / (turns * TWO_PI)) /
           (2.0 * tr_real_log(config->rope_theta));
}

/// YaRN: pairs that turn often stay, those that turn rarely are divided by factor, with a ramp
/// between the two.
static void scale_yarn(float *frequency, size_t pairs, const tr_model_config_t *config)
{
    const tr_rope_scaling_t *s = &config->rope_scaling;
    double low = pair_of(s->beta_fast > 0.0 ? s->beta_fast : 32.0, config);
    double high = pair_of(s->beta_slow > 0.0 ? s->beta_slow : 1.0, config);
    low = fmax(s->truncate ? floor(low) : low, 0.0);
    high = fmin(s->truncate ? ceil(high) : high, (double)rope_dim(config) - 1.0);
    const double width = high == low ? 0.001 : high - low;
    for (size_t i = 0; i < pairs; i++) {
        float ramp = ((float)i - (float)low) / (float)width;
        ramp = ramp < 0.0f ? 0.0f : ramp > 1.0f ? 1.0f : ramp;
        const float stays = 1.0f - ramp;
        const float power = power_of(config->rope_theta, i, rope_dim(config));
        const float slow = 1.0f / ((float)s->factor * power);
        frequency[i] = slow * (1.0f - stays) + frequency[i] * stays;
    }
}

double rope_yarn_scale(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * tr_real_log(factor) + 1.0;
}

/// What cos and sin are multiplied by, so that scores keep their size over long contexts.
static float attention_factor(const tr_rope_scaling_t *s)
{
    if (s->kind != TR_ROPE_YARN && s->kind != TR_ROPE_LONGROPE) {
        return 1.0f;
    }
    if (s->attention_factor > 0.0) {
        return (float)s->attention_factor;
    }
    if (s->kind == TR_ROPE_LONGROPE) {
        return s->factor <= 1.0
                   ? 1.0f
                   : (float)sqrt(1.0 + tr_real_log(s->factor) / tr_real_log(s->original_positions));
    }
    return s->mscale > 0.0 && s->mscale_all_dim > 0.0
               ? (float)(rope_yarn_scale(s->factor, s->mscale) /
                         rope_yarn_scale(s->factor, s->mscale_all_dim))
               : (float)rope_yarn_scale(s->factor, 1.0);
}

/// frequency: [rotary_dim / 2], written.
static void scale(float *frequency, const tr_model_config_t *config)
{
    const size_t pairs = rope_dim(config) / 2;
    const tr_rope_scaling_t *s = &config->rope_scaling;
    switch (s->kind) {
    // Nothing is longer than max_positions, and up to there the dynamic rotation is the plain one.
    case TR_ROPE_DEFAULT:
    case TR_ROPE_DYNAMIC: break;
    case TR_ROPE_LINEAR:
        for (size_t i = 0; i < pairs; i++) {
            frequency[i] /= (float)s->factor;
        }
        break;
    case TR_ROPE_LLAMA3: scale_llama3(frequency, pairs, s); break;
    case TR_ROPE_YARN: scale_yarn(frequency, pairs, config); break;
    case TR_ROPE_LONGROPE:
        for (size_t i = 0; i < pairs; i++) {
            const float power = power_of(config->rope_theta, i, rope_dim(config));
            frequency[i] = 1.0f / (s->short_factor[i] * power);
        }
        break;
    }
}

void rope_table(float *table, const tr_model_config_t *config, bool local)
{
    const size_t dim = rope_dim(config), half = dim / 2;
    const double theta = local ? config->rope_local_theta : config->rope_theta;
    const float factor = local ? 1.0f : attention_factor(&config->rope_scaling);
    float *frequency = tr_calloc(half, sizeof *frequency);
    for (size_t i = 0; i < half; i++) {
        frequency[i] = 1.0f / power_of(theta, i, dim);
    }
    if (!local) {
        scale(frequency, config);
    }
    for (size_t i = 0; i < half; i++) {
        for (size_t position = 0; position < config->max_positions; position++) {
            double sine, cosine;
            float angle = (float)position * frequency[i];
            tr_real_sincos(&sine, &cosine, (double)angle);
            table[position * dim + i] = (float)cosine * factor;
            table[position * dim + half + i] = (float)sine * factor;
        }
    }
    free(frequency);
}
