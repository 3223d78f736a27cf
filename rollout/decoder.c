// Continuous batching: which sequence runs in which pass, and what becomes of the tokens.
//
// A slot is a running sequence with its pages of the cache. step() is one turn: admit requests to
// free slots, gather a pass, run it (device_pass.c), append the sampled tokens, release what is
// complete. Orca (Yu et al. 2022) is the scheduling, vLLM (Kwon et al. 2023) the paged cache.
#include "rollout/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/text/stop.h"
#include "rollout/device_pass.h"

/// Pages of one kind of layers: those that see all keys, and those with a window.
enum { WHOLE, RING, KINDS };

/// A running sequence.
typedef struct slot {
    bool busy;
    size_t index; // of the request
    size_t done;  // tokens whose keys and values are in the cache
    size_t limit; // greatest response length
    struct {
        int32_t *table; // [count]; NULL: none
        size_t count;   // for the whole length, and of a ring
    } pages[KINDS];     // of the cache
    int32_t *ids;       // prompt, then response
    size_t length;      // of ids; ids past done go into the next pass
    tr_stop_t *stop;    // NULL without stop strings
} slot_t;

struct rollout_decoder {
    tr_model_t *model;
    rollout_device_t *device;
    tr_cache_t *cache; // NULL until the first call
    size_t max_batch;
    slot_t *slots; // [max_batch]
    struct {
        int32_t *items; // stack of [count]
        size_t count;
    } free[KINDS];
    size_t states; // sequences whose states the cache has room for, by the index of their slots
};

/// One call of rollout_decode.
typedef struct job {
    rollout_decoder_t *decoder;
    const rollout_options_t *options;
    const rollout_request_t *requests;
    rollout_response_t *responses;
    size_t count;
    size_t next; // the first request that has not begun
    size_t finished;
    rollout_token_fn on_token;
    void *context;
} job_t;

void rollout_response_release(rollout_response_t *response)
{
    free(response->ids);
    free(response->logprobs);
    free(response->raw);
    free(response->kept_ends);
    free(response->kept_ids);
    *response = (rollout_response_t){0};
}

/// Pages of each kind that a sequence of so many tokens needs.
static void needs_of(size_t needs[KINDS], const rollout_decoder_t *decoder, size_t tokens)
{
    const tr_cache_room_t room =
        tr_cache_room_of(tr_model_config(decoder->model), tokens, ROLLOUT_PASS_TOKENS);
    needs[WHOLE] = room.pages;
    needs[RING] = room.ring;
}

rollout_decoder_t *rollout_decoder_new(tr_model_t *model, size_t max_batch)
{
    rollout_decoder_t *decoder = tr_calloc(1, sizeof *decoder);
    decoder->model = model;
    decoder->max_batch = max_batch;
    decoder->device = rollout_device_new(model);
    // The cache comes with the first call, which knows how long its sequences get.
    decoder->slots = tr_calloc(max_batch, sizeof *decoder->slots);
    return decoder;
}

/// Gives the pages back in reverse, so that the next sequence gets them in the same order.
static void release_slot(rollout_decoder_t *decoder, slot_t *slot)
{
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t j = slot->pages[k].count; j-- > 0;) {
            decoder->free[k].items[decoder->free[k].count++] = slot->pages[k].table[j];
        }
        free(slot->pages[k].table);
    }
    free(slot->ids);
    tr_stop_destroy(&slot->stop);
    *slot = (slot_t){0};
}

void rollout_decoder_destroy(rollout_decoder_t **self)
{
    rollout_decoder_t *decoder = *self;
    if (decoder == NULL) {
        return;
    }
    // Graphs have recorded the cache's addresses, so they go first.
    rollout_device_destroy(&decoder->device);
    tr_cache_destroy(&decoder->cache);
    for (size_t k = 0; k < KINDS; k++) {
        free(decoder->free[k].items);
    }
    free(decoder->slots);
    free(decoder);
    *self = NULL;
}

