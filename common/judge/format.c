// The judge `format`: whether a response keeps thought and answer apart by tags.
//
// The forms are regular expressions elsewhere; here they are searches for fixed texts, which take
// one pass whatever the response. Any other form is a pattern for the judge `regex`.
#include <string.h>

#include "common/judge/judge.h"

typedef struct options {
    int form; // a row of forms
} options_t;

/// ^<think>(?!.*<think>)(.*?)</think>.*$ : TRL's think_format_reward.
static double think(const char *text)
{
    if (strncmp(text, "<think>", 7) != 0) {
        return 0.0;
    }
    return strstr(text + 7, "<think>") == NULL && strstr(text + 7, "</think>") != NULL;
}

/// ^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$ : Open-R1's format_reward, where the last tag
/// must end a line.
static double think_answer(const char *text)
{
    static const char OPEN[] = "<think>\n", MIDDLE[] = "\n</think>\n<answer>\n",
                      CLOSE[] = "\n</answer>";
    const char *middle =
        strncmp(text, OPEN, strlen(OPEN)) == 0 ? strstr(text + strlen(OPEN), MIDDLE) : NULL;
    const char *at = middle != NULL ? middle + strlen(MIDDLE) : NULL;
    // the first middle is enough: any later one leaves less to search
    for (at = at != NULL ? strstr(at, CLOSE) : NULL; at != NULL; at = strstr(at + 1, CLOSE)) {
        char after = at[strlen(CLOSE)];
        if (after == '\0' || after == '\n') {
            return 1.0;
        }
    }
    return 0.0;
}

static double once(const char *text, const char *tag)
{
    const char *first = strstr(text, tag);
    return first != NULL && strstr(first + strlen(tag), tag) == NULL;
}

/// A quarter for each of the four tags that is there once: Open-R1's tag_count_reward.
static double tag_count(const char *text)
{
    return 0.25 * (once(text, "<think>\n") + once(text, "\n</think>\n") +
                   once(text, "\n<answer>\n") + once(text, "\n</answer>"));
}

static const struct {
    const char *name;
    double (*score)(const char *text);
} forms[] = {
    {"think", think}, {"think_answer", think_answer}, {"tag_count", tag_count}, {NULL, NULL}};

static const tr_field_t fields[] = {
    TR_FIELD_AS("format.form", options_t, form, TR_FIELD_CHOICE, "think", .choices = &forms[0].name,
                .stride = sizeof forms[0], .brief = true,
                .help = "`think`: 1 for `<think>...</think>` at the start, as in TRL; "
                        "`think_answer`: 1 for that with line ends, then `<answer>...</answer>`, "
                        "as in Open-R1; `tag_count`: 1/4 for each of these four tags that stands "
                        "there once. `format: FORM` is short for it."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static tr_status format_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    (void)err;
    *score = forms[((const options_t *)state)->form].score(sample->response);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_format = {
    .name = "format",
    .fields = &table,
    .started = true,
    .rule = format_rule,
};
