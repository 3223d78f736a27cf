// The table of kinds of rows, and the functions that read them.
//
// A kind is found by the first row, and its columns are then demanded of every row before it is
// read: a missing column is the more useful complaint. A function reads one row into its sequences;
// what it finds wrong is a sentence about a column, to which corpus.c adds file and line. Tokens
// are made by sequence.c.
#include "common/data/kinds.h"

#include <math.h>
#include <stdlib.h>

#include "common/data/columns.h"
#include "common/data/extract_prompt.h"
#include "common/text/finish.h"
#include "common/text/json.h"

// Columns that the options may call otherwise. They are compared as pointers.
static const char PROMPT[] = "prompt", TEXT[] = "text";
static const char FINISH[] = "finish";

/// The row that is being read.
typedef struct reading {
    tr_encoder_t *encoder;
    const tr_rows_options_t *options;
    const json_t *columns;
    bool margins; // the first row has one
    bool sound;   // nothing is wrong with the columns that are texts or lists, each by itself
} reading_t;

static const char *const SIDES[2] = {"chosen", "rejected"};
static const char *const SIDES_FINISH[2] = {"finish_chosen", "finish_rejected"};

/// The name in the files of a column that the table names: recipes may rename two of them.
static const char *name_of(const tr_rows_options_t *options, const char *column)
{
    return column == PROMPT ? options->prompt_column
           : column == TEXT ? options->text_column
                            : column;
}

static const json_t *value_of(const reading_t *r, const char *column)
{
    return json_object_get(r->columns, name_of(r->options, column));
}

/// How sentences call it.
static const char *shown(const reading_t *r, const char *column)
{
    return tr_column_shown(r->columns, name_of(r->options, column));
}

// What is wrong with a row

/// The type of a value, for sentences.
static const char *type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "something else";
}

/// What makes a column unusable, in the order in which a person would find it: it is missing, it is
/// of another type, it is empty, a part of it is.
static tr_status require(const json_t *columns, const char *column, tr_error_t *err)
{
    const json_t *value = json_object_get(columns, column);
    const char *shown = tr_column_shown(columns, column);
    TR_TRY(tr_column_check(columns, column, err));
    if (value == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: the column is missing", shown);
    }
    if (!json_is_string(value) && !json_is_array(value)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a text or a list of messages, found %s",
                       shown, type_of(value));
    }
    // Jansson gives 0 for the length of what is no string, and for the size of what is no list: one
    // of the two is always 0.
    if (json_string_length(value) == 0 && json_array_size(value) == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: the %s is empty", shown,
                       json_is_string(value) ? "text" : "list");
    }
    return tr_chat_is_conversation(value) ? tr_chat_check(value, shown, err) : TR_OK;
}

/// Columns of one row are of one type: texts, or conversations. Column a may be absent.
static tr_status expect_one_type(const reading_t *r, const char *a, const char *b, tr_error_t *err)
{
    const char *names[2] = {shown(r, a), shown(r, b)};
    const json_t *values[2] = {value_of(r, a), value_of(r, b)};
    // The sentence about a mix comes first: a text beside a conversation is the usual mistake.
    bool messages = tr_chat_is_conversation(values[1]);
    if (values[0] != NULL && messages != tr_chat_is_conversation(values[0])) {
        return tr_fail(err, TR_ERR_FORMAT, "%s is a %s and %s a %s: make them one kind", names[0],
                       messages ? "text" : "list of messages", names[1],
                       messages ? "list of messages" : "text");
    }
    for (int i = 0; i < 2; i++) { // a list of anything else has passed `require`
        if (values[i] != NULL && !json_is_string(values[i]) &&
            !tr_chat_is_conversation(values[i])) {
            return tr_fail(err, TR_ERR_FORMAT, "%s: expected a text or a list of messages",
                           names[i]);
        }
    }
    return TR_OK;
}

/// A response's first token is predicted from the token before it, so a prompt has at least one.
/// Where the tokenizer adds no begin token, an empty text has none.
static tr_status expect_prompt(const tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    return sequence->prompt > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT, "%s: the prompt has no token", shown(r, PROMPT));
}

/// Whether a token from `first` on is left, within the limit, that the mask counts.
static bool counts(const tr_sequence_t *sequence, size_t first, const tr_rows_options_t *options)
{
    size_t end = sequence->length < options->limit ? sequence->length : options->limit;
    while (first < end && sequence->mask[first] == 0) {
        first++;
    }
    return first < end;
}

