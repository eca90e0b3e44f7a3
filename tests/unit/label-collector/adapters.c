/* What vendors' records say in our own words: each as it came from its server or stands in its documents, and the ways in
 * which it may be empty, skipped, malformed or ambiguous. Nothing is ever a judgement that nobody has given. */
#include <stdlib.h>
#include <string.h>

#include "label-collector/vendors.h"
#include "support/suite.h"

static struct collector_guesses guesses;

/* JSON with ' for ". */
static json_t *parse(const char *text)
{
    char *copy = strdup(text);
    json_error_t where;

    for (char *c = copy; *c; ++c)
        if (*c == '\'')
            *c = '"';
    json_t *json = json_loads(copy, 0, &where);
    ck_assert_msg(json != NULL, "%s in %s", where.text, text);
    free(copy);
    return json;
}

static void says(const struct collector_vendor *v, const char *record, const char *expected)
{
    json_t *from = parse(record), *list = json_array(), *wanted = parse(expected);
    struct rlhf_error err;

    expect_ok(v->judgements(from, &guesses, list, &err), err);
    char *got = json_dumps(list, JSON_COMPACT);
    ck_assert_msg(json_equal(list, wanted), "%s\nsays %s\nnot  %s", record, got, expected);
    free(got);
    json_decref(from);
    json_decref(list);
    json_decref(wanted);
}

static void is_none(const struct collector_vendor *v, const char *record)
{
    json_t *from = parse(record), *list = json_array();
    struct rlhf_error err;

    ck_assert_int_lt(v->judgements(from, &guesses, list, &err), 0);
    expect_code(err, RLHF_REJECT);
    json_decref(from);
    json_decref(list);
}

/* ---- Label Studio ---------------------------------------------------------------------------------- */

#define LS_DATA "'data': {'uid': 'u', 'prompt': 'p', 'answer1': 'x', 'answer2': 'y'}"
#define LS_TASK(data, annotation) "{'id': 5, " data ", 'annotations': [{'id': 7, 'completed_by': 3, " annotation "}], "  \
    "'drafts': [{'result': [{'type': 'pairwise', 'value': {'selected': 'left'}}]}], "                                     \
    "'predictions': [{'result': [{'type': 'pairwise', 'value': {'selected': 'left'}}]}]}"
#define LS_PAIR(side) "{'from_name': 'comparison', 'to_name': 'comparison', 'type': 'pairwise', 'value': {'selected': '" side "'}}"
#define LS_SAID "'id': '7', 'labeler': 'annotator-3', 'task': 'u', 'prompt': 'p', 'completions': ['x', 'y']"
#define LS_ITEMS "'data': {'uid': 'u', 'prompt': 'p', 'items': [{'id': 'r0', 'title': '', 'body': 'x'}, "               \
    "{'id': 'r1', 'title': '', 'body': 'y'}, {'id': 'r2', 'title': '', 'body': 'z'}]}"
#define LS_RANKED "'id': '7', 'labeler': 'annotator-3', 'task': 'u', 'prompt': 'p', 'completions': ['x', 'y', 'z']"
#define LS_RANKER(order) "'result': [{'from_name': 'rank', 'to_name': 'answers', 'type': 'ranker', 'value': {'ranker': " order "}}]"

static const struct collector_vendor *const ls = &collector_label_studio;

START_TEST(label_studio_pairs_name_a_side)
{
    says(ls, LS_TASK(LS_DATA, "'result': [" LS_PAIR("left") "], 'lead_time': 20.5"),
         "[{" LS_SAID ", 'seconds': 20.5, 'ranks': [1, 2]}]");
    says(ls, LS_TASK(LS_DATA, "'result': [" LS_PAIR("right") "], 'lead_time': null"), "[{" LS_SAID ", 'ranks': [2, 1]}]");
    says(ls, LS_TASK(LS_DATA, "'was_cancelled': false, 'result': [" LS_PAIR("left")
                              ", {'from_name': 'flags', 'type': 'choices', 'value': {'choices': ['toxic', 'hallucination']}}"
                              ", {'from_name': 'strength', 'type': 'rating', 'value': {'rating': 6}}"
                              ", {'from_name': 'why', 'type': 'textarea', 'value': {'text': ['clearly']}}]"),
         "[{" LS_SAID ", 'ranks': [1, 2], 'flags': ['toxic', 'hallucination'], 'strength': 6, 'note': 'clearly'}]");
    says(ls, LS_TASK(LS_DATA, "'result': [" LS_PAIR("left") ", " LS_PAIR("left") "]"), "[{" LS_SAID ", 'ranks': [1, 2]}]");
    says(ls,
         "{'id': 5, " LS_DATA ", 'annotations': [{'id': 7, 'completed_by': {'id': 3}, 'result': [" LS_PAIR("left") "]}, "
         "{'id': 8, 'completed_by': 4, 'result': [" LS_PAIR("right") "]}]}",
         "[{" LS_SAID ", 'ranks': [1, 2]}, {'id': '8', 'labeler': 'annotator-4', 'task': 'u', 'prompt': 'p', "
         "'completions': ['x', 'y'], 'ranks': [2, 1]}]");
}
END_TEST

