// The models of a recipe: whether each directory can be what its role needs.
//
// Apart from memory_plan.c, which asks how much memory they take. A service that loads a model
// refuses the same mistakes (actor, critic, rollout, common/judge/model.c), but only after the run
// has begun. Next: common/model/model.h for what is checked of the weights.
#include "deploy/models_check.h"

#include <stdlib.h>
#include <string.h>

#include "common/model/model.h"
#include "common/text/tokenizer.h"

/// A text of letters, digits and signs, which two tokenizers of one vocabulary encode alike.
static const char probe[] = "Once upon a time, 1234 + 5678 = 6912; \xC3\xA9t\xC3\xA9!\n\tif (x) {}";

typedef enum head {
    ANY_HEAD,     ///< a trunk: the head is the file's or a fresh one
    LANGUAGE_HEAD ///< generates, or gives log-probs
} head_t;

/// "KEY: what is wrong", after a failure.
static tr_status blame(const char *key, tr_status status, tr_error_t *err)
{
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", key);
}

static tr_status check_tokenizer(const char *directory, const tr_model_config_t *config,
                                 tr_error_t *err)
{
    tr_tokenizer_t *tokenizer;
    TR_TRY(tr_tokenizer_new(&tokenizer, directory, err));
    tr_status status = tr_tokenizer_bound(tokenizer, config->vocabulary, err);
    tr_tokenizer_destroy(&tokenizer);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "'%s'", directory);
}

/// Configuration, head and weights. config: written. weights: whether they are read at all.
static tr_status check_model(tr_model_config_t *config, const char *directory, head_t head,
                             bool weights, tr_error_t *err)
{
    TR_TRY(head == LANGUAGE_HEAD ? tr_model_config_load_language(config, directory, err)
                                 : tr_model_config_load(config, directory, err));
    return weights ? tr_model_check(config, directory, err) : TR_OK;
}

/// The probe's tokens by the directory's tokenizer. *ids: the caller's.
static tr_status encode_probe(int32_t **ids, size_t *count, const char *directory, tr_error_t *err)
{
    tr_tokenizer_t *tokenizer;
    TR_TRY(tr_tokenizer_new(&tokenizer, directory, err));
    tr_status status = tr_tokenizer_encode(ids, count, tokenizer, probe, strlen(probe), 0, err);
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

/// A directory without a tokenizer takes the policy's ids as they come.
static tr_status check_same_tokens(const char *directory, const char *policy, tr_error_t *err)
{
    int32_t *ids = NULL, *others = NULL;
    size_t count, other_count;
    tr_error_t ignored = {0};
    tr_status status;
    if (encode_probe(&ids, &count, directory, &ignored) != TR_OK) {
        return TR_OK;
    }
    TR_TRY_GOTO(encode_probe(&others, &other_count, policy, err), done);
    if (count != other_count || memcmp(ids, others, count * sizeof *ids) != 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' and '%s' have different tokenizers: name a model of the policy's "
                         "vocabulary",
                         directory, policy);
    }
done:
    free(ids);
    free(others);
    return status;
}

/// The policy's sequences are computed whole: another model would cut them elsewhere.
static tr_status check_room(const char *directory, const tr_model_config_t *config,
                            const tr_recipe_t *recipe, const tr_model_config_t *policy,
                            tr_error_t *err)
{
    const char *key = tr_recipe_algorithm(recipe)->max_length_key;
    size_t longest = tr_recipe_sequence_limit(recipe, policy->max_positions);
    return longest <= config->max_positions
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' has %zu positions, and the recipe lets sequences of %zu tokens "
                         "through: lower %s, or name a model of as many positions",
                         directory, config->max_positions, longest,
                         key != NULL ? key
                                     : "data.max_prompt_length and generation.max_new_tokens");
}

