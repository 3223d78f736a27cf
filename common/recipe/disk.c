// Whether the files, directories, models and programs that a recipe names are there.
//
// Apart from value.c because it is the only part of reading a recipe that looks at the machine: a
// recipe of a finished run is read without it (tr_recipe_parse).
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/hf/advice.h"
#include "common/recipe/parts.h"
#include "common/text/chat.h"

char *recipe_path(const recipe_reader_t *reader, size_t line, const char *text)
{
    if (reader->base == NULL || text[0] == '/') {
        return tr_strdup(text);
    }
    while (strncmp(text, "./", 2) == 0) {
        text += 2;
    }
    char *current = tr_directory_current();
    char *path = tr_format("%s/%s", line == RECIPE_COMMAND_LINE ? current : reader->base, text);
    free(current);
    return path;
}

/// kind: S_IFREG or S_IFDIR. Follows links: a data file may be one.
static bool is_kind(const char *path, mode_t kind)
{
    struct stat info;
    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

/// A directory with a config.json; whether the model can be loaded is found when it is. An adapter
/// of PEFT is let through, for common/model has a sentence about it.
static bool is_model(const char *path)
{
    char *config = tr_format("%s/config.json", path);
    char *adapter = tr_format("%s/adapter_config.json", path);
    bool there = is_kind(config, S_IFREG) || is_kind(adapter, S_IFREG);
    free(adapter);
    free(config);
    return there;
}

/// Whether a folder of PATH has the program. The same search as execvp's, so that what is accepted
/// here starts later.
static bool is_on_path(const char *program)
{
    const char *folder = getenv("PATH");
    while (folder != NULL) {
        // an empty entry of PATH is the current directory
        size_t length = strcspn(folder, ":");
        char *path = tr_format("%.*s%s%s", (int)length, folder, length == 0 ? "" : "/", program);
        bool runs = is_kind(path, S_IFREG) && access(path, X_OK) == 0;
        free(path);
        if (runs) {
            return true;
        }
        folder = folder[length] == ':' ? folder + length + 1 : NULL;
    }
    return false;
}

/// A name with a slash is a path, as in a shell.
static bool is_program(const char *program)
{
    if (strchr(program, '/') == NULL) {
        return is_on_path(program);
    }
    return is_kind(program, S_IFREG) && access(program, X_OK) == 0;
}

/// What the field's table says that its text names.
static bool is_there(tr_field_names_t names, const char *text)
{
    switch (names) {
    case TR_NAMES_ROWS: return is_kind(text, S_IFREG);
    case TR_NAMES_TEMPLATE: return tr_chat_is_name(text) || is_kind(text, S_IFREG);
    case TR_NAMES_DIRECTORY: return is_kind(text, S_IFDIR);
    case TR_NAMES_MODEL: return is_model(text);
    case TR_NAMES_PROGRAM: return is_program(text);
    case TR_NAMES_PLACE:  // made when it is needed
    case TR_NAMES_DEVICE: // a name, whatever this machine has
    case TR_NAMES_VARIABLES:
    case TR_NAMES_NOTHING: break;
    }
    return true;
}

/// What to say of a name that is_there refuses, but of a model.
static const char *sentence(tr_field_names_t names, const char *text)
{
    switch (names) {
    case TR_NAMES_ROWS:
        return access(text, F_OK) == 0 ? "expected a file on a disk, found another kind of file"
                                       : "there is no file";
    case TR_NAMES_TEMPLATE:
        return "expected " TR_CHAT_NAMES ", or a template's file: there is no file";
    case TR_NAMES_DIRECTORY: return "there is no directory";
    default:
        return strchr(text, '/') == NULL ? "no folder of PATH has the program"
                                         : "there is no file that can be run at";
    }
}

bool recipe_disk_check(recipe_reader_t *reader, tr_field_names_t names, const char *text,
                       size_t line, const char *path)
{
    // without `disk` every name is accepted
    if (!reader->disk || is_there(names, text)) {
        return true;
    }
    if (names == TR_NAMES_MODEL) {
        tr_error_t err = {0};
        tr_hf_refuse(text, "config.json", &err);
        recipe_problem(reader, line, path, "%s", err.text);
        return false;
    }
    char *quoted = recipe_quote(text);
    recipe_problem(reader, line, path, "%s %s", sentence(names, text), quoted);
    free(quoted);
    return false;
}
