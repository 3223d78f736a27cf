// Weights through shared memory: a publisher with two segments, and readers that map them.
//
// The segments are a seqlock: the publisher makes the sequence number odd, writes, and makes it
// even; a reader that saw the same even number before and after has read one version. Nobody waits
// for anybody. The publisher comes first, then the reader. weights_server.c sends the same bytes to
// other machines.
#include "proto/weights/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <xxhash.h>

#include "proto/body.h"

enum {
    SLOTS = 2,
    HEADER_BYTES = 4096, ///< a page, so that the data is aligned as the mapping is
    NAME_BYTES = 128,
    PLACE_BYTES = 64
};
static const uint64_t MAGIC = 0x3154574550554f52; // "ROUPEWT1", little-endian

/// At the start of each segment; the data begins HEADER_BYTES after it.
typedef struct header {
    uint64_t magic;
    _Atomic uint64_t sequence; ///< odd while the segment is filled; 0: never filled
    _Atomic uint64_t version;
    uint64_t bytes;    ///< of the data
    uint64_t checksum; ///< of the data
} header_t;

typedef struct segment {
    char name[NAME_BYTES]; ///< for shm_open, with the slash
    int fd;                ///< -1: not open
    header_t *header;      ///< the mapping; NULL: not mapped
} segment_t;

struct tr_weights_publisher {
    segment_t segments[SLOTS];
    size_t bytes;
    size_t slot; ///< of the version published last
    bool published;
};

struct tr_weights_reader {
    segment_t segments[SLOTS];
    size_t mapped[SLOTS]; ///< bytes mapped of each segment, 0: none
    size_t slot;          ///< of the last map
    uint64_t sequence;    ///< of that segment when it was mapped
    bool given;           ///< the last map succeeded
};

/// The identity of this /dev/shm: "BOOT:DEVICE". The boot id tells machines apart, the device
/// containers of one machine. "": it cannot be read.
static void find_place(char *place, size_t room)
{
    char boot[40] = "";
    struct stat info;
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    // Both parts must be known, or places of two machines could look alike.
    bool known = file != NULL && fscanf(file, "%39s", boot) == 1 && stat("/dev/shm", &info) == 0;
    if (file != NULL) {
        fclose(file);
    }
    place[0] = '\0';
    if (known) {
        snprintf(place, room, "%s:%llx", boot, (unsigned long long)info.st_dev);
    }
}

/// Behind the page of the header.
static void *data_of(const segment_t *segment)
{
    return (char *)segment->header + HEADER_BYTES;
}

/// mapped: bytes, where there is a mapping. Leaves a closed segment, so a second call does nothing.
static void close_segment(segment_t *segment, size_t mapped)
{
    if (segment->header != NULL) {
        munmap(segment->header, mapped);
    }
    if (segment->fd >= 0) {
        close(segment->fd);
    }
    *segment = (segment_t){.fd = -1};
}

// The publisher

/// A segment is locked by its publisher as long as that lives: one that can be locked is left over.
static void remove_when_stale(const char *name)
{
    // A segment of another user cannot be opened, and is left alone.
    int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (fd >= 0) {
        // Free: no publisher lives. The lock is given up when the descriptor is closed.
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            shm_unlink(name);
        }
        close(fd);
    }
}

/// A killed actor cannot unlink its segments.
void tr_weights_forget(const char *prefix)
{
    glob_t found;
    // the prefix has no character that means something in a pattern (good_prefix)
    char *pattern = tr_format("/dev/shm/troupe.%s.*", prefix);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            remove_when_stale(strrchr(found.gl_pathv[i], '/'));
        }
        globfree(&found);
    }
    free(pattern);
}

/// On a failure the caller closes what is open.
static tr_status make_segment(segment_t *segment, size_t bytes, const char *prefix, size_t slot,
                              tr_error_t *err)
{
    size_t total = HEADER_BYTES + bytes;
    snprintf(segment->name, sizeof segment->name, "/troupe.%s.%ld.%zu", prefix, (long)getpid(),
             slot);
    segment->fd = shm_open(segment->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (segment->fd < 0) {
        return tr_fail(err, TR_ERR_IO, "cannot create shared memory '%s': %s", segment->name,
                       strerror(errno));
    }
    // The system gives the lock up when this process ends, however it ends.
    flock(segment->fd, LOCK_EX | LOCK_NB);
    // Allocated now: a write to memory that /dev/shm turns out not to have would be a SIGBUS.
    int code = posix_fallocate(segment->fd, 0, (off_t)total);
    if (code != 0) {
        struct statvfs space = {0};
        statvfs("/dev/shm", &space);
        return tr_fail(err, TR_ERR_MEMORY,
                       "cannot allocate %zu bytes of shared memory (%s; /dev/shm has %llu free)",
                       total, strerror(code), (unsigned long long)space.f_bavail * space.f_frsize);
    }
    // Populated, so that page faults happen here and not while a step waits for the weights.
    void *memory =
        mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, segment->fd, 0);
    if (memory == MAP_FAILED) {
        return tr_fail(err, TR_ERR_MEMORY, "shared memory '%s' could not be mapped: %s",
                       segment->name, strerror(errno));
    }
    segment->header = memory;
    segment->header->magic = MAGIC;
    segment->header->bytes = bytes;
    return TR_OK;
}

