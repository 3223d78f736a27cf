/// The operator table: what a device must be able to do. cpu/ and cuda/ each fill one.
///
/// Rules of every operator, by which a rollout's log-probability equals the trainer's bit for bit:
///   - an output row depends on its own input row alone, never on how many rows there are, on
///     threads or on tiles;
///   - each element of a matrix product is one chain of fused multiply-adds over k = 0..K-1,
///     ascending;
///   - reductions (norms, softmax, attention) have one fixed shape that starts at index 0;
///   - sums over tokens (weight gradients) are one chain in ascending token order that continues
///     from the destination's content, so a batch in parts gives the bits of the whole batch;
///   - exp and log are our own, the same in every form.
/// A CUDA device in f32 keeps all of them and gives the CPU's bits. In bf16 it keeps the first and
/// the third; a product adds in the order of the algorithm that is pinned for its weight's shape,
/// and sums over tokens restart with every call. A CPU whose weights are bf16 keeps all of them
/// with pairs of k: operands of products are rounded to bf16, and the chain goes in blocks of 32 k
/// as AMX adds them (cpu/gemm_pairs.c), denormals being zeros. A sum over tokens continues where
/// the parts are whole blocks.
///
/// Operators are enqueued and return nothing; a failure sticks to the queue until queue_wait
/// reports it. Shapes are the caller's duty (TR_ASSERT). Nothing above this table may assume host
/// memory or that an operator has finished.
///
/// Letters: T tokens (rows of a ragged batch), H hidden, F intermediate, N outputs, V vocabulary,
/// Hq query heads, Hk key-value heads, D head dimension, S sequences, R rows of a head, P page size
/// (TR_PAGE tokens), E experts, C of them for each token. Indices are i32. Real tensors are f32;
/// those marked [real] have the backend's `real` type: f32, or bf16 where a GPU computes in that
/// (activations and their gradients; weight gradients, optimizer state and vectors with one number
/// a row stay f32). Weights (of products, norms, biases and embeddings) have its `weights` type.
#ifndef TR_TENSOR_BACKEND_H
#define TR_TENSOR_BACKEND_H

#include <math.h>
#include <stdbool.h>

#include "common/base/status.h"
#include "common/tensor/tensor.h"

/// Tokens in a page of the key-value cache, and keys in a block of the softmax.
enum { TR_PAGE = 16 };

/// Elements of a block of sum_squares.
enum { TR_SUM_BLOCK = 4096 };

/// Logits of a row that a lane adds up one after another; the sums of such chains are added up in
/// their turn. In one chain over a real vocabulary (150,000 and more) what is small would be lost
/// beside what has been added up already, and a log-probability would be off by 1e-4.
enum { TR_SOFTMAX_CHAIN = 64 };

/// Blocks of n elements; the last may be shorter.
#define TR_SUM_BLOCKS(n) (((n) + TR_SUM_BLOCK - 1) / TR_SUM_BLOCK)

typedef struct tr_backend tr_backend_t;
typedef struct tr_queue tr_queue_t;
typedef struct tr_graph tr_graph_t;

/// Head geometry. A qkv row is [Hq*D queries | Hk*D keys | Hk*D values].
typedef struct tr_heads {
    size_t query;     ///< Hq, a multiple of key_value
    size_t key_value; ///< Hk
    size_t dim;       ///< D, even
    size_t window;    ///< keys that a query sees, itself among them; 0: all before it
    float scale;      ///< of the scores; 0: 1/sqrt(D)
    float cap;        ///< scores s become cap tanh(s / cap) (Gemma 2); 0: they stay
} tr_heads_t;

/// How a norm makes a row: y = x * rstd * (offset + weight).
typedef struct tr_norm {
    float epsilon; ///< added to the mean square
    float offset;  ///< 0, or 1 where the weight is stored as what it differs from 1 by
} tr_norm_t;

/// Columns of a row that lie apart: pieces of `width`, the first at column `first`, each of the
/// others `step` after the one before.
typedef struct tr_pieces {
    size_t first, step, width;
} tr_pieces_t;

/// What a gate multiplies by.
typedef enum tr_gate {
    TR_GATE_SIGMOID, ///< sigmoid(g) = 1 / (1 + e^-g)
    TR_GATE_SILU     ///< g sigmoid(g)
} tr_gate_t;

/// Dropout (Srivastava et al. 2014) whose choices have addresses: the number of an element is that
/// of its column at (seed, TR_RNG_DROPOUT, a, address of its row), in tr_rng_uniforms' order.
typedef struct tr_dropout {
    float chance; ///< of an element to become 0, below 1
    uint64_t seed;
    uint32_t a;
} tr_dropout_t;

