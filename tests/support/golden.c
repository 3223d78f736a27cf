// Golden numbers: JSON written by a Python script, read as flat arrays, and compared with a
// tolerance.
//
// The scripts stand beside the JSON in tests/golden and say which library made the numbers. A
// failure names the worst index, since a wrong formula and a wrong layout look different there.
#include "tests/support/golden.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden {
    char *path;
    json_t *root;
    void **arrays; // every array given out
    size_t array_count;
};

/// Arrays are freed with the golden_t, so that tests need not.
static void *keep(golden_t *golden, void *memory)
{
    golden->arrays = realloc(golden->arrays, (golden->array_count + 1) * sizeof(void *));
    cr_assert(golden->arrays != NULL && memory != NULL, "out of memory");
    golden->arrays[golden->array_count++] = memory;
    return memory;
}

golden_t *golden_open(const char *path)
{
    json_error_t error;
    // numbers without a point are read as reals too: Python writes 1.0 as 1
    json_t *root = json_load_file(path, JSON_DECODE_INT_AS_REAL, &error);
    cr_assert(root != NULL, "%s:%d: %s", path, error.line, error.text);
    golden_t *golden = calloc(1, sizeof *golden);
    cr_assert(golden != NULL, "out of memory");
    golden->path = strdup(path);
    golden->root = root;
    return golden;
}

void golden_close(golden_t **golden)
{
    golden_t *self = *golden;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->array_count; i++) {
        free(self->arrays[i]);
    }
    free(self->arrays);
    free(self->path);
    json_decref(self->root);
    free(self);
    *golden = NULL;
}

/// The value at a path of keys; NULL when absent.
static json_t *find(golden_t *golden, const char *name)
{
    char path[256];
    int length = snprintf(path, sizeof path, "%s", name);
    cr_assert(length >= 0 && (size_t)length < sizeof path, "golden name too long: '%s'", name);
    json_t *value = golden->root;
    char *rest = NULL;
    // one object a key; arrays have no names
    for (char *key = strtok_r(path, "/", &rest); key && value; key = strtok_r(NULL, "/", &rest)) {
        value = json_object_get(value, key);
    }
    return value;
}

static json_t *need(golden_t *golden, const char *name)
{
    json_t *value = find(golden, name);
    cr_assert(value != NULL, "%s: no '%s'", golden->path, name);
    return value;
}

/// For optional cases of a golden file.
bool golden_has(golden_t *golden, const char *name)
{
    return find(golden, name) != NULL;
}

static double number_of(golden_t *golden, const char *name, const json_t *value)
{
    if (json_is_boolean(value)) {
        return json_is_true(value) ? 1.0 : 0.0;
    }
    cr_assert(json_is_number(value), "%s: '%s' holds something that is no number", golden->path,
              name);
    return json_number_value(value);
}

/// A boolean is 0 or 1.
double golden_number(golden_t *golden, const char *name)
{
    return number_of(golden, name, need(golden, name));
}

const char *golden_string(golden_t *golden, const char *name)
{
    const json_t *value = need(golden, name);
    cr_assert(json_is_string(value), "%s: '%s' is no string", golden->path, name);
    return json_string_value(value);
}

/// Numbers in nested arrays.
static size_t flat_count(const json_t *value)
{
    if (!json_is_array(value)) {
        return 1;
    }
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        count += flat_count(json_array_get(value, i));
    }
    return count;
}

/// Row by row; returns where the next number goes.
static double *flatten(golden_t *golden, const char *name, const json_t *value, double *out)
{
    if (!json_is_array(value)) {
        *out = number_of(golden, name, value);
        return out + 1;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        // the last index runs fastest, as in memory
        out = flatten(golden, name, json_array_get(value, i), out);
    }
    return out;
}

/// The other types convert from these: JSON has one kind of number.
const double *golden_doubles(golden_t *golden, const char *name, size_t *count)
{
    const json_t *value = need(golden, name);
    cr_assert(json_is_array(value), "%s: '%s' is no array", golden->path, name);
    size_t n = flat_count(value);
    // one more, so that an empty array has an address
    double *numbers = keep(golden, malloc((n + 1) * sizeof(double)));
    flatten(golden, name, value, numbers);
    if (count != NULL) {
        *count = n;
    }
    return numbers;
}

