/// The golden models: every directory of tests/golden/models, as make_llama.py and make_families.py
/// made them.
///
///     glob_t models;
///     models_find(&models);
///     for (size_t i = 0; i < models.gl_pathc; i++) {
///         ... models.gl_pathv[i] ...
///     }
///     globfree(&models);
#ifndef TESTS_SUPPORT_MODELS_H
#define TESTS_SUPPORT_MODELS_H

#include <glob.h>
#include <stdbool.h>

void models_find(glob_t *models);

/// Whether a directory's model has a scalar head, by its name.
bool models_is_scalar(const char *directory);

#endif
