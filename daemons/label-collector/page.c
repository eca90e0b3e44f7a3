#include "page.h"

#include <string.h>

#include "page_data.h" /* made from page/ and openapi.json by page/embed.cmake */

static const struct collector_page_file files[] = {
    { "/", "text/html; charset=utf-8", index_html, sizeof(index_html) },
    { "/page.css", "text/css; charset=utf-8", page_css, sizeof(page_css) },
    { "/page.js", "text/javascript; charset=utf-8", page_js, sizeof(page_js) },
    { "/diff.js", "text/javascript; charset=utf-8", diff_js, sizeof(diff_js) },
    { "/session.js", "text/javascript; charset=utf-8", session_js, sizeof(session_js) },
    { "/owner", "text/html; charset=utf-8", owner_html, sizeof(owner_html) },
    { "/owner.css", "text/css; charset=utf-8", owner_css, sizeof(owner_css) },
    { "/owner.js", "text/javascript; charset=utf-8", owner_js, sizeof(owner_js) },
    { "/plot.js", "text/javascript; charset=utf-8", plot_js, sizeof(plot_js) },
    { "/openapi.json", "application/json", openapi_json, sizeof(openapi_json) },
    { "/icon.svg", "image/svg+xml", icon_svg, sizeof(icon_svg) },
};

const struct collector_page_file *collector_page_find(const char *path)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); ++i)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}
