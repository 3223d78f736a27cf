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
} reading_t;

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

/// Of a column that is read: its value must be what the file says.
static tr_status expect_sound(const json_t *columns, const char *column, tr_error_t *err)
{
    const char *flaw = tr_json_flaw(columns, column);
    return flaw == NULL ? TR_OK
                        : tr_fail(err, TR_ERR_FORMAT, "%s: found %s",
                                  tr_column_shown(columns, column), flaw);
}

/// What makes a column unusable, in the order in which a person would find it: it is missing, it is
/// of another type, it is empty, a part of it is.
static tr_status require(const json_t *columns, const char *column, tr_error_t *err)
{
    const json_t *value = json_object_get(columns, column);
    const char *shown = tr_column_shown(columns, column);
    if (value == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: the column is missing", shown);
    }
    TR_TRY(expect_sound(columns, column, err));
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
static tr_status read_cut(bool *cut, const reading_t *r, const char *column, tr_error_t *err)
{
    const json_t *value = value_of(r, column);
    tr_finish_t finish = TR_FINISH_STOP;
    *cut = false;
    TR_TRY(expect_sound(r->columns, column, err));
    if (value != NULL && !json_is_null(value) &&
        !(json_is_string(value) && tr_finish_find(&finish, json_string_value(value)))) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected \"stop\", \"eos\" or \"length\"", column);
    }
    *cut = finish == TR_FINISH_LENGTH;
    return TR_OK;
}

// One row into its sequences

/// A prompt that a policy answers. Its length is checked here, since generation has no place to cut
/// it.
static tr_status read_prompt(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    // One column compared with itself: what is left of the check is that it can be encoded.
    TR_TRY(expect_one_type(r, PROMPT, PROMPT, err));
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

static tr_status read_text(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const json_t *text = value_of(r, TEXT);
    bool cut;
    // A common slip: as in TRL, conversations without a prompt stand in `messages`.
    if (!json_is_string(text)) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: expected a text, found a list (of messages? they "
                       "stand in the column `messages`)",
                       shown(r, TEXT));
    }
    TR_TRY(read_cut(&cut, r, FINISH, err));
    TR_TRY(tr_encode_whole(sequence, r->encoder, text, cut, err));
    return expect_learnt(sequence, r, err);
}

static tr_status read_messages(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const json_t *messages = value_of(r, "messages");
    bool cut;
    if (!tr_chat_is_conversation(messages)) {
        // A list of other things, such as texts, has passed `require`.
        return tr_fail(err, TR_ERR_FORMAT, "messages: expected a list of messages");
    }
    TR_TRY(read_cut(&cut, r, FINISH, err));
    TR_TRY(tr_encode_whole(sequence, r->encoder, messages, cut, err));
    return expect_learnt(sequence, r, err);
}

/// A prompt and what follows it: rows of supervised training, and the base of labelled ones.
static tr_status read_completion(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    bool cut;
    TR_TRY(expect_one_type(r, PROMPT, "completion", err));
    TR_TRY(read_cut(&cut, r, FINISH, err));
    TR_TRY(tr_encode_completion(sequence, r->encoder, value_of(r, PROMPT),
                                value_of(r, "completion"), cut, err));
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
    const json_t *label = value_of(r, "label");
    TR_TRY(expect_sound(r->columns, "label", err));
    if (!json_is_boolean(label)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected true or false, found %s",
                       shown(r, "label"), label == NULL ? "nothing" : type_of(label));
    }
    // Not 0 and 1: a number could as well be a score.
    sequence->label = json_is_true(label);
    return read_completion(sequence, r, err);
}

static const char *const SIDES[2] = {"chosen", "rejected"};
static const char *const SIDES_FINISH[2] = {"finish_chosen", "finish_rejected"};

/// completions: [2], of SIDES.
/// The completions of one pair, each a sequence of its own that begins with the same prompt: the
/// chosen one, then the rejected one.
static tr_status read_sides(tr_sequence_t *sequences, const reading_t *r, const json_t *prompt,
                            const json_t *const completions[2], tr_error_t *err)
{
    for (int side = 0; side < 2; side++) {
        tr_sequence_t *sequence = &sequences[side];
        bool cut;
        TR_TRY(read_cut(&cut, r, SIDES_FINISH[side], err));
        TR_TRY(tr_encode_completion(sequence, r->encoder, prompt, completions[side], cut, err));
        TR_TRY(expect_prompt(sequence, r, err));
        if (expect_learnt(sequence, r, err) != TR_OK) {
            // The sentence says what is wrong, not with which of the two sides.
            return tr_error_prefix(err, "%s", SIDES[side]);
        }
        // Where pairs are unpaired (TR_KIND_UNPAIRED), the label is all that tells the sides apart.
        sequence->label = side == 0;
    }
    return TR_OK;
}

