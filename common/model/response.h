/// Prompts with responses, and one pass of a model over them: a log-probability or a value for
/// every response token.
///
/// Row prompt + t - 1 of a sequence (the state before token t of the response is emitted) gives
/// both the log-prob of that token and the value there. The same code serves the reference, the
/// proof of exactness, and learning.
#ifndef TR_MODEL_RESPONSE_H
#define TR_MODEL_RESPONSE_H

#include "common/collective/collective.h"
#include "common/model/model.h"

/// Ragged host arrays, borrowed.
typedef struct tr_sequences {
    size_t count;
    const int32_t *ids;    ///< [starts[count]] prompts and responses, one sequence after another
    const int32_t *starts; ///< [count + 1]
    const int32_t *prompt_lengths;  ///< [count], each >= 1
    const int32_t *response_starts; ///< [count + 1] offsets into arrays over response tokens
    const int32_t *kept_offsets;    ///< [response_starts[count] + 1], or NULL: sampled untruncated
    const int32_t *kept_ids;        ///< [kept_offsets[last]]
} tr_sequences_t;

typedef struct tr_response_pass tr_response_pass_t;

/// model is borrowed and must outlive the pass.
tr_response_pass_t *tr_response_pass_new(tr_model_t *model);
void tr_response_pass_destroy(tr_response_pass_t **pass);

/// Noise on the embeddings of passes that learn (NEFTune, Jain et al. 2023, arXiv 2310.05914): each
/// element gets a number of its own, uniform in [-1, 1) times alpha / sqrt(L H), L: tokens of the
/// sequence, H: hidden. It is a function of seed, step, the sequence's number, token and column,
/// and of nothing else.
typedef struct tr_noise {
    double alpha; ///< 0: none
    uint64_t seed;
    uint32_t step;
    bool dropout; ///< of what adapters read, as their options say: a function of the same
} tr_noise_t;

/// noise: [length, hidden], written: for the sequence of that number.
void tr_noise_draw(float *noise, const tr_noise_t *options, uint32_t sequence, size_t length,
                   size_t hidden);

/// For the passes to come; a new pass has none.
void tr_response_noise(tr_response_pass_t *pass, const tr_noise_t *noise);

/// Runs sequences chosen[0..count-1] through the model in one ragged batch. out: [response tokens
/// of the chosen, in their order]: log-probs under softmax(logits / temperature) within the kept
/// sets, or values for a scalar model. facts: likewise, of a policy, or NULL. learn: keep what
/// tr_response_backward needs. Fails for a sequence longer than the model's positions, and for a
/// policy's temperature of 0 or below.
tr_status tr_response_forward(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                              const uint32_t *chosen, size_t count, float temperature, bool learn,
                              float *out, tr_token_facts_t *facts, tr_error_t *err);

/// As tr_model_balance, of the last forward pass (with learn), before its backward pass.
tr_status tr_response_balance(tr_response_pass_t *pass, double coefficient, tr_balance_t *balance,
                              tr_error_t *err);

/// Adds the gradient of sum(dout * out) + sum(dmean * facts.mean) of the last forward pass (with
/// learn) to gradient, as tr_model_backward does, once; where there is no out, nothing is added.
/// dmean: of a policy, or NULL: 0.
void tr_response_backward(tr_response_pass_t *pass, const float *dout, const float *dmean,
                          tr_gradient_t *gradient);

/// scores: [count], the scalar head at the last token of each chosen sequence (as
/// AutoModelForSequenceClassification). learn: keep what tr_response_backward needs, whose dout is
/// then of the scores.
tr_status tr_response_scores(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                             const uint32_t *chosen, size_t count, bool learn, float *scores,
                             tr_error_t *err);

/// From now on tr_response_forward_all shares its passes out to the ranks of a collective
/// (borrowed; NULL: none).
void tr_response_share(tr_response_pass_t *pass, tr_collective_t *collective);

/// Sequences of a pass that trains nothing, where nobody says another number. It bounds memory and
/// changes no bit.
enum { TR_INFER_CHUNK = 16 };

/// All sequences, `chunk` of them a pass; out and facts as above, for all response tokens. With
/// ranks, all call it and all get all outputs.
tr_status tr_response_forward_all(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                                  size_t chunk, float temperature, float *out,
                                  tr_token_facts_t *facts, tr_error_t *err);

/// Gives every rank all outputs of a round: rank r computed those from starts[r] to starts[r + 1].
/// starts: [ranks + 1], counted in elements of out and of facts, which may be NULL. All ranks call
/// it; collective NULL: this process is alone.
void tr_response_gather(tr_collective_t *collective, const size_t *starts, float *out,
                        tr_token_facts_t *facts);

/// Response tokens of the chosen sequences.
size_t tr_response_tokens(const tr_sequences_t *sequences, const uint32_t *chosen, size_t count);

/// Copies values over response tokens of the chosen sequences, in their order, to out; returns how
/// many.
size_t tr_response_select(float *out, const float *values, const tr_sequences_t *sequences,
                          const uint32_t *chosen, size_t count);

#endif
