// bench-gpu: what one GPU does in Troupe, beside the time that its arithmetic alone and its memory
// alone would take.
//
//     bench-gpu [--toy] [--free] limits
//     bench-gpu [--toy] [--free] train|rollout|handover|config SHAPE
//
// Each row is a line of fields between tabs: what; milliseconds that the arithmetic would take at
// the card's measured rate; milliseconds that the bytes would take at its measured bandwidth;
// milliseconds measured; the share of the former (train) or of the latter (the others) in the
// measured; how much a second. `config` prints the shape as a config.json, for a rival. Other
// sentences go to standard error.
//
// train is forward, backward and AdamW of the next-token loss, in one chunk as large as memory
// allows; rollout one more token for each of N sequences, the prompts' passes taken off; handover a
// model's weights to another's through memory of the host.
//
// --free: products by cuBLASLt's own choice of algorithm, which gives up exactness: the difference
// is what exactness costs. --toy: sizes for the emulated GPU, which show that this program runs and
// measure nothing. Counted as arithmetic: 6 operations a parameter and token of training, 2 of
// rollout, and those of causal attention; what is computed twice counts once.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/shapes.h"
#include "common/base/clock.h"
#include "common/base/real.h"
#include "common/base/rng.h"
#include "common/model/trainer.h"
#include "common/tensor/device.h"
#include "deploy/memory.h"
#include "rollout/decoder.h"

enum { TURNS = 5, RUNNING = 4 };

typedef struct sizes {
    size_t product; // rows, columns and depth of the product that measures the card
    size_t copy;    // bytes of the copy that does
    size_t length;  // of a sequence learnt from
    size_t chunk,
        least; // sequences of a chunk at most; fewer than `least` and the next way is taken
    size_t prompt, answer;   // tokens
    size_t running[RUNNING]; // sequences that generate at once
} sizes_t;

static const sizes_t real_sizes = {8192, (size_t)4 << 30, 2048, 16, 4, 128, 128, {1, 16, 64, 256}};
static const sizes_t toy_sizes = {64, 1 << 20, 16, 2, 1, 5, 4, {1, 2, 3, 4}};

typedef struct bench {
    const sizes_t *sizes;
    const char *shape;
    tr_model_config_t config;
    tr_backend_t *backend;
    double rate, bandwidth; // of the card: operations and bytes a second
} bench_t;

