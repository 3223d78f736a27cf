/// The prompt of a pair that has no column for it: what both sides begin with, as TRL's
/// extract_prompt has it.
#ifndef TR_DATA_EXTRACT_PROMPT_H
#define TR_DATA_EXTRACT_PROMPT_H

#include <jansson.h>

/// Splits both sides, which are two texts or two conversations. *prompt and completions: [2], new
/// references, written. Of texts the prompt ends before a space, and where one side begins with the
/// whole other, before the shorter one's last character or message: no completion is empty.
void tr_extract_prompt(json_t **prompt, json_t *completions[2], const json_t *const sides[2]);

#endif