/// The prompt of a pair; NULL: it is what both sides begin with. That is so without the column, and
/// where the column has the text of a message with which both conversations begin, as UltraFeedback
/// has it (TRL's maybe_extract_prompt). Else the three columns are of one type.
static tr_status pair_prompt(const json_t **prompt, const reading_t *r, tr_error_t *err)
{
    const json_t *sides[2] = {value_of(r, SIDES[0]), value_of(r, SIDES[1])};
    *prompt = value_of(r, PROMPT);
    TR_TRY(expect_one_type(r, SIDES[0], SIDES[1], err));
    for (size_t i = 0; json_is_string(*prompt) && i < json_array_size(sides[0]); i++) {
        const json_t *message = json_array_get(sides[0], i);
        if (!json_equal(message, json_array_get(sides[1], i))) {
            break;
        }
        *prompt = json_equal(json_object_get(message, "content"), *prompt) ? NULL : *prompt;
    }
    return *prompt == NULL ? TR_OK : expect_one_type(r, PROMPT, SIDES[0], err);
}

/// Both sides as completions of the prompt, or of what they both begin with.
static tr_status read_pair(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err)
{
    const json_t *sides[2] = {value_of(r, SIDES[0]), value_of(r, SIDES[1])}, *own;
    TR_TRY(pair_prompt(&own, r, err));
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

/// How much better the chosen side is, for losses that ask for such a distance (Touvron et al.
/// 2023, section 3.2.2).
static tr_status read_margin(float *margin, const reading_t *r, tr_error_t *err)
{
    const json_t *value = value_of(r, "margin");
    TR_TRY(expect_sound(r->columns, "margin", err));
    // A number past a float's range would be an infinite margin, and so would be the loss.
    *margin = (float)json_number_value(value);
    return json_is_number(value) && isfinite(*margin)
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "margin: expected a number");
}

/// Both sides whole: their last tokens are scored, so none is cut.
static tr_status read_whole_pair(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err)
{
    const tr_rows_options_t *options = r->options;
    const json_t *prompt;
    TR_TRY(pair_prompt(&prompt, r, err));
    for (int side = 0; side < 2; side++) {
        tr_sequence_t *sequence = &sequences[side];
        bool cut;
        TR_TRY(read_cut(&cut, r, SIDES_FINISH[side], err));
        // Encoded together, not one after another: a reward model scores texts, and a tokenizer may
        // merge across the border.
        json_t *whole = tr_value_join(prompt, value_of(r, SIDES[side]));
        tr_status status = tr_encode_whole(sequence, r->encoder, whole, cut, err);
        json_decref(whole);
        TR_TRY(status);
        if (sequence->length > options->limit || sequence->length == 0) {
            return tr_fail(
                err, TR_ERR_ARGUMENT,
                "%s: %zu tokens, where 1 to %zu fit (%s): shorten it or take the row out",
                SIDES[side], sequence->length, options->limit, options->limit_key);
        }
    }
    return r->margins ? read_margin(&sequences[0].margin, r, err) : TR_OK;
}

/// Items of the lists `completions` and `labels`. texts: borrowed. texts, right: [count], written.
/// A process reward model's row, as TRL's stepwise supervision has it: step i is right or wrong by
/// itself, whatever its neighbours are.
static tr_status take_steps(const char **texts, bool *right, const json_t *steps,
                            const json_t *labels, size_t count, tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *label = json_array_get(labels, i);
        // The texts stay the row's.
        texts[i] = json_string_value(json_array_get(steps, i));
        right[i] = json_is_true(label);
        if (texts[i] == NULL || !json_is_boolean(label)) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "completions, labels: item %zu: expected a text, and true or false", i);
        }
    }
    return TR_OK;
}

