/// LLaMA-Factory's dataset_info.json: which files a data set has, and how their columns and roles
/// are called. source.h reads an item that names one.
#ifndef TR_DATA_DATASET_INFO_H
#define TR_DATA_DATASET_INFO_H

#include "common/data/source.h"

/// The file that a directory, or its own name, stands for. Owned by the caller (free).
char *tr_dataset_info_path(const char *place);

/// Fills a source from the entry `name` of the file `path`, as LLaMA-Factory reads it
/// (data/parser.py, data/loader.py): paths, form, names, tags and samples. Names that the source
/// has go before. TR_ERR_IO, TR_ERR_FORMAT; TR_ERR_ARGUMENT for a name that it has not;
/// TR_ERR_UNSUPPORTED for what is not on this disk, or no text.
tr_status tr_dataset_info_read(tr_source_t *source, const char *path, const char *name,
                               tr_error_t *err);

#endif
