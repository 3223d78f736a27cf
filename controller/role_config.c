#include "controller/role_config.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/device_name.h"
#include "common/base/pool.h"
#include "controller/losses.h"
#include "proto/judge.h"

/// The path as other processes can use it, whatever directory they run in; a new reference.
static json_t *absolute(const char *path)
{
    char *resolved = realpath(path, NULL);
    json_t *text = json_string(resolved != NULL ? resolved : path);
    free(resolved);
    return text;
}

/// Threads of a process: what the recipe says, else its share of the processors; `sharers` work at the same time.
static json_t *threads_of(uint64_t wanted, uint64_t sharers)
{
    uint64_t share = tr_pool_processors() / (sharers > 0 ? sharers : 1);
    return json_integer((json_int_t)(wanted > 0 ? wanted : share > 0 ? share : 1));
}

/// What a learning role's ranks share, and how.
static void set_ranks(json_t *welcome, uint64_t zero_stage, int gradient_sum)
{
    static const char *const sums[] = {"tree", "all_reduce"}; // tr_gradient_sum_t
    json_object_set_new(welcome, "zero_stage", json_integer((json_int_t)zero_stage));
    json_object_set_new(welcome, "gradient_sum", json_string(sums[gradient_sum]));
}

/// Puts into the welcome on what the role computes (proto/device.h). devices: a text, or a list of texts; taken.
static json_t *on_device(json_t *welcome, const tr_recipe_t *recipe, json_t *devices, double memory)
{
    json_object_set_new(welcome, "device", devices);
    json_object_set_new(welcome, "precision", json_string(tr_precision_name(recipe->precision)));
    json_object_set_new(welcome, "memory", json_real(memory));
    return welcome;
}

static json_t *names_of(const tr_recipe_strings_t *devices)
{
    json_t *names = json_array();
    for (size_t i = 0; i < devices->count; i++) {
        json_array_append_new(names, json_string(devices->items[i]));
    }
    return names;
}

static json_t *learner(const tr_recipe_t *recipe, const controller_start_t *start,
                       const char *model, const char *folder, json_t *threads)
{
    const tr_recipe_optimizer_t *o = &recipe->optimizer;
    json_t *optimizer =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:b, s:b, s:b}", "beta1", o->beta1, "beta2", o->beta2,
                  "epsilon", o->epsilon, "weight_decay", o->weight_decay, "clip", o->clip,
                  "gradient_checkpointing", (int)o->gradient_checkpointing, "offload",
                  (int)o->offload, "stochastic_rounding", o->rounding == TR_ROUNDING_STOCHASTIC);
    char *checkpoint =
        start->checkpoint == NULL ? NULL : tr_format("%s%s", start->checkpoint, folder);
    json_t *welcome = json_pack(
        "{s:o, s:o, s:I, s:I, s:o, s:o}", "model", absolute(model), "checkpoint",
        checkpoint == NULL ? json_null() : absolute(checkpoint), "step", (json_int_t)start->step,
        "seed", (json_int_t)recipe->seed, "threads", threads, "optimizer", optimizer);
    free(checkpoint);
    return welcome;
}

/// The directory of the reference: where it follows the policy, the checkpoint's.
static json_t *reference_of(const tr_recipe_t *recipe, const controller_start_t *start)
{
    if (controller_losses_sync_reference(recipe) && start->checkpoint != NULL) {
        char *path = tr_format("%s/reference", start->checkpoint);
        json_t *reference = absolute(path);
        free(path);
        return reference;
    }
    return absolute(recipe->reference != NULL ? recipe->reference : recipe->model);
}

/// Whether rollouts read the actor's weights on its GPU.
static bool weights_stay(const tr_recipe_t *recipe)
{
    const tr_recipe_actor_t *actor = &recipe->roles.actor;
    bool sharded = actor->ranks > 1 && actor->zero_stage == 3;
    return recipe->roles.rollout.weights == TR_WEIGHTS_AUTO && !sharded &&
           !tr_recipe_serves_weights(recipe) && tr_device_is_gpu(actor->device.items[0]);
}

