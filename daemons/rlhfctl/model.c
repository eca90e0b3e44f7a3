/* model - looks into model directories, writes them anew, runs them. */
#include "rlhfctl/ctl.h"

int ctl_model(int argc, char **argv, struct rlhf_error *err)
{
    static const struct ctl_command commands[] = {
        {"inspect", "DIR", "shape, parameters, and whether the files are whole", ctl_model_inspect},
        {"convert", "--model DIR --output DIR", "other numbers, other files, another head", ctl_model_convert},
        {"forward", "--model DIR --input ...", "logits, log-probs, loss, gradients, rewards of rows",
         ctl_model_forward},
        {"merge", "--model DIR --adapter ...", "a model with a LoRA adapter added to its weights", ctl_model_merge},
        {0}};

    return ctl_dispatch("rlhfctl model", "Looks into model directories, writes them anew, runs them.", commands, argc, argv, err);
}
