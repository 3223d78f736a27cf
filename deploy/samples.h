/// What the model said before and after, for the end of `troupe run`.
#ifndef DEPLOY_SAMPLES_H
#define DEPLOY_SAMPLES_H

#include <stdio.h>

/// Up to three samples of the first step in run_directory/samples.jsonl and as many of the last;
/// nothing when there are none. Lines that are no samples are passed over: the run succeeded
/// without them.
void samples_print(FILE *out, const char *run_directory);

#endif