/// The prefix becomes a part of a file name, and the reader bounds the length of names.
static bool good_prefix(const char *prefix)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t length = strlen(prefix);
    return length > 0 && length <= 64 && strspn(prefix, letters) == length;
}

/// Both segments at once: that memory is short must be known at the start of a run, not at its
/// second step.
tr_status tr_weights_publisher_new(tr_weights_publisher_t **publisher, size_t bytes,
                                   const char *prefix, tr_error_t *err)
{
    *publisher = NULL;
    if (bytes == 0 || bytes > INT64_MAX - HEADER_BYTES || !good_prefix(prefix)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "weights of %zu bytes under '%s': expected letters, digits and '-'", bytes,
                       prefix);
    }
    tr_weights_forget(prefix);
    tr_weights_publisher_t *p = tr_calloc(1, sizeof *p);
    p->bytes = bytes;
    // So that the first version goes to slot 0.
    p->slot = SLOTS - 1;
    // All closed at first, so that destroy works after any failure below.
    for (size_t i = 0; i < SLOTS; i++) {
        p->segments[i].fd = -1;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        tr_status status = make_segment(&p->segments[i], bytes, prefix, i, err);
        if (status != TR_OK) {
            tr_weights_publisher_destroy(&p);
            return status;
        }
    }
    *publisher = p;
    return TR_OK;
}

/// Readers keep their mappings, which the kernel frees with the last of them.
void tr_weights_publisher_destroy(tr_weights_publisher_t **publisher)
{
    tr_weights_publisher_t *p = *publisher;
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (p->segments[i].fd >= 0) {
            shm_unlink(p->segments[i].name);
        }
        close_segment(&p->segments[i], HEADER_BYTES + p->bytes);
    }
    free(p);
    *publisher = NULL;
}

/// Into the segment that does not hold the last version, which stays as it is.
tr_status tr_weights_publish(uint64_t *checksum, tr_weights_publisher_t *publisher,
                             uint64_t version, tr_weights_fill_fn fill, void *context,
                             tr_error_t *err)
{
    // The other one of the two.
    size_t slot = (publisher->slot + 1) % SLOTS;
    segment_t *segment = &publisher->segments[slot];
    header_t *header = segment->header;
    // Odd from here on. It may be odd already, after a fill that failed.
    uint64_t filling = (atomic_load(&header->sequence) + 1) | 1;
    atomic_store(&header->sequence, filling);
    // No byte of the new version may be visible before the odd number is.
    atomic_thread_fence(memory_order_seq_cst);
    header->checksum = 0;
    header->version = version;
    // A failure leaves the sequence odd, so that nobody reads half a version.
    TR_TRY(fill(context, data_of(segment), publisher->bytes, err));
    // Of the bytes in the segment, not of their source: it covers the copy as well.
    header->checksum = XXH3_64bits(data_of(segment), publisher->bytes);
    *checksum = header->checksum;
    // Even again: a store that is sequentially consistent is seen after all that was written before
    // it.
    atomic_store(&header->sequence, filling + 1);
    publisher->slot = slot;
    publisher->published = true;
    return TR_OK;
}

/// Both names, so that a reader opens each segment once and not at every second version.
json_t *tr_weights_describe(const tr_weights_publisher_t *publisher)
{
    // The header is ours and not being written: publishing and describing are calls of one thread.
    char checksum[17], place[PLACE_BYTES];
    TR_ASSERT(publisher->published, "no version was published");
    find_place(place, sizeof place);
    const header_t *header = publisher->segments[publisher->slot].header;
    snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)header->checksum);
    return json_pack("{s:s, s:I, s:I, s:s, s:[s, s], s:i, s:s}", "transport", "shm", "version",
                     (json_int_t)header->version, "bytes", (json_int_t)publisher->bytes, "checksum",
                     checksum, "segments", publisher->segments[0].name, publisher->segments[1].name,
                     "slot", (int)publisher->slot, "place", place);
}

