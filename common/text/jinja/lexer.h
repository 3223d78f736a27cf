/// A template's source as tokens.
#ifndef TR_TEXT_JINJA_LEXER_H
#define TR_TEXT_JINJA_LEXER_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/text/jinja/value.h"

typedef enum jinja_token_kind {
    TOKEN_DATA,           ///< text outside tags, white space already taken off
    TOKEN_BLOCK_BEGIN,    ///< {%
    TOKEN_BLOCK_END,      ///< %}
    TOKEN_VARIABLE_BEGIN, ///< {{
    TOKEN_VARIABLE_END,   ///< }}
    TOKEN_NAME,
    TOKEN_STRING,   ///< text: without quotes and escapes
    TOKEN_INTEGER,  ///< integer
    TOKEN_REAL,     ///< real
    TOKEN_OPERATOR, ///< text: its spelling
    TOKEN_END
} jinja_token_kind_t;

typedef struct jinja_token {
    jinja_token_kind_t kind;
    int line;
    jinja_text_t text; ///< the memory's
    int64_t integer;
    double real;
} jinja_token_t;

/// *tokens: [*count] in the memory, TOKEN_END last. source: [length], not kept.
/// TR_ERR_FORMAT, "line 3: ...".
tr_status jinja_lex(jinja_token_t **tokens, size_t *count, jinja_memory_t *memory,
                    const char *source, size_t length, tr_error_t *err);

#endif