/// Where only assistants are learnt, one must say something within the limit.
static tr_status expect_assistant(const tr_sequence_t *sequence, const reading_t *r,
                                  tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    if (options->assistant_only == NULL) {
        return TR_OK;
    }
    // Texts have no turns; a chat template says where an assistant's begin and end.
    if (sequence->mask == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s needs messages, found a text",
                       options->assistant_only);
    }
    return counts(sequence, sequence->prompt, options)
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "no assistant speaks within %zu tokens (%s), and %s learns nothing else",
                         options->limit, options->limit_key, options->assistant_only);
}

/// Batches cut sequences to the limit; something must be left to learn.
static tr_status expect_learnt(const tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    // The first token that is left counts as the prompt, if the whole prompt is cut off.
    // With keep_end a batch drops the first tokens, and at worst the whole prompt.
    size_t shortest = options->keep_end ? 1 : sequence->prompt;
    if (sequence->length <= sequence->prompt || shortest >= options->limit) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "nothing is left to learn within %zu tokens (%s): shorten the prompt or take "
            "the row out",
            options->limit, options->limit_key);
    }
    return expect_assistant(sequence, r, err);
}

/// Whether the column `finish`, or that of a side, says that a response was cut: then no end is
/// learnt. Rows without it are whole.
static bool is_cut(const reading_t *r, const char *column)
{
    tr_finish_t finish = TR_FINISH_STOP;
    const char *value = json_string_value(value_of(r, column));
    return value != NULL && tr_finish_find(&finish, value) && finish == TR_FINISH_LENGTH;
}

// What is wrong with columns that are neither a text nor a list, or with several together. Each
// function adds all that it finds to err, which may hold mistakes already.

static void check_finish(const reading_t *r, const char *column, tr_error_t *err)
{
    const json_t *value = value_of(r, column);
    tr_finish_t finish;
    tr_error_t one = {0};
    if (tr_column_check(r->columns, column, &one) == TR_OK && value != NULL &&
        !json_is_null(value) &&
        !(json_is_string(value) && tr_finish_find(&finish, json_string_value(value)))) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected \"stop\", \"eos\" or \"length\"",
                shown(r, column));
    }
    tr_error_join(err, &one);
}

/// Of columns that are sound each by itself: column a may be absent.
static void check_one_type(const reading_t *r, const char *a, const char *b, tr_error_t *err)
{
    tr_error_t one = {0};
    if (r->sound) {
        expect_one_type(r, a, b, &one);
    }
    tr_error_join(err, &one);
}

static void check_prompt(const reading_t *r, tr_error_t *err)
{
    // One column compared with itself: what is left of the check is that it can be encoded.
    check_one_type(r, PROMPT, PROMPT, err);
}

static void check_text(const reading_t *r, tr_error_t *err)
{
    tr_error_t one = {0};
    // A common slip: as in TRL, conversations without a prompt stand in `messages`.
    if (r->sound && !json_is_string(value_of(r, TEXT))) {
        tr_fail(&one, TR_ERR_FORMAT,
                "%s: expected a text, found a list (of messages? they stand in the column "
                "`messages`)",
                shown(r, TEXT));
    }
    tr_error_join(err, &one);
    check_finish(r, FINISH, err);
}

static void check_messages(const reading_t *r, tr_error_t *err)
{
    tr_error_t one = {0};
    // A list of other things, such as texts, has passed `require`.
    if (r->sound && !tr_chat_is_conversation(value_of(r, "messages"))) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected a list of messages", shown(r, "messages"));
    }
    tr_error_join(err, &one);
    check_finish(r, FINISH, err);
}

static void check_completion(const reading_t *r, tr_error_t *err)
{
    check_one_type(r, PROMPT, "completion", err);
    check_finish(r, FINISH, err);
}

static void check_labelled(const reading_t *r, tr_error_t *err)
{
    const json_t *label = value_of(r, "label");
    tr_error_t one = {0};
    // Not 0 and 1: a number could as well be a score.
    if (tr_column_check(r->columns, "label", &one) == TR_OK && !json_is_boolean(label)) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected true or false, found %s", shown(r, "label"),
                label == NULL ? "nothing" : type_of(label));
    }
    tr_error_join(err, &one);
    check_completion(r, err);
}