static double gib(size_t bytes)
{
    return (double)bytes / 0x1p30;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/// Of TURNS of them, which are sorted.
static double median(double *seconds)
{
    qsort(seconds, TURNS, sizeof *seconds, ascending);
    return seconds[TURNS / 2];
}

/// One row; of_bytes: the share is that of the bytes' time.
static void print_row(const bench_t *b, const char *what, double operations, double bytes,
                      double seconds, bool of_bytes, double amount, const char *unit)
{
    // the larger of the two is the least time that the card could take
    double arithmetic = operations / b->rate, memory = bytes / b->bandwidth;
    printf("%s\t%.3f\t%.3f\t%.3f\t%.1f %%\t%.4g %s\n", what, 1e3 * arithmetic, 1e3 * memory,
           1e3 * seconds, 100.0 * (of_bytes ? memory : arithmetic) / seconds, amount / seconds,
           unit);
    fflush(stdout);
}

// The card's limits

/// A bf16 tensor of random numbers; its buffer is the caller's.
static tr_status random_matrix(tr_tensor_t *tensor, tr_queue_t *queue, const bench_t *b,
                               size_t rows, size_t columns, tr_error_t *err)
{
    *tensor = (tr_tensor_t){.dtype = TR_BF16, .rows = rows, .columns = columns};
    TR_TRY(b->backend->ops->buffer_new(b->backend, &tensor->buffer, tr_tensor_bytes(*tensor), err));
    uint16_t *numbers = tr_calloc(columns, sizeof *numbers);
    for (size_t i = 0; i < columns; i++) {
        numbers[i] = tr_real_to_bf16(tr_rng_uniform(1, TR_RNG_INIT, 0, 0, (uint32_t)i) - 0.5f);
    }
    // row by row: the host holds one row, not a matrix of gigabytes
    for (size_t row = 0; row < rows; row++) {
        b->backend->ops->write(queue, tr_tensor_rows(*tensor, row, 1), numbers);
    }
    free(numbers);
    return b->backend->ops->queue_wait(queue, err);
}

/// The median time of an operator, once warm.
static tr_status time_product(double *seconds, const bench_t *b, tr_queue_t *queue, tr_error_t *err)
{
    const tr_ops_t *ops = b->backend->ops;
    const size_t n = b->sizes->product;
    double turns[TURNS];
    tr_tensor_t y = {0}, x = {0}, w = {0};
    TR_TRY(random_matrix(&y, queue, b, n, n, err));
    TR_TRY(random_matrix(&x, queue, b, n, n, err));
    TR_TRY(random_matrix(&w, queue, b, n, n, err));
    tr_status status = TR_OK;
    for (size_t i = 0; i <= TURNS && status == TR_OK; i++) {
        double start = tr_clock_seconds();
        // several in a row: the start of a kernel is hidden behind the one before
        for (size_t j = 0; j < TURNS; j++) {
            ops->matmul(queue, y, x, w, false);
        }
        status = ops->queue_wait(queue, err);
        // turn 0 warms up: its time is overwritten by turn 1's
        turns[i > 0 ? i - 1 : 0] = (tr_clock_seconds() - start) / TURNS;
    }
    *seconds = median(turns);
    ops->buffer_destroy(&w.buffer);
    ops->buffer_destroy(&x.buffer);
    ops->buffer_destroy(&y.buffer);
    return status;
}

static tr_status time_copy(double *seconds, const bench_t *b, tr_queue_t *queue, tr_error_t *err)
{
    const tr_ops_t *ops = b->backend->ops;
    double turns[TURNS];
    tr_tensor_t from = {.dtype = TR_U8, .rows = 1, .columns = b->sizes->copy}, to = from;
    TR_TRY(ops->buffer_new(b->backend, &from.buffer, b->sizes->copy, err));
    TR_TRY(ops->buffer_new(b->backend, &to.buffer, b->sizes->copy, err));
    tr_status status = TR_OK;
    for (size_t i = 0; i <= TURNS && status == TR_OK; i++) {
        double start = tr_clock_seconds();
        for (size_t j = 0; j < TURNS; j++) {
            ops->copy(queue, to, from);
        }
        status = ops->queue_wait(queue, err);
        turns[i > 0 ? i - 1 : 0] = (tr_clock_seconds() - start) / TURNS;
    }
    *seconds = median(turns);
    ops->buffer_destroy(&to.buffer);
    ops->buffer_destroy(&from.buffer);
    return status;
}

static tr_status open_gpu(bench_t *b, bool free_products, tr_error_t *err)
{
    const tr_device_options_t options = {
        .device = "cuda:0", .precision = TR_PRECISION_BF16, .free_products = free_products};
    return tr_backend_open(&b->backend, &options, err);
}

/// Seconds of the product, pinned or free, and of the copy. The device is closed again.
static tr_status measure(double *product, double *copy, bench_t *b, bool free_products,
                         tr_error_t *err)
{
    tr_queue_t *queue;
    TR_TRY(open_gpu(b, free_products, err));
    TR_TRY(b->backend->ops->queue_new(b->backend, &queue, err));
    TR_TRY(time_product(product, b, queue, err));
    TR_TRY(time_copy(copy, b, queue, err));
    b->backend->ops->queue_destroy(&queue);
    tr_backend_close(&b->backend);
    return TR_OK;
}

static double product_operations(const bench_t *b)
{
    return 2.0 * (double)b->sizes->product * (double)b->sizes->product * (double)b->sizes->product;
}

/// What shares are taken of: the product by the library's own choice, and the copy, which reads and
/// writes.
static tr_status find_limits(bench_t *b, tr_error_t *err)
{
    double product, copy;
    TR_TRY(measure(&product, &copy, b, true, err));
    b->rate = product_operations(b) / product;
    // a copy reads and writes each byte
    b->bandwidth = 2.0 * (double)b->sizes->copy / copy;
    return TR_OK;
}

static tr_status limits(bench_t *b, tr_error_t *err)
{
    const size_t n = b->sizes->product;
    const double tera = product_operations(b) / 1e12, bytes = 2.0 * (double)b->sizes->copy;
    double pinned, copy;
    TR_TRY(measure(&pinned, &copy, b, false, err));
    char *product_name = tr_format("bf16 product of [%zu, %zu] with the pinned algorithm", n, n);
    char *copy_name = tr_format("copy of %zu MiB", b->sizes->copy >> 20);
    print_row(b, "the card's rate", product_operations(b), 0.0, product_operations(b) / b->rate,
              false, tera, "TFLOP/s");
    print_row(b, product_name, product_operations(b), 6.0 * (double)n * (double)n, pinned, false,
              tera, "TFLOP/s");
    print_row(b, copy_name, 0.0, bytes, copy, true, bytes / 1e9, "GB/s");
    free(copy_name);
    free(product_name);
    return TR_OK;
}

// Models

/// Random weights near those of a fresh model, from one block of numbers that is repeated.
static tr_status open_model(tr_model_t **model, const bench_t *b, tr_model_use_t use,
                            tr_error_t *err)
{
    enum { BLOCK = 1 << 18 };
    // one block of random numbers is written again and again: the values do not matter, and making
    // them would take longer than what is measured
    TR_TRY(tr_model_new(model, &b->config, b->backend, use, err));
    const size_t total = tr_model_layout(*model)->total;
    float *values = tr_calloc(total, sizeof *values);
    for (size_t i = 0; i < total; i++) {
        values[i] = i < BLOCK ? 0.04f * tr_rng_uniform(1, TR_RNG_INIT, 0, 0, (uint32_t)i) - 0.02f
                              : values[i - BLOCK];
    }
    tr_model_write_parameters(*model, values);
    free(values);
    return b->backend->ops->queue_wait(tr_model_queue(*model), err);
}

/// Parameters that a token goes through: all but an embedding that is not the head too.
static double read_parameters(const bench_t *b, size_t total)
{
    return (double)(total -
                    (b->config.tied_embeddings ? 0 : b->config.vocabulary * b->config.hidden));
}

/// Operations of attention, forward, of a token that sees `context` others.
static double attention(const bench_t *b, double context)
{
    return 4.0 * (double)(b->config.layers * b->config.heads * b->config.head_dim) * context;
}

static int32_t *random_ids(const bench_t *b, size_t count)
{
    int32_t *ids = tr_calloc(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int32_t)(tr_rng_uniform(2, TR_RNG_INIT, 0, 0, (uint32_t)i) *
                           (float)b->config.vocabulary);
    }
    return ids;
}

