// One entry of a dataset_info.json becomes a source: its columns are named as those of a form
// (forms.c), its tags as turns.c has them.
#include "common/data/dataset_info.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/data/forms.h"
#include "common/data/turns.h"
#include "common/text/json.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

char *tr_dataset_info_path(const char *place)
{
    size_t length = strlen(place);
    bool file = length > 5 && strcmp(place + length - 5, ".json") == 0;
    return file ? tr_strdup(place) : tr_format("%s/dataset_info.json", place);
}

// What an entry may say

/// Keys that lead elsewhere: an entry that has one has no file of its own.
static const char *const ELSEWHERE[] = {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url",
                                        "cloud_file_name"};

static tr_status expect_file(const json_t *entry, tr_error_t *err)
{
    for (size_t i = 0; i < LENGTH(ELSEWHERE); i++) {
        if (json_object_get(entry, ELSEWHERE[i]) != NULL) {
            return tr_fail(err, TR_ERR_UNSUPPORTED,
                           "%s: data sets are read from this disk: download it, and write "
                           "file_name instead",
                           ELSEWHERE[i]);
        }
    }
    return json_string_length(json_object_get(entry, "file_name")) > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "file_name: expected the name of a file");
}

/// The values that are neither columns nor tags. `subset` and `folder` name parts of a repository:
/// of a file they change nothing, there as here.
static tr_status check_values(const json_t *entry, tr_error_t *err)
{
    const json_t *samples = json_object_get(entry, "num_samples");
    const json_t *ranking = json_object_get(entry, "ranking");
    if (strcmp(tr_json_string(entry, "split", "train"), "train") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "split: a file has one, train, found '%s'",
                       tr_json_string(entry, "split", ""));
    }
    if (samples != NULL && !json_is_null(samples) && json_integer_value(samples) <= 0) {
        return tr_fail(err, TR_ERR_FORMAT, "num_samples: expected a whole number above 0");
    }
    if (ranking != NULL && !json_is_boolean(ranking)) {
        return tr_fail(err, TR_ERR_FORMAT, "ranking: expected true or false");
    }
    return TR_OK;
}

// Columns

/// LLaMA-Factory's columns. Without `columns` the default counts; with them those that are left out
/// are no columns.
static const struct {
    const char *theirs, *ours, *fallback;
} COLUMNS[] = {
    {"prompt", "instruction", "instruction"},
    {"query", "input", "input"},
    {"response", "output", "output"},
    {"history", "history", NULL},
    {"messages", "conversations", "conversations"},
    {"system", "system", NULL},
    {"tools", "tools", NULL},
    {"chosen", "chosen", NULL},
    {"rejected", "rejected", NULL},
    {"kto_tag", "kto_tag", NULL},
};

/// The columns of this program: what the form does not make is not there.
static const char *const HIDDEN[] = {"prompt", "completion",  "messages", "text",  "label",
                                     "labels", "completions", "margin",   "finish"};

static bool is_media(const char *column)
{
    return strcmp(column, "images") == 0 || strcmp(column, "videos") == 0 ||
           strcmp(column, "audios") == 0;
}

static tr_status check_columns(const json_t *columns, tr_error_t *err)
{
    const char *theirs;
    json_t *value;
    json_object_foreach((json_t *)columns, theirs, value)
    {
        size_t i = 0;
        while (i < LENGTH(COLUMNS) && strcmp(COLUMNS[i].theirs, theirs) != 0) {
            i++;
        }
        if (is_media(theirs) && !json_is_null(value)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "columns: %s are not read: texts are", theirs);
        }
        if ((i == LENGTH(COLUMNS) && !is_media(theirs)) ||
            !(json_is_string(value) || json_is_null(value))) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "columns: expected names of columns for prompt, query, response, "
                           "history, messages, system, tools, chosen, rejected, kto_tag, found "
                           "'%s'",
                           theirs);
        }
    }
    return TR_OK;
}

/// The file's column for one of theirs; NULL: it has none.
static const char *column_of(const json_t *entry, size_t i)
{
    const json_t *columns = json_object_get(entry, "columns");
    bool side =
        strcmp(COLUMNS[i].theirs, "chosen") == 0 || strcmp(COLUMNS[i].theirs, "rejected") == 0;
    if (side && !tr_json_flag(entry, "ranking", false)) {
        return NULL;
    }
    return columns != NULL ? tr_json_string(columns, COLUMNS[i].theirs, NULL) : COLUMNS[i].fallback;
}

/// All names of an entry. Default ones need none. A new reference.
static json_t *make_names(const json_t *entry)
{
    json_t *names = json_object();
    const json_t *columns = json_object_get(entry, "columns");
    for (size_t i = 0; i < LENGTH(HIDDEN); i++) {
        json_object_set_new(names, HIDDEN[i], json_null());
    }
    for (size_t i = 0; i < LENGTH(COLUMNS); i++) {
        const char *column = column_of(entry, i);
        if (column == NULL) {
            json_object_set_new(names, COLUMNS[i].ours, json_null());
        } else if (columns != NULL) {
            json_object_set_new(names, COLUMNS[i].ours, json_string(column));
        }
    }
    // texts to learn whole: the entry of what LLaMA-Factory calls a pre-training set
    const char *prompt = tr_json_string(columns, "prompt", NULL);
    if (json_object_size(columns) == 1 && prompt != NULL) {
        json_object_set_new(names, "text", json_string(prompt));
    }
    return names;
}

