/* plot.h - plots as inline SVG: axes with round ticks, lines, points with intervals, bars; every mark has a tooltip, and a
 * reader of screens gets a description in place of the picture. Colours are the page's (--c0 ... --c7). */
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "report/markup.h"

enum { PLOT_SERIES = 12, PLOT_COLOURS = 8 };

struct plot_series {
    const char *name;         /* NULL: not in the legend */
    const double *x, *y;      /* [count], borrowed; what is not finite is left out    */
    const double *low, *high; /* [count] of an interval around y; NULL: none          */
    const char *const *notes; /* [count] for tooltips, NULL: none                     */
    size_t count;
    unsigned colour;
    bool line, points, dashed, faint;
    bool silent; /* no tooltips: others say the same */
};

struct plot {
    const char *title, *x, *y; /* what it shows; what the axes are */
    const char *note;          /* a line below, NULL: none */
    struct plot_series series[PLOT_SERIES];
    size_t count;
    double x_low, x_high, y_low, y_high; /* at least so far, where low < high */
    bool diagonal;                       /* y = x, too */
    bool wide;                           /* as wide as the page */
};
void plot_put(struct markup *m, const struct plot *p);

/* Bars from a base line, one below the other. */
struct plot_bar {
    const char *name, *note; /* note: at the bar's end and in its tooltip */
    double value, low, high; /* low > high: no interval                    */
    unsigned colour;
    bool gap; /* above it: another group begins */
};
struct plot_bars {
    const char *title, *x, *note;
    const struct plot_bar *bars; /* [count], borrowed */
    size_t count;
    bool wide;
};
void plot_put_bars(struct markup *m, const struct plot_bars *p);

#endif
