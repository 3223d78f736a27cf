// What both halves of the parser share: the token that is looked at, nodes, and the bound of
// nesting.
#include "common/text/jinja/parser.h"

#include <string.h>

enum { DEPTH_LIMIT = 150 };

tr_status(jinja_parser_fail)(const jinja_parser_t *parser, const char *sentence)
{
    return tr_fail(parser->err, TR_ERR_FORMAT, "line %d: %s", parser->token->line, sentence);
}

/// What stands at the token, for sentences.
tr_status(jinja_unexpected)(const jinja_parser_t *parser, const char *expected)
{
    const jinja_token_t *token = parser->token;
    if (token->kind == TOKEN_END) {
        return tr_fail(parser->err, TR_ERR_FORMAT, "line %d: expected %s, the template ends",
                       token->line, expected);
    }
    int length = token->text.length > 40 ? 40 : (int)token->text.length;
    return tr_fail(parser->err, TR_ERR_FORMAT, "line %d: expected %s, found '%.*s'", token->line,
                   expected, length, token->text.data);
}

tr_status jinja_parser_enter(jinja_parser_t *parser)
{
    return ++parser->depth <= DEPTH_LIMIT
               ? TR_OK
               : jinja_parser_fail(parser, "the template is nested too deeply");
}

jinja_node_t *jinja_node(jinja_parser_t *parser, jinja_node_kind_t kind)
{
    jinja_node_t *node = jinja_alloc(parser->memory, sizeof *node);
    node->kind = kind;
    node->line = parser->token->line;
    return node;
}

void jinja_nodes_add(jinja_parser_t *parser, jinja_nodes_t *nodes, jinja_node_t *node)
{
    nodes->items = jinja_grow(parser->memory, nodes->items, nodes->count, &nodes->capacity,
                              sizeof *nodes->items);
    nodes->items[nodes->count++] = node;
}

bool jinja_is_token(const jinja_token_t *token, jinja_token_kind_t kind, const char *text)
{
    return token->kind == kind && token->text.length == strlen(text) &&
           memcmp(token->text.data, text, token->text.length) == 0;
}

bool jinja_at_operator(const jinja_parser_t *parser, const char *text)
{
    return jinja_is_token(parser->token, TOKEN_OPERATOR, text);
}

bool jinja_at_name(const jinja_parser_t *parser, const char *text)
{
    return jinja_is_token(parser->token, TOKEN_NAME, text);
}

bool jinja_skip_operator(jinja_parser_t *parser, const char *text)
{
    bool found = jinja_at_operator(parser, text);
    parser->token += found;
    return found;
}

bool jinja_skip_name(jinja_parser_t *parser, const char *text)
{
    bool found = jinja_at_name(parser, text);
    parser->token += found;
    return found;
}

tr_status jinja_expect_operator(jinja_parser_t *parser, const char *text)
{
    char expected[8];
    snprintf(expected, sizeof expected, "'%s'", text);
    return jinja_skip_operator(parser, text) ? TR_OK : jinja_unexpected(parser, expected);
}

tr_status jinja_expect_name(jinja_text_t *name, jinja_parser_t *parser)
{
    if (parser->token->kind != TOKEN_NAME) {
        return jinja_unexpected(parser, "a name");
    }
    *name = parser->token++->text;
    return TR_OK;
}
