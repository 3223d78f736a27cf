// Rows through stages 2 and 3: every row is read, bad ones are refused, and what is left is put
// into the order in which a batch counts it: unpaired, or packed. Read kinds.c and sequence.c next.
#include "common/data/rows.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/data/pack.h"

void tr_rows_release(tr_rows_t *rows)
{
    // Also of rows whose reading failed in the middle: count then ends before the bad row, whose
    // sequences have been released.
    for (size_t i = 0; rows->sequences != NULL && i < rows->starts[rows->count]; i++) {
        tr_sequence_release(&rows->sequences[i]);
    }
    free(rows->reference);
    free(rows->reference_starts);
    free(rows->sequences);
    free(rows->starts);
    tr_dataset_destroy(&rows->dataset);
    *rows = (tr_rows_t){0};
}

/// Rows of prompts are neither unpaired nor packed, so row i is still row i of the data set.
const char *tr_rows_prompt(const tr_rows_t *rows, size_t row)
{
    const char *text = rows->sequences[rows->starts[row]].text;
    return text != NULL
               ? text
               : json_string_value(tr_dataset_value(rows->dataset, row, rows->prompt_column));
}

json_t *tr_rows_conversation(const tr_rows_t *rows, size_t row, const char *response, size_t length)
{
    const json_t *prompt = tr_dataset_value(rows->dataset, row, rows->prompt_column);
    if (!tr_chat_is_conversation(prompt)) {
        return NULL;
    }
    const char *content = tr_chat_content(rows->chat_template, response);
    size_t n = length - (size_t)(content - response);
    json_t *messages = json_copy((json_t *)prompt); // the row keeps its own
    json_array_append_new(messages,
                          json_pack("{s:s, s:s%}", "role", "assistant", "content", content, n));
    return messages;
}

/// Reads every row; bad ones are refused, and gone at the end.
static tr_status read_all(tr_rows_t *rows, tr_encoder_t *encoder, tr_kind_t kind,
                          const tr_rows_options_t *options, tr_error_t *err)
{
    size_t size = tr_dataset_size(rows->dataset), group = tr_kind_sequences(kind);
    rows->sequences = tr_calloc(group * size, sizeof *rows->sequences);
    rows->starts = tr_calloc(size + 1, sizeof *rows->starts);
    for (size_t row = 0; row < size; row++) {
        // A bad row's place is used by the next one: what is left has no gaps, as in the data set
        // after tr_dataset_compact.
        tr_sequence_t *sequences = rows->sequences + group * rows->count;
        if (tr_kind_read(sequences, encoder, kind, rows->dataset, row, options, err) == TR_OK) {
            rows->count++;
            rows->starts[rows->count] = group * rows->count;
            continue;
        }
        for (size_t i = 0; i < group; i++) {
            tr_sequence_release(&sequences[i]);
        }
        tr_dataset_refuse(rows->dataset, row, err);
    }
    // Only now, so that the loop's numbers are those of the data set.
    TR_TRY(tr_dataset_compact(rows->dataset, err));
    return tr_dataset_verdict(rows->dataset, err);
}

/// Puts sequences, which take over the old ones' memory, in their place.
static void replace(tr_rows_t *rows, tr_sequence_t *sequences, size_t count)
{
    free(rows->sequences);
    rows->sequences = sequences;
    rows->count = count;
    rows->starts = tr_realloc(rows->starts, (count + 1) * sizeof *rows->starts);
}

