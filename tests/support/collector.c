#include "support/collector.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.h"
#include "support/suite.h"

char collector_address[128], collector_directory[300];
pid_t collector_pid;

static char database[400];

enum { KEPT = 8, KEPT_BYTES = 1 << 16 };

static char *next_kept(void)
{
    static char kept[KEPT][KEPT_BYTES];
    static unsigned next;

    return kept[next++ % KEPT];
}

void collector_start_again(const char *http, const char *settings)
{
    const char *config = in_directory(collector_directory, "collector.yaml");
    const char *file = in_directory(collector_directory, "address"), *log = in_directory(collector_directory, "log");

    write_file(config, "listen: ipc://%s/labels.sock\nhttp: %s\nhttp_address_file: %s\ndatabase: %s\n%s",
               collector_directory, http, file, database, settings);
    unlink(file);
    collector_pid = start_daemon("label-collector", config, log);
    wait_for_file(file, collector_address, sizeof(collector_address), collector_pid, log);
}

void collector_place(const char *directory, const char *where)
{
    strcpy(collector_directory, directory ? directory : a_directory());
    strcpy(database, where ? where : in_directory(collector_directory, "labels.db"));
}

void collector_start(const char *settings)
{
    if (!*collector_directory)
        collector_place(NULL, NULL);
    collector_start_again("127.0.0.1:0", settings);
}

void collector_stop(void)
{
    int status = end_process(collector_pid, SIGTERM);

    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the daemon ended with status %d", status);
}

void collector_refuses(const char *settings, const char *part)
{
    const char *config = in_directory(collector_directory, "second.yaml");
    const char *log = in_directory(collector_directory, "second.log");
    char text[4096] = "";

    write_file(config, "listen: ipc://%s/second\ndatabase: %s/second.db\n%s", collector_directory, collector_directory,
               settings);
    unlink(log);
    int status = wait_for_end(start_daemon("label-collector", config, log));
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    FILE *f = fopen(log, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    expect_contains(text, part);
}

const char *collector_token(const char *arguments)
{
    static char kept[2 * KEPT][128];
    static unsigned next;
    char command[1024], *text = kept[next++ % (2 * KEPT)];

    snprintf(command, sizeof(command), "%s/daemons/label-collector token --database %s %s 2>>%s/log",
             getenv("RLHF_BUILD"), database, arguments, collector_directory);
    FILE *f = popen(command, "r");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof(kept[0]) - 1, f)] = '\0';
    ck_assert_msg(pclose(f) == 0, "%s failed: %s", command, text);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

struct http_answer collector_ask(const char *token, const char *method, const char *target, const char *headers,
                                 const char *json)
{
    char all[2048] = "";

    if (token)
        snprintf(all, sizeof(all), "Authorization: Bearer %s\r\n", token);
    strncat(all, headers, sizeof(all) - strlen(all) - 1);
    return http_request(collector_address, method, target, all, json ? "application/json" : NULL, json,
                        json ? strlen(json) : 0);
}

const char *collector_expect(int status, const char *token, const char *method, const char *target, const char *json)
{
    struct http_answer a = collector_ask(token, method, target, "", json);
    char *text = next_kept();

    ck_assert_msg(a.status == status, "%s %s %s: %d expected, got %d %s", method, target, json ? json : "", status,
                  a.status, a.body ? a.body : "");
    snprintf(text, KEPT_BYTES, "%s", a.body ? a.body : "");
    http_answer_free(&a);
    return text;
}