/// The prompt of a pair; NULL: it is what both sides begin with. That is so without the column, and
/// where the column has the text of a message with which both conversations begin, as UltraFeedback
/// has it (TRL's maybe_extract_prompt).
static const json_t *pair_prompt(const reading_t *r)
{
    const json_t *sides[2] = {value_of(r, SIDES[0]), value_of(r, SIDES[1])};
    const json_t *prompt = value_of(r, PROMPT);
    for (size_t i = 0; json_is_string(prompt) && i < json_array_size(sides[0]); i++) {
        const json_t *message = json_array_get(sides[0], i);
        if (!json_equal(message, json_array_get(sides[1], i))) {
            break;
        }
        prompt = json_equal(json_object_get(message, "content"), prompt) ? NULL : prompt;
    }
    return prompt;
}

static void check_pair(const reading_t *r, tr_error_t *err)
{
    // Three columns of one type: the sides with each other, and the prompt, if any, with them.
    check_one_type(r, SIDES[0], SIDES[1], err);
    if (pair_prompt(r) != NULL) {
        check_one_type(r, PROMPT, SIDES[0], err);
    }
    check_finish(r, SIDES_FINISH[0], err);
    check_finish(r, SIDES_FINISH[1], err);
}

/// How much better the chosen side is, for losses that ask for such a distance (Touvron et al.
/// 2023, section 3.2.2).
static void check_whole_pair(const reading_t *r, tr_error_t *err)
{
    const json_t *margin = value_of(r, "margin");
    tr_error_t one = {0};
    // A number past a float's range would be an infinite margin, and so would be the loss.
    if (r->margins && tr_column_check(r->columns, "margin", &one) == TR_OK &&
        !(json_is_number(margin) && isfinite((float)json_number_value(margin)))) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected a number", shown(r, "margin"));
    }
    tr_error_join(err, &one);
    check_pair(r, err);
}

/// A process reward model's row, as TRL's stepwise supervision has it: a prompt, steps, and a label
/// for each.
static void check_steps(const reading_t *r, tr_error_t *err)
{
    const json_t *steps = value_of(r, "completions"), *labels = value_of(r, "labels");
    size_t count = json_array_size(steps);
    tr_error_t one = {0};
    if (r->sound && !json_is_string(value_of(r, PROMPT))) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected a text", shown(r, PROMPT));
        tr_error_join(err, &one);
    }
    // Lists of different lengths would pair steps with the labels of others.
    if (r->sound && (count == 0 || json_array_size(labels) != count)) {
        tr_fail(&one, TR_ERR_FORMAT,
                "completions, labels: expected lists of one length, found %zu and %zu items", count,
                json_array_size(labels));
        tr_error_join(err, &one);
        return;
    }
    for (size_t i = 0; r->sound && i < count; i++) {
        if (!json_is_string(json_array_get(steps, i)) ||
            !json_is_boolean(json_array_get(labels, i))) {
            tr_fail(&one, TR_ERR_FORMAT,
                    "completions, labels: item %zu: expected a text, and true or false", i);
            tr_error_join(err, &one);
        }
    }
}

// One row into its sequences

/// A prompt that a policy answers. Its length is checked here, since generation has no place to cut
/// it.
static tr_status read_prompt(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    // A prompt alone is generated from, not learnt: nothing but its length can be wrong now.
    TR_TRY(tr_encode_prompt(sequence, r->encoder, value_of(r, PROMPT), err));
    TR_TRY(expect_prompt(sequence, r, err));
    if (sequence->length > options->limit) { // a prompt is not cut: it would be another one
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%s: the prompt has %zu tokens; at most %zu fit (%s): shorten it or take "
                       "the row out",
                       shown(r, PROMPT), sequence->length, options->limit, options->limit_key);
    }
    return TR_OK;
}

static tr_status read_whole(tr_sequence_t *sequence, const reading_t *r, const char *column,
                            tr_error_t *err)
{
    TR_TRY(tr_encode_whole(sequence, r->encoder, value_of(r, column), is_cut(r, FINISH), err));
    return expect_learnt(sequence, r, err);
}

static tr_status read_text(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    return read_whole(sequence, r, TEXT, err);
}