/// Where the actor serves its weights to other machines: another port of the controller's address. NULL: nowhere.
static json_t *weights_endpoint(const tr_recipe_t *recipe)
{
    if (!tr_recipe_serves_weights(recipe)) {
        return json_null();
    }
    const char *bind = recipe->network.bind;
    int host = (int)(strrchr(bind, ':') - bind);
    uint64_t port = recipe->network.weights_port;
    return port > 0 ? json_sprintf("%.*s:%llu", host, bind, (unsigned long long)port)
                    : json_sprintf("%.*s:*", host, bind);
}

json_t *controller_role_config_actor(const tr_recipe_t *recipe, const controller_start_t *start)
{
    bool ppo = recipe->algorithm == TR_ALGORITHM_PPO;
    const tr_recipe_actor_t *actor = &recipe->roles.actor;
    json_t *threads = threads_of(actor->threads, (ppo ? 2 : 1) * actor->ranks); // beside the critic
    json_t *welcome = learner(recipe, start, recipe->model, "", threads);
    set_ranks(welcome, actor->zero_stage, actor->gradient_sum);
    bool asked = controller_losses_read_reference(recipe) && !recipe->roles.reference.separate;
    char segment[24];
    snprintf(segment, sizeof segment, "%016llx",
             (unsigned long long)XXH3_64bits(start->run, strlen(start->run)));
    json_object_set_new(welcome, "segment", json_string(segment));
    json_object_set_new(welcome, "weights_stay", json_boolean(weights_stay(recipe)));
    json_object_set_new(welcome, "weights_endpoint", weights_endpoint(recipe));
    json_object_set_new(welcome, "reference", asked ? reference_of(recipe, start) : json_null());
    json_object_set_new(welcome, "scalar", json_boolean(recipe->algorithm == TR_ALGORITHM_REWARD));
    json_object_set_new(welcome, "from_scratch", json_boolean(recipe->from_scratch));
    return on_device(welcome, recipe, names_of(&recipe->roles.actor.device),
                     recipe->roles.actor.memory);
}

json_t *controller_role_config_critic(const tr_recipe_t *recipe, const controller_start_t *start)
{
    const tr_recipe_critic_t *critic = &recipe->roles.critic;
    const char *model = critic->model != NULL ? critic->model : recipe->model;
    json_t *threads = threads_of(critic->threads, 2 * critic->ranks); // beside the actor
    json_t *welcome = learner(recipe, start, model, "/critic", threads);
    set_ranks(welcome, critic->zero_stage, critic->gradient_sum);
    return on_device(welcome, recipe, names_of(&critic->device), critic->memory);
}

void controller_role_config_set(tr_broker_t *broker, const tr_recipe_t *recipe,
                                const controller_start_t *start)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    bool ppo = recipe->algorithm == TR_ALGORITHM_PPO;
    bool learns = tr_algorithm_learns(recipe->algorithm);
    tr_broker_set_config(broker, TR_ROLE_ACTOR, controller_role_config_actor(recipe, start));
    uint64_t sharers = ppo ? 2 : 1; // PPO's reference works beside the critic
    json_t *reference = json_pack("{s:o, s:o}", "reference", reference_of(recipe, start), "threads",
                                  threads_of(roles->reference.threads, sharers));
    tr_broker_set_config(broker, TR_ROLE_REFERENCE,
                         on_device(reference, recipe, json_string(roles->reference.device),
                                   roles->reference.memory));
    if (ppo) {
        tr_broker_set_config(broker, TR_ROLE_CRITIC, controller_role_config_critic(recipe, start));
    }
    if (!tr_algorithm_generates(recipe->algorithm)) {
        return;
    }
    uint64_t here = roles->rollout.workers - roles->rollout.external;
    json_t *rollout = json_pack("{s:o, s:o, s:I, s:b}", "model", absolute(recipe->model), "threads",
                                threads_of(roles->rollout.threads, here), "max_batch",
                                (json_int_t)roles->rollout.max_batch, "frozen", (int)!learns);
    tr_broker_set_config(
        broker, TR_ROLE_ROLLOUT,
        on_device(rollout, recipe, names_of(&roles->rollout.device), roles->rollout.memory));
    tr_broker_set_config(broker, TR_ROLE_REWARD,
                         tr_judges_config(&roles->reward, recipe->precision));
}