const float *golden_floats(golden_t *golden, const char *name, size_t *count)
{
    size_t n;
    const double *numbers = golden_doubles(golden, name, &n);
    float *converted = keep(golden, malloc((n + 1) * sizeof(float)));
    for (size_t i = 0; i < n; i++) {
        converted[i] = (float)numbers[i];
    }
    if (count != NULL) {
        *count = n;
    }
    return converted;
}

/// Ids and the like: small whole numbers, exact in a double.
const int32_t *golden_ints(golden_t *golden, const char *name, size_t *count)
{
    size_t n;
    const double *numbers = golden_doubles(golden, name, &n);
    int32_t *converted = keep(golden, malloc((n + 1) * sizeof(int32_t)));
    for (size_t i = 0; i < n; i++) {
        converted[i] = (int32_t)numbers[i];
    }
    if (count != NULL) {
        *count = n;
    }
    return converted;
}

/// Counts and offsets.
const size_t *golden_sizes(golden_t *golden, const char *name, size_t *count)
{
    size_t n;
    const double *numbers = golden_doubles(golden, name, &n);
    size_t *converted = keep(golden, malloc((n + 1) * sizeof(size_t)));
    for (size_t i = 0; i < n; i++) {
        cr_assert(numbers[i] >= 0.0, "%s: '%s' holds a negative size", golden->path, name);
        converted[i] = (size_t)numbers[i];
    }
    if (count != NULL) {
        *count = n;
    }
    return converted;
}

/// How far off, in units of what is allowed: more than 1 is a failure, a NaN infinitely far.
static double excess(double actual, double expected, double relative, double absolute)
{
    // equal infinities have no difference
    if (actual == expected) {
        return 0.0;
    }
    // absolute for numbers near 0, relative for large ones
    double far = fabs(actual - expected) / (absolute + relative * fabs(expected));
    return isnan(far) ? INFINITY : far;
}

static void expect_doubles(const char *what, const float *actual, const double *expected, size_t n,
                           double relative, double absolute)
{
    size_t worst = 0;
    size_t bad = 0;
    double worst_excess = 0.0;
    for (size_t i = 0; i < n; i++) {
        double far = excess((double)actual[i], expected[i], relative, absolute);
        // all are counted: one wrong number and a thousand have different causes
        bad += far > 1.0;
        if (far > worst_excess) {
            worst_excess = far;
            worst = i;
        }
    }
    cr_assert(bad == 0,
              "%s: %zu of %zu are off; worst at [%zu]: %.9g, expected %.9g (%.3g times the "
              "tolerance)",
              what, bad, n, worst, n ? (double)actual[worst] : 0.0, n ? expected[worst] : 0.0,
              worst_excess);
}

void golden_expect(golden_t *golden, const char *name, const float *actual, size_t n,
                   double relative, double absolute)
{
    size_t count;
    const double *expected = golden_doubles(golden, name, &count);
    // a wrong length is reported before any value
    cr_assert(count == n, "%s: '%s' has %zu numbers, there are %zu", golden->path, name, count, n);
    expect_doubles(name, actual, expected, n, relative, absolute);
}

void golden_expect_number(golden_t *golden, const char *name, double actual, double relative,
                          double absolute)
{
    double expected = golden_number(golden, name);
    cr_assert(excess(actual, expected, relative, absolute) <= 1.0, "%s: %.17g, expected %.17g",
              name, actual, expected);
}

void expect_near(const char *what, const float *actual, const float *expected, size_t n,
                 double relative, double absolute)
{
    double *numbers = malloc((n + 1) * sizeof(double));
    cr_assert(numbers != NULL, "out of memory");
    for (size_t i = 0; i < n; i++) {
        numbers[i] = (double)expected[i];
    }
    expect_doubles(what, actual, numbers, n, relative, absolute);
    free(numbers);
}
