// docs/recipe.md: what a recipe is, an example, and every key of the tables.
//
// The page is generated so that it cannot disagree with the program; a test compares the file with
// this output. Sentences about single keys stand in the tables (sections.c and the modules' own),
// only what belongs to no key stands here.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// Texts of the page, in its order.
static const char introduction[] =
    "# The recipe\n"
    "\n"
    "A recipe describes a run. `troupe run RECIPE` reads it, reports all mistakes at once with "
    "their lines and what was\n"
    "expected, and writes it into the run's directory with all defaults spelled out. A run is a "
    "function of its recipe, data and\n"
    "seed.\n"
    "\n"
    "This page is written by the program, from the table that also reads recipes.\n"
    "\n";

/// Loaded by a test, so that it stays a recipe.
static const char example[] =
    "```yaml\n"
    "name: happy-stories\n"
    "algorithm: ppo                      # or sft\n"
    "seed: 1\n"
    "steps: 60                           # update rounds (ppo) or optimizer steps (sft)\n"
    "model: path/to/huggingface/dir      # the policy to start from; the reference is the same "
    "unless named\n"
    "reference: null\n"
    "output: runs                        # the run directory is output/name\n"
    "data:\n"
    "  prompts: [examples/data/openings.jsonl]      # ppo; \"train:\" and \"eval:\" for sft\n"
    "  batch: 64                         # prompts (rows) a step\n"
    "generation: {temperature: 0.7, max_new_tokens: 64, samples: 1}\n"
    "ppo: {num_ppo_epochs: 4, kl_coef: 0.05, cliprange: 0.2}\n"
    "optimizer: {learning_rate: 3.0e-6, schedule: constant, warmup: 0, clip: 1.0}\n"
    "roles:\n"
    "  rollout: {workers: 1, device: cpu, threads: 2}\n"
    "  actor: {device: cpu, threads: 2}\n"
    "  critic: {model: null, device: cpu}           # null: the trunk of the policy, with a fresh "
    "scalar head\n"
    "  reward:\n"
    "    - {exec: [python3, examples/rewards/happy_words.py], weight: 1.0}\n"
    "    - {model: path/to/reward/dir, weight: 0.5}\n"
    "    - {words: {happy: 1.0, sad: -1.0}, weight: 0.1}\n"
    "checkpoint: {every: 20, keep: 2}\n"
    "```\n"
    "\n";

static const char form[] =
    "## Its form\n"
    "\n"
    "- YAML, in UTF-8, at most 1 MiB. Paths are relative to the current directory.\n"
    "- A key is known or a mistake; none is given twice. Anchors, aliases and tags are refused.\n"
    "- `true` and `false` are the only truth values: `no` is a text.\n"
    "- Whole numbers are written in digits, real ones also as `3.0e-6` or `1e-5`.\n"
    "- A list of files may be a single file.\n"
    "- `troupe run RECIPE key=value ...` puts values over the file's, in that order: `steps=10 "
    "roles.rollout.workers=2 model=DIR`.\n"
    "  A value is YAML (`data.prompts=[a.jsonl,b.jsonl]`), nothing after `=` is null, and a number "
    "names an entry of a list\n"
    "  (`roles.reward.0.weight=2`).\n"
    "- A key that the algorithm at hand does not read is a mistake, unless it has its default.\n"
    "\n"
    "Mistakes look like this:\n"
    "\n"
    "    recipe.yaml:14: optimizer.learning_rate: expected a positive number, found 'fast'\n"
    "    command line: optimizer.lr: unknown key; did you mean 'optimizer.learning_rate'?\n"
    "\n";

static const char judges[] =
    "## `roles.reward`: judges\n"
    "\n"
    "A list. Each entry is a judge of exactly one kind: the last column's, whose name is a key of "
    "the entry or a section of it. A\n"
    "response's score is the weighted sum of theirs. Keys with a kind in the last column are for "
    "that kind alone.\n"
    "\n"
    "| key | value | default | meaning | kinds |\n"
    "|---|---|---|---|---|\n";

