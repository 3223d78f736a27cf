/// Golden numbers: a JSON object of named numbers and arrays, written by the Python script of the
/// same name beside it.
///
///     golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/ppo.json");
///     size_t n;
///     const float *values = golden_floats(golden, "ragged/values", &n);
///     ...
///     golden_expect(golden, "ragged/returns", returns, n, 1e-6, 1e-6);
///     golden_close(&golden);
///
/// Every failure (no such file, name, another length) fails the Criterion test with a sentence. A
/// name is a path of object keys: "a/b" is {"a": {"b": ...}}. Nested arrays are read flat, the last
/// index running fastest; true and false are 1 and 0. Arrays belong to the golden_t.
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct golden golden_t;

golden_t *golden_open(const char *path);
void golden_close(golden_t **golden);

/// Whether the name is there.
bool golden_has(golden_t *golden, const char *name);

double golden_number(golden_t *golden, const char *name);
const char *golden_string(golden_t *golden, const char *name);

/// count: written unless NULL.
const float *golden_floats(golden_t *golden, const char *name, size_t *count);
const double *golden_doubles(golden_t *golden, const char *name, size_t *count);
const int32_t *golden_ints(golden_t *golden, const char *name, size_t *count);
const size_t *golden_sizes(golden_t *golden, const char *name, size_t *count);

/// Fails unless actual: [n] has the golden array's length and |actual - golden| <= absolute +
/// relative * |golden| everywhere; says the worst index, both numbers, and how many are off. A NaN
/// is off.
void golden_expect(golden_t *golden, const char *name, const float *actual, size_t n,
                   double relative, double absolute);

/// The same for one number.
void golden_expect_number(golden_t *golden, const char *name, double actual, double relative,
                          double absolute);

/// The same for two arrays at hand; what names them in the message.
void expect_near(const char *what, const float *actual, const float *expected, size_t n,
                 double relative, double absolute);

#endif