/// SwiGLU with bounds (gpt-oss).
typedef struct tr_swiglu {
    float alpha; ///< in the gate's sigmoid
    float limit; ///< of the gate, and of up in both directions
} tr_swiglu_t;

/// Geometry of a gated delta net (Yang et al. 2025, "Gated Delta Networks"). A row of qkv is
/// [Hq*K queries | Hq*K keys | Hv*V values], value head h reading with query and key head
/// h / (Hv / Hq).
typedef struct tr_delta {
    size_t key_heads;   ///< Hq
    size_t value_heads; ///< Hv, a multiple of key_heads
    size_t key_dim;     ///< K
    size_t value_dim;   ///< V
    size_t taps;        ///< of the convolution before it, 1 to TR_TAPS
} tr_delta_t;

enum { TR_TAPS = 8 }; ///< most taps of a convolution

/// Columns of qkv, each a channel of the convolution.
static inline size_t tr_delta_channels(tr_delta_t delta)
{
    return 2 * delta.key_heads * delta.key_dim + delta.value_heads * delta.value_dim;
}

/// Elements of a layer's state of one sequence: a matrix [K, V] for each value head.
static inline size_t tr_delta_state(tr_delta_t delta)
{
    return delta.value_heads * delta.key_dim * delta.value_dim;
}

/// Tokens from one state that a gradient keeps to the next, between which it computes them again:
/// about as many as states are kept.
static inline size_t tr_delta_interval(size_t tokens)
{
    size_t interval = 1;
    while (interval * interval < tokens) {
        interval++;
    }
    return interval;
}

static inline float tr_heads_scale(const tr_heads_t *heads)
{
    return heads->scale > 0.0f ? heads->scale : 1.0f / sqrtf((float)heads->dim);
}

/// Columns of qkv.
static inline size_t tr_heads_width(tr_heads_t heads)
{
    return (heads.query + 2 * heads.key_value) * heads.dim;
}

/// A ragged batch: T tokens of S sequences, concatenated without padding, in the cache's pages.
/// A sequence's tokens in the batch may be a later part of it (a chunk of a prompt, one decoded
/// token): position tells where each stands, and the pages before hold the rest.
typedef struct tr_ragged {
    size_t tokens;    ///< T
    size_t sequences; ///< S
    size_t max_pages; ///< columns of pages
    size_t longest;   ///< greatest position + 1: a host bound for scratch memory
    /// i32 [S + 1]: rows starts[s]..starts[s+1]-1 belong to sequence s, positions ascending
    tr_tensor_t starts;
    tr_tensor_t positions; ///< i32 [T]: position of the row's token in its sequence, from 0
    /// i32 [S, max_pages]: entry (s, j) is the page of positions P*j..P*j+P-1 of s; unused: -1
    tr_tensor_t pages;
    tr_tensor_t slots; ///< i32 [S]: the row of tr_recurrent_t that is the sequence's
} tr_ragged_t;

/// Key-value cache of one layer: pages of TR_PAGE tokens; layout is the backend's own.
typedef struct tr_kv {
    tr_tensor_t keys;   ///< [real] [pages, Hk * D * TR_PAGE]
    tr_tensor_t values; ///< [real] [pages, Hk * TR_PAGE * D]
} tr_kv_t;

/// What a layer with a gated delta net keeps of the tokens that it has seen, a row a sequence: for
/// spans that do not begin at position 0. NULL buffers: all do, and nothing is kept.
typedef struct tr_recurrent {
    tr_tensor_t inputs; ///< [real] [slots, (taps - 1) * channels], of the convolution
    tr_tensor_t states; ///< f32 [slots, tr_delta_state]
} tr_recurrent_t;

/// How a router chooses experts.
typedef struct tr_router {
    size_t experts; ///< E
    size_t chosen;  ///< C <= E, for each token
    /// Weights are the softmax over the chosen experts' logits, and their sum is 1; else over all
    /// logits.
    bool normalized;
    /// Scores are sigmoids (DeepSeek-AI 2024, DeepSeek-V3), and weights those of the chosen, with
    /// `normalized` divided by their sum, times `scale`. Chosen are the greatest sums of score and
    /// bias, of the `groups_chosen` groups of experts whose two greatest add up to most.
    bool sigmoid;
    float scale;
    size_t groups;        ///< of E / groups experts, two or more, side by side; at most 64
    size_t groups_chosen; ///< with C experts or more
    tr_tensor_t bias;     ///< f32 [E]
} tr_router_t;

