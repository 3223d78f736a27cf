// The public functions, and the bounds of a rendering.
#include "common/text/jinja/jinja.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/jinja/parser.h"
#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

enum {
    SOURCE_LIMIT = 1 << 20, // bytes of a template
    STEPS_LIMIT = 20000000, // nodes, and 64 bytes of text each
    DEPTH_LIMIT = 500,      // of nodes, macros and values within each other
    STEP_BYTES = 64
};
static const size_t MEMORY_LIMIT = (size_t)512 << 20; // of all values of a rendering
static const size_t TEXT_LIMIT = (size_t)64 << 20;    // of one text, the output too

// Bounds and failures

tr_status(jinja_fail)(jinja_run_t *run, const char *format, ...)
{
    char text[sizeof run->err->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return tr_fail(run->err, TR_ERR_FORMAT, "line %d: %s", run->line, text);
}

tr_status jinja_spend(jinja_run_t *run, size_t steps)
{
    run->steps += steps;
    if (run->steps > STEPS_LIMIT) {
        return jinja_fail(run, "the template takes more than %d steps", STEPS_LIMIT);
    }
    if (run->memory.used > MEMORY_LIMIT || run->full) {
        return jinja_fail(run, "the template writes more than fits in memory: %zu MiB, %zu a text",
                          MEMORY_LIMIT >> 20, TEXT_LIMIT >> 20);
    }
    return TR_OK;
}

tr_status jinja_enter(jinja_run_t *run)
{
    if (++run->depth > DEPTH_LIMIT) {
        return jinja_fail(run, "calls or values are nested more than %d deep", DEPTH_LIMIT);
    }
    return jinja_spend(run, 1);
}

void jinja_append(jinja_builder_t *builder, const char *data, size_t length)
{
    jinja_run_t *run = builder->run;
    run->steps += length / STEP_BYTES;
    if (length > TEXT_LIMIT - builder->length || run->full || run->memory.used > MEMORY_LIMIT) {
        run->full = true;
        return;
    }
    if (builder->length + length > builder->capacity) {
        builder->capacity = (builder->length + length) * 2 + STEP_BYTES;
        char *longer = jinja_alloc(&run->memory, builder->capacity);
        if (builder->length > 0) {
            memcpy(longer, builder->data, builder->length);
        }
        builder->data = longer;
    }
    if (length > 0) {
        memcpy(builder->data + builder->length, data, length);
    }
    builder->length += length;
}

tr_status jinja_finish(jinja_value_t *text, const jinja_builder_t *builder)
{
    *text = jinja_text(builder->length > 0 ? builder->data : "", builder->length);
    return jinja_spend(builder->run, 0);
}

// Templates

/// Every text that may be written as it stands, and every name.
static void collect(tr_jinja_t *template, const jinja_token_t *tokens, size_t count)
{
    template->texts = jinja_alloc(&template->memory, count * sizeof *template->texts);
    template->names = jinja_alloc(&template->memory, count * sizeof *template->names);
    for (size_t i = 0; i < count; i++) {
        if (tokens[i].kind == TOKEN_DATA || tokens[i].kind == TOKEN_STRING) {
            template->texts[template->text_count++] = tokens[i].text;
        } else if (tokens[i].kind == TOKEN_NAME) {
            template->names[template->name_count++] = tokens[i].text;
        }
    }
}

tr_status tr_jinja_new(tr_jinja_t **template, const char *text, size_t length, tr_error_t *err)
{
    *template = NULL;
    if (length > SOURCE_LIMIT) {
        return tr_fail(err, TR_ERR_FORMAT, "the template has %zu bytes, at most %d are read",
                       length, SOURCE_LIMIT);
    }
    tr_jinja_t *new = tr_calloc(1, sizeof *new);
    jinja_token_t *tokens = NULL;
    size_t count = 0;
    tr_status status = jinja_lex(&tokens, &count, &new->memory, text, length, err);
    jinja_parser_t parser = {.memory = &new->memory, .err = err, .token = tokens};
    if (status == TR_OK) {
        collect(new, tokens, count);
        status = jinja_parse(&new->body, &parser);
        new->marks = parser.marks;
    }
    if (status != TR_OK) {
        tr_jinja_destroy(&new);
    }
    *template = new;
    return status;
}

void tr_jinja_destroy(tr_jinja_t **template)
{
    if (*template != NULL) {
        jinja_memory_release(&(*template)->memory);
        free(*template);
        *template = NULL;
    }
}

bool tr_jinja_marks(const tr_jinja_t *template)
{
    return template->marks;
}

bool tr_jinja_names(const tr_jinja_t *template, const char *name)
{
    const jinja_text_t wanted = {name, strlen(name)};
    size_t i = 0;
    while (i < template->name_count && !jinja_text_equal(template->names[i], wanted)) {
        i++;
    }
    return i < template->name_count;
}

void tr_jinja_literals(const tr_jinja_t *template,
                       void (*visit)(void *context, const char *text, size_t length), void *context)
{
    for (size_t i = 0; i < template->text_count; i++) {
        visit(context, template->texts[i].data, template->texts[i].length);
    }
}

// Rendering

void tr_jinja_text_release(tr_jinja_text_t *text)
{
    tr_bytes_release(&text->text);
    free(text->spans);
    *text = (tr_jinja_text_t){0};
}

static tr_status set_variables(jinja_run_t *run, const json_t *variables)
{
    const char *name;
    json_t *json;
    json_object_foreach((json_t *)variables, name, json)
    {
        jinja_value_t value;
        TR_TRY(jinja_from_json(&value, run, json));
        jinja_scope_set(run, run->scope, (jinja_text_t){name, strlen(name)}, &value);
    }
    return TR_OK;
}

/// What was written, as the caller's own.
static void take_page(tr_jinja_text_t *text, const jinja_run_t *run)
{
    tr_bytes_append(&text->text, run->page.data, run->page.length);
    text->spans = tr_calloc(run->mark_count + 1, sizeof *text->spans);
    text->span_count = run->mark_count;
    for (size_t i = 0; i < run->mark_count; i++) {
        text->spans[i] = (tr_jinja_span_t){run->marks[i].from, run->marks[i].to};
    }
}

tr_status tr_jinja_render(tr_jinja_text_t *text, const tr_jinja_t *template,
                          const json_t *variables, tr_error_t *err)
{
    jinja_run_t run = {.err = err, .line = 1};
    tr_status status;
    run.page.run = &run;
    run.out = &run.page;
    run.scope = jinja_scope_new(&run, NULL);
    TR_TRY_GOTO(set_variables(&run, variables), done);
    TR_TRY_GOTO(jinja_execute(&run, &template->body), done);
    TR_TRY_GOTO(jinja_spend(&run, 0), done); // the last text may be the one too many
    take_page(text, &run);
done:
    jinja_memory_release(&run.memory);
    return status;
}
