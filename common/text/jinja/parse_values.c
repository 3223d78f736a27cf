// Values and what may follow them: attributes, items, calls, filters, tests.
#include <string.h>

#include "common/text/jinja/parser.h"

// Values

static tr_status parse_list(jinja_node_t **node, jinja_parser_t *parser)
{
    *node = jinja_node(parser, NODE_LIST);
    parser->token++;
    while (!jinja_skip_operator(parser, "]")) {
        jinja_node_t *item;
        if ((*node)->items.count > 0) {
            TR_TRY(jinja_expect_operator(parser, ","));
            if (jinja_skip_operator(parser, "]")) {
                break;
            }
        }
        TR_TRY(jinja_parse_expression(&item, parser, true));
        jinja_nodes_add(parser, &(*node)->items, item);
    }
    return TR_OK;
}

static tr_status parse_dict(jinja_node_t **node, jinja_parser_t *parser)
{
    *node = jinja_node(parser, NODE_DICT);
    parser->token++;
    while (!jinja_skip_operator(parser, "}")) {
        jinja_node_t *key, *value;
        if ((*node)->items.count > 0) {
            TR_TRY(jinja_expect_operator(parser, ","));
            if (jinja_skip_operator(parser, "}")) {
                break;
            }
        }
        TR_TRY(jinja_parse_expression(&key, parser, true));
        TR_TRY(jinja_expect_operator(parser, ":"));
        TR_TRY(jinja_parse_expression(&value, parser, true));
        jinja_nodes_add(parser, &(*node)->items, key);
        jinja_nodes_add(parser, &(*node)->values, value);
    }
    return TR_OK;
}

static tr_status parse_brackets(jinja_node_t **node, jinja_parser_t *parser)
{
    parser->token++;
    if (jinja_at_operator(parser, ")")) {
        *node = jinja_node(parser, NODE_TUPLE);
    } else {
        TR_TRY(jinja_parse_tuple(node, parser, true));
    }
    return jinja_expect_operator(parser, ")");
}

/// Strings side by side are one.
static void join_strings(jinja_value_t *value, jinja_parser_t *parser)
{
    *value = jinja_text(parser->token->text.data, parser->token->text.length);
    while ((++parser->token)->kind == TOKEN_STRING) {
        jinja_text_t a = value->text, b = parser->token->text;
        char *joined = jinja_alloc(parser->memory, a.length + b.length + 1);
        memcpy(joined, a.data, a.length);
        memcpy(joined + a.length, b.data, b.length);
        *value = jinja_text(joined, a.length + b.length);
    }
}

/// A name, or one of the words that are values.
static tr_status parse_name(jinja_node_t **node, jinja_parser_t *parser)
{
    static const struct {
        const char *name;
        jinja_value_t value;
    } words[] = {
        {"true", {.type = JINJA_BOOL, .truth = true}},
        {"True", {.type = JINJA_BOOL, .truth = true}},
        {"false", {.type = JINJA_BOOL}},
        {"False", {.type = JINJA_BOOL}},
        {"none", {.type = JINJA_NONE}},
        {"None", {.type = JINJA_NONE}},
    };
    *node = jinja_node(parser, NODE_NAME);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (jinja_skip_name(parser, words[i].name)) {
            (*node)->kind = NODE_CONSTANT;
            (*node)->value = words[i].value;
            return TR_OK;
        }
    }
    return jinja_expect_name(&(*node)->name, parser);
}

tr_status jinja_parse_primary(jinja_node_t **node, jinja_parser_t *parser)
{
    const jinja_token_t *token = parser->token;
    if (token->kind == TOKEN_NAME) {
        return parse_name(node, parser);
    }
    if (jinja_at_operator(parser, "(")) {
        return parse_brackets(node, parser);
    }
    if (jinja_at_operator(parser, "[")) {
        return parse_list(node, parser);
    }
    if (jinja_at_operator(parser, "{")) {
        return parse_dict(node, parser);
    }
    if (token->kind != TOKEN_STRING && token->kind != TOKEN_INTEGER && token->kind != TOKEN_REAL) {
        return jinja_unexpected(parser, "a value");
    }
    *node = jinja_node(parser, NODE_CONSTANT);
    if (token->kind == TOKEN_STRING) {
        join_strings(&(*node)->value, parser);
        return TR_OK;
    }
    (*node)->value =
        token->kind == TOKEN_INTEGER ? jinja_integer(token->integer) : jinja_real(token->real);
    parser->token++;
    return TR_OK;
}

// What follows values

/// Arguments from `(` to `)` into the node.
static tr_status parse_arguments(jinja_node_t *node, jinja_parser_t *parser)
{
    size_t named = 0;
    parser->token++;
    while (!jinja_skip_operator(parser, ")")) {
        jinja_node_t *value;
        if (node->items.count + node->values.count > 0) {
            TR_TRY(jinja_expect_operator(parser, ","));
            if (jinja_skip_operator(parser, ")")) {
                break;
            }
        }
        if (jinja_at_operator(parser, "*") || jinja_at_operator(parser, "**")) {
            return jinja_parser_fail(parser, "'*' and '**' in calls are not understood");
        }
        bool has_name = parser->token->kind == TOKEN_NAME &&
                        jinja_is_token(parser->token + 1, TOKEN_OPERATOR, "=");
        jinja_text_t name = parser->token->text;
        parser->token += has_name ? 2 : 0;
        TR_TRY(jinja_parse_expression(&value, parser, true));
        if (has_name) {
            node->names = jinja_grow(parser->memory, node->names, node->values.count, &named,
                                     sizeof *node->names);
            node->names[node->values.count] = name;
        } else if (node->values.count > 0) {
            return jinja_parser_fail(parser, "an argument without a name follows one with a name");
        }
        jinja_nodes_add(parser, has_name ? &node->values : &node->items, value);
    }
    return TR_OK;
}

