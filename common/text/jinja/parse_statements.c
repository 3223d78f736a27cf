// Statements: what stands outside tags, what is written, and the tags by their first word.
#include <string.h>

#include "common/text/jinja/parser.h"

/// Statements up to a tag that begins with one of the words, which stays: parser->token is the
/// word. The last word is NULL; no words: up to the template's end.
static tr_status parse_body(jinja_nodes_t *body, jinja_parser_t *parser, const char *const *words);

static tr_status end_tag(jinja_parser_t *parser)
{
    if (parser->token->kind != TOKEN_BLOCK_END) {
        return jinja_parser_fail(parser, "the tag has more in it than it should");
    }
    parser->token++;
    return TR_OK;
}

/// The rest of a tag, a body, and the tag that ends it, whose one word is `end`.
static tr_status parse_block(jinja_nodes_t *body, jinja_parser_t *parser, const char *end)
{
    const char *const words[] = {end, NULL};
    TR_TRY(end_tag(parser));
    TR_TRY(parse_body(body, parser, words));
    parser->token++;
    return end_tag(parser);
}

/// A body that is a function of its own: no loop around it can be left from within.
static tr_status parse_function(jinja_nodes_t *body, jinja_parser_t *parser, const char *end)
{
    size_t loops = parser->loops;
    parser->loops = 0;
    TR_TRY(parse_block(body, parser, end));
    parser->loops = loops;
    return TR_OK;
}

static tr_status parse_if(jinja_node_t *node, jinja_parser_t *parser)
{
    static const char *const words[] = {"elif", "else", "endif", NULL};
    while (true) {
        TR_TRY(jinja_parse_tuple(&node->a, parser, false));
        TR_TRY(end_tag(parser));
        TR_TRY(parse_body(&node->body, parser, words));
        if (!jinja_skip_name(parser, "elif")) {
            break;
        }
        // `elif` is an `if` in the `else` of the one before it.
        jinja_node_t *next = jinja_node(parser, NODE_IF);
        jinja_nodes_add(parser, &node->otherwise, next);
        node = next;
    }
    if (jinja_skip_name(parser, "else")) {
        return parse_block(&node->otherwise, parser, "endif");
    }
    parser->token++;
    return end_tag(parser);
}

static tr_status parse_for(jinja_node_t *node, jinja_parser_t *parser)
{
    static const char *const words[] = {"else", "endfor", NULL};
    TR_TRY(jinja_parse_target(&node->a, parser, false));
    if (!jinja_skip_name(parser, "in")) {
        return jinja_parser_fail(parser, "expected 'in' after the names of 'for'");
    }
    TR_TRY(jinja_parse_tuple(&node->b, parser, false));
    if (jinja_skip_name(parser, "if")) {
        TR_TRY(jinja_parse_expression(&node->c, parser, true));
    }
    if (jinja_at_name(parser, "recursive")) {
        return jinja_parser_fail(parser, "recursive loops are not understood");
    }
    TR_TRY(end_tag(parser));
    parser->loops++;
    TR_TRY(parse_body(&node->body, parser, words));
    parser->loops--;
    if (jinja_skip_name(parser, "else")) {
        return parse_block(&node->otherwise, parser, "endfor");
    }
    parser->token++;
    return end_tag(parser);
}

static tr_status parse_set(jinja_node_t *node, jinja_parser_t *parser)
{
    TR_TRY(jinja_parse_target(&node->a, parser, true));
    if (jinja_skip_operator(parser, "=")) {
        TR_TRY(jinja_parse_tuple(&node->b, parser, true));
        return end_tag(parser);
    }
    node->kind = NODE_SET_BLOCK;
    if (jinja_skip_operator(parser, "|")) {
        TR_TRY(jinja_parse_filters(&node->b, parser));
    }
    return parse_block(&node->body, parser, "endset");
}

/// Parameters in brackets: names into items, the last ones' defaults into values.
static tr_status parse_parameters(jinja_node_t *node, jinja_parser_t *parser)
{
    TR_TRY(jinja_expect_operator(parser, "("));
    while (!jinja_skip_operator(parser, ")")) {
        jinja_node_t *parameter = jinja_node(parser, NODE_NAME), *value;
        if (node->items.count > 0) {
            TR_TRY(jinja_expect_operator(parser, ","));
        }
        TR_TRY(jinja_expect_name(&parameter->name, parser));
        jinja_nodes_add(parser, &node->items, parameter);
        if (jinja_skip_operator(parser, "=")) {
            TR_TRY(jinja_parse_expression(&value, parser, true));
            jinja_nodes_add(parser, &node->values, value);
        } else if (node->values.count > 0) {
            return jinja_parser_fail(parser, "a parameter without default follows one with it");
        }
    }
    return TR_OK;
}

static tr_status parse_macro(jinja_node_t *node, jinja_parser_t *parser)
{
    TR_TRY(jinja_expect_name(&node->name, parser));
    TR_TRY(parse_parameters(node, parser));
    return parse_function(&node->body, parser, "endmacro");
}

