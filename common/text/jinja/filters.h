/// The filters, by what they work on.
#ifndef TR_TEXT_JINJA_FILTERS_H
#define TR_TEXT_JINJA_FILTERS_H

#include "common/text/jinja/run.h"

/// Texts, numbers and single values (filters.c); lists and mappings (filters_list.c). NULL: none.
const jinja_builtin_t *jinja_value_filter_find(jinja_text_t name);
const jinja_builtin_t *jinja_list_filter_find(jinja_text_t name);

#endif
