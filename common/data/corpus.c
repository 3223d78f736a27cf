// Rows of files through stages 2 and 3: which rows of the data set make a row of the corpus
// (itself, a side of a pair, a pack), and how they are read. Read kinds.c and sequence.c next.
#include "common/data/corpus.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "common/data/pack.h"

/// Rows of the data set, or pairs, that an epoch takes: each once, or as often as weights say.
static size_t entries(const tr_corpus_t *corpus)
{
    return corpus->mixture != NULL ? corpus->mixed : tr_dataset_size(corpus->dataset);
}

static size_t row_of(const tr_corpus_t *corpus, size_t entry)
{
    return corpus->mixture != NULL ? corpus->mixture[entry] : entry;
}

/// Again where rows were left out.
static tr_status mix(tr_corpus_t *corpus, tr_error_t *err)
{
    free(corpus->mixture);
    TR_TRY(tr_dataset_mix(&corpus->mixture, &corpus->mixed, corpus->dataset, err));
    corpus->count = entries(corpus) * (corpus->kind == TR_KIND_UNPAIRED ? 2 : 1);
    return TR_OK;
}

tr_status tr_corpus_open(tr_corpus_t *corpus, const char *const *files, size_t count,
                         const tr_tokenizer_t *tokenizer, const tr_rows_options_t *options,
                         tr_error_t *err)
{
    *corpus = (tr_corpus_t){.options = *options,
                            .encoder = {.tokenizer = tokenizer,
                                        .source = {options->chat_template,
                                                   options->chat_template_kwargs, options->model},
                                        .masks = options->assistant_only != NULL}};
    TR_TRY(tr_dataset_new(&corpus->dataset, files, count, err));
    TR_TRY(tr_dataset_recognise(corpus->dataset, options, err));
    // The kind follows from the columns of the files.
    tr_kind_t kind = tr_kind_of(corpus->dataset, options);
    corpus->kind = kind;
    corpus->kinds = 1u << kind;
    corpus->kinds |= tr_kind_has_prompt(kind, corpus->dataset, options) ? TR_ROWS_PROMPT : 0;
    corpus->labelled = kind == TR_KIND_UNPAIRED || kind == TR_KIND_LABELLED;
    corpus->masked = kind == TR_KIND_STEPWISE || options->assistant_only != NULL;
    return mix(corpus, err);
}

void tr_corpus_release(tr_corpus_t *corpus)
{
    tr_survey_destroy(&corpus->survey); // before what its thread reads
    tr_encoder_release(&corpus->encoder);
    tr_dataset_destroy(&corpus->dataset);
    free(corpus->mixture);
    free(corpus->packed);
    free(corpus->packs);
    free(corpus->reference);
    free(corpus->reference_starts);
    *corpus = (tr_corpus_t){0};
}

// The survey

tr_status tr_corpus_survey(tr_corpus_t *corpus, bool wait, tr_error_t *err)
{
    const tr_rows_options_t *options = &corpus->options;
    bool thread = !wait && !options->drop && !options->packing &&
                  tr_dataset_bytes(corpus->dataset) > TR_CORPUS_AT_ONCE;
    corpus->survey = tr_survey_new(corpus, thread);
    return thread ? TR_OK : tr_corpus_settle(corpus, err);
}

bool tr_corpus_surveyed(const tr_corpus_t *corpus)
{
    return corpus->survey == NULL || tr_survey_is_done(corpus->survey);
}

/// Rows of one sequence become packs of at most `limit` tokens. lengths: [rows of the data set]. A
/// sequence that is cut to the limit fills a pack of its own.
static void pack(tr_corpus_t *corpus, const size_t *lengths)
{
    size_t count = entries(corpus), *own = tr_calloc(count + 1, sizeof *own);
    for (size_t i = 0; i < count; i++) {
        own[i] = lengths[row_of(corpus, i)];
    }
    corpus->packed = tr_calloc(count, sizeof *corpus->packed);
    corpus->packs = tr_calloc(count + 1, sizeof *corpus->packs);
    corpus->count = tr_pack(corpus->packed, corpus->packs, own, count, corpus->options.limit);
    free(own);
}

size_t tr_corpus_desirable(const tr_corpus_t *corpus)
{
    const tr_found_t *found = tr_survey_wait(corpus->survey);
    size_t count = 0;
    for (size_t i = 0; i < entries(corpus); i++) {
        count += corpus->kind == TR_KIND_UNPAIRED || found->labels[row_of(corpus, i)];
    }
    return count;
}

