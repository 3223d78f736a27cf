// The configs of the roles, from the recipe.
//
// The controller alone reads the recipe: a worker knows what its config says and nothing else. The
// readers are proto/learner/learner.c (actor, critic), actor/main.c, rollout/service.c and the
// judges (proto/score.h).
#include "controller/role_config.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/device_name.h"
#include "common/base/pool.h"
#include "proto/score.h"

/// The path as other processes can use it, whatever directory they run in; a new reference. A path
/// that does not exist stays, for the worker to report.
static json_t *absolute(const char *path)
{
    char *resolved = realpath(path, NULL);
    json_t *text = json_string(resolved != NULL ? resolved : path);
    free(resolved);
    return text;
}

uint64_t controller_role_threads(uint64_t wanted, uint64_t sharers)
{
    // Processors of the controller's machine: a worker on another one may say --threads.
    uint64_t share = tr_pool_processors() / (sharers > 0 ? sharers : 1);
    return wanted > 0 ? wanted : share > 0 ? share : 1;
}

static json_t *threads_of(uint64_t wanted, uint64_t sharers)
{
    return json_integer((json_int_t)controller_role_threads(wanted, sharers));
}

/// Adds the device settings (proto/device.h) to a config. devices: a text, or a list of texts;
/// taken.
static json_t *on_device(json_t *welcome, const tr_recipe_t *recipe, json_t *devices, double memory)
{
    // The same keys for all roles, as one reader takes them.
    json_object_set_new(welcome, "device", devices);
    json_object_set_new(welcome, "precision", json_string(tr_precision_names[recipe->precision]));
    json_object_set_new(welcome, "memory", json_real(memory));
    return welcome;
}

/// The texts as a JSON list.
static json_t *names_of(const tr_texts_t *devices)
{
    json_t *names = json_array();
    for (size_t i = 0; i < devices->count; i++) {
        json_array_append_new(names, json_string(devices->items[i]));
    }
    return names;
}

/// The config that actor and critic share. own: the role's section of the recipe; folder: its place
/// in a checkpoint.
static json_t *learner(const tr_recipe_t *recipe, const controller_start_t *start,
                       const tr_recipe_learner_t *own, const char *model, const char *folder)
{
    // Actor and critic train at the same time, each with all its ranks.
    uint64_t learners = tr_algorithm_has_critic(tr_recipe_algorithm(recipe)) ? 2 : 1;
    char *checkpoint =
        start->checkpoint == NULL ? NULL : tr_format("%s%s", start->checkpoint, folder);
    json_t *optimizer = json_object();
    // By the table, so that a new option needs no line here.
    tr_fields_to_json(optimizer, &recipe->optimizer, &tr_optimizer_fields);
    json_t *config = json_pack(
        "{s:o, s:o, s:I, s:I, s:i, s:o, s:o}", "model", absolute(model), "checkpoint",
        checkpoint == NULL ? json_null() : absolute(checkpoint), "step", (json_int_t)start->step,
        "seed", (json_int_t)recipe->seed, "eos", start->eos, "threads",
        threads_of(own->threads, learners * own->ranks), "optimizer", optimizer);
    // zero_stage and gradient_sum stand beside the other keys, not in an object of their own.
    tr_fields_to_json(config, &own->sharing, &tr_sharing_fields);
    free(checkpoint);
    return on_device(config, recipe, names_of(&own->device), own->memory);
}

/// The directory of the reference; a reference that follows the policy is in the checkpoint.
static json_t *reference_of(const tr_recipe_t *recipe, const controller_start_t *start)
{
    if (tr_recipe_syncs_reference(recipe) && start->checkpoint != NULL) {
        char *path = tr_format("%s/reference", start->checkpoint);
        json_t *reference = absolute(path);
        free(path);
        return reference;
    }
    return absolute(recipe->reference != NULL ? recipe->reference : recipe->model);
}

/// Whether rollouts read the actor's weights on its GPU, without a copy through the host.
static bool weights_stay(const tr_recipe_t *recipe)
{
    const tr_recipe_learner_t *actor = &recipe->roles.actor;
    // With zero_stage 3 no single GPU holds all weights.
    bool sharded = actor->ranks > 1 && actor->sharing.zero_stage == 3;
    return recipe->roles.rollout.weights == TR_WEIGHTS_AUTO && !sharded &&
           !tr_recipe_serves_weights(recipe) && tr_device_is_gpu(actor->device.items[0]);
}

/// Where the actor serves its weights to other machines: another port of the controller's address.
/// null: nowhere.
static json_t *weights_endpoint(const tr_recipe_t *recipe)
{
    if (!tr_recipe_serves_weights(recipe)) {
        return json_null();
    }
    const char *bind = recipe->network.bind;
    // The last colon: an address of IPv6 has several.
    int host = (int)(strrchr(bind, ':') - bind);
    uint64_t port = recipe->network.weights_port;
    return port > 0 ? json_sprintf("%.*s:%llu", host, bind, (unsigned long long)port)
                    : json_sprintf("%.*s:*", host, bind);
}

