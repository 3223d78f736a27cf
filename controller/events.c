// TensorBoard's event file: checksums, protocol buffers and TFRecord frames, written and read back.
//
// By hand, because a dozen fields need no library. Reading serves one purpose: a resumed run must
// find where to cut the file. appender.c does the writing; metrics.c has the same numbers as JSON.
#include "controller/events.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/text/utf8.h"
#include "controller/appender.h"

/// Framed events behind one another.
struct controller_events {
    controller_appender_t *file;
};

static const char NAME_START[] = "events.out.tfevents.";
static const char FILE_VERSION[] = "brain.Event:2";

// CRC-32C, a table of half bytes (reflected polynomial 0x82F63B78)

uint32_t controller_crc32c(const void *data, size_t length)
{
    static const uint32_t TABLE[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *bytes = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        // Two steps of four bits, low half first.
        crc ^= bytes[i];
        crc = crc >> 4 ^ TABLE[crc & 15];
        crc = crc >> 4 ^ TABLE[crc & 15];
    }
    return ~crc;
}

uint32_t controller_crc32c_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

// Writing protocol buffers: a key is field << 3 | wire type

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE_VALUE = 2 };

/// Little endian, as both formats want it.
static void put_fixed(tr_bytes_t *out, uint64_t bits, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char byte = (char)(bits >> 8 * i & 0xff);
        tr_bytes_append(out, &byte, 1);
    }
}

/// Seven bits a byte, low ones first; the top bit says that more follow.
static void put_varint(tr_bytes_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        put_fixed(out, (value & 0x7f) | 0x80, 1);
    }
    put_fixed(out, value, 1);
}

static void put_key(tr_bytes_t *out, unsigned field, unsigned wire)
{
    put_varint(out, field << 3 | wire);
}

/// A text or a message: its length, then its bytes.
static void put_bytes(tr_bytes_t *out, unsigned field, const char *data, size_t length)
{
    put_key(out, field, WIRE_BYTES);
    put_varint(out, length);
    tr_bytes_append(out, data, length);
}

/// A field of eight bytes.
static void put_double(tr_bytes_t *out, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(out, field, WIRE_FIXED64);
    put_fixed(out, bits, sizeof bits);
}

/// A field of four bytes: TensorBoard's scalars are floats.
static void put_float(tr_bytes_t *out, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(out, field, WIRE_FIXED32);
    put_fixed(out, bits, sizeof bits);
}

/// Each metric is a message of its own inside the summary: tag and value.
static void put_summary(tr_bytes_t *out, const controller_record_t *record)
{
    for (size_t i = 0; i < record->count; i++) {
        tr_bytes_t value = {0};
        put_bytes(&value, VALUE_TAG, record->items[i].name, strlen(record->items[i].name));
        put_float(&value, VALUE_SIMPLE_VALUE, (float)record->items[i].value);
        put_bytes(out, SUMMARY_VALUE, value.data, value.length);
        tr_bytes_release(&value);
    }
}

// TFRecord: length (8 bytes), its masked CRC, the data, their masked CRC

enum { HEAD_BYTES = 12, CRC_BYTES = 4 };

/// Writes one record with its frame; a failure leaves none of it.
static tr_status write_framed(controller_appender_t *file, const tr_bytes_t *event, tr_error_t *err)
{
    tr_bytes_t frame = {0};
    put_fixed(&frame, event->length, 8);
    put_fixed(&frame, controller_crc32c_mask(controller_crc32c(frame.data, 8)), CRC_BYTES);
    tr_bytes_append(&frame, event->data, event->length);
    put_fixed(&frame, controller_crc32c_mask(controller_crc32c(event->data, event->length)),
              CRC_BYTES);
    tr_status status = controller_appender_write(file, frame.data, frame.length, err);
    tr_bytes_release(&frame);
    return status;
}

/// The reverse of put_fixed.
static uint64_t load_fixed(const char *data, size_t bytes)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes; i++) {
        bits |= (uint64_t)(unsigned char)data[i] << 8 * i;
    }
    return bits;
}

/// Whether the stored checksum is that of the data.
static bool crc_holds(const char *data, size_t length, const char *stored)
{
    return controller_crc32c_mask(controller_crc32c(data, length)) == load_fixed(stored, CRC_BYTES);
}

