/// Random numbers are addressed, not drawn: Philox 4x32-10 (Salmon et al. 2011, "Parallel random
/// numbers: as easy as 1, 2, 3"). The same address gives the same number in every process, batch
/// and order.
#ifndef TR_BASE_RNG_H
#define TR_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/// The purpose of a number; part of the address, so that two uses never share a stream.
typedef enum tr_rng_stream {
    TR_RNG_SAMPLE = 1,  ///< sampling a token: (prompt, sample, position)
    TR_RNG_SHUFFLE = 2, ///< order of rows or sequences: (epoch or step, pass, index)
    TR_RNG_INIT = 3,    ///< fresh weights: (tensor, 0, element)
    TR_RNG_NOISE = 4,   ///< noise on embeddings: (step, sequence), element
    TR_RNG_ROUND = 5,   ///< rounding of weights: step, element (64 bits)
    TR_RNG_DROPOUT = 6  ///< what dropout lets through: (tr_dropout_t.a, row's address), column
} tr_rng_stream_t;

/// A number in [0, 1), 24 random bits, at the address (seed, stream, a, b, c).
float tr_rng_uniform(uint64_t seed, tr_rng_stream_t stream, uint32_t a, uint32_t b, uint32_t c);

/// out: [n], written with numbers 0..n-1 of the address (seed, stream, a, b), each in [0, 1) with
/// 24 random bits. Number i is the same for every n. n < 2^34.
void tr_rng_uniforms(float *out, size_t n, uint64_t seed, tr_rng_stream_t stream, uint32_t a,
                     uint32_t b);

/// A standard normal number (Box-Muller, 24-bit uniforms, our own log and cosine) at that address.
float tr_rng_normal(uint64_t seed, tr_rng_stream_t stream, uint32_t a, uint32_t b, uint32_t c);

/// order: [n], written with a permutation of 0..n-1 (Fisher-Yates); the same seed, a and b give the
/// same one.
void tr_rng_permutation(uint32_t *order, size_t n, uint64_t seed, uint32_t a, uint32_t b);

#endif
