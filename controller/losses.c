#include "controller/losses.h"

#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/sft.h"

static size_t loss_of(const tr_recipe_dpo_t *dpo, size_t i)
{
    tr_dpo_loss_type_t type = TR_DPO_SIGMOID;
    bool known = tr_dpo_loss_from_name(&type, dpo->loss_type.items[i]);
    TR_ASSERT(known, "the recipe let '%s' pass", dpo->loss_type.items[i]);
    return type;
}

bool controller_losses_read_reference(const tr_recipe_t *recipe)
{
    tr_dpo_options_t options = {.reference_free = recipe->dpo.reference_free};
    for (size_t i = 0; i < recipe->dpo.loss_type.count; i++) {
        options.used[loss_of(&recipe->dpo, i)] = true;
    }
    switch (recipe->algorithm) {
    case TR_ALGORITHM_PPO:
    case TR_ALGORITHM_KTO: return true;
    case TR_ALGORITHM_DPO:
    case TR_ALGORITHM_ONLINE_DPO: return tr_dpo_needs_reference(&options);
    case TR_ALGORITHM_SFT:
    case TR_ALGORITHM_REWARD:
    case TR_ALGORITHM_REJECTION_SAMPLING:
    case TR_ALGORITHM_SAMPLE: break;
    }
    return false;
}

bool controller_losses_precompute_reference(const tr_recipe_t *recipe)
{
    bool dpo = recipe->algorithm == TR_ALGORITHM_DPO && recipe->dpo.precompute_ref_log_probs;
    bool kto = recipe->algorithm == TR_ALGORITHM_KTO && recipe->kto.precompute_ref_log_probs;
    return (dpo || kto) && controller_losses_read_reference(recipe);
}

bool controller_losses_sync_reference(const tr_recipe_t *recipe)
{
    bool dpo =
        recipe->algorithm == TR_ALGORITHM_DPO || recipe->algorithm == TR_ALGORITHM_ONLINE_DPO;
    return dpo && recipe->dpo.sync_ref_model;
}

bool controller_losses_mismatch(const tr_recipe_t *recipe)
{
    return recipe->algorithm == TR_ALGORITHM_KTO && recipe->kto.loss_type == TR_KTO_KTO;
}

static json_t *dpo_losses(const tr_recipe_dpo_t *dpo)
{
    json_t *losses = json_object();
    for (size_t i = 0; i < dpo->loss_type.count; i++) {
        double weight = dpo->loss_weights.count > 0 ? dpo->loss_weights.items[i] : 1.0;
        json_object_set_new(losses, dpo->loss_type.items[i], json_real(weight));
    }
    return losses;
}

static json_t *dpo_options(const tr_recipe_dpo_t *dpo)
{
    return json_pack(
        "{s:f, s:o, s:f, s:s, s:f, s:f, s:f, s:f, s:b, s:b}", "beta", dpo->beta, "losses",
        dpo_losses(dpo), "label_smoothing", dpo->label_smoothing, "f_divergence_type",
        tr_f_divergence_name((tr_f_divergence_t)dpo->f_divergence_type), "f_alpha_divergence_coef",
        dpo->f_alpha_divergence_coef, "ld_alpha", dpo->ld_alpha.given ? dpo->ld_alpha.value : 1.0,
        "discopop_tau", dpo->discopop_tau, "simpo_gamma", dpo->simpo_gamma, "use_weighting",
        (int)dpo->use_weighting, "reference_free", (int)dpo->reference_free);
}

static json_t *kto_options(const tr_recipe_kto_t *kto)
{
    return json_pack("{s:s, s:f, s:f, s:f}", "loss_type",
                     tr_kto_loss_name((tr_kto_loss_type_t)kto->loss_type), "beta", kto->beta,
                     "desirable_weight", kto->desirable_weight, "undesirable_weight",
                     kto->undesirable_weight);
}

static json_t *sft_options(const tr_recipe_sft_t *sft)
{
    return json_pack("{s:s, s:f, s:f}", "loss_type",
                     tr_sft_loss_name((tr_sft_loss_type_t)sft->loss_type), "label_smoothing_factor",
                     sft->label_smoothing_factor, "neftune_noise_alpha",
                     sft->neftune_noise_alpha.value);
}

json_t *controller_losses_options(const tr_recipe_t *recipe)
{
    switch (recipe->algorithm) {
    case TR_ALGORITHM_DPO:
    case TR_ALGORITHM_ONLINE_DPO: return dpo_options(&recipe->dpo);
    case TR_ALGORITHM_KTO: return kto_options(&recipe->kto);
    case TR_ALGORITHM_REWARD:
        return json_pack("{s:f}", "center_rewards_coefficient",
                         recipe->reward.center_rewards_coefficient.value);
    case TR_ALGORITHM_SFT:
    case TR_ALGORITHM_REJECTION_SAMPLING: return sft_options(&recipe->sft);
    case TR_ALGORITHM_PPO:
    case TR_ALGORITHM_SAMPLE: break;
    }
    return json_object();
}

const char *controller_losses_method(const tr_recipe_t *recipe)
{
    static const char *const methods[] = {
        [TR_ALGORITHM_PPO] = "train",
        [TR_ALGORITHM_SFT] = "train_sft",
        [TR_ALGORITHM_REWARD] = "train_reward",
        [TR_ALGORITHM_DPO] = "train_dpo",
        [TR_ALGORITHM_KTO] = "train_kto",
        [TR_ALGORITHM_ONLINE_DPO] = "train_dpo",
        [TR_ALGORITHM_REJECTION_SAMPLING] = "train_sft",
        [TR_ALGORITHM_SAMPLE] = NULL,
    };
    return methods[recipe->algorithm];
}
