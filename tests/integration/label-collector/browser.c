/* A person at the labeling page: the real page in a real Chromium, driven by keys and mouse through
 * WebDriver.
 *
 * Screenshots are kept in $RLHF_BUILD/artefacts. */
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/browser.h"
#include "support/collector.h"
#include "support/http.h"
#include "support/process.h"
#include "support/suite.h"

enum { POLL_MS = 20, GIVE_UP_MS = 30000 };

/* ---- the page ------------------------------------------------------------------------------------ */

static void open_page(const char *query)
{
    char url[256];

    snprintf(url, sizeof(url), "%s/%s", collector_address, query);
    browser_open(url);
}

static void screenshot(const char *name)
{
    char file[100];

    snprintf(file, sizeof(file), "page-%s", name);
    browser_screenshot(file);
}

/* ---- the collector ----------------------------------------------------------------------------- */

static void setup(void)
{
    collector_start("");
    browser_start(collector_directory);
}

static void teardown(void)
{
    browser_stop();
    end_process(collector_pid, SIGTERM);
}

/* Tasks with these completions each, "t0", "t1", ...; the prompt is the id. */
static void submit_task(const char *id, const char *prompt, json_t *completions)
{
    json_t *task = json_pack("{s:s, s:s, s:o}", "id", id, "prompt", prompt, "completions", completions);
    char *text = json_dumps(task, 0);
    struct http_answer a = http_post(collector_address, "/api/v1/tasks", text);

    ck_assert_msg(a.status == 200, "%d %s", a.status, a.body);
    http_answer_free(&a);
    json_decref(task);
    free(text);
}

/* The standing revision of this task's label; NULL when there is none. Owned by the caller. */
static json_t *label_of(const char *task)
{
    struct http_answer a = http_get(collector_address, "/api/v1/comparisons?limit=1000");
    json_t *page = a.status == 200 ? json_loads(a.body, 0, NULL) : NULL, *row, *found = NULL;
    size_t i;

    json_array_foreach (json_object_get(page, "comparisons"), i, row) {
        if (strcmp(json_string_value(json_object_get(row, "task")), task) == 0) {
            json_decref(found);
            found = json_incref(row);
        }
    }
    json_decref(page);
    http_answer_free(&a);
    return found;
}

