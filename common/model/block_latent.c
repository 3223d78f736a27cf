/// Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2), the first half of a layer: keys and
/// values are products of a few numbers a token, the latent, and so may queries be.
///
/// Heads attend as those of block_attention.c, over whole keys and values, in a rollout and in the
/// trainer alike. A head is [rotated | plain]: where the file has another order, the rows of its
/// matrices are arranged as they are read (TR_FORM_ROTATED_LAST). Values are narrower than keys:
/// zeros fill them up, which change no sum.
#include "common/model/pass.h"

static const tr_norm_t LATENT_NORM = {1e-6f, 0.0f}; // transformers', whatever rms_norm_eps is

bool has_latents(const pass_t *p)
{
    return p->model->config.latent.key > 0;
}

/// Columns of the product: [queries, or their latent | rotated part of keys | latent of both].
typedef struct columns {
    size_t queries, rotated, key, all;
} columns_t;

static columns_t columns_of(const pass_t *p)
{
    const tr_latent_t *l = &p->model->config.latent;
    const size_t queries = l->query > 0 ? l->query : p->Q;
    return (columns_t){queries, l->rotated, l->key, queries + l->rotated + l->key};
}

/// One piece of columns.
static tr_pieces_t piece(size_t first, size_t width)
{
    return (tr_pieces_t){first, width, width};
}

void latent_tensors(const pass_t *p, layer_activations_t *a)
{
    attention_tensors(p, a);
    a->product = pass_reals(p, p->T, columns_of(p).all);
    a->qk_rstd[0] = pass_floats(p, p->T, 1);
    a->qk_rstd[1] = pass_floats(p, p->T, 1);
}

void latent_scratch(const pass_t *p, latent_scratch_t *s, bool backward)
{
    const tr_latent_t *l = &p->model->config.latent;
    const size_t heads = p->model->config.heads;
    *s = (latent_scratch_t){
        .latents = pass_reals(p, p->T, columns_of(p).all),
        .query = pass_reals(p, p->T, l->query),
        .key = pass_reals(p, p->T, l->key),
        .queries = pass_reals(p, p->T, l->query > 0 ? p->Q : 0),
        .rows = pass_reals(p, p->T, heads * (l->plain + l->value)),
        .read = pass_reals(p, p->T, heads * l->value),
    };
    if (backward) {
        s->dproduct = pass_reals(p, p->T, columns_of(p).all);
    }
}

/// The normed latents of the product, in s->query and s->key.
static void make_latents(const pass_t *p, size_t segment, const layer_activations_t *a,
                         const latent_scratch_t *s)
{
    const columns_t c = columns_of(p);
    const size_t key = c.queries + c.rotated;
    p->ops->group_norm(p->queue, s->latents, a->qk_rstd[1], a->product,
                       pass_vector(p, segment, TR_WEIGHT_KEY_NORM), key, 1, LATENT_NORM);
    p->ops->copy_pieces(p->queue, s->key, piece(0, c.key), s->latents, piece(key, c.key), 1);
    if (pass_has(p, segment, TR_WEIGHT_QUERY_UP)) {
        p->ops->group_norm(p->queue, s->latents, a->qk_rstd[0], a->product,
                           pass_vector(p, segment, TR_WEIGHT_QUERY_NORM), 0, 1, LATENT_NORM);
        p->ops->copy_pieces(p->queue, s->query, piece(0, c.queries), s->latents,
                            piece(0, c.queries), 1);
    }
}

/// Between the rows of keys and values and where they stand in qkv; inverse: from qkv to the rows.
static void move_rows(const pass_t *p, tr_tensor_t qkv, tr_tensor_t rows, bool inverse)
{
    const tr_latent_t *l = &p->model->config.latent;
    const size_t dim = p->model->config.head_dim, step = l->plain + l->value;
    const tr_pieces_t apart[] = {{p->Q + l->rotated, dim, l->plain}, {2 * p->Q, dim, l->value}};
    const tr_pieces_t dense[] = {{0, step, l->plain}, {l->plain, step, l->value}};
    for (size_t i = 0; i < 2; i++) {
        if (inverse) {
            p->ops->copy_pieces(p->queue, rows, dense[i], qkv, apart[i], p->model->config.heads);
        } else {
            p->ops->copy_pieces(p->queue, qkv, apart[i], rows, dense[i], p->model->config.heads);
        }
    }
}

/// Queries, keys and values before the rotation, of the product and its latents.
static void make_qkv(const pass_t *p, size_t segment, const layer_activations_t *a,
                     const latent_scratch_t *s)
{
    const columns_t c = columns_of(p);
    const size_t dim = p->model->config.head_dim;
    const bool has = pass_has(p, segment, TR_WEIGHT_QUERY_UP);
    p->ops->zero(p->queue, a->qkv); // beside the values
    make_latents(p, segment, a, s);
    if (has) {
        product_forward(p, segment, TR_WEIGHT_QUERY_UP, s->queries, s->query);
    }
    p->ops->copy_pieces(p->queue, a->qkv, piece(0, p->Q), has ? s->queries : a->product,
                        piece(0, p->Q), 1);
    product_forward(p, segment, TR_WEIGHT_KEY_UP, s->rows, s->key);
    move_rows(p, a->qkv, s->rows, false);
    p->ops->copy_pieces(p->queue, a->qkv, (tr_pieces_t){p->Q, dim, c.rotated}, a->product,
                        (tr_pieces_t){c.queries, 0, c.rotated}, p->model->config.heads);
}