/// Bytes that are still to be read.
typedef struct span {
    const char *data;
    size_t length;
} span_t;

/// Takes the first event off *rest; false when no complete record is there.
static bool next_event(span_t *event, span_t *rest)
{
    if (rest->length < HEAD_BYTES + CRC_BYTES || !crc_holds(rest->data, 8, rest->data + 8)) {
        return false;
    }
    uint64_t length = load_fixed(rest->data, 8);
    // Compared by subtraction: a damaged length could overflow a sum.
    if (length > rest->length - HEAD_BYTES - CRC_BYTES) {
        return false;
    }
    *event = (span_t){rest->data + HEAD_BYTES, (size_t)length};
    if (!crc_holds(event->data, event->length, event->data + event->length)) {
        return false;
    }
    rest->data += HEAD_BYTES + event->length + CRC_BYTES;
    rest->length -= HEAD_BYTES + event->length + CRC_BYTES;
    return true;
}

// Reading protocol buffers

/// Takes `length` bytes off *rest; false when there are fewer.
static bool take(span_t *taken, span_t *rest, uint64_t length)
{
    if (length > rest->length) {
        return false;
    }
    *taken = (span_t){rest->data, (size_t)length};
    rest->data += length;
    rest->length -= (size_t)length;
    return true;
}

/// False at the end of the bytes, or after ten of them (64 bits).
static bool take_varint(uint64_t *value, span_t *rest)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        span_t byte;
        if (!take(&byte, rest, 1)) {
            return false;
        }
        *value |= (uint64_t)(byte.data[0] & 0x7f) << shift;
        if ((byte.data[0] & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

/// One field of a message, before its number says what it means.
typedef struct field {
    uint64_t number;
    uint64_t varint; ///< of WIRE_VARINT
    span_t bytes;    ///< of the other wire types
} field_t;

/// One field: its key, then a value whose length follows from the wire type.
static bool take_field(field_t *field, span_t *rest)
{
    uint64_t key = 0;
    uint64_t length = 0;
    *field = (field_t){0};
    if (!take_varint(&key, rest)) {
        return false;
    }
    field->number = key >> 3;
    switch (key & 7) {
    case WIRE_VARINT: return take_varint(&field->varint, rest);
    case WIRE_FIXED64: return take(&field->bytes, rest, 8);
    case WIRE_FIXED32: return take(&field->bytes, rest, 4);
    case WIRE_BYTES: return take_varint(&length, rest) && take(&field->bytes, rest, length);
    default: return false;
    }
}

/// The event's step, 0 when it has none. *version: whether the event is the one that starts a file.
static uint64_t read_event(bool *version, span_t event)
{
    uint64_t step = 0;
    field_t field;
    *version = false;
    while (event.length > 0 && take_field(&field, &event)) {
        if (field.number == EVENT_STEP) {
            step = field.varint;
        } else if (field.number == EVENT_FILE_VERSION) {
            *version = field.bytes.data != NULL && field.bytes.length == strlen(FILE_VERSION) &&
                       memcmp(field.bytes.data, FILE_VERSION, field.bytes.length) == 0;
        }
    }
    return step;
}

// The file

/// The first event file in the directory by name, which is the oldest: the run's own, if others
/// were put beside it. NULL when there is none. Owned by the caller.
static tr_status find_file(char **path, const char *directory, tr_error_t *err)
{
    *path = NULL;
    DIR *listing = opendir(directory);
    if (listing == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot list '%s': %s", directory, strerror(errno));
    }
    const struct dirent *entry;
    char *name = NULL;
    while ((entry = readdir(listing)) != NULL) {
        bool fits = strncmp(entry->d_name, NAME_START, strlen(NAME_START)) == 0;
        if (fits && (name == NULL || strcmp(entry->d_name, name) < 0)) {
            free(name);
            name = tr_strdup(entry->d_name);
        }
    }
    closedir(listing);
    *path = name == NULL ? NULL : tr_format("%s/%s", directory, name);
    free(name);
    return TR_OK;
}

/// The name that TensorBoard expects.
static char *new_path(const char *directory, double wall)
{
    // TensorBoard tells files of several machines apart by the name's end.
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    return tr_format("%s/%s%.0f.%s", directory, NAME_START, wall, host);
}

/// Maps the bytes of path; {0} for an empty file. unmap releases it.
static tr_status map(span_t *file, const char *path, tr_error_t *err)
{
    struct stat info;
    *file = (span_t){0};
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &info) != 0) {
        tr_status status = tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
        if (descriptor >= 0) {
            close(descriptor);
        }
        return status;
    }
    size_t length = (size_t)info.st_size;
    // Mapped, since event files of long runs are large and are read once. An empty one cannot be.
    void *data = length == 0 ? NULL : mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    if (data == MAP_FAILED) {
        return tr_fail(err, TR_ERR_IO, "cannot map '%s': %s", path, strerror(errno));
    }
    *file = (span_t){data, length};
    return TR_OK;
}

