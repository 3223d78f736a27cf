/// Functions that this code does not use, and what to use instead. CMake includes it before every C
/// file, so that a use is a compile error. The system's headers come first: they may still declare
/// what is poisoned below.
#ifndef TR_BASE_BANNED_H
#define TR_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// No room for the terminator is checked: snprintf, tr_format, memcpy with a known length.
#pragma GCC poison strcpy strcat stpcpy strncpy strncat sprintf vsprintf gets

// Hidden state that threads would share: strtok_r, gmtime_r, localtime_r, strftime.
#pragma GCC poison strtok asctime ctime gmtime localtime

// Text that is no number reads as 0: strtol, strtod and their end pointers.
#pragma GCC poison atoi atol atoll atof

// Random numbers are addressed by (seed, counter), never drawn: common/base/rng.h.
#pragma GCC poison rand srand rand_r drand48 lrand48 mrand48

// Names that another process can take first: mkstemp, mkdtemp.
#pragma GCC poison tmpnam tempnam mktemp

#endif
