// Reading a small JSON file: jansson, with our limits and sentences.
//
// config.json, generation_config.json, indexes of shards and our own small files come through here,
// so that one place refuses doubled keys and files that are too large. Tokenizers have a reader of
// their own (common/text/json.c), as their vocabularies may hold NUL bytes.
#include "common/hf/json_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"

tr_status tr_json_file_read(json_t **object, const char *path, size_t limit, tr_error_t *err)
{
    char *text;
    size_t length;
    json_error_t detail;
    TR_TRY(tr_file_read(&text, &length, path, limit, err));
    // a doubled key is refused: which of the two holds would depend on the parser
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &detail);
    free(text);
    if (root == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%d: %s", path, detail.line, detail.text);
    }
    // Every file that is read here is a record of named values; a list or a number is another file.
    if (!json_is_object(root)) {
        json_decref(root);
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a JSON object", path);
    }
    *object = root;
    return TR_OK;
}

const char *tr_json_describe(char *out, size_t size, const json_t *value)
{
    // snprintf cuts the text to the room that is left in a sentence
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(out, size, "%s", text == NULL ? "nothing" : text);
    free(text);
    return out;
}
