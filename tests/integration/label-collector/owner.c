/* The owner's page in a real Chromium: what it shows of the labels, and what its buttons do.
 *
 * Screenshots are kept in $RLHF_BUILD/artefacts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/browser.h"
#include "support/collector.h"
#include "support/suite.h"

static void setup(void)
{
    collector_start("labels_per_task: 3\nauto_quarantine: false\nprice: 0.05\ncurrency: EUR\n"
                    "prices:\n  - {labeler: carol, price: 0.5}\n");
    browser_start(collector_directory);
}

static void teardown(void)
{
    browser_stop();
    collector_stop();
}

static void label(const char *task, const char *who, int better, double seconds)
{
    char target[64], body[200];

    snprintf(target, sizeof(target), "/api/v1/tasks/%s/label", task);
    int first = (strlen(task) + (unsigned char)task[1] + (unsigned char)*who) % 2;
    snprintf(body, sizeof(body), "{\"labeler\":\"%s\",\"ranks\":[%d,%d],\"presented\":[%d,%d],\"seconds\":%.1f}", who,
             better ? 2 : 1, better ? 1 : 2, first, 1 - first, seconds);
    collector_expect(200, NULL, "POST", target, body);
}

/* Three people who mostly agree; carol says the opposite of gold items. And somebody with a hostile name. */
static void judge_much(void)
{
    char task[200], id[16];

    for (int i = 0; i < 30; ++i) {
        bool gold = i % 3 == 0;
        snprintf(id, sizeof(id), "t%d", i);
        snprintf(task, sizeof(task), "{\"id\":\"%s\",\"round\":\"%s\",\"prompt\":\"%d\",\"completions\":[\"x\",\"y\"]%s}", id,
                 i < 20 ? "round-1" : "round-2", i, gold ? ",\"gold\":{\"ranks\":[1,2]}" : "");
        collector_expect(200, NULL, "POST", "/api/v1/tasks", task);
        if (i >= 26)
            continue;
        label(id, "ada", gold ? 0 : i % 2, 8.5);
        label(id, "bob", gold ? i % 2 : i % 7 ? i % 2 : 1 - i % 2, 12.25);
        label(id, "carol", gold ? 1 : i % 5 ? i % 2 : 1 - i % 2, 1.5);
    }
    label("t1", "<img src=x onerror='window.pwned = 1'>", 1, 3);
}

static void open_owner(void)
{
    char url[160];

    snprintf(url, sizeof(url), "%s/owner", collector_address);
    browser_open(url);
}

#define ROW(name) "[...document.querySelectorAll('#people tbody tr')].find((r) => r.cells[0].innerText.startsWith('" name "'))"

START_TEST(the_owner_sees_how_it_goes)
{
    judge_much();
    open_owner();
    browser_wait_until("!document.querySelector('#numbers').hidden && document.querySelector('#people tbody tr .number')");
    ck_assert(browser_holds("document.querySelector('#tiles').innerText.includes('30')"));
    ck_assert(browser_holds("document.querySelectorAll('#rounds tbody tr').length === 2"));
    ck_assert(browser_holds("document.querySelectorAll('#throughput .bar').length === 48"));
    ck_assert(browser_holds("document.querySelector('#throughput svg').getAttribute('aria-label').includes('79 in the last 48 hours')"));
    browser_wait_until("document.querySelectorAll('#agreement .dot').length === 5");
    ck_assert(browser_holds("document.querySelectorAll('#agreement svg[role=img][aria-label]').length === 5"));
    ck_assert(browser_holds(ROW("ada") ".innerText.includes('9 of 9')"));
    ck_assert(browser_holds(ROW("carol") ".innerText.includes('0 of 9')"));
    ck_assert(browser_holds(ROW("ada") ".innerText.includes('8.5')"));
    ck_assert(browser_holds(ROW("carol") ".innerText.replace(',', '.').includes('13.00 EUR')"));
    ck_assert(browser_holds("window.pwned === undefined && document.querySelector('#people').innerText.includes('<img src=x')"));
    browser_screenshot("owner");
    browser_click("#by-day");
    browser_wait_until("document.querySelectorAll('#throughput .bar').length === 30");
    browser_type("#filter", "car");
    browser_wait_until("document.querySelectorAll('#people tbody tr').length === 1");
}
END_TEST