static tr_status read_messages(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    return read_whole(sequence, r, "messages", err);
}

/// A prompt and what follows it: rows of supervised training, and the base of labelled ones.
static tr_status read_completion(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    TR_TRY(tr_encode_completion(sequence, r->encoder, value_of(r, PROMPT),
                                value_of(r, "completion"), is_cut(r, FINISH), err));
    TR_TRY(expect_prompt(sequence, r, err));
    // TRL's completion_only_loss of false: all tokens but the first, which nothing predicts.
    if (!r->options->completion_only) {
        sequence->prompt = 1; // the prompt is learnt too
    }
    return expect_learnt(sequence, r, err);
}

/// Unpaired preferences, as KTO takes them: a completion, and whether it is wanted.
static tr_status read_labelled(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    sequence->label = json_is_true(value_of(r, "label"));
    return read_completion(sequence, r, err);
}

/// One side of a pair.
static tr_status read_side(tr_sequence_t *sequence, const reading_t *r, int side,
                           const json_t *prompt, const json_t *completion, tr_error_t *err)
{
    // Where pairs are unpaired (TR_KIND_UNPAIRED), the label is all that tells the sides apart.
    sequence->label = side == 0;
    TR_TRY(tr_encode_completion(sequence, r->encoder, prompt, completion,
                                is_cut(r, SIDES_FINISH[side]), err));
    TR_TRY(expect_prompt(sequence, r, err));
    // The sentence says what is wrong, not with which of the two sides.
    return expect_learnt(sequence, r, err) == TR_OK
               ? TR_OK
               : tr_error_prefix(err, "%s", shown(r, SIDES[side]));
}

/// completions: [2], of SIDES.
/// The completions of one pair, each a sequence of its own that begins with the same prompt: the
/// chosen one, then the rejected one.
static tr_status read_sides(tr_sequence_t *sequences, const reading_t *r, const json_t *prompt,
                            const json_t *const completions[2], tr_error_t *err)
{
    tr_error_t all = {0}, one = {0};
    for (int side = 0; side < 2; side++) {
        read_side(&sequences[side], r, side, prompt, completions[side], &one);
        tr_error_join(&all, &one);
    }
    return tr_error_join(err, &all);
}

/// Both sides as completions of the prompt, or of what they both begin with.
static tr_status read_pair(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err)
{
    const json_t *sides[2] = {value_of(r, SIDES[0]), value_of(r, SIDES[1])}, *own = pair_prompt(r);
    if (own != NULL) {
        return read_sides(sequences, r, own, sides, err);
    }
    // As TRL's extract_prompt, what the sides share is the prompt.
    json_t *prompt, *rest[2];
    tr_extract_prompt(&prompt, rest, sides);
    tr_status status =
        read_sides(sequences, r, prompt, (const json_t *const[2]){rest[0], rest[1]}, err);
    json_decref(prompt);
    json_decref(rest[0]);
    json_decref(rest[1]);
    return status;
}

/// One side whole: its last token is scored, so it is not cut.
static tr_status read_whole_side(tr_sequence_t *sequence, const reading_t *r, int side,
                                 tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    // Encoded together, not one after another: a reward model scores texts, and a tokenizer may
    // merge across the border.
    json_t *whole = tr_value_join(pair_prompt(r), value_of(r, SIDES[side]));
    tr_status status =
        tr_encode_whole(sequence, r->encoder, whole, is_cut(r, SIDES_FINISH[side]), err);
    json_decref(whole);
    TR_TRY(status);
    return sequence->length > 0 && sequence->length <= options->limit
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "%s: %zu tokens, where 1 to %zu fit (%s): shorten it or take the row out",
                         shown(r, SIDES[side]), sequence->length, options->limit,
                         options->limit_key);
}

static tr_status read_whole_pair(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err)
{
    tr_error_t all = {0}, one = {0};
    for (int side = 0; side < 2; side++) {
        read_whole_side(&sequences[side], r, side, &one);
        tr_error_join(&all, &one);
    }
    if (r->margins) {
        sequences[0].margin = (float)json_number_value(value_of(r, "margin"));
    }
    return tr_error_join(err, &all);
}