static json_t *wait_for_label(const char *task, int revision)
{
    for (int waited = 0; waited < GIVE_UP_MS; waited += POLL_MS) {
        json_t *label = label_of(task);
        if (label && json_integer_value(json_object_get(label, "revision")) == revision)
            return label;
        json_decref(label);
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    ck_abort_msg("revision %d of the label of %s never came", revision, task);
}

/* Ranks in the order in which the answers stood on the page. */
static void expect_shown_ranks(json_t *label, const char *expected)
{
    const json_t *ranks = json_object_get(label, "ranks"), *presented = json_object_get(label, "presented");
    char text[32] = "";

    for (size_t i = 0; i < json_array_size(presented); ++i)
        sprintf(text + strlen(text), "%d",
                (int)json_integer_value(
                    json_array_get(ranks, (size_t)json_integer_value(json_array_get(presented, i)))));
    ck_assert_str_eq(text, expected);
    ck_assert_str_eq(json_string_value(json_object_get(label, "labeler")), "ada");
    ck_assert_str_eq(json_string_value(json_object_get(label, "source")), "page");
    ck_assert(json_real_value(json_object_get(label, "seconds")) >= 0);
    json_decref(label);
}

static void wait_for_task(const char *prompt)
{
    char condition[256];
    snprintf(condition, sizeof(condition),
             "document.querySelector('#prompt').innerText.trim() === '%s' && "
             "document.querySelector('#choices button')",
             prompt);
    browser_wait_until(condition);
}

/* ---- tests ------------------------------------------------------------------------------------- */

/* Tasks of the other kinds, as an owner submits them. */
static void submit(const char *json)
{
    struct http_answer a = http_post(collector_address, "/api/v1/tasks", json);

    ck_assert_msg(a.status == 200, "%d %s", a.status, a.body);
    http_answer_free(&a);
}

static void expect_said(const char *task, const char *key, const char *expected)
{
    json_t *label = wait_for_label(task, 1);
    char *text = json_dumps(json_object_get(label, key), JSON_COMPACT | JSON_ENCODE_ANY);

    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(label);
}

START_TEST(ratings_flags_and_demonstrations_are_given_with_keys_and_mouse)
{
    submit("[{\"id\":\"a\",\"kind\":\"likert\",\"prompt\":\"rate\",\"completions\":[\"good\",\"bad\"]},"
           "{\"id\":\"b\",\"kind\":\"flags\",\"prompt\":\"flag\",\"completions\":[\"made up\"]},"
           "{\"id\":\"c\",\"kind\":\"demonstration\",\"prompt\":\"write\"}]");
    open_page("?labeler=ada");
    wait_for_task("rate");
    browser_press("\uE007"); /* Enter: nothing is said yet, so nothing is stored */
    browser_press("7");
    browser_press("2");
    screenshot("likert");
    browser_press("\uE007");
    wait_for_task("flag");
    json_t *label = wait_for_label("a", 1);
    json_decref(label);
    browser_click(".flag[data-flag='hallucination']");
    screenshot("flags");
    browser_press("s"); /* the focus is on a button: a letter still works */
    wait_for_task("write");
    browser_press("u");
    wait_for_task("flag");
    browser_click(".flag[data-flag='hallucination']");
    browser_click(".flag[data-flag='opinion']");
    browser_click("#submit");
    expect_said("b", "flags", "[[\"hallucination\",\"opinion\"]]");
    wait_for_task("write");
    browser_type("#demonstration", "as it should be");
    screenshot("demonstration");
    browser_click("#submit");
    expect_said("c", "answer", "\"as it should be\"");
}
END_TEST

/* What was said of each answer, in the order in which they stood on the page. */
static void expect_shown(const char *task, const char *key, const char *expected)
{
    json_t *label = wait_for_label(task, 1), *shown = json_array(), *completion;
    size_t i;

    json_array_foreach (json_object_get(label, "presented"), i, completion)
        json_array_append(shown, json_array_get(json_object_get(label, key), (size_t)json_integer_value(completion)));
    char *text = json_dumps(shown, JSON_COMPACT);
    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(shown);
    json_decref(label);
}

START_TEST(several_answers_are_flagged_and_rated_with_keys)
{
    submit("[{\"id\":\"a\",\"kind\":\"flags\",\"prompt\":\"flag\",\"completions\":[\"one\",\"two\"]},"
           "{\"id\":\"b\",\"kind\":\"likert\",\"prompt\":\"rate\",\"completions\":[\"x\",\"y\",\"z\"]},"
           "{\"id\":\"c\",\"kind\":\"toxicity\",\"prompt\":\"rude\",\"completions\":[\"x\",\"y\"]}]");
    open_page("?labeler=ada");
    wait_for_task("flag");
    browser_press("\uE007"); /* nothing is said yet */
    browser_press("1");
    browser_press("3");
    browser_press("o");
    browser_press("1"); /* off again */
    ck_assert(browser_holds("document.querySelectorAll('.answer')[0].getAttribute('aria-current') === 'true'"));
    screenshot("flags-keys");
    browser_press("\uE007"); /* on to the other one */
    browser_wait_until("document.querySelectorAll('.answer')[1].matches('.current') && document.querySelector('#submit').disabled");
    browser_press("0");
    browser_wait_until("!document.querySelector('#submit').disabled");
    browser_press("\uE007");
    expect_shown("a", "flags", "[[\"hallucination\",\"opinion\"],[]]");
    wait_for_task("rate");
    browser_press("7");
    browser_press("\uE012"); /* left, back to the first */
    browser_press("6");
    browser_press("1");
    browser_press("2");
    screenshot("likert-keys");
    browser_press("\uE007");
    expect_shown("b", "ratings", "[6,1,2]");
    wait_for_task("rude");
    browser_press("5"); /* means nothing here */
    browser_press("0");
    browser_press("2");
    browser_press("\uE007");
    expect_shown("c", "ratings", "[0,2]");
}
END_TEST

START_TEST(a_person_judges_with_keys_and_mouse)
{
    for (int i = 0; i < 5; ++i) {
        char id[8];
        sprintf(id, "t%d", i);
        submit_task(id, id, json_pack("[s, s]", "Mira rules Orla.", "You fool, it is Tobin."));
    }
    submit_task("t5", "t5", json_pack("[s, s, s]", "one", "two", "three"));

    open_page("");
    browser_wait_until("document.querySelector('#name-dialog').open");
    browser_press("a"); /* goes into the name, judges nothing */
    browser_type("#name", "da");
    screenshot("welcome");
    browser_click("#name-form button");
    wait_for_task("t0");
    screenshot("pair");
    browser_press("a");
    wait_for_task("t1");
    browser_press("\uE014"); /* right */
    wait_for_task("t2");
    browser_press("t");
    wait_for_task("t3");
    browser_click("#choose-a");
    wait_for_task("t4");
    browser_press("s");
    wait_for_task("t5");
    browser_press("2");
    browser_press("3");
    browser_wait_until("document.querySelector('#submit').disabled"); /* no default, no half an answer */
    browser_press("t");
    browser_press("1");
    screenshot("ranking");
    browser_press("\uE007"); /* Enter */
    browser_wait_until("!document.querySelector('#rest').hidden");
    screenshot("rest");

    expect_shown_ranks(wait_for_label("t0", 1), "12");
    expect_shown_ranks(wait_for_label("t1", 1), "21");
    expect_shown_ranks(wait_for_label("t2", 1), "11");
    expect_shown_ranks(wait_for_label("t3", 1), "12");
    expect_shown_ranks(wait_for_label("t5", 1), "212");
    ck_assert_ptr_null(label_of("t4"));
}
END_TEST

START_TEST(an_answer_is_changed_by_undo)
{
    submit_task("t0", "t0", json_pack("[s, s]", "x", "y"));
    submit_task("t1", "t1", json_pack("[s, s]", "x", "y"));
    open_page("?labeler=ada");
    wait_for_task("t0");
    browser_press("b");
    wait_for_task("t1");
    expect_shown_ranks(wait_for_label("t0", 1), "21");
    browser_press("u");
    wait_for_task("t0");
    browser_wait_until("document.querySelector('.answer.before') && !document.querySelector('#again').hidden");
    screenshot("undo");
    browser_press("a");
    wait_for_task("t1"); /* where we were */
    expect_shown_ranks(wait_for_label("t0", 2), "12");
    browser_press("s");
    browser_wait_until("!document.querySelector('#rest').hidden");
    browser_press("u"); /* a skip is undone, too */
    wait_for_task("t1");
    browser_press("t");
    expect_shown_ranks(wait_for_label("t1", 1), "11");
}
END_TEST

START_TEST(a_note_and_a_draft_survive_a_reload)
{
    submit_task("t0", "t0", json_pack("[s, s, s]", "x", "y", "z"));
    open_page("?labeler=ada");
    wait_for_task("t0");
    browser_press("3");
    browser_press("n");
    browser_type("#note", "all about t1, t2"); /* letters judge nothing here */
    open_page("?labeler=ada");
    wait_for_task("t0");
    browser_wait_until("document.querySelector('#note').value === 'all about t1, t2'");
    browser_wait_until("document.querySelectorAll('.answer.ranked').length === 1");
    browser_press("1");
    browser_press("2");
    browser_click("#submit");
    json_t *label = wait_for_label("t0", 1);
    ck_assert_str_eq(json_string_value(json_object_get(label, "note")), "all about t1, t2");
    expect_shown_ranks(label, "231");
}
END_TEST

START_TEST(hostile_completions_are_shown_as_text)
{
    char *longest = malloc(200001);

    memset(longest, 'W', 200000);
    longest[200000] = '\0';
    submit_task(
        "t0", "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
        json_pack("[s, s]",
                  "<script>window.pwned = 3</script><img src=x onerror=\"window.pwned = 4\"><b>bold</b>",
                  "</div></article><style>*{display:none}</style>\xE2\x80\xAE txet desrever \x07\x1B[31m "
                  "{{7*7}} ${7*7}"));
    submit_task(
        "t1", "t1",
        json_pack("[s, s]", longest, "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xD7\xA2\xD7\x95\xD7\x9C\xD7\x9D"));
    open_page("?labeler=ada");
    browser_wait_until("document.querySelectorAll('.answer .text').length === 2");
    ck_assert(browser_holds("document.querySelector('.answers').innerText.includes('<b>bold</b>')"));
    ck_assert(browser_holds("document.querySelector('#prompt').innerText.includes('<script>')"));
    ck_assert(browser_holds("document.querySelectorAll('main script, main img, main b, main style').length === 0"));
    ck_assert(browser_holds("document.querySelector('.answers').innerText.includes('[U+0007][U+001B][31m') && "
                    "document.querySelector('.answers').innerText.includes('[U+202E] txet')"));
    ck_assert(browser_holds("window.pwned === undefined"));
    screenshot("hostile");
    browser_press("a");
    wait_for_task("t1");
    ck_assert(browser_holds("document.documentElement.scrollWidth <= window.innerWidth"));
    screenshot("long");
    browser_press("b");
    expect_shown_ranks(wait_for_label("t1", 1), "21");
    ck_assert(browser_holds("window.pwned === undefined"));
    free(longest);
}
END_TEST

START_TEST(markup_is_text_in_every_kind_of_task)
{
    static const char hostile[] = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
                                  "<a href='javascript:window.pwned = 3'>a</a><svg onload='window.pwned = 4'></svg>";
    static const char *const kinds[] = { "ranking", "likert", "toxicity", "flags", "demonstration" };
    char prompt[400], condition[200];

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i) {
        json_t *completions = strcmp(kinds[i], "demonstration") == 0 ? json_array()
                              : strcmp(kinds[i], "flags") == 0       ? json_pack("[s]", hostile)
                                                                     : json_pack("[s, s, s]", hostile, "two", hostile);
        snprintf(prompt, sizeof(prompt), "a %s: %s", kinds[i], hostile);
        json_t *task = json_pack("{s:s, s:s, s:s, s:o}", "id", kinds[i], "kind", kinds[i], "prompt", prompt, "completions",
                                 completions);
        if (json_array_size(completions) == 0)
            json_object_del(task, "completions");
        char *text = json_dumps(task, 0);
        submit(text);
        free(text);
        json_decref(task);
    }
    open_page("?labeler=ada");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i) {
        snprintf(condition, sizeof(condition), "document.querySelector('#prompt').innerText.startsWith('a %s: <script>')",
                 kinds[i]);
        browser_wait_until(condition);
        ck_assert(browser_holds("[...document.querySelectorAll('.answer .text')].every("
                                "t => t.innerText.startsWith('<script>') || t.innerText === 'two')"));
        ck_assert(browser_holds("document.querySelectorAll('main script, main img, main a[href^=javascript], main svg').length"
                                " === 0"));
        ck_assert(browser_holds("window.pwned === undefined"));
        browser_press("s");
    }
    browser_wait_until("!document.querySelector('#rest').hidden");
    ck_assert(browser_holds("window.pwned === undefined"));
}
END_TEST

