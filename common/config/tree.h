/* tree.h - a YAML document as a tree that remembers its lines. Inside of this room only.
 *
 * Strict: one document, no anchors, aliases, tags or merge keys (so nothing can grow beyond its text), no key twice,
 * plain keys only. Depth, entries and size are limited. */
#ifndef RLHF_CONFIG_TREE_H
#define RLHF_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/memory.h"

enum config_kind { CONFIG_SCALAR, CONFIG_SEQUENCE, CONFIG_MAPPING };

struct config_node {
    enum config_kind kind;
    unsigned line;             /* counted from 1 */
    bool quoted;               /* a scalar that can only be text */
    bool filled_in;            /* a default: did not stand in the document */
    const char *text;          /* of a scalar, NUL-terminated; size tells of NUL bytes inside */
    size_t size;
    const char *key;           /* of an entry of a mapping */
    unsigned key_line;
    struct config_node *first; /* entries of a sequence or mapping, in their order */
    struct config_node *last;
    struct config_node *next;
    size_t count;              /* of entries */
};

enum {
    CONFIG_DEEPEST = 32,
    CONFIG_MOST_NODES = 100000,
    CONFIG_LARGEST = 4 << 20, /* bytes of a document */
};

/* The document's root; a mapping without entries when it is empty. Errors begin with "where:line: ". All lives in
 * the arena. */
struct config_node *config_tree_parse(struct rlhf_arena *a, const char *text, size_t size, const char *where,
                                      struct rlhf_error *err);
struct config_node *config_node_new(struct rlhf_arena *a, enum config_kind kind, unsigned line, struct rlhf_error *err);
void config_node_append(struct config_node *parent, struct config_node *child);
struct config_node *config_node_find(const struct config_node *mapping, const char *key);

/* The same document again in one plain form, all scalars quoted. */
int config_tree_emit(const struct config_node *root, struct rlhf_bytes *out, struct rlhf_error *err);

#endif
