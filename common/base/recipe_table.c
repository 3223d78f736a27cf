// Every key of a recipe: its kind, range, default and meaning. Reading, writing and docs/recipe.md follow these tables.
#include <stdlib.h>
#include <string.h>

#include "common/base/recipe_parts.h"

// Ranges

#define RANGE(name, words, ...) static const recipe_range_t name = {words, __VA_ARGS__}

RANGE(any_real, "a number", -1e300, 1e300, false, false);
RANGE(positive, "a positive number", 0, 1e300, true, false);
RANGE(not_negative, "a number of at least 0", 0, 1e300, false, false);
RANGE(fraction, "a number from 0 to 1", 0, 1, false, false);
RANGE(above_0_to_1, "a number above 0 and at most 1", 0, 1, true, false);
RANGE(below_half, "a number of at least 0 and below 0.5", 0, 0.5, false, true);
RANGE(below_1, "a number of at least 0 and below 1", 0, 1, false, true);
RANGE(gibibytes, "a number from 0 to 1048576", 0, 0x1p20, false, false);
RANGE(any_whole, "a whole number from 0 to 2^63 - 1", 0, 0x1p63, false, false);
RANGE(whole, "a whole number of at least 0", 0, 1e9, false, false);
RANGE(positive_whole, "a whole number of at least 1", 1, 1e9, false, false);
RANGE(to_million, "a whole number from 1 to 1000000", 1, 1e6, false, false);
RANGE(to_thousand, "a whole number from 1 to 1000", 1, 1e3, false, false);
RANGE(zero_stages, "1, 2 or 3", 1, 3, false, false);
RANGE(ports, "a port from 1 to 65535, or 0", 0, 65535, false, false);
RANGE(none_to_thousand, "a whole number from 0 to 1000", 0, 1e3, false, false);

// Choices: the index is the value of the enum.

static const char *const algorithms[] = {
    "ppo", "sft", "reward", "dpo", "kto", "online_dpo", "rejection_sampling", "sample", NULL};
static const char *const gradient_sums[] = {"tree", "all_reduce", NULL};
static const char *const weight_ways[] = {"auto", "host", NULL};
static const char *const roundings[] = {"nearest", "stochastic", NULL};
static const char *const precisions[] = {"bf16", "fp32", NULL};
static const char *const stop_tokens[] = {"null", "eos", NULL};
static const char *const kl_estimators[] = {"k1", "k3", NULL};
static const char *const bad_rows[] = {"fail", "drop", NULL};
static const char *const dpo_losses[] = {
    "sigmoid",      "hinge", "ipo",          "exo_pair", "nca_pair", "robust",   "bco_pair",
    "sppo_hard",    "aot",   "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
    "sigmoid_norm", "cpo",   "simpo",        "orpo",     NULL,
};
static const char *const chat_templates[] = {"null",    "chatml",     "llama2",     "llama3",
                                             "mistral", "mistral-v1", "mistral-v3", "zephyr",
                                             "plain",   NULL};
static const char *const truncations[] = {"keep_start", "keep_end", NULL};
static const char *const divergences[] = {"reverse_kl", "forward_kl", "js_divergence",
                                          "alpha_divergence", NULL};