void rollout_decoder_weights_moved(rollout_decoder_t *decoder)
{
    rollout_device_forget(decoder->device);
}

/// The most sequences that run at once.
static size_t running_limit(const job_t *job)
{
    return job->count < job->decoder->max_batch ? job->count : job->decoder->max_batch;
}

/// max_new_tokens, or the room that the model's positions leave behind the prompt.
static size_t response_limit(const job_t *job, const rollout_request_t *request)
{
    // check_request has made sure that there is room for at least one token.
    size_t room = tr_model_config(job->decoder->model)->max_positions - request->length;
    return job->options->max_new_tokens < room ? job->options->max_new_tokens : room;
}

/// The decoder is called with prompts from the wire: ids are offsets into the embedding.
static tr_status check_request(const rollout_request_t *request, const tr_model_config_t *config,
                               tr_error_t *err)
{
    if (request->length == 0 || request->length >= config->max_positions) {
        return tr_fail(err, TR_ERR_ARGUMENT, "prompt %u has %zu tokens; the model takes 1 to %zu",
                       request->prompt_number, request->length, config->max_positions - 1);
    }
    for (size_t t = 0; t < request->length; t++) {
        if (request->prompt[t] < 0 || (size_t)request->prompt[t] >= config->vocabulary) {
            return tr_fail(err, TR_ERR_ARGUMENT, "prompt %u has token %d; the vocabulary has %zu",
                           request->prompt_number, request->prompt[t], config->vocabulary);
        }
    }
    return TR_OK;
}

/// All pages of a kind, the lowest on top. Which of them a sequence gets changes no number, only
/// where it is read.
static void stack_pages(rollout_decoder_t *decoder, size_t kind, size_t count)
{
    int32_t *items = tr_realloc(decoder->free[kind].items, (count + 1) * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        items[i] = (int32_t)(count - 1 - i);
    }
    decoder->free[kind].items = items;
    decoder->free[kind].count = count;
}

static size_t greater(size_t a, size_t b)
{
    return a > b ? a : b;
}

/// Makes the cache hold at least the pages and the states of `sequences` sequences of so many
/// tokens, and one more of each that nobody reads (device_pass.h). No sequence is running: all
/// pages are free. A larger cache replaces a smaller one, whose contents nobody needs.
static tr_status reserve(rollout_decoder_t *decoder, size_t tokens, size_t sequences,
                         tr_error_t *err)
{
    size_t needs[KINDS], had[KINDS] = {decoder->free[WHOLE].count, decoder->free[RING].count};
    needs_of(needs, decoder, tokens);
    // The cache only grows: calls of a run are alike, and a new cache costs the recorded graphs.
    if (sequences * needs[WHOLE] <= had[WHOLE] && sequences * needs[RING] <= had[RING] &&
        sequences <= decoder->states) {
        return TR_OK;
    }
    const tr_cache_room_t room = {.pages = greater(sequences * needs[WHOLE], had[WHOLE]) + 1,
                                  .ring = greater(sequences * needs[RING], had[RING]) + 1,
                                  .slots = greater(sequences, decoder->states) + 1};
    // After a failure there is no cache and no page, as in a new decoder.
    decoder->free[WHOLE].count = decoder->free[RING].count = decoder->states = 0;
    tr_cache_destroy(&decoder->cache);
    TR_TRY(tr_cache_new(&decoder->cache, decoder->model, room, err));
    decoder->states = room.slots - 1;
    rollout_device_use(decoder->device, decoder->cache, room);
    stack_pages(decoder, WHOLE, room.pages - 1);
    stack_pages(decoder, RING, room.ring - 1);
    return TR_OK;
}

