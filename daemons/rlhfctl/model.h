/* model.h - the commands of `rlhfctl model`. */
#ifndef RLHFCTL_MODEL_H
#define RLHFCTL_MODEL_H

#include "base/error.h"

int ctl_model_inspect(int argc, char **argv, struct rlhf_error *err);
int ctl_model_convert(int argc, char **argv, struct rlhf_error *err);

#endif