START_TEST(the_page_fits_a_phone_in_the_dark)
{
    submit_task("t0",
                "\n\nHuman: Who rules Orla?\n\nAssistant: Mira.\n\nHuman: Really? And which river flows "
                "there?\n\nAssistant:",
                json_pack("[s, s]", " The river of Orla is the Ash, says the Chronicle.",
                          " You fool. It is the Elm."));
    submit_task("t1", "t1", json_pack("[s, s, s, s]", "one", "two", "three", "four"));
    browser_resize(390, 844);
    browser_scheme("dark");
    open_page("?labeler=ada");
    browser_wait_until("document.querySelectorAll('.turn').length === 3");
    ck_assert(browser_holds("document.documentElement.scrollWidth <= 390"));
    ck_assert(browser_holds("[...document.querySelectorAll('#actions button')].every((b) => { const r = "
                    "b.getBoundingClientRect();"
                    " return r.left >= 0 && r.right <= 390 && r.bottom <= 844 && r.height >= 40; })"));
    screenshot("phone");
    browser_click("#choose-b");
    wait_for_task("t1");
    ck_assert(browser_holds("document.documentElement.scrollWidth <= 390"));
    screenshot("phone-ranking");
    expect_shown_ranks(wait_for_label("t0", 1), "21");
}
END_TEST