/// What a router chose for T tokens, and where their rows are. Experts read and write R = T*C rows,
/// a token's once for each of its experts: those of expert 0 first, and within an expert in the
/// order of tokens. So each row is one expert's work on one token, whatever other tokens there are.
typedef struct tr_routes {
    tr_tensor_t experts; ///< i32 [T, C] ascending in a row
    tr_tensor_t weights; ///< f32 [T, C] by which their outputs are multiplied
    tr_tensor_t starts;  ///< i32 [E + 1]: rows starts[e]..starts[e+1]-1 are expert e's
    tr_tensor_t tokens;  ///< i32 [R]: whose each row is
    tr_tensor_t places;  ///< i32 [T, C]: the row of each choice
} tr_routes_t;

/// What makes logits of hidden rows: hidden weight^T, then with a cap c tanh(logit / c).
typedef struct tr_head {
    tr_tensor_t weight; ///< [V, H], or packed, as of a product
    float cap;          ///< 0: none
} tr_head_t;

/// Facts of a row's distribution, softmax(logits / temperature) within the kept set, besides the
/// target's log-probability.
typedef struct tr_token_facts {
    float entropy;
    float collision; ///< log of the sum of squared probabilities
    float logit;     ///< mean of logits / temperature
    float greedy;    ///< 1 where no token is likelier than the target, else 0
    float mean;      ///< of the log-probs of all tokens
} tr_token_facts_t;

enum { TR_FACTS = sizeof(tr_token_facts_t) / sizeof(float) }; ///< columns of facts

/// Which distribution tokens are drawn from. Temperature 0 means greedy.
typedef struct tr_sampling {
    float temperature; ///< logits are divided by it before anything else
    int32_t top_k;     ///< 0: off
    /// 1: off; else the smallest set of most likely tokens whose mass reaches it, ties by lower id
    float top_p;
    float min_p; ///< 0: off; else tokens of at least this times the greatest probability
} tr_sampling_t;

/// Whether tokens may be cut from the distribution.
static inline bool tr_sampling_truncates(const tr_sampling_t *sampling)
{
    return sampling->top_k > 0 || sampling->top_p < 1.0f || sampling->min_p > 0.0f;
}

/// The most tokens that a row can keep where something is cut; 0: nothing is cut, as in greedy
/// sampling.
static inline size_t tr_sampling_most_kept(const tr_sampling_t *sampling, size_t vocabulary)
{
    if (sampling->temperature <= 0.0f || !tr_sampling_truncates(sampling)) {
        return 0;
    }
    size_t k = (size_t)sampling->top_k;
    return k > 0 && k < vocabulary ? k : vocabulary;
}

/// A ragged list of token ids that truncation kept, one list a row; a NULL offsets buffer means the
/// whole vocabulary. ids ascend within a row.
typedef struct tr_kept {
    tr_tensor_t offsets; ///< i32 [rows + 1]; buffer NULL: nothing was truncated in any row
    tr_tensor_t ids; ///< i32 [offsets[rows]]; a row with an empty list keeps the whole vocabulary
} tr_kept_t;

/// Doubles, because PyTorch computes 1 - beta2, the bias corrections and the step size in double
/// and rounds last.
typedef struct tr_adamw {
    double learning_rate;
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay; ///< decoupled
    float scale;         ///< multiplies the gradient first: clipping
    uint64_t step;       ///< 1 for the first update; bias correction in double precision
    uint64_t seed;       ///< of the stochastic rounding of bf16 weights
    uint64_t first; ///< number of the first element in the whole vector: its address for rounding
} tr_adamw_t;

/// How another process of this machine finds a GPU's buffer.
typedef struct tr_device_memory {
    unsigned char handle[64];
    char place[32]; ///< PCI bus id of the GPU
} tr_device_memory_t;