static const char *const sft_losses[] = {"nll", "dft", NULL};
static const char *const kto_losses[] = {"kto", "apo_zero_unpaired", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const length_units[] = {"tokens", "words", "characters", NULL};
static const char *const step_scores[] = {"null", "min", "mean", "last", "product", NULL};
static const char *const failures[] = {"wait", "fail", NULL};
static const char *const judge_kinds[] = {"exec",   "model",    "words", "regex",
                                          "length", "external", NULL};

// A line a key. Each macro names the key as the record's field is named.

#define KEY(record, field, its_kind, default_text, ...)                \
    {                                                                  \
        .name = #field, .kind = (its_kind), .initial = (default_text), \
        .offset = offsetof(record, field), __VA_ARGS__                 \
    }
#define TOP(...) KEY(tr_recipe_t, __VA_ARGS__)
#define GPU_MEMORY "GiB of a GPU that the process may use; null or 0: all that is free."

static const recipe_key_t top_keys[] = {
    TOP(name, RECIPE_TEXT, NULL,
        .help = "The run's name, a plain file name: its directory is `output/name`."),
    TOP(algorithm, RECIPE_CHOICE, NULL, .choices = algorithms,
        .help = "How the policy learns. `online_dpo`: by DPO from the best and the worst of a "
                "prompt's own responses; `rejection_sampling`: by SFT from the best of them; "
                "`sample` learns nothing: it is what `troupe sample` runs."),
    TOP(seed, RECIPE_WHOLE, "1", .range = &any_whole,
        .help = "Of all random numbers. The same recipe, data and seed give the same weights."),
    TOP(steps, RECIPE_WHOLE, NULL, .range = &positive_whole,
        .help = "Update rounds (`ppo`) or optimizer steps (`sft`)."),
    TOP(model, RECIPE_TEXT, NULL, .names = RECIPE_NAMES_MODEL, .help = "The policy to start from."),
    TOP(reference, RECIPE_TEXT, "null", .nullable = true, .names = RECIPE_NAMES_MODEL,
        .help = "The policy that the KL penalty holds on to; null: `model` as it starts."),
    TOP(from_scratch, RECIPE_TRUTH, "false",
        .help = "`sft`: whether to begin with fresh weights of the shape of `model`."),
    TOP(output, RECIPE_TEXT, "runs", .help = "The directory of all runs."),
    TOP(precision, RECIPE_CHOICE, "bf16", .choices = precisions,
        .help =
            "What GPUs compute in; weights are learnt in fp32 in any case, and a CPU knows nothing "
            "else."),
    TOP(log_level, RECIPE_CHOICE, "info", .choices = log_levels,
        .help = "The lowest level that is logged."),

    TOP(data.prompts, RECIPE_TEXTS, "[]", .names = RECIPE_NAMES_FILE,
        .help = "JSONL files of prompts, for what generates: `ppo`, `online_dpo`, "
                "`rejection_sampling`, `sample`."),
    TOP(data.train, RECIPE_TEXTS, "[]", .names = RECIPE_NAMES_FILE,
        .help =
            "JSONL files, plain or gzipped: texts (`sft`), pairs (`reward`, `dpo`), or labelled "
            "completions (`kto`)."),
    TOP(data.eval, RECIPE_TEXTS, "[]", .names = RECIPE_NAMES_FILE,
        .help =
            "JSONL files that are measured at each checkpoint, never learnt (`eval_loss` and the "
            "other metrics)."),
    TOP(data.batch, RECIPE_WHOLE, "64", .range = &to_million,
        .help = "Prompts, rows (`sft`, `kto`) or pairs (`reward`, `dpo`) a step."),
    TOP(data.prompt_column, RECIPE_TEXT, "prompt", .help = "The column that holds prompts."),
    TOP(data.text_column, RECIPE_TEXT, "text", .help = "The column that holds texts."),
    TOP(data.chat_template, RECIPE_CHOICE, "null", .choices = chat_templates,
        .help = "How conversations become text; null: by the model's own template, which must be "
                "one of these."),
    TOP(data.shuffle, RECIPE_TRUTH, "true", .help = "Whether each epoch has an order of its own."),
    TOP(data.on_bad_row, RECIPE_CHOICE, "fail", .choices = bad_rows,
        .help = "A row that is malformed, empty or too long ends the run (`fail`) or is left out "
                "with a warning and counted (`drop`)."),
    TOP(data.max_prompt_length, RECIPE_WHOLE, "null", .nullable = true, .range = &whole,
        .help = "Tokens of the longest prompt taken; null or 0: only the model bounds it."),

    TOP(generation.temperature, RECIPE_REAL, "0.7", .range = &not_negative,
        .help = "0 is greedy; what learns from responses needs more."),
    TOP(generation.top_k, RECIPE_WHOLE, "0", .range = &whole,
        .help = "Sample among the so many likeliest tokens; 0: among all."),
    TOP(generation.top_p, RECIPE_REAL, "1.0", .range = &above_0_to_1,
        .help = "Sample among the fewest tokens whose probabilities sum to at least this."),
    TOP(generation.max_new_tokens, RECIPE_WHOLE, "53", .range = &to_million,
        .also = "generation.response_length", .help = "Tokens of the longest response."),
    TOP(generation.samples, RECIPE_WHOLE, "1", .range = &to_thousand,
        .help =
            "Responses to each prompt; `online_dpo` and `rejection_sampling` choose among them."),
    TOP(generation.stop_ids, RECIPE_IDS, "[]", .help = "Token ids that end a response."),
    TOP(generation.stop_token, RECIPE_CHOICE, "null", .choices = stop_tokens,
        .help = "`eos`: the end-of-sequence token ends a response; null: it does not, as in TRL."),

    TOP(ppo.num_ppo_epochs, RECIPE_WHOLE, "4", .range = &to_thousand,
        .help = "Passes over the experience of a step."),
    TOP(ppo.num_mini_batches, RECIPE_WHOLE, "1", .range = &positive_whole,
        .help = "Updates a pass; divides `data.batch` × `generation.samples`."),
    TOP(ppo.kl_coef, RECIPE_REAL, "0.05", .range = &not_negative,
        .help = "Weight of the KL penalty in the rewards."),
    TOP(ppo.kl_estimator, RECIPE_CHOICE, "k1", .choices = kl_estimators,
        .help = "How the KL divergence is estimated."),
    TOP(ppo.cliprange, RECIPE_REAL, "0.2", .range = &positive,
        .help = "The policy's ratio is clipped to 1 ± this."),
    TOP(ppo.vf_coef, RECIPE_REAL, "0.1", .range = &not_negative,
        .help = "Weight of the value loss."),
    TOP(ppo.cliprange_value, RECIPE_REAL, "0.2", .range = &positive,
        .help = "A value moves at most this far from the old one."),
    TOP(ppo.gamma, RECIPE_REAL, "1.0", .range = &fraction, .help = "Discount of later rewards."),
    TOP(ppo.lam, RECIPE_REAL, "0.95", .range = &fraction, .help = "λ of the advantage estimate."),
    TOP(ppo.whiten_rewards, RECIPE_TRUTH, "false",
        .help = "Whether rewards are scaled to variance 1."),
    TOP(ppo.missing_eos_penalty, RECIPE_OPTIONAL, "null", .nullable = true, .range = &any_real,
        .help = "Taken from the score of a response without an end-of-sequence token."),

    TOP(sft.max_length, RECIPE_WHOLE, "1024", .range = &to_million,
        .help = "Tokens of a row that are learnt from; the rest is cut."),
    TOP(sft.packing, RECIPE_TRUTH, "false",
        .help =
            "Whether `data.batch` counts packs of rows, each of up to `max_length` tokens in all, "
            "instead of rows; the rows of a pack do not see each other."),
    TOP(sft.loss_type, RECIPE_CHOICE, "nll", .choices = sft_losses,
        .help =
            "`nll`: negative log-likelihood; `dft`: each token's weighted by its probability (Wu "
            "et al. 2025)."),
    TOP(sft.label_smoothing_factor, RECIPE_REAL, "0.0", .range = &below_1,
        .help =
            "How much of the loss of `nll` is its mean over the vocabulary, whatever the token."),
    TOP(sft.neftune_noise_alpha, RECIPE_OPTIONAL, "null", .nullable = true, .range = &positive,
        .help = "Noise on the embeddings while learning, uniform and of this size over the root of "
                "a row's numbers (Jain et al. 2023); null: none."),

    TOP(sft.completion_only_loss, RECIPE_TRUTH, "true",
        .help = "Whether rows with a prompt are learnt from their completions alone."),
    TOP(sft.assistant_only_loss, RECIPE_TRUTH, "false",
        .help = "Whether conversations are learnt from what their assistants say alone."),

    TOP(reward.center_rewards_coefficient, RECIPE_OPTIONAL, "null", .nullable = true,
        .range = &not_negative,
        .help = "Weight of the squared sum of a pair's scores, which pulls scores to a mean of 0."),
    TOP(reward.max_length, RECIPE_WHOLE, "1024", .range = &to_million,
        .help = "A pair with a longer side, in tokens, is a bad row."),
    TOP(reward.normalize, RECIPE_TRUTH, "false",
        .help = "Whether the model, as a judge, gives scores of mean 0 and deviation 1 over the "
                "pairs of `data.eval`, which it then needs."),

    TOP(reward.step_separator, RECIPE_TEXT, "\"\\n\"",
        .help = "What ends a step, where rows are steps (`prompt`, `completions`, `labels`): a "
                "process reward model."),

    TOP(dpo.beta, RECIPE_REAL, "0.1", .range = &positive,
        .help = "How strongly the policy is held to the reference."),
    TOP(dpo.loss_type, RECIPE_TEXTS, "sigmoid", .choices = dpo_losses,
        .help = "The loss, or a list whose weighted sum is learnt."),
    TOP(dpo.loss_weights, RECIPE_REALS, "[]", .range = &any_real,
        .help = "The weight of each loss; none: 1."),
    TOP(dpo.label_smoothing, RECIPE_REAL, "0.0", .range = &below_half,
        .help =
            "How often a label is taken to be wrong (cDPO, robust, exo_pair, aot, cpo, simpo)."),
    TOP(dpo.f_divergence_type, RECIPE_CHOICE, "reverse_kl", .choices = divergences,
        .help = "The divergence that holds the policy to the reference (f-DPO)."),
    TOP(dpo.f_alpha_divergence_coef, RECIPE_REAL, "0.5", .range = &any_real,
        .help = "α of alpha_divergence."),
    TOP(dpo.ld_alpha, RECIPE_OPTIONAL, "null", .nullable = true, .range = &fraction,
        .help =
            "Weight of the tokens past the length of the shorter completion (LD-DPO); null: 1."),
    TOP(dpo.discopop_tau, RECIPE_REAL, "0.05", .range = &positive,
        .help = "Temperature of discopop."),
    TOP(dpo.simpo_gamma, RECIPE_REAL, "0.5", .range = &any_real, .help = "Target margin of simpo."),
    TOP(dpo.use_weighting, RECIPE_TRUTH, "false",
        .help = "Whether pairs are weighted by how likely the policy makes them (WPO)."),
    TOP(dpo.reference_free, RECIPE_TRUTH, "false",
        .help = "Whether the reference is taken to be uniform."),
    TOP(dpo.max_length, RECIPE_WHOLE, "1024", .range = &to_million,
        .help =
            "Tokens of a prompt with its completion; the rest is cut. A prompt that fills it is a "
            "bad row."),
    TOP(dpo.truncation_mode, RECIPE_CHOICE, "keep_start", .choices = truncations,
        .help = "What stays of a prompt with its completion when it is too long: its beginning or "
                "its end."),
    TOP(dpo.precompute_ref_log_probs, RECIPE_TRUTH, "false",
        .help = "Whether the reference is asked once, for all rows, before the first step; the run "
                "directory keeps its answers, and the reference's memory is free after that."),

    TOP(dpo.sync_ref_model, RECIPE_TRUTH, "false",
        .help = "Whether the reference, the actor's own copy, follows the policy (TR-DPO)."),
    TOP(dpo.ref_model_mixup_alpha, RECIPE_REAL, "0.6", .range = &fraction,
        .help = "Every `ref_model_sync_steps` steps the reference becomes so much of the policy, "
                "and the rest of itself."),
    TOP(dpo.ref_model_sync_steps, RECIPE_WHOLE, "512", .range = &positive_whole,
        .help = "Steps between."),

    TOP(kto.loss_type, RECIPE_CHOICE, "kto", .choices = kto_losses,
        .help = "`apo_zero_unpaired` needs no KL estimate."),
    TOP(kto.beta, RECIPE_REAL, "0.1", .range = &positive,
        .help = "How strongly the policy is held to the reference."),
    TOP(kto.desirable_weight, RECIPE_REAL, "1.0", .range = &not_negative,
        .help = "Weight of the losses of completions labelled true."),
    TOP(kto.undesirable_weight, RECIPE_REAL, "1.0", .range = &not_negative,
        .help = "Weight of the losses of completions labelled false."),
    TOP(kto.max_length, RECIPE_WHOLE, "1024", .range = &to_million,
        .help =
            "Tokens of a prompt with its completion; the rest is cut. A prompt that fills it is a "
            "bad row."),

    TOP(kto.precompute_ref_log_probs, RECIPE_TRUTH, "false",
        .help = "As dpo's; with loss_type kto, whose completions are mismatched anew in every "
                "epoch, for the batches of all `steps`."),

    TOP(optimizer.learning_rate, RECIPE_REAL, "3.0e-6", .range = &positive,
        .help = "The peak of the schedule."),
    TOP(optimizer.schedule, RECIPE_CHOICE, "linear", .choices = schedules,
        .help = "The learning rate after the warm-up; linear and cosine go to 0 at `steps`."),
    TOP(optimizer.warmup, RECIPE_WHOLE, "0", .range = &whole,
        .help = "Steps in which the learning rate rises from 0; at most `steps`."),
    TOP(optimizer.clip, RECIPE_REAL, "1.0", .nullable = true, .range = &not_negative,
        .help = "Largest norm of a gradient; null or 0: no bound."),
    TOP(optimizer.beta1, RECIPE_REAL, "0.9", .range = &below_1, .help = "Of AdamW."),
    TOP(optimizer.beta2, RECIPE_REAL, "0.999", .range = &below_1, .help = "Of AdamW."),
    TOP(optimizer.epsilon, RECIPE_REAL, "1.0e-8", .range = &positive, .help = "Of AdamW."),
    TOP(optimizer.weight_decay, RECIPE_REAL, "0.0", .range = &not_negative, .help = "Of AdamW."),
    TOP(optimizer.chunk, RECIPE_WHOLE, "8", .range = &to_million,
        .help = "Sequences whose gradients are summed in one chain. It bounds memory; another "
                "value rounds otherwise, so it is part of the run."),
    TOP(optimizer.gradient_checkpointing, RECIPE_TRUTH, "false",
        .help =
            "Whether backward passes compute again what the layers would else keep: less memory "
            "and more time, for the same bytes."),
    TOP(optimizer.offload, RECIPE_TRUTH, "false",
        .help = "Whether a GPU's learners keep AdamW's two moments in pinned memory of the host: 8 "
                "bytes a parameter less of the GPU's, for the same bytes and slower updates."),
    TOP(optimizer.rounding, RECIPE_CHOICE, "nearest", .choices = roundings,
        .help =
            "`stochastic`: learners on GPUs in bf16 keep no f32 parameters (4 bytes a parameter "
            "less), and round each update up or down by chance, so that small ones are not "
            "lost. Another value gives other bits."),

    TOP(roles.rollout.workers, RECIPE_WHOLE, "1", .range = &to_thousand,
        .help = "Processes that generate; the result does not depend on it."),
    TOP(roles.rollout.external, RECIPE_WHOLE, "0", .range = &none_to_thousand,
        .help = "How many of the workers you start yourself, on this machine or others; the run "
                "says how, and goes on without those that do not come."),
    TOP(roles.rollout.device, RECIPE_TEXTS, "cpu", .names = RECIPE_NAMES_DEVICE,
        .help = "Where they compute: one device, or a list that is dealt to the workers in turn."),
    TOP(roles.rollout.memory, RECIPE_REAL, "null", .nullable = true, .range = &gibibytes,
        .help = "Of each worker: " GPU_MEMORY),
    TOP(roles.rollout.threads, RECIPE_WHOLE, "0", .range = &none_to_thousand,
        .help = "Of each worker; 0: its share of the processors."),
    TOP(roles.rollout.max_batch, RECIPE_WHOLE, "64", .range = &to_million,
        .help = "Sequences decoded at once."),
    TOP(roles.rollout.weights, RECIPE_CHOICE, "auto", .choices = weight_ways,
        .help =
            "How the actor's weights come: `auto` reads them where they are on its GPU (or copies "
            "them from there to another GPU), and on CPUs, or where the parameters are sharded, "
            "goes by shared memory of the host, as `host` always does: for GPUs or containers "
            "that do not reach each other's memory. Rollouts on other machines get them by "
            "TCP."),
    TOP(roles.actor.device, RECIPE_TEXTS, "cpu", .names = RECIPE_NAMES_DEVICE,
        .help = "Where it computes: one device, or a list that is dealt to the ranks in turn."),
    TOP(roles.actor.memory, RECIPE_REAL, "null", .nullable = true, .range = &gibibytes,
        .help = "Of each rank: " GPU_MEMORY),
    TOP(roles.actor.threads, RECIPE_WHOLE, "0", .range = &none_to_thousand,
        .help = "Of each rank; 0: the ranks' share of half of the processors, or of all of them "
                "where nothing but the actor learns."),
    TOP(roles.actor.ranks, RECIPE_WHOLE, "1", .range = &to_thousand,
        .help = "Processes that learn as one, started by `mpirun`; docs/ranks.md."),
    TOP(roles.actor.zero_stage, RECIPE_WHOLE, "2", .range = &zero_stages,
        .help = "What the ranks keep a share of: 1 the optimizer's moments, 2 gradients too, 3 "
                "parameters too."),
    TOP(roles.actor.gradient_sum, RECIPE_CHOICE, "tree", .choices = gradient_sums,
        .help = "How the ranks' gradients add up: `tree`, to the same bytes for any number of "
                "ranks; `all_reduce`, with less to send."),
    TOP(roles.reference.separate, RECIPE_TRUTH, "false",
        .help = "Whether the reference has a process of its own instead of the actor's."),
    TOP(roles.reference.device, RECIPE_TEXT, "cpu", .names = RECIPE_NAMES_DEVICE,
        .help = "Where it computes, in a process of its own; else it is where the actor does."),
    TOP(roles.reference.memory, RECIPE_REAL, "null", .nullable = true, .range = &gibibytes,
        .help = GPU_MEMORY),
    TOP(roles.reference.threads, RECIPE_WHOLE, "0", .range = &none_to_thousand,
        .help = "0: half of the processors."),
    TOP(roles.critic.model, RECIPE_TEXT, "null", .nullable = true, .names = RECIPE_NAMES_MODEL,
        .help = "null: the trunk of the policy with a fresh scalar head."),
    TOP(roles.critic.device, RECIPE_TEXTS, "cpu", .names = RECIPE_NAMES_DEVICE,
        .help = "Where it computes: one device, or a list that is dealt to the ranks in turn."),
    TOP(roles.critic.memory, RECIPE_REAL, "null", .nullable = true, .range = &gibibytes,
        .help = "Of each rank: " GPU_MEMORY),
    TOP(roles.critic.threads, RECIPE_WHOLE, "0", .range = &none_to_thousand,
        .help = "Of each rank; 0: the ranks' share of half of the processors."),
    TOP(roles.critic.ranks, RECIPE_WHOLE, "1", .range = &to_thousand,
        .help = "Processes that learn as one, started by `mpirun`; docs/ranks.md."),
    TOP(roles.critic.zero_stage, RECIPE_WHOLE, "2", .range = &zero_stages,
        .help = "What the ranks keep a share of: 1 the optimizer's moments, 2 gradients too, 3 "
                "parameters too."),
    TOP(roles.critic.gradient_sum, RECIPE_CHOICE, "tree", .choices = gradient_sums,
        .help = "How the ranks' gradients add up: `tree`, to the same bytes for any number of "
                "ranks; `all_reduce`, with less to send."),
    TOP(roles.critic.learning_rate, RECIPE_OPTIONAL, "null", .nullable = true, .range = &positive,
        .help = "null: `optimizer.learning_rate`."),
    TOP(roles.reward, RECIPE_JUDGES, "[]",
        .help = "The judges, whose weighted scores add up; what generates needs one."),

    TOP(checkpoint.every, RECIPE_WHOLE, "20", .range = &whole,
        .help = "Steps between checkpoints; 0: only at the end."),
    TOP(checkpoint.keep, RECIPE_WHOLE, "2", .range = &positive_whole,
        .help = "The latest so many stay."),
    TOP(samples.every, RECIPE_WHOLE, "10", .range = &whole,
        .help = "Steps between entries of `samples.jsonl`; 0: none."),
    TOP(samples.count, RECIPE_WHOLE, "5", .range = &to_thousand, .help = "Responses each time."),
    TOP(network.bind, RECIPE_TEXT, "null", .nullable = true,
        .help = "Endpoint of the controller, such as `tcp://10.0.0.1:5555`; null: a Unix socket."),
    TOP(network.keys, RECIPE_TEXT, "null", .nullable = true, .names = RECIPE_NAMES_DIRECTORY,
        .help = "Directory of CURVE keys, from `troupe keys`."),
    TOP(network.weights_port, RECIPE_WHOLE, "0", .range = &ports,
        .help = "Of the address of `network.bind`, where external rollouts on other machines get "
                "the weights; 0: any free one."),
};

#define ONLY(kind) (1u << (kind))
#define STARTED (ONLY(TR_JUDGE_EXEC) | ONLY(TR_JUDGE_MODEL))
#define JUDGE(...) KEY(tr_judge_t, __VA_ARGS__)

static const recipe_key_t judge_keys[] = {
    JUDGE(name, RECIPE_TEXT, "null", .nullable = true,
          .help = "Its name in metrics and as a group of workers; null: its kind (`exec`, then "
                  "`exec-2`), or what `external` says."),
    JUDGE(weight, RECIPE_REAL, "1.0", .range = &any_real, .help = "Its score counts so much."),
    JUDGE(timeout_s, RECIPE_REAL, "60.0", .range = &positive,
          .help = "Seconds for a request, from when a judge has it or none is there."),
    JUDGE(retries, RECIPE_WHOLE, "3", .range = &none_to_thousand,
          .help = "After a failure or a timeout."),
    JUDGE(on_failure, RECIPE_CHOICE, "wait", .choices = failures,
          .help = "When the retries are used up: `wait` for a judge that answers, or `fail`."),
    JUDGE(workers, RECIPE_WHOLE, "1", .range = &to_thousand, .judges = STARTED,
          .help = "Processes."),
    JUDGE(device, RECIPE_TEXT, "cpu", .names = RECIPE_NAMES_DEVICE, .judges = ONLY(TR_JUDGE_MODEL),
          .help = "Where it computes."),
    JUDGE(memory, RECIPE_REAL, "null", .nullable = true, .range = &gibibytes,
          .judges = ONLY(TR_JUDGE_MODEL), .help = GPU_MEMORY),
    JUDGE(threads, RECIPE_WHOLE, "0", .range = &none_to_thousand, .judges = ONLY(TR_JUDGE_MODEL),
          .help = "0: one a processor."),
    JUDGE(exec, RECIPE_TEXTS, "[]", .names = RECIPE_NAMES_PROGRAM, .judges = ONLY(TR_JUDGE_EXEC),
          .help = "A program and its arguments; it answers Troupe's protocol."),
    JUDGE(model, RECIPE_TEXT, "null", .nullable = true, .names = RECIPE_NAMES_MODEL,
          .judges = ONLY(TR_JUDGE_MODEL), .help = "A model with a scalar head."),
    JUDGE(steps, RECIPE_CHOICE, "null", .choices = step_scores, .judges = ONLY(TR_JUDGE_MODEL),
          .help =
              "The model is a process reward model: its score is the least, the mean, the last or "
              "the product of the chances that each step of a response is right; null: it judges "
              "responses whole."),
    JUDGE(step_separator, RECIPE_TEXT, "\"\\n\"", .judges = ONLY(TR_JUDGE_MODEL),
          .help = "What ends a step of a response."),
    JUDGE(words, RECIPE_WORDS, "{}", .judges = ONLY(TR_JUDGE_WORDS),
          .help = "Words and what each is worth."),
    JUDGE(regex.pattern, RECIPE_TEXT, "null", .nullable = true, .brief = true,
          .judges = ONLY(TR_JUDGE_REGEX),
          .help = "A regular expression (PCRE2, UTF-8). `regex: PATTERN` is short for it."),
    JUDGE(regex.score, RECIPE_REAL, "1.0", .range = &any_real, .judges = ONLY(TR_JUDGE_REGEX),
          .help = "Of a response in which the pattern matches; any other has 0."),
    JUDGE(length.target, RECIPE_WHOLE, "null", .nullable = true, .range = &whole,
          .judges = ONLY(TR_JUDGE_LENGTH),
          .help = "A response of n units has the score 1 − |n − target| / target, not below 0."),
    JUDGE(length.min, RECIPE_WHOLE, "0", .range = &whole, .judges = ONLY(TR_JUDGE_LENGTH),
          .help = "With `max`, instead of `target`: the score is 1 within, 0 outside."),
    JUDGE(length.max, RECIPE_WHOLE, "null", .nullable = true, .range = &whole,
          .judges = ONLY(TR_JUDGE_LENGTH), .help = "null: no upper bound."),
    JUDGE(length.unit, RECIPE_CHOICE, "tokens", .choices = length_units,
          .judges = ONLY(TR_JUDGE_LENGTH), .help = "What is counted."),
    JUDGE(external, RECIPE_TEXT, "null", .nullable = true, .judges = ONLY(TR_JUDGE_EXTERNAL),
          .help = "The group under which a worker registers that somebody starts by hand."),
};

const recipe_table_t recipe_keys = {top_keys, sizeof top_keys / sizeof top_keys[0]};
const recipe_table_t recipe_judge_keys = {judge_keys, sizeof judge_keys / sizeof judge_keys[0]};

static const char *choice_name(const char *const *choices, int index)
{
    for (int i = 0; choices[i] != NULL; i++) {
        if (i == index) {
            return choices[i];
        }
    }
    return "unknown";
}

bool tr_recipe_serves_weights(const tr_recipe_t *recipe)
{
    return recipe->roles.rollout.external > 0 && recipe->network.bind != NULL &&
           strncmp(recipe->network.bind, "tcp://", 6) == 0;
}

bool tr_algorithm_generates(tr_algorithm_t algorithm)
{
    return algorithm == TR_ALGORITHM_PPO || algorithm == TR_ALGORITHM_ONLINE_DPO ||
           algorithm == TR_ALGORITHM_REJECTION_SAMPLING || algorithm == TR_ALGORITHM_SAMPLE;
}

bool tr_algorithm_learns(tr_algorithm_t algorithm)
{
    return algorithm != TR_ALGORITHM_SAMPLE;
}

const char *tr_algorithm_name(tr_algorithm_t algorithm)
{
    return choice_name(algorithms, (int)algorithm);
}

const char *tr_precision_name(tr_precision_t precision)
{
    return choice_name(precisions, (int)precision);
}

const char *tr_judge_kind_name(tr_judge_kind_t kind)
{
    return choice_name(judge_kinds, (int)kind);
}

const char *tr_length_unit_name(tr_length_unit_t unit)
{
    return choice_name(length_units, (int)unit);
}
