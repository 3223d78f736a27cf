/// The parser: tokens (parser.c), values (parse_values.c), expressions and statements of them.
#ifndef TR_TEXT_JINJA_PARSER_H
#define TR_TEXT_JINJA_PARSER_H

#include "common/text/jinja/lexer.h"
#include "common/text/jinja/node.h"

typedef struct jinja_parser {
    jinja_memory_t *memory;
    tr_error_t *err;
    const jinja_token_t *token; ///< the one that is looked at; TOKEN_END is never passed
    size_t depth;               ///< of nesting
    size_t loops;               ///< that the statement stands in, within its macro
    bool marks;                 ///< written: a generation block was met
} jinja_parser_t;

/// "line 3: <sentence>"; TR_ERR_FORMAT.
tr_status jinja_parser_fail(const jinja_parser_t *parser, const char *sentence);
/// The same, of what stands at the token instead of what was expected.
tr_status jinja_unexpected(const jinja_parser_t *parser, const char *expected);

// As status.h does it: clang's analyzer does not look into parser.c.
#ifdef __clang_analyzer__
#define jinja_parser_fail(parser, sentence) \
    ((void)jinja_parser_fail(parser, sentence), TR_ERR_FORMAT)
#define jinja_unexpected(parser, expected) ((void)jinja_unexpected(parser, expected), TR_ERR_FORMAT)
#endif

/// Counts a level of nesting, which the caller takes off again where it succeeds.
tr_status jinja_parser_enter(jinja_parser_t *parser);

jinja_node_t *jinja_node(jinja_parser_t *parser, jinja_node_kind_t kind);
void jinja_nodes_add(jinja_parser_t *parser, jinja_nodes_t *nodes, jinja_node_t *node);

bool jinja_is_token(const jinja_token_t *token, jinja_token_kind_t kind, const char *text);
/// Whether the token is that operator, that name.
bool jinja_at_operator(const jinja_parser_t *parser, const char *text);
bool jinja_at_name(const jinja_parser_t *parser, const char *text);
/// The same, and then goes past it.
bool jinja_skip_operator(jinja_parser_t *parser, const char *text);
bool jinja_skip_name(jinja_parser_t *parser, const char *text);
tr_status jinja_expect_operator(jinja_parser_t *parser, const char *text);
/// Any name, which goes to *name.
tr_status jinja_expect_name(jinja_text_t *name, jinja_parser_t *parser);

/// An expression, or several with commas: a tuple. choices: `if` and `else` may be part of it.
tr_status jinja_parse_tuple(jinja_node_t **node, jinja_parser_t *parser, bool choices);
tr_status jinja_parse_expression(jinja_node_t **node, jinja_parser_t *parser, bool choices);
/// A name, an attribute of a namespace where allowed, or a tuple of names.
tr_status jinja_parse_target(jinja_node_t **node, jinja_parser_t *parser, bool attributes);
/// The filters behind `*node`, which may be NULL: then the first one's name stands without `|`.
tr_status jinja_parse_filters(jinja_node_t **node, jinja_parser_t *parser);
/// What may follow a value: attributes, items, calls.
tr_status jinja_parse_postfix(jinja_node_t **node, jinja_parser_t *parser);
/// Filters, tests and calls of what they give.
tr_status jinja_parse_suffixes(jinja_node_t **node, jinja_parser_t *parser);
tr_status jinja_parse_primary(jinja_node_t **node, jinja_parser_t *parser);

/// All statements of a template.
tr_status jinja_parse(jinja_nodes_t *body, jinja_parser_t *parser);

#endif
