/// A pass over the layers of a model, for the files that share it: transformer.c says which layers
/// in which order, block_attention.c, block_latent.c or block_delta.c and block_mlp.c or
/// block_experts.c are the two halves of a layer, and pass.c is what both halves do.
#ifndef TR_MODEL_PASS_H
#define TR_MODEL_PASS_H

#include "common/model/model_private.h"

/// What a layer keeps of all sequences that are being decoded: keys and values in pages (Kwon et
/// al. 2023, PagedAttention), or a slot of a state a sequence.
typedef struct layer_cache {
    tr_kv_t kv;
    tr_recurrent_t kept;
} layer_cache_t;

struct tr_cache {
    tr_backend_t *backend;
    tr_buffer_t *buffer;
    layer_cache_t layers[]; ///< [config.layers]
};

/// The model and its batch, with the sizes that shapes below are made of.
typedef struct pass {
    tr_model_t *model;
    const tr_ops_t *ops;
    tr_queue_t *queue;
    tr_arena_t *arena;
    const tr_batch_t *batch;
    tr_norm_t norm;
    float embedding_scale, residual_scale, logit_scale; ///< 1: none
    /// Where what is added to the residual stream is normed or scaled before: what is added, [T,
    /// H], and the norm's rstd, [T].
    tr_tensor_t branch, branch_rstd;
    tr_tensor_t pull; ///< f32 [E] of route_gradient; a NULL buffer: none
    struct {
        tr_tensor_t u, du;          ///< [T, r]
        tr_tensor_t rows, dx, part; ///< [T, N], and two of [T, K], of the widest
        tr_tensor_t read;           ///< [T, K] where there is dropout
    } lora;                         ///< scratch of adapters; undefined where there are none
    size_t T, H, Q, W, F; ///< tokens, hidden, query width, qkv width, intermediate of MLPs
    size_t U;             ///< outputs of the MLP's first product: 2F, or F without a gate
} pass_t;

/// What one layer keeps for its backward pass: its input, and what each half keeps.
typedef struct layer_activations {
    tr_tensor_t input; ///< [T, H] residual stream before attention
    tr_tensor_t rstd;  ///< [T]; of a LayerNorm [2, T], its mean and rstd
    tr_tensor_t raw;   ///< [T, (Hq+2Hk)*D] before the norms of queries and keys; qkv without them
    tr_tensor_t qk_rstd[2]; ///< [T, groups] of these norms
    tr_tensor_t qkv;        ///< [T, (Hq+2Hk)*D] after rotation
    tr_tensor_t product;    ///< [T, (2Hq+2Hk)*D] with a gate after each query; raw without gates;
                            ///< of latent attention [T, P]: TR_WEIGHT_LATENT_IN's
    tr_tensor_t attention;  ///< [T, Hq*D]
    tr_tensor_t lse;        ///< [T, Hq]
    tr_kv_t kv;
    // Or of a gated delta net (tr_delta_t):
    tr_tensor_t mixed;     ///< [T, C + Hv*V + 2Hv] its product
    tr_tensor_t gates;     ///< f32 [T, 2Hv] of the state
    tr_tensor_t read;      ///< [T, Hv*V] what its heads read
    tr_tensor_t read_rstd; ///< [T, Hv] of its norm
    tr_recurrent_t kept;   ///< NULL buffers: sequences are whole
    // Both norms are computed again from the stream and rstd is kept: [T] floats instead of [T, H].
    tr_tensor_t middle;      ///< [T, H] residual stream before the MLP
    tr_tensor_t middle_rstd; ///< as rstd
    tr_tensor_t gate_up;     ///< [T, U]
    // Of a layer with experts instead; R = T*C rows (tr_routes_t).
    tr_tensor_t router_logits; ///< f32 [T, E]
    tr_routes_t routes;
    tr_tensor_t expert_gate_up; ///< [R, 2 Fe]
    tr_tensor_t router_sums;    ///< f32 [E + 1] of router_facts over tokens, of a learning pass
    tr_tensor_t shared_gate_up; ///< [T, 2 Fs] of the expert that all tokens have
    tr_tensor_t shared_gate;    ///< [T, 1]
} layer_activations_t;