static void unmap(span_t *file)
{
    if (file->length > 0) {
        munmap((void *)file->data, file->length);
    }
    *file = (span_t){0};
}

/// *keep: the bytes before the first event that is torn or of a step after `last`; 0 when the file
/// is empty.
static tr_status measure(uint64_t *keep, const char *path, uint64_t last, tr_error_t *err)
{
    span_t file;
    span_t event;
    bool version = false;
    *keep = 0;
    TR_TRY(map(&file, path, err));
    span_t rest = file;
    if (next_event(&event, &rest)) {
        read_event(&version, event);
    }
    // Cutting a file of another kind would destroy it.
    if (file.length > 0 && !version) {
        unmap(&file);
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: expected a TensorBoard event file; remove it or move it away", path);
    }
    do {
        // Everything up to here is of steps to keep.
        *keep = file.length - rest.length;
    } while (next_event(&event, &rest) && read_event(&version, event) <= last);
    unmap(&file);
    return TR_OK;
}

/// The event with which every file starts.
static tr_status write_version(controller_appender_t *file, double wall, tr_error_t *err)
{
    tr_bytes_t event = {0};
    put_double(&event, EVENT_WALL_TIME, wall);
    put_bytes(&event, EVENT_FILE_VERSION, FILE_VERSION, strlen(FILE_VERSION));
    tr_status status = write_framed(file, &event, err);
    tr_bytes_release(&event);
    return status;
}

tr_status controller_events_open(controller_events_t **events, const char *directory, uint64_t last,
                                 tr_error_t *err)
{
    controller_events_t *made = tr_calloc(1, sizeof *made);
    char *path = NULL;
    uint64_t keep = 0;
    double wall = tr_clock_wall();
    tr_status status;
    *events = NULL;
    TR_TRY_GOTO(find_file(&path, directory, err), done);
    if (path == NULL) {
        path = new_path(directory, wall);
    } else {
        TR_TRY_GOTO(measure(&keep, path, last, err), done);
    }
    TR_TRY_GOTO(controller_appender_open(&made->file, path, keep, err), done);
    // A new file, or one whose first event was torn.
    if (keep == 0) {
        TR_TRY_GOTO(write_version(made->file, wall, err), done);
    }
    *events = made;
    made = NULL;
done:
    free(path);
    controller_events_destroy(&made);
    return status;
}

tr_status controller_events_append(controller_events_t *events, const controller_record_t *record,
                                   double wall, tr_error_t *err)
{
    tr_bytes_t summary = {0};
    tr_bytes_t event = {0};
    put_summary(&summary, record);
    put_double(&event, EVENT_WALL_TIME, wall);
    put_key(&event, EVENT_STEP, WIRE_VARINT);
    put_varint(&event, record->step);
    put_bytes(&event, EVENT_SUMMARY, summary.data, summary.length);
    tr_status status = write_framed(events->file, &event, err);
    tr_bytes_release(&event);
    tr_bytes_release(&summary);
    return status;
}

tr_status controller_events_sync(controller_events_t *events, tr_error_t *err)
{
    return controller_appender_sync(events->file, err);
}

void controller_events_destroy(controller_events_t **events)
{
    if (*events == NULL) {
        return;
    }
    controller_appender_destroy(&(*events)->file);
    free(*events);
    *events = NULL;
}