/// Pairs become rows of their own, in blocks of a thousand, first the chosen ones: TRL's order,
/// which keeps the two sides of a pair apart, so that no completion is mismatched with its own
/// prompt.
static void unpair(tr_rows_t *rows)
{
    enum { BLOCK = 1000 };
    size_t pairs = rows->count;
    tr_sequence_t *sequences = tr_calloc(2 * pairs + 1, sizeof *sequences);
    for (size_t first = 0; first < pairs; first += BLOCK) {
        size_t block = pairs - first < BLOCK ? pairs - first : BLOCK;
        for (size_t i = 0; i < block; i++) {
            // Sequences move by value: what they own goes with them.
            sequences[2 * first + i] = rows->sequences[2 * (first + i)];
            sequences[2 * first + block + i] = rows->sequences[2 * (first + i) + 1];
        }
    }
    replace(rows, sequences, 2 * pairs);
    for (size_t i = 0; i <= 2 * pairs; i++) {
        rows->starts[i] = i;
    }
}

/// Rows of one sequence become packs of at most `limit` tokens.
static void pack(tr_rows_t *rows)
{
    size_t count = rows->count;
    size_t *lengths = tr_calloc(count, sizeof *lengths);
    size_t *starts = tr_calloc(count + 1, sizeof *starts);
    uint32_t *order = tr_calloc(count, sizeof *order);
    tr_sequence_t *sequences = tr_calloc(count, sizeof *sequences);
    for (size_t i = 0; i < count; i++) { // as a batch cuts them
        size_t length = rows->sequences[i].length;
        lengths[i] = length < rows->limit ? length : rows->limit;
    }
    // A sequence that is cut to the limit fills a pack of its own.
    size_t packs = tr_pack(order, starts, lengths, count, rows->limit);
    for (size_t i = 0; i < count; i++) {
        sequences[i] = rows->sequences[order[i]];
    }
    replace(rows, sequences, packs);
    // A row is now a pack: its sequences stand side by side in the new order.
    memcpy(rows->starts, starts, (packs + 1) * sizeof *starts);
    free(order);
    free(starts);
    free(lengths);
}

/// Stages 2 and 3 in their order: columns, then tokens, then the order of a batch. Unpairing comes
/// before packing, as packs are made of single sequences.
tr_status tr_rows_init(tr_rows_t *rows, tr_dataset_t **dataset, tr_kind_t kind,
                       const tr_tokenizer_t *tokenizer, const tr_rows_options_t *options,
                       tr_error_t *err)
{
    tr_encoder_t encoder = {.tokenizer = tokenizer,
                            .chat_template = options->chat_template,
                            .model = options->model,
                            .masks = options->assistant_only != NULL};
    *rows = (tr_rows_t){.dataset = *dataset,
                        .limit = options->limit,
                        .keep_end = options->keep_end,
                        .steps = kind == TR_KIND_STEPWISE,
                        .labelled = kind == TR_KIND_UNPAIRED || kind == TR_KIND_LABELLED,
                        .masked = kind == TR_KIND_STEPWISE || options->assistant_only != NULL,
                        .prompt_column = options->prompt_column};
    *dataset = NULL;
    // Columns of all rows before any token: a mistake in the last row is named at once.
    TR_TRY(tr_kind_require(kind, rows->dataset, options, err));
    // Asked while the first row is still the file's first: a dropped one could take the answer
    // along.
    rows->margins = tr_kind_has_margins(kind, rows->dataset);
    rows->kinds = 1u << kind;
    rows->kinds |= tr_kind_has_prompt(kind, rows->dataset, options) ? TR_ROWS_PROMPT : 0;
    TR_TRY(read_all(rows, &encoder, kind, options, err));
    rows->chat_template = encoder.chat_template;
    rows->kinds |= encoder.conversations ? TR_ROWS_CONVERSATIONS : 0;
    // A warning alone, as in TRL: completions are learnt after the prompts' own tokens.
    if (encoder.mismatches > 0) {
        tr_log(TR_LOG_WARN, "data",
               "rows=%zu \"the tokens of these prompts change when a completion follows: begin "
               "completions where a token begins\"",
               encoder.mismatches);
    }
    if (kind == TR_KIND_UNPAIRED) {
        unpair(rows);
    }
    if (options->packing) {
        pack(rows);
    }
    return TR_OK;
}