typedef struct tr_ops {
    const char *name; ///< "cpu", "cuda"
    void (*close)(tr_backend_t *backend);

    // Memory and queues. Buffers are 64-byte aligned and zeroed when new.
    tr_status (*buffer_new)(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                            tr_error_t *err);
    /// The same in host memory that operators can reach, slower: for tensors that do not fit on the
    /// device. NULL: the device's memory is the host's.
    tr_status (*buffer_new_host)(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                                 tr_error_t *err);
    void (*buffer_destroy)(tr_buffer_t **buffer);
    /// Export describes a buffer, import maps it in another process. *here: whether it lies on the
    /// importing backend's own GPU; if not, copy it once. The exporting process must keep it while
    /// it is mapped. NULL on a CPU.
    tr_status (*buffer_export)(tr_device_memory_t *memory, const tr_buffer_t *buffer,
                               tr_error_t *err);
    tr_status (*buffer_import)(tr_backend_t *backend, tr_buffer_t **buffer,
                               const tr_device_memory_t *memory, size_t bytes, bool *here,
                               tr_error_t *err);
    tr_status (*queue_new)(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err);
    void (*queue_destroy)(tr_queue_t **queue);
    tr_status (*queue_wait)(tr_queue_t *queue, tr_error_t *err);

    /// Host to device; source may be reused on return. Device to host; destination is valid after
    /// queue_wait.
    void (*write)(tr_queue_t *queue, tr_tensor_t destination, const void *source);
    void (*read)(tr_queue_t *queue, void *destination, tr_tensor_t source);
    void (*copy)(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source);
    void (*zero)(tr_queue_t *queue, tr_tensor_t destination);
    /// f32 to bf16 (rounded to nearest even) or bf16 to f32, or a copy where both have one type;
    /// same count.
    void (*cast)(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source);

    // Graphs, for a device whose kernels cost more to start than to run; NULL on others. Operators
    // between begin and end are recorded instead of run, with the addresses of their tensors.
    // Nothing may be read, written, waited for or allocated in between, so the same work must have
    // run once before. Running a graph enqueues all of it at once.
    void (*graph_begin)(tr_queue_t *queue);
    /// NULL after a failure, which sticks to the queue.
    tr_graph_t *(*graph_end)(tr_queue_t *queue);
    /// False, and nothing is run, when the device's scratch memory has moved since: record again.
    bool (*graph_run)(tr_queue_t *queue, const tr_graph_t *graph);
    void (*graph_destroy)(tr_graph_t **graph);

    // For a collective (common/collective), whose library moves this device's vectors itself.
    /// The tensor's first byte, in host memory on a CPU, in device memory on a GPU. Does not wait.
    void *(*address)(tr_tensor_t tensor);
    /// The queue's cudaStream_t, in which a library enqueues between the operators before and after
    /// it; its GPU becomes the calling thread's. NULL: operators have run when they return.
    void *(*stream)(tr_queue_t *queue);

    // Matrix products. weight: [N, K] as Hugging Face stores it, packed in parts within each
    // product; or [1, packed_count(N, K)], the output of pack: faster where products are small and
    // many. Both give the same bits.
    size_t (*packed_count)(tr_dtype_t dtype, size_t n, size_t k); ///< elements of that type
    void (*pack)(tr_queue_t *queue, tr_tensor_t packed, tr_tensor_t weight);
    /// y: [T, N] = x W^T (chain over K), or y + x W^T (one addition at the end) when accumulate; x:
    /// [T, K]. y may be f32 where [real] is bf16: logits.
    void (*matmul)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                   bool accumulate);
    /// dx: [T, K] = dy W (chain over N), written; dy: [T, N]. weight: [N, K] as it is stored.
    void (*matmul_input_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                  tr_tensor_t weight);
    /// dw: [N, K] += dy^T x; dy: [T, N], x: [T, K]. One chain over tokens that starts at dw's
    /// content.
    void (*matmul_weight_gradient)(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy,
                                   tr_tensor_t x);

    // Layers. The gradients of inputs are written (not added) unless said; those of weights
    // continue their chain.
    /// y[i] = x[rows[i]], rows: i32; with a table x: [V, H] of the vocabulary, embedding.
    void (*gather_rows)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t rows);
    /// dx[rows[i]] += dy[i] (rows distinct).
    void (*scatter_rows_add)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t rows);
    /// dtable: f32 [V, H], dtable[ids[t]] += dy[t] in ascending order of t; ids may repeat.
    void (*embedding_gradient)(tr_queue_t *queue, tr_tensor_t dtable, tr_tensor_t dy,
                               tr_tensor_t ids);
    /// y = x * rstd * (offset + weight), rstd: [T] = 1/sqrt(mean(x^2) + epsilon) (Zhang and
    /// Sennrich 2019). rstd is written.
    void (*rmsnorm)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                    tr_tensor_t weight, tr_norm_t norm);
    /// dx: [T, H] += (the residual stream's gradient adds up there); dweight: [H] continues its
    /// chain.
    void (*rmsnorm_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                             tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, tr_norm_t norm);
    /// LayerNorm (Ba et al. 2016): y = (x - mean) * rstd * weight + bias, rstd = 1/sqrt(mean((x -
    /// mean)^2) + epsilon). weight: [2H] = [weight | bias]; moments: [2, T] = [mean | rstd], is
    /// written. The offset of norm is not read.
    void (*layernorm)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t moments, tr_tensor_t x,
                      tr_tensor_t weight, tr_norm_t norm);
    /// dx: [T, H] +=; dweight: [2H] continues its chains.
    void (*layernorm_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight,
                               tr_tensor_t dy, tr_tensor_t x, tr_tensor_t moments,
                               tr_tensor_t weight);
    /// rmsnorm of G = groups pieces of each row, n = weight's elements each, side by side from
    /// column `first` on (heads of queries or keys); other columns stay. y, x: [T, W], y may be x;
    /// rstd: [T, G].
    void (*group_norm)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                       tr_tensor_t weight, size_t first, size_t groups, tr_norm_t norm);
    /// In place: the columns of d: [T, W] are dy on entry and dx on return. dweight: [n] continues
    /// its chain, over rows and within a row over groups.
    void (*group_norm_gradient)(tr_queue_t *queue, tr_tensor_t d, tr_tensor_t dweight,
                                tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, size_t first,
                                size_t groups, tr_norm_t norm);
    /// Rotates the first R elements of the query and key heads of qkv: [T, (Hq+2Hk)*D] in place,
    /// pairs (i, i + R/2) (Su et al. 2021, in Hugging Face's halves). table: [max positions, R] =
    /// [cos R/2 | sin R/2], R even and at most D. inverse rotates back (the gradient).
    void (*rope)(tr_queue_t *queue, tr_tensor_t qkv, tr_tensor_t positions, tr_tensor_t table,
                 tr_heads_t heads, bool inverse);
    /// Copies the keys and values of qkv's rows into their pages.
    void (*kv_store)(tr_queue_t *queue, tr_kv_t kv, tr_tensor_t qkv, const tr_ragged_t *batch,
                     tr_heads_t heads);
    /// Causal grouped-query attention of the batch's queries over the cached positions 0..position,
    /// or the last `window` of them. out: [T, Hq*D], lse: [T, Hq] (log-sum-exp of the scaled and
    /// capped scores), both written.
    void (*attention)(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                      tr_kv_t kv, const tr_ragged_t *batch, tr_heads_t heads);
    /// For batches of whole sequences (positions from 0), whose keys and values are in qkv: no
    /// cache is read. dqkv: [T, (Hq+2Hk)*D], written. Chains over queries ascend.
    void (*attention_gradient)(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout,
                               tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                               const tr_ragged_t *batch, tr_heads_t heads);
    /// A sink is a logit of a head that joins the sum of its softmax, and has no value. After
    /// attention, in place: out: [T, Hq*D] *= sigmoid(lse - sink), and the sink joins lse: f32 [T,
    /// Hq]; sinks: [Hq].
    void (*sink)(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t sinks);
    /// dsinks: f32 [Hq] continues its chain over tokens: -= e^(sink - lse) dout . out, of out and
    /// lse as sink left them, with which attention_gradient gives the rest.
    void (*sink_gradient)(tr_queue_t *queue, tr_tensor_t dsinks, tr_tensor_t dout, tr_tensor_t out,
                          tr_tensor_t lse, tr_tensor_t sinks);
    /// y: [T, F] = silu(gate) * up; gate_up: [T, 2F] = [gate | up] (Shazeer 2020).
    void (*swiglu)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up);
    void (*swiglu_gradient)(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                            tr_tensor_t gate_up);
    /// y = g sigmoid(alpha g) (u + 1), of g = gate up to limit and u = up within -limit and limit.
    void (*swiglu_clamped)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up,
                           tr_swiglu_t options);
    void (*swiglu_clamped_gradient)(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                                    tr_tensor_t gate_up, tr_swiglu_t options);
    /// swiglu with gelu(gate) for silu(gate), in its tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x +
    /// 0.044715 x^3))) (Hendrycks and Gimpel 2016).
    void (*geglu)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up);
    void (*geglu_gradient)(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                           tr_tensor_t gate_up);
    /// The pieces `to` of each row of y become the pieces `from` of x's, `count` of one width;
    /// other columns stay.
    void (*copy_pieces)(tr_queue_t *queue, tr_tensor_t y, tr_pieces_t to, tr_tensor_t x,
                        tr_pieces_t from, size_t count);
    /// Columns first.. of each row of y become the sum of `count` pieces of x's, in their order.
    void (*sum_pieces)(tr_queue_t *queue, tr_tensor_t y, size_t first, tr_tensor_t x,
                       tr_pieces_t from, size_t count);
    /// y: [T, N] = x f(g), g the pieces `from` of gates: [T, W], N elements together. y may be x.
    void (*gate)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates,
                 tr_pieces_t from, tr_gate_t f);
    /// dx = dy f(g), and the pieces `from` of dgates = dy x f'(g); dx may be dy.
    void (*gate_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates, tr_tensor_t dy,
                          tr_tensor_t x, tr_tensor_t gates, tr_pieces_t from, tr_gate_t f);

    // Gated delta nets. C channels, Hv value heads: tr_delta_t.
    /// y: [T, C] = silu(u), u_t = sum over j of weight[j] x_(t - taps + 1 + j), j ascending,
    /// channel by channel; x: the first C columns of [T, W], before position 0: zeros. weight: [C,
    /// taps].
    /// The kept inputs are read and renewed.
    void (*convolution)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                        tr_recurrent_t kept, const tr_ragged_t *batch);
    /// Of whole sequences. dx: the first C columns, written. d: [T, C], dy, overwritten. dweight
    /// continues its chain.
    void (*convolution_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight,
                                 tr_tensor_t d, tr_tensor_t x, tr_tensor_t weight,
                                 const tr_ragged_t *batch);
    /// gates: f32 [T, 2 Hv] = [decay | beta], decay = e^(-e^scale softplus(a + shift)), beta =
    /// sigmoid(b), from x: [T, W], whose columns from `first` on are [b | a], Hv each. scale,
    /// shift: [Hv].
    void (*delta_gates)(tr_queue_t *queue, tr_tensor_t gates, tr_tensor_t x, size_t first,
                        tr_tensor_t scale, tr_tensor_t shift);
    /// The columns [b | a] of dx are written, dscale and dshift continue their chains.
    void (*delta_gates_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dscale,
                                 tr_tensor_t dshift, tr_tensor_t dgates, tr_tensor_t x,
                                 size_t first, tr_tensor_t scale, tr_tensor_t shift);
    /// out: [T, Hv*V]. For each value head, token by token, from S = 0 at position 0 or from the
    /// kept state, which is renewed:
    ///
    ///     e = v - (decay S)^T k;  S = decay S + k (beta e)^T;  out = S^T q
    ///
    /// Sums run over the rows of S in ascending order; S is f32. Queries and keys are taken as they
    /// are.
    void (*delta)(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t qkv, tr_tensor_t gates,
                  tr_recurrent_t kept, const tr_ragged_t *batch, tr_delta_t delta);
    /// Of whole sequences. dqkv: [T, C] and dgates: f32 [T, 2 Hv], written. States are computed
    /// again from some that are kept on the way.
    void (*delta_gradient)(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dgates,
                           tr_tensor_t dout, tr_tensor_t qkv, tr_tensor_t gates,
                           const tr_ragged_t *batch, tr_delta_t delta);
    /// y = gelu(x), in its tanh form or, with `exact`, x (1 + erf(x / sqrt(2))) / 2; y may be x.
    void (*gelu)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, bool exact);
    /// dx = dy gelu'(x); dx may be dy.
    void (*gelu_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t x,
                          bool exact);
    /// y = x * factor; y may be x.
    void (*scale)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, float factor);
    /// y: [T, K] = x / (1 - chance) where an element's number is not below chance, else 0; y is not
    /// x. addresses: i32 [T].
    void (*dropout)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t addresses,
                    tr_dropout_t dropout);
    /// y = a + b, element by element; y may be a or b.
    void (*add)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t a, tr_tensor_t b);
    /// y: [T, N] += bias: [N], a row after another.
    void (*add_bias)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias);
    /// dbias: f32 [N] continues its chain over the rows of dy: [T, N].
    void (*bias_gradient)(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy);

    // Mixtures of experts (Shazeer et al. 2017). A row's bits are those of its token and its expert
    // alone; what is added up for a token is added in the order of its experts.
    /// routes, written: for each row of logits: f32 [T, E] the C greatest, or those of tr_router_t,
    /// on a tie the lower expert (NaN is the least), and the order of rows.
    void (*route)(tr_queue_t *queue, const tr_routes_t *routes, tr_tensor_t logits,
                  tr_router_t router);
    /// dlogits: f32 [T, E], written, from dweights: f32 [T, C]. pull: f32 [E], the gradient of each
    /// token's probability of each expert (softmax over all), which is added; a NULL buffer: 0.
    void (*route_gradient)(tr_queue_t *queue, tr_tensor_t dlogits, tr_tensor_t dweights,
                           tr_tensor_t pull, tr_tensor_t logits, const tr_routes_t *routes,
                           tr_router_t router);
    /// facts: f32 [T, E + 1], written: each token's probabilities (softmax over all experts), and
    /// their entropy.
    void (*router_facts)(tr_queue_t *queue, tr_tensor_t facts, tr_tensor_t logits);
    /// The products of rows with the weight of their expert. weight: [E*N, K], an expert's after
    /// another, or [E, packed_count(N, K)]. y: [R, N]; x: [R, K]; starts: of the routes.
    void (*expert_matmul)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                          tr_tensor_t starts);
    /// dx: [R, K], written; dy: [R, N]. weight: [E*N, K].
    void (*expert_input_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                  tr_tensor_t weight, tr_tensor_t starts);
    /// dw: f32 [E*N, K] continues its chains, each over the rows of its expert.
    void (*expert_weight_gradient)(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x,
                                   tr_tensor_t starts);
    /// y: [R, N] += bias: [E*N], of the row's expert.
    void (*expert_bias)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias, tr_tensor_t starts);
    /// dbias: f32 [E*N] continues its chains, each over the rows of its expert.
    void (*expert_bias_gradient)(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy,
                                 tr_tensor_t starts);
    /// y: [T, H], written: sums over a token's rows of x: [R, H], each times its weight (a NULL
    /// buffer: 1), one chain in the order of places: [T, C].
    void (*combine)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weights,
                    tr_tensor_t places);
    /// dx: [R, H], which may be x, and dweights: f32 [T, C], both written; dy: [T, H].
    void (*combine_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweights,
                             tr_tensor_t dy, tr_tensor_t x, tr_tensor_t weights,
                             tr_tensor_t places);

    /// y: [T, H] = x sigmoid(gate), of gates: [real] [T, 1] a row; y may be x.
    void (*gate_rows)(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates);
    /// dx: [T, H], which may be x, and dgates: [real] [T, 1], both written.
    void (*gate_rows_gradient)(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates,
                               tr_tensor_t dy, tr_tensor_t x, tr_tensor_t gates);

    // Heads. hidden: [R, H] rows after the final norm; head: [V, H], a weight as above. Logits
    // exist for a tile of rows only, but for those that the caller keeps from logprob to
    // logprob_gradient: f32 [K, V], of the first K <= R rows; a NULL buffer: none. Which are kept
    // changes no bit.
    /// logprob: [R] of targets: i32 [R] under softmax(logits / temperature) restricted to kept
    /// (temperature > 0); facts: [R, TR_FACTS], a tr_token_facts_t a row. logits: written, in a
    /// form that logprob_gradient alone reads.
    void (*logprob)(tr_queue_t *queue, tr_tensor_t logprob, tr_tensor_t facts, tr_tensor_t logits,
                    tr_tensor_t hidden, tr_head_t head, size_t vocabulary, tr_tensor_t targets,
                    float temperature, tr_kept_t kept);
    /// dhidden: [R, H], written, and dhead: [V, H], continued (a NULL buffer: not computed, the
    /// head is frozen), from dlogprob: [R] and dmean: [R], the gradient of the facts' mean (a NULL
    /// buffer: 0). logits: what logprob left there for the same rows, overwritten; those of other
    /// rows are computed again. head: as it is stored.
    void (*logprob_gradient)(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                             tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t logits,
                             tr_tensor_t hidden, tr_head_t head, tr_tensor_t targets,
                             float temperature, tr_kept_t kept);
    /// Draws a token a row by inverting the cumulative distribution (token ids ascending) at
    /// uniform: f32 [R]. Written: tokens i32 [R]; raw: [R], its log-prob under softmax(logits);
    /// logprob: [R], under the distribution drawn from, the same bits that the operator logprob
    /// gives for the same kept set (0 when greedy); kept_count: i32 [R] (0: nothing was cut from
    /// this row, and always 0 when greedy); kept_ids: i32 [R, C], the first kept_count[r] of row r
    /// written, ascending. C >= min(top_k, V), or V when only top_p is on; kept_ids' buffer may be
    /// NULL when neither is. Order as in transformers: temperature, then top_k, top_p, min_p within
    /// what is left; ties keep the lower id. Temperature 0 takes the greatest logit, the lowest id
    /// on a tie. uniform[r] is in [0, 1).
    void (*sample)(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                   tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_head_t head,
                   size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling);
    /// values: [R] = hidden . weight: [H]; fixed reduction shape.
    void (*scalar_head)(tr_queue_t *queue, tr_tensor_t values, tr_tensor_t hidden,
                        tr_tensor_t weight);
    void (*scalar_head_gradient)(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dweight,
                                 tr_tensor_t dvalues, tr_tensor_t hidden, tr_tensor_t weight);

    // The optimizer.
    /// sums: f32 [TR_SUM_BLOCKS(n)], written with the sum of squares of each block of x: [n].
    /// common/optim/clip.c adds the blocks in order, so the norm does not depend on which rank
    /// holds which block.
    void (*sum_squares)(tr_queue_t *queue, tr_tensor_t sums, tr_tensor_t x);
    /// AdamW (Loshchilov and Hutter 2019) in PyTorch's order of operations; weight, m, v: [n],
    /// updated. On a device that computes in bf16, weight may be bf16. It is then rounded
    /// stochastically (Gupta et al. 2015: up with a probability equal to the fraction cut off) with
    /// the random number at (seed, step, first + i), since rounding to nearest would lose every
    /// update that is smaller than half a step of bf16.
    void (*adamw)(tr_queue_t *queue, tr_tensor_t weight, tr_tensor_t m, tr_tensor_t v,
                  tr_tensor_t gradient, tr_adamw_t options);
} tr_ops_t;

