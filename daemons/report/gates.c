/* gates.c - the gate's decisions: gates/STAGE.json. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "report/completions.h"

static void put_clause(struct markup *m, const json_t *clause)
{
    static const char *const numbers[] = {"candidate", "incumbent", "bound"};
    bool holds = json_is_true(json_object_get(clause, "holds"));

    markup_put(m, "<tr class=\"%s\"><td>%s</td><th scope=\"row\">", holds ? "holds" : "fails", holds ? "\u2713 holds" : "\u2717 fails");
    markup_text(m, completions_text(clause, "clause"));
    markup_put(m, "</th><td class=\"text\">");
    markup_text(m, completions_text(clause, "metric"));
    markup_put(m, "</td>");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        markup_put(m, "<td>");
        markup_number(m, completions_number(clause, numbers[i]));
        if (i == 0 && json_is_number(json_object_get(clause, "low"))) {
            markup_put(m, " <small>");
            markup_number(m, completions_number(clause, "low"));
            markup_put(m, "\u2013");
            markup_number(m, completions_number(clause, "high"));
            markup_put(m, "</small>");
        }
        markup_put(m, "</td>");
    }
    markup_put(m, "</tr>");
}

static void put_try(struct markup *m, const json_t *o)
{
    json_t *clause;
    size_t i;

    markup_put(m, "<div class=\"scroll\"><table><caption>");
    markup_text(m, completions_text(o, "candidate"));
    markup_put(m, "%s</caption><thead><tr><th></th><th scope=\"col\" class=\"text\">clause</th><th scope=\"col\" class=\"text\">metric</th>"
                  "<th scope=\"col\">candidate</th><th scope=\"col\">incumbent</th><th scope=\"col\">bound</th></tr></thead><tbody>",
               json_is_true(json_object_get(o, "promoted")) ? ": promoted" : ": not promoted");
    json_array_foreach(json_object_get(o, "clauses"), i, clause) put_clause(m, clause);
    markup_put(m, "</tbody></table></div>\n");
}

static void put_gate(struct report *r, const json_t *o)
{
    struct markup *m = &r->page;
    const char *reason = completions_text(o, "reason"), *reaction = completions_text(o, "reaction");
    bool promoted = strcmp(reaction, "promoted") == 0;
    json_t *one;
    size_t i;

    markup_put(m, "<h3>");
    markup_text(m, completions_text(o, "gate"));
    markup_put(m, "</h3><p class=\"verdict %s\"><b>", promoted ? "holds" : "fails");
    markup_text(m, completions_text(o, "promoted"));
    markup_put(m, "%s</b>", promoted ? " is promoted" : " stays");
    if (*reason) {
        markup_put(m, " \u2013 ");
        markup_text(m, reason);
    }
    markup_put(m, "%s</p>", strcmp(reaction, "stop") == 0 ? " The run stops here." : "");
    json_array_foreach(json_object_get(o, "tries"), i, one) put_try(m, one);
}

bool report_gates(struct report *r)
{
    size_t shown = 0;

    for (size_t i = 0; i < rlhf_run_stages(&r->run->run); i++) {
        json_t *o = rundir_json(r->run, "gates/%s.json", report_stage_name(r, i));
        if (o) {
            put_gate(r, o);
            shown++;
        }
        json_decref(o);
    }
    return shown ? true : report_missing(r, "No gate has decided yet, or the run file has none.");
}
