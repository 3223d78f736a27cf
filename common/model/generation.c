// The options of generation. What they do to a distribution is the operator `sample`
// (common/tensor/backend.h).
#include "common/model/generation.h"

static const char *const stop_tokens[] = {"null", "eos", NULL}; // tr_stop_token_t

#define FIELD(...) TR_FIELD(tr_generation_options_t, __VA_ARGS__)

// Names are TRL's and transformers' where they have the option; letters are those of `troupe
// generate`.
static const tr_field_t fields[] = {
    FIELD(temperature, TR_FIELD_REAL, "0.7", .letter = 't', .range = &tr_range_not_negative,
          .help = "Divides the logits; 0 is greedy, which algorithms that train refuse."),
    FIELD(top_k, TR_FIELD_WHOLE, "0", .letter = 'k', .range = &tr_range_whole,
          .help = "Sample among the so many likeliest tokens; 0: among all."),
    FIELD(top_p, TR_FIELD_REAL, "1.0", .letter = 'P', .range = &tr_range_above_0_to_1,
          .help = "Sample among the fewest tokens whose probabilities sum to at least this."),
    FIELD(min_p, TR_FIELD_REAL, "0.0", .letter = 'M', .range = &tr_range_fraction,
          .help = "Sample among the tokens that are at least this times as likely as the likeliest "
                  "(Nguyen et al. 2024); 0: among all."),
    FIELD(max_new_tokens, TR_FIELD_WHOLE, "53", .letter = 'n', .range = &tr_range_to_million,
          .also = "response_length", .help = "Tokens of the longest response."),
    FIELD(samples, TR_FIELD_WHOLE, "1", .letter = 'c', .range = &tr_range_to_thousand,
          .local = true, .help = "Responses to each prompt."),
    FIELD(stop_ids, TR_FIELD_IDS, "[]", .help = "Token ids that end a response."),
    FIELD(stop, TR_FIELD_TEXTS, "[]",
          .help =
              "Texts that end a response when its text holds one, wherever its tokens begin and "
              "end; the tokens stay, and so does the text."),
    FIELD(stop_token, TR_FIELD_CHOICE, "eos", .choices = stop_tokens, .local = true,
          .help = "`eos`: the end-of-sequence token ends a response; null: it does not, which is "
                  "the default of TRL's PPO."),
};

const tr_fields_t tr_generation_fields = TR_FIELDS(tr_generation_options_t, fields);

/// Narrowed to the operator's types; ranges of the options keep the values within them.
tr_sampling_t tr_generation_sampling(const tr_generation_options_t *options)
{
    return (tr_sampling_t){
        .temperature = (float)options->temperature,
        .top_k = (int32_t)options->top_k,
        .top_p = (float)options->top_p,
        .min_p = (float)options->min_p,
    };
}