// Conversations

/// Tags as LLaMA-Factory has them: those that are left out of `tags` are no roles.
static tr_status make_tags(json_t **tags, const json_t *entry, tr_error_t *err)
{
    const json_t *given = json_object_get(entry, "tags");
    *tags = NULL;
    if (given != NULL && !json_is_object(given)) {
        return tr_fail(err, TR_ERR_FORMAT, "tags: expected an object");
    }
    TR_TRY(tr_tags_check(given, err));
    *tags = given != NULL ? json_copy((json_t *)given)
                          : json_pack("{s:s, s:s, s:s, s:s, s:s}", "user_tag", "human",
                                      "assistant_tag", "gpt", "observation_tag", "observation",
                                      "function_tag", "function_call", "system_tag", "system");
    return TR_OK;
}

static tr_status read_form(tr_source_t *source, const json_t *entry, tr_error_t *err)
{
    const char *formatting = tr_json_string(entry, "formatting", "alpaca");
    if (strcmp(formatting, "alpaca") == 0) {
        source->given.form = TR_FORM_ALPACA;
        return TR_OK;
    }
    if (strcmp(formatting, "sharegpt") != 0 && strcmp(formatting, "openai") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "formatting: expected alpaca, sharegpt or openai, found '%s'", formatting);
    }
    source->given.form = TR_FORM_SHAREGPT;
    return make_tags(&source->given.tags, entry, err);
}

// Files

static int is_shown(const struct dirent *item)
{
    return item->d_name[0] != '.';
}

/// A file, or all of a directory by their names.
static tr_status add_files(tr_source_t *source, const char *path, tr_error_t *err)
{
    struct stat found;
    struct dirent **items;
    if (stat(path, &found) != 0 || !S_ISDIR(found.st_mode)) {
        tr_source_add(source, path);
        return TR_OK;
    }
    int count = scandir(path, &items, is_shown, alphasort);
    for (int i = 0; i < count; i++) {
        char *file = tr_format("%s/%s", path, items[i]->d_name);
        tr_source_add(source, file);
        free(file);
        free(items[i]);
    }
    if (count >= 0) {
        free(items);
    }
    return count > 0 ? TR_OK : tr_fail(err, TR_ERR_FORMAT, "'%s' has no files", path);
}

/// Names are relative to the directory of the dataset_info.json.
static tr_status find_files(tr_source_t *source, const char *info, const json_t *entry,
                            tr_error_t *err)
{
    const char *name = tr_json_string(entry, "file_name", ""), *slash = strrchr(info, '/');
    int folder = slash != NULL && name[0] != '/' ? (int)(slash - info + 1) : 0;
    char *path = tr_format("%.*s%s", folder, info, name);
    tr_status status = add_files(source, path, err);
    free(path);
    return status;
}

// An entry

static tr_status read_entry(tr_source_t *source, const char *path, const json_t *entry,
                            tr_error_t *err)
{
    TR_TRY(expect_file(entry, err));
    TR_TRY(check_values(entry, err));
    TR_TRY(check_columns(json_object_get(entry, "columns"), err));
    TR_TRY(read_form(source, entry, err));
    json_t *names = make_names(entry);
    json_object_update(names, source->given.names);
    json_decref(source->given.names);
    source->given.names = names;
    source->given.pairs = tr_json_flag(entry, "ranking", false);
    source->samples = (size_t)json_integer_value(json_object_get(entry, "num_samples"));
    char *text = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS);
    source->checksum = XXH3_64bits(text, strlen(text));
    free(text);
    return find_files(source, path, entry, err);
}

/// The data sets that have files, for sentences. Owned by the caller (free).
static char *list_of(const json_t *info)
{
    json_t *files = json_object(), *entry;
    const char *name;
    json_object_foreach((json_t *)info, name, entry)
    {
        if (json_object_get(entry, "file_name") != NULL) {
            json_object_set_new(files, name, json_null());
        }
    }
    char *list = tr_columns_list(files);
    json_decref(files);
    return list;
}

tr_status tr_dataset_info_read(tr_source_t *source, const char *path, const char *name,
                               tr_error_t *err)
{
    json_t *info;
    TR_TRY(tr_json_read(&info, path, false, err));
    const json_t *entry = json_object_get(info, name);
    tr_status status;
    if (json_is_object(entry)) {
        status = read_entry(source, path, entry, err);
        status = status == TR_OK ? TR_OK : tr_error_prefix(err, "%s: %s", path, name);
    } else {
        char *names = list_of(info);
        status =
            tr_fail(err, TR_ERR_ARGUMENT, "%s: there is no data set '%s'; those with files are %s",
                    path, name, *names != '\0' ? names : "none");
        free(names);
    }
    json_decref(info);
    return status;
}