/// Whether the segment held this version, whole, from before the copy to after it.
static bool copy_from(const segment_t *segment, uint64_t version, void *out, size_t offset,
                      size_t bytes)
{
    const header_t *header = segment->header;
    uint64_t sequence = atomic_load(&header->sequence);
    // Never filled, being filled, or filled with another version.
    if (sequence == 0 || sequence % 2 == 1 || header->version != version) {
        return false;
    }
    // May race with the publisher, on purpose: a torn copy is thrown away by the check below.
    memcpy(out, (const char *)data_of(segment) + offset, bytes);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(&header->sequence) == sequence;
}

/// For readers of other machines, whose pieces come while the actor may be training already.
tr_status tr_weights_copy(void *out, const tr_weights_publisher_t *publisher, uint64_t version,
                          size_t offset, size_t bytes, tr_error_t *err)
{
    if (offset > publisher->bytes || bytes > publisher->bytes - offset) {
        return tr_fail(err, TR_ERR_ARGUMENT, "weights: %zu bytes from %zu on, and there are %zu",
                       bytes, offset, publisher->bytes);
    }
    // Called on the thread of weights_server.c while the actor may publish: hence copy and check.
    for (size_t i = 0; i < SLOTS; i++) {
        if (copy_from(&publisher->segments[i], version, out, offset, bytes)) {
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_VERSION, "weights: version %llu is not here",
                   (unsigned long long)version);
}

// The reader

/// A description as numbers; name: of the segment, borrowed.
typedef struct description {
    int64_t version;
    size_t bytes;
    int64_t slot;
    uint64_t checksum;
    const char *name;
} description_t;

/// Before anything is mapped, fetched or allocated.
tr_status tr_weights_expect_bytes(const json_t *description, size_t bytes, tr_error_t *err)
{
    int64_t said;
    TR_TRY(
        tr_body_integer(&said, description, "bytes", 1, INT64_MAX - HEADER_BYTES, "weights", err));
    // Another shape than the reader's model: its recipe and the actor's disagree.
    return (size_t)said == bytes
               ? TR_OK
               : tr_fail(err, TR_ERR_VERSION, "weights of %lld bytes for a model of %zu",
                         (long long)said, bytes);
}

/// A description comes in a request's body, so every key is checked.
static tr_status read_description(description_t *d, size_t bytes, const json_t *object,
                                  tr_error_t *err)
{
    const char *where = "weights";
    const char *text;
    char *end;
    TR_TRY(tr_body_string(&text, object, "transport", where, err));
    // weights_gpu.c reads the other kind of description.
    if (strcmp(text, "shm") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "weights: transport '%.40s' is not known here",
                       text);
    }
    TR_TRY(tr_body_integer(&d->version, object, "version", 0, INT64_MAX, where, err));
    TR_TRY(tr_weights_expect_bytes(object, bytes, err));
    d->bytes = bytes;
    TR_TRY(tr_body_integer(&d->slot, object, "slot", 0, SLOTS - 1, where, err));
    TR_TRY(tr_body_string(&text, object, "checksum", where, err));
    // As text, because JSON has no unsigned 64-bit integers.
    d->checksum = strtoull(text, &end, 16);
    if (strlen(text) != 16 || *end != '\0') {
        return tr_fail(err, TR_ERR_PROTOCOL, "weights: checksum: expected 16 hexadecimal digits");
    }
    // The name comes from a peer: a plain name under /dev/shm that one of us made, never a path.
    d->name =
        json_string_value(json_array_get(json_object_get(object, "segments"), (size_t)d->slot));
    if (d->name == NULL || strncmp(d->name, "/troupe.", 8) != 0 ||
        strchr(d->name + 1, '/') != NULL || strlen(d->name) >= NAME_BYTES) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "weights: segments: expected two names of shared memory");
    }
    return TR_OK;
}

/// If neither side can name its place, they are taken for one machine; if they are not, mapping
/// fails.
bool tr_weights_here(const json_t *description)
{
    char place[PLACE_BYTES];
    const char *said = json_string_value(json_object_get(description, "place"));
    find_place(place, sizeof place);
    return said != NULL && strcmp(said, place) == 0;
}

/// Opens nothing: names come with the first description.
tr_weights_reader_t *tr_weights_reader_new(void)
{
    tr_weights_reader_t *reader = tr_calloc(1, sizeof *reader);
    for (size_t i = 0; i < SLOTS; i++) {
        reader->segments[i].fd = -1;
    }
    return reader;
}

/// After this the slot is as in a new reader.
static void unmap(tr_weights_reader_t *reader, size_t slot)
{
    close_segment(&reader->segments[slot], reader->mapped[slot]);
    reader->mapped[slot] = 0;
}

