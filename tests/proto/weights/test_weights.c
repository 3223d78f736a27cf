// The segments are real shared memory; damage is done to them by name, as another process could.
#include <criterion/criterion.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "proto/weights/weights.h"

enum { BYTES = 10000, HEADER = 4096 };

static char prefix[64];
static tr_weights_publisher_t *publisher;
static tr_weights_reader_t *reader;
static unsigned char data[BYTES];
static uint64_t checksum;
static tr_error_t err;

static void setup(void)
{
    snprintf(prefix, sizeof prefix, "test-%ld", (long)getpid());
    cr_assert_eq(tr_weights_publisher_new(&publisher, BYTES, prefix, &err), TR_OK, "%s", err.text);
    reader = tr_weights_reader_new();
}

static void teardown(void)
{
    tr_weights_reader_destroy(&reader);
    tr_weights_publisher_destroy(&publisher);
}

TestSuite(weights, .init = setup, .fini = teardown, .timeout = 30);

/// The bytes of a version: each differs from those of every other.
static void fill(uint64_t version)
{
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (unsigned char)(i * 7 + version * 13);
    }
}

static tr_status copy_in(void *source, void *bytes, size_t count, tr_error_t *unused)
{
    (void)unused;
    memcpy(bytes, source, count);
    return TR_OK;
}

/// Publishes a version; its description is the caller's.
static json_t *publish(uint64_t version)
{
    fill(version);
    cr_assert_eq(tr_weights_publish(&checksum, publisher, version, copy_in, data, &err), TR_OK,
                 "%s", err.text);
    return tr_weights_describe(publisher);
}

static tr_status map(const void **bytes, const json_t *description)
{
    // What the description says, so that only the segment can be of another size.
    size_t length = (size_t)json_integer_value(json_object_get(description, "bytes"));
    err = (tr_error_t){0};
    tr_status status = tr_weights_map(bytes, length, reader, description, &err);
    if (status == TR_OK) {
        char sum[17];
        cr_expect_eq(length, BYTES);
        snprintf(sum, sizeof sum, "%016llx", (unsigned long long)XXH3_64bits(*bytes, length));
        cr_expect_str_eq(json_string_value(json_object_get(description, "checksum")), sum,
                         "the checksum is XXH3-64 of the bytes");
        cr_expect_eq(tr_weights_map(bytes, length + 1, reader, description, &err), TR_ERR_VERSION);
        cr_expect_str_eq(err.text, "weights of 10000 bytes for a model of 10001");
        cr_expect_eq(tr_weights_map(bytes, length, reader, description, &err), TR_OK);
    }
    return status;
}

