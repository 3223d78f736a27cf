// Reads all rows of a corpus, one after the other. A bad row is a mistake that is kept as a
// sentence, or it is logged and will be dropped; what a good one tells is summed up.
#include "common/data/survey.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/data/corpus.h"

struct tr_survey {
    const tr_corpus_t *corpus;
    tr_encoder_t encoder;
    tr_found_t found;
    size_t good; // rows
    char *mistakes[TR_SURVEY_MISTAKES];
    tr_error_t failure; // the first mistake, or a file that could not be read to its end
    bool threaded;
    pthread_t thread;
    atomic_bool stop, done;
};

static void take_bad(tr_survey_t *s, uint32_t row, const tr_error_t *bad)
{
    tr_found_t *found = &s->found;
    if (s->corpus->options.drop) {
        tr_log(TR_LOG_WARN, "data", "\"dropped: %s\"", bad->text);
        found->bad_rows = tr_realloc(found->bad_rows, (found->bad + 1) * sizeof *found->bad_rows);
        found->bad_rows[found->bad] = row;
    } else if (found->bad < TR_SURVEY_MISTAKES) {
        s->mistakes[found->bad] = tr_strdup(bad->text);
    }
    if (found->bad++ == 0) {
        s->failure = *bad;
    }
}

/// sequences: [count] of one row.
static void take_good(tr_survey_t *s, const tr_sequence_t *sequences, size_t count)
{
    const tr_rows_options_t *options = &s->corpus->options;
    tr_found_t *found = &s->found;
    for (size_t i = 0; i < count; i++) {
        const tr_sequence_t *sequence = &sequences[i];
        size_t length = sequence->length < options->limit ? sequence->length : options->limit;
        found->longest = length > found->longest ? length : found->longest;
        found->crowded += sequence->prompt > options->room;
        if (sequence->prompt > found->longest_prompt) {
            found->longest_prompt = sequence->prompt;
        }
        if (options->packing) { // such rows have one sequence
            found->lengths[s->good] = length;
        }
    }
    if (found->labels != NULL) {
        found->labels[s->good] = sequences[0].label;
    }
    s->good++;
}

/// The row's sequences: [tr_kind_sequences], which the caller releases.
static tr_status read_row(tr_sequence_t *sequences, tr_survey_t *s, size_t row, tr_error_t *err)
{
    const tr_corpus_t *corpus = s->corpus;
    json_t *columns;
    TR_TRY(tr_dataset_read(&columns, corpus->dataset, row, err));
    tr_status status = tr_kind_read(sequences, &s->encoder, corpus->kind, corpus->dataset, columns,
                                    &corpus->options, err);
    json_decref(columns);
    if (status != TR_OK) {
        char *place = tr_dataset_place(corpus->dataset, row);
        tr_error_prefix(err, "%s", place);
        free(place);
    }
    return status;
}

/// A thread's function.
static void *look_at_all(void *context)
{
    tr_survey_t *s = context;
    size_t size = tr_dataset_size(s->corpus->dataset);
    const size_t group = tr_kind_sequences(s->corpus->kind);
    for (size_t row = 0; row < size && !atomic_load(&s->stop); row++) {
        tr_sequence_t sequences[2] = {{0}};
        tr_error_t err = {0};
        tr_status status = read_row(sequences, s, row, &err);
        if (status == TR_OK) {
            take_good(s, sequences, group);
        } else if (status == TR_ERR_IO) { // nothing can be said of a file that changes
            s->found.bad = 0;
            s->failure = err;
            size = 0;
        } else {
            take_bad(s, (uint32_t)row, &err);
        }
        for (size_t i = 0; i < group; i++) {
            tr_sequence_release(&sequences[i]);
        }
    }
    s->found.mismatches = s->encoder.mismatches;
    s->found.conversations = s->encoder.chat != NULL;
    atomic_store(&s->done, true);
    return NULL;
}

tr_survey_t *tr_survey_new(const tr_corpus_t *corpus, bool thread)
{
    tr_survey_t *s = tr_calloc(1, sizeof *s);
    s->corpus = corpus;
    s->encoder = (tr_encoder_t){.tokenizer = corpus->encoder.tokenizer,
                                .source = corpus->encoder.source,
                                .masks = corpus->encoder.masks};
    s->threaded = thread;
    if (corpus->options.packing) {
        s->found.lengths = tr_calloc(tr_dataset_size(corpus->dataset), sizeof *s->found.lengths);
    }
    if (corpus->kind == TR_KIND_LABELLED) {
        s->found.labels = tr_calloc(tr_dataset_size(corpus->dataset), sizeof *s->found.labels);
    }
    if (!thread) {
        look_at_all(s);
        return s;
    }
    int code = pthread_create(&s->thread, NULL, look_at_all, s);
    TR_ASSERT(code == 0, "no thread: error %d", code);
    return s;
}

bool tr_survey_is_done(const tr_survey_t *s)
{
    return atomic_load(&s->done);
}

const tr_found_t *tr_survey_wait(tr_survey_t *s)
{
    if (s->threaded) {
        pthread_join(s->thread, NULL);
        s->threaded = false;
    }
    return &s->found;
}

void tr_survey_destroy(tr_survey_t **survey)
{
    if (*survey == NULL) {
        return;
    }
    atomic_store(&(*survey)->stop, true);
    tr_survey_wait(*survey);
    for (size_t i = 0; i < TR_SURVEY_MISTAKES; i++) {
        free((*survey)->mistakes[i]);
    }
    tr_encoder_release(&(*survey)->encoder);
    free((*survey)->found.bad_rows);
    free((*survey)->found.lengths);
    free((*survey)->found.labels);
    free(*survey);
    *survey = NULL;
}

void tr_survey_give_chat(tr_encoder_t *encoder, tr_survey_t *s)
{
    if (!encoder->looked) {
        encoder->chat = s->encoder.chat;
        encoder->looked = s->encoder.looked;
        s->encoder.chat = NULL;
    }
}

tr_status tr_survey_verdict(const tr_survey_t *s, tr_error_t *err)
{
    const tr_error_t *failure = &s->failure;
    if (failure->status == TR_OK || (s->corpus->options.drop && failure->status != TR_ERR_IO)) {
        return TR_OK;
    }
    return s->found.bad <= 1 ? tr_fail(err, failure->status, "%s", failure->text)
                             : tr_fail(err, failure->status, "%s (and %zu more bad rows)",
                                       failure->text, s->found.bad - 1);
}

size_t tr_survey_mistakes(const char *const **sentences, const tr_survey_t *s)
{
    size_t count = s->corpus->options.drop ? 0 : s->found.bad;
    *sentences = (const char *const *)s->mistakes;
    return count < TR_SURVEY_MISTAKES ? count : TR_SURVEY_MISTAKES;
}