tr_status tr_corpus_settle(tr_corpus_t *corpus, tr_error_t *err)
{
    if (corpus->settled || corpus->survey == NULL) {
        return TR_OK;
    }
    const tr_found_t *found = tr_survey_wait(corpus->survey);
    TR_TRY(tr_survey_verdict(corpus->survey, err));
    corpus->settled = true;
    tr_survey_give_chat(&corpus->encoder, corpus->survey);
    corpus->kinds |= found->conversations ? TR_ROWS_CONVERSATIONS : 0;
    if (found->bad > 0) { // and dropped
        if (found->bad == tr_dataset_size(corpus->dataset)) {
            char *place = tr_dataset_place(corpus->dataset, 0);
            tr_fail(err, TR_ERR_FORMAT, "%s: all %zu rows are bad and were dropped", place,
                    found->bad);
            free(place);
            return TR_ERR_FORMAT;
        }
        tr_dataset_leave_out(corpus->dataset, found->bad_rows, found->bad);
        TR_TRY(mix(corpus, err));
    }
    if (corpus->options.packing) {
        pack(corpus, found->lengths);
    }
    // A warning alone, as in TRL: completions are learnt after the prompts' own tokens.
    if (found->mismatches > 0) {
        tr_log(TR_LOG_WARN, "data",
               "rows=%zu \"the tokens of these prompts change when a completion follows: begin "
               "completions where a token begins\"",
               found->mismatches);
    }
    return TR_OK;
}

// Reading

/// Pairs become rows of their own, in blocks of a thousand, first the chosen ones: TRL's order,
/// which keeps the two sides of a pair apart, so that no completion is mismatched with its own
/// prompt. *side: 0 for the chosen one. Returns the pair.
static size_t pair_of(size_t *side, const tr_corpus_t *corpus, size_t row)
{
    enum { BLOCK = 1000 };
    size_t first = row / (2 * BLOCK) * BLOCK; // pair of the block
    size_t left = entries(corpus) - first;
    size_t block = left < BLOCK ? left : BLOCK, within = row - 2 * first;
    *side = within / block;
    return first + within % block;
}

/// Appends the sequences of a row of the data set. side: of a pair, the only one to stay; 2: all.
static tr_status read_row(tr_rows_t *rows, size_t *sequences, tr_corpus_t *corpus, size_t row,
                          size_t side, tr_error_t *err)
{
    tr_sequence_t read[2] = {{0}};
    json_t *columns;
    TR_TRY(tr_dataset_read(&columns, corpus->dataset, row, err));
    tr_status status = tr_kind_read(read, &corpus->encoder, corpus->kind, corpus->dataset, columns,
                                    &corpus->options, err);
    for (size_t i = 0; i < tr_kind_sequences(corpus->kind); i++) {
        if (status == TR_OK && (side == 2 || side == i)) {
            rows->sequences[(*sequences)++] = read[i];
        } else {
            tr_sequence_release(&read[i]);
        }
    }
    if (status == TR_OK && rows->columns != NULL) {
        rows->columns[rows->count] = json_incref(columns);
    }
    json_decref(columns);
    if (status != TR_OK) {
        char *place = tr_dataset_place(corpus->dataset, row);
        tr_error_prefix(err, "%s", place);
        free(place);
    }
    return status;
}

/// Appends a row of the corpus.
static tr_status append(tr_rows_t *rows, size_t *sequences, tr_corpus_t *corpus, size_t number,
                        tr_error_t *err)
{
    if (corpus->kind == TR_KIND_UNPAIRED) {
        size_t side, pair = pair_of(&side, corpus, number);
        return read_row(rows, sequences, corpus, row_of(corpus, pair), side, err);
    }
    if (corpus->packs == NULL) {
        return read_row(rows, sequences, corpus, row_of(corpus, number), 2, err);
    }
    for (size_t i = corpus->packs[number]; i < corpus->packs[number + 1]; i++) {
        TR_TRY(read_row(rows, sequences, corpus, row_of(corpus, corpus->packed[i]), 2, err));
    }
    return TR_OK;
}

/// Sequences of the rows: an upper bound.
static size_t most_sequences(const tr_corpus_t *corpus, const uint32_t *numbers, size_t count)
{
    size_t n = count * tr_kind_sequences(corpus->kind);
    for (size_t i = 0; corpus->packs != NULL && i < count; i++) {
        n += corpus->packs[numbers[i] + 1] - corpus->packs[numbers[i]];
    }
    return n;
}

tr_status tr_corpus_read(tr_rows_t *rows, tr_corpus_t *corpus, const uint32_t *numbers,
                         size_t count, tr_error_t *err)
{
    const tr_rows_options_t *options = &corpus->options;
    tr_status status = TR_OK;
    size_t sequences = 0;
    *rows = (tr_rows_t){.limit = options->limit,
                        .keep_end = options->keep_end,
                        .margins = tr_kind_has_margins(corpus->kind, corpus->dataset),
                        .labelled = corpus->labelled,
                        .masked = corpus->masked,
                        .steps = corpus->kind == TR_KIND_STEPWISE,
                        .prompt_column = options->prompt_column,
                        .corpus = corpus};
    rows->sequences =
        tr_calloc(most_sequences(corpus, numbers, count) + 1, sizeof *rows->sequences);
    rows->starts = tr_calloc(count + 1, sizeof *rows->starts);
    rows->numbers = tr_calloc(count + 1, sizeof *rows->numbers);
    rows->columns = corpus->kind == TR_KIND_PROMPTS ? tr_calloc(count + 1, sizeof(json_t *)) : NULL;
    for (; rows->count < count && status == TR_OK; rows->count++) {
        status = append(rows, &sequences, corpus, numbers[rows->count], err);
        rows->numbers[rows->count] = numbers[rows->count];
        rows->starts[rows->count + 1] = sequences; // after a failure: what is to be released
    }
    rows->chat = corpus->encoder.chat;
    return status;
}
