// TensorBoard event files, taken apart by hand: TFRecord framing, then protocol buffers.
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "controller/events.h"
#include "tests/support/scratch.h"

static tr_error_t err;
static char *folder;

static void open_folder(void)
{
    folder = scratch_open();
}

static void close_folder(void)
{
    scratch_close(&folder);
}

/// The path of the only file in the folder; owned by the caller.
static char *only_file(void)
{
    char *path = NULL;
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.') {
            cr_assert_null(path, "a second file: '%s'", entry->d_name);
            path = tr_format("%s/%s", folder, entry->d_name);
        }
    }
    closedir(listing);
    cr_assert_not_null(path);
    return path;
}

static char *read_only_file(size_t *length)
{
    char *path = only_file();
    char *data = scratch_read(path, length);
    free(path);
    return data;
}

/// Opens with `last`, appends one event a step from..to (wall time 1000 + step), and closes.
static void write_steps(uint64_t last, uint64_t from, uint64_t to)
{
    controller_appender_t *events;
    cr_assert_eq(controller_events_open(&events, folder, last, &err), TR_OK, "%s", err.text);
    for (uint64_t step = from; step <= to; step++) {
        controller_record_t record;
        controller_record_init(&record, step);
        cr_assert_eq(controller_record_set(&record, "loss", 1.0 / (double)step, &err), TR_OK);
        cr_assert_eq(controller_record_set(&record, "objective/kl", 0.25, &err), TR_OK);
        cr_assert_eq(controller_events_append(events, &record, 1000 + (double)step, &err), TR_OK,
                     "%s", err.text);
        controller_record_release(&record);
    }
    cr_assert_eq(controller_appender_sync(events, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&events);
    controller_appender_destroy(&events);
}

// A second reader of the format, with no code of the writer's

static uint32_t slow_crc(const unsigned char *data, size_t length)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t bit = 0; bit < length * 8; bit++) {
        crc ^= (uint32_t)(data[bit / 8] >> bit % 8 & 1);
        crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
    }
    return crc ^ 0xFFFFFFFF;
}

static uint32_t slow_mask(uint32_t crc)
{
    return (uint32_t)((((uint64_t)crc << 32 | crc) >> 15 & 0xFFFFFFFF) + 0xa282ead8);
}

static uint64_t little(const unsigned char *data, size_t bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0) {
        value = value << 8 | data[bytes];
    }
    return value;
}

/// The record at *at, which moves behind it; *length: of its data.
static const unsigned char *next_record(size_t *length, size_t *at, const unsigned char *file,
                                        size_t size)
{
    cr_assert_leq(*at + 12, size);
    *length = (size_t)little(file + *at, 8);
    cr_assert_eq(little(file + *at + 8, 4), slow_mask(slow_crc(file + *at, 8)));
    const unsigned char *data = file + *at + 12;
    cr_assert_leq(*at + 16 + *length, size);
    cr_assert_eq(little(data + *length, 4), slow_mask(slow_crc(data, *length)));
    *at += 16 + *length;
    return data;
}

/// The steps in the file must be these: [count].
static void expect_steps(const uint64_t *steps, size_t count)
{
    size_t size, length, at = 0;
    char *text = read_only_file(&size);
    const unsigned char *file = (const unsigned char *)text;
    next_record(&length, &at, file, size);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *event = next_record(&length, &at, file, size);
        cr_assert_eq(event[9], 2 << 3, "no step behind the wall time");
        cr_assert_eq(event[10], steps[i], "event %zu is of step %d", i, event[10]);
    }
    cr_assert_eq(at, size);
    free(text);
}