/// A model that reads the policy's token ids: the reference, or a critic.
static tr_status check_companion(const char *directory, head_t head, const tr_recipe_t *recipe,
                                 const tr_model_config_t *policy, tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(check_model(&config, directory, head, true, err));
    if (config.vocabulary != policy->vocabulary) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' has a vocabulary of %zu and the policy '%s' one of %zu: name a model "
                       "of the policy's vocabulary",
                       directory, config.vocabulary, recipe->model, policy->vocabulary);
    }
    TR_TRY(check_room(directory, &config, recipe, policy, err));
    return check_same_tokens(directory, recipe->model, err);
}

/// Judges read texts, so that they have a tokenizer of their own, and any vocabulary.
static tr_status check_judge(const tr_judge_t *judge, tr_error_t *err)
{
    const tr_model_judge_t *options = judge->options;
    const char *directory = options->model, *adapter = options->adapter;
    tr_model_config_t config;
    TR_TRY(tr_model_config_load_adapted(&config, directory, adapter, err));
    if (!config.scalar_head) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' is a language model, which gives no scores: name a reward model "
                       "(sequence classification with one label), such as `algorithm: "
                       "reward` trains",
                       directory);
    }
    TR_TRY(tr_model_check(&config, directory, err));
    if (adapter != NULL) {
        TR_TRY(tr_model_check_adapter(&config, adapter, err));
    }
    return check_tokenizer(directory, &config, err);
}

static tr_status check_judges(const tr_judges_t *judges, tr_error_t *err)
{
    for (size_t i = 0; i < judges->count; i++) {
        if (judges->items[i].kind == &tr_judge_model) {
            char *key = tr_format("roles.reward.%zu.model", i);
            tr_status status = blame(key, check_judge(&judges->items[i], err), err);
            free(key);
            TR_TRY(status);
        }
    }
    return TR_OK;
}

/// The policy's adapter: that of a directory, or whether the model has what `lora` names.
static tr_status check_adapter(const tr_recipe_t *recipe, const tr_model_config_t *policy,
                               tr_error_t *err)
{
    if (recipe->adapter != NULL) {
        return blame("adapter", tr_model_check_adapter(policy, recipe->adapter, err), err);
    }
    tr_layout_t layout;
    tr_layout_init(&layout, policy);
    tr_status status = recipe->lora.r > 0 ? tr_layout_adapt(&layout, &recipe->lora, err) : TR_OK;
    tr_layout_release(&layout);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "lora");
}

static tr_status check_critic_adapter(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_recipe_learner_t *critic = &recipe->roles.critic;
    tr_model_config_t config;
    if (critic->adapter == NULL) {
        return TR_OK;
    }
    const char *model = critic->model != NULL ? critic->model : recipe->model;
    TR_TRY(tr_model_config_load(&config, model, err));
    tr_model_config_make_scalar(&config);
    return blame("roles.critic.adapter", tr_model_check_adapter(&config, critic->adapter, err),
                 err);
}

tr_status models_check(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    const char *critic = recipe->roles.critic.model;
    tr_model_config_t policy;
    // a reward model may go on from another one
    head_t head = algorithm->scalar ? ANY_HEAD : LANGUAGE_HEAD;
    TR_TRY(
        blame("model", check_model(&policy, recipe->model, head, !recipe->from_scratch, err), err));
    TR_TRY(blame("model", check_tokenizer(recipe->model, &policy, err), err));
    if (algorithm->scalar) {
        tr_model_config_make_scalar(&policy);
    }
    TR_TRY(check_adapter(recipe, &policy, err));
    if (recipe->reference != NULL && tr_recipe_reads_reference(recipe)) {
        TR_TRY(blame("reference",
                     check_companion(recipe->reference, LANGUAGE_HEAD, recipe, &policy, err), err));
    }
    if (critic != NULL && tr_algorithm_has_critic(algorithm)) {
        TR_TRY(blame("roles.critic.model", check_companion(critic, ANY_HEAD, recipe, &policy, err),
                     err));
    }
    TR_TRY(check_critic_adapter(recipe, err));
    return tr_algorithm_generates(algorithm) ? check_judges(&recipe->roles.reward, err) : TR_OK;
}
