/* page.h - the labeling page and openapi.json, compiled in. */
#ifndef LABEL_COLLECTOR_PAGE_H
#define LABEL_COLLECTOR_PAGE_H

#include <stddef.h>

struct collector_page_file {
    const char *path; /* of its route: "/" for index.html */
    const char *content_type;
    const unsigned char *data;
    size_t size;
};
const struct collector_page_file *collector_page_find(const char *path); /* NULL when there is none */

#endif
