/// Where the answer stands in a response, and whether it is the right one.
///
/// The rules of common/judge ask; what they do with the answer is their own. Texts are UTF-8.
#ifndef TR_JUDGE_ANSWER_H
#define TR_JUDGE_ANSWER_H

#include <stdbool.h>

/// A part of a response. The rules that have a key `extract` list these names, as many as they
/// read.
typedef enum tr_answer_place {
    TR_ANSWER_WHOLE, ///< "whole": all of it
    TR_ANSWER_TAG,   ///< "tag": what stands in the last <answer>...</answer>
    TR_ANSWER_FENCE, ///< "fence": the last block between lines of ```
    TR_ANSWER_BOXED, ///< "boxed": what stands in the last \boxed{...}
    TR_ANSWER_HASH,  ///< "hash": what follows the last ####, to the end of the line
    TR_ANSWER_LAST   ///< "last": the last number, which the caller finds in all of it
} tr_answer_place_t;

/// The part without white space at its ends, owned by the caller; NULL: it is not there.
char *tr_answer_extract(tr_answer_place_t place, const char *text);

/// How an answer is written, and compared with the right one.
typedef enum tr_answer_form {
    TR_FORM_STRICT,   ///< the number after ####; as verl's gsm8k, method "strict"
    TR_FORM_FLEXIBLE, ///< the last number; the same, method "flexible"
    TR_FORM_BOXED     ///< \boxed{...}, up to notation; as verl's math_reward
} tr_answer_form_t;

/// "strict", "flexible", "boxed", NULL.
extern const char *const tr_answer_forms[];

typedef enum tr_verdict {
    TR_VERDICT_NONE, ///< the response has no answer in this form
    TR_VERDICT_WRONG,
    TR_VERDICT_RIGHT
} tr_verdict_t;

/// gold: the answer alone, or a solution that has it in its last `#### ` (strict, flexible) or
/// \boxed{...} (boxed), as the columns of GSM8K and MATH do.
tr_verdict_t tr_answer_judge(tr_answer_form_t form, const char *response, const char *gold);

// Parts, for tests and for rules

/// The last \boxed{...} without the box, as verl's remove_boxed(last_boxed_only_string(text)).
/// Owned by the caller; NULL: there is none that is whole.
char *tr_answer_boxed(const char *text);

/// Whether two answers in LaTeX are the same but for notation: Hendrycks et al.'s is_equiv, which
/// compares what is left when units, spaces, \left and \right, percent and dollar signs are gone,
/// and fractions and roots are written in one way.
bool tr_answer_equivalent(const char *a, const char *b);

#endif