struct tr_activations {
    tr_batch_t batch;
    bool recompute;          ///< layers keep their inputs alone, and share the other tensors
    tr_tensor_t pull;        ///< f32 [E] what tr_model_balance asks of the backward pass
    tr_tensor_t output;      ///< [T, H] residual stream after the last layer
    tr_tensor_t output_rstd; ///< [T]
    size_t layers;
    /// One allocation that later passes use again; what the tensors are in is the arena.
    layer_activations_t layer[];
};

/// What all gated delta nets share; the backward pass alone has the last line.
typedef struct delta_scratch {
    tr_tensor_t convolved, qkv; ///< [T, C] before and after the norms of queries and keys,
    tr_tensor_t unit_rstd[2];   ///< [T, Hq] of these,
    tr_tensor_t zeros;          ///< [K] and their weights
    tr_tensor_t normed, gated;  ///< [T, Hv*V] of what is read
    tr_tensor_t dmixed, dqkv, dgates, dread, unused;
} delta_scratch_t;

/// What all layers with latent attention share (tr_latent_t); the backward pass alone has the last
/// lines.
typedef struct latent_scratch {
    tr_tensor_t latents;    ///< [T, P] the product with its latents normed
    tr_tensor_t query, key; ///< [T, Lq], [T, L] these
    tr_tensor_t queries;    ///< [T, Hq*D] of latents
    tr_tensor_t rows;       ///< [T, Hq*(N+V)] keys and values
    tr_tensor_t read;       ///< [T, Hq*V] what the heads read
    tr_tensor_t dproduct;   ///< [T, P]
} latent_scratch_t;

/// What all layers share. The backward pass has all of it, the forward pass the first lines of
/// either half.
typedef struct scratch {
    tr_tensor_t norm, mlp; ///< [T, H], [T, F]
    tr_tensor_t gated;     ///< [T, Hq*D] where attention has gates
    delta_scratch_t delta; ///< where the model has such layers
    latent_scratch_t latent;
    tr_tensor_t dnorm, dmlp;
    tr_tensor_t dgate_up;   ///< [T, U]
    tr_tensor_t dattention; ///< [T, Hq*D]
    tr_tensor_t dqkv;       ///< [T, (Hq+2Hk)*D]
    tr_tensor_t dproduct;   ///< [T, (2Hq+2Hk)*D] where attention has gates
    tr_tensor_t unused;     ///< rstd again
    tr_tensor_t dinput;     ///< [T, H] where the MLP reads the layer's input: what it gives it
    tr_tensor_t dbranch[2]; ///< [T, H] where branches are normed or scaled
    // Where layers have experts.
    tr_tensor_t rows, inner, sum; ///< [R, H], [R, Fe], [T, H]
    tr_tensor_t drows, dinner, dexpert_gate_up, dsum;
    tr_tensor_t dweights, dlogits;    ///< f32 [T, C], [T, E]
    tr_tensor_t dlogits_real;         ///< [T, E]
    tr_tensor_t router_facts;         ///< f32 [T, E + 1], of a learning pass
    tr_tensor_t shared, shared_inner; ///< [T, H], [T, Fs]: of the forward pass too
    tr_tensor_t dshared_inner, dshared_gate_up, dshared_gate;
} scratch_t;

pass_t pass_of(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena);
/// For all layers of a forward pass, or of a backward pass too.
scratch_t pass_scratch(const pass_t *p, bool backward);

/// A tensor of the arena: [real], what has a number an element of a layer; or f32, what has a
/// number a row.
tr_tensor_t pass_reals(const pass_t *p, size_t rows, size_t columns);
tr_tensor_t pass_floats(const pass_t *p, size_t rows, size_t columns);
/// For pass_normed's rstd.
tr_tensor_t pass_rstd(const pass_t *p);

/// Whether a segment has a weight of the kind.
bool pass_has(const pass_t *p, size_t segment, tr_weight_kind_t kind);
/// Whether some layer has one.
bool pass_has_layer(const pass_t *p, tr_weight_kind_t kind);
/// A norm's weight.
tr_tensor_t pass_vector(const pass_t *p, size_t segment, tr_weight_kind_t kind);
/// Where a norm's gradient is added: [columns of its weight].
tr_tensor_t pass_vector_gradient(const pass_t *p, size_t segment, tr_weight_kind_t kind,
                                 const tr_gradient_t *gradient);