/// The names of what every device has, for a backend to declare its functions by (cpu_write has the
/// type that tr_ops_t's `write` points to) and to fill its table: a new operator is a member above,
/// a name here, and a function in each backend. Members that some device lacks are not listed.
// clang-format off
#define TR_OPERATORS(X)                                                                            \
    X(close) X(buffer_new) X(buffer_destroy) X(queue_new) X(queue_destroy) X(queue_wait) X(write)  \
    X(read) X(copy) X(zero) X(cast) X(address) X(matmul) X(matmul_input_gradient)                  \
    X(matmul_weight_gradient) X(embedding_gradient) X(rmsnorm) X(rmsnorm_gradient) X(group_norm)   \
    X(group_norm_gradient) X(rope) X(kv_store) X(attention) X(attention_gradient) X(swiglu)        \
    X(swiglu_gradient) X(sink) X(sink_gradient) X(swiglu_clamped) X(swiglu_clamped_gradient)       \
    X(geglu) X(geglu_gradient) X(scale) X(dropout) X(add) X(add_bias) X(bias_gradient)             \
    X(copy_pieces) X(sum_pieces) X(gate) X(gate_gradient) X(convolution) X(convolution_gradient)   \
    X(delta_gates)                                                                                 \
    X(delta_gates_gradient) X(delta) X(delta_gradient) X(gather_rows) X(scatter_rows_add) X(route) \
    X(route_gradient) X(router_facts) X(expert_matmul) X(expert_input_gradient)                    \
    X(expert_weight_gradient) X(expert_bias) X(expert_bias_gradient) X(combine)                    \
    X(combine_gradient) X(gate_rows) X(gate_rows_gradient) X(logprob) X(logprob_gradient)          \
    X(sample) X(scalar_head) X(scalar_head_gradient) X(sum_squares) X(adamw) X(layernorm)          \
    X(layernorm_gradient) X(gelu) X(gelu_gradient)
