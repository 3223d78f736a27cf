/// A judge that comes with Troupe: reads samples, gives each a number.
///
/// service.c makes one from the map that the controller's welcome holds for its group (proto/judge.h says what is in it),
/// then has it score request after request. A judge sees one sample at a time: its score depends neither on the others
/// nor on threads. The kinds:
///
/// words    The sum of the weights of the words that occur in the response, once for each occurrence. An occurrence is a
///          place where the word stands as it is written, except that the ASCII letters a-z and A-Z are taken as equal
///          ('happy' in "Happy!"; other letters must be the same), and where it is a whole word: no letter, combining mark,
///          digit or '_' of any script continues it on either side ('happy' is not in "unhappy" or "happy2", but in
///          "happy-go-lucky" and "happy's"). An end of the word that is none of these itself, as in ":)", may stand next to
///          anything. Words may contain spaces and count apart from each other, each from left to right without
///          overlap. Scripts that put no space between words need the kind regex.
/// regex    `score` where the expression matches anywhere in the response, else 0. PCRE2 with UTF; (*UCP) at its start
///          makes \w and \b know all scripts, (?i) ignores case.
/// length   n = the response's tokens (those of the policy, an end token included), words (separated by Unicode white
///          space) or characters (code points). target > 0: 1 - |n - target| / target, not below 0. Else 1 where
///          min <= n <= max (max 0: no upper bound), 0 outside.
/// model    A Hugging Face directory with a scalar head: what AutoModelForSequenceClassification gives for the text of
///          prompt and response, encoded as one by the directory's own tokenizer with its special tokens once: the
///          head's value at the last token. Where its config.json has score_mean and score_std (reward.normalize), less the
///          mean, over the deviation. With steps (1 min, 2 mean, 3 last, 4 product) it is a process reward model: the response is
///          split at each step_separator, and the chances that the steps are right, the sigmoid of the head's value at the end of
///          each, become one score in [0, 1].
#ifndef REWARD_JUDGE_H
#define REWARD_JUDGE_H

#include "proto/score.h"

typedef struct reward_judge reward_judge_t;

/// name: the group's, for sentences; copied. config: the group's map. threads: 0: what the map says.
/// Fails for a kind that is not among the above (TR_ERR_UNSUPPORTED), for settings that cannot be used, and when a
/// model cannot be opened; the sentence begins with the judge's name.
tr_status reward_judge_new(reward_judge_t **judge, const char *name, const json_t *config,
                           size_t threads, tr_error_t *err);
void reward_judge_destroy(reward_judge_t **judge);

/// scores: [count], written. Fails with a sentence that names the judge and the sample: a score that is not finite is
/// TR_ERR_NUMERIC; a sample that is longer than the model's positions or that an expression gives up on is
/// TR_ERR_ARGUMENT; TR_ERR_INTERRUPTED when the daemon was asked to leave meanwhile.
tr_status reward_judge_score(reward_judge_t *judge, float *scores, const tr_sample_t *samples,
                             size_t count, tr_error_t *err);

/// What a kind does; judge.c has the table of them. *state is NULL after a failed open.
typedef struct reward_kind {
    const char *name;
    tr_status (*open)(void **state, const json_t *config, size_t threads, tr_error_t *err);
    tr_status (*score)(void *state, float *scores, const tr_sample_t *samples, size_t count,
                       tr_error_t *err);
    void (*close)(void *state);
} reward_kind_t;

extern const reward_kind_t reward_kind_words;
extern const reward_kind_t reward_kind_regex;
extern const reward_kind_t reward_kind_length;
extern const reward_kind_t reward_kind_model;

#endif
