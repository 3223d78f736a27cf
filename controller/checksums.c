// Checksums of a checkpoint's files: made before it gets its name, and compared before it is used.
#include "controller/checksums.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/hf/json_file.h"

static const char LIST[] = "checksums.json";

enum {
    PIECE = 1 << 20,      // bytes of a file read at a time
    LIST_LIMIT = 1 << 24, // bytes of checksums.json
};

tr_status controller_checksum(char out[CONTROLLER_CHECKSUM_DIGITS + 1], const char *path,
                              tr_error_t *err)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    XXH3_state_t *state = XXH3_createState();
    char *piece = tr_calloc(PIECE, 1);
    ssize_t got;
    XXH3_64bits_reset(state);
    while ((got = read(file, piece, PIECE)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0) {
            XXH3_64bits_update(state, piece, (size_t)got);
        }
    }
    tr_status status =
        got == 0 ? TR_OK : tr_fail(err, TR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    snprintf(out, CONTROLLER_CHECKSUM_DIGITS + 1, "%016llx",
             (unsigned long long)XXH3_64bits_digest(state));
    free(piece);
    XXH3_freeState(state);
    close(file);
    return status;
}

/// Adds every file below the directory to the list, by its path from there.
static tr_status sum_all(json_t *list, const char *directory, tr_error_t *err)
{
    char *root[] = {(char *)directory, NULL}; // fts_open does not write to it
    FTS *walk = fts_open(root, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    tr_status status = TR_OK;
    const FTSENT *entry;
    errno = 0;
    while (walk != NULL && status == TR_OK && (entry = fts_read(walk)) != NULL) {
        char digits[CONTROLLER_CHECKSUM_DIGITS + 1];
        if (entry->fts_info == FTS_F &&
            (status = controller_checksum(digits, entry->fts_path, err)) == TR_OK) {
            json_object_set_new(list, entry->fts_path + strlen(directory) + 1, json_string(digits));
        } else if (entry->fts_errno != 0) {
            errno = entry->fts_errno;
            break;
        }
        errno = 0; // of fts_read alone
    }
    if (status == TR_OK && errno != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot read '%s': %s", directory, strerror(errno));
    }
    if (walk != NULL) {
        fts_close(walk);
    }
    return status;
}

tr_status controller_checksums_write(const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/%s", directory, LIST);
    json_t *list = json_object();
    tr_status status = sum_all(list, directory, err);
    // Not synced: the checkpoint is, as a whole, before it gets its name.
    if (status == TR_OK && json_dump_file(list, path, JSON_INDENT(2) | JSON_SORT_KEYS) != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    json_decref(list);
    free(path);
    return status;
}

/// Compares one file with its line of the list.
static tr_status compare(const char *directory, const char *name, const char *expected,
                         tr_error_t *err)
{
    char *path = tr_format("%s/%s", directory, name);
    char digits[CONTROLLER_CHECKSUM_DIGITS + 1];
    tr_status status;
    if (access(path, F_OK) != 0) {
        status = tr_fail(err, TR_ERR_FORMAT, "'%s' is missing", path);
    } else if ((status = controller_checksum(digits, path, err)) == TR_OK &&
               (expected == NULL || strcmp(digits, expected) != 0)) {
        status = tr_fail(err, TR_ERR_FORMAT, "'%s' has other bytes than were written", path);
    }
    free(path);
    return status;
}

tr_status controller_checksums_check(const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/%s", directory, LIST);
    json_t *list = NULL;
    tr_status status = access(path, F_OK) == 0
                           ? tr_json_file_read(&list, path, LIST_LIMIT, err)
                           : tr_fail(err, TR_ERR_FORMAT, "'%s' is missing", path);
    const char *name;
    json_t *digits;
    json_object_foreach(list, name, digits)
    {
        if (status == TR_OK) {
            status = compare(directory, name, json_string_value(digits), err);
        }
    }
    json_decref(list);
    free(path);
    return status;
}
