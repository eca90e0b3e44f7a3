#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/scale.h"

enum {
    WIDTH = 480, WIDE = 980, HEIGHT = 290,
    LEFT = 52, RIGHT = 14, TOP = 26, BOTTOM = 44, /* around the field */
    MOST_DOTS = 160,                              /* points of a line that get a tooltip of their own */
    MOST_STRETCHES = 500,                         /* of a line: beyond, the extremes of each stretch are drawn */
    BAR = 22, BAR_GAP = 12, BAR_TOP = 4, BAR_LEFT = 150, BAR_RIGHT = 96,
};

/* ---- the frame ----------------------------------------------------------------------------------------- */

static void begin(struct markup *m, const char *title, bool wide)
{
    markup_put(m, "<figure class=\"plot%s\"><figcaption>", wide ? " wide" : "");
    markup_text(m, title);
    markup_put(m, "</figcaption>");
}

static void begin_svg(struct markup *m, int width, int height, const char *title, const char *description)
{
    markup_put(m, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height);
    markup_text(m, title);
    markup_put(m, ". ");
    markup_text(m, description);
    markup_put(m, "\">");
}

static void end(struct markup *m, const char *note)
{
    markup_put(m, "</svg>");
    if (note) {
        markup_put(m, "<p class=\"note\">");
        markup_text(m, note);
        markup_put(m, "</p>");
    }
    markup_put(m, "</figure>\n");
}

static void put_axes(struct markup *m, const struct plot *p, const struct scale *x, const struct scale *y, int width)
{
    char label[SCALE_LABEL];

    markup_put(m, "<g class=\"axis\">");
    for (size_t i = 0; i < scale_ticks(y); i++) {
        double at = scale_at(y, scale_tick(y, i));
        scale_label(y, scale_tick(y, i), label);
        markup_put(m, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT,
                   at, width - RIGHT, LEFT - 7, at + 4, label);
    }
    for (size_t i = 0; i < scale_ticks(x); i++) {
        double at = scale_at(x, scale_tick(x, i));
        scale_label(x, scale_tick(x, i), label);
        markup_put(m, "<path d=\"M%.1f %dv5\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", at,
                   HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 19, label);
    }
    markup_put(m, "<path d=\"M%d %dH%d\"/><text class=\"name\" x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT, HEIGHT - BOTTOM,
               width - RIGHT, width - RIGHT, HEIGHT - 6);
    markup_text(m, p->x);
    markup_put(m, "</text><text class=\"name\" x=\"0\" y=\"11\">");
    markup_text(m, p->y);
    markup_put(m, "</text></g>");
}

static void put_legend(struct markup *m, const struct plot *p)
{
    size_t named = 0;

    for (size_t i = 0; i < p->count; i++)
        named += p->series[i].name != NULL;
    if (named < 2)
        return;
    markup_put(m, "<ul class=\"legend\">");
    for (size_t i = 0; i < p->count; i++) {
        if (!p->series[i].name)
            continue;
        markup_put(m, "<li><i class=\"f%u%s\"></i>", p->series[i].colour % PLOT_COLOURS, p->series[i].dashed ? " dashed" : "");
        markup_text(m, p->series[i].name);
        markup_put(m, "</li>");
    }
    markup_put(m, "</ul>");
}

/* ---- lines and points ---------------------------------------------------------------------------------- */

struct place {
    const struct scale *x, *y;
};

static bool drawn(const struct plot_series *s, size_t i)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]);
}

static void put_vertex(struct markup *m, const struct place *at, const struct plot_series *s, size_t i, bool *pen)
{
    markup_put(m, "%c%.1f %.1f", *pen ? 'L' : 'M', scale_at(at->x, s->x[i]), scale_at(at->y, s->y[i]));
    *pen = true;
}

/* A long line is cut into stretches, of which the lowest and the highest point are drawn, in their order. */
static void put_stretch(struct markup *m, const struct place *at, const struct plot_series *s, size_t from, size_t to,
                        bool *pen)
{
    size_t least = to, most = to;

    for (size_t i = from; i < to; i++) {
        if (!drawn(s, i))
            continue;
        if (least == to || s->y[i] < s->y[least])
            least = i;
        if (most == to || s->y[i] > s->y[most])
            most = i;
    }
    if (least == to)
        return;
    put_vertex(m, at, s, least < most ? least : most, pen);
    if (least != most)
        put_vertex(m, at, s, least < most ? most : least, pen);
}