// Training

/// Ways to learn in less and less memory.
typedef struct way {
    const char *name;
    tr_model_use_t use;
    bool recompute, on_host;
} way_t;

static const way_t ways[] = {
    {"masters in fp32", TR_MODEL_LEARNS, false, false},
    {"masters in fp32, layers computed again", TR_MODEL_LEARNS, true, false},
    {"rounded weights", TR_MODEL_LEARNS_ROUNDED, false, false},
    {"rounded weights, layers computed again", TR_MODEL_LEARNS_ROUNDED, true, false},
    {"rounded weights, moments on the host", TR_MODEL_LEARNS_ROUNDED, false, true},
    {"rounded weights, moments on the host, layers computed again", TR_MODEL_LEARNS_ROUNDED, true,
     true},
};

/// The same as `troupe check`'s.
static tr_status memory_for(memory_t *memory, const bench_t *b, const way_t *way, size_t chunk,
                            tr_error_t *err)
{
    const size_t length = b->sizes->length;
    const tr_device_options_t device = {.device = "cuda", .precision = TR_PRECISION_BF16};
    const tr_optimizer_options_t options = {.offload = way->on_host,
                                            .gradient_checkpointing = way->recompute};
    const memory_work_t work = {
        .use = way->use,
        .options = &options,
        .ranks = 1,
        .chunks = 1,
        .chunk = {.sequences = chunk, .length = length, .answers = length - 1}};
    return memory_of(memory, &device, &b->config, &work, err);
}