/// One bound of a slice; NULL where it is left out.
static tr_status parse_bound(jinja_node_t **bound, jinja_parser_t *parser)
{
    *bound = NULL;
    return jinja_at_operator(parser, ":") || jinja_at_operator(parser, "]")
               ? TR_OK
               : jinja_parse_expression(bound, parser, true);
}

/// An item or a slice, after `[`.
static tr_status parse_item(jinja_node_t **node, jinja_parser_t *parser)
{
    jinja_node_t *item = jinja_node(parser, NODE_ITEM), *bound;
    item->a = *node;
    *node = item;
    TR_TRY(parse_bound(&bound, parser));
    if (!jinja_at_operator(parser, ":")) {
        if (bound == NULL) {
            return jinja_unexpected(parser, "an index");
        }
        item->b = bound;
        return jinja_expect_operator(parser, "]");
    }
    item->kind = NODE_SLICE;
    jinja_nodes_add(parser, &item->items, bound);
    while (item->items.count < 3) {
        bound = NULL;
        if (jinja_skip_operator(parser, ":")) {
            TR_TRY(parse_bound(&bound, parser));
        }
        jinja_nodes_add(parser, &item->items, bound);
    }
    return jinja_expect_operator(parser, "]");
}

/// An attribute, or an index without brackets, after `.`.
static tr_status parse_attribute(jinja_node_t **node, jinja_parser_t *parser)
{
    jinja_node_t *attribute = jinja_node(parser, NODE_ATTRIBUTE);
    attribute->a = *node;
    *node = attribute;
    if (parser->token->kind == TOKEN_INTEGER) {
        attribute->kind = NODE_ITEM;
        return jinja_parse_primary(&attribute->b, parser);
    }
    return jinja_expect_name(&attribute->name, parser);
}

static tr_status parse_call(jinja_node_t **node, jinja_parser_t *parser)
{
    jinja_node_t *call = jinja_node(parser, NODE_CALL);
    call->a = *node;
    *node = call;
    return parse_arguments(call, parser);
}

tr_status jinja_parse_postfix(jinja_node_t **node, jinja_parser_t *parser)
{
    while (true) {
        if (jinja_skip_operator(parser, ".")) {
            TR_TRY(parse_attribute(node, parser));
        } else if (jinja_skip_operator(parser, "[")) {
            TR_TRY(parse_item(node, parser));
        } else if (jinja_at_operator(parser, "(")) {
            TR_TRY(parse_call(node, parser));
        } else {
            return TR_OK;
        }
    }
}

tr_status jinja_parse_filters(jinja_node_t **node, jinja_parser_t *parser)
{
    bool first = *node == NULL;
    while (first || jinja_skip_operator(parser, "|")) {
        jinja_node_t *filter = jinja_node(parser, NODE_FILTER);
        filter->a = *node;
        *node = filter;
        first = false;
        TR_TRY(jinja_expect_name(&filter->name, parser));
        if (jinja_at_operator(parser, "(")) {
            TR_TRY(parse_arguments(filter, parser));
        }
    }
    return TR_OK;
}

/// Whether an argument without brackets follows the name of a test.
static bool at_argument(const jinja_parser_t *parser)
{
    jinja_token_kind_t kind = parser->token->kind;
    return (kind == TOKEN_NAME && !jinja_at_name(parser, "else") && !jinja_at_name(parser, "or") &&
            !jinja_at_name(parser, "and")) ||
           kind == TOKEN_STRING || kind == TOKEN_INTEGER || kind == TOKEN_REAL ||
           jinja_at_operator(parser, "[") || jinja_at_operator(parser, "{");
}

/// A test, after `is`.
static tr_status parse_test(jinja_node_t **node, jinja_parser_t *parser)
{
    bool negative = jinja_skip_name(parser, "not");
    jinja_node_t *test = jinja_node(parser, NODE_TEST), *argument;
    test->a = *node;
    *node = test;
    TR_TRY(jinja_expect_name(&test->name, parser));
    if (jinja_at_operator(parser, "(")) {
        TR_TRY(parse_arguments(test, parser));
    } else if (jinja_at_name(parser, "is")) {
        return jinja_parser_fail(parser, "a test cannot follow a test");
    } else if (at_argument(parser)) {
        TR_TRY(jinja_parse_primary(&argument, parser));
        TR_TRY(jinja_parse_postfix(&argument, parser));
        jinja_nodes_add(parser, &test->items, argument);
    }
    if (negative) {
        *node = jinja_node(parser, NODE_NOT);
        (*node)->a = test;
    }
    return TR_OK;
}

tr_status jinja_parse_suffixes(jinja_node_t **node, jinja_parser_t *parser)
{
    while (true) {
        if (jinja_at_operator(parser, "|")) {
            TR_TRY(jinja_parse_filters(node, parser));
        } else if (jinja_skip_name(parser, "is")) {
            TR_TRY(parse_test(node, parser));
        } else if (jinja_at_operator(parser, "(")) {
            TR_TRY(parse_call(node, parser));
        } else {
            return TR_OK;
        }
    }
}
