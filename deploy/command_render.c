// `troupe render`: what conversations become, by the template that a run would use.
//
// Of a row with `messages` that is the whole conversation; of one with a prompt, what is generated
// from, or the prompt with each of its completions. Texts are printed as they are.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/data/columns.h"
#include "common/data/kinds.h"
#include "deploy/command.h"

typedef struct rendering {
    tr_tokenizer_t *tokenizer;
    tr_dataset_t *dataset;
    tr_encoder_t encoder;
    bool json; ///< a JSON object a row, instead of texts with a line before each
} rendering_t;

/// The columns whose text is wanted, in this order, where a row has them. A prompt stands for
/// itself only where nothing follows it.
static const char *const COLUMNS[] = {"messages", "completion", "chosen", "rejected", "prompt"};

static json_t *render(rendering_t *r, const json_t *value, tr_chat_end_t end, tr_error_t *err)
{
    if (json_is_string(value)) {
        return json_incref((json_t *)value);
    }
    tr_jinja_text_t text = {0};
    tr_status status = tr_encoder_render(&text, &r->encoder, value, end, err);
    json_t *string = status == TR_OK ? json_stringn(text.text.data, text.text.length) : NULL;
    tr_jinja_text_release(&text);
    return string;
}

/// The text of a column, with the prompt before it. *text: a new reference.
static tr_status render_column(json_t **text, rendering_t *r, const json_t *columns,
                               const char *column, tr_error_t *err)
{
    const json_t *value = json_object_get(columns, column);
    const json_t *prompt = json_object_get(columns, "prompt");
    bool is_prompt = value == prompt, follows = !is_prompt && strcmp(column, "messages") != 0;
    TR_TRY(tr_column_check(columns, column, err));
    TR_TRY(follows ? tr_column_check(columns, "prompt", err) : TR_OK);
    if (!json_is_string(value) && !tr_chat_is_conversation(value)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a text or a list of messages", column);
    }
    if (follows && prompt != NULL && json_is_string(prompt) != json_is_string(value)) {
        return tr_fail(err, TR_ERR_FORMAT, "prompt and %s: one is a text, one a list of messages",
                       column);
    }
    json_t *whole = tr_value_join(follows ? prompt : NULL, value);
    *text = render(r, whole, is_prompt ? TR_CHAT_PROMPT : TR_CHAT_WHOLE, err);
    json_decref(whole);
    return *text != NULL ? TR_OK : err->status;
}

/// The texts of a row by column. texts: an object, filled.
static tr_status render_row(json_t *texts, rendering_t *r, const json_t *columns, tr_error_t *err)
{
    TR_TRY(tr_row_extras(&r->encoder, columns, err));
    for (size_t i = 0; i < sizeof COLUMNS / sizeof *COLUMNS; i++) {
        json_t *text;
        bool after = json_object_size(texts) > 0 && strcmp(COLUMNS[i], "prompt") == 0;
        if (json_object_get(columns, COLUMNS[i]) == NULL || after) {
            continue;
        }
        TR_TRY(render_column(&text, r, columns, COLUMNS[i], err));
        json_object_set_new(texts, COLUMNS[i], text);
    }
    return json_object_size(texts) > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT,
                         "found none of the columns messages, prompt, completion, chosen and "
                         "rejected");
}

static void print_row(const json_t *texts, const char *place, bool json)
{
    const char *column;
    json_t *text;
    if (json) {
        json_dumpf(texts, stdout, JSON_COMPACT);
        putchar('\n');
        return;
    }
    json_object_foreach((json_t *)texts, column, text)
    {
        printf("--- %s %s ---\n", place, column);
        fwrite(json_string_value(text), 1, json_string_length(text), stdout);
        putchar('\n');
    }
}

static tr_status render_one(rendering_t *r, size_t row, tr_error_t *err)
{
    json_t *columns, *texts = json_object();
    char *place = tr_dataset_place(r->dataset, row);
    tr_status status = tr_dataset_read(&columns, r->dataset, row, err);
    if (status == TR_OK) {
        status = render_row(texts, r, columns, err);
        if (status == TR_OK) {
            print_row(texts, place, r->json);
        } else {
            tr_error_prefix(err, "%s", place);
        }
        json_decref(columns);
    }
    json_decref(texts);
    free(place);
    return status;
}

static tr_status render_all(rendering_t *r, tr_error_t *err)
{
    for (size_t row = 0; row < tr_dataset_size(r->dataset); row++) {
        TR_TRY(render_one(r, row, err));
    }
    return TR_OK;
}

int command_render(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "The model's directory: its tokenizer's tokens, and its template",
         0},
        {"template", 't', "NAME", 0,
         "Instead of the model's template a file, or one of " TR_CHAT_NAMES, 0},
        {"kwargs", 'k', "JSON", 0, "More variables of the template: an object", 0},
        {"columns", 'c', "JSON", 0,
         "Which column of the files is which of ours: an object, as data.columns", 0},
        {"json", 'j', NULL, 0, "Print a JSON object of texts for each row", 0},
        {0}};
    command_line_t line = {.options = options,
                           .words_doc = "FILE...",
                           .doc = "Print what the conversations of data files become.",
                           .missing = "a file of rows is missing",
                           .most = 1024};
    tr_error_t err = {0};
    rendering_t r = {0};
    command_parse(&line, argc, argv);
    const char *model = line.values['m'];
    const tr_rows_options_t rows = {.kinds = TR_ROWS_OF(PROMPT_COMPLETION) | TR_ROWS_OF(MESSAGES) |
                                             TR_ROWS_OF(PAIRS),
                                    .columns = line.values['c'],
                                    .prompt_column = "prompt",
                                    .text_column = "text"};
    r.json = line.values['j'] != NULL;
    r.encoder.source = (tr_chat_source_t){line.values['t'], line.values['k'], model};
    tr_status status =
        model != NULL ? TR_OK : tr_fail(&err, TR_ERR_ARGUMENT, "--model is needed: a directory");
    TR_TRY_GOTO(status, done);
    TR_TRY_GOTO(tr_tokenizer_new(&r.tokenizer, model, &err), done);
    r.encoder.tokenizer = r.tokenizer;
    TR_TRY_GOTO(tr_dataset_new(&r.dataset, (const char *const *)line.words, line.count, &err),
                done);
    TR_TRY_GOTO(tr_dataset_recognise(r.dataset, &rows, &err), done);
    status = render_all(&r, &err);
done:
    tr_encoder_release(&r.encoder);
    tr_dataset_destroy(&r.dataset);
    tr_tokenizer_destroy(&r.tokenizer);
    return tr_status_report(status, &err);
}
