// The golden models, found by their folder, so that a new one needs no line in a test.
#include "tests/support/models.h"

#include <criterion/criterion.h>
#include <string.h>

void models_find(glob_t *models)
{
    cr_assert_eq(glob(TEST_SOURCE_DIR "/tests/golden/models/*", 0, NULL, models), 0);
    cr_assert_geq(models->gl_pathc, 4U);
}

bool models_is_scalar(const char *directory)
{
    return strstr(strrchr(directory, '/'), "scalar") != NULL;
}