static tr_status parse_call_block(jinja_node_t *node, jinja_parser_t *parser)
{
    node->name = JINJA_LITERAL("caller");
    if (jinja_at_operator(parser, "(")) {
        TR_TRY(parse_parameters(node, parser));
    }
    TR_TRY(jinja_parse_expression(&node->a, parser, true));
    if (node->a->kind != NODE_CALL) {
        return jinja_parser_fail(parser, "expected a call after 'call'");
    }
    return parse_function(&node->body, parser, "endcall");
}

static tr_status parse_filter_block(jinja_node_t *node, jinja_parser_t *parser)
{
    TR_TRY(jinja_parse_filters(&node->b, parser));
    return parse_block(&node->body, parser, "endfilter");
}

static tr_status parse_with(jinja_node_t *node, jinja_parser_t *parser)
{
    while (parser->token->kind != TOKEN_BLOCK_END) {
        jinja_node_t *target, *value;
        if (node->items.count > 0) {
            TR_TRY(jinja_expect_operator(parser, ","));
        }
        TR_TRY(jinja_parse_target(&target, parser, false));
        TR_TRY(jinja_expect_operator(parser, "="));
        TR_TRY(jinja_parse_expression(&value, parser, true));
        jinja_nodes_add(parser, &node->items, target);
        jinja_nodes_add(parser, &node->values, value);
    }
    return parse_block(&node->body, parser, "endwith");
}

static tr_status parse_generation(jinja_node_t *node, jinja_parser_t *parser)
{
    parser->marks = true;
    return parse_function(&node->body, parser, "endgeneration");
}

/// break and continue.
static tr_status parse_leave(jinja_node_t *node, jinja_parser_t *parser)
{
    (void)node;
    return parser->loops > 0 ? end_tag(parser)
                             : jinja_parser_fail(parser, "break and continue need a loop");
}

typedef struct tag {
    const char *name;
    jinja_node_kind_t kind;
    tr_status (*parse)(jinja_node_t *node, jinja_parser_t *parser); // after the name
} tag_t;

static const tag_t TAGS[] = {
    {"if", NODE_IF, parse_if},
    {"for", NODE_FOR, parse_for},
    {"set", NODE_SET, parse_set},
    {"macro", NODE_MACRO, parse_macro},
    {"call", NODE_CALL_BLOCK, parse_call_block},
    {"filter", NODE_FILTER_BLOCK, parse_filter_block},
    {"with", NODE_WITH, parse_with},
    {"generation", NODE_GENERATION, parse_generation},
    {"break", NODE_BREAK, parse_leave},
    {"continue", NODE_CONTINUE, parse_leave},
};

/// A tag whose name the token is.
static tr_status parse_tag(jinja_node_t **node, jinja_parser_t *parser)
{
    jinja_text_t name;
    TR_TRY(jinja_expect_name(&name, parser));
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS; i++) {
        if (strlen(TAGS[i].name) == name.length &&
            memcmp(TAGS[i].name, name.data, name.length) == 0) {
            TR_TRY(jinja_parser_enter(parser));
            *node = jinja_node(parser, TAGS[i].kind);
            TR_TRY(TAGS[i].parse(*node, parser));
            parser->depth--;
            return TR_OK;
        }
    }
    int length = name.length > 40 ? 40 : (int)name.length;
    return tr_fail(parser->err, TR_ERR_UNSUPPORTED, "line %d: the tag '%.*s' is not understood",
                   parser->token->line, length, name.data);
}

static tr_status parse_output(jinja_node_t **node, jinja_parser_t *parser)
{
    *node = jinja_node(parser, NODE_OUTPUT);
    parser->token++;
    TR_TRY(jinja_parse_tuple(&(*node)->a, parser, true));
    if (parser->token->kind != TOKEN_VARIABLE_END) {
        return jinja_parser_fail(parser, "expected '}}' after the expression");
    }
    parser->token++;
    return TR_OK;
}

static bool at_any_name(const jinja_parser_t *parser, const char *const *words)
{
    while (*words != NULL && !jinja_at_name(parser, *words)) {
        words++;
    }
    return *words != NULL;
}

static tr_status parse_statement(jinja_node_t **node, jinja_parser_t *parser)
{
    if (parser->token->kind == TOKEN_VARIABLE_BEGIN) {
        return parse_output(node, parser);
    }
    // A body's loop has gone past `{%`; every other token begins nothing.
    *node = jinja_node(parser, NODE_DATA);
    (*node)->name = parser->token++->text;
    return TR_OK;
}

static tr_status parse_body(jinja_nodes_t *body, jinja_parser_t *parser, const char *const *words)
{
    while (parser->token->kind != TOKEN_END) {
        jinja_node_t *node = NULL;
        if (parser->token->kind == TOKEN_BLOCK_BEGIN) {
            parser->token++;
            if (at_any_name(parser, words)) {
                return TR_OK;
            }
            TR_TRY(parse_tag(&node, parser));
        } else {
            TR_TRY(parse_statement(&node, parser));
        }
        jinja_nodes_add(parser, body, node);
    }
    return *words == NULL
               ? TR_OK
               : tr_fail(parser->err, TR_ERR_FORMAT, "line %d: the template ends before '%s'",
                         parser->token->line, words[0]);
}

tr_status jinja_parse(jinja_nodes_t *body, jinja_parser_t *parser)
{
    static const char *const none[] = {NULL};
    return parse_body(body, parser, none);
}