/// Checks the requests, and makes a cache for the case that the sequences that run at once are all
/// as long as the longest one.
static tr_status prepare(job_t *job, tr_error_t *err)
{
    size_t longest = 1;
    if (job->options->max_new_tokens == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "max_new_tokens is 0: expected at least 1");
    }
    for (size_t i = 0; i < job->count; i++) {
        const rollout_request_t *request = &job->requests[i];
        TR_TRY(check_request(request, tr_model_config(job->decoder->model), err));
        size_t total = request->length + response_limit(job, request);
        longest = total > longest ? total : longest;
    }
    return reserve(job->decoder, longest, running_limit(job), err);
}

/// Gives a slot pages of all kinds for so many tokens, if there are enough.
static bool take_pages(rollout_decoder_t *decoder, slot_t *slot, size_t tokens)
{
    size_t needs[KINDS];
    needs_of(needs, decoder, tokens);
    if (needs[WHOLE] > decoder->free[WHOLE].count || needs[RING] > decoder->free[RING].count) {
        return false;
    }
    for (size_t k = 0; k < KINDS; k++) {
        slot->pages[k].count = needs[k];
        slot->pages[k].table = needs[k] > 0 ? tr_calloc(needs[k], sizeof(int32_t)) : NULL;
        for (size_t j = 0; j < needs[k]; j++) {
            slot->pages[k].table[j] = decoder->free[k].items[--decoder->free[k].count];
        }
    }
    return true;
}

/// The next request takes a slot, with pages for the longest response that it may get: a running
/// sequence never has to wait for a page, and none is ever evicted. False: there are not enough.
static bool begin(job_t *job, slot_t *slot)
{
    const rollout_request_t *request = &job->requests[job->next];
    size_t limit = response_limit(job, request);
    if (!take_pages(job->decoder, slot, request->length + limit)) {
        return false;
    }
    slot->busy = true;
    slot->index = job->next;
    slot->limit = limit;
    slot->length = request->length;
    // Prompt and response in one array: the pass takes from it what is not in the cache yet.
    slot->ids = tr_calloc(request->length + limit, sizeof *slot->ids);
    memcpy(slot->ids, request->prompt, request->length * sizeof *slot->ids);
    const rollout_options_t *options = job->options;
    if (options->stop.count > 0) {
        slot->stop = tr_stop_new(options->tokenizer, options->stop.items, options->stop.count);
    }
    rollout_response_t *response = &job->responses[job->next];
    // At full length at once, so that append() needs no check.
    response->ids = tr_calloc(limit, sizeof *response->ids);
    response->logprobs = tr_calloc(limit, sizeof *response->logprobs);
    response->raw = tr_calloc(limit, sizeof *response->raw);
    response->kept_ends = tr_calloc(limit, sizeof *response->kept_ends);
    job->next++;
    return true;
}

/// Begins requests, in order, while there are free slots and pages for their whole length.
static void admit(job_t *job)
{
    rollout_decoder_t *decoder = job->decoder;
    // Slots are taken from the first on, so that their numbers are below running_limit: those are
    // the states that the cache has. Else a number decides nothing but the order in the pass.
    for (size_t i = 0; i < decoder->max_batch && job->next < job->count; i++) {
        // In order: a shorter request behind one that waits waits too, so that none is put off for
        // ever.
        if (!decoder->slots[i].busy && !begin(job, &decoder->slots[i])) {
            return;
        }
    }
}

/// A pass, and the slots whose next tokens it samples.
typedef struct pass {
    rollout_pass_t taken;
    size_t *sampled; // [samples] indices of slots
} pass_t;

