/* token_command.h - `label-collector token add | list | revoke`, which `rlhfctl token` calls: tokens made and revoked in
 * the database itself. It works before the daemon has ever run and when every token is lost; who may write the file (or
 * has the database's password) is the owner anyway. A daemon that runs on it takes notice within a second. */
#ifndef LABEL_COLLECTOR_TOKEN_COMMAND_H
#define LABEL_COLLECTOR_TOKEN_COMMAND_H

/* argv[0] is "token". Returns the exit status. */
int collector_token_command(int argc, char **argv);

#endif
