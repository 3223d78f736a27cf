// A table with a field of every kind and a record in which nothing is a default.
//
// Tests of tables (reading, printing, messages, schema) go over this one, so that a new kind of
// field is tested everywhere once it is added here.
#include "tests/support/every_kind.h"

static const char *const colours[] = {"red", "green", "blue", NULL};
static const char *const letters[] = {"a", "b", "c", NULL};

/// Choices may be the rows of a table that begin with their names.
static const struct {
    const char *name;
    double corners, sides;
} shapes[] = {{"null", 0, 0}, {"round", 0, 1}, {"square", 4, 4}, {NULL, 0, 0}};

#define FIELD(...) TR_FIELD(every_kind_t, __VA_ARGS__)

/// Each kind with each of its marks: nullable, names, range, another name, a condition, local.
static const tr_field_t fields[] = {
    FIELD(text, TR_FIELD_TEXT, "plain", .help = "A text."),
    FIELD(none, TR_FIELD_TEXT, "null", .nullable = true),
    FIELD(device, TR_FIELD_TEXT, "cpu", .names = TR_NAMES_DEVICE),
    FIELD(directory, TR_FIELD_TEXT, "d", .names = TR_NAMES_DIRECTORY),
    FIELD(model, TR_FIELD_TEXT, "m", .names = TR_NAMES_MODEL),
    FIELD(separator, TR_FIELD_TEXT, "\"\\n\"", .help = "A line end."),
    TR_FIELD_AS("section.deep", every_kind_t, deep, TR_FIELD_TEXT, "down", .help = "In a section."),
    FIELD(whole, TR_FIELD_WHOLE, "3", .range = &tr_range_to_thousand, .also = "number"),
    FIELD(bound, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_to_thousand),
    FIELD(required, TR_FIELD_WHOLE, NULL, .range = &tr_range_whole),
    FIELD(real, TR_FIELD_REAL, "0.25", .range = &tr_range_fraction),
    FIELD(scale, TR_FIELD_REAL, "null", .nullable = true, .null = 1.0,
          .range = &tr_range_above_0_to_1),
    FIELD(cold, TR_FIELD_REAL, "0", .range = &tr_range_any, .when = "colour", .is = "green|blue"),
    FIELD(wide, TR_FIELD_REAL, "0", .range = &tr_range_any, .when = "several", .is = "c"),
    FIELD(truth, TR_FIELD_BOOL, "true", .help = "A truth."),
    FIELD(colour, TR_FIELD_CHOICE, "blue", .choices = colours),
    FIELD(shape, TR_FIELD_CHOICE, "round", .choices = &shapes[0].name, .stride = sizeof shapes[0]),
    FIELD(several, TR_FIELD_CHOICES, "b", .choices = letters),
    FIELD(reals, TR_FIELD_REALS, "[]", .range = &tr_range_any),
    FIELD(devices, TR_FIELD_TEXTS, "cpu", .names = TR_NAMES_DEVICE),
    FIELD(program, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_PROGRAM),
    FIELD(files, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_ROWS),
    FIELD(ids, TR_FIELD_IDS, "[]", .help = "Ids."),
    FIELD(words, TR_FIELD_WORDS, "{}", .help = "Words."),
    FIELD(secret, TR_FIELD_WHOLE, "7", .range = &tr_range_whole, .local = true),
};

const tr_fields_t every_kind_fields = TR_FIELDS(every_kind_t, fields);

/// A list of two, owned by the record.
static tr_texts_t texts_of(const char *first, const char *second)
{
    tr_texts_t texts = {tr_calloc(2, sizeof *texts.items), 2};
    texts.items[0] = tr_strdup(first);
    texts.items[1] = tr_strdup(second);
    return texts;
}

/// Values at the edges: a text beyond ASCII, a range's last number, the largest id, a path with a
/// space.
void every_kind_fill(every_kind_t *record)
{
    *record = (every_kind_t){
        .text = tr_strdup("t\xC3\xA9xt"),
        .none = tr_strdup("some"),
        .device = tr_strdup("cuda:1"),
        .directory = tr_strdup("e"),
        .model = tr_strdup("n"),
        .separator = tr_strdup(";"),
        .deep = tr_strdup("up"),
        .whole = 1000,
        .bound = 1,
        .required = 12,
        .real = 0.1,
        .scale = 0.75,
        .cold = -1.5e-7,
        .wide = 1.0 / 3.0,
        .truth = false,
        .colour = 1,
        .shape = 2,
        .several = {2, {2, 0}},
        .reals = {3, {0.5, -1.0, 1e300}},
        .devices = texts_of("cuda:0", "cuda:2"),
        .program = texts_of("sh", "-c"),
        .files = texts_of("a b.jsonl", "c.jsonl"),
        .ids = {tr_calloc(2, sizeof(int32_t)), 2},
        .words = {tr_calloc(2, sizeof(tr_word_weight_t)), 2},
        .secret = 8,
    };
    record->ids.items[1] = INT32_MAX;
    record->words.items[0] = (tr_word_weight_t){tr_strdup("good day"), 0.1};
    record->words.items[1] = (tr_word_weight_t){tr_strdup("bad"), -2.0};
}