static void print_plan(const bench_t *b, const way_t *way, size_t chunk, const memory_t *m,
                       size_t available)
{
    fprintf(stderr,
            "%s learns from %zu x %zu tokens, %s: weights %.1f + optimizer %.1f + gradient %.1f + "
            "activations %.1f = %.1f GiB of %.1f\n",
            b->shape, chunk, b->sizes->length, way->name, gib(m->weights), gib(m->optimizer),
            gib(m->gradient), gib(m->activations), gib(memory_sum(m)), gib(available));
}

/// The first way in which a chunk of the least size fits, and the largest chunk that does.
static tr_status find_way(const way_t **way, size_t *chunk, const bench_t *b, tr_error_t *err)
{
    tr_device_info_t info;
    size_t count;
    TR_TRY(tr_device_list(&info, 1, &count, err));
    // the rest is for what CUDA takes while it runs
    const size_t available = info.free / 100 * 97;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        // a larger chunk in a cheaper way goes before a smaller one in a dearer way only down to
        // `least`
        for (size_t c = b->sizes->chunk; c >= b->sizes->least; c--) {
            memory_t memory;
            TR_TRY(memory_for(&memory, b, &ways[i], c, err));
            if (memory_sum(&memory) <= available) {
                *way = &ways[i];
                *chunk = c;
                print_plan(b, *way, c, &memory, available);
                return TR_OK;
            }
        }
    }
    return tr_fail(err, TR_ERR_MEMORY, "%s does not learn in %.1f GiB", b->shape, gib(available));
}

/// The mean log-probability is to grow.
static tr_status likelihood(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) {
        // descent on minus the mean
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return TR_OK;
}

/// Updates on `chunk` sequences, the first to warm up.
static tr_status time_updates(double *seconds, const bench_t *b, tr_trainer_t *trainer,
                              size_t chunk, tr_error_t *err)
{
    const size_t length = b->sizes->length;
    int32_t *ids = random_ids(b, chunk * length);
    int32_t *starts = tr_calloc(3 * chunk + 2, sizeof *starts);
    int32_t *responses = starts + chunk + 1, *prompts = responses + chunk + 1;
    for (size_t s = 0; s < chunk; s++) {
        // a prompt of one token: all others are trained on
        prompts[s] = 1;
        starts[s + 1] = (int32_t)((s + 1) * length);
        responses[s + 1] = (int32_t)((s + 1) * (length - 1));
    }
    const tr_sequences_t sequences = {.count = chunk,
                                      .ids = ids,
                                      .starts = starts,
                                      .prompt_lengths = prompts,
                                      .response_starts = responses};
    const tr_train_pass_t pass = {
        .epochs = 1, .minibatches = 1, .chunk = chunk, .temperature = 1.0f, .learning_rate = 1e-6};
    tr_queue_t *queue = tr_model_queue(tr_trainer_model(trainer));
    double turns[TURNS];
    tr_train_pass_result_t result;
    tr_status status = TR_OK;
    for (size_t i = 0; i <= TURNS && status == TR_OK; i++) {
        double start = tr_clock_seconds();
        status = tr_trainer_run_pass(trainer, &sequences, &pass, likelihood, NULL, &result, err);
        // a GPU computes after the call has returned
        status = status == TR_OK ? b->backend->ops->queue_wait(queue, err) : status;
        turns[i > 0 ? i - 1 : 0] = tr_clock_seconds() - start;
    }
    *seconds = median(turns);
    free(starts);
    free(ids);
    return status;
}

