/* table.h - what the settings' table says of a document. Inside of this room only. */
#ifndef RLHF_CONFIG_TABLE_H
#define RLHF_CONFIG_TABLE_H

#include "config/config.h"
#include "config/tree.h"

/* Fills defaults into the tree, and checks all of it: keys, types, ranges, what is required. Errors begin with
 * "where:line: path.to.key: ". */
int config_table_apply(const struct rlhf_config_schema *s, struct config_node *root, const char *where,
                       struct rlhf_arena *a, struct rlhf_error *err);

/* "an integer from 1 to 8", "true or false", "one of a, b": for errors and manuals. */
int config_describe(const struct rlhf_config_key *k, struct rlhf_bytes *out, struct rlhf_error *err);

#endif
