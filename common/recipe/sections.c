// The recipe's sections: which tables it is made of, and the tables of what no other module owns
// (data, roles, checkpoints, ...).
//
// Options of losses, optimizer, generation and judges are declared in the module that reads them;
// recipe_sections at the end says where each stands. A new key is a row of a table here or there;
// reading, printing, docs/recipe.md and the schema follow. Next: common/base/fields.h for what a
// row may say.
#include "common/data/kinds.h"
#include "common/model/trainer.h"
#include "common/recipe/parts.h"
#include "common/text/chat.h"

// Choices: the index is the value of the enum.

static const char *const bad_rows[] = {"fail", "drop", NULL};              // tr_on_bad_row_t
static const char *const truncations[] = {"keep_start", "keep_end", NULL}; // tr_truncation_t
static const char *const weight_ways[] = {"auto", "host", NULL};           // tr_weights_way_t

/// Ranges come with the words that a problem uses: "expected a port from 1 to 65535, or 0".
// 2^63 - 1 is no double: the end is the next one, which tr_whole_parse refuses
static const tr_range_t any_whole = {"a whole number from 0 to 2^63 - 1", 0, 0x1p63, false, false};
static const tr_range_t ports = {"a port from 1 to 65535, or 0", 0, 65535, false, false};

// The run

#define FIELD(...) TR_FIELD(tr_recipe_t, __VA_ARGS__)
// Keys at the top. Those without a default (NULL) must be given: no value of them would suit most
// runs.
static const tr_field_t run[] = {
    FIELD(name, TR_FIELD_TEXT, NULL,
          .help = "The run's name, a plain file name: its directory is `output/name`."),
    FIELD(algorithm, TR_FIELD_CHOICE, NULL, .choices = &tr_algorithms[0].name,
          .stride = sizeof tr_algorithms[0],
          .help = "How the policy is trained. `grpo`, `rloo`, `opo`, `remax`, `flash_reinforce`, "
                  "`reinforce_plus_plus` and `reinforce_plus_plus_baseline`: by the scores of a "
                  "step's responses beside each other, without a critic; `online_dpo`: by DPO on "
                  "the best "
                  "and the worst of a "
                  "prompt's own responses; `rejection_sampling`: by SFT on the best of them; "
                  "`sample` trains nothing: it is what `troupe sample` runs."),
    FIELD(seed, TR_FIELD_WHOLE, "1", .range = &any_whole,
          .help =
              "Seed of all random numbers. The same recipe, data and seed give the same weights."),
    FIELD(steps, TR_FIELD_WHOLE, NULL, .range = &tr_range_positive_whole, .may_change = true,
          .help = "Update rounds (`ppo`, `grpo`) or optimizer steps (`sft`)."),
    FIELD(model, TR_FIELD_TEXT, NULL, .names = TR_NAMES_MODEL, .help = "The policy to start from."),
    FIELD(adapter, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_DIRECTORY,
          .help =
              "An adapter of `model` to start from, a directory as PEFT saves it; null: none. It "
              "is what is trained, as `lora` is where an adapter begins."),
    FIELD(reference, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_MODEL,
          .readers = TR_READS_REFERENCE,
          .help = "The policy that KL is measured against; null: `model` before training."),
    // the model directory then gives shape and tokenizer alone
    FIELD(from_scratch, TR_FIELD_BOOL, "false", .readers = TR_READS_SFT_ROWS,
          .help = "`sft`: whether to begin with fresh weights of the shape of `model`."),
    FIELD(output, TR_FIELD_TEXT, "runs", .names = TR_NAMES_PLACE,
          .help = "The directory of all runs."),
    // no part of `roles`: all processes of a run compute alike, or log-probs would not be the same
    // bits
    FIELD(precision, TR_FIELD_CHOICE, "auto", .choices = tr_precision_names,
          .help =
              "What all processes compute in; `auto`: bf16 on GPUs, fp32 on CPUs. With `bf16` a "
              "CPU keeps weights in bf16 and rounds what products read to it; sums and all else "
              "are fp32. The weights that are trained are fp32 in any case."),
    FIELD(save_dtype, TR_FIELD_CHOICE, "null", .choices = tr_save_dtype_names,
          .readers = TR_READS_OPTIMIZER, .may_change = true,
          .help = "In what the weights of `final` are saved; null: as those of `model` are. "
                  "Checkpoints have fp32."),
    FIELD(log_level, TR_FIELD_CHOICE, "info", .choices = tr_log_level_names, .may_change = true,
          .help = "The lowest level that is logged."),
};