/// What stands above the table of a section.
static const struct {
    const char *section;
    const char *sentence;
} sections[] = {
    {"", "`name`, `algorithm`, `steps` and `model` must be given."},
    {"data", "Files of one JSON object a line; a column is a key of these objects."},
    {"generation", "How responses are sampled."},
    {"ppo", "Names and defaults are TRL's; [algorithms.md](algorithms.md) has the formulas."},
    {"sft", "Next-token training."},
    {"reward", "Reward models from pairs: names and defaults of TRL's RewardTrainer."},
    {"dpo", "Names and defaults are those of TRL's DPOTrainer; `cpo`, `simpo` and `orpo` are its "
            "CPOTrainer and ORPOTrainer, and need no reference."},
    {"kto", "Names and defaults are those of TRL's KTOTrainer."},
    {"optimizer", "AdamW, for the actor and the critic."},
    {"roles.rollout", "The workers that generate."},
    {"roles.actor", "The policy, or the reward model, that is trained."},
    {"roles.reference", "The frozen policy that `ppo`, `dpo` and `kto` measure against."},
    {"roles.critic", "The value model."},
    {"checkpoint", "What `troupe resume` continues from."},
    {"samples", "Responses written to `samples.jsonl`."},
    {"network", "For roles on other machines."},
};

/// A `|` would end the cell.
static void write_cell(FILE *out, const char *text)
{
    fputs(" ", out);
    for (; *text != '\0'; text++) {
        fputs(*text == '|' ? "\\" : "", out);
        fputc(*text, out);
    }
    fputs(" |", out);
}

/// Four cells; the caller ends the line, as the judges' table has a fifth.
static void write_row(FILE *out, const recipe_key_t *key)
{
    char *expected = tr_field_expected(key->field);
    fprintf(out, "| `%s` |", key->name);
    write_cell(out, expected);
    // no default: the key must be given
    if (key->field->initial == NULL) {
        write_cell(out, "");
    } else {
        fprintf(out, " `%s` |", key->field->initial);
    }
    write_cell(out, key->field->help);
    free(expected);
}

/// Whether the key lies in the section itself.
static bool is_in(const recipe_key_t *key, const char *section)
{
    size_t length = strlen(section);
    // no dot after the section: keys of a section within it have a table of their own
    const char *word = key->name + (length == 0 ? 0 : length + 1);
    return strncmp(key->name, section, length) == 0 && (length == 0 || key->name[length] == '.') &&
           strchr(word, '.') == NULL;
}

/// A heading, a sentence, and a table of the section's own keys.
static void write_section(FILE *out, const recipe_keys_t *keys, const char *section,
                          const char *sentence)
{
    if (section[0] == '\0') {
        fprintf(out, "## The run\n\n%s\n\n", sentence);
    } else {
        fprintf(out, "## `%s`\n\n%s\n\n", section, sentence);
    }
    // the order of keys is that of the tables
    fputs("| key | value | default | meaning |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < keys->count; i++) {
        const recipe_key_t *key = &keys->items[i];
        if (is_in(key, section)) {
            write_row(out, key);
            fputc('\n', out);
        }
        // a second name gets a row of its own, so that a search finds it
        if (is_in(key, section) && key->also != NULL) {
            fprintf(out, "| `%s` | | | TRL's name of `%s`; give one of them. |\n", key->also,
                    key->name);
        }
    }
    fputc('\n', out);
}

/// The keys of a table of judges. kind: who has them.
static void write_judge_rows(FILE *out, const tr_fields_t *fields, const char *kind)
{
    recipe_keys_t keys = {0};
    // names are within the entry: no section before them
    recipe_keys_add(&keys, "", fields, NULL, 0);
    for (size_t i = 0; i < keys.count; i++) {
        write_row(out, &keys.items[i]);
        fprintf(out, "%s%s |\n", kind[0] == '\0' ? "" : " ", kind);
    }
    recipe_keys_release(&keys);
}

/// Keys of all judges, then those of each kind.
static void write_judges(FILE *out)
{
    fputs(judges, out);
    write_judge_rows(out, &tr_judge_fields, "");
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        write_judge_rows(out, tr_judge_kinds[i]->fields, tr_judge_kinds[i]->name);
    }
}

char *tr_recipe_markdown(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    TR_ASSERT(out != NULL, "out of memory");
    recipe_keys_t keys;
    // no record: only names, defaults and help are read
    recipe_keys_init(&keys, NULL);
    fprintf(out, "%s%s%s", introduction, example, form);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        write_section(out, &keys, sections[i].section, sections[i].sentence);
    }
    recipe_keys_release(&keys);
    write_judges(out);
    TR_ASSERT(fclose(out) == 0, "out of memory");
    return text;
}
