#include "evaluation/checkpoint_form.h"

#include <jansson.h>

#include "base/io.h"

enum { LIMIT = 1 << 20 };
static const char some_day[] = "2024-07-26"; /* as tokenizer.today of run files */

/* provenance.json's "form"; NULL where a run did not write it. -1 for what is no JSON. */
static int read_form(const char *dir, json_t **form, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char path[4096];
    json_error_t why;
    json_t *all;

    *form = NULL;
    if (rlhf_path(path, sizeof path, dir, "provenance.json", err) < 0)
        return -1;
    if (!rlhf_exists(&rlhf_system_io, path))
        return 0;
    if (rlhf_read_file(&rlhf_system_io, path, LIMIT, &text, err) < 0)
        return -1;
    if (!(all = json_loadb(text.data, text.size, 0, &why)))
        rlhf_fail(err, RLHF_REJECT, "%s:%d: not JSON: %s", path, why.line, why.text);
    *form = json_incref(json_object_get(all, "form"));
    rlhf_bytes_free(&text);
    json_decref(all);
    return all ? 0 : -1;
}

int rlhf_checkpoint_form(struct rlhf_form *f, const char *dir, const struct rlhf_tokenizer *t, bool chat, struct rlhf_error *err)
{
    const char *today;
    json_t *form;

    if (read_form(dir, &form, err) < 0)
        return -1;
    today = json_string_value(json_object_get(form, "today"));
    *f = (struct rlhf_form){ .tokenizer = t, .today = rlhf_form_day(today ? today : some_day) };
    chat = chat || json_is_true(json_object_get(form, "chat"));
    json_decref(form);
    return !chat || (f->chat = rlhf_chat_load(dir, err)) ? 0 : -1;
}