START_TEST(one_click_sets_somebody_aside_and_one_brings_them_back)
{
    judge_much();
    open_owner();
    browser_wait_until("document.querySelector('#people button[data-name=carol]')");
    browser_click("#people button[data-name=carol]");
    browser_wait_until("document.querySelector('#people button[data-name=carol]').innerText === 'Readmit'");
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/standing?name=carol", NULL), "\"quarantine\":\"set aside");
    ck_assert(browser_holds("document.querySelector('#audit').innerText.includes('quarantine')"));
    ck_assert(browser_holds("document.activeElement.dataset.name === 'carol'")); /* the focus is where it was */
    browser_screenshot("owner-quarantine");
    browser_press("\uE007");
    browser_wait_until("document.querySelector('#people button[data-name=carol]').innerText === 'Quarantine'");
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/standing?name=carol", NULL), "\"quarantine\":null");
    browser_click("#sources button[data-name=api]"); /* vendors are sources */
    browser_wait_until("document.querySelector('#sources button[data-name=api]').innerText === 'Readmit'");
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/stats", NULL), "\"labels\":0");
}
END_TEST

START_TEST(the_page_fits_a_phone)
{
    judge_much();
    browser_resize(390, 844);
    open_owner();
    browser_wait_until("document.querySelectorAll('#agreement .dot').length === 5");
    ck_assert(browser_holds("document.documentElement.scrollWidth <= 390"));
    browser_screenshot("owner-phone");
    browser_scheme("dark");
    json_decref(browser_script("document.querySelector('#agreement-title').scrollIntoView()"));
    browser_screenshot("owner-phone-dark");
    json_decref(browser_script("document.querySelector('#people-title').scrollIntoView()"));
    browser_screenshot("owner-phone-people");
}
END_TEST

START_TEST(tokens_are_made_and_only_owners_look)
{
    open_owner();
    browser_wait_until("!document.querySelector('#numbers').hidden");
    json_decref(browser_script("document.querySelector('#token-role').value = 'owner'"));
    browser_type("#token-name", "olga");
    browser_click("#token-form button");
    browser_wait_until("document.querySelector('#sign-in').open"); /* from now on everybody needs one */
    json_t *made = browser_script("return document.querySelector('#token-made .secret').innerText");
    const char *ada = collector_token("add --role labeler ada");
    browser_type("#token", ada);
    browser_press("\uE007");
    browser_wait_until("document.querySelector('#stop').innerText.includes('for the owner')");
    ck_assert(browser_holds("document.querySelector('#numbers').hidden"));
    browser_click("#who"); /* signs out */
    browser_wait_until("document.querySelector('#sign-in').open && document.querySelector('#token').value === ''");
    browser_type("#token", json_string_value(made));
    browser_press("\uE007");
    browser_wait_until("document.querySelectorAll('#tokens tbody button').length === 2");
    browser_screenshot("owner-tokens");
    browser_click("#tokens tbody tr:first-child button");
    browser_click("#tokens tbody tr:first-child button"); /* really */
    browser_wait_until("document.querySelectorAll('#tokens tbody button').length === 1");
    collector_expect(401, ada, "GET", "/api/v1/tasks/next", NULL);
    json_decref(made);
}
END_TEST

int main(void)
{
    browser_or_skip();
    return RUN_SUITE_WITH("label-collector/owner", setup, teardown, the_owner_sees_how_it_goes,
                          one_click_sets_somebody_aside_and_one_brings_them_back, the_page_fits_a_phone,
                          tokens_are_made_and_only_owners_look);
}
