// What leaves mean: numbers of all kinds, dates, decimals, texts.
#include "common/data/parquet/cell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/data/value.h"

enum { DAY = 86400 };

/// Little endian, at most 8 bytes.
static uint64_t number_of(const parquet_value_t *value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value->length && i < 8; i++) {
        number |= (uint64_t)value->data[i] << 8 * i;
    }
    return number;
}

/// With its sign.
static int64_t whole_of(const parquet_value_t *value)
{
    uint64_t number = number_of(value);
    return value->length == 4 ? (int32_t)(uint32_t)number : (int64_t)number;
}

static json_t *real_cell(double real, const char **flaw)
{
    return tr_value_real(real, flaw);
}

static json_t *float_cell(const parquet_value_t *value, const char **flaw)
{
    uint32_t bits = (uint32_t)number_of(value);
    float number;
    memcpy(&number, &bits, sizeof number);
    return real_cell((double)number, flaw);
}

static json_t *double_cell(const parquet_value_t *value, const char **flaw)
{
    uint64_t bits = number_of(value);
    double number;
    memcpy(&number, &bits, sizeof number);
    return real_cell(number, flaw);
}

/// IEEE 754's binary16.
static json_t *half_cell(const parquet_value_t *value, const char **flaw)
{
    unsigned bits = (unsigned)number_of(value), exponent = bits >> 10 & 31;
    double fraction = bits & 1023;
    double size = exponent == 31  ? (fraction > 0 ? NAN : INFINITY)
                  : exponent == 0 ? ldexp(fraction, -24)
                                  : ldexp(1024 + fraction, (int)exponent - 25);
    return real_cell(bits & 0x8000 ? -size : size, flaw);
}

/// Divides bytes: [n], the highest first, by ten in place: the remainder.
static unsigned divide_by_ten(uint8_t *bytes, size_t n)
{
    unsigned rest = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = rest << 8 | bytes[i];
        bytes[i] = (uint8_t)(digit / 10);
        rest = digit % 10;
    }
    return rest;
}

/// A decimal whose bytes, the highest first, are a whole number in two's complement. By its digits,
/// so that the result is the nearest number.
static json_t *decimal_cell(const uint8_t *data, size_t length, int scale, const char **flaw)
{
    enum { LONGEST = 32 }; // 256 bits have 78 digits
    uint8_t bytes[LONGEST];
    char text[128], *digit = text + 80;
    if (length > LONGEST) {
        *flaw = "a decimal of more than 256 bits";
        return json_null();
    }
    memcpy(bytes, data, length);
    bool negative = length > 0 && bytes[0] >> 7;
    for (size_t i = length, carry = 1; negative && i-- > 0;) {
        unsigned sum = (uint8_t)~bytes[i] + (unsigned)carry;
        bytes[i] = (uint8_t)sum;
        carry = sum >> 8;
    }
    snprintf(digit, sizeof text - 80, "e-%d", scale);
    for (int i = 0; i < 78; i++) {
        *--digit = (char)('0' + divide_by_ten(bytes, length));
    }
    *--digit = negative ? '-' : '+';
    return real_cell(strtod(digit, NULL), flaw);
}

/// Bytes that stand the lowest first.
static json_t *small_decimal_cell(const parquet_value_t *value, int scale, const char **flaw)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < value->length; i++) {
        bytes[value->length - 1 - i] = value->data[i];
    }
    return decimal_cell(bytes, value->length, scale, flaw);
}

/// Rounded down, as days and seconds before 1970 are.
static int64_t floor_of(int64_t number, int64_t unit)
{
    return number / unit - (number % unit < 0);
}

/// number: of `unit` in a second; fractions: of a second, or no time of day.
static json_t *time_cell(int64_t number, int64_t unit, bool day, const char **flaw)
{
    time_t seconds = day ? number * DAY : floor_of(number, unit);
    long fraction = day ? 0 : (long)(number - seconds * unit);
    struct tm parts;
    char text[64], behind[32] = "";
    if (gmtime_r(&seconds, &parts) == NULL || parts.tm_year < -1899 || parts.tm_year > 8099) {
        *flaw = "a time outside of the years 1 to 9999";
        return json_null();
    }
    size_t n = (size_t)snprintf(text, sizeof text, "%04d-%02d-%02d", parts.tm_year + 1900,
                                parts.tm_mon + 1, parts.tm_mday);
    if (fraction > 0) { // microseconds; of nanoseconds those that are needed
        bool nanos = unit == 1000000000 && fraction % 1000 != 0;
        snprintf(behind, sizeof behind, nanos ? ".%09ld" : ".%06ld",
                 nanos ? fraction : fraction * (1000000000 / unit) / 1000);
    }
    if (!day) {
        snprintf(text + n, sizeof text - n, "T%02d:%02d:%02d%s", parts.tm_hour, parts.tm_min,
                 parts.tm_sec, behind);
    }
    return json_string(text);
}

/// The timestamp of old writers: nanoseconds of a day, and its number in Julian days.
static json_t *old_time_cell(const parquet_value_t *value, const char **flaw)
{
    const int64_t first = 2440588, second = 1000000000; // 1 January 1970
    int64_t nanos = (int64_t)number_of(value), number;
    parquet_value_t rest = {value->data + 8, 4};
    if (__builtin_mul_overflow((int64_t)(uint32_t)number_of(&rest) - first, DAY * second,
                               &number) ||
        __builtin_add_overflow(number, nanos, &number)) {
        *flaw = "a time that 64 bits do not hold";
        return json_null();
    }
    return time_cell(number, second, false, flaw);
}

static json_t *text_cell(const parquet_value_t *value, const char **flaw)
{
    return tr_value_text((const char *)value->data, value->length, flaw);
}

/// By its type alone.
static json_t *plain_cell(const parquet_value_t *value, const parquet_node_t *leaf,
                          const char **flaw)
{
    switch (leaf->type) {
    case PARQUET_BOOLEAN: return json_boolean(value->data[0] != 0);
    case PARQUET_INT32:
    case PARQUET_INT64: return json_integer(whole_of(value));
    case PARQUET_FLOAT: return float_cell(value, flaw);
    case PARQUET_DOUBLE: return double_cell(value, flaw);
    case PARQUET_INT96: return old_time_cell(value, flaw);
    default: return text_cell(value, flaw);
    }
}

json_t *parquet_cell(const parquet_value_t *value, const parquet_node_t *leaf, const char **flaw)
{
    bool whole = leaf->type == PARQUET_INT32 || leaf->type == PARQUET_INT64;
    switch (leaf->meaning) {
    case PARQUET_UNSIGNED: return tr_value_unsigned(number_of(value), flaw);
    case PARQUET_DECIMAL:
        return whole ? small_decimal_cell(value, leaf->scale, flaw)
                     : decimal_cell(value->data, value->length, leaf->scale, flaw);
    case PARQUET_DATE: return time_cell(whole_of(value), 1, true, flaw);
    case PARQUET_TIMESTAMP: return time_cell(whole_of(value), leaf->unit, false, flaw);
    case PARQUET_HALF: return half_cell(value, flaw);
    default: return plain_cell(value, leaf, flaw);
    }
}