/// Shared memory is named by the run, so runs on one machine do not meet.
void controller_role_segment(char segment[CONTROLLER_SEGMENT], const char *run)
{
    snprintf(segment, CONTROLLER_SEGMENT, "%016llx",
             (unsigned long long)XXH3_64bits(run, strlen(run)));
}

/// Adds the policy's adapter to a config: the directory that it begins with, or how it is made.
static void add_adapter(json_t *config, const tr_recipe_t *recipe)
{
    json_t *lora = json_object();
    tr_fields_to_json(lora, &recipe->lora, &tr_lora_fields);
    tr_fields_to_json(lora, &recipe->lora, &tr_lora_dropout_fields);
    json_object_set_new(config, "lora", lora);
    json_object_set_new(config, "adapter",
                        recipe->adapter != NULL ? absolute(recipe->adapter) : json_null());
}

/// The adapter that belongs to a reference that is the policy before training.
static json_t *reference_adapter(const tr_recipe_t *recipe)
{
    return recipe->reference == NULL && recipe->adapter != NULL ? absolute(recipe->adapter)
                                                                : json_null();
}

json_t *controller_role_config_actor(const tr_recipe_t *recipe, const controller_start_t *start)
{
    json_t *config = learner(recipe, start, &recipe->roles.actor, recipe->model, "");
    // A reference with a process of its own is not opened by the actor.
    bool asked = tr_recipe_reads_reference(recipe) && !recipe->roles.reference.separate;
    bool scalar = tr_recipe_algorithm(recipe)->scalar;
    char segment[CONTROLLER_SEGMENT];
    controller_role_segment(segment, start->run);
    add_adapter(config, recipe);
    json_object_set_new(config, "segment", json_string(segment));
    json_object_set_new(config, "weights_stay", json_boolean(weights_stay(recipe)));
    json_object_set_new(config, "weights_endpoint", weights_endpoint(recipe));
    const bool shared = asked && tr_recipe_shares_reference(recipe);
    json_object_set_new(config, "reference",
                        asked && !shared ? reference_of(recipe, start) : json_null());
    json_object_set_new(config, "reference_adapter", reference_adapter(recipe));
    json_object_set_new(config, "reference_shared", json_boolean(shared));
    json_object_set_new(config, "scalar", json_boolean(scalar));
    json_object_set_new(config, "from_scratch", json_boolean(recipe->from_scratch));
    return config;
}

json_t *controller_role_config_critic(const tr_recipe_t *recipe, const controller_start_t *start)
{
    const tr_recipe_learner_t *critic = &recipe->roles.critic;
    // Without a model of its own the critic begins from the policy's.
    const char *model = critic->model != NULL ? critic->model : recipe->model;
    json_t *config = learner(recipe, start, critic, model, "/critic");
    json_object_set_new(config, "adapter",
                        critic->adapter != NULL ? absolute(critic->adapter) : json_null());
    return config;
}

void controller_role_config_set(tr_broker_t *broker, const tr_recipe_t *recipe,
                                const controller_start_t *start)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    tr_dispatch_t *dispatch = tr_broker_dispatch(broker);
    tr_dispatch_set_config(dispatch, TR_ROLE_ACTOR, controller_role_config_actor(recipe, start));
    bool critic = tr_algorithm_has_critic(algorithm);
    uint64_t sharers = critic ? 2 : 1; // a separate reference works beside the critic
    json_t *reference = json_pack("{s:o, s:o}", "reference", reference_of(recipe, start), "threads",
                                  threads_of(roles->reference.threads, sharers));
    json_object_set_new(reference, "reference_adapter", reference_adapter(recipe));
    tr_dispatch_set_config(dispatch, TR_ROLE_REFERENCE,
                           on_device(reference, recipe, json_string(roles->reference.device),
                                     roles->reference.memory));
    if (critic) {
        tr_dispatch_set_config(dispatch, TR_ROLE_CRITIC,
                               controller_role_config_critic(recipe, start));
    }
    // Without generation there are neither rollouts nor judges.
    if (!tr_algorithm_generates(algorithm)) {
        return;
    }
    // External workers have processors of their own.
    uint64_t here = roles->rollout.workers - roles->rollout.external;
    json_t *rollout = json_pack(
        "{s:o, s:i, s:o, s:I, s:b}", "model", absolute(recipe->model), "eos", start->eos, "threads",
        threads_of(roles->rollout.threads, here), "max_batch", (json_int_t)roles->rollout.max_batch,
        "frozen", (int)!tr_algorithm_learns(algorithm));
    add_adapter(rollout, recipe);
    tr_dispatch_set_config(
        dispatch, TR_ROLE_ROLLOUT,
        on_device(rollout, recipe, names_of(&roles->rollout.device), roles->rollout.memory));
    tr_dispatch_set_config(dispatch, TR_ROLE_REWARD,
                           tr_judges_config(&roles->reward, (tr_precision_t)recipe->precision));
}
