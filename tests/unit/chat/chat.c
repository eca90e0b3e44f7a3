/* How a model's folder and a request become what its template sees. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "chat/chat.h"
#include "support/suite.h"

static const char *dir;
static struct rlhf_rendered out;

static void put(const char *name, const char *text)
{
    FILE *f = fopen(in_directory(dir, name), "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static int ask(const char *request, struct rlhf_error *err)
{
    struct rlhf_chat *c = rlhf_chat_load(dir, err);
    json_t *json = json_loads(request, 0, NULL);
    int result = c ? rlhf_chat_render(c, json, 0, &out, err) : -1;

    rlhf_chat_free(c);
    json_decref(json);
    return result;
}

static void gives(const char *request, const char *expected)
{
    struct rlhf_error err = { 0 };

    expect_ok(ask(request, &err), err);
    ck_assert_str_eq(out.text.data, expected);
}

START_TEST(the_file_comes_before_the_setting)
{
    dir = a_directory();
    put("tokenizer_config.json", "{\"bos_token\":{\"content\":\"<b>\"},\"eos_token\":null,\"chat_template\":\"old\","
                                 "\"model_max_length\":1000000000000000019884624838656}");
    gives("{\"messages\":[{\"role\":\"user\"}]}", "old");
    put("chat_template.jinja", "{{ bos_token }}{{ eos_token is defined }}{{ tools }}{{ add_generation_prompt }}{{ mine }}");
    gives("{\"messages\":[{\"role\":\"user\"}],\"mine\":7}", "<b>FalseNoneFalse7");
}
END_TEST

START_TEST(one_of_several_templates_is_chosen_by_tools_or_name)
{
    dir = a_directory();
    put("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\",\"template\":\"D\"},{\"name\":\"tool_use\",\"template\":\"T\"},"
                                 "{\"name\":\"rag\",\"template\":\"R\"}]}");
    gives("{\"messages\":[{}]}", "D");
    gives("{\"messages\":[{}],\"tools\":[{}]}", "T");
    gives("{\"messages\":[{}],\"tools\":[{}],\"chat_template\":\"rag\"}", "R");
    struct rlhf_error err = { 0 };
    ck_assert_int_lt(ask("{\"messages\":[{}],\"chat_template\":\"none\"}", &err), 0);
    expect_contains(err.text, "no chat template is called \"none\"");
}
END_TEST

START_TEST(nulls_are_left_out_and_the_last_message_can_go_on)
{
    dir = a_directory();
    put("chat_template.jinja", "{% for m in messages %}[{{ m.content is defined }} {{ m.content }}]{% endfor %}");
    gives("{\"messages\":[{\"content\":null},{\"content\":\"so\"}]}", "[False ][True so]");
    gives("{\"messages\":[{\"content\":\"so \"}],\"continue_final_message\":true}", "[True so ");
}
END_TEST

START_TEST(bad_requests_are_refused)
{
    struct rlhf_error err = { 0 };

    dir = a_directory();
    ck_assert_int_lt(ask("{\"messages\":[{}]}", &err), 0);
    expect_contains(err.text, "no chat template");
    put("chat_template.jinja", "x");
    err = (struct rlhf_error){ 0 };
    ck_assert_int_lt(ask("{\"messages\":[]}", &err), 0);
    expect_contains(err.text, "at least one message");
    ck_assert_int_lt(ask("{\"messages\":[1]}", &err), 0);
    expect_contains(err.text, "messages[0]");
    ck_assert_int_lt(ask("{\"messages\":[{}],\"tools\":3}", &err), 0);
    expect_contains(err.text, "\"tools\" is not a list");
}
END_TEST

int main(void)
{
    return RUN_SUITE("chat/chat", the_file_comes_before_the_setting, one_of_several_templates_is_chosen_by_tools_or_name,
                     nulls_are_left_out_and_the_last_message_can_go_on, bad_requests_are_refused);
}
