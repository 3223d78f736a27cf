/// The methods of texts (methods_text.c), for the table of all (methods.c).
#ifndef TR_TEXT_JINJA_METHODS_H
#define TR_TEXT_JINJA_METHODS_H

#include "common/text/jinja/run.h"

/// NULL: texts have no such method.
const jinja_builtin_t *jinja_text_method_find(jinja_text_t name);

#endif