START_TEST(an_answer_survives_a_dead_server)
{
    char bound[128];

    submit_task("t0", "t0", json_pack("[s, s]", "x", "y"));
    submit_task("t1", "t1", json_pack("[s, s]", "x", "y"));
    open_page("?labeler=ada");
    wait_for_task("t0");
    end_process(collector_pid, SIGKILL);
    browser_press("a");
    wait_for_task("t1"); /* work goes on */
    browser_wait_until("document.querySelector('#saving').innerText.includes('kept here')");
    screenshot("offline");
    strcpy(bound, collector_address + 7);
    collector_start_again(bound, "");
    expect_shown_ranks(wait_for_label("t0", 1), "12");
    browser_wait_until("document.querySelector('#saving').innerText === 'Saved'");
}
END_TEST

START_TEST(words_that_differ_are_marked_unless_switched_off)
{
    submit_task("t0", "t0", json_pack("[s, s]", "The river of Orla is the Ash, says <b>Mira</b>.", "The river of Orla is the Elm, says <b>Tobin</b>."));
    submit_task("t1", "t1", json_pack("[s, s]", "nothing alike", "quite another thing"));
    open_page("?labeler=ada");
    wait_for_task("t0");
    browser_wait_until("[...document.querySelectorAll('mark')].map((m) => m.innerText).sort().join() === 'Ash,Elm,Mira,Tobin'");
    screenshot("differences");
    browser_press("d");
    browser_wait_until("!document.querySelector('mark') && document.querySelector('#differences').getAttribute('aria-pressed') === 'false'");
    open_page("?labeler=ada"); /* remembered */
    wait_for_task("t0");
    ck_assert(browser_holds("!document.querySelector('mark')"));
    browser_click("#differences");
    browser_wait_until("document.querySelectorAll('mark').length === 4");
    browser_press("a");
    wait_for_task("t1"); /* all of it would be marked */
    ck_assert(browser_holds("!document.querySelector('mark') && document.querySelector('#differences').hidden"));
    expect_shown_ranks(wait_for_label("t0", 1), "12");
}
END_TEST

