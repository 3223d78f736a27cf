// How a value of a row becomes token ids, and where the prompt ends in them. One file for texts and
// conversations, since a prompt with a completion is cut by the same rule for both. What a row may
// hold, and which of its sentences name a column, is kinds.c's part.
#include "common/data/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/steps.h"

void tr_sequence_release(tr_sequence_t *sequence)
{
    free(sequence->ids);
    free(sequence->mask);
    free(sequence->text);
    *sequence = (tr_sequence_t){0};
}

void tr_encoder_release(tr_encoder_t *encoder)
{
    tr_chat_destroy(&encoder->chat);
    json_decref(encoder->tools);
    json_decref(encoder->kwargs);
    encoder->tools = encoder->kwargs = NULL;
    encoder->looked = false;
}

tr_status tr_encoder_find_chat(tr_encoder_t *encoder, tr_error_t *err)
{
    if (!encoder->looked) { // once for all rows
        TR_TRY(tr_chat_new(&encoder->chat, &encoder->source, encoder->tokenizer, err));
        encoder->looked = true;
    }
    return TR_OK;
}

/// The template must be there, and what it is given of the row.
static tr_status prepare(tr_chat_input_t *input, tr_encoder_t *encoder, const json_t *messages,
                         tr_chat_end_t end, tr_error_t *err)
{
    *input = (tr_chat_input_t){messages, encoder->tools, encoder->kwargs, end};
    TR_TRY(tr_encoder_find_chat(encoder, err));
    return encoder->chat != NULL
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED,
                         "'%s' has no chat template: data.chat_template (of a judge chat_template) "
                         "takes a file, or a name such as chatml or plain",
                         encoder->source.model);
}

static tr_status encode_text(int32_t **ids, size_t *count, const tr_encoder_t *encoder,
                             const json_t *text, tr_error_t *err)
{
    // Special tokens are those of the tokenizer's template, the begin token as a rule: as
    // transformers' default, add_special_tokens=True.
    return tr_tokenizer_encode(ids, count, encoder->tokenizer, json_string_value(text),
                               json_string_length(text), TR_ENCODE_SPECIAL, err);
}

/// Appends the end token, unless the text brought one.
static void append_end(tr_sequence_t *sequence, const tr_tokenizer_t *tokenizer)
{
    // TRL appends eos to texts and completions, so that a model learns to stop.
    int32_t eos = tr_tokenizer_eos(tokenizer);
    size_t n = sequence->length;
    if (eos >= 0 && (n == 0 || sequence->ids[n - 1] != eos)) {
        sequence->ids = tr_realloc(sequence->ids, (n + 1) * sizeof *sequence->ids);
        sequence->ids[sequence->length++] = eos;
    }
}

/// The tokens of a prompt alone. *ids: [*count], the caller's.
static tr_status encode_opening(int32_t **ids, size_t *count, tr_encoder_t *encoder,
                                const json_t *prompt, tr_error_t *err)
{
    tr_chat_input_t input;
    if (json_is_string(prompt)) {
        return encode_text(ids, count, encoder, prompt, err);
    }
    // With the generation prompt, as the text ends where the assistant begins.
    TR_TRY(prepare(&input, encoder, prompt, TR_CHAT_PROMPT, err));
    return tr_chat_encode(ids, count, NULL, encoder->chat, &input, err);
}

tr_status tr_encoder_render(tr_jinja_text_t *text, tr_encoder_t *encoder, const json_t *messages,
                            tr_chat_end_t end, tr_error_t *err)
{
    tr_chat_input_t input;
    TR_TRY(prepare(&input, encoder, messages, end, err));
    return tr_chat_render(text, encoder->chat, &input, err);
}

tr_status tr_encode_prompt(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *prompt,
                           tr_error_t *err)
{
    TR_TRY(encode_opening(&sequence->ids, &sequence->length, encoder, prompt, err));
    // Nothing but a prompt: the response is yet to be generated.
    sequence->prompt = sequence->length;
    if (!json_is_string(prompt)) { // judges and samples show the text
        tr_jinja_text_t text = {0};
        TR_TRY(tr_encoder_render(&text, encoder, prompt, TR_CHAT_PROMPT, err));
        sequence->text = text.text.data;
        text.text = (tr_bytes_t){0};
        tr_jinja_text_release(&text);
    }
    return TR_OK;
}