static void rotate(const pass_t *p, size_t segment, tr_tensor_t qkv, bool inverse)
{
    p->ops->rope(p->queue, qkv, p->batch->ragged.positions, p->model->rope,
                 attention_heads(p, segment), inverse);
}

/// What the heads read, without the zeros; or with them, from `read` to `attention`.
static void cut(const pass_t *p, tr_tensor_t attention, tr_tensor_t read, bool inverse)
{
    const size_t value = p->model->config.latent.value, heads = p->model->config.heads;
    const tr_pieces_t dense = piece(0, value), apart = {0, p->model->config.head_dim, value};
    if (inverse) {
        p->ops->zero(p->queue, attention);
        p->ops->copy_pieces(p->queue, attention, apart, read, dense, heads);
    } else {
        p->ops->copy_pieces(p->queue, read, dense, attention, apart, heads);
    }
}

void latent_forward(const pass_t *p, size_t segment, const layer_activations_t *a,
                    const scratch_t *s)
{
    const tr_ragged_t *ragged = &p->batch->ragged;
    const tr_heads_t heads = attention_heads(p, segment);
    product_forward(p, segment, TR_WEIGHT_LATENT_IN, a->product,
                    pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, a->rstd, a->input));
    make_qkv(p, segment, a, &s->latent);
    rotate(p, segment, a->qkv, false);
    p->ops->kv_store(p->queue, a->kv, a->qkv, ragged, heads);
    p->ops->attention(p->queue, a->attention, a->lse, a->qkv, a->kv, ragged, heads);
    cut(p, a->attention, s->latent.read, false);
    p->ops->copy(p->queue, a->middle, a->input);
    pass_add_branch(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, a->middle,
                    s->latent.read, s->norm);
}

/// From the gradient of keys and values before the rotation to those columns of s->dproduct.
static void keys_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                          tr_tensor_t dqkv, const tr_gradient_t *gradient,
                          const latent_scratch_t *s)
{
    const columns_t c = columns_of(p);
    const size_t key = c.queries + c.rotated;
    move_rows(p, dqkv, s->rows, true);
    product_backward(p, segment, TR_WEIGHT_KEY_UP, gradient, s->key, s->rows, s->key);
    p->ops->copy_pieces(p->queue, s->dproduct, piece(key, c.key), s->key, piece(0, c.key), 1);
    p->ops->group_norm_gradient(p->queue, s->dproduct,
                                pass_vector_gradient(p, segment, TR_WEIGHT_KEY_NORM, gradient),
                                a->product, a->qk_rstd[1],
                                pass_vector(p, segment, TR_WEIGHT_KEY_NORM), key, 1, LATENT_NORM);
    p->ops->sum_pieces(p->queue, s->dproduct, c.queries, dqkv,
                       (tr_pieces_t){p->Q, p->model->config.head_dim, c.rotated},
                       p->model->config.heads);
}

/// The same of queries.
static void queries_backward(const pass_t *p, size_t segment, const layer_activations_t *a,
                             tr_tensor_t dqkv, const tr_gradient_t *gradient,
                             const latent_scratch_t *s)
{
    const columns_t c = columns_of(p);
    if (!pass_has(p, segment, TR_WEIGHT_QUERY_UP)) {
        p->ops->copy_pieces(p->queue, s->dproduct, piece(0, p->Q), dqkv, piece(0, p->Q), 1);
        return;
    }
    p->ops->copy_pieces(p->queue, s->queries, piece(0, p->Q), dqkv, piece(0, p->Q), 1);
    product_backward(p, segment, TR_WEIGHT_QUERY_UP, gradient, s->query, s->queries, s->query);
    p->ops->copy_pieces(p->queue, s->dproduct, piece(0, c.queries), s->query, piece(0, c.queries),
                        1);
    p->ops->group_norm_gradient(p->queue, s->dproduct,
                                pass_vector_gradient(p, segment, TR_WEIGHT_QUERY_NORM, gradient),
                                a->product, a->qk_rstd[0],
                                pass_vector(p, segment, TR_WEIGHT_QUERY_NORM), 0, 1, LATENT_NORM);
}

void latent_backward(const pass_t *p, size_t segment, const layer_activations_t *a, tr_tensor_t dx,
                     tr_tensor_t dy, const tr_gradient_t *gradient, const scratch_t *s)
{
    const latent_scratch_t *l = &s->latent;
    cut(p, a->attention, l->read, false);
    dy = pass_branch_backward(p, segment, TR_WEIGHT_OUTPUT, TR_WEIGHT_ATTENTION_NORM, dy, l->read,
                              gradient, s);
    // The gradient takes the place of what it is of, here and above: its weight's comes first.
    product_backward(p, segment, TR_WEIGHT_OUTPUT, gradient, l->read, dy, l->read);
    cut(p, s->dattention, l->read, true);
    p->ops->attention_gradient(p->queue, s->dqkv, s->dattention, a->attention, a->lse, a->qkv,
                               &p->batch->ragged, attention_heads(p, segment));
    rotate(p, segment, s->dqkv, true);
    make_latents(p, segment, a, l); // computed again, as all norms
    keys_backward(p, segment, a, s->dqkv, gradient, l);
    queries_backward(p, segment, a, s->dqkv, gradient, l);
    tr_tensor_t x = pass_normed(p, segment, TR_WEIGHT_INPUT_NORM, s->norm, s->unused, a->input);
    product_backward(p, segment, TR_WEIGHT_LATENT_IN, gradient, s->dnorm, l->dproduct, x);
    pass_normed_backward(p, segment, TR_WEIGHT_INPUT_NORM, dx, s->dnorm, a->input, a->rstd,
                         gradient);
}