START_TEST(many_answers_are_compared_with_one_that_is_chosen)
{
    submit_task("t0", "t0", json_pack("[s, s, s]", "the red fox ran home", "the red fox sat home", "the red dog ran home"));
    open_page("?labeler=ada");
    wait_for_task("t0");
    browser_wait_until("document.querySelectorAll('mark').length >= 2 && !document.querySelectorAll('.answer')[0].querySelector('mark')");
    ck_assert(browser_holds("document.querySelectorAll('.base:not([hidden])').length === 1"));
    browser_press("2");
    screenshot("differences-ranking");
    browser_press("c");
    browser_wait_until("document.querySelector('#against').value === '1' && !document.querySelectorAll('.answer')[1].querySelector('mark')"
                       " && document.querySelectorAll('.answer')[0].querySelector('mark')");
    ck_assert(browser_holds("document.querySelectorAll('.answer.ranked').length === 1")); /* which changes nothing else */
    json_decref(browser_script("const s = document.querySelector('#against'); s.value = '2'; s.dispatchEvent(new Event('change'))"));
    browser_wait_until("!document.querySelectorAll('.answer')[2].querySelector('mark')");
    browser_press("d");
    browser_wait_until("!document.querySelector('mark') && document.querySelector('#against-box').hidden");
    browser_press("1");
    browser_press("3");
    browser_press("\uE007");
    expect_shown_ranks(wait_for_label("t0", 1), "213");
}
END_TEST

