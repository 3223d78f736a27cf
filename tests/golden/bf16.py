"""Golden numbers of bf16: rounding to it, and chains of products of pairs as TDPBF16PS adds them, by exact arithmetic.

    python tests/golden/bf16.py        # writes tests/golden/bf16.json

A chain goes in blocks of 16 pairs, the last one filled up with zeros. In a block the products of the first halves are added to 0 one
after another, those of the second halves to another 0; then the two sums are added, and their sum is added to what the chain has so
far. Each addition is rounded to nearest even to f32. A denormal operand is a zero, and so is a result below the smallest normal number
(after rounding to 24 bits), with its sign.
"""

import json
import pathlib
import random
import struct
from fractions import Fraction

SMALLEST = Fraction(2) ** -126


def number(bits):
    """The value of a finite f32; denormals are zeros."""
    exponent, fraction = bits >> 23 & 255, bits & 0x7FFFFF
    assert exponent < 255
    value = Fraction(0) if exponent == 0 else Fraction(fraction + (1 << 23)) * Fraction(2) ** (exponent - 150)
    return -value if bits >> 31 else value


def rounded(value, digits, least=None):
    """To nearest even with so many binary digits, of which none stands for less than `least`."""
    if value == 0:
        return value
    exponent = 0
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - digits + 1)
    unit = unit if least is None else max(unit, least)
    return Fraction(round(value / unit)) * unit  # Python's round is to even


def added(sum_bits, addend, addend_sign):
    """The bits of sum + addend, a number of any precision."""
    total = number(sum_bits) + addend
    if total == 0:  # -0 only of two negative zeros
        return 0x80000000 if number(sum_bits) == 0 and (sum_bits >> 31, addend_sign) == (1, 1) else 0
    value = rounded(total, 24)
    sign = 0x80000000 if value < 0 else 0
    if abs(value) < SMALLEST:
        return sign
    if abs(value) >= Fraction(2) ** 128:
        return sign | 0x7F800000
    return sign | struct.unpack("<I", struct.pack("<f", abs(float(value))))[0]


def is_infinity(bits):
    return bits & 0x7FFFFFFF == 0x7F800000


def plus(a, b):
    """The bits of the sum of two f32, of which one may be an infinity."""
    if is_infinity(a) or is_infinity(b):
        assert not (is_infinity(a) and is_infinity(b) and a != b)
        return a if is_infinity(a) else b
    return added(a, number(b), b >> 31)


def times(sum_bits, a, b):
    """The bits of sum + a * b, a and b being bf16."""
    return sum_bits if is_infinity(sum_bits) else added(sum_bits, number(a << 16) * number(b << 16), (a ^ b) >> 15)


def dot(start, left, right):
    """left, right: a multiple of 32 bf16."""
    for block in range(0, len(left), 32):
        sums = [0, 0]
        for i in range(block, block + 32):
            sums[i % 2] = times(sums[i % 2], left[i], right[i])
        start = plus(start, plus(*sums))
    return start


def half(lowest, highest):
    """A bf16 whose exponent is in this range; -127 are denormals."""
    return random.getrandbits(1) << 15 | (random.randint(lowest, highest) + 127) << 7 | random.getrandbits(7)


def single(lowest, highest, fraction=None):
    fraction = random.getrandbits(23) if fraction is None else fraction
    return random.getrandbits(1) << 31 | (random.randint(lowest, highest) + 127) << 23 | fraction


def product(rows, columns, chain, element, start, overflows=False):
    """sums[r][c] = starts[r][c] + the chain of left[t][r] right[t][c] over t."""
    while True:
        left = [[element() for _ in range(rows)] for _ in range(chain)]
        right = [[element() for _ in range(columns)] for _ in range(chain)]
        starts = [[start() for _ in range(columns)] for _ in range(rows)]
        fill = -chain % 32
        whole = [*left, *[[0] * rows] * fill], [*right, *[[0] * columns] * fill]
        try:
            sums = [[dot(starts[r][c], [t[r] for t in whole[0]], [t[c] for t in whole[1]]) for c in range(columns)]
                    for r in range(rows)]
        except AssertionError:  # opposite infinities
            continue
        if overflows or not any(is_infinity(s) for row in sums for s in row):
            return {"rows": rows, "columns": columns, "chain": chain, "left": left, "right": right, "starts": starts, "sums": sums}


def ties(element):
    """1 + 2^-24 and its neighbours: bf16 whose products are halves of the last bit."""
    return product(5, 33, 2, element, lambda: single(0, 0, random.choice([0, 1, 2, 0x7FFFFF])))


random.seed(12)
edge = lambda: half(-66, -61)
golden = {
    "ordinary": product(7, 35, 9, lambda: half(-3, 3), lambda: single(-4, 4)),
    "blocks": product(5, 33, 75, lambda: half(-6, 6), lambda: single(-4, 4)),
    "whole_blocks": product(18, 33, 64, lambda: half(-6, 6), lambda: 0),
    "cancelling": product(7, 35, 8, lambda: random.choice([0x3F80, 0xBF80, 0x3F81, 0xBF81, 0x4B80, 0xCB80]), lambda: 0),
    "ties": ties(lambda: random.choice([0x3980, 0xB980, 0x3981, 0x397F, 0x3900, 0x0000])),
    "denormal_results": product(13, 45, 4, edge, lambda: single(-126, -124)),
    "denormal_sums": product(5, 33, 40, edge, lambda: single(-126, -124)),
    "edge": product(5, 33, 2, lambda: random.choice([0x2000, 0xA000, 0x1F80, 0x1FFF, 0x1400, 0x9400, 0x0000, 0x8000]),
                    lambda: random.choice([0x00800000, 0x80800000, 0x00800001, 0x80FFFFFF, 0x00FFFFFF, 0])),
    "negative_zeros": product(5, 33, 33, lambda: random.choice([0x8000, 0x0000, 0x9400, 0x1400]), lambda: 0x80000000),
    "denormal_operands": product(7, 35, 6, lambda: random.choice([half(-127, -127), half(0, 60)]),
                                 lambda: random.choice([single(-127, -127), single(-126, -100)])),
    "wide": product(13, 45, 5, lambda: half(-40, 40), lambda: single(-80, 80)),
    "overflow": product(5, 33, 1, lambda: half(62, 63), lambda: single(126, 127), overflows=True),
}
floats = [0, 0x80000000, 0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0xFF7F8000, 0x7F7F7FFF, 0x00000001,
          0x00008000, 0x00008001, 0x00018000, 0x007FFFFF, 0x7F800000, 0xFF800000]
floats += [single(-127, 127) for _ in range(500)]


def narrowed(bits):
    if bits & 0x7FFFFFFF == 0x7F800000:
        return bits >> 16
    exponent, fraction = bits >> 23 & 255, bits & 0x7FFFFF
    value = Fraction(fraction + (1 << 23 if exponent else 0)) * Fraction(2) ** (max(exponent, 1) - 150)
    value = rounded(value, 8, Fraction(2) ** -133)  # denormals of bf16 are kept
    sign = bits >> 31 << 15
    if value >= Fraction(2) ** 128:
        return sign | 0x7F80
    return sign | struct.unpack("<I", struct.pack("<f", float(value)))[0] >> 16


golden["rounding"] = {"floats": floats, "halves": [narrowed(f) for f in floats]}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