/// The checksum of the second reader, by which every record here is checked.
Test(crc32c, agrees_with_rfc_3720_and_the_mask_rotates_by_15_and_adds)
{
    unsigned char bytes[32] = {0};
    cr_assert_eq(slow_crc(bytes, 32), 0x8a9136aaU);
    memset(bytes, 0xff, 32);
    cr_assert_eq(slow_crc(bytes, 32), 0x62a8ab43U);
    for (unsigned char i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    cr_assert_eq(slow_crc(bytes, 32), 0x46dd794eU);
    cr_assert_eq(slow_crc((const unsigned char *)"123456789", 9), 0xe3069283U);
    cr_assert_eq(slow_crc(bytes, 0), 0U);
    cr_assert_eq(slow_mask(0), 0xa282ead8U);
    cr_assert_eq(slow_mask(1U << 15), 0xa282ead9U);
    cr_assert_eq(slow_mask(1), 0xa282ead8U + (1U << 17));
    cr_assert_eq(slow_mask(0xe3069283U), 0xc78ab0e5U); // wraps
}

Test(events, the_file_is_named_as_tensorboard_looks_for_it_and_starts_with_the_version,
     .init = open_folder, .fini = close_folder)
{
    write_steps(0, 1, 0);
    char *path = only_file();
    long long seconds = 0;
    char host[2] = "";
    cr_assert_eq(sscanf(strrchr(path, '/'), "/events.out.tfevents.%lld.%1s", &seconds, host), 2);
    cr_assert_gt(seconds, 1700000000);
    size_t size, length, at = 0;
    char *text = scratch_read(path, &size);
    const unsigned char *event = next_record(&length, &at, (const unsigned char *)text, size);
    cr_assert_eq(at, size);
    cr_assert_eq(length, 9U + 15U);
    cr_assert_eq(event[0], 1 << 3 | 1); // wall_time, fixed64
    cr_assert_eq(memcmp(event + 9,
                        "\x1A\x0D"
                        "brain.Event:2",
                        15),
                 0); // file_version, 13 bytes
    free(text);
    free(path);
}

/// Wall time 2.0, step 3, one value "a" = 1.5; the sums by a bitwise CRC in another language.
Test(events, an_event_is_these_bytes, .init = open_folder, .fini = close_folder)
{
    static const unsigned char EXPECTED[] = {
        0x17, 0,    0,    0,    0,    0,    0,    0,    0xe7, 0xce, 0xf8, 0x1e, // 23 bytes
        0x09, 0,    0,    0,    0,    0,    0,    0,    0x40, 0x10, 0x03,       // wall time, step
        0x2a, 0x0a, 0x0a, 0x08, 0x0a, 0x01, 'a',              // summary, value, tag
        0x15, 0,    0,    0xc0, 0x3f, 0xed, 0x90, 0x6a, 0xf8, // simple value
    };
    controller_appender_t *events;
    controller_record_t record;
    controller_record_init(&record, 3);
    cr_assert_eq(controller_record_set(&record, "a", 1.5, &err), TR_OK);
    cr_assert_eq(controller_events_open(&events, folder, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_events_append(events, &record, 2, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&events);
    controller_record_release(&record);
    size_t size;
    char *text = read_only_file(&size);
    cr_assert_eq(size, 40 + sizeof EXPECTED); // 16 of frame and 24 of the version's event first
    cr_assert_eq(memcmp(text + 40, EXPECTED, sizeof EXPECTED), 0);
    free(text);
}

Test(events, a_large_step_and_a_long_name_take_more_than_one_byte, .init = open_folder,
     .fini = close_folder)
{
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    controller_appender_t *events;
    controller_record_t record;
    controller_record_init(&record, 300); // AC 02
    cr_assert_eq(controller_record_set(&record, name, -2, &err), TR_OK);
    cr_assert_eq(controller_events_open(&events, folder, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_events_append(events, &record, 2, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&events);
    controller_record_release(&record);
    size_t size, length, at = 0;
    char *text = read_only_file(&size);
    next_record(&length, &at, (const unsigned char *)text, size);
    const unsigned char *event = next_record(&length, &at, (const unsigned char *)text, size);
    static const unsigned char START[] = {0x10, 0xAC, 0x02, // step 300
                                          0x2A, 0xB7, 0x02, // summary, 3 + 308 bytes
                                          0x0A, 0xB4, 0x02, // value, 3 + 300 + 5 bytes
                                          0x0A, 0xAC, 0x02, 'n', 'n', 'n'}; // tag
    static const unsigned char END[] = {'n', 0x15, 0x00, 0x00, 0x00, 0xC0};
    cr_assert_eq(length, 9U + 3 + 3 + 311);
    cr_assert_eq(memcmp(event + 9, START, sizeof START), 0);
    cr_assert_eq(memcmp(event + length - sizeof END, END, sizeof END), 0);
    free(text);
    write_steps(299, 1, 0);
    expect_steps(NULL, 0);
}

Test(events, a_run_that_goes_on_leaves_the_events_of_one_that_never_stopped, .init = open_folder,
     .fini = close_folder)
{
    write_steps(0, 1, 6);
    write_steps(4, 5, 7);
    write_steps(7, 8, 8);
    write_steps(2, 3, 9);
    expect_steps((const uint64_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9}, 9);
    write_steps(0, 1, 1);
    expect_steps((const uint64_t[]){1}, 1);
}

/// Whatever part of the last event a kill left, it goes; what stands before it stays.
Test(events, a_torn_event_is_cut, .init = open_folder, .fini = close_folder)
{
    size_t before, size;
    write_steps(0, 1, 2);
    free(read_only_file(&before));
    write_steps(2, 3, 3);
    char *whole = read_only_file(&size);
    char *path = only_file();
    for (size_t kept = before; kept < size; kept++) {
        free(scratch_write(folder, strrchr(path, '/') + 1, whole, kept));
        write_steps(3, 1, 0);
        expect_steps((const uint64_t[]){1, 2}, 2);
    }
    free(path);
    free(whole);
}

Test(events, a_damaged_event_is_torn, .init = open_folder, .fini = close_folder)
{
    size_t before, size;
    write_steps(0, 1, 1);
    free(read_only_file(&before));
    write_steps(1, 2, 2);
    char *whole = read_only_file(&size);
    char *path = only_file();
    for (size_t at = before; at < size; at++) {
        whole[at] ^= 0x10;
        free(scratch_write(folder, strrchr(path, '/') + 1, whole, size));
        whole[at] ^= 0x10;
        write_steps(2, 1, 0);
        expect_steps((const uint64_t[]){1}, 1);
    }
    free(path);
    free(whole);
}

Test(events, an_empty_file_is_begun_anew, .init = open_folder, .fini = close_folder)
{
    free(scratch_write(folder, "events.out.tfevents.1.host", "", 0));
    write_steps(5, 6, 6);
    expect_steps((const uint64_t[]){6}, 1);
}

Test(events, a_file_that_is_no_event_file_is_refused_and_left_alone, .init = open_folder,
     .fini = close_folder)
{
    static const char TEXT[] = "this is a note about events, and no event";
    controller_appender_t *events;
    char *path = scratch_write(folder, "events.out.tfevents.1.host", TEXT, strlen(TEXT));
    cr_assert_eq(controller_events_open(&events, folder, 0, &err), TR_ERR_FORMAT);
    cr_assert_null(events);
    cr_assert_not_null(strstr(err.text, path));
    char *text = scratch_read(path, NULL);
    cr_assert_str_eq(text, TEXT);
    free(text);
    free(path);
}

Test(events, a_folder_that_is_not_there_is_an_error_that_names_it)
{
    controller_appender_t *events;
    cr_assert_eq(controller_events_open(&events, "/no/such/folder", 0, &err), TR_ERR_IO);
    cr_assert_null(events);
    cr_assert_not_null(strstr(err.text, "'/no/such/folder'"));
}
