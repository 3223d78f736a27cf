// Where answers stand, and the forms in which data sets write them.
//
// The forms repeat verl's functions (verl/utils/reward_score/gsm8k.py and math_reward.py), odd
// corners included, so that scores can be compared with published ones; the golden file of
// tests/golden/rules.py holds them to it. What makes two answers in LaTeX equal is equivalence.c.
#include "common/judge/answer.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/text/utf8.h"

const char *const tr_answer_forms[] = {"strict", "flexible", "boxed", NULL}; // tr_answer_form_t

/// verl looks at the last characters alone.
enum { CLIP = 300 };
static const char NUMBER[] = "0123456789.,", HASHES[] = "#### ";

static char *copy(const char *text, size_t length)
{
    char *made = tr_calloc(length + 1, 1);
    memcpy(made, text, length);
    return made;
}

/// text: [length], without white space at its ends.
static char *trimmed(const char *text, size_t length)
{
    size_t begin = tr_utf8_space_after(text, 0, length);
    size_t end = tr_utf8_space_before(text, begin, length);
    return copy(text + begin, end - begin);
}

/// The last place of what in text; NULL: none.
static const char *last_of(const char *text, const char *what)
{
    const char *last = NULL;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        last = at;
    }
    return last;
}

// Places

/// Between the last `open` that has a `close` after it, and that.
static char *between(const char *text, const char *open, const char *close)
{
    const char *end = last_of(text, close);
    const char *begin = NULL;
    // the last `open` before the last `close`: what is opened after it has no end
    for (const char *at = strstr(text, open); at != NULL && end != NULL && at < end;
         at = strstr(at + 1, open)) {
        begin = at + strlen(open) <= end ? at + strlen(open) : begin;
    }
    return begin != NULL ? trimmed(begin, (size_t)(end - begin)) : NULL;
}

/// The last pair of lines that begin with ```; the first may name a language.
static char *fenced(const char *text)
{
    const char *begin = NULL, *found = NULL;
    size_t length = 0;
    for (const char *line = text; line != NULL;) {
        const char *next = strchr(line, '\n');
        if (strncmp(line, "```", 3) == 0 && begin == NULL) {
            begin = next != NULL ? next + 1 : NULL;
        } else if (strncmp(line, "```", 3) == 0) {
            found = begin;
            length = (size_t)(line - begin);
            begin = NULL;
        }
        line = next != NULL ? next + 1 : NULL;
    }
    return found != NULL ? trimmed(found, length) : NULL;
}

static char *after_hashes(const char *text)
{
    const char *at = last_of(text, "####");
    return at != NULL ? trimmed(at + 4, strcspn(at + 4, "\n")) : NULL;
}

char *tr_answer_extract(tr_answer_place_t place, const char *text)
{
    switch (place) {
    case TR_ANSWER_TAG: return between(text, "<answer>", "</answer>");
    case TR_ANSWER_FENCE: return fenced(text);
    case TR_ANSWER_BOXED: return tr_answer_boxed(text);
    case TR_ANSWER_HASH: return after_hashes(text);
    case TR_ANSWER_WHOLE:
    case TR_ANSWER_LAST: break;
    }
    return trimmed(text, strlen(text));
}

// GSM8K

/// The length of "-?[0-9.,]+" at text; 0: it is not there.
static size_t number_at(const char *text)
{
    size_t sign = text[0] == '-';
    size_t digits = strspn(text + sign, NUMBER);
    return digits > 0 ? sign + digits : 0;
}

static void remove_commas(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != ',') {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/// The number after a "#### ", without commas; last: of several the last, else the first.
static char *strict_answer(const char *text, bool last)
{
    const char *found = NULL;
    size_t hashes = strlen(HASHES);
    for (const char *at = strstr(text, HASHES); at != NULL && (last || found == NULL);
         at = strstr(at + 1, HASHES)) {
        found = number_at(at + hashes) > 0 ? at + hashes : found;
    }
    char *answer = found != NULL ? copy(found, number_at(found)) : NULL;
    if (answer != NULL) {
        remove_commas(answer);
    }
    return answer;
}

/// The last run of digits, dots and commas that is no single dot, with the sign before it; if all
/// are dots, the first.
static char *flexible_answer(const char *text)
{
    const char *first = NULL, *found = NULL;
    for (const char *at = text; *at != '\0';) {
        size_t length = number_at(at);
        if (length > 0) {
            first = first == NULL ? at : first;
            found = length == 1 && *at == '.' ? found : at;
        }
        at += length > 0 ? length : 1;
    }
    found = found != NULL ? found : first;
    return found != NULL ? copy(found, number_at(found)) : NULL;
}

/// The last CLIP characters.
static const char *clipped(const char *text)
{
    size_t at = strlen(text);
    for (size_t i = 0; i < CLIP && at > 0; i++) {
        at = tr_utf8_before(text, at);
    }
    return text + at;
}

// MATH

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + strlen(what), what)) {
        n++;
    }
    return n;
}

/// The brace that closes the first one after text; NULL: none does.
static const char *closing_brace(const char *text)
{
    int open = 0;
    for (; *text != '\0'; text++) {
        open += *text == '{' ? 1 : *text == '}' ? -1 : 0;
        if (*text == '}' && open == 0) {
            return text;
        }
    }
    return NULL;
}

char *tr_answer_boxed(const char *text)
{
    // "\boxed 5" needs no brace, and goes first, as in verl
    if (count_of(text, "\\boxed ") > 0) {
        const char *at = last_of(text, "\\boxed ") + strlen("\\boxed ");
        return copy(at, strcspn(at, "$"));
    }
    const char *at = last_of(text, "\\boxed");
    const char *end = at != NULL ? closing_brace(at) : NULL;
    size_t open = strlen("\\boxed{");
    if (end == NULL || strncmp(at, "\\boxed{", open) != 0) {
        return NULL;
    }
    return copy(at + open, (size_t)(end - at) - open);
}

// Verdicts

static char *answer_of(tr_answer_form_t form, const char *response)
{
    switch (form) {
    case TR_FORM_STRICT: return strict_answer(clipped(response), true);
    case TR_FORM_FLEXIBLE: return flexible_answer(clipped(response));
    case TR_FORM_BOXED: break;
    }
    return tr_answer_boxed(response);
}

/// What verl's preprocessing makes of the columns of GSM8K and MATH; else the text itself.
static char *gold_of(tr_answer_form_t form, const char *text)
{
    char *gold = form == TR_FORM_BOXED ? tr_answer_boxed(text) : strict_answer(text, false);
    return gold != NULL ? gold : tr_strdup(text);
}

tr_verdict_t tr_answer_judge(tr_answer_form_t form, const char *response, const char *gold)
{
    char *answer = answer_of(form, response);
    if (answer == NULL) {
        return TR_VERDICT_NONE;
    }
    char *right = gold_of(form, gold);
    bool same =
        form == TR_FORM_BOXED ? tr_answer_equivalent(answer, right) : strcmp(answer, right) == 0;
    free(answer);
    free(right);
    return same ? TR_VERDICT_RIGHT : TR_VERDICT_WRONG;
}