START_TEST(instructions_are_shown_until_they_were_closed_once)
{
    submit("[{\"id\":\"a\",\"prompt\":\"first\",\"completions\":[\"x\",\"y\"]},"
           "{\"id\":\"b\",\"kind\":\"likert\",\"prompt\":\"second\",\"completions\":[\"x\"]}]");
    end_process(collector_pid, SIGTERM);
    collector_start_again("127.0.0.1:0", "instructions:\n  ranking: \"Prefer <script>window.pwned = 1</script> truth.\\n\\nAlways.\"\n");
    open_page("?labeler=ada");
    wait_for_task("first");
    browser_wait_until("document.querySelector('#guide').open && document.querySelectorAll('#guide-text p').length === 2");
    ck_assert(browser_holds("document.querySelector('#guide-text').innerText.includes('<script>window.pwned') && !window.pwned"));
    screenshot("instructions");
    browser_press("i");
    browser_wait_until("!document.querySelector('#guide').open");
    open_page("?labeler=ada");
    wait_for_task("first");
    ck_assert(browser_holds("!document.querySelector('#guide').open"));
    browser_press("a");
    wait_for_task("second"); /* another kind, with the page's own words */
    browser_wait_until("document.querySelector('#guide').open && document.querySelector('#guide-text').innerText.includes('7 is')");
}
END_TEST

/* Whatever is seen: letters stand out from their ground by 4.5 (3 when large), controls have names, and what has the focus
 * shows it. */
static void expect_accessible(const char *what)
{
    static const char script[] =
        "const rgb = (t) => (t.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);"
        "const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)"
        ".reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);"
        "const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);"
        " if (c.length < 4 || c[3] > 0.5) return c; } return [255, 255, 255]; };"
        "const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && e.getClientRects().length > 0"
        " && !e.closest('.hidden, .skip-link, .toast');"
        "const wrong = [];"
        "for (const e of document.querySelectorAll('body *')) {"
        " if (!seen(e)) continue;"
        " const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());"
        " const style = getComputedStyle(e);"
        " if (own && !e.closest(':disabled') && e.namespaceURI.endsWith('xhtml')) {"
        "  const a = light(rgb(style.color)), b = light(ground(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);"
        "  const size = parseFloat(style.fontSize), least = size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5;"
        "  if (ratio < least) wrong.push('contrast ' + ratio.toFixed(2) + ': ' + e.textContent.trim().slice(0, 40)); }"
        " if (e.matches('button, a[href], input, select, textarea, summary, progress')) {"
        "  const name = e.getAttribute('aria-label') || e.textContent.trim() || [...(e.labels || [])].map((l) => l.textContent).join('').trim();"
        "  if (!name) wrong.push('no name: ' + e.outerHTML.slice(0, 80)); }"
        "}"
        "const first = [...document.querySelectorAll('button')].find((b) => seen(b) && !b.disabled);"
        "if (first) { first.focus({ focusVisible: true }); if (parseFloat(getComputedStyle(first).outlineWidth) < 2) wrong.push('no focus'); }"
        "return wrong.join('; ');";
    json_t *wrong = browser_script(script);

    ck_assert_msg(json_string_length(wrong) == 0, "%s: %s", what, json_string_value(wrong));
    json_decref(wrong);
}