// Data

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_data_t, __VA_ARGS__)
// Which files an algorithm reads follows from `.readers`: prompts to generate from, or rows to
// train on.
static const tr_field_t data[] = {
    FIELD(prompts, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_ROWS, .readers = TR_READS_PROMPTS,
          .help = "Files of prompts, for algorithms that generate: `ppo`, `grpo`, `online_dpo`, "
                  "`rejection_sampling`, `sample`."),
    FIELD(train, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_ROWS, .readers = TR_READS_ROWS,
          .help = "Files of texts (`sft`), pairs (`reward`, `dpo`), or labelled completions "
                  "(`kto`), each a path or `{path: a.jsonl, weight: 2, columns: {prompt: "
                  "question}}`: `weight` is its share of an epoch; or `{dataset_info: data, name: "
                  "alpaca_demo}` of LLaMA-Factory (`docs/data.md`)."),
    FIELD(eval, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_ROWS, .readers = TR_READS_OPTIMIZER,
          .may_change = true,
          .help = "Files of held-out rows (`eval_loss` and the other metrics), or of held-out "
                  "prompts, which get responses and scores (`eval_objective/scores`, ...); section "
                  "`evaluation` says when."),
    FIELD(batch, TR_FIELD_WHOLE, "64", .range = &tr_range_to_million,
          .help = "Prompts, rows (`sft`, `kto`) or pairs (`reward`, `dpo`) a step."),
    FIELD(columns, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_VARIABLES,
          .help = "Which column of the files is which of ours (`docs/data.md`), such as `{prompt: "
                  "question, answer: reward_model.ground_truth}`; null for one that nothing shall "
                  "read."),
    FIELD(prompt_column, TR_FIELD_TEXT, "prompt", .rows = TR_ROWS_PROMPT,
          .help = "The column that holds prompts."),
    FIELD(text_column, TR_FIELD_TEXT, "text", .readers = TR_READS_SFT_ROWS,
          .rows = TR_ROWS_OF(TEXT), .help = "The column that holds texts."),
    FIELD(chat_template, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_TEMPLATE,
          .rows = TR_ROWS_CONVERSATIONS,
          .help = "How conversations become text: a file with a template in Jinja, or one "
                  "of " TR_CHAT_NAMES "; null: by the model's own template."),
    FIELD(chat_template_kwargs, TR_FIELD_TEXT, "null", .nullable = true,
          .names = TR_NAMES_VARIABLES, .rows = TR_ROWS_CONVERSATIONS,
          .help = "More variables of the template, such as `{enable_thinking: false}`; the rows' "
                  "column of that name goes before them."),
    // without training each prompt is taken once, in the order of the files
    FIELD(shuffle, TR_FIELD_BOOL, "true", .readers = TR_READS_OPTIMIZER,
          .help = "Whether each epoch has an order of its own."),
    FIELD(drop_last, TR_FIELD_BOOL, "false", .readers = TR_READS_OPTIMIZER,
          .help = "Whether the last batch of an epoch is left out where the rows do not fill it; "
                  "else it is a smaller one."),
    FIELD(on_bad_row, TR_FIELD_CHOICE, "fail", .choices = bad_rows,
          .help = "A row that is malformed, empty or too long ends the run (`fail`) or is left out "
                  "with a warning and counted (`drop`)."),
    // a prompt is never cut: a longer one is a bad row
    FIELD(max_prompt_length, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_whole,
          .readers = TR_READS_PROMPTS,
          .help = "Tokens of the longest prompt taken; null or 0: only the model bounds it."),
};

