// `troupe merge`: a model with an adapter, saved as one model.
//
// For programs that take no adapters, and as the model of another run.
#include "common/model/trainer.h"
#include "deploy/command.h"

/// In fp32 on the CPU; what is saved is in the dtype that the model came in.
static tr_status merge(const char *model, const char *adapter, const char *out, tr_error_t *err)
{
    const tr_device_options_t device = {.device = "cpu", .precision = TR_PRECISION_FP32};
    tr_save_options_t options = {.source = model};
    tr_backend_t *backend = NULL;
    tr_model_t *adapted = NULL, *merged = NULL;
    tr_status status;
    TR_TRY(tr_model_stored_dtype(&options.dtype, model, err));
    TR_TRY_GOTO(tr_backend_open(&backend, &device, err), done);
    TR_TRY_GOTO(tr_model_open(&adapted, model, adapter, backend, TR_MODEL_READS, err), done);
    TR_TRY_GOTO(tr_model_merge(&merged, adapted, err), done);
    TR_TRY_GOTO(tr_trainer_save_model(merged, out, &options, err), done);
done:
    tr_model_destroy(&merged);
    tr_model_destroy(&adapted);
    tr_backend_close(&backend);
    return status;
}

int command_merge(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "The model that the adapter is of", 0},
        {"adapter", 'a', "DIR", 0, "The adapter, as PEFT saves them", 0},
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "OUT",
        .doc = "Save a model with an adapter as one model, with the model's tokenizer.",
        .missing = "the directory to save to is missing",
        .most = 1};
    tr_error_t err = {0};
    command_parse(&line, argc, argv);
    const char *model = line.values['m'], *adapter = line.values['a'];
    tr_status status = model == NULL || adapter == NULL
                           ? tr_fail(&err, TR_ERR_ARGUMENT, "--model and --adapter are needed")
                           : merge(model, adapter, line.words[0], &err);
    return tr_status_report(status, &err);
}
