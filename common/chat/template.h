/* template.h - chat templates: the part of Jinja that published ones use, as transformers renders it.
 *
 * A template is parsed once and may then be rendered by any number of threads. Rendering follows jinja2's immutable
 * sandbox with trim_blocks and lstrip_blocks, the tags `generation`, `break` and `continue`, and transformers' tojson,
 * raise_exception, strftime_now, namespace and dict; values print as Python prints them. What is not supported is an error
 * that names the construct with its line and column, at parsing where it can be seen there.
 *
 * Templates come with models, so they are hostile until shown otherwise: source, nesting, steps, memory and the
 * length of the text are bounded, and nothing outside the given variables can be reached. */
#ifndef RLHF_CHAT_TEMPLATE_H
#define RLHF_CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"

struct rlhf_template;

struct rlhf_range {
    size_t start, end; /* bytes of the text */
};

/* What came of rendering. Zero-initialise; free with rlhf_rendered_free(). */
struct rlhf_rendered {
    struct rlhf_bytes text;
    struct rlhf_range *generated; /* what {% generation %} blocks wrote, in the order they ended */
    size_t generated_count, generated_room;
};

/* where: what errors begin with ("DIR/chat_template.jinja"). NULL and *err (RLHF_REJECT) on failure. */
struct rlhf_template *rlhf_template_new(const char *source, size_t size, const char *where, struct rlhf_error *err);

bool rlhf_template_marks(const struct rlhf_template *t); /* it has {% generation %} blocks */

/* variables: an object; now: what strftime_now() says, in local time. Replaces *out. The error of raise_exception() is
 * its message and nothing else. */
int rlhf_template_render(const struct rlhf_template *t, const json_t *variables, time_t now, struct rlhf_rendered *out,
                         struct rlhf_error *err);

void rlhf_rendered_free(struct rlhf_rendered *r);
void rlhf_template_free(struct rlhf_template *t); /* NULL is fine */

#endif
