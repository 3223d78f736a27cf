// Expressions by descent: each function parses one level of Jinja's grammar, whose levels are its
// own: `~` binds less than `*` and more than `+`, and a filter binds more than a sign before it
// only where it stands behind the signed value.
#include "common/text/jinja/parser.h"

// Operators, from the tightest to the loosest

static tr_status parse_unary(jinja_node_t **node, jinja_parser_t *parser, bool suffixes)
{
    TR_TRY(jinja_parser_enter(parser));
    bool negative = jinja_at_operator(parser, "-");
    if (negative || jinja_at_operator(parser, "+")) {
        *node = jinja_node(parser, negative ? NODE_NEGATIVE : NODE_POSITIVE);
        parser->token++;
        TR_TRY(parse_unary(&(*node)->a, parser, false));
    } else {
        TR_TRY(jinja_parse_primary(node, parser));
    }
    TR_TRY(jinja_parse_postfix(node, parser));
    if (suffixes) {
        TR_TRY(jinja_parse_suffixes(node, parser));
    }
    parser->depth--;
    return TR_OK;
}

typedef struct spelling {
    const char *text;
    jinja_operator_t operator;
} spelling_t;

/// The operator at the token, of [count]; NULL: none.
static const spelling_t *at_any(const jinja_parser_t *parser, const spelling_t *spellings,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (jinja_at_operator(parser, spellings[i].text)) {
            return &spellings[i];
        }
    }
    return NULL;
}

static jinja_node_t *binary(jinja_parser_t *parser, jinja_node_t *a, jinja_operator_t operator)
{
    jinja_node_t *node = jinja_node(parser, NODE_BINARY);
    node->a = a;
    node->operator= operator;
    return node;
}

static tr_status parse_power(jinja_node_t **node, jinja_parser_t *parser)
{
    TR_TRY(parse_unary(node, parser, true));
    while (jinja_at_operator(parser, "**")) {
        *node = binary(parser, *node, JINJA_POWER);
        parser->token++;
        TR_TRY(parse_unary(&(*node)->b, parser, true));
    }
    return TR_OK;
}

static tr_status parse_product(jinja_node_t **node, jinja_parser_t *parser)
{
    static const spelling_t spellings[] = {{"*", JINJA_MULTIPLY},
                                           {"/", JINJA_DIVIDE},
                                           {"//", JINJA_FLOOR_DIVIDE},
                                           {"%", JINJA_MODULO}};
    const spelling_t *found;
    TR_TRY(parse_power(node, parser));
    while ((found = at_any(parser, spellings, 4)) != NULL) {
        *node = binary(parser, *node, found->operator);
        parser->token++;
        TR_TRY(parse_power(&(*node)->b, parser));
    }
    return TR_OK;
}

static tr_status parse_concatenated(jinja_node_t **node, jinja_parser_t *parser)
{
    TR_TRY(parse_product(node, parser));
    if (!jinja_at_operator(parser, "~")) {
        return TR_OK;
    }
    jinja_node_t *all = jinja_node(parser, NODE_CONCATENATED), *item = *node;
    jinja_nodes_add(parser, &all->items, item);
    while (jinja_skip_operator(parser, "~")) {
        TR_TRY(parse_product(&item, parser));
        jinja_nodes_add(parser, &all->items, item);
    }
    *node = all;
    return TR_OK;
}

static tr_status parse_sum(jinja_node_t **node, jinja_parser_t *parser)
{
    static const spelling_t spellings[] = {{"+", JINJA_ADD}, {"-", JINJA_SUBTRACT}};
    const spelling_t *found;
    TR_TRY(parse_concatenated(node, parser));
    while ((found = at_any(parser, spellings, 2)) != NULL) {
        *node = binary(parser, *node, found->operator);
        parser->token++;
        TR_TRY(parse_concatenated(&(*node)->b, parser));
    }
    return TR_OK;
}

/// Goes past an operator that compares, if one is here.
static bool skip_comparison(jinja_operator_t *operator, jinja_parser_t * parser)
{
    static const spelling_t spellings[] = {{"==", JINJA_EQUAL},  {"!=", JINJA_UNEQUAL},
                                           {"<", JINJA_LESS},    {"<=", JINJA_LESS_EQUAL},
                                           {">", JINJA_GREATER}, {">=", JINJA_GREATER_EQUAL}};
    const spelling_t *found = at_any(parser, spellings, 6);
    if (found != NULL) {
        *operator= found->operator;
        parser->token++;
        return true;
    }
    bool negative =
        jinja_at_name(parser, "not") && jinja_is_token(parser->token + 1, TOKEN_NAME, "in");
    parser->token += negative;
    *operator= negative ? JINJA_NOT_IN : JINJA_IN;
    return jinja_skip_name(parser, "in");
}

