/// A survey of a corpus: every row is read once, for what is wrong with it and how long it is.
///
/// Nothing of the rows is kept. A survey runs where it is begun, or in a thread of its own beside a
/// run whose files are large.
#ifndef TR_DATA_SURVEY_H
#define TR_DATA_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/data/sequence.h"

typedef struct tr_corpus tr_corpus_t;

enum { TR_SURVEY_MISTAKES = 20 };

/// What was found: read once the survey is done.
typedef struct tr_found {
    size_t bad;         ///< rows
    uint32_t *bad_rows; ///< [bad] where they are to be dropped
    size_t longest;     ///< tokens of a sequence, as a batch cuts it
    size_t crowded;     ///< prompts longer than the options' `room`
    size_t longest_prompt;
    bool *labels;       ///< [good rows] of labelled ones
    size_t mismatches;  ///< prompts whose tokens change when a completion follows
    bool conversations; ///< some value was one
    size_t *lengths;    ///< [good rows] tokens, as a batch cuts them, where rows are packed
} tr_found_t;

typedef struct tr_survey tr_survey_t;

/// Begins a survey, in a thread or at once. corpus: borrowed, and not changed until the survey is
/// done.
tr_survey_t *tr_survey_new(const tr_corpus_t *corpus, bool thread);
/// Ends it early, if it is not done.
void tr_survey_destroy(tr_survey_t **survey);

bool tr_survey_is_done(const tr_survey_t *survey);

/// Waits until it is done. Borrowed.
const tr_found_t *tr_survey_wait(tr_survey_t *survey);

/// Of a survey that is done: the chat template that it read goes to an encoder of the same source
/// that has not read it yet.
void tr_survey_give_chat(tr_encoder_t *encoder, tr_survey_t *survey);

/// Of a survey that is done. Fails with the first mistake, "file:line: column: what is wrong", and
/// the number of the others, where a row was bad and none may be dropped.
tr_status tr_survey_verdict(const tr_survey_t *survey, tr_error_t *err);

/// The first mistakes, at most TR_SURVEY_MISTAKES, as sentences: [the result]; none where bad rows
/// are dropped. Borrowed.
size_t tr_survey_mistakes(const char *const **sentences, const tr_survey_t *survey);

#endif