START_TEST(label_studio_submissions_without_a_choice_are_nothing)
{
    says(ls, LS_TASK(LS_DATA, "'was_cancelled': false, 'result': []"), "[]");
    says(ls, LS_TASK(LS_DATA, "'was_cancelled': false, 'result': null"), "[]");
    says(ls, LS_TASK(LS_DATA, "'result': [{'from_name': 'strength', 'type': 'rating', 'value': {'rating': 6}}]"), "[]");
    says(ls, "{'id': 5, " LS_DATA ", 'annotations': []}", "[]");
    says(ls, LS_TASK(LS_DATA, "'was_cancelled': true, 'result': []"),
         "[{" LS_SAID ", 'skip': 'skipped in Label Studio'}]");
    says(ls, LS_TASK(LS_DATA, "'was_cancelled': true, 'result': [" LS_PAIR("left") "]"),
         "[{" LS_SAID ", 'skip': 'skipped in Label Studio'}]");
    is_none(ls, "{'id': 5}");
    is_none(ls, "{'id': 5, 'annotations': [], 'data': []}");
}
END_TEST

START_TEST(label_studio_results_that_make_no_sense_are_counted)
{
    says(ls, LS_TASK(LS_DATA, "'result': [{'from_name': 'zzz', 'to_name': 'zzz', 'type': 'pairwise', 'value': {'selected': 'up'}}]"),
         "[{" LS_SAID ", 'error': 'a pair was judged as up, not left or right'}]");
    says(ls, LS_TASK(LS_DATA, "'result': [{'type': 'pairwise', 'value': {}}]"),
         "[{" LS_SAID ", 'error': 'a pair was judged as nothing, not left or right'}]");
    says(ls, LS_TASK(LS_DATA, "'result': [" LS_PAIR("left") ", " LS_PAIR("right") "]"),
         "[{" LS_SAID ", 'ranks': [2, 1], 'error': 'its results contradict each other'}]");
}
END_TEST

START_TEST(label_studio_rankings_are_under_their_controls_name)
{
    says(ls, LS_TASK(LS_ITEMS, "'lead_time': 9, " LS_RANKER("{'rank': ['r2', 'r0', 'r1']}")),
         "[{" LS_RANKED ", 'seconds': 9, 'ranks': [2, 3, 1]}]");
    says(ls, LS_TASK(LS_ITEMS, "'result': [{'from_name': 'order', 'type': 'ranker', 'value': {'ranker': {'order': ['r1', 'r0', 'r2']}}}]"),
         "[{" LS_RANKED ", 'ranks': [2, 1, 3]}]");
    says(ls, LS_TASK(LS_ITEMS, "'lead_time': 1.5, " LS_RANKER("{'rank': ['r0', 'r1', 'r2']}")),
         "[{" LS_RANKED ", 'seconds': 1.5, 'ranks': [1, 2, 3], 'flags': ['untouched?']}]");
    says(ls, LS_TASK(LS_ITEMS, "'lead_time': 30, " LS_RANKER("{'rank': ['r0', 'r1', 'r2']}")),
         "[{" LS_RANKED ", 'seconds': 30, 'ranks': [1, 2, 3]}]");
    static const char *const wrong[] = { "{'rank': ['r0', 'r1']}", "{'rank': ['r0', 'r1', 'r1']}", "{'rank': ['r0', 'r1', 'r9']}",
                                         "{'rank': ['r0', 'r1', 'r2', 'r9']}", "{'rank': []}" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
        char record[1000];
        snprintf(record, sizeof record, LS_TASK(LS_ITEMS, LS_RANKER("%s")), wrong[i]);
        says(ls, record, "[{'id': '7', 'labeler': 'annotator-3', 'task': 'u', 'error': 'the ranking does not name each item once'}]");
    }
    says(ls, LS_TASK(LS_ITEMS, LS_RANKER("{'good': ['r1'], 'bad': ['r0'], '_': ['r2']}")),
         "[{'id': '7', 'labeler': 'annotator-3', 'task': 'u', 'error': 'a ranker with buckets has no order'}]");
}
END_TEST