/// A response in steps, each with its label, for a process reward model.
static tr_status read_steps(tr_sequence_t *sequence, const reading_t *r, tr_error_t *err)
{
    const json_t *steps = value_of(r, "completions"), *labels = value_of(r, "labels");
    const char *prompt = json_string_value(value_of(r, PROMPT));
    size_t count = json_array_size(steps);
    // Lists of different lengths would pair steps with the labels of others.
    if (count == 0 || json_array_size(labels) != count) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "completions, labels: expected lists of one length, found %zu and %zu items",
                       count, json_array_size(labels));
    }
    const char **texts = tr_calloc(count, sizeof(char *));
    bool *right = tr_calloc(count, sizeof *right);
    tr_status status;
    TR_TRY_GOTO(take_steps(texts, right, steps, labels, count, err), done);
    if (prompt == NULL) {
        status = tr_fail(err, TR_ERR_FORMAT, "%s: expected a text", shown(r, PROMPT));
        goto done;
    }
    TR_TRY_GOTO(tr_encode_steps(sequence, r->encoder, prompt, texts, right, count,
                                r->options->step_separator, err),
                done);
    // The first step must end within the limit: later ones may be cut off.
    if (!counts(sequence, 0, r->options)) {
        status =
            tr_fail(err, TR_ERR_ARGUMENT,
                    "no step ends within %zu tokens (%s): shorten the prompt or take the row out",
                    r->options->limit, r->options->limit_key);
    }
done:
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
    tr_status (*read)(tr_sequence_t *sequences, const reading_t *r, tr_error_t *err);
} kind_t;

// The columns label and margin are neither texts nor lists: the functions look at them.
static const kind_t KINDS[TR_KIND_COUNT] = {
    [TR_KIND_STEPWISE] =
        {"steps", "completions", {PROMPT, "completions", "labels"}, NULL, 1, read_steps},
    [TR_KIND_PAIRS] = {"pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, read_pair},
    [TR_KIND_WHOLE_PAIRS] = {"pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, read_whole_pair},
    [TR_KIND_UNPAIRED] = {"sides of pairs", "chosen", {"chosen", "rejected"}, PROMPT, 2, read_pair},
    [TR_KIND_LABELLED] =
        {"labelled completions", "label", {PROMPT, "completion"}, NULL, 1, read_labelled},
    [TR_KIND_PROMPT_COMPLETION] = {"prompts with completions",
                                   "completion",
                                   {PROMPT, "completion"},
                                   NULL,
                                   1,
                                   read_completion},
    [TR_KIND_MESSAGES] = {"conversations", "messages", {"messages"}, NULL, 1, read_messages},
    [TR_KIND_TEXT] = {"texts", TEXT, {TEXT}, NULL, 1, read_text},
    [TR_KIND_PROMPTS] = {"prompts", PROMPT, {PROMPT}, NULL, 1, read_prompt},
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

/// What is wrong with a column, behind what is wrong with others.
static void require_too(tr_error_t *all, const json_t *columns, const char *column)
{
    tr_error_t one = {0};
    if (require(columns, column, &one) != TR_OK) {
        char *before = all->status != TR_OK ? tr_format("%s; ", all->text) : tr_strdup("");
        *all = (tr_error_t){0};
        tr_fail(all, one.status, "%s%s", before, one.text);
        free(before);
    }
}

/// All that is wrong with the columns that are texts or lists.
static tr_status require_all(const kind_t *k, const tr_dataset_t *dataset, const json_t *columns,
                             const tr_rows_options_t *options, tr_error_t *err)
{
    tr_error_t all = {0};
    // A column that the first row has is demanded of all: with some rows lacking it, half of a data
    // set would be read by another rule.
    if (k->optional != NULL && tr_dataset_has(dataset, name_of(options, k->optional))) {
        require_too(&all, columns, name_of(options, k->optional));
    }
    for (size_t i = 0; i < sizeof k->needs / sizeof *k->needs && k->needs[i] != NULL; i++) {
        require_too(&all, columns, name_of(options, k->needs[i]));
    }
    return all.status == TR_OK ? TR_OK : tr_fail(err, all.status, "%s", all.text);
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
    TR_TRY(expect_sound(columns, column, err));
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
    TR_TRY(read_extra(&encoder->tools, columns, "tools", JSON_ARRAY, err));
    return read_extra(&encoder->kwargs, columns, "chat_template_kwargs", JSON_OBJECT, err);
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
    TR_TRY(require_all(&KINDS[kind], dataset, columns, options, err));
    // One record instead of four arguments in every function above.
    const reading_t reading = {encoder, options, columns, tr_kind_has_margins(kind, dataset)};
    if (has_conversation(&reading, &KINDS[kind])) {
        TR_TRY(tr_row_extras(encoder, columns, err));
    }
    return KINDS[kind].read(sequences, &reading, err);
}
