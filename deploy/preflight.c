// The order of the checks before a run: cheap ones first, and what the recipe says before what the
// machine has.
#include "deploy/preflight.h"

#include "controller/evaluation.h"
#include "controller/rundir.h"
#include "deploy/judges_check.h"
#include "deploy/memory_plan.h"
#include "deploy/models_check.h"
#include "proto/endpoint.h"

/// The address can be listened on, and the keys are there: tried as the controller will do it.
static tr_status check_network(const tr_recipe_network_t *network, tr_error_t *err)
{
    zsock_t *socket = NULL;
    zactor_t *auth = NULL;
    if (network->bind == NULL && network->keys == NULL) {
        return TR_OK;
    }
    const char *endpoint = network->bind != NULL ? network->bind : "inproc://preflight";
    if (tr_endpoint_bind(&socket, &auth, endpoint, network->keys, err) != TR_OK) {
        return tr_error_prefix(err, "network");
    }
    zsock_destroy(&socket);
    zactor_destroy(&auth);
    tr_endpoint_forget(endpoint);
    return TR_OK;
}

tr_status preflight(supervisor_plan_t *plan, tr_recipe_t *recipe, const char *run_directory,
                    bool resume, tr_error_t *err)
{
    TR_TRY(process_group_init(plan, recipe, run_directory, resume, err));
    if (!resume) {
        TR_TRY(controller_rundir_check_vacant(recipe, err));
    }
    TR_TRY(check_network(&recipe->network, err));
    TR_TRY(controller_evaluation_check(recipe, err));
    TR_TRY(models_check(recipe, err));
    TR_TRY(judges_check(recipe, err));
    // before sums of memory: what cannot be opened needs no estimate
    return memory_plan_check_devices(recipe, err);
}
