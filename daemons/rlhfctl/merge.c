/* model merge - a model with an adapter merged into its weights, as a directory of its own. */
#include <string.h>

#include "base/io.h"
#include "model/adapter.h"
#include "model/save.h"
#include "rlhfctl/ctl.h"
#include "tensor/ops.h"

struct merge {
    const char *model, *adapter, *output;
    enum rlhf_number number;
};

static int merge(const struct merge *o, struct rlhf_model *m, struct rlhf_adapter *a, struct rlhf_error *err)
{
    const struct rlhf_save how = {.number = o->number, .carry = o->model};
    struct rlhf_error why = {0};

    if (rlhf_exists(&rlhf_system_io, o->output))
        return rlhf_fail(err, RLHF_REJECT, "%s is there already", o->output);
    if (rlhf_adapter_merge(a, m, &why) < 0)
        return rlhf_fail(err, why.code, "%s: %s", o->adapter, why.text);
    return rlhf_make_dirs(&rlhf_system_io, o->output, err) < 0 || rlhf_model_save(m, o->output, &how, err) < 0 ||
                   rlhf_sync_dir(&rlhf_system_io, o->output, err) < 0
               ? -1
               : 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    static const enum rlhf_number numbers[] = {RLHF_NUMBER_F32, RLHF_NUMBER_BF16, RLHF_NUMBER_F16};
    static const char *const names[] = {"f32", "bf16", "f16"};
    struct merge *o = state->input;
    size_t i = 0;

    switch (key) {
    case 'm':
        o->model = text;
        break;
    case 'a':
        o->adapter = text;
        break;
    case 'o':
        o->output = text;
        break;
    case 'd':
        while (i < 3 && strcmp(text, names[i]) != 0)
            i++;
        if (i == 3)
            argp_error(state, "--dtype: '%s' is none of f32, bf16, f16", text);
        else
            o->number = numbers[i];
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is no option", text);
        break;
    case ARGP_KEY_END:
        if (!o->model || !o->adapter || !o->output)
            argp_error(state, "%s is missing", !o->model ? "--model" : !o->adapter ? "--adapter" : "--output");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_model_merge(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "the model that the adapter was trained beside", 0},
        {"adapter", 'a', "DIR", 0, "adapter_config.json and adapter_model.safetensors", 0},
        {"output", 'o', "DIR", 0, "a new directory: the merged model, with the model's tokenizer and other files", 0},
        {"dtype", 'd', "TYPE", 0, "how its numbers are stored: f32 (default), bf16, f16", 0},
        {0}};
    static const struct argp parser = {
        options, parse, NULL, "Adds a LoRA adapter to the weights of its model.", NULL, NULL, NULL};
    struct merge o = {.number = RLHF_NUMBER_F32};
    struct rlhf_adapter *a = NULL;
    struct rlhf_model *m = NULL;
    int rc = -1;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (rlhf_tensor_start(err) == 0 && (m = rlhf_model_load(o.model, err)) && (a = rlhf_adapter_load(m, o.adapter, err)))
        rc = merge(&o, m, a, err);
    rlhf_adapter_free(a);
    rlhf_model_free(m);
    return rc;
}