/// The next token of every running sequence, and parts of prompts within the budget: a long prompt
/// is spread over passes, so that it does not hold up the sequences that are generating.
static void gather(const job_t *job, pass_t *pass)
{
    rollout_decoder_t *decoder = job->decoder;
    rollout_pass_t *taken = &pass->taken;
    size_t budget = ROLLOUT_PASS_TOKENS;
    int32_t rows = 0;
    // The arrays are used again by every pass.
    taken->count = 0;
    taken->samples = 0;
    for (size_t i = 0; i < decoder->max_batch; i++) {
        slot_t *slot = &decoder->slots[i];
        if (!slot->busy) {
            continue;
        }
        size_t waiting = slot->length - slot->done;
        // A sequence that generates has one token waiting and always goes along; only prompts share
        // the budget.
        size_t take = waiting == 1 ? 1 : waiting < budget ? waiting : budget;
        if (take == 0) {
            continue;
        }
        // Running sequences do not count against the budget.
        budget -= waiting == 1 ? 0 : take;
        // A span borrows the ids and the page table: the slot outlives the pass.
        taken->spans[taken->count++] = (tr_span_t){.ids = slot->ids + slot->done,
                                                   .length = take,
                                                   .position = slot->done,
                                                   .pages = slot->pages[WHOLE].table,
                                                   .slot = (int32_t)i,
                                                   .ring = slot->pages[RING].table,
                                                   .ring_pages = slot->pages[RING].count};
        rows += (int32_t)take;
        // From here on counted as cached, though the pass has yet to run: a failure ends the whole
        // call.
        slot->done += take;
        // With its last known token in the pass, the sequence gets its next one. The random number
        // depends on what the token is (seed, prompt, sample, position), not on when it is sampled.
        if (slot->done == slot->length) {
            const rollout_request_t *request = &job->requests[slot->index];
            taken->uniforms[taken->samples] =
                tr_rng_uniform(job->options->seed, TR_RNG_SAMPLE, request->prompt_number,
                               request->sample, (uint32_t)slot->length);
            taken->sampled_rows[taken->samples] = rows - 1;
            pass->sampled[taken->samples++] = i;
        }
    }
}

