/// Implicit prompts of pairs, as TRL's extract_prompt and maybe_extract_prompt split them.
#include "common/data/extract_prompt.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/base/status.h"

/// a, b, and what they are split into, as JSON of any type.
static void expect_split(const char *a, const char *b, const char *prompt, const char *rest_a,
                         const char *rest_b)
{
    json_t *sides[2] = {json_loads(a, JSON_DECODE_ANY, NULL), json_loads(b, JSON_DECODE_ANY, NULL)};
    json_t *wanted[3] = {json_loads(prompt, JSON_DECODE_ANY, NULL),
                         json_loads(rest_a, JSON_DECODE_ANY, NULL),
                         json_loads(rest_b, JSON_DECODE_ANY, NULL)};
    json_t *found[3];
    tr_extract_prompt(&found[0], &found[1], (const json_t *const[2]){sides[0], sides[1]});
    for (int i = 0; i < 3; i++) {
        cr_expect(json_equal(found[i], wanted[i]), "%s and %s: part %d", a, b, i);
        json_decref(found[i]);
        json_decref(wanted[i]);
    }
    json_decref(sides[0]);
    json_decref(sides[1]);
}

Test(extract_prompt, texts_share_their_beginning_up_to_a_space)
{
    expect_split("\"One day a cat.\"", "\"One day a dog.\"", "\"One day a\"", "\" cat.\"",
                 "\" dog.\"");
    expect_split("\"catfish\"", "\"catnip\"", "\"cat\"", "\"fish\"", "\"nip\"");
    expect_split("\"yes\"", "\"no\"", "\"\"", "\"yes\"", "\"no\"");
    expect_split("\" yes\"", "\" no\"", "\"\"", "\" yes\"", "\" no\"");
    expect_split("\"a  b\"", "\"a  c\"", "\"a \"", "\" b\"", "\" c\""); // one space goes
}

Test(extract_prompt, no_completion_of_texts_is_empty)
{
    expect_split("\"a cat\"", "\"a cat ran\"", "\"a ca\"", "\"t\"", "\"t ran\"");
    expect_split("\"same\"", "\"same\"", "\"sam\"", "\"e\"", "\"e\"");
    expect_split("\"\xC3\xA9\xC3\xA9\"", "\"\xC3\xA9\xC3\xA9!\"", "\"\xC3\xA9\"", "\"\xC3\xA9\"",
                 "\"\xC3\xA9!\"");
    expect_split("\"a\"", "\"ab\"", "\"\"", "\"a\"", "\"ab\"");
}

Test(extract_prompt, no_character_is_cut)
{
    // U+00E9 and U+00E8 share their first byte; U+1F600 and U+1F601 their first three.
    expect_split("\"abc\xC3\xA9\"", "\"abc\xC3\xA8\"", "\"abc\"", "\"\xC3\xA9\"", "\"\xC3\xA8\"");
    expect_split("\"x\xF0\x9F\x98\x80\"", "\"x\xF0\x9F\x98\x81\"", "\"x\"", "\"\xF0\x9F\x98\x80\"",
                 "\"\xF0\x9F\x98\x81\"");
}

#define SAY(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
#define HI SAY("user", "Hi.")

Test(extract_prompt, conversations_share_whole_messages)
{
    expect_split("[" HI ", " SAY("assistant", "Yes.") "]", "[" HI ", " SAY("assistant", "No.") "]",
                 "[" HI "]", "[" SAY("assistant", "Yes.") "]", "[" SAY("assistant", "No.") "]");
    expect_split("[" HI "]", "[" HI ", " HI "]", "[]", "[" HI "]", "[" HI ", " HI "]");
    expect_split("[" HI ", " HI "]", "[" HI ", " HI "]", "[" HI "]", "[" HI "]", "[" HI "]");
    expect_split("[" HI "]", "[" SAY("user", "Ho.") "]", "[]", "[" HI "]",
                 "[" SAY("user", "Ho.") "]");
}
