/// Matrices in MXFP4 (OCP Microscaling Formats 1.0), as files of gpt-oss have them: numbers of four
/// bits, and a power of two that each 32 of them share. All are exact in bf16.
///
/// Of a tensor NAME of shape [experts, K, N] a file has NAME_blocks: U8 [experts, N, K/32, 16], two
/// numbers a byte, the lower half first; and NAME_scales: U8 [experts, N, K/32], exponents + 127.
#ifndef TR_HF_MXFP4_H
#define TR_HF_MXFP4_H

#include "common/hf/safetensors.h"

/// found: the file's blocks and scales of the tensor, or NULL. Whether there is either.
bool tr_mxfp4_find(const tr_safetensors_info_t *found[2], const tr_safetensors_t *file,
                   const char *name);

/// As tr_safetensors_read_part of the tensor, whole experts. shape: [experts, K, N]; out: [count],
/// or NULL: it is only checked whether that would succeed.
tr_status tr_mxfp4_read(const tr_safetensors_t *file, const char *name, const size_t shape[3],
                        float *out, size_t first, size_t count, tr_error_t *err);

#endif