tr_status tr_encode_whole(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *value,
                          bool cut, tr_error_t *err)
{
    tr_chat_input_t input;
    if (json_is_string(value)) {
        TR_TRY(encode_text(&sequence->ids, &sequence->length, encoder, value, err));
        if (!cut) { // what was cut goes on: an end here would teach to stop anywhere
            append_end(sequence, encoder->tokenizer);
        }
    } else { // a template ends the turns itself
        TR_TRY(prepare(&input, encoder, value, cut ? TR_CHAT_CUT : TR_CHAT_WHOLE, err));
        TR_TRY(tr_chat_encode(&sequence->ids, &sequence->length,
                              encoder->masks ? &sequence->mask : NULL, encoder->chat, &input, err));
    }
    // The first token has none before it that could predict it, so it is never learnt.
    sequence->prompt = sequence->length > 0 ? 1 : 0;
    return TR_OK;
}

static bool begins_with(const tr_sequence_t *sequence, const int32_t *ids, size_t count)
{
    return count <= sequence->length && memcmp(sequence->ids, ids, count * sizeof *ids) == 0;
}

tr_status tr_encode_completion(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *prompt,
                               const json_t *completion, bool cut, tr_error_t *err)
{
    int32_t *opening = NULL;
    size_t count = 0;
    // The prompt as generation will see it: this is where the completion begins.
    TR_TRY(encode_opening(&opening, &count, encoder, prompt, err));
    // Both together, since the completion's first token may depend on the prompt's end:
    // SentencePiece puts a space before a text, and BPE merges across the border.
    json_t *all = tr_value_join(prompt, completion);
    tr_status status = tr_encode_whole(sequence, encoder, all, cut, err);
    if (status == TR_OK) {
        // A token of the whole may reach across the prompt's end. Generation starts from the
        // prompt's own tokens, so they are what the completion is learnt after; the caller is told
        // how often it differs.
        encoder->mismatches += !begins_with(sequence, opening, count);
        sequence->prompt = count < sequence->length ? count : sequence->length;
        // The same tokens unless the border was crossed; ids past the prompt stay those of the
        // whole, as in TRL.
        memcpy(sequence->ids, opening, sequence->prompt * sizeof *opening);
    }
    json_decref(all);
    free(opening);
    return status;
}

tr_status tr_encode_steps(tr_sequence_t *sequence, tr_encoder_t *encoder, const char *prompt,
                          const char *const *texts, const bool *right, size_t count,
                          const char *separator, tr_error_t *err)
{
    tr_steps_t steps;
    tr_status status =
        tr_steps_encode(&steps, encoder->tokenizer, prompt, texts, count, separator, err);
    if (status == TR_OK) {
        *sequence =
            (tr_sequence_t){.ids = steps.ids, .length = steps.length, .prompt = steps.prompt};
        steps.ids = NULL; // the sequence's from here on
        sequence->mask = tr_calloc(sequence->length, sizeof *sequence->mask);
        for (size_t i = 0; i < count; i++) {
            sequence->mask[steps.ends[i]] = right[i] ? TR_MASK_RIGHT_STEP : TR_MASK_WRONG_STEP;
        }
    }
    tr_steps_release(&steps);
    return status;
}

json_t *tr_value_join(const json_t *a, const json_t *b)
{
    // b decides, as a may be absent; expect_one_type in kinds.c has seen to it that they agree.
    if (json_is_string(b)) {
        char *text = tr_format("%s%s", a != NULL ? json_string_value(a) : "", json_string_value(b));
        json_t *joined = json_string(text);
        TR_ASSERT(joined != NULL, "two texts are no text");
        free(text);
        return joined;
    }
    json_t *joined = json_array();
    json_array_extend(joined, (json_t *)a); // does nothing for NULL
    json_array_extend(joined, (json_t *)b);
    return joined;
}