static void put_line(struct markup *m, const struct place *at, const struct plot_series *s)
{
    size_t stretches = s->count < MOST_STRETCHES ? s->count : MOST_STRETCHES;
    bool pen = false;

    markup_put(m, "<path class=\"line l%u%s%s\" d=\"", s->colour % PLOT_COLOURS, s->dashed ? " dashed" : "",
               s->faint ? " faint" : "");
    for (size_t i = 0; i < stretches; i++)
        put_stretch(m, at, s, i * s->count / stretches, (i + 1) * s->count / stretches, &pen);
    markup_put(m, "%s\"/>", pen ? "" : "M0 0");
}

static void put_tooltip(struct markup *m, const struct plot *p, const struct plot_series *s, size_t i)
{
    markup_put(m, "<title>");
    markup_text(m, s->name ? s->name : p->title);
    if (s->notes && s->notes[i]) {
        markup_put(m, ", ");
        markup_text(m, s->notes[i]);
    }
    markup_put(m, "\n");
    markup_text(m, p->x);
    markup_put(m, " ");
    markup_number(m, s->x[i]);
    markup_put(m, "\n");
    markup_text(m, p->y);
    markup_put(m, " ");
    markup_number(m, s->y[i]);
    if (s->low) {
        markup_put(m, " (95\u202f%%: ");
        markup_number(m, s->low[i]);
        markup_put(m, " to ");
        markup_number(m, s->high[i]);
        markup_put(m, ")");
    }
    markup_put(m, "</title>");
}

/* Dots; those on a line show under the pointer only. */
static void put_dots(struct markup *m, const struct plot *p, const struct place *at, const struct plot_series *s)
{
    size_t every = s->points ? 1 : (s->count + MOST_DOTS - 1) / MOST_DOTS;

    if (s->silent)
        return;
    for (size_t i = 0; i < s->count; i += every ? every : 1) {
        if (!drawn(s, i))
            continue;
        if (s->low && isfinite(s->low[i]) && isfinite(s->high[i]))
            markup_put(m, "<path class=\"whisker l%u\" d=\"M%.1f %.1fV%.1f\"/>", s->colour % PLOT_COLOURS,
                       scale_at(at->x, s->x[i]), scale_at(at->y, s->low[i]), scale_at(at->y, s->high[i]));
        markup_put(m, "<circle class=\"%s f%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\">", s->points ? "dot" : "hover",
                   s->colour % PLOT_COLOURS, scale_at(at->x, s->x[i]), scale_at(at->y, s->y[i]),
                   s->points ? s->count > 150 ? "2.2" : "3.4" : "5");
        put_tooltip(m, p, s, i);
        markup_put(m, "</circle>");
    }
}

static void ranges(const struct plot *p, double *x, double *y)
{
    x[0] = y[0] = INFINITY;
    x[1] = y[1] = -INFINITY;
    if (p->x_low < p->x_high)
        scale_extend((const double[]){p->x_low, p->x_high}, 2, &x[0], &x[1]);
    if (p->y_low < p->y_high)
        scale_extend((const double[]){p->y_low, p->y_high}, 2, &y[0], &y[1]);
    for (size_t i = 0; i < p->count; i++) {
        const struct plot_series *s = &p->series[i];
        scale_extend(s->x, s->count, &x[0], &x[1]);
        scale_extend(s->y, s->count, &y[0], &y[1]);
        scale_extend(s->low, s->count, &y[0], &y[1]);
        scale_extend(s->high, s->count, &y[0], &y[1]);
    }
}

static void describe(const struct plot *p, const double *x, const double *y, char *out, size_t size)
{
    char a[MARKUP_NUMBER], b[MARKUP_NUMBER], c[MARKUP_NUMBER], d[MARKUP_NUMBER];
    size_t n = (size_t)snprintf(out, size, "%s from %s to %s against %s from %s to %s", p->y, markup_format(a, y[0]),
                                markup_format(b, y[1]), p->x, markup_format(c, x[0]), markup_format(d, x[1]));

    for (size_t i = 0; p->count > 1 && i < p->count && n < size; i++)
        if (p->series[i].name)
            n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : ": ", p->series[i].name);
}

void plot_put(struct markup *m, const struct plot *p)
{
    int width = p->wide ? WIDE : WIDTH;
    double xs[2], ys[2];
    char description[600];
    struct scale x, y;
    struct place at = {&x, &y};

    ranges(p, xs, ys);
    x = scale_of(xs[0], xs[1], p->wide ? 9 : 6, LEFT, width - RIGHT);
    y = scale_of(ys[0], ys[1], 5, HEIGHT - BOTTOM, TOP);
    describe(p, xs, ys, description, sizeof description);
    begin(m, p->title, p->wide);
    put_legend(m, p);
    begin_svg(m, width, HEIGHT, p->title, description);
    put_axes(m, p, &x, &y, width);
    if (p->diagonal) {
        double from = fmax(x.low, y.low), to = fmin(x.high, y.high);
        markup_put(m, "<path class=\"guide\" d=\"M%.1f %.1fL%.1f %.1f\"/>", scale_at(&x, from), scale_at(&y, from),
                   scale_at(&x, to), scale_at(&y, to));
    }
    for (size_t i = 0; i < p->count; i++)
        if (p->series[i].line)
            put_line(m, &at, &p->series[i]);
    for (size_t i = 0; i < p->count; i++)
        put_dots(m, p, &at, &p->series[i]);
    end(m, p->note);
}

