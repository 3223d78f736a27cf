/// Chat templates: the subset of Jinja that the templates of Hugging Face directories use.
///
/// What a template writes is what transformers' apply_chat_template has it write: trim_blocks and
/// lstrip_blocks, its own tojson, raise_exception, strftime_now, loop controls and `generation`
/// blocks, in the sandbox where nothing that a template is given can be changed. Templates are
/// strangers' programs: their steps, depth, memory and output are bounded, and each mistake is a
/// sentence with its line.
///
/// Left out, and refused by name: block, extends, include, import, autoescape; recursive loops;
/// `*` and `**` in calls; the formatting of texts by `%` and `format`; the text of what is no list:
/// ranges, views of mappings, and the generators that map, select and their kin give. Whole numbers
/// have 64 bits. upper, lower, title and capitalize map each character to one.
///
/// The folder, in the order of the work: lexer, parse_expressions and parse_statements (a tree,
/// node.h); evaluate and execute, with operators; what templates can call, a table each: filters,
/// tests, methods, functions.
#ifndef TR_TEXT_JINJA_JINJA_H
#define TR_TEXT_JINJA_JINJA_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"
#include "common/text/utf8.h"

typedef struct tr_jinja tr_jinja_t;

/// Bytes from..to-1 of a text.
typedef struct tr_jinja_span {
    size_t from, to;
} tr_jinja_span_t;

/// What a template wrote. {0} is empty; release frees it.
typedef struct tr_jinja_text {
    tr_bytes_t text;        ///< text.data is never NULL after a rendering
    tr_jinja_span_t *spans; ///< [span_count] what its `generation` blocks wrote, in order
    size_t span_count;
} tr_jinja_text_t;

void tr_jinja_text_release(tr_jinja_text_t *text);

/// Reads a template: [length] bytes, not kept. *template: owned by the caller; NULL on failure.
/// TR_ERR_FORMAT for what is no Jinja, TR_ERR_UNSUPPORTED for what is left out; "line 3: ...".
tr_status tr_jinja_new(tr_jinja_t **template, const char *text, size_t length, tr_error_t *err);
void tr_jinja_destroy(tr_jinja_t **template);

/// Runs the template with the members of an object as its variables, which are borrowed. text: an
/// empty one, the caller's; untouched on failure. strftime_now reads the clock, or the environment
/// variable SOURCE_DATE_EPOCH, if it is set (then in UTC). Threads may share a template.
/// TR_ERR_FORMAT for whatever fails in it, raise_exception included.
tr_status tr_jinja_render(tr_jinja_text_t *text, const tr_jinja_t *template,
                          const json_t *variables, tr_error_t *err);

/// Whether the template has a `generation` block.
bool tr_jinja_marks(const tr_jinja_t *template);

/// Whether the template uses a name, as a variable or otherwise.
bool tr_jinja_names(const tr_jinja_t *template, const char *name);

/// Calls visit with each text that the template may write as it stands: what is outside tags, and
/// its strings.
void tr_jinja_literals(const tr_jinja_t *template,
                       void (*visit)(void *context, const char *text, size_t length),
                       void *context);

#endif
