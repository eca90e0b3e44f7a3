/* The language itself is compared with jinja2 in tests/parity/chat_live.py; here are what must hold without Python: a
 * line or two of everything, errors with their places, and bounds. */
#include <jansson.h>
#include <string.h>

#include "chat/template.h"
#include "support/suite.h"

static struct rlhf_rendered out;

static int render(const char *source, const char *variables, struct rlhf_error *err)
{
    struct rlhf_template *t = rlhf_template_new(source, strlen(source), "T", err);
    json_t *given = json_loads(variables, 0, NULL);
    int result = -1;

    ck_assert_msg(given != NULL, "%s is not JSON", variables);
    if (t)
        result = rlhf_template_render(t, given, 86400 * 365, &out, err);
    rlhf_template_free(t);
    json_decref(given);
    return result;
}

static void gives(const char *source, const char *expected)
{
    struct rlhf_error err = { 0 };

    ck_assert_msg(render(source, "{\"m\":[{\"role\":\"user\",\"content\":\" h\\u00e9 \"},{\"role\":\"a\",\"content\":\"x\"}]}", &err) == 0,
                  "%s: %s", source, err.text);
    ck_assert_str_eq(out.text.data, expected);
}

static void fails(const char *source, const char *where_and_what)
{
    struct rlhf_error err = { 0 };

    ck_assert_msg(render(source, "{}", &err) < 0, "%s gives '%s'", source, out.text.data);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, where_and_what);
}

START_TEST(values_print_as_python_prints_them)
{
    gives("{{ [1, 2.50, 1e16, 'it\\'s', \"q\\\"\", none, true, {'a': (1,)}] }}", "[1, 2.5, 1e+16, \"it's\", 'q\"', None, True, {'a': (1,)}]");
    gives("{{ 7 // -2 }} {{ -7 % 3 }} {{ 1 / 4 }} {{ 2 ** 3 ** 2 }} {{ 1 ~ none ~ undefined }}", "-4 2 0.25 64 1None");
    gives("{{ m[0].content|trim|tojson }} {{ {'a': [1, 'é']}|tojson(indent=1) }}", "\"h\u00e9\" {\n \"a\": [\n  1,\n  \"\u00e9\"\n ]\n}");
}
END_TEST

START_TEST(what_is_odd_in_jinja_is_as_odd_here)
{
    gives("{{ none|select|list }} {{ 0|map('string')|list }} {{ ''|rejectattr('a')|list }}", "[] [] []");
    gives("{{ 'a' % [1] }} {{ 'b' % range(3) }} {{ 'c' % {'k': 1} }}", "a b c");
}
END_TEST

START_TEST(blocks_and_blanks_are_trimmed_as_transformers_trims_them)
{
    gives("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc");
    gives("a {%- if true -%} b {%- endif %} {{- 'c' -}} \n d", "abcd");
    gives("{% for x in m %}\n{{ loop.index }}{{ x.role }}\n{% endfor %}", "1user\n2a\n");
    gives("{# gone #}\nx{% raw %}{{ y }}{% endraw %}", "x{{ y }}");
}
END_TEST

START_TEST(names_live_where_jinja_lets_them_live)
{
    gives("{% set x = 1 %}{% for i in [1, 2] %}{% set x = 5 %}{% endfor %}{{ x }}", "1");
    gives("{% set n = namespace(x=1) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "4");
    gives("{% macro f(a, b=a) %}{{ a }}{{ b }}{{ late }}{% endmacro %}{% set late = '!' %}{{ f(1) }}{{ f(b=2, a=3) }}", "11!32!");
    gives("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{% for x in [] %}{% else %}none{% endfor %}", "a1none");
}
END_TEST

START_TEST(what_the_assistant_wrote_is_marked)
{
    gives("{% for x in m %}<{{ x.role }}>{% generation %}{{ x.content }}.{% endgeneration %}\n{% endfor %}", "<user> h\u00e9 .<a>x.");
    ck_assert_uint_eq(out.generated_count, 2);
    ck_assert_uint_eq(out.generated[0].start, 6);
    ck_assert_uint_eq(out.generated[0].end, 12);
    ck_assert_uint_eq(out.generated[1].end, out.text.size);
}
END_TEST

START_TEST(the_time_is_the_one_given)
{
    gives("{{ strftime_now('%Y') }}", "1971");
}
END_TEST

START_TEST(what_is_not_supported_is_named_with_its_place)
{
    fails("a\n {% include 'x' %}", "T: line 2, column 5: the statement 'include' is not supported");
    fails("{{ 'é' }}{{ x|urlize }}", "line 1, column 15: the filter 'urlize' is not supported");
    fails("{{ x is weird }}", "the test 'weird' is not supported");
    fails("{% if x %}", "'elif' is expected");
    fails("{{ 'x }}", "a string that does not end");
    fails("{{ (1] }}", "without what it closes");
    fails("{{ nothing.at.all }}", "'nothing' is undefined");
    fails("{{ [].append(1) }}", "unsafe");
    fails("{{ 'a' + 1 }}", "can only concatenate str");
    fails("{{ [1] in {} }}", "unhashable type: 'list'");
    fails("{{ 9223372036854775807 + 1 }}", "64 bits");
    fails("\xff", "UTF-8");
}
END_TEST

START_TEST(an_exception_says_its_message_and_no_more)
{
    struct rlhf_error err = { 0 };

    ck_assert_int_lt(render("{{ raise_exception('No ' ~ 1) }}", "{}", &err), 0);
    ck_assert_str_eq(err.text, "No 1");
}
END_TEST

START_TEST(hostile_templates_end_with_an_error)
{
    static char deep[40000];

    fails("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "MiB");
    strcpy(deep, "{% for a in range(99999) %}{{ a");
    for (size_t i = 0; i < 300; i++)
        strcat(deep, "-a");
    fails(strcat(deep, " }}{% endfor %}"), "steps");
    fails("{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "MiB");
    fails("{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "nested");
    fails("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "levels");
    fails("{{ 'x' * 999999999 }}", "longer");
    fails("{{ range(1000000) }}", "Range too big");
    fails("{% for a in range(9999) %}{{ 'x' * 99999 }}{% endfor %}", "MiB");
    memset(deep, '(', sizeof(deep) - 1);
    memcpy(deep, "{{", 2);
    fails(deep, "nested deeper");
    for (size_t i = 2; i + 4 < sizeof(deep) - 1; i += 4)
        memcpy(deep + i, "not ", 4);
    strcpy(deep + 20002, "1 }}");
    fails(deep, "nested deeper");
    for (size_t i = 2; i < 20002; i += 2)
        memcpy(deep + i, "1+", 2);
    strcpy(deep + 20002, "1 }}");
    fails(deep, "levels");
}
END_TEST

int main(void)
{
    return RUN_SUITE("chat/template", values_print_as_python_prints_them, what_is_odd_in_jinja_is_as_odd_here, blocks_and_blanks_are_trimmed_as_transformers_trims_them,
                     names_live_where_jinja_lets_them_live, what_the_assistant_wrote_is_marked, the_time_is_the_one_given,
                     what_is_not_supported_is_named_with_its_place, an_exception_says_its_message_and_no_more,
                     hostile_templates_end_with_an_error);
}