/// x, or what the layer's norm of this kind makes of it, in `norm`. rstd: pass_rstd, written.
tr_tensor_t pass_normed(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t norm,
                        tr_tensor_t rstd, tr_tensor_t x);
/// dx += the gradient of pass_normed, given dy.
void pass_normed_backward(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t dx,
                          tr_tensor_t dy, tr_tensor_t x, tr_tensor_t rstd,
                          const tr_gradient_t *gradient);

// Products: W of a segment by its kind, with its bias and its adapter (product.c). As linear.h's.

void product_forward(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t y,
                     tr_tensor_t x);
void product_forward_add(const pass_t *p, size_t segment, tr_weight_kind_t kind, tr_tensor_t y,
                         tr_tensor_t x);
/// dx may be x.
void product_backward(const pass_t *p, size_t segment, tr_weight_kind_t kind,
                      const tr_gradient_t *gradient, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t x);
/// What adapters need of the pass's arena.
void product_scratch(pass_t *p);

/// stream += W x, normed and scaled where the model has that. projection: W; kind: the norm's;
/// norm: [T, H] scratch.
void pass_add_branch(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                     tr_weight_kind_t kind, tr_tensor_t stream, tr_tensor_t x, tr_tensor_t norm);
/// The gradient of W x in pass_add_branch, given that of the stream.
tr_tensor_t pass_branch_backward(const pass_t *p, size_t segment, tr_weight_kind_t projection,
                                 tr_weight_kind_t kind, tr_tensor_t dstream, tr_tensor_t x,
                                 const tr_gradient_t *gradient, const scratch_t *s);

// The halves of a layer. `tensors`: what the layer keeps, of the arena. `forward` of attention:
// middle = input + attention; of the MLP: output = middle + MLP of the middle, or of the input
// where the two are parallel. mlp_activate: the part of the latter that the backward pass reads.
// `backward`: adds to dx, the gradient of what the half reads, given dy, that of what it adds; dx
// may be dy, for what a half reads it adds to. Operators run in the reverse order, each weight's
// gradient before that of what it multiplied.

void attention_tensors(const pass_t *p, layer_activations_t *a);
void attention_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                       const scratch_t *s);
void attention_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                        tr_tensor_t dx, tr_tensor_t dy, const tr_gradient_t *gradient,
                        const scratch_t *s);
/// Keys and values of a batch of whole sequences: pages that the batch numbered itself.
tr_kv_t attention_fresh_kv(const pass_t *p);

/// How the heads of a layer attend.
tr_heads_t attention_heads(const pass_t *p, size_t segment);

// The same of a model whose queries, keys and values are made of latents (has_latents).

bool has_latents(const pass_t *p);
void latent_tensors(const pass_t *p, layer_activations_t *a);
void latent_scratch(const pass_t *p, latent_scratch_t *s, bool backward);
void latent_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                    const scratch_t *s);
void latent_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                     tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s);

// Attention's counterpart in a layer with a gated delta net (delta_recurs).

bool delta_recurs(const pass_t *p, size_t segment);
void delta_tensors(const pass_t *p, layer_activations_t *a);
void delta_scratch(const pass_t *p, delta_scratch_t *s, bool backward);
void delta_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                   const scratch_t *s);
void delta_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                    tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s);

void mlp_tensors(const pass_t *p, layer_activations_t *a);
void mlp_activate(const pass_t *p, size_t segment, const layer_activations_t *a,
                  const scratch_t *s);
void mlp_forward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t output,
                 const scratch_t *s);
void mlp_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                  tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s);

// The same of a layer that has experts for its MLP (has_experts).

bool has_experts(const pass_t *p, size_t segment);
void experts_tensors(const pass_t *p, layer_activations_t *a);
/// What a layer keeps for itself in a learning pass, also where layers share their tensors.
void experts_keep(const pass_t *p, layer_activations_t *a);
/// Scratch tensors of the forward pass, and with `backward` the others.
void experts_scratch(const pass_t *p, scratch_t *s, bool backward);
void experts_activate(const pass_t *p, size_t segment, const layer_activations_t *a,
                      const scratch_t *s);
void experts_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                     tr_tensor_t output, const scratch_t *s);
void experts_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                      tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s);

#endif