#define LS_FLAT "'prompt': 'p', 'answer1': 'x', 'answer2': 'y', 'uid': 'u', 'id': 5, 'annotator': 3, 'annotation_id': 7, " \
    "'meta': {'selected': 'left'}"

START_TEST(label_studios_small_records_say_the_same)
{
    says(ls, "{" LS_FLAT ", 'comparison': [{'selected': 'right'}], 'lead_time': 20.0}",
         "[{" LS_SAID ", 'seconds': 20.0, 'ranks': [2, 1]}]");
    says(ls, "{" LS_FLAT ", 'comparison': [{'selected': 'left'}], 'strength': [{'rating': 6}], 'flags': {'choices': ['a', 'b']}}",
         "[{" LS_SAID ", 'ranks': [1, 2], 'strength': 6, 'flags': ['a', 'b']}]");
    says(ls, "{" LS_FLAT ", 'lead_time': null}", "[]");
    says(ls, "{" LS_FLAT ", 'comparison': '', 'flags': 'toxic'}", "[]");
    says(ls, "{" LS_FLAT ", 'comparison': [{'selected': 'up'}]}",
         "[{" LS_SAID ", 'error': 'a pair was judged as up, not left or right'}]");
    says(ls, "{'prompt': 'p', 'items': [{'id': 'r0', 'body': 'x'}, {'id': 'r1', 'body': 'y'}, {'id': 'r2', 'body': 'z'}], 'uid': 'u', "
             "'annotator': 3, 'annotation_id': 7, 'order': [{'ranker': {'order': ['r2', 'r1', 'r0']}}]}",
         "[{" LS_RANKED ", 'ranks': [3, 2, 1]}]");
}
END_TEST

/* ---- Labelbox -------------------------------------------------------------------------------------- */

#define LB_ROW(label) "{'data_row': {'id': 'row-1', 'global_key': 'u', 'row_data': 'https://example.org/1'}, 'projects': {'p1': " \
    "{'labels': [" label "], 'project_details': {'workflow_status': 'DONE'}}}}"
#define LB_LABEL(skipped, answers) "{'id': 'l1', 'label_details': {'created_by': 'w@example.org'}, 'performance_details': " \
    "{'seconds_to_create': 37, 'skipped': " skipped "}, 'annotations': {'objects': [], 'classifications': [" answers "], "   \
    "'relationships': []}}"
#define LB_RADIO(question, name) "{'name': '" question "', 'radio_answer': {'name': '" name "', 'classifications': []}}"
#define LB_TEXT "{'name': 'Why?', 'text_answer': {'content': 'B is the same as A, only worse'}}"
#define LB_SAID "'id': 'l1', 'labeler': 'w@example.org', 'task': 'u', 'seconds': 37"

static const struct collector_vendor *const lb = &collector_labelbox;

START_TEST(labelbox_radios_name_a_response)
{
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose the best response", "Response B") ", " LB_TEXT)),
         "[{" LB_SAID ", 'ranks': [2, 1], 'note': 'B is the same as A, only worse'}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "Response A"))), "[{" LB_SAID ", 'ranks': [1, 2]}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "a"))), "[{" LB_SAID ", 'ranks': [1, 2]}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "Tie"))), "[{" LB_SAID ", 'ranks': [1, 1]}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Which is ruder?", "Response A") ", " LB_RADIO("Which response is better?", "Response B"))),
         "[{" LB_SAID ", 'ranks': [2, 1]}]"); /* the question that we know */
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "Response A") ", {'name': 'Flags', 'checklist_answers': [{'name': 'rude'}, "
                                      "{'name': 'wrong'}]}")),
         "[{" LB_SAID ", 'ranks': [1, 2], 'flags': ['rude', 'wrong']}]");
}
END_TEST