/* ---- bars ---------------------------------------------------------------------------------------------- */

static void bar_tooltip(struct markup *m, const struct plot_bar *b)
{
    markup_put(m, "<title>");
    markup_text(m, b->name);
    markup_put(m, ": ");
    markup_text(m, b->note ? b->note : "");
    if (b->low <= b->high) {
        markup_put(m, "\n95\u202f%%: ");
        markup_number(m, b->low);
        markup_put(m, " to ");
        markup_number(m, b->high);
    }
    markup_put(m, "</title>");
}

static void put_bar(struct markup *m, const struct plot_bar *b, const struct scale *x, int top, int width)
{
    double zero = scale_at(x, fmax(x->low, fmin(0, x->high))), at = scale_at(x, isfinite(b->value) ? b->value : 0);

    markup_put(m, "<g class=\"bar\">");
    bar_tooltip(m, b);
    markup_put(m, "<rect class=\"hit\" x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\"/>", top, width, BAR);
    markup_put(m, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", BAR_LEFT - 8, top + 15);
    markup_text(m, b->name);
    markup_put(m, "</text><rect class=\"f%u\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
               b->colour % PLOT_COLOURS, fmin(zero, at), top + 3, fmax(1, fabs(at - zero)), BAR - 6);
    if (b->low <= b->high)
        markup_put(m, "<path class=\"whisker\" d=\"M%.1f %dH%.1f\"/>", scale_at(x, b->low), top + BAR / 2,
                   scale_at(x, b->high));
    markup_put(m, "<text class=\"value\" x=\"%d\" y=\"%d\" text-anchor=\"end\">", width - 4, top + 15);
    markup_text(m, b->note ? b->note : "");
    markup_put(m, "</text></g>");
}

/* Room for the longest note: digits are 8 wide at most. */
static int room_for_notes(const struct plot_bars *p)
{
    int room = BAR_RIGHT;

    for (size_t i = 0; i < p->count; i++) {
        int characters = 0;

        for (const char *c = p->bars[i].note ? p->bars[i].note : ""; *c; c++)
            characters += (*c & 0xc0) != 0x80; /* of UTF-8 */
        room = 8 * characters + 12 > room ? 8 * characters + 12 : room;
    }
    return room;
}

void plot_put_bars(struct markup *m, const struct plot_bars *p)
{
    int width = p->wide ? WIDE : WIDTH, right = width - room_for_notes(p), height = BAR_TOP, top = BAR_TOP;
    double low = 0, high = 0;
    char label[SCALE_LABEL], description[100];
    struct scale x;

    for (size_t i = 0; i < p->count; i++) {
        scale_extend(&p->bars[i].value, 1, &low, &high);
        if (p->bars[i].low <= p->bars[i].high) {
            scale_extend(&p->bars[i].low, 1, &low, &high);
            scale_extend(&p->bars[i].high, 1, &low, &high);
        }
        height += BAR + (p->bars[i].gap ? BAR_GAP : 0);
    }
    x = scale_of(low, high, p->wide ? 8 : 4, BAR_LEFT, right);
    begin(m, p->title, p->wide);
    snprintf(description, sizeof description, "%zu bars", p->count);
    begin_svg(m, width, height + 42, p->title, description);
    markup_put(m, "<g class=\"axis\">");
    for (size_t i = 0; i < scale_ticks(&x); i++) {
        double at = scale_at(&x, scale_tick(&x, i));
        scale_label(&x, scale_tick(&x, i), label);
        markup_put(m, "<path class=\"%s\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
                   scale_tick(&x, i) == 0 ? "zero" : "grid", at, BAR_TOP, height + 4, at, height + 20, label);
    }
    markup_put(m, "<text class=\"name\" x=\"%d\" y=\"%d\" text-anchor=\"end\">", right, height + 37);
    markup_text(m, p->x);
    markup_put(m, "</text></g>");
    for (size_t i = 0; i < p->count; i++) {
        top += p->bars[i].gap ? BAR_GAP : 0;
        put_bar(m, &p->bars[i], &x, top, width);
        top += BAR;
    }
    end(m, p->note);
}
