/// What words, regex and length say of a response: tables worked out by hand from reward/judge.h.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reward/judge.h"

/// Takes the reference of config.
static reward_judge_t *open_judge(json_t *config)
{
    tr_error_t err = {0};
    reward_judge_t *judge = NULL;
    cr_assert_eq(reward_judge_new(&judge, "mine", config, 0, &err), TR_OK, "%s", err.text);
    json_decref(config);
    return judge;
}

static tr_status judge_text(float *score, reward_judge_t *judge, const char *response,
                            size_t tokens, tr_error_t *err)
{
    const tr_sample_t sample = {
        .id = 41, .prompt = "happy ", .response = response, .response_count = tokens};
    *score = NAN;
    return reward_judge_score(judge, score, &sample, 1, err);
}

static float score_text(reward_judge_t *judge, const char *response, size_t tokens)
{
    tr_error_t err = {0};
    float score;
    cr_assert_eq(judge_text(&score, judge, response, tokens, &err), TR_OK, "'%s': %s", response,
                 err.text);
    return score;
}

/// A new judge, one response.
static float score_once(json_t *config, const char *response, size_t tokens)
{
    reward_judge_t *judge = open_judge(config);
    float score = score_text(judge, response, tokens);
    reward_judge_destroy(&judge);
    return score;
}

static json_t *one_word(const char *word)
{
    return json_pack("{s:s, s:[[s, f]]}", "kind", "words", "words", word, 1.0);
}

static json_t *a_regex(const char *pattern, double score)
{
    return json_pack("{s:s, s:s, s:f}", "kind", "regex", "pattern", pattern, "score", score);
}

static json_t *a_length(int target, int min, int max, const char *unit)
{
    return json_pack("{s:s, s:i, s:i, s:i, s:s}", "kind", "length", "target", target, "min", min,
                     "max", max, "unit", unit);
}

/// Fails to open: status, and a sentence with the judge's name and `part`. Takes the reference of config.
static void expect_refused(json_t *config, tr_status wanted, const char *part)
{
    tr_error_t err = {0};
    reward_judge_t *judge = NULL;
    cr_assert_eq(reward_judge_new(&judge, "mine", config, 0, &err), wanted, "%s", err.text);
    cr_assert_null(judge);
    cr_assert_not_null(strstr(err.text, "judge 'mine'"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, part), "%s", err.text);
    json_decref(config);
}

/// Fails to score: status, and a sentence with the names of judge and sample.
static void expect_blamed(json_t *config, const char *response, tr_status wanted)
{
    reward_judge_t *judge = open_judge(config);
    tr_error_t err = {0};
    float score;
    cr_assert_eq(judge_text(&score, judge, response, 0, &err), wanted, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "judge 'mine': sample 41: "), "%s", err.text);
    reward_judge_destroy(&judge);
}

Test(words, every_occurrence_adds_its_weight)
{
    reward_judge_t *judge =
        open_judge(json_pack("{s:s, s:[[s, f], [s, f], [s, i]]}", "kind", "words", "words", "happy",
                             0.5, "sad", -2.0, "very happy", 10));
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
        cr_expect_eq(score_text(judge, rows[i].response, 0), rows[i].score, "'%s'",
                     rows[i].response);
    }
    reward_judge_destroy(&judge);
}

Test(words, the_prompt_is_not_judged)
{
    cr_assert_eq(score_once(one_word("happy"), "no", 0), 0.0f); // every prompt here is "happy "
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
        cr_expect_eq(score_once(one_word(rows[i].word), rows[i].response, 0), rows[i].score,
                     "'%s' in '%s'", rows[i].word, rows[i].response);
    }
}

Test(words, case_is_folded_for_ascii_letters_alone)
{
    cr_assert_eq(score_once(one_word("hApPy"), "HaPpY happy HAPPY", 0), 3.0f);
    cr_assert_eq(score_once(one_word("\xc3\xbc"
                                     "ber"),
                            "\xc3\xbc"
                            "BER \xc3\x9c"
                            "ber",
                            0),
                 1.0f); // a small u with dots is not a great one
    cr_assert_eq(score_once(one_word("k"), "\xe2\x84\xaa", 0), 0.0f); // the Kelvin sign is no k
    cr_assert_eq(score_once(one_word("[@]"), "[@] {`}", 0), 1.0f);    // 0x20 apart, but no letters
}

Test(words, a_word_is_no_expression)
{
    static const char *const words[] = {"a.b",     "(x)",  "[a-c]", "a|b",   "\\d",
                                        "\\Q.\\E", "x{2}", "^a$",   "a b #c"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cr_expect_eq(score_once(one_word(words[i]), words[i], 0), 1.0f, "%s", words[i]);
        cr_expect_eq(score_once(one_word(words[i]), "axb x c 5 . xx ac", 0), 0.0f, "%s", words[i]);
    }
}

Test(words, a_list_that_is_malformed_is_refused)
{
    expect_refused(json_pack("{s:s}", "kind", "words"), TR_ERR_PROTOCOL,
                   "words: expected an array");
    expect_refused(json_pack("{s:s, s:[[s, f], s]}", "kind", "words", "words", "good", 1.0, "bad"),
                   TR_ERR_PROTOCOL, "words[1]");
    expect_refused(one_word(""), TR_ERR_PROTOCOL, "words[0]");
}