static tr_status train(bench_t *b, tr_error_t *err)
{
    const way_t *way = NULL;
    size_t chunk = 0;
    double seconds;
    tr_model_t *model;
    tr_trainer_t *trainer;
    TR_TRY(find_way(&way, &chunk, b, err));
    const tr_optimizer_options_t options = {
        .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .offload = way->on_host, .seed = 1};
    TR_TRY(open_model(&model, b, way->use, err));
    tr_model_recompute(model, way->recompute);
    const size_t total = tr_model_layout(model)->total;
    TR_TRY(tr_trainer_new(&trainer, &model, &options, NULL, err));
    TR_TRY(time_updates(&seconds, b, trainer, chunk, err));
    tr_trainer_destroy(&trainer);
    const double tokens = (double)(chunk * b->sizes->length);
    // forward is a third of it: the backward pass has two products for each of the forward's
    const double operations = tokens * (6.0 * read_parameters(b, total) +
                                        3.0 * attention(b, (double)b->sizes->length / 2.0));
    // weights forward and back, the gradient zeroed, added to and read, masters or weights and
    // moments updated
    const double each =
        4.0 + 16.0 + (way->use == TR_MODEL_LEARNS ? 10.0 : 4.0) + (way->on_host ? 0.0 : 16.0);
    char *what = tr_format("train %s %zux%zu", b->shape, chunk, b->sizes->length);
    print_row(b, what, operations, each * (double)total, seconds, false, tokens, "tokens/s");
    free(what);
    return TR_OK;
}

// Rollouts

/// The median time of `answer` tokens for each of n prompts, once warm.
static tr_status time_answers(double *seconds, const bench_t *b, rollout_decoder_t *decoder,
                              const int32_t *ids, size_t n, size_t answer, tr_error_t *err)
{
    const rollout_options_t options = {.sampling = {.temperature = 1.0f, .top_p = 1.0f},
                                       .max_new_tokens = answer,
                                       .seed = 1,
                                       .ignore_eos = true};
    rollout_request_t *requests = tr_calloc(n, sizeof *requests);
    rollout_response_t *responses = tr_calloc(n, sizeof *responses);
    for (size_t i = 0; i < n; i++) {
        requests[i] = (rollout_request_t){.prompt = ids + i * b->sizes->prompt,
                                          .length = b->sizes->prompt,
                                          .prompt_number = (uint32_t)i};
    }
    double turns[TURNS];
    tr_status status = TR_OK;
    for (size_t i = 0; i <= TURNS && status == TR_OK; i++) {
        double start = tr_clock_seconds();
        status = rollout_decode(decoder, responses, requests, n, &options, NULL, NULL, err);
        turns[i > 0 ? i - 1 : 0] = tr_clock_seconds() - start;
        for (size_t r = 0; status == TR_OK && r < n; r++) {
            rollout_response_release(&responses[r]);
        }
    }
    *seconds = median(turns);
    free(responses);
    free(requests);
    return status;
}

static tr_status generate(const bench_t *b, tr_model_t *model, const int32_t *ids, size_t n,
                          tr_error_t *err)
{
    const tr_model_config_t *c = &b->config;
    const size_t total = tr_model_layout(model)->total;
    double first = 0.0, all = 0.0;
    rollout_decoder_t *decoder = rollout_decoder_new(model, n);
    // with one token and with all: the difference holds no pass over the prompts
    tr_status status = time_answers(&first, b, decoder, ids, n, 1, err);
    if (status == TR_OK) {
        status = time_answers(&all, b, decoder, ids, n, b->sizes->answer, err);
    }
    rollout_decoder_destroy(&decoder);
    TR_TRY(status);
    const double steps = (double)(b->sizes->answer - 1), sequences = (double)n;
    const double context = (double)b->sizes->prompt + (double)b->sizes->answer / 2.0;
    // keys and values, two bytes each, of all positions so far
    const double cached = 4.0 * (double)(c->layers * c->key_value_heads * c->head_dim) * context;
    const double weights = read_parameters(b, total);
    char *what =
        tr_format("rollout %s %zux%zu+%zu", b->shape, n, b->sizes->prompt, b->sizes->answer);
    print_row(b, what, sequences * (2.0 * weights + attention(b, context)),
              2.0 * weights + sequences * cached, (all - first) / steps, true, sequences,
              "tokens/s");
    free(what);
    return TR_OK;
}

