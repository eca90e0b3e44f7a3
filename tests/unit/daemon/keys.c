/* The files that say who is who. */
#include "daemon/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "net/node.h"
#include "support/suite.h"

#define A "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define B "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER

static const char *key, *peers;

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void setup(void)
{
    const char *dir = a_directory();
    char public_key[RLHF_KEY_TEXT];
    struct rlhf_error err = { 0 };

    key = strdup(in_directory(dir, "key"));
    peers = strdup(in_directory(dir, "peers"));
    expect_ok(rlhf_keys_make(key, public_key, &err), err);
    write_file(peers, "", 0644);
}

static void teardown(void)
{
    free((char *)key);
    free((char *)peers);
}

START_TEST(a_new_key_is_read_back_and_nobody_else_can_read_it)
{
    char public_key[RLHF_KEY_TEXT];
    struct rlhf_error err = { 0 };
    struct rlhf_keys *k;
    struct stat st;

    unlink(key);
    expect_ok(rlhf_keys_make(key, public_key, &err), err);
    ck_assert_int_eq(stat(key, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    expect_some(k = rlhf_keys_open(key, peers, &err), err);
    ck_assert_str_eq(rlhf_keys_public(k), public_key);
    rlhf_keys_free(k);
    ck_assert_int_eq(rlhf_keys_make(key, public_key, &err), -1); /* never over another one */
    expect_contains(err.text, key);
}
END_TEST

START_TEST(a_key_that_others_can_read_is_refused)
{
    struct rlhf_error err = { 0 };

    for (mode_t mode = 0; mode < 0100; mode++) {
        struct rlhf_keys *k;

        chmod(key, 0600 | mode);
        k = rlhf_keys_open(key, peers, &err);
        ck_assert_msg((k != NULL) == (mode == 0), "mode %o", 0600 | mode);
        rlhf_keys_free(k);
    }
    expect_contains(err.text, "chmod 600");
}
END_TEST

START_TEST(a_bare_name_is_a_credential_where_systemd_has_one)
{
    char dir[512], public_key[RLHF_KEY_TEXT];
    struct rlhf_error err = { 0 };
    struct rlhf_keys *k;

    snprintf(dir, sizeof dir, "%s.credentials", key);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    expect_ok(rlhf_keys_make(in_directory(dir, "curve"), public_key, &err), err);
    expect_some(k = rlhf_keys_open("curve", peers, &err), err);
    ck_assert_str_eq(rlhf_keys_public(k), public_key);
    rlhf_keys_free(k);
    expect_some(k = rlhf_keys_open(key, peers, &err), err); /* a path stays one */
    ck_assert_str_ne(rlhf_keys_public(k), public_key);
    rlhf_keys_free(k);
}
END_TEST

START_TEST(the_list_says_who_a_key_is)
{
    struct rlhf_error err = { 0 };
    struct rlhf_keys *k;

    write_file(peers, "# ours\n\n  " A "\tlearner the-learner  \n" B " rollout-worker w1 sessions=3", 0644);
    expect_some(k = rlhf_keys_open(key, peers, &err), err);
    ck_assert_str_eq(rlhf_keys_find(k, A)->name, "the-learner");
    ck_assert_uint_eq(rlhf_keys_find(k, A)->roles, RLHF_ROLE_BIT(LEARNER));
    ck_assert_uint_eq(rlhf_keys_find(k, A)->sessions, 0);
    ck_assert_uint_eq(rlhf_keys_find(k, B)->roles, RLHF_ROLE_BIT(WORKER));
    ck_assert_uint_eq(rlhf_keys_find(k, B)->sessions, 3);
    ck_assert_ptr_null(rlhf_keys_find(k, rlhf_keys_public(k)));
    ck_assert_ptr_null(rlhf_keys_find(k, ""));
    ck_assert(rlhf_keys_know(k, "w1", WORKER) && !rlhf_keys_know(k, "w1", LEARNER) && !rlhf_keys_know(k, "w2", WORKER));
    ck_assert_str_eq(rlhf_keys_of_service(k, LEARNER, &err), A);
    ck_assert_ptr_null(rlhf_keys_of_service(k, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, &err));
    expect_contains(err.text, "no key of a label-collector");

    write_file(peers, A " learner x y\n", 0644); /* a mistake changes nothing */
    ck_assert_int_eq(rlhf_keys_reload(k, &err), -1);
    ck_assert_ptr_nonnull(rlhf_keys_find(k, B));
    write_file(peers, A " learner x\n" B " learner y\n", 0644);
    expect_ok(rlhf_keys_reload(k, &err), err);
    ck_assert_ptr_null(rlhf_keys_of_service(k, LEARNER, &err));
    expect_contains(err.text, "two keys");
    rlhf_keys_free(k);
}
END_TEST

START_TEST(mistakes_are_named_by_their_line)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { A " learner", "peers:1: a line is" },
        { "# x\nshort learner x", "peers:2: no public key" },
        { "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf\" learner x", "peers:1: no public key" },
        { A " king x", "peers:1: 'king' is no role" },
        { A " learner x sessions=", "peers:1: only sessions=N" },
        { A " learner x sessions=-1", "peers:1: only sessions=N" },
        { A " learner x sessions=70000", "peers:1: only sessions=N" },
        { A " learner x sessions=1 more", "peers:1: only sessions=N" },
        { A " learner 0123456789012345678901234567890123456789012345678901234567890123", "peers:1: the name is longer" },
        { A " learner x\n" A " rollout-worker y", "the key of" },
        { A " learner x\n" B " rollout-worker x", "the name x stands there twice" },
    };
    static const char *const keys[] = { "", "# only this\n", "short\n", A "x\n" };
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(peers, cases[i].text, 0644);
        ck_assert_ptr_null(rlhf_keys_open(key, peers, &err));
        expect_contains(err.text, cases[i].says);
    }
    write_file(peers, "", 0644);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        write_file(key, keys[i], 0600);
        ck_assert_ptr_null(rlhf_keys_open(key, peers, &err));
        expect_contains(err.text, "rlhfctl keys new");
    }
    unlink(peers);
    write_file(key, A "\n", 0600);
    ck_assert_ptr_null(rlhf_keys_open(key, peers, &err));
    expect_contains(err.text, "peers");
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("daemon/keys", setup, teardown, a_new_key_is_read_back_and_nobody_else_can_read_it,
                          a_key_that_others_can_read_is_refused, a_bare_name_is_a_credential_where_systemd_has_one,
                          the_list_says_who_a_key_is, mistakes_are_named_by_their_line);
}