START_TEST(labelbox_rows_without_a_judgement_are_none)
{
    says(lb, LB_ROW(LB_LABEL("true", LB_RADIO("Choose", "Response A"))),
         "[{'id': 'l1', 'labeler': 'w@example.org', 'task': 'u', 'skip': 'skipped in Labelbox'}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_TEXT)), "[]");
    says(lb, LB_ROW(LB_LABEL("false", "")), "[]");
    says(lb, LB_ROW(""), "[]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "Neither of them"))),
         "[{" LB_SAID ", 'error': 'the answer names no response of two, nor a tie'}]");
    says(lb, LB_ROW(LB_LABEL("false", LB_RADIO("Choose", "Response C"))),
         "[{" LB_SAID ", 'error': 'the answer names no response of two, nor a tie'}]");
    is_none(lb, "{'data_row': {'id': 'row-1'}, 'projects': {}}");
    is_none(lb, "{'projects': {}}");
    is_none(lb, "{'uuid': 'x', 'dataRow': {}, 'messageEvaluationTask': {'format': 'message-ranking', 'data': {'rankedMessages': []}}}");
}
END_TEST

/* ---- Scale ----------------------------------------------------------------------------------------- */

#define SC_MESSAGES(a, b) "{'role': 'user', 'content': {'text': 'p'}, 'source_id': 'user'}, "                          \
    "{'role': 'assistant', 'content': {'text': 'x'}, 'source_id': '" a "', 'annotations': [{'key': 'overall', 'value': 5}]}, " \
    "{'role': 'assistant', 'content': {'text': 'y'}, 'source_id': '" b "'}"
#define SC_TURN(messages, annotations) "{'messages': [" messages "], 'annotations': [" annotations "]}"
#define SC_TASK(status, threads) "{'task_id': 't1', 'status': '" status "', 'metadata': {'pair_id': 'u'}, 'threads': [" threads "]}"
#define SC_THREAD(turns, annotations) "{'turns': [" turns "], 'annotations': [" annotations "], 'submissions': [{'contributor_id': 'c7'}]}"
#define SC_PAIR(annotations) SC_TASK("completed", SC_THREAD(SC_TURN(SC_MESSAGES("a", "b"), annotations), ""))
#define SC_BARE "'id': 't1', 'labeler': 'c7', 'task': 'u'"
#define SC_SAID SC_BARE ", 'prompt': 'p', 'completions': ['x', 'y']"

static const struct collector_vendor *const sc = &collector_scale;

START_TEST(scale_selects_or_ranks_by_source)
{
    says(sc, SC_PAIR("{'key': 'selected_model_id', 'value': 'b'}, {'key': 'justification', 'value': 'why'}"),
         "[{" SC_SAID ", 'ranks': [2, 1], 'note': 'why'}]");
    says(sc, SC_PAIR("{'key': 'selected_model_id', 'value': 'a', 'justification': 'because'}, {'key': 'likert_value', 'value': 6}"),
         "[{" SC_SAID ", 'ranks': [1, 2], 'note': 'because', 'strength': 6}]");
    says(sc, SC_PAIR("{'key': 'selected_model_id', 'value': 'tie'}"), "[{" SC_SAID ", 'ranks': [1, 1]}]");
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': ['b', 'a']}"), "[{" SC_SAID ", 'ranks': [2, 1]}]");
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_groups', 'value': [['b', 'a']]}"), "[{" SC_SAID ", 'ranks': [1, 1]}]");
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_groups', 'value': [['b'], ['a']]}"), "[{" SC_SAID ", 'ranks': [2, 1]}]");
    says(sc, SC_TASK("completed", SC_THREAD(SC_TURN(SC_MESSAGES("a", "b"), ""), "{'key': 'selected_model_id', 'value': 'b'}")),
         "[{" SC_SAID ", 'ranks': [2, 1]}]"); /* of the thread, which has one turn */
}
END_TEST

START_TEST(scale_likert_decides_only_where_its_direction_is_known)
{
    says(sc, SC_PAIR("{'key': 'likert_value', 'value': 2}"), "[]");
    guesses.likert = COLLECTOR_LIKERT_LOW;
    says(sc, SC_PAIR("{'key': 'likert_value', 'value': 2}"), "[{" SC_SAID ", 'strength': 2, 'ranks': [1, 2]}]");
    says(sc, SC_PAIR("{'key': 'likert_value', 'value': 4}"), "[{" SC_SAID ", 'strength': 4, 'ranks': [1, 1]}]");
    guesses.likert = COLLECTOR_LIKERT_HIGH;
    says(sc, SC_PAIR("{'key': 'likert_value', 'value': 2}"), "[{" SC_SAID ", 'strength': 2, 'ranks': [2, 1]}]");
    says(sc, SC_PAIR("{'key': 'likert_value', 'value': 8}"), "[]");
}
END_TEST

#define SC_UNCLEAR "[{" SC_SAID ", 'error': 'the ranking does not name each response once'}]"

START_TEST(scale_orders_that_leave_doubt_are_counted)
{
    says(sc, SC_PAIR("{'key': 'selected_model_id', 'value': 'c'}"), SC_UNCLEAR);
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': ['a']}"), SC_UNCLEAR);
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': ['a', 'b', 'c']}"), SC_UNCLEAR);
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': ['a', 'a', 'b']}"), SC_UNCLEAR);
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': null}"), SC_UNCLEAR);
    says(sc, SC_TASK("completed", SC_THREAD(SC_TURN(SC_MESSAGES("a", "a"), "{'key': 'selected_model_id', 'value': 'a'}"), "")),
         SC_UNCLEAR); /* two samples of one model */
}
END_TEST

START_TEST(scale_tasks_that_nobody_could_judge_are_passed_on)
{
    says(sc, SC_PAIR("{'key': 'rank', 'type': 'ranked_choices', 'value': ['a', 'b'], 'cannot_assess': true}"),
         "[{" SC_SAID ", 'skip': 'cannot be assessed, says Scale'}]");
    says(sc, SC_PAIR("{'key': 'selected_model_id', 'value': 'a', 'not_applicable': true}"),
         "[{" SC_SAID ", 'skip': 'cannot be assessed, says Scale'}]");
    says(sc, "{'task_id': 't1', 'status': 'error', 'metadata': {'pair_id': 'u'}, 'errors': [{'type': 'UNSUPPORTED_LANGUAGE'}]}",
         "[{'id': 't1', 'labeler': 'scale', 'task': 'u', 'skip': 'refused by Scale: UNSUPPORTED_LANGUAGE'}]");
    says(sc, SC_TASK("pending", ""), "[]");
    says(sc, SC_TASK("canceled", SC_THREAD(SC_TURN(SC_MESSAGES("a", "b"), "{'key': 'selected_model_id', 'value': 'a'}"), "")), "[]");
    says(sc, "{'task_id': 't1', 'status': 'completed', 'metadata': {}, 'sensitive_content_reports': [{}]}", "[]");
    says(sc, SC_PAIR(""), "[]");
    is_none(sc, "{'status': 'completed'}");
}
END_TEST

#define SC_FIRST "{'role': 'user', 'content': {'text': 'q'}}, {'role': 'assistant', 'content': {'text': 'r'}, 'source_id': 'a'}"

START_TEST(scale_turns_behind_others_have_the_dialogue_as_their_prompt)
{
    says(sc, SC_TASK("completed", SC_THREAD(SC_TURN(SC_FIRST, "") ", "
                                            SC_TURN(SC_MESSAGES("a", "b"), "{'key': 'selected_model_id', 'value': 'b'}"), "")),
         "[{'id': 't1/1', 'labeler': 'c7', 'prompt': '\\n\\nHuman: q\\n\\nAssistant: r\\n\\nHuman: p\\n\\nAssistant:', "
         "'completions': [' x', ' y'], 'ranks': [2, 1]}]");
    says(sc, SC_TASK("completed", SC_THREAD(SC_TURN(SC_MESSAGES("a", "b"), "{'key': 'selected_model_id', 'value': 'b'}") ", "
                                            SC_TURN(SC_MESSAGES("a", "b"), "{'key': 'selected_model_id', 'value': 'a'}"), "")),
         "[{" SC_SAID ", 'ranks': [2, 1]}, {'id': 't1/1', 'labeler': 'c7', 'prompt': "
         "'\\n\\nHuman: p\\n\\nAssistant: y\\n\\nHuman: p\\n\\nAssistant:', 'completions': [' x', ' y'], 'ranks': [1, 2]}]");
    says(sc, SC_TASK("completed", SC_THREAD(SC_TURN(SC_MESSAGES("a", "b"), "") ", "
                                            SC_TURN(SC_MESSAGES("a", "b"), "{'key': 'selected_model_id', 'value': 'a'}"), "")),
         "[{'id': 't1/1', 'labeler': 'c7', 'prompt': 'p', 'completions': ['x', 'y'], 'ranks': [1, 2], "
         "'error': 'which response the turn before it went on with is not known'}]");
}
END_TEST

#define SC_V1(choice) "{'task': {'task_id': 't1', 'params': {'attachments': ['x', 'y'], 'choices': ['first', 'second', 'same']}, " \
    "'metadata': {'pair_id': 'u'}}, 'response': {" choice "}, 'task_id': 't1'}"
#define SC_V1_SAID "'id': 't1', 'labeler': 'scale', 'task': 'u'"

START_TEST(scale_comparisons_of_version_1_name_a_choice)
{
    says(sc, SC_V1("'choice': 'first'"), "[{" SC_V1_SAID ", 'ranks': [1, 2]}]");
    says(sc, SC_V1("'choice': 'second'"), "[{" SC_V1_SAID ", 'ranks': [2, 1]}]");
    says(sc, SC_V1("'choice': 'same'"), "[{" SC_V1_SAID ", 'ranks': [1, 1]}]");
    says(sc, SC_V1("'choice': 'third'"), "[{" SC_V1_SAID ", 'error': 'the choice is none of the first, the second and a tie'}]");
    says(sc, SC_V1(""), "[{" SC_V1_SAID ", 'error': 'the choice is none of the first, the second and a tie'}]");
}
END_TEST

/* ---- Surge ----------------------------------------------------------------------------------------- */

#define SU_TASK(gold, data) "{'id': 't-1', 'is_gold_standard': " gold ", 'fields': {'prompt': 'p', 'response_a': 'x', 'response_b': 'y', " \
    "'pair_id': 'u'}, 'responses': [{'id': 'r0', 'worker_id': 'W1', 'data': {" data "}}]}"
#define SU_SAID "'id': 'r0', 'labeler': 'W1', 'task': 'u', 'prompt': 'p', 'completions': ['x', 'y']"
#define SU_QUESTION "'Which response is better?': "

static const struct collector_vendor *const su = &collector_surge;

START_TEST(surge_options_name_a_side_and_how_much)
{
    static const struct {
        const char *option, *said;
    } options[] = {
        { "A much better", "'ranks': [1, 2], 'strength': 3" },     { "A better", "'ranks': [1, 2], 'strength': 2" },
        { "A slightly better", "'ranks': [1, 2], 'strength': 1" }, { "Same", "'ranks': [1, 1], 'strength': 0" },
        { "B slightly better", "'ranks': [2, 1], 'strength': -1" }, { "B better", "'ranks': [2, 1], 'strength': -2" },
        { "B much better", "'ranks': [2, 1], 'strength': -3" },    { "A", "'ranks': [1, 2], 'strength': 2" },
        { "About equal", "'ranks': [1, 1], 'strength': 0" },
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; ++i) {
        char record[800], expected[400];
        snprintf(record, sizeof record, SU_TASK("false", SU_QUESTION "'%s'"), options[i].option);
        snprintf(expected, sizeof expected, "[{" SU_SAID ", %s, 'directed': true}]", options[i].said);
        says(su, record, expected);
    }
    says(su, SU_TASK("true", SU_QUESTION "'A better'"), "[]"); /* its own test of its people */
}
END_TEST

START_TEST(surge_answers_to_other_questions_decide_nothing)
{
    says(su, SU_TASK("false", "'Why?': 'They tell the same story, but B ends it.', " SU_QUESTION "'B better'"),
         "[{" SU_SAID ", 'note': 'They tell the same story, but B ends it.', 'ranks': [2, 1], 'strength': -2, 'directed': true}]");
    says(su, SU_TASK("false", "'Explain': 'Both of them tell more or less the same story, but B ends it better.', 'Pick one': 'A better'"),
         "[{" SU_SAID ", 'note': 'Both of them tell more or less the same story, but B ends it better.', 'ranks': [1, 2], "
         "'strength': 2, 'directed': true}]");
    says(su, SU_TASK("false", ""), "[]");
    says(su, SU_TASK("false", "'rank': ['A', 'B']"), "[]");
    says(su, SU_TASK("false", SU_QUESTION "'Neither'"), "[{" SU_SAID ", 'error': 'the answer names neither A nor B, nor a tie'}]");
    is_none(su, "{'id': 't-1', 'fields': {}}");
}
END_TEST

/* ---- Argilla --------------------------------------------------------------------------------------- */

#define AR_RECORD(status, values) "{'id': 'rec-1', 'external_id': 'u', 'fields': {'prompt': 'p', 'response1': 'x', 'response2': 'y', " \
    "'response3': 'z'}, 'suggestions': [{'question_name': 'preference', 'value': 'response1'}], 'responses': [{'user_id': 'u1', "    \
    "'status': '" status "', 'values': {" values "}}]}"
#define AR_SAID "'id': 'rec-1@u1', 'labeler': 'u1', 'task': 'u', 'prompt': 'p', 'completions': ['x', 'y', 'z']"
#define AR_RANK(a, b, c) "'rank': {'value': [{'value': 'response1', 'rank': " a "}, {'value': 'response2', 'rank': " b "}, " \
    "{'value': 'response3', 'rank': " c "}]}"

static const struct collector_vendor *const ar = &collector_argilla;

START_TEST(argilla_answers_name_the_best_or_rank)
{
    says(ar, AR_RECORD("submitted", "'preference': {'value': 'response2'}"), "[{" AR_SAID ", 'ranks': [2, 1, 2]}]");
    says(ar, AR_RECORD("submitted", AR_RANK("2", "1", "1")), "[{" AR_SAID ", 'ranks': [2, 1, 1]}]");
    says(ar, AR_RECORD("submitted", "'preference': {'value': 'tie'}, 'why': {'value': 'all say the same'}"),
         "[{" AR_SAID ", 'ranks': [1, 1, 1]}]");
    says(ar, AR_RECORD("draft", "'preference': {'value': 'response2'}"), "[]");
    says(ar, AR_RECORD("pending", "'preference': {'value': 'response2'}"), "[]");
    says(ar, AR_RECORD("discarded", ""), "[{" AR_SAID ", 'skip': 'discarded in Argilla'}]");
    says(ar, AR_RECORD("submitted", ""), "[]");
    says(ar, AR_RECORD("submitted", "'preference': {'value': 'response9'}"), "[]");
    says(ar, AR_RECORD("submitted", "'rank': {'value': [{'value': 'response1', 'rank': 1}]}"),
         "[{" AR_SAID ", 'error': 'the ranking leaves out response2'}]");
    says(ar, "{'id': 'rec-1', 'fields': {'prompt': 'p'}, 'responses': []}", "[]");
    is_none(ar, "{'id': 'rec-1', 'responses': []}");
}
END_TEST

static void setup(void)
{
    guesses = collector_default_guesses;
}

int main(void)
{
    return RUN_SUITE_WITH(
        "label-collector/adapters", setup, NULL, label_studio_pairs_name_a_side,
        label_studio_submissions_without_a_choice_are_nothing, label_studio_results_that_make_no_sense_are_counted,
        label_studio_rankings_are_under_their_controls_name, label_studios_small_records_say_the_same,
        labelbox_radios_name_a_response, labelbox_rows_without_a_judgement_are_none, scale_selects_or_ranks_by_source,
        scale_likert_decides_only_where_its_direction_is_known, scale_orders_that_leave_doubt_are_counted,
        scale_tasks_that_nobody_could_judge_are_passed_on, scale_turns_behind_others_have_the_dialogue_as_their_prompt,
        scale_comparisons_of_version_1_name_a_choice, surge_options_name_a_side_and_how_much,
        surge_answers_to_other_questions_decide_nothing, argilla_answers_name_the_best_or_rank);
}
