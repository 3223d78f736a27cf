// TensorBoard's event file: checksums, protocol buffers and TFRecord frames, written and read back.
//
// By hand, because a dozen fields need no library. Reading serves one purpose: a resumed run must
// find where to cut the file. appender.c does the writing; metrics.c has the same numbers as JSON.
#include "controller/events.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/text/utf8.h"

static const char NAME_START[] = "events.out.tfevents.";

// CRC-32C, a table of half bytes (reflected polynomial 0x82F63B78)

/// The checksum of TFRecord: CRC-32C, masked so that the checksum of data that holds checksums is
/// still a good one.
static uint32_t masked_crc(const char *data, size_t length)
{
    // CRC of each half byte alone: 64 bytes instead of a kilobyte; a step's event is short.
    static const uint32_t TABLE[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        // Two steps of four bits, low half first.
        crc ^= (unsigned char)data[i];
        crc = crc >> 4 ^ TABLE[crc & 15];
        crc = crc >> 4 ^ TABLE[crc & 15];
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

// Writing protocol buffers: a key is field << 3 | wire type

// Field numbers are those of tensorflow/core/util/event.proto and framework/summary.proto.
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE_VALUE = 2 };

/// An event begins with its wall time: a key, and eight bytes. A step or a version comes next.
enum { AFTER_WALL_TIME = 9 };
/// The field file_version (3), a text of 13 bytes.
static const char FILE_VERSION[] = "\x1a\x0d"
                                   "brain.Event:2";

/// Little endian, as both formats want it.
static void put_fixed(tr_bytes_t *out, uint64_t bits, size_t bytes)
{
    // Byte by byte, whatever the order of the machine.
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
    // The bits of an IEEE double, as protocol buffers have them.
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
        // Its length comes before its bytes, so each part is built apart.
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
    // The length has a checksum of its own: a reader trusts it before it has the data.
    put_fixed(&frame, event->length, 8);
    put_fixed(&frame, masked_crc(frame.data, 8), CRC_BYTES);
    tr_bytes_append(&frame, event->data, event->length);
    put_fixed(&frame, masked_crc(event->data, event->length), CRC_BYTES);
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
    return masked_crc(data, length) == load_fixed(stored, CRC_BYTES);
}

/// Events are far smaller; a damaged length must not become an allocation.
enum { EVENT_LIMIT = 1 << 26 };

/// Reads the next event; false where no complete record is: at the end, or where it is torn.
static bool next_event(tr_bytes_t *event, FILE *stream)
{
    char head[HEAD_BYTES];
    if (fread(head, 1, sizeof head, stream) < sizeof head || !crc_holds(head, 8, head + 8)) {
        return false;
    }
    uint64_t length = load_fixed(head, 8);
    if (length > EVENT_LIMIT) {
        return false;
    }
    // With the data's checksum, which stands behind it.
    size_t framed = (size_t)length + CRC_BYTES;
    event->data = tr_realloc(event->data, framed);
    event->length = (size_t)length;
    return fread(event->data, 1, framed, stream) == framed &&
           crc_holds(event->data, event->length, event->data + event->length);
}

/// Whether the event is the one with which a file starts.
static bool is_version(const tr_bytes_t *event)
{
    size_t length = strlen(FILE_VERSION);
    return event->length == AFTER_WALL_TIME + length &&
           memcmp(event->data + AFTER_WALL_TIME, FILE_VERSION, length) == 0;
}

/// The event's step; 0 when it has none, because protocol buffers leave zeros out.
static uint64_t step_of(const tr_bytes_t *event)
{
    size_t at = AFTER_WALL_TIME;
    uint64_t step = 0;
    if (event->length <= at || event->data[at] != (EVENT_STEP << 3 | WIRE_VARINT)) {
        return 0;
    }
    // The reverse of put_varint: at most ten bytes.
    for (unsigned shift = 0; shift < 64 && ++at < event->length; shift += 7) {
        step |= (uint64_t)(event->data[at] & 0x7f) << shift;
        if ((event->data[at] & 0x80) == 0) {
            break;
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
    // A run resumed on another machine goes on with the file that it finds.
    char *name = NULL;
    // Names begin with the seconds at which they were made, so they sort by age until 2286.
    while ((entry = readdir(listing)) != NULL) {
        bool fits = strncmp(entry->d_name, NAME_START, strlen(NAME_START)) == 0;
        if (fits && (name == NULL || strcmp(entry->d_name, name) < 0)) {
            free(name);
            name = tr_strdup(entry->d_name);
        }
    }
    closedir(listing);
    // None is no error: the file of a new run is made next.
    *path = name == NULL ? NULL : tr_format("%s/%s", directory, name);
    free(name);
    return TR_OK;
}

/// The name that TensorBoard expects.
static char *new_path(const char *directory, double wall)
{
    // TensorBoard tells files of several machines apart by the name's end.
    // gethostname leaves it as it is when it fails, and the last byte is never written.
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    return tr_format("%s/%s%.0f.%s", directory, NAME_START, wall, host);
}

/// *keep: the bytes before the first event that is torn or of a step after `last`; 0 when the file
/// is empty.
static tr_status measure(uint64_t *keep, const char *path, uint64_t last, tr_error_t *err)
{
    tr_bytes_t event = {0};
    tr_status status = TR_OK;
    FILE *stream = fopen(path, "rb");
    *keep = 0;
    if (stream == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    // The first event tells whether this is a file of ours.
    bool more = next_event(&event, stream);
    bool version = more && is_version(&event);
    // Cutting a file of another kind would destroy it; an empty one is begun anew.
    if (!version && ftell(stream) > 0) {
        status = tr_fail(err, TR_ERR_FORMAT,
                         "%s: expected a TensorBoard event file; remove it or move it away", path);
    }
    while (version && more) {
        // Everything up to here is of steps to keep.
        *keep = (uint64_t)ftell(stream);
        more = next_event(&event, stream) && step_of(&event) <= last;
    }
    // A disk that fails to read is no reason to cut what it holds.
    if (ferror(stream)) {
        status = tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path, strerror(errno));
    }
    tr_bytes_release(&event);
    fclose(stream);
    return status;
}

/// The event with which every file starts.
static tr_status write_version(controller_appender_t *file, double wall, tr_error_t *err)
{
    tr_bytes_t event = {0};
    put_double(&event, EVENT_WALL_TIME, wall);
    tr_bytes_append(&event, FILE_VERSION, strlen(FILE_VERSION));
    // Without it TensorBoard takes the file for the oldest format.
    tr_status status = write_framed(file, &event, err);
    tr_bytes_release(&event);
    return status;
}

tr_status controller_events_open(controller_appender_t **file, const char *directory, uint64_t last,
                                 tr_error_t *err)
{
    char *path = NULL;
    uint64_t keep = 0;
    // One reading for the name and for the first event.
    double wall = tr_clock_wall();
    tr_status status;
    *file = NULL;
    TR_TRY_GOTO(find_file(&path, directory, err), done);
    if (path == NULL) {
        path = new_path(directory, wall);
    } else {
        TR_TRY_GOTO(measure(&keep, path, last, err), done);
    }
    TR_TRY_GOTO(controller_appender_open(file, path, keep, err), done);
    // A new file, or an empty one.
    if (keep == 0) {
        status = write_version(*file, wall, err);
    }
    if (status != TR_OK) {
        controller_appender_destroy(file);
    }
done:
    free(path);
    return status;
}

tr_status controller_events_append(controller_appender_t *file, const controller_record_t *record,
                                   double wall, tr_error_t *err)
{
    tr_bytes_t summary = {0};
    tr_bytes_t event = {0};
    // Tag and simple value suffice: TensorBoard derives the scalars plugin's metadata from them.
    put_summary(&summary, record);
    put_double(&event, EVENT_WALL_TIME, wall);
    put_key(&event, EVENT_STEP, WIRE_VARINT);
    put_varint(&event, record->step);
    put_bytes(&event, EVENT_SUMMARY, summary.data, summary.length);
    tr_status status = write_framed(file, &event, err);
    tr_bytes_release(&event);
    tr_bytes_release(&summary);
    return status;
}