// clang-format on

/// Bytes of a device that a backend has allocated.
typedef struct tr_memory_use {
    size_t now;     ///< buffers
    size_t peak;    ///< the same, at most so far
    size_t scratch; ///< memory that operators keep, where no buffer holds it
    size_t host;    ///< of buffer_new_host, and in no other sum
} tr_memory_use_t;

static inline void tr_memory_take(tr_memory_use_t *memory, size_t bytes)
{
    memory->now += bytes;
    memory->peak = memory->now > memory->peak ? memory->now : memory->peak;
}

/// A device that was opened: the table and its state. A backend's own structure begins with this
/// one.
struct tr_backend {
    const tr_ops_t *ops;
    tr_dtype_t real;    ///< the type of tensors marked [real]
    tr_dtype_t weights; ///< that of the weights that passes read: of a GPU as `real`
    const char *form; ///< "amx", "avx512bf16", "avx512", "avx2" or "generic"; "sm_90" and the like
    bool dry;         ///< it computes nothing (device.h), so values need not be made for it
    tr_memory_use_t memory;
};

/// Opens the CPU: weights f32 or bf16, threads as tr_pool_new. Picks the widest instruction set the
/// CPU has, unless the environment's TROUPE_CPU says generic, avx2, avx512, avx512bf16 or amx; one
/// that the CPU lacks, or another word, fails with a sentence. A CPU has one of the last two if its
/// products have the bits of the plain form in a test of hard cases. They are taken for weights in
/// bf16: AMX, and AVX512-BF16 where it is quicker than the FMAs that stand for it. Other devices:
/// device.h.
tr_status tr_backend_open_cpu(tr_backend_t **backend, tr_dtype_t weights, size_t threads,
                              tr_error_t *err);
void tr_backend_close(tr_backend_t **backend);

#endif