START_TEST(everybody_can_read_and_reach_everything)
{
    static const char *const schemes[] = {"light", "dark"};
    char url[200];

    submit("[{\"id\":\"a\",\"prompt\":\"first\",\"completions\":[\"one two three\",\"one two four\"]},"
           "{\"id\":\"b\",\"kind\":\"likert\",\"prompt\":\"second\",\"completions\":[\"x\"]},"
           "{\"id\":\"c\",\"kind\":\"flags\",\"prompt\":\"third\",\"completions\":[\"x\"]},"
           "{\"id\":\"d\",\"prompt\":\"fourth\",\"completions\":[\"x\",\"y\",\"z\"]}]");
    for (int i = 0; i < 2; ++i) {
        browser_scheme(schemes[i]);
        open_page(i ? "?labeler=bob" : "?labeler=ada");
        wait_for_task("first");
        expect_accessible("a pair");
        browser_press("s");
        wait_for_task("second");
        browser_press("3");
        expect_accessible("ratings");
        browser_press("s");
        wait_for_task("third");
        expect_accessible("flags");
        browser_press("s");
        wait_for_task("fourth");
        browser_press("1");
        expect_accessible("a ranking");
        browser_press("s"); /* else it stays reserved */
        browser_wait_until("!document.querySelector('#rest').hidden");
        snprintf(url, sizeof(url), "%s/owner", collector_address);
        browser_open(url);
        browser_wait_until("document.querySelectorAll('#agreement svg').length === 5 && document.querySelector('#sources tbody')");
        expect_accessible("the owner's page");
    }
}
END_TEST

/* The page with tokens: nobody judges before signing in, and what waits to be sent is its writer's. */
START_TEST(people_sign_in_with_their_tokens)
{
    submit_task("t0", "t0", json_pack("[s, s]", "x", "y"));
    submit_task("t1", "t1", json_pack("[s, s]", "x", "y"));
    const char *ada = collector_token("add --role labeler ada"), *bob = collector_token("add --role labeler bob");
    const char *owner = collector_token("add --role owner olga");
    end_process(collector_pid, SIGTERM); /* at the next start it knows of them */
    collector_start_again("127.0.0.1:0", "");
    open_page("?labeler=bob"); /* counts for nothing with tokens */
    browser_wait_until("document.querySelector('#sign-in').open");
    browser_press("\uE00C"); /* Escape */
    browser_press("\uE00C");
    browser_wait_until("document.querySelector('#sign-in').open");
    screenshot("sign-in");
    browser_type("#token", "rlhf_wrong");
    browser_click("#sign-in-form button");
    browser_wait_until("document.querySelector('#sign-in-trouble').innerText.includes('not known')");
    browser_type("#token", ada); /* over what is selected */
    browser_press("\uE007");
    wait_for_task("t0");
    ck_assert(browser_holds("document.cookie === '' && !JSON.stringify(localStorage).includes('rlhf_')"));
    browser_press("a");
    wait_for_task("t1");
    browser_wait_until("document.querySelector('#saving').innerText === 'Saved'");
    ck_assert_str_eq(strstr(collector_expect(200, owner, "GET", "/api/v1/comparisons", NULL), "\"labeler\":\"ada\"") ? "ada" : "", "ada");
    open_page(""); /* the session is still there */
    wait_for_task("t1");
    browser_click("#who");
    browser_wait_until("document.querySelector('#account-name').innerText === 'ada'");
    screenshot("account");
    browser_click("#sign-out");
    browser_wait_until("document.querySelector('#sign-in').open");
    browser_type("#token", bob);
    browser_press("\uE007");
    browser_wait_until("document.querySelector('#who').innerText === 'bob' && !document.querySelector('#rest').hidden");
    ck_assert(browser_holds("document.querySelector('#rest-undo').hidden")); /* what ada did, and has before her, is hers */
}
END_TEST

int main(void)
{
    browser_or_skip();
    return RUN_SUITE_WITH("label-collector/browser", setup, teardown, a_person_judges_with_keys_and_mouse,
                          ratings_flags_and_demonstrations_are_given_with_keys_and_mouse,
                          several_answers_are_flagged_and_rated_with_keys, many_answers_are_compared_with_one_that_is_chosen,
                          an_answer_is_changed_by_undo, a_note_and_a_draft_survive_a_reload,
                          hostile_completions_are_shown_as_text, markup_is_text_in_every_kind_of_task,
                          the_page_fits_a_phone_in_the_dark,
                          an_answer_survives_a_dead_server, people_sign_in_with_their_tokens,
                          words_that_differ_are_marked_unless_switched_off,
                          instructions_are_shown_until_they_were_closed_once, everybody_can_read_and_reach_everything);
}
