/// Matrices in FP8 with a scale for each block of 128 by 128, as files of DeepSeek V3 have them:
/// of NAME, F8_E4M3 [rows, columns], NAME_scale_inv, F32 [rows / 128, columns / 128], rounded up.
#ifndef TR_HF_FP8_H
#define TR_HF_FP8_H

#include "common/hf/safetensors.h"

/// The scales of a tensor in F8_E4M3; NULL: it has none, or is none (it may be NULL).
const tr_safetensors_info_t *tr_fp8_scales(const tr_safetensors_t *file,
                                           const tr_safetensors_info_t *info);

/// Writes number times scale, rounded to bf16 as transformers does for a bf16 model, of elements
/// first..first+count-1 to out: [count]. out NULL: it is only checked whether that would succeed.
/// TR_ERR_FORMAT: another shape than [rows, columns], or no such scales.
tr_status tr_fp8_read(const tr_safetensors_t *file, const tr_safetensors_info_t *info, size_t rows,
                      size_t columns, float *out, size_t first, size_t count, tr_error_t *err);

#endif
