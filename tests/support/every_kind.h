/// A table with a field of every kind, for the tests of tables.
#ifndef TESTS_SUPPORT_EVERY_KIND_H
#define TESTS_SUPPORT_EVERY_KIND_H

#include "tests/support/fields.h"

typedef struct every_kind {
    char *text, *none, *device, *directory, *model, *separator, *deep;
    uint64_t whole, bound, required;
    double real, scale, cold, wide;
    bool truth;
    int colour, shape;
    tr_choices_t several;
    tr_reals_t reals;
    tr_texts_t devices, program, files;
    tr_token_ids_t ids;
    tr_words_t words;
    uint64_t secret; // local
} every_kind_t;

extern const tr_fields_t every_kind_fields;

/// Every field to a value that is not its default.
void every_kind_fill(every_kind_t *record);

#endif
