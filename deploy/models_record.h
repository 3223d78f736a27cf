/// What the model directories of a run held when it began, by which an edit of them is noticed when
/// it is resumed.
///
///     models.json: {"model": {"directory": "/m", "files": {"config.json": {"size": 650,
///                   "mtime": 1790000000123456789, "checksum": "9f0c.."}, ...}}, ...}
///
/// A file of the same size and time is taken to be the same: resuming reads no weights.
#ifndef DEPLOY_MODELS_RECORD_H
#define DEPLOY_MODELS_RECORD_H

#include <jansson.h>

#include "common/recipe/recipe.h"

/// Looks at all model directories of the recipe. *record: what they hold now, the caller's
/// (json_decref), NULL after a failure. Compares with the run directory's record, if it has one:
/// TR_ERR_ARGUMENT names the key and the file of the first that is another; a key that names
/// another directory now is not compared. TR_ERR_IO.
tr_status models_record_take(json_t **record, const tr_recipe_t *recipe, const char *run_directory,
                             tr_error_t *err);

/// Makes the record the run's. TR_ERR_IO.
tr_status models_record_write(const json_t *record, const char *run_directory, tr_error_t *err);

#endif