static bool contains(const int32_t *ids, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/// Behind the lists of earlier tokens; an empty list only marks its end.
static void append_kept(rollout_response_t *response, const int32_t *ids, size_t count)
{
    if (count > 0) {
        // Grows by what is kept: with top_p a token may keep two ids or thousands.
        response->kept_ids = tr_realloc(response->kept_ids, (response->kept + count) * sizeof *ids);
        memcpy(response->kept_ids + response->kept, ids, count * sizeof *ids);
        response->kept += count;
    }
    response->kept_ends[response->length] = (int32_t)response->kept;
}

/// Whether the response is complete; sets the reason. EOS, stop ids and stop strings count even at
/// the length limit.
static bool complete(const job_t *job, const slot_t *slot, rollout_response_t *response)
{
    const tr_model_config_t *config = tr_model_config(job->decoder->model);
    const rollout_options_t *options = job->options;
    int32_t id = response->ids[response->length - 1];
    // EOS before stop ids: a token that is both ends the response as EOS.
    if (!options->ignore_eos && contains(config->eos, config->eos_count, id)) {
        response->finish = TR_FINISH_EOS;
        return true;
    }
    if (contains(options->stop_ids, options->stop_count, id) ||
        (slot->stop != NULL && tr_stop_push(slot->stop, id))) {
        response->finish = TR_FINISH_STOP;
        return true;
    }
    response->finish = TR_FINISH_LENGTH;
    return response->length == slot->limit;
}

/// Appends sample i to its response; true when the response is complete.
static bool append(const job_t *job, slot_t *slot, const rollout_drawn_t *drawn, size_t i)
{
    rollout_response_t *response = &job->responses[slot->index];
    append_kept(response, drawn->kept_ids + i * drawn->kept_columns, (size_t)drawn->kept_counts[i]);
    response->ids[response->length] = drawn->tokens[i];
    response->logprobs[response->length] = drawn->logprobs[i];
    response->raw[response->length] = drawn->raw[i];
    response->length++;
    slot->ids[slot->length++] = drawn->tokens[i];
    return complete(job, slot, response);
}

/// What is drawn of logits that are no numbers would look like any other token.
static tr_status check_drawn(const rollout_drawn_t *drawn, size_t i, tr_error_t *err)
{
    return isfinite(drawn->raw[i]) && isfinite(drawn->logprobs[i])
               ? TR_OK
               : tr_fail(err, TR_ERR_NUMERIC,
                         "a log-probability is not finite: the model's weights are broken");
}

/// One pass of the model over the tokens that wait, and what becomes of the samples.
static tr_status step(job_t *job, pass_t *pass, rollout_drawn_t *drawn, tr_error_t *err)
{
    rollout_decoder_t *decoder = job->decoder;
    admit(job);
    gather(job, pass);
    // A pass of parts of prompts alone samples nothing; the loop below is then empty.
    TR_TRY(rollout_device_run(decoder->device, drawn, &pass->taken, &job->options->sampling, err));
    for (size_t i = 0; i < pass->taken.samples; i++) {
        slot_t *slot = &decoder->slots[pass->sampled[i]];
        size_t index = slot->index;
        TR_TRY(check_drawn(drawn, i, err));
        // Its slot and pages are free for the next request already in the next pass.
        if (append(job, slot, drawn, i)) {
            release_slot(decoder, slot);
            job->finished++;
        }
        // After the append, so that the token is in the response when the caller hears of it.
        if (job->on_token != NULL && !job->on_token(job->context, index, drawn->tokens[i])) {
            return tr_fail(err, TR_ERR_INTERRUPTED, "generation was stopped");
        }
    }
    return TR_OK;
}

/// Host memory for passes of at most n sequences. Passes may be filled up to round numbers
/// (rollout_device_rows), so the inputs have room for that.
static void work_init(pass_t *pass, rollout_drawn_t *drawn, size_t n, size_t kept_columns)
{
    size_t rows = rollout_device_rows(n);
    // sampled needs no such room: it names slots, and filling rows have none.
    *pass = (pass_t){.taken = {.spans = tr_calloc(rows, sizeof *pass->taken.spans),
                               .sampled_rows = tr_calloc(rows, sizeof *pass->taken.sampled_rows),
                               .uniforms = tr_calloc(rows, sizeof *pass->taken.uniforms)},
                     .sampled = tr_calloc(n, sizeof *pass->sampled)};
    *drawn = (rollout_drawn_t){.tokens = tr_calloc(n, sizeof *drawn->tokens),
                               .logprobs = tr_calloc(n, sizeof *drawn->logprobs),
                               .raw = tr_calloc(n, sizeof *drawn->raw),
                               .kept_counts = tr_calloc(n, sizeof *drawn->kept_counts),
                               .kept_ids = tr_calloc(n * kept_columns + 1, sizeof *drawn->kept_ids),
                               .kept_columns = kept_columns};
}

static void work_release(pass_t *pass, rollout_drawn_t *drawn)
{
    free(drawn->kept_ids);
    free(drawn->kept_counts);
    free(drawn->raw);
    free(drawn->logprobs);
    free(drawn->tokens);
    free(pass->sampled);
    free(pass->taken.uniforms);
    free(pass->taken.sampled_rows);
    free(pass->taken.spans);
}

/// After a failure: running sequences and finished responses alike.
static void release_all(job_t *job)
{
    for (size_t i = 0; i < job->decoder->max_batch; i++) {
        if (job->decoder->slots[i].busy) {
            release_slot(job->decoder, &job->decoder->slots[i]);
        }
    }
    for (size_t i = 0; i < job->count; i++) {
        // Those that have not begun are zeros, which release takes too.
        rollout_response_release(&job->responses[i]);
    }
}

tr_status rollout_decode(rollout_decoder_t *decoder, rollout_response_t *responses,
                         const rollout_request_t *requests, size_t count,
                         const rollout_options_t *options, rollout_token_fn on_token, void *context,
                         tr_error_t *err)
{
    job_t job = {.decoder = decoder,
                 .options = options,
                 .requests = requests,
                 .responses = responses,
                 .count = count,
                 .on_token = on_token,
                 .context = context};
    // So that all of them can be released, also after a failure.
    memset(responses, 0, count * sizeof *responses);
    TR_TRY(prepare(&job, err));
    pass_t pass;
    rollout_drawn_t drawn;
    size_t columns =
        tr_sampling_most_kept(&options->sampling, tr_model_config(decoder->model)->vocabulary);
    // 0 columns where sampling does not truncate: nothing is kept then.
    work_init(&pass, &drawn, running_limit(&job), columns);
    tr_status status = TR_OK;
    // Every pass takes at least one token, so this ends.
    while (job.finished < count && status == TR_OK) {
        status = step(&job, &pass, &drawn, err);
    }
    if (status != TR_OK) {
        // Half of a batch is of no use: a request that is sent again gets the same bits.
        release_all(&job);
    }
    work_release(&pass, &drawn);
    return status;
}

/// The next token of so many more sequences as a device may fill a pass up to.
static void fill_up(pass_t *pass)
{
    rollout_pass_t *taken = &pass->taken;
    size_t rows = rollout_device_rows(taken->count);
    for (; taken->count < rows; taken->count++) {
        taken->spans[taken->count] = taken->spans[0];
        taken->sampled_rows[taken->samples++] = (int32_t)taken->count;
    }
}

/// As generation begins: prompts alone; twice a full pass, prompts beside the last tokens of the
/// others, the second of which finds the arena in one buffer; and the last tokens alone.
tr_status rollout_decoder_rehearse(size_t *cache, rollout_decoder_t *decoder, size_t sequences,
                                   size_t prompt, size_t longest, const tr_sampling_t *sampling,
                                   tr_error_t *err)
{
    // Nothing is computed: a dry backend counts what the operators would allocate.
    const tr_memory_use_t *use = &tr_model_backend(decoder->model)->memory;
    const rollout_request_t request = {0};
    const rollout_options_t options = {.sampling = *sampling};
    const job_t job = {.decoder = decoder, .options = &options, .requests = &request};
    size_t columns = tr_sampling_most_kept(sampling, tr_model_config(decoder->model)->vocabulary);
    size_t before = use->now;
    TR_TRY(reserve(decoder, longest, sequences, err));
    *cache = use->now - before;
    size_t needs[KINDS];
    needs_of(needs, decoder, longest);
    int32_t *ids = tr_calloc(longest, sizeof *ids);
    int32_t *tables[KINDS] = {ids, needs[RING] > 0 ? ids : NULL}; // page 0, again and again
    tr_status status = TR_OK;
    pass_t pass;
    rollout_drawn_t drawn;
    work_init(&pass, &drawn, sequences, columns);
    for (size_t turn = 0; turn < 4 && status == TR_OK; turn++) {
        for (size_t i = 0; i < sequences; i++) {
            // Turn 0: prompts alone, as many as the budget takes; turns 1 and 2: beside running
            // sequences.
            bool begins = turn < 3 && i * prompt < ROLLOUT_PASS_TOKENS;
            size_t left = begins ? prompt : 1;
            decoder->slots[i] =
                (slot_t){.busy = turn > 0 || begins,
                         .pages = {{tables[WHOLE], needs[WHOLE]}, {tables[RING], needs[RING]}},
                         .ids = ids,
                         .done = longest - left,
                         .length = longest};
        }
        gather(&job, &pass);
        // The last turn is one token of each sequence, which a device with graphs fills up.
        if (turn == 3) {
            fill_up(&pass);
        }
        status = rollout_device_run(decoder->device, &drawn, &pass.taken, sampling, err);
    }
    // The made-up slots own nothing: release_slot would free the shared arrays.
    memset(decoder->slots, 0, sequences * sizeof *decoder->slots);
    work_release(&pass, &drawn);
    free(ids);
    return status;
}
