/// A model, or one with an adapter, beside what transformers makes of it: the directory's
/// golden.safetensors, as tests/golden/make_llama.py has it.
#ifndef TESTS_SUPPORT_SUBJECT_H
#define TESTS_SUPPORT_SUBJECT_H

#include "common/hf/safetensors.h"
#include "tests/support/small.h"

typedef struct subject {
    small_t small;
    tr_safetensors_t *golden;
    tr_sequences_t sequences; // the whole text after the first token is response
    size_t tokens;
    double tolerance; ///< of logits and values, as a share of the largest: 1e-5 unless changed
} subject_t;

/// adapter: a directory of PEFT, whose golden numbers are taken, or NULL. On two threads; the model
/// learns.
void subject_open(subject_t *subject, const char *directory, const char *adapter);
void subject_close(subject_t *subject);

/// A golden tensor, the rig's. count: written.
float *subject_reals(subject_t *subject, const char *name, size_t *count);

/// Of a golden array over all tokens, what stands before each response token: all but each
/// sequence's last.
float *subject_before_response(subject_t *subject, const float *values);

/// A parameter's numbers as the file has them, the rig's; from: of the whole vector, from its
/// first element.
float *subject_stored(small_t *small, const tr_parameter_t *parameter, const float *from);

/// Within `relative` of the largest of the expected numbers.
void expect_relative(const char *what, const float *actual, const float *expected, size_t count,
                     double relative);

/// Logits of a language model, or values of a scalar one, to the subject's tolerance.
void subject_check_logits(subject_t *subject, const char *what);
void subject_check_values(subject_t *subject, const char *what);

#endif
