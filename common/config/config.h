/* config.h - YAML to structs, strict.
 *
 * Settings are one table: key, type, range, default, help. Unknown keys, keys that stand twice, wrong types and values out of range are
 * errors that name file, line and key: "runs/a.yaml:12: stages[1].sft.learning_rat: unknown key; did you mean
 * learning_rate?". Anchors, aliases and tags are refused; depth, entries and size are limited. --print-config and the man page are made from the same table. */
#ifndef RLHF_CONFIG_CONFIG_H
#define RLHF_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

enum rlhf_config_type {
    RLHF_CONFIG_BOOL,    /* bool                                          */
    RLHF_CONFIG_INTEGER, /* int64_t, min..max                             */
    RLHF_CONFIG_NUMBER,  /* double, min..max                              */
    RLHF_CONFIG_STRING,  /* char *, owned; NULL where absent and no default */
    RLHF_CONFIG_CHOICE,  /* int: index into choices                       */
    RLHF_CONFIG_STRINGS, /* struct rlhf_config_strings                    */
    RLHF_CONFIG_MAP,     /* a struct inside, by sub-schema                */
    RLHF_CONFIG_LIST,    /* struct rlhf_config_list of structs by sub-schema */
    RLHF_CONFIG_OPTION,  /* struct x *, owned: a map by sub-schema that may be absent: NULL then, and neither
                            its defaults nor its required keys apply; printed only where present. One of its keys
                            at least has a default or is required */
};

struct rlhf_config_strings {
    char **items;
    size_t count;
};
struct rlhf_config_list {
    void *items; /* [count] structs of the sub-schema's size */
    size_t count;
};

struct rlhf_config_key {
    const char *key;
    enum rlhf_config_type type;
    size_t offset;              /* in the struct */
    const char *def;            /* default; of STRINGS as YAML, "[a, b]"; NULL: absent is zero, NULL, empty */
    bool required;
    double min, max;            /* of numbers; both 0 = no limit. Of strings: length. Of lists: count. */
    const char *const *choices; /* NULL-terminated */
    const struct rlhf_config_schema *sub;
    const char *help;           /* one sentence */
};

struct rlhf_config_schema {
    const char *name;
    const struct rlhf_config_key *keys; /* ends with key NULL */
    size_t size;                        /* of the struct */
};

/* Reads path into *config (zeroed by the function first). On failure nothing is left allocated. */
int rlhf_config_read(const struct rlhf_config_schema *s, const char *path, void *config, struct rlhf_error *err);
int rlhf_config_parse(const struct rlhf_config_schema *s, const char *text, size_t size, const char *where,
                      void *config, struct rlhf_error *err);
/* As YAML with every default filled in, help as comments. config NULL: the defaults. */
int rlhf_config_print(const struct rlhf_config_schema *s, const void *config, struct rlhf_bytes *out,
                      struct rlhf_error *err);
/* The table as the section CONFIGURATION of a manual page, in troff. */
int rlhf_config_man(const struct rlhf_config_schema *s, struct rlhf_bytes *out, struct rlhf_error *err);
void rlhf_config_free(const struct rlhf_config_schema *s, void *config); /* leaves it zeroed */

#endif
