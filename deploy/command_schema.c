// `troupe schema`: prints the JSON Schema of recipes, for editors that complete and check YAML.
//
// The schema is made by common/recipe/schema.c from the tables that also read recipes.
#include <stdio.h>
#include <stdlib.h>

#include "deploy/command.h"

/// argp is called for --help and to refuse arguments.
int command_schema(int argc, char **argv)
{
    const struct argp parser = {
        .doc =
            "Print the JSON Schema of recipes. In an editor with a YAML language server, a "
            "recipe's first line "
            "`# yaml-language-server: $schema=recipe.schema.json` names the file that holds it."};
    argp_parse(&parser, argc, argv, 0, NULL, NULL);
    char *schema = tr_recipe_schema();
    puts(schema);
    free(schema);
    return 0;
}
