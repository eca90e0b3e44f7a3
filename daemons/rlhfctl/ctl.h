/* ctl.h - what rlhfctl's commands share: how they are called, and how they take their arguments. */
#ifndef RLHFCTL_CTL_H
#define RLHFCTL_CTL_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* One subcommand. run gets argv[0] = "rlhfctl NAME"; it returns 0, or -1 and *err, which main prints. */
struct ctl_command {
    const char *name, *arguments, *does;
    int (*run)(int argc, char **argv, struct rlhf_error *err);
};

int ctl_up(int argc, char **argv, struct rlhf_error *err);
int ctl_status(int argc, char **argv, struct rlhf_error *err);
int ctl_resume(int argc, char **argv, struct rlhf_error *err);
int ctl_events(int argc, char **argv, struct rlhf_error *err);
int ctl_generate(int argc, char **argv, struct rlhf_error *err);
int ctl_eval(int argc, char **argv, struct rlhf_error *err);
int ctl_keys(int argc, char **argv, struct rlhf_error *err);
int ctl_label(int argc, char **argv, struct rlhf_error *err);
/* Of ctl_label(). */
int ctl_label_forget(int argc, char **argv, struct rlhf_error *err);
int ctl_label_vendors(int argc, char **argv, struct rlhf_error *err);
int ctl_label_push(int argc, char **argv, struct rlhf_error *err);
int ctl_label_pull(int argc, char **argv, struct rlhf_error *err);
int ctl_tokenizer(int argc, char **argv, struct rlhf_error *err);
int ctl_report(int argc, char **argv, struct rlhf_error *err);
int ctl_token(int argc, char **argv, struct rlhf_error *err);
int ctl_trace(int argc, char **argv, struct rlhf_error *err);
int ctl_model(int argc, char **argv, struct rlhf_error *err);
int ctl_model_inspect(int argc, char **argv, struct rlhf_error *err); /* of ctl_model() */
int ctl_model_convert(int argc, char **argv, struct rlhf_error *err); /* of ctl_model() */
int ctl_model_merge(int argc, char **argv, struct rlhf_error *err);   /* of ctl_model() */
int ctl_model_forward(int argc, char **argv, struct rlhf_error *err); /* of ctl_model() */
int ctl_sample(int argc, char **argv, struct rlhf_error *err);

/* Picks argv[1] from the NULL-terminated table, or prints the table as help. what: "rlhfctl", "rlhfctl
 * label". */
int ctl_dispatch(const char *what, const char *about, const struct ctl_command *commands, int argc,
                 char **argv, struct rlhf_error *err);

/* Numbers in options; a mistake ends the process with a usage error that names the option. */
int64_t ctl_integer(struct argp_state *state, const char *option, const char *text, int64_t min, int64_t max);
double ctl_number(struct argp_state *state, const char *option, const char *text, double min, double max);

/* --products: how m multiplies, whatever its config.json says; name may be NULL. */
struct rlhf_model;
int ctl_set_products(struct rlhf_model *m, const char *name, struct rlhf_error *err);

/* The least level of log lines of this process, unless RLHF_LOG says otherwise; its children are not told.
 * Before the first line. */
void ctl_log_level(const char *level);

/* A program of ours: beside rlhfctl itself, else wherever PATH has it. */
void ctl_find_program(char *out, size_t size, const char *name);

#endif
