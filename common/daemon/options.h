/* options.h - the switches that every daemon has. */
#ifndef RLHF_DAEMON_OPTIONS_H
#define RLHF_DAEMON_OPTIONS_H

#include "daemon/daemon.h"

/* Reads the command line and the configuration into *config. --help, --version, --check and --print-config print and exit. */
int rlhf_options_read(const struct rlhf_daemon_info *info, int argc, char **argv, void *config,
                      struct rlhf_error *err);

#endif
