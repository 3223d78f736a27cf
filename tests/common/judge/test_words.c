/// The judge `words`: a table of words and responses, worked out by hand from its head comment.
#include <criterion/criterion.h>

#include "tests/support/judging.h"

static json_t *one_word(const char *word)
{
    return json_pack("{s:[[s, f]]}", "words", word, 1.0);
}

Test(words, every_occurrence_adds_its_weight)
{
    judging_t judge;
    judging_open(&judge, tr_judge_kind_find("words"),
                 json_pack("{s:[[s, f], [s, f], [s, i]]}", "words", "happy", 0.5, "sad", -2.0,
                           "very happy", 10));
    static const struct {
        const char *response;
        float score;
    } rows[] = {{"", 0.0f},
                {"The dog ran.", 0.0f},
                {"A happy dog.", 0.5f},
                {"happy, happy; HAPPY", 1.5f},
                {"sad but happy", -1.5f},
                {"very happy", 10.5f}, // words count apart from each other
                {"sad sad sad sad", -8.0f}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(judging_score(&judge, rows[i].response, 0), rows[i].score, "'%s'",
                     rows[i].response);
    }
    judging_close(&judge);
}

Test(words, the_prompt_is_not_judged)
{
    cr_assert_eq(judging_once(tr_judge_kind_find("words"), one_word("happy"), "no", 0),
                 0.0f); // every prompt here is "happy "
}

Test(words, only_whole_words_count)
{
    static const struct {
        const char *word;
        const char *response;
        float score;
    } rows[] = {
        {"happy", "unhappy", 0},
        {"happy", "happyness", 0},
        {"happy", "happy2", 0},
        {"happy", "_happy", 0},
        {"happy", "happy-go-lucky, \"happy\" (happy) happy's", 4},
        {"art",
         "\xc3\xa9"
         "art",
         0}, // an e with acute goes before
        {"art", "art\xc3\xa9", 0},
        {"art", "art\xcc\x81", 0}, // a combining acute follows
        {"art",
         "\xe2\x80\x94" // dashes and curly quotes are no letters
         "art\xe2\x80\x94 \xe2\x80\x9c"
         "art\xe2\x80\x9d",
         2},
        {"don't", "I don't. Don't you? don'ts", 2},
        {"ha ha", "ha ha ha ha ha", 2}, // from left to right, without overlap
        {":)", "good:) :):)", 3},       // an end that is no letter may stand next to anything
        {"c++", "c++ c+++ C++x xc++", 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(
            judging_once(tr_judge_kind_find("words"), one_word(rows[i].word), rows[i].response, 0),
            rows[i].score, "'%s' in '%s'", rows[i].word, rows[i].response);
    }
}

Test(words, case_is_folded_for_ascii_letters_alone)
{
    cr_assert_eq(
        judging_once(tr_judge_kind_find("words"), one_word("hApPy"), "HaPpY happy HAPPY", 0), 3.0f);
    cr_assert_eq(judging_once(tr_judge_kind_find("words"),
                              one_word("\xc3\xbc"
                                       "ber"),
                              "\xc3\xbc"
                              "BER \xc3\x9c"
                              "ber",
                              0),
                 1.0f); // a small u with dots is not a great one
    cr_assert_eq(judging_once(tr_judge_kind_find("words"), one_word("k"), "\xe2\x84\xaa", 0),
                 0.0f); // the Kelvin sign is no k
    cr_assert_eq(judging_once(tr_judge_kind_find("words"), one_word("[@]"), "[@] {`}", 0),
                 1.0f); // 0x20 apart, but no letters
}

Test(words, a_word_is_no_expression)
{
    static const char *const words[] = {"a.b",     "(x)",  "[a-c]", "a|b",   "\\d",
                                        "\\Q.\\E", "x{2}", "^a$",   "a b #c"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cr_expect_eq(judging_once(tr_judge_kind_find("words"), one_word(words[i]), words[i], 0),
                     1.0f, "%s", words[i]);
        cr_expect_eq(
            judging_once(tr_judge_kind_find("words"), one_word(words[i]), "axb x c 5 . xx ac", 0),
            0.0f, "%s", words[i]);
    }
}

Test(words, a_list_that_is_malformed_is_refused)
{
    judging_expect_refused(tr_judge_kind_find("words"), json_pack("{s:n}", "words"),
                           TR_ERR_PROTOCOL,
                           "words: expected words, each with a number, found null");
    judging_expect_refused(tr_judge_kind_find("words"),
                           json_pack("{s:[[s, f], s]}", "words", "good", 1.0, "bad"),
                           TR_ERR_PROTOCOL, "\"bad\"]");
    judging_expect_refused(tr_judge_kind_find("words"), one_word(""), TR_ERR_PROTOCOL,
                           "[[\"\", 1.0]]");
    judging_expect_refused(tr_judge_kind_find("words"), json_object(), TR_ERR_ARGUMENT,
                           "words: expected at least one word, found none");
}
