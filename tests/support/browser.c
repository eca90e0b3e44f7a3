#include "support/browser.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/http.h"
#include "support/process.h"
#include "support/suite.h"

enum { POLL_MS = 20, GIVE_UP_MS = 30000, STARTS = 4 };

static char driver[64], session[128];
static pid_t chromedriver;

static bool is_installed(const char *program)
{
    char command_line[128];

    snprintf(command_line, sizeof(command_line), "command -v %s >/dev/null", program);
    return system(command_line) == 0;
}

void browser_or_skip(void)
{
    if (!is_installed("chromedriver") || !is_installed("chromium"))
        skip("chromium and chromedriver are not installed (apt install chromium chromium-driver)");
}

static pid_t start_chromedriver(const char *log)
{
    pid_t pid = fork();

    if (pid != 0) {
        ck_assert_int_gt(pid, 0);
        return pid;
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execlp("chromedriver", "chromedriver", "--port=0", (char *)NULL);
    _exit(127);
}

json_t *browser_command(const char *path, json_t *body, const char *method)
{
    char target[512];
    char *text = body ? json_dumps(body, 0) : NULL;
    struct http_answer a = { 0 };

    snprintf(target, sizeof(target), "%s%s", session, path);
    for (int tries = 0; a.status == 0 && tries < (*path ? 1 : STARTS); tries++) { /* a browser starts late on a busy machine */
        http_answer_free(&a);
        a = http_request(driver, method, target, "", text ? "application/json" : NULL, text ? text : "",
                         text ? strlen(text) : 0);
    }
    json_t *answer = a.body ? json_loads(a.body, 0, NULL) : NULL;
    json_t *value = json_incref(json_object_get(answer, "value"));
    ck_assert_msg(a.status == 200, "%s %s: %d %s", method, target, a.status, a.body ? a.body : "(no answer)");
    json_decref(answer);
    json_decref(body);
    free(text);
    http_answer_free(&a);
    return value;
}

json_t *browser_script(const char *text)
{
    return browser_command("/execute/sync", json_pack("{s:s, s:[]}", "script", text, "args"), "POST");
}

bool browser_holds(const char *condition)
{
    char text[1024];
    snprintf(text, sizeof(text), "return !!(%s)", condition);
    json_t *value = browser_script(text);
    bool yes = json_is_true(value);

    json_decref(value);
    return yes;
}

void browser_wait_until(const char *condition)
{
    for (int waited = 0; waited < GIVE_UP_MS; waited += POLL_MS) {
        if (browser_holds(condition))
            return;
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    json_t *page = browser_script("return document.body.innerText");
    ck_abort_msg("never true: %s\nthe page: %s", condition, json_string_value(page));
}

void browser_open(const char *url)
{
    json_decref(browser_command("/url", json_pack("{s:s}", "url", url), "POST"));
}

void browser_press(const char *key)
{
    json_decref(
        browser_command("/actions",
                json_pack("{s:[{s:s, s:s, s:[{s:s, s:s}, {s:s, s:s}]}]}", "actions", "type", "key", "id",
                          "keys", "actions", "type", "keyDown", "value", key, "type", "keyUp", "value", key),
                "POST"));
}

static char *find(const char *selector)
{
    json_t *value =
        browser_command("/element", json_pack("{s:s, s:s}", "using", "css selector", "value", selector), "POST");
    char *id = strdup(json_string_value(json_object_iter_value(json_object_iter(value))));

    json_decref(value);
    return id;
}

void browser_click(const char *selector)
{
    char *id = find(selector), path[256];

    snprintf(path, sizeof(path), "/element/%s/click", id);
    json_decref(browser_command(path, json_object(), "POST"));
    free(id);
}

void browser_type(const char *selector, const char *text)
{
    char *id = find(selector), path[256];

    snprintf(path, sizeof(path), "/element/%s/value", id);
    json_decref(browser_command(path, json_pack("{s:s}", "text", text), "POST"));
    free(id);
}

void browser_resize(int width, int height)
{
    json_decref(browser_command("/goog/cdp/execute",
                                json_pack("{s:s, s:{s:i, s:i, s:i, s:b}}", "cmd", "Emulation.setDeviceMetricsOverride",
                                          "params", "width", width, "height", height, "deviceScaleFactor", 1, "mobile", 0),
                                "POST"));
}

void browser_scheme(const char *name)
{
    json_decref(browser_command("/goog/cdp/execute",
                                json_pack("{s:s, s:{s:[{s:s, s:s}]}}", "cmd", "Emulation.setEmulatedMedia", "params",
                                          "features", "name", "prefers-color-scheme", "value", name),
                                "POST"));
}

void browser_screenshot(const char *name)
{
    char folder[512], path[600];
    json_t *value = browser_command("/screenshot", NULL, "GET");
    const char *text = json_string_value(value);
    unsigned char *png = malloc(strlen(text));
    size_t size;

    ck_assert_int_eq(sodium_base642bin(png, strlen(text), text, strlen(text), NULL, &size, NULL,
                                       sodium_base64_VARIANT_ORIGINAL),
                     0);
    snprintf(folder, sizeof(folder), "%s/artefacts", getenv("RLHF_BUILD"));
    mkdir(folder, 0777);
    snprintf(path, sizeof(path), "%s/%s.png", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fwrite(png, 1, size, f);
    fclose(f);
    free(png);
    json_decref(value);
}

void browser_start(const char *dir)
{
    char log[512], profile[512], text[4096];
    json_t *value;

    snprintf(log, sizeof log, "%s/chromedriver.log", dir);
    snprintf(profile, sizeof profile, "%s/profile", dir);
    *driver = '\0';
    chromedriver = start_chromedriver(log);
    for (int waited = 0; waited < GIVE_UP_MS && !*driver; waited += POLL_MS) {
        wait_for_file(log, text, sizeof(text), chromedriver, log);
        const char *port = strstr(text, "successfully on port ");
        if (port && strchr(port, '.'))
            snprintf(driver, sizeof(driver), "http://127.0.0.1:%d", atoi(port + 21));
        else
            nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    strcpy(session, "/session");
    value = browser_command("",
                            json_pack("{s:{s:{s:s, s:{s:[s, s, s, s, s, s, s, s, s, s+]}}}}", "capabilities",
                                      "alwaysMatch", "browserName", "chrome", "goog:chromeOptions", "args", "--headless",
                                      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                                      "--disable-background-networking", "--disable-component-update", "--disable-sync",
                                      "--disable-dev-shm-usage", "--user-data-dir=", profile),
                            "POST");
    snprintf(session, sizeof(session), "/session/%s", json_string_value(json_object_get(value, "sessionId")));
    json_decref(value);
    browser_resize(1280, 800);
}

void browser_stop(void)
{
    json_decref(browser_command("", NULL, "DELETE"));
    end_process(chromedriver, SIGTERM);
}
