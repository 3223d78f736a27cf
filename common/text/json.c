// Reading JSON for the tokenizer and the chat templates: a file of its own, so that neither of them
// needs the other.
#include "common/text/json.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/file.h"

// The largest public tokenizer.json files are some tens of megabytes.
enum { FILE_LIMIT = 256 << 20 }; // bytes

tr_status tr_json_read(json_t **root, const char *path, bool optional, tr_error_t *err)
{
    *root = NULL;
    // A file that is there and cannot be read is an error, whether it is optional or not.
    if (optional && access(path, F_OK) != 0) {
        return TR_OK;
    }
    char *text = NULL;
    size_t length = 0;
    TR_TRY(tr_file_read(&text, &length, path, FILE_LIMIT, err));
    json_error_t cause;
    // A token's text may hold NUL bytes, which Jansson refuses otherwise.
    *root = json_loadb(text, length, JSON_ALLOW_NUL, &cause);
    free(text);
    if (*root == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%d: malformed JSON: %s", path, cause.line,
                       cause.text);
    }
    if (!json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a JSON object", path);
    }
    return TR_OK;
}

const char *tr_json_string(const json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : fallback;
}

bool tr_json_flag(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    // null is the fallback too.
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}