/// A response in steps, each with its label, for a process reward model: step i is right or wrong
/// by itself, whatever its neighbours are.
static tr_status read_steps(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const json_t *steps = value_of(r, "completions"), *labels = value_of(r, "labels");
    size_t count = json_array_size(steps);
    const char **texts = tr_calloc(count, sizeof(char *));
    bool *right = tr_calloc(count, sizeof *right);
    for (size_t i = 0; i < count; i++) { // the texts stay the row's
        texts[i] = json_string_value(json_array_get(steps, i));
        right[i] = json_is_true(json_array_get(labels, i));
    }
    tr_status status = tr_encode_steps(sequence, r->encoder, json_string_value(value_of(r, PROMPT)),
                                       texts, right, count, r->options->step_separator, err);
    // The first step must end within the limit: later ones may be cut off.
    if (status == TR_OK && !counts(sequence, 0, r->options)) {
        status =
            tr_fail(err, TR_ERR_ARGUMENT,
                    "no step ends within %zu tokens (%s): shorten the prompt or take the row out",
                    r->options->limit, r->options->limit_key);
    }
    free(right);
    free(texts);
    return status;
}

// The table

typedef struct kind {
    const char *name;     // in words
    const char *own;      // the column that tells the kind
    const char *needs[3]; // columns of every row that are a text or a list, and not empty
    const char *optional; // one more, if the first row has it
    size_t sequences;     // of a row
    /// What else is wrong with its columns. Without, `read` meets none but what it is made for.
    void (*check)(const reading_t *r, tr_error_t *err);
    tr_status (*read)(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err);
} kind_t;