static tr_status rollout(bench_t *b, tr_error_t *err)
{
    tr_model_t *model;
    TR_TRY(open_model(&model, b, TR_MODEL_DECODES, err));
    int32_t *ids = random_ids(b, b->sizes->running[RUNNING - 1] * b->sizes->prompt);
    tr_status status = TR_OK;
    for (size_t i = 0; i < RUNNING && status == TR_OK; i++) {
        status = generate(b, model, ids, b->sizes->running[i], err);
    }
    free(ids);
    tr_model_destroy(&model);
    return status;
}

// Weights

/// Through the host, as rollouts on another machine or in another container get them.
static tr_status handover(bench_t *b, tr_error_t *err)
{
    tr_model_t *from, *to;
    double turns[TURNS];
    TR_TRY(open_model(&from, b, TR_MODEL_READS, err));
    TR_TRY(open_model(&to, b, TR_MODEL_DECODES, err));
    const size_t bytes = tr_model_weight_bytes(from);
    void *weights = tr_alloc(bytes);
    tr_status status = TR_OK;
    for (size_t i = 0; i <= TURNS && status == TR_OK; i++) {
        double start = tr_clock_seconds();
        status = tr_model_read_weights(from, weights, err);
        if (status == TR_OK) {
            // the copy may still be running when this returns
            tr_model_write_weights(to, weights);
            status = b->backend->ops->queue_wait(tr_model_queue(to), err);
        }
        turns[i > 0 ? i - 1 : 0] = tr_clock_seconds() - start;
    }
    free(weights);
    tr_model_destroy(&to);
    tr_model_destroy(&from);
    TR_TRY(status);
    char *what = tr_format("handover %s %.1f GB through the host", b->shape, (double)bytes / 1e9);
    print_row(b, what, 0.0, 2.0 * (double)bytes, median(turns), true, (double)bytes / 1e9, "GB/s");
    free(what);
    return TR_OK;
}

static tr_status print_config(const bench_t *b, tr_error_t *err)
{
    char *text;
    TR_TRY(tr_model_config_json(&text, &b->config, TR_F32, NULL, err));
    puts(text);
    free(text);
    return TR_OK;
}

/// `limits` needs no shape, `config` no GPU; the others need both.
static tr_status run(int argc, char **argv, tr_error_t *err)
{
    static const struct {
        const char *name;
        tr_status (*measure)(bench_t *b, tr_error_t *err);
    } cases[] = {{"train", train}, {"rollout", rollout}, {"handover", handover}};
    bench_t b = {.sizes = &real_sizes};
    bool free_products = false;
    int at = 1;
    // options come first
    for (; at < argc && argv[at][0] == '-'; at++) {
        free_products |= strcmp(argv[at], "--free") == 0;
        b.sizes = strcmp(argv[at], "--toy") == 0 ? &toy_sizes : b.sizes;
    }
    const char *what = at < argc ? argv[at] : "";
    if (at + 1 < argc) {
        b.shape = argv[at + 1];
        TR_TRY(bench_shape(&b.config, b.shape, err));
    }
    if (strcmp(what, "config") == 0 && b.shape != NULL) {
        return print_config(&b, err);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(what, cases[i].name) == 0 && b.shape != NULL) {
            // the limits are measured with the device opened for them alone
            TR_TRY(find_limits(&b, err));
            TR_TRY(open_gpu(&b, free_products, err));
            tr_status status = cases[i].measure(&b, err);
            tr_backend_close(&b.backend);
            return status;
        }
    }
    if (strcmp(what, "limits") == 0) {
        TR_TRY(find_limits(&b, err));
        return limits(&b, err);
    }
    return tr_fail(err, TR_ERR_ARGUMENT, "usage: see the head of bench/gpu.c");
}

int main(int argc, char **argv)
{
    tr_error_t err = {0};
    tr_status status = run(argc, argv, &err);
    if (status != TR_OK) {
        fprintf(stderr, "bench-gpu: %s\n", err.text);
    }
    return tr_status_exit_code(status);
}