// Rows of each algorithm, beside its loss

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_sft_t, __VA_ARGS__)
// Names are those of TRL's SFTConfig. The loss has a table of its own in common/algo/sft.c, and so
// have those below.
static const tr_field_t sft[] = {
    FIELD(max_length, TR_FIELD_WHOLE, "1024", .range = &tr_range_to_million,
          .help = "Tokens of a row that are trained on; the rest is cut."),
    FIELD(packing, TR_FIELD_BOOL, "false",
          .help = "Whether `data.batch` counts packs of rows, each of up to `max_length` tokens in "
                  "all, instead of rows; the rows of a pack do not attend to each other."),
    FIELD(completion_only_loss, TR_FIELD_BOOL, "true", .rows = TR_ROWS_OF(PROMPT_COMPLETION),
          .help = "Whether only the completions of rows with a prompt are trained on."),
    FIELD(assistant_only_loss, TR_FIELD_BOOL, "false",
          .help = "Whether only the assistant's turns of conversations are trained on."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_reward_t, __VA_ARGS__)
// TRL's RewardConfig, and `step_separator` of its PRMConfig; `normalize` is an addition.
static const tr_field_t reward[] = {
    FIELD(max_length, TR_FIELD_WHOLE, "1024", .range = &tr_range_to_million,
          .help = "A pair with a longer side, in tokens, is a bad row."),
    FIELD(normalize, TR_FIELD_BOOL, "false", .rows = TR_ROWS_OF(WHOLE_PAIRS),
          .help = "Whether the model, as a judge, gives scores of mean 0 and deviation 1 over the "
                  "pairs of `data.eval`, which it then needs."),
    FIELD(step_separator, TR_FIELD_TEXT, "\"\\n\"", .rows = TR_ROWS_OF(STEPWISE),
          .help = "The text that ends a step, where rows are steps (`prompt`, `completions`, "
                  "`labels`): a "
                  "process reward model."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_dpo_t, __VA_ARGS__)
// TRL's DPOConfig. DPO_ROWS leaves out online_dpo, which makes its pairs itself: there is no row to
// cut, and nothing to ask the reference before the first step.
static const tr_field_t dpo[] = {
    FIELD(max_length, TR_FIELD_WHOLE, "1024", .range = &tr_range_to_million,
          .readers = TR_READS_DPO_ROWS,
          .help = "Tokens of a prompt with its completion; the rest is cut. A prompt that fills it "
                  "is a bad row."),
    FIELD(truncation_mode, TR_FIELD_CHOICE, "keep_start", .choices = truncations,
          .readers = TR_READS_DPO_ROWS,
          .help = "Which end is kept of a prompt with its completion that is too long."),
    FIELD(precompute_ref_log_probs, TR_FIELD_BOOL, "false",
          .readers = TR_READS_DPO_ROWS | TR_READS_REFERENCE,
          .help = "Whether the reference computes the log-probs of all rows once, before the first "
                  "step; the run directory keeps them, and the reference's memory is freed."),
    FIELD(sync_ref_model, TR_FIELD_BOOL, "false", .readers = TR_READS_REFERENCE,
          .help = "Whether the reference, the actor's own copy, follows the policy (TR-DPO)."),
    // TR-DPO, Gorbatovski et al. 2024 (arXiv 2404.09656): 1 is its hard update, anything below the
    // soft one
    FIELD(ref_model_mixup_alpha, TR_FIELD_REAL, "0.6", .range = &tr_range_above_0_to_1,
          .readers = TR_READS_REFERENCE, .when = "sync_ref_model", .is = "true",
          .help = "Share of the policy that the reference takes over every `ref_model_sync_steps` "
                  "steps."),
    FIELD(ref_model_sync_steps, TR_FIELD_WHOLE, "512", .range = &tr_range_positive_whole,
          .readers = TR_READS_REFERENCE, .when = "sync_ref_model", .is = "true",
          .help = "Steps between updates of the reference."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_grpo_t, __VA_ARGS__)
/// An option of one estimator or another.
#define OF_ESTIMATOR(name, ...) TR_FIELD_AS(#name, tr_recipe_grpo_t, estimator.name, __VA_ARGS__)
// TRL's GRPOConfig and RLOOConfig; gamma is verl's.
static const tr_field_t grpo[] = {
    OF_ESTIMATOR(multi_objective_aggregation, TR_FIELD_CHOICE, "sum_then_normalize",
                 .choices = tr_objectives_names, .readers = TR_READS_GRPO,
                 .help = "Whether the judges' weighted sum is compared with those of the prompt's "
                         "other responses, or each judge's scores are, and the weighted sums "
                         "normalized over the step (GDPO)."),
    OF_ESTIMATOR(scale_rewards, TR_FIELD_CHOICE, "group", .choices = tr_scale_rewards_names,
                 .readers = TR_READS_GRPO, .when = "multi_objective_aggregation",
                 .is = "sum_then_normalize",
                 .help = "What advantages are divided by: the deviation of the rewards within a "
                         "prompt's responses, within all of the step, or nothing (Dr. GRPO)."),
    OF_ESTIMATOR(normalize_advantages, TR_FIELD_BOOL, "false", .readers = TR_READS_RLOO,
                 .help = "Whether advantages are whitened over the responses of the step."),
    OF_ESTIMATOR(gamma, TR_FIELD_REAL, "1.0", .range = &tr_range_fraction,
                 .readers = TR_READS_RETURNS, .help = "Discount of later rewards."),
    FIELD(mask_truncated_completions, TR_FIELD_BOOL, "false",
          .help = "Whether responses that nothing ended are left out of the loss."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_kto_t, __VA_ARGS__)
// TRL's KTOConfig.
static const tr_field_t kto[] = {
    FIELD(max_length, TR_FIELD_WHOLE, "1024", .range = &tr_range_to_million,
          .help = "Tokens of a prompt with its completion; the rest is cut. A prompt that fills it "
                  "is a bad row."),
    FIELD(precompute_ref_log_probs, TR_FIELD_BOOL, "false",
          .help = "As in `dpo`; with `loss_type: kto`, whose completions are mismatched anew in "
                  "every epoch, for the batches of all `steps`."),
};

// Roles

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_rollout_t, __VA_ARGS__)
// The number of workers and their share of the work change the speed of a run and none of its
// bytes.
static const tr_field_t rollout[] = {
    FIELD(workers, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand, .may_change = true,
          .help = "Processes that generate; the result does not depend on it."),
    FIELD(external, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand, .may_change = true,
          .help = "How many of the workers are started by hand, on this machine or others; the run "
                  "prints how, and continues without those that do not come."),
    FIELD(device, TR_FIELD_TEXTS, "cpu", .names = TR_NAMES_DEVICE, .may_change = true,
          .help =
              "Where they compute: one device, or a list that is dealt to the workers in turn."),
    FIELD(memory, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_gibibytes,
          .when = "device", .is = "cuda", .may_change = true,
          .help = "For each worker: " TR_GPU_MEMORY_HELP),
    FIELD(threads, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand, .may_change = true,
          .help = "Threads of each worker; 0: its share of the processors."),
    FIELD(max_batch, TR_FIELD_WHOLE, "64", .range = &tr_range_to_million, .may_change = true,
          .help = "Sequences generated at once."),
    FIELD(weights, TR_FIELD_CHOICE, "auto", .choices = weight_ways, .may_change = true,
          .help = "How rollouts get the actor's weights. `auto`: in place on the actor's GPU, or "
                  "by a copy to another GPU of the machine; on CPUs, and where the parameters are "
                  "sharded, through shared memory of the host. `host`: always through shared "
                  "memory, for GPUs or containers that cannot reach each other's memory. Rollouts "
                  "on other machines fetch them over TCP."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_learner_t, __VA_ARGS__)
// The actor's model is the recipe's, its learning rate the optimizer's. How ranks share their work
// is tr_sharing_fields.
static const tr_field_t actor[] = {
    FIELD(device, TR_FIELD_TEXTS, "cpu", .names = TR_NAMES_DEVICE, .may_change = true,
          .help = "Where it computes: one device, or a list that is dealt to the ranks in turn."),
    FIELD(memory, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_gibibytes,
          .when = "device", .is = "cuda", .may_change = true,
          .help = "For each rank: " TR_GPU_MEMORY_HELP),
    FIELD(threads, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand, .may_change = true,
          .help = "Threads of each rank; 0: the ranks' share of half of the processors, or of all "
                  "of them "
                  "where only the actor is trained."),
    FIELD(ranks, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand, .may_change = true,
          .help = "Processes that train as one, started by `mpirun`; docs/ranks.md."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_reference_t, __VA_ARGS__)
// Without `separate` the reference is a second model in the actor's process, so it has the actor's
// device, memory and threads.
static const tr_field_t reference[] = {
    FIELD(separate, TR_FIELD_BOOL, "false", .may_change = true,
          .help = "Whether the reference runs in a process of its own instead of the actor's."),
    FIELD(device, TR_FIELD_TEXT, "cpu", .names = TR_NAMES_DEVICE, .when = "separate", .is = "true",
          .may_change = true,
          .help = "Where it computes, in a process of its own; else it is on the actor's device."),
    FIELD(memory, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_gibibytes,
          .when = "device", .is = "cuda", .may_change = true, .help = TR_GPU_MEMORY_HELP),
    FIELD(threads, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand, .when = "separate",
          .is = "true", .may_change = true, .help = "0: half of the processors."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_learner_t, __VA_ARGS__)
// As the actor's, but with a model and a learning rate of its own: PPO's value model.
static const tr_field_t critic[] = {
    FIELD(model, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_MODEL,
          .help = "null: the trunk of the policy with a fresh scalar head."),
    FIELD(adapter, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_DIRECTORY,
          .help = "An adapter of its model, as `adapter`, which is trained in place of the model's "
                  "weights; null: all weights are trained."),
    FIELD(device, TR_FIELD_TEXTS, "cpu", .names = TR_NAMES_DEVICE, .may_change = true,
          .help = "Where it computes: one device, or a list that is dealt to the ranks in turn."),
    FIELD(memory, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_gibibytes,
          .when = "device", .is = "cuda", .may_change = true,
          .help = "For each rank: " TR_GPU_MEMORY_HELP),
    FIELD(threads, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand, .may_change = true,
          .help = "Threads of each rank; 0: the ranks' share of half of the processors."),
    FIELD(ranks, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand, .may_change = true,
          .help = "Processes that train as one, started by `mpirun`; docs/ranks.md."),
    FIELD(learning_rate, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_positive,
          .may_change = true, .help = "null: `optimizer.learning_rate`."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_roles_t, __VA_ARGS__)
// A list of records, the only one: judges.c reads and prints it.
static const tr_field_t judges[] = {
    FIELD(reward, TR_FIELD_JUDGES, "[]", .may_change = true,
          .help =
              "The judges, whose weighted scores are added; algorithms that generate need one."),
};

// The rest

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_checkpoint_t, __VA_ARGS__)
// Checkpoints hold optimizer states, which are larger than the model: hence few are kept.
static const tr_field_t checkpoint[] = {
    FIELD(every, TR_FIELD_WHOLE, "20", .range = &tr_range_whole, .may_change = true,
          .help = "Steps between checkpoints; 0: only at the end."),
    FIELD(keep, TR_FIELD_WHOLE, "2", .range = &tr_range_positive_whole, .may_change = true,
          .help = "How many of the latest are kept."),
    FIELD(best, TR_FIELD_TEXT, "null", .nullable = true, .readers = TR_READS_OPTIMIZER,
          .may_change = true,
          .help = "A metric of evaluations, such as `eval_loss` or `eval_objective/scores`: the "
                  "step with the best value keeps its checkpoint, and `best` in the run's "
                  "directory links to it."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_evaluation_t, __VA_ARGS__)
// Of data.eval: rows, or prompts where the algorithm generates.
static const tr_field_t evaluation[] = {
    FIELD(every, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_positive_whole,
          .may_change = true,
          .help = "Steps between evaluations of `data.eval`; null: at each checkpoint. The last "
                  "step is always evaluated."),
    FIELD(patience, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_positive_whole,
          .may_change = true,
          .help = "Evaluations in a row in which `checkpoint.best` is not better, after which the "
                  "run ends; null: it goes on."),
    FIELD(target, TR_FIELD_REAL, "null", .nullable = true, .null = TR_NO_TARGET,
          .range = &tr_range_any, .may_change = true,
          .help = "The run ends when `checkpoint.best` is as good as this; null: it goes on."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_samples_t, __VA_ARGS__)
// A few responses are read by a person, to see what the numbers do not tell.
static const tr_field_t samples[] = {
    FIELD(every, TR_FIELD_WHOLE, "10", .range = &tr_range_whole, .may_change = true,
          .help = "Steps between entries of `samples.jsonl`; 0: none."),
    FIELD(count, TR_FIELD_WHOLE, "5", .range = &tr_range_to_thousand, .may_change = true,
          .help = "Responses each time."),
};

#undef FIELD
#define FIELD(...) TR_FIELD(tr_recipe_network_t, __VA_ARGS__)
// A run on one machine needs none of these: its processes meet at a Unix socket.
static const tr_field_t network[] = {
    FIELD(bind, TR_FIELD_TEXT, "null", .nullable = true, .may_change = true,
          .help =
              "Endpoint of the controller, such as `tcp://10.0.0.1:5555`; null: a Unix socket."),
    FIELD(keys, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_DIRECTORY,
          .may_change = true, .help = "Directory of CURVE keys, from `troupe keys`."),
    FIELD(weights_port, TR_FIELD_WHOLE, "0", .range = &ports, .may_change = true,
          .help = "Port, at the address of `network.bind`, where external rollouts on other "
                  "machines fetch the weights; 0: any free one."),
};
#undef FIELD

// Where each table stands

/// The table of rows of this file.
#define OWN(record, rows) &(const tr_fields_t)TR_FIELDS(record, rows)
#define AT(member) offsetof(tr_recipe_t, member)

/// Name, table, offset of its struct, who reads it, with which rows. Several tables may share a
/// name: a loss's own options and those of its rows. A field's own readers are in addition to its
/// section's.
const recipe_section_t recipe_sections[] = {
    {"", OWN(tr_recipe_t, run), 0, 0, 0},
    {"data", OWN(tr_recipe_data_t, data), AT(data), 0, 0},
    {"generation", &tr_generation_fields, AT(generation), TR_READS_PROMPTS, 0},
    {"ppo", &tr_ppo_fields, AT(ppo), TR_READS_PPO, 0},
    {"grpo", &tr_policy_fields, AT(grpo.loss), TR_READS_GROUP, 0},
    {"grpo", OWN(tr_recipe_grpo_t, grpo), AT(grpo), TR_READS_GROUP, 0},
    {"sft", &tr_sft_fields, AT(sft.loss), TR_READS_SFT, 0},
    {"sft", OWN(tr_recipe_sft_t, sft), AT(sft), TR_READS_SFT_ROWS, 0},
    {"reward", &tr_reward_fields, AT(reward.loss), TR_READS_REWARD, TR_ROWS_OF(WHOLE_PAIRS)},
    {"reward", OWN(tr_recipe_reward_t, reward), AT(reward), TR_READS_REWARD, 0},
    {"dpo", &tr_dpo_fields, AT(dpo.loss), TR_READS_DPO, 0},
    {"dpo", OWN(tr_recipe_dpo_t, dpo), AT(dpo), TR_READS_DPO, 0},
    {"kto", &tr_kto_fields, AT(kto.loss), TR_READS_KTO, 0},
    {"kto", OWN(tr_recipe_kto_t, kto), AT(kto), TR_READS_KTO, 0},
    {"lora", &tr_lora_fields, AT(lora), TR_READS_OPTIMIZER, 0},
    {"lora", &tr_lora_dropout_fields, AT(lora), TR_READS_OPTIMIZER | TR_READS_SFT, 0},
    {"optimizer", &tr_optimizer_fields, AT(optimizer), TR_READS_OPTIMIZER, 0},
    {"roles.rollout", OWN(tr_recipe_rollout_t, rollout), AT(roles.rollout), TR_READS_PROMPTS, 0},
    {"roles.actor", OWN(tr_recipe_learner_t, actor), AT(roles.actor), TR_READS_OPTIMIZER, 0},
    {"roles.actor", &tr_sharing_fields, AT(roles.actor.sharing), TR_READS_OPTIMIZER, 0},
    {"roles.reference", OWN(tr_recipe_reference_t, reference), AT(roles.reference),
     TR_READS_REFERENCE, 0},
    {"roles.critic", OWN(tr_recipe_learner_t, critic), AT(roles.critic), TR_READS_CRITIC, 0},
    {"roles.critic", &tr_sharing_fields, AT(roles.critic.sharing), TR_READS_CRITIC, 0},
    {"roles", OWN(tr_recipe_roles_t, judges), AT(roles), TR_READS_PROMPTS, 0},
    {"checkpoint", OWN(tr_recipe_checkpoint_t, checkpoint), AT(checkpoint), 0, 0},
    {"evaluation", OWN(tr_recipe_evaluation_t, evaluation), AT(evaluation), TR_READS_OPTIMIZER, 0},
    // without training all responses are samples
    {"samples", OWN(tr_recipe_samples_t, samples), AT(samples),
     TR_READS_PROMPTS | TR_READS_OPTIMIZER, 0},
    {"network", OWN(tr_recipe_network_t, network), AT(network), 0, 0},
};
const size_t recipe_section_count = sizeof recipe_sections / sizeof recipe_sections[0];