/// The segments themselves are the publisher's.
void tr_weights_reader_destroy(tr_weights_reader_t **reader)
{
    if (*reader == NULL) {
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        unmap(*reader, i);
    }
    free(*reader);
    *reader = NULL;
}

/// Maps the whole segment of the description, in place of what the slot had. After a failure the
/// slot has no mapping, and the next call replaces it.
static tr_status map_segment(tr_weights_reader_t *reader, const description_t *d, tr_error_t *err)
{
    size_t slot = (size_t)d->slot;
    size_t total = HEADER_BYTES + d->bytes;
    segment_t *segment = &reader->segments[slot];
    // Mapped already: the publisher uses the same two segments for its whole life.
    if (segment->header != NULL && strcmp(segment->name, d->name) == 0 &&
        reader->mapped[slot] == total) {
        return TR_OK;
    }
    unmap(reader, slot);
    snprintf(segment->name, sizeof segment->name, "%s", d->name);
    segment->fd = shm_open(d->name, O_RDONLY | O_CLOEXEC, 0);
    if (segment->fd < 0) {
        return tr_fail(err, TR_ERR_PEER, "weights '%s' are gone: %s", d->name, strerror(errno));
    }
    struct stat info;
    // A shorter file would be mapped all the same, and kill the reader when it is read.
    if (fstat(segment->fd, &info) != 0 || (uint64_t)info.st_size != total) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "weights '%s': the segment has another size than %zu bytes", d->name, total);
    }
    void *memory = mmap(NULL, total, PROT_READ, MAP_SHARED | MAP_POPULATE, segment->fd, 0);
    if (memory == MAP_FAILED) {
        return tr_fail(err, TR_ERR_MEMORY, "weights '%s' could not be mapped: %s", d->name,
                       strerror(errno));
    }
    segment->header = memory;
    reader->mapped[slot] = total;
    return TR_OK;
}

/// Whether the mapped segment is what the description promises, all of it.
static tr_status verify(const segment_t *segment, const description_t *d, uint64_t sequence,
                        tr_error_t *err)
{
    const header_t *header = segment->header;
    if (header->magic != MAGIC || header->bytes != d->bytes) {
        return tr_fail(err, TR_ERR_FORMAT, "weights '%s': not a weights segment of %zu bytes",
                       d->name, d->bytes);
    }
    if (sequence % 2 == 1) {
        return tr_fail(err, TR_ERR_FORMAT, "weights '%s': the segment is being overwritten",
                       d->name);
    }
    if (header->version != (uint64_t)d->version) {
        return tr_fail(err, TR_ERR_VERSION,
                       "weights '%s': version %lld was asked for, the segment holds %llu", d->name,
                       (long long)d->version, (unsigned long long)header->version);
    }
    // Last, because it reads everything, and because the cases above have better sentences.
    uint64_t found = XXH3_64bits(data_of(segment), d->bytes);
    if (found != d->checksum || found != header->checksum) {
        return tr_fail(err, TR_ERR_FORMAT, "weights '%s': checksum %016llx, expected %016llx",
                       d->name, (unsigned long long)found, (unsigned long long)d->checksum);
    }
    return TR_OK;
}

/// Maps, verifies, and looks once more that nothing has changed meanwhile.
tr_status tr_weights_map(const void **data, size_t bytes, tr_weights_reader_t *reader,
                         const json_t *description, tr_error_t *err)
{
    description_t d;
    // Until this call has succeeded, there is nothing that tr_weights_check could answer for.
    reader->given = false;
    TR_TRY(read_description(&d, bytes, description, err));
    TR_TRY(map_segment(reader, &d, err));
    const segment_t *segment = &reader->segments[d.slot];
    reader->slot = (size_t)d.slot;
    // Read before the bytes and compared after them, here and by the caller when it has copied
    // them.
    reader->sequence = atomic_load(&segment->header->sequence);
    TR_TRY(verify(segment, &d, reader->sequence, err));
    reader->given = true;
    TR_TRY(tr_weights_check(reader, err));
    *data = data_of(segment);
    return TR_OK;
}

/// Called again by whoever has copied the bytes, since the publisher waits for nobody.
tr_status tr_weights_check(const tr_weights_reader_t *reader, tr_error_t *err)
{
    TR_ASSERT(reader->given, "no weights were mapped");
    const segment_t *segment = &reader->segments[reader->slot];
    // The reads of the data come before this look at the sequence.
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&segment->header->sequence) != reader->sequence) {
        return tr_fail(err, TR_ERR_FORMAT, "weights '%s': overwritten while they were read",
                       segment->name);
    }
    return TR_OK;
}