static tr_status parse_comparison(jinja_node_t **node, jinja_parser_t *parser)
{
    jinja_operator_t operator;
    size_t capacity = 0;
    TR_TRY(parse_sum(node, parser));
    jinja_node_t *chain = jinja_node(parser, NODE_COMPARISON), *item;
    chain->a = *node;
    while (skip_comparison(&operator, parser)) {
        TR_TRY(parse_sum(&item, parser));
        chain->operators = jinja_grow(parser->memory, chain->operators, chain->items.count,
                                      &capacity, sizeof operator);
        chain->operators[chain->items.count] = operator;
        jinja_nodes_add(parser, &chain->items, item);
        *node = chain;
    }
    return TR_OK;
}

static tr_status parse_not(jinja_node_t **node, jinja_parser_t *parser)
{
    if (!jinja_at_name(parser, "not")) {
        return parse_comparison(node, parser);
    }
    TR_TRY(jinja_parser_enter(parser));
    *node = jinja_node(parser, NODE_NOT);
    parser->token++;
    TR_TRY(parse_not(&(*node)->a, parser));
    parser->depth--;
    return TR_OK;
}

static tr_status parse_and(jinja_node_t **node, jinja_parser_t *parser)
{
    TR_TRY(parse_not(node, parser));
    while (jinja_skip_name(parser, "and")) {
        jinja_node_t *both = jinja_node(parser, NODE_AND);
        both->a = *node;
        *node = both;
        TR_TRY(parse_not(&both->b, parser));
    }
    return TR_OK;
}

static tr_status parse_or(jinja_node_t **node, jinja_parser_t *parser)
{
    TR_TRY(parse_and(node, parser));
    while (jinja_skip_name(parser, "or")) {
        jinja_node_t *either = jinja_node(parser, NODE_OR);
        either->a = *node;
        *node = either;
        TR_TRY(parse_and(&either->b, parser));
    }
    return TR_OK;
}

tr_status jinja_parse_expression(jinja_node_t **node, jinja_parser_t *parser, bool choices)
{
    TR_TRY(jinja_parser_enter(parser));
    TR_TRY(parse_or(node, parser));
    while (choices && jinja_skip_name(parser, "if")) {
        jinja_node_t *choice = jinja_node(parser, NODE_CHOICE);
        choice->a = *node;
        *node = choice;
        TR_TRY(parse_or(&choice->b, parser));
        if (jinja_skip_name(parser, "else")) {
            TR_TRY(jinja_parse_expression(&choice->c, parser, true));
        }
    }
    parser->depth--;
    return TR_OK;
}

/// Whether a tuple ends here: what follows is no further item.
static bool tuple_ends(const jinja_parser_t *parser)
{
    jinja_token_kind_t kind = parser->token->kind;
    return kind == TOKEN_BLOCK_END || kind == TOKEN_VARIABLE_END || kind == TOKEN_END ||
           jinja_at_operator(parser, ")");
}

tr_status jinja_parse_tuple(jinja_node_t **node, jinja_parser_t *parser, bool choices)
{
    TR_TRY(jinja_parse_expression(node, parser, choices));
    if (!jinja_at_operator(parser, ",")) {
        return TR_OK;
    }
    jinja_node_t *tuple = jinja_node(parser, NODE_TUPLE), *item = *node;
    jinja_nodes_add(parser, &tuple->items, item);
    while (jinja_skip_operator(parser, ",") && !tuple_ends(parser)) {
        TR_TRY(jinja_parse_expression(&item, parser, choices));
        jinja_nodes_add(parser, &tuple->items, item);
    }
    *node = tuple;
    return TR_OK;
}

// Targets of set and for

static tr_status parse_target_name(jinja_node_t **node, jinja_parser_t *parser)
{
    *node = jinja_node(parser, NODE_NAME);
    return jinja_expect_name(&(*node)->name, parser);
}

tr_status jinja_parse_target(jinja_node_t **node, jinja_parser_t *parser, bool attributes)
{
    bool bracket = jinja_skip_operator(parser, "(");
    TR_TRY(parse_target_name(node, parser));
    if (attributes && jinja_skip_operator(parser, ".")) {
        jinja_node_t *attribute = jinja_node(parser, NODE_ATTRIBUTE);
        attribute->a = *node;
        *node = attribute;
        return jinja_expect_name(&attribute->name, parser);
    }
    if (jinja_at_operator(parser, ",")) {
        jinja_node_t *tuple = jinja_node(parser, NODE_TUPLE), *item = *node;
        jinja_nodes_add(parser, &tuple->items, item);
        while (jinja_skip_operator(parser, ",") && parser->token->kind == TOKEN_NAME) {
            TR_TRY(parse_target_name(&item, parser));
            jinja_nodes_add(parser, &tuple->items, item);
        }
        *node = tuple;
    }
    return bracket ? jinja_expect_operator(parser, ")") : TR_OK;
}