// The columns label and margin are neither texts nor lists: the functions look at them.
static const kind_t KINDS[TR_KIND_COUNT] = {
    [TR_KIND_STEPWISE] = {"steps",
                          "completions",
                          {PROMPT, "completions", "labels"},
                          NULL,
                          1,
                          check_steps,
                          read_steps},
    [TR_KIND_PAIRS] = {"pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, check_pair, read_pair},
    [TR_KIND_WHOLE_PAIRS] =
        {"pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, check_whole_pair, read_whole_pair},
    [TR_KIND_UNPAIRED] =
        {"sides of pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, check_pair, read_pair},
    [TR_KIND_LABELLED] = {"labelled completions",
                          "label",
                          {PROMPT, "completion"},
                          NULL,
                          1,
                          check_labelled,
                          read_labelled},
    [TR_KIND_PROMPT_COMPLETION] = {"prompts with completions",
                                   "completion",
                                   {PROMPT, "completion"},
                                   NULL,
                                   1,
                                   check_completion,
                                   read_completion},
    [TR_KIND_MESSAGES] =
        {"conversations", "messages", {"messages"}, NULL, 1, check_messages, read_messages},
    [TR_KIND_TEXT] = {"texts", TEXT, {TEXT}, NULL, 1, check_text, read_text},
    [TR_KIND_PROMPTS] = {"prompts", PROMPT, {PROMPT}, NULL, 1, check_prompt, read_prompt},
};

/// The enum's order decides where several kinds fit: a row with `chosen` and `prompt` is a pair,
/// not a prompt.
tr_kind_t tr_kind_of(const tr_dataset_t *dataset, const tr_rows_options_t *options)
{
    tr_kind_t last = TR_KIND_COUNT;
    for (unsigned kind = 0; kind < TR_KIND_COUNT; kind++) {
        if ((options->kinds & 1u << kind) == 0) {
            continue;
        }
        // Also the answer where no kind fits: tr_kind_read then says which column is missing.
        last = (tr_kind_t)kind;
        if (tr_dataset_has(dataset, name_of(options, KINDS[kind].own))) {
            break;
        }
    }
    TR_ASSERT(last < TR_KIND_COUNT, "no kind of rows is taken");
    return last;
}

const char *tr_kind_missing(tr_kind_t kind, const tr_dataset_t *dataset,
                            const tr_rows_options_t *options)
{
    const kind_t *row = &KINDS[kind];
    const char *columns[] = {row->own, row->needs[0], row->needs[1], row->needs[2]};
    for (size_t i = 0; i < sizeof columns / sizeof *columns && columns[i] != NULL; i++) {
        const char *name = name_of(options, columns[i]);
        if (!tr_dataset_has(dataset, name)) {
            return name;
        }
    }
    return NULL;
}

const char *tr_kind_name(tr_kind_t kind)
{
    return KINDS[kind].name;
}

size_t tr_kind_sequences(tr_kind_t kind)
{
    return KINDS[kind].sequences;
}

bool tr_kind_has_prompt(tr_kind_t kind, const tr_dataset_t *dataset,
                        const tr_rows_options_t *options)
{
    const kind_t *k = &KINDS[kind];
    return (k->needs[0] == PROMPT || k->optional == PROMPT) &&
           tr_dataset_has(dataset, options->prompt_column);
}

bool tr_kind_has_margins(tr_kind_t kind, const tr_dataset_t *dataset)
{
    return kind == TR_KIND_WHOLE_PAIRS && tr_dataset_has(dataset, "margin");
}

/// All that is wrong with the columns that are texts or lists.
static void require_all(const kind_t *k, const tr_dataset_t *dataset, const json_t *columns,
                        const tr_rows_options_t *options, tr_error_t *err)
{
    tr_error_t one = {0};
    // A column that the first row has is demanded of all: with some rows lacking it, half of a data
    // set would be read by another rule.
    if (k->optional != NULL && tr_dataset_has(dataset, name_of(options, k->optional))) {
        require(columns, name_of(options, k->optional), &one);
        tr_error_join(err, &one);
    }
    for (size_t i = 0; i < sizeof k->needs / sizeof *k->needs && k->needs[i] != NULL; i++) {
        require(columns, name_of(options, k->needs[i]), &one);
        tr_error_join(err, &one);
    }
}

// What a template gets beside the conversation

/// A column that the first row need not have: a value, or its JSON as a text, as TRL has it.
/// *value: owned by the caller, and replaced; NULL where there is none.
static tr_status read_extra(json_t **value, const json_t *columns, const char *column,
                            json_type type, tr_error_t *err)
{
    const json_t *found = json_object_get(columns, column);
    json_decref(*value);
    *value = NULL;
    TR_TRY(tr_column_check(columns, column, err));
    bool empty = json_is_string(found) && json_string_length(found) == 0;
    if (found == NULL || json_is_null(found) || empty) {
        return TR_OK;
    }
    *value = json_is_string(found) ? json_loads(json_string_value(found), 0, NULL)
                                   : json_incref((json_t *)found);
    if (*value != NULL && json_typeof(*value) == type) {
        return TR_OK;
    }
    json_decref(*value);
    *value = NULL;
    return tr_fail(err, TR_ERR_FORMAT, "%s: expected %s", column,
                   type == JSON_ARRAY ? "a list of functions" : "an object");
}

tr_status tr_row_extras(tr_encoder_t *encoder, const json_t *columns, tr_error_t *err)
{
    tr_error_t all = {0}, one = {0};
    read_extra(&encoder->tools, columns, "tools", JSON_ARRAY, &all);
    read_extra(&encoder->kwargs, columns, "chat_template_kwargs", JSON_OBJECT, &one);
    tr_error_join(&all, &one);
    return tr_error_join(err, &all);
}

/// Whether a column of the kind holds a conversation: nothing else is read for texts.
static bool has_conversation(const reading_t *r, const kind_t *kind)
{
    bool found = kind->optional != NULL && tr_chat_is_conversation(value_of(r, kind->optional));
    for (size_t i = 0; i < sizeof kind->needs / sizeof *kind->needs && kind->needs[i] != NULL;
         i++) {
        found = found || tr_chat_is_conversation(value_of(r, kind->needs[i]));
    }
    return found;
}

tr_status tr_kind_read(tr_sequence_t *sequences, tr_encoder_t *encoder, tr_kind_t kind,
                       const tr_dataset_t *dataset, const json_t *columns,
                       const tr_rows_options_t *options, tr_error_t *err)
{
    tr_error_t all = {0}, one = {0};
    require_all(&KINDS[kind], dataset, columns, options, &all);
    // One record instead of five arguments in every function above.
    const reading_t reading = {encoder, options, columns, tr_kind_has_margins(kind, dataset),
                               all.status == TR_OK};
    KINDS[kind].check(&reading, &all);
    if (has_conversation(&reading, &KINDS[kind])) {
        tr_row_extras(encoder, columns, &one);
        tr_error_join(&all, &one);
    }
    return all.status == TR_OK ? KINDS[kind].read(sequences, &reading, err)
                               : tr_error_join(err, &all);
}
