/// Public data that the repository does not hold.
///
/// The folder is $TROUPE_TEST_DATA, else ../shared/data beside the repository. A test that finds
/// nothing there skips, saying what is missing.
#ifndef TESTS_SUPPORT_DATA_H
#define TESTS_SUPPORT_DATA_H

/// The path of a file or folder of the data, owned by the caller; NULL when it is not there.
char *data_path(const char *name);

/// The same, and the test skips when it is not there.
char *data_require(const char *name);

#endif