/// Segment `slot` of a description, mapped for writing: HEADER + BYTES bytes.
static unsigned char *open_segment(const json_t *description, size_t slot)
{
    const json_t *names = json_object_get(description, "segments");
    int fd = shm_open(json_string_value(json_array_get(names, slot)), O_RDWR, 0);
    cr_assert_geq(fd, 0);
    struct stat info;
    cr_assert_eq(fstat(fd, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0600, "for this user alone");
    cr_assert_eq(info.st_size, HEADER + BYTES);
    void *memory = mmap(NULL, HEADER + BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(memory, MAP_FAILED);
    close(fd);
    return memory;
}

static size_t slot_of(const json_t *description)
{
    return (size_t)json_integer_value(json_object_get(description, "slot"));
}

Test(weights, each_published_version_is_read_whole)
{
    for (uint64_t version = 1; version <= 5; version++) {
        const void *bytes;
        json_t *description = publish(version);
        cr_assert_eq(map(&bytes, description), TR_OK, "%s", err.text);
        cr_expect_eq(memcmp(bytes, data, BYTES), 0);
        cr_expect_eq((uintptr_t)bytes % 64, 0);
        cr_expect_eq(tr_weights_check(reader, &err), TR_OK);
        json_decref(description);
    }
}

Test(weights, a_reader_of_the_last_version_is_undisturbed_by_the_next)
{
    const void *bytes;
    unsigned char first[BYTES];
    json_t *one = publish(1);
    memcpy(first, data, BYTES);
    cr_assert_eq(map(&bytes, one), TR_OK);
    json_t *two = publish(2);
    cr_expect_eq(tr_weights_check(reader, &err), TR_OK, "%s", err.text);
    cr_expect_eq(memcmp(bytes, first, BYTES), 0);
    json_t *three = publish(3); // takes the place of version 1
    cr_expect_eq(tr_weights_check(reader, &err), TR_ERR_FORMAT, "what was read may be torn");
    cr_expect_eq(map(&bytes, one), TR_ERR_VERSION, "a stale description");
    cr_expect_eq(map(&bytes, two), TR_OK, "%s", err.text);
    cr_expect_eq(map(&bytes, three), TR_OK, "%s", err.text);
    json_decref(one);
    json_decref(two);
    json_decref(three);
}

Test(weights, a_changed_byte_anywhere_is_refused)
{
    const void *bytes;
    json_t *description = publish(1);
    unsigned char *segment = open_segment(description, slot_of(description));
    for (size_t at = HEADER; at < HEADER + BYTES; at += 997) {
        segment[at] ^= 1;
        cr_expect_eq(map(&bytes, description), TR_ERR_FORMAT, "byte %zu", at);
        cr_expect_not_null(strstr(err.text, "checksum"), "%s", err.text);
        segment[at] ^= 1;
    }
    segment[0] ^= 1; // the magic number
    cr_expect_eq(map(&bytes, description), TR_ERR_FORMAT);
    segment[0] ^= 1;
    cr_expect_eq(map(&bytes, description), TR_OK, "%s", err.text);
    munmap(segment, HEADER + BYTES);
    json_decref(description);
}

static tr_status fail_halfway(void *context, void *bytes, size_t length, tr_error_t *failure)
{
    (void)context;
    memset(bytes, 0, length / 2);
    return tr_fail(failure, TR_ERR_IO, "the copy failed");
}

Test(weights, a_version_whose_filling_fails_is_never_read)
{
    const void *bytes;
    json_t *one = publish(1);
    json_t *two = publish(2);
    cr_assert_eq(tr_weights_publish(&checksum, publisher, 3, fail_halfway, NULL, &err), TR_ERR_IO);
    json_t *last = tr_weights_describe(publisher);
    cr_expect(json_equal(last, two), "the version published last is still 2");
    cr_expect_eq(map(&bytes, two), TR_OK, "%s", err.text);
    cr_expect_eq(map(&bytes, one), TR_ERR_FORMAT, "its segment is half filled");
    json_t *three = publish(3);
    cr_expect_eq(map(&bytes, three), TR_OK, "%s", err.text);
    json_decref(one);
    json_decref(two);
    json_decref(three);
    json_decref(last);
}

typedef struct overlap {
    pthread_barrier_t half; ///< passed when half of the bytes are new
    pthread_barrier_t seen;
} overlap_t;

static tr_status fill_slowly(void *context, void *bytes, size_t length, tr_error_t *failure)
{
    (void)failure;
    overlap_t *overlap = context;
    memset(bytes, 0xff, length / 2);
    pthread_barrier_wait(&overlap->half);
    pthread_barrier_wait(&overlap->seen);
    memset((char *)bytes + length / 2, 0xff, length - length / 2);
    return TR_OK;
}

static void *publish_slowly(void *overlap)
{
    uint64_t sum;
    tr_error_t failure = {0};
    cr_expect_eq(tr_weights_publish(&sum, publisher, 3, fill_slowly, overlap, &failure), TR_OK);
    return NULL;
}

Test(weights, a_torn_read_is_noticed_before_and_after)
{
    const void *bytes;
    overlap_t overlap;
    pthread_t thread;
    json_t *one = publish(1);
    json_t *two = publish(2);
    cr_assert_eq(map(&bytes, one), TR_OK, "%s", err.text);
    pthread_barrier_init(&overlap.half, NULL, 2);
    pthread_barrier_init(&overlap.seen, NULL, 2);
    pthread_create(&thread, NULL, publish_slowly, &overlap);
    pthread_barrier_wait(&overlap.half);
    cr_expect_eq(tr_weights_check(reader, &err), TR_ERR_FORMAT, "%s", err.text);
    cr_expect_eq(map(&bytes, one), TR_ERR_FORMAT);
    cr_expect_not_null(strstr(err.text, "being overwritten"), "%s", err.text);
    pthread_barrier_wait(&overlap.seen);
    pthread_join(thread, NULL);
    json_t *three = tr_weights_describe(publisher);
    cr_expect_eq(map(&bytes, three), TR_OK, "%s", err.text);
    json_decref(one);
    json_decref(two);
    json_decref(three);
}

Test(weights, a_description_that_lies_is_refused)
{
    static const struct {
        const char *key;
        const char *value;
        tr_status status;
    } rows[] = {
        {"transport", "\"pigeon\"", TR_ERR_UNSUPPORTED},
        {"transport", "1", TR_ERR_PROTOCOL},
        {"version", "7", TR_ERR_VERSION},
        {"version", "-1", TR_ERR_PROTOCOL},
        {"bytes", "9999", TR_ERR_FORMAT},
        {"bytes", "1000000000000", TR_ERR_FORMAT},
        {"bytes", "0", TR_ERR_PROTOCOL},
        {"bytes", "9223372036854775807", TR_ERR_PROTOCOL},
        {"slot", "2", TR_ERR_PROTOCOL},
        {"slot", "-1", TR_ERR_PROTOCOL},
        {"checksum", "\"0000000000000000\"", TR_ERR_FORMAT},
        {"checksum", "\"12\"", TR_ERR_PROTOCOL},
        {"checksum", "\"zzzzzzzzzzzzzzzz\"", TR_ERR_PROTOCOL},
        {"segments", "[]", TR_ERR_PROTOCOL},
        {"segments", "[\"/etc\", \"/etc\"]", TR_ERR_PROTOCOL},
        {"segments", "[\"/troupe.a/../../b\", \"/troupe.a/../../b\"]", TR_ERR_PROTOCOL},
        {"segments", "[\"/troupe.none\", \"/troupe.none\"]", TR_ERR_PEER},
    };
    const void *bytes;
    json_t *whole = publish(1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *lie = json_deep_copy(whole);
        json_object_set_new(lie, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        cr_expect_eq(map(&bytes, lie), rows[i].status, "%s %s: %s", rows[i].key, rows[i].value,
                     err.text);
        json_object_del(lie, rows[i].key);
        cr_expect_eq(map(&bytes, lie), TR_ERR_PROTOCOL, "without %s: %s", rows[i].key, err.text);
        json_decref(lie);
    }
    cr_expect_eq(map(&bytes, whole), TR_OK, "%s", err.text);
    json_decref(whole);
}

Test(weights, a_reader_keeps_what_it_mapped_and_finds_nothing_new_when_the_publisher_is_gone)
{
    const void *bytes;
    json_t *one = publish(1);
    json_t *two = publish(2);
    cr_assert_eq(map(&bytes, two), TR_OK);
    tr_weights_publisher_destroy(&publisher);
    cr_expect_null(publisher);
    tr_weights_publisher_destroy(&publisher);
    cr_expect_eq(memcmp(bytes, data, BYTES), 0);
    cr_expect_eq(tr_weights_check(reader, &err), TR_OK);
    cr_expect_eq(map(&bytes, one), TR_ERR_PEER, "%s", err.text);
    json_decref(one);
    json_decref(two);
}

/// Opens prefix's segment 0 of a process that is not ours; -1 when there is none.
static int open_foreign(long process, int flags)
{
    char name[128];
    snprintf(name, sizeof name, "/troupe.%s.%ld.0", prefix, process);
    return shm_open(name, flags, 0600);
}

Test(weights, what_a_dead_publisher_left_is_removed_and_what_lives_is_not)
{
    tr_weights_publisher_t *other;
    int dead = open_foreign(1, O_RDWR | O_CREAT);
    int living = open_foreign(2, O_RDWR | O_CREAT);
    cr_assert_eq(flock(living, LOCK_EX), 0); // as a publisher does while it lives
    tr_weights_publisher_destroy(&publisher);
    cr_assert_eq(tr_weights_publisher_new(&other, BYTES, prefix, &err), TR_OK, "%s", err.text);
    cr_expect_lt(open_foreign(1, O_RDONLY), 0);
    close(living);
    living = open_foreign(2, O_RDONLY);
    cr_expect_geq(living, 0);
    close(living);
    close(dead);
    tr_weights_publisher_destroy(&other);
    cr_assert_eq(tr_weights_publisher_new(&publisher, BYTES, prefix, &err), TR_OK, "%s", err.text);
    cr_expect_lt(open_foreign(2, O_RDONLY), 0, "its lock went with it");
}

Test(weights, a_prefix_that_is_no_name_is_refused)
{
    static const char *const names[] = {"", "a/b", "a.b", "..", "a b", "\xc3\xa9"};
    tr_weights_publisher_t *none;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_expect_eq(tr_weights_publisher_new(&none, BYTES, names[i], &err), TR_ERR_ARGUMENT);
        cr_expect_null(none);
    }
    cr_expect_eq(tr_weights_publisher_new(&none, 0, "x", &err), TR_ERR_ARGUMENT);
}