Test(regex, a_match_anywhere_gives_the_score_once)
{
    reward_judge_t *judge = open_judge(a_regex("\\bthe end\\b", -0.25));
    cr_expect_eq(score_text(judge, "This is the end.", 0), -0.25f);
    cr_expect_eq(score_text(judge, "the end the end", 0), -0.25f);
    cr_expect_eq(score_text(judge, "bathe endlessly", 0), 0.0f);
    cr_expect_eq(score_text(judge, "", 0), 0.0f);
    reward_judge_destroy(&judge);
}

Test(regex, characters_are_code_points)
{
    cr_expect_eq(score_once(a_regex("^.$", 1.0), "\xe2\x82\xac", 0), 1.0f);
    cr_expect_eq(score_once(a_regex("(?i)^\xc3\xbc$", 1.0), "\xc3\x9c", 0), 1.0f);
}

Test(regex, a_long_response_is_no_reason_to_give_up)
{
    enum { LENGTH = 200000 };
    char *text = tr_alloc(LENGTH + 1);
    for (size_t i = 0; i < LENGTH; i++) {
        text[i] = i % 2 == 0 ? 'a' : 'b';
    }
    text[LENGTH - 1] = 'c';
    text[LENGTH] = '\0';
    cr_expect_eq(score_once(a_regex("^(?:(a)|b)*c$", 1.0), text, 0), 1.0f);
    free(text);
}

Test(regex, an_expression_that_backtracks_without_end_is_an_error, .timeout = 20)
{
    expect_blamed(a_regex("^(a+)+$", 1.0),
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", TR_ERR_ARGUMENT);
}

Test(regex, a_pattern_that_does_not_compile_is_refused_at_its_byte)
{
    expect_refused(a_regex("ab(c", 1.0), TR_ERR_ARGUMENT, "'ab(c' is not understood at byte 4");
}

Test(length, a_target_pays_by_the_distance_to_it)
{
    reward_judge_t *judge = open_judge(a_length(8, 0, 0, "tokens"));
    static const struct {
        size_t tokens;
        float score;
    } rows[] = {{0, 0.0f},  {2, 0.25f}, {8, 1.0f},   {10, 0.75f},
                {16, 0.0f}, {17, 0.0f}, {1000, 0.0f}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(score_text(judge, "any text", rows[i].tokens), rows[i].score, "%zu",
                     rows[i].tokens);
    }
    reward_judge_destroy(&judge);
}

Test(length, bounds_are_inclusive_and_the_upper_may_be_missing)
{
    static const struct {
        int min, max;
        size_t tokens;
        float score;
    } rows[] = {{3, 5, 2, 0}, {3, 5, 3, 1},   {3, 5, 5, 1}, {3, 5, 6, 0},
                {3, 0, 2, 0}, {3, 0, 900, 1}, {0, 5, 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(
            score_once(a_length(0, rows[i].min, rows[i].max, "tokens"), "", rows[i].tokens),
            rows[i].score, "%zu in %d..%d", rows[i].tokens, rows[i].min, rows[i].max);
    }
}

Test(length, words_and_characters_are_those_of_the_text)
{
    static const struct {
        const char *text;
        int words, characters;
    } rows[] = {{"one", 1, 3},
                {" one  two\n\tthree ", 3, 17},
                {"na\xc3\xafve \xe2\x82\xac"
                 "5",
                 2, 8},
                {"a\xc2\xa0"
                 "b\xe3\x80\x80"
                 "c",
                 3, 5}, // no-break and ideographic space
                {"don't stop-now", 2, 14}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int words = rows[i].words, characters = rows[i].characters;
        cr_expect_eq(score_once(a_length(0, words, words, "words"), rows[i].text, 99), 1.0f, "'%s'",
                     rows[i].text);
        cr_expect_eq(
            score_once(a_length(0, characters, characters, "characters"), rows[i].text, 99), 1.0f,
            "'%s'", rows[i].text);
    }
    cr_expect_eq(score_once(a_length(0, 1, 0, "words"), " \n ", 99), 0.0f);
    cr_expect_eq(score_once(a_length(0, 1, 0, "characters"), "", 99), 0.0f);
}

Test(length, an_unknown_unit_is_refused)
{
    expect_refused(a_length(1, 0, 0, "lines"), TR_ERR_ARGUMENT, "'lines'");
}

Test(judge, a_score_that_no_float_holds_is_an_error_that_names_judge_and_sample)
{
    expect_blamed(json_pack("{s:s, s:[[s, f]]}", "kind", "words", "words", "big", 3e38), "big big",
                  TR_ERR_NUMERIC);
    expect_blamed(json_pack("{s:s, s:[[s, f], [s, f]]}", "kind", "words", "words", "up", 1e308,
                            "down", -1e308),
                  "up up down down", TR_ERR_NUMERIC);
}

Test(judge, a_kind_that_is_not_served_is_refused_by_name)
{
    expect_refused(json_pack("{s:s}", "kind", "exec"), TR_ERR_UNSUPPORTED, "'exec'");
    expect_refused(json_object(), TR_ERR_PROTOCOL, "kind");
}
