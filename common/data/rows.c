// What is asked of rows in memory. Their sequences are read by the files that use them.
#include "common/data/rows.h"

#include <stdlib.h>

#include "common/data/columns.h"

void tr_rows_release(tr_rows_t *rows)
{
    // Also of rows whose reading failed in the middle: count then ends before the bad one.
    for (size_t i = 0; rows->starts != NULL && i < rows->starts[rows->count]; i++) {
        tr_sequence_release(&rows->sequences[i]);
    }
    for (size_t i = 0; rows->columns != NULL && i < rows->count; i++) {
        json_decref(rows->columns[i]);
    }
    free(rows->sequences);
    free(rows->starts);
    free(rows->columns);
    free(rows->numbers);
    *rows = (tr_rows_t){0};
}

static const json_t *prompt_of(const tr_rows_t *rows, size_t row)
{
    return json_object_get(rows->columns[row], rows->prompt_column);
}

/// Rows of prompts have one sequence each.
const char *tr_rows_prompt(const tr_rows_t *rows, size_t row)
{
    const char *text = rows->sequences[row].text;
    return text != NULL ? text : json_string_value(prompt_of(rows, row));
}

json_t *tr_rows_others(const tr_rows_t *rows, size_t row)
{
    // A shallow copy: the values are shared, and the row keeps its column.
    json_t *others = json_copy(rows->columns[row]);
    TR_ASSERT(others != NULL, "out of memory");
    json_object_del(others, rows->prompt_column);
    tr_columns_strip(others);
    return others;
}

json_t *tr_rows_conversation(const tr_rows_t *rows, size_t row, const char *response, size_t length)
{
    const json_t *prompt = prompt_of(rows, row);
    if (!tr_chat_is_conversation(prompt)) {
        return NULL;
    }
    json_t *messages = json_copy((json_t *)prompt); // the row keeps its own
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *begun = json_string_value(json_object_get(last, "content"));
    if (begun != NULL && tr_chat_is_assistant(last)) { // the response continues it
        char *whole = tr_format("%s%.*s", begun, (int)length, response);
        json_array_set_new(messages, json_array_size(messages) - 1,
                           json_pack("{s:s, s:s}", "role", "assistant", "content", whole));
        free(whole);
        return messages;
    }
    const char *content = tr_chat_content(rows->chat, response);
    size_t n = length - (size_t)(content - response);
    json_array_append_new(messages,
                          json_pack("{s:s, s:s%}", "role", "assistant", "content", content, n));
    return messages;
}
