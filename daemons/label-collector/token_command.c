#include "token_command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "collector.h"
#include "export.h"

enum { LISTED = 1000, KEY_DATABASE = 256 };

struct options {
    const char *config, *database, *role;
    char *words[2]; /* the command, and what it is about */
    int count;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'c':
        o->config = text;
        break;
    case KEY_DATABASE:
        o->database = text;
        break;
    case 'r':
        o->role = text;
        break;
    case ARGP_KEY_ARG:
        if (o->count == 2)
            argp_error(state, "'%s' is too much", text);
        o->words[o->count++] = text;
        break;
    case ARGP_KEY_END:
        if (o->count == 0)
            argp_error(state, "say add, list or revoke");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const char *word_of_user(void)
{
    const char *user = getenv("USER");

    return user && *user ? user : "token command";
}

static int add(struct collector_store *s, const struct options *o, struct rlhf_error *err)
{
    char text[COLLECTOR_SECRET_TEXT];
    enum collector_role role;
    struct rlhf_digest digest;
    int64_t number;

    if (o->count < 2 || !o->role)
        return rlhf_fail(err, RLHF_REJECT, "whose token? token add --role ROLE NAME");
    if (collector_role_parse(&role, o->role, err) < 0 || collector_token_check(role, o->words[1], err) < 0)
        return -1;
    collector_secret_new(COLLECTOR_TOKEN_PREFIX, text, &digest);
    if (collector_store_begin(s, err) < 0)
        return -1;
    if (collector_store_add_token(s, &digest, role, o->words[1], word_of_user(), &number, err) < 0) {
        collector_store_rollback(s);
        return -1;
    }
    if (collector_store_commit(s, err) < 0)
        return -1;
    fprintf(stderr, "Token %lld, role %s, for %s. It is shown this once:\n", (long long)number, o->role, o->words[1]);
    puts(text);
    return 0;
}

static void print_token(void *ctx, const struct collector_token *t)
{
    char made[32], revoked[32];

    collector_time_text(t->made_us, made);
    collector_time_text(t->revoked_us, revoked);
    *(int64_t *)ctx = t->number;
    printf("%-6lld %-8s %.10s  %-16.16s  %s\n", (long long)t->number, collector_role_name(t->role), made,
           t->revoked_us ? revoked : "-", t->name);
}

static int list(struct collector_store *s, struct rlhf_error *err)
{
    int64_t after = -1, last = 0;

    printf("number role     made        revoked           name\n");
    while (after != last) {
        after = last;
        if (collector_store_tokens(s, after, LISTED, print_token, &last, err) < 0)
            return -1;
    }
    return 0;
}

static int revoke(struct collector_store *s, const struct options *o, struct rlhf_error *err)
{
    char *end = NULL;
    long long number = o->count == 2 ? strtoll(o->words[1], &end, 10) : 0;
    bool found;

    if (!end || *end || number <= 0)
        return rlhf_fail(err, RLHF_REJECT, "which token? token revoke NUMBER (token list shows them)");
    if (collector_store_begin(s, err) < 0)
        return -1;
    if (collector_store_revoke_token(s, number, word_of_user(), &found, err) < 0 || !found) {
        collector_store_rollback(s);
        return found ? -1 : rlhf_fail(err, RLHF_REJECT, "there is no token %lld that is still good", number);
    }
    return collector_store_commit(s, err);
}

static int run(const struct options *o, const char *database, struct rlhf_error *err)
{
    struct collector_store_config c = {.database = database}; /* what tasks wait for stays as the daemon has it */
    struct collector_store *s = collector_store_open(&c, &rlhf_system_clock, err);
    int rc = -1;

    if (!s)
        return -1;
    if (strcmp(o->words[0], "add") == 0)
        rc = add(s, o, err);
    else if (strcmp(o->words[0], "list") == 0)
        rc = list(s, err);
    else if (strcmp(o->words[0], "revoke") == 0)
        rc = revoke(s, o, err);
    else
        rlhf_fail(err, RLHF_REJECT, "'%.40s' is neither add, list nor revoke", o->words[0]);
    collector_store_close(s);
    return rc;
}

int collector_token_command(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"config", 'c', "FILE", 0, "the label-collector's settings, for where its database is", 0},
        {"database", KEY_DATABASE, "DATABASE", 0, "the database itself (default labels.db)", 0},
        {"role", 'r', "ROLE", 0, "labeler, vendor, learner or owner", 0},
        {0}};
    static const struct argp parser = {
        table, parse, "add --role ROLE NAME\nlist\nrevoke NUMBER",
        "Makes, lists and revokes the tokens by which people and programs use the label-collector's API and page. The "
        "database keeps hashes of them only. Once there is one, nobody gets in without.",
        NULL, NULL, NULL};
    struct collector_config config = {0};
    struct rlhf_error err = {.code = RLHF_OK};
    struct options o = {0};
    int rc = 0;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (o.config)
        rc = rlhf_config_read(&collector_config_schema, o.config, &config, &err);
    if (rc == 0)
        rc = run(&o, o.database ? o.database : config.database ? config.database : "labels.db", &err);
    if (rc < 0)
        fprintf(stderr, "token: %s\n", err.text);
    rlhf_config_free(&collector_config_schema, &config);
    return rc == 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
