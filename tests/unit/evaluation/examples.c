/* Expected numbers are Python's: r = random.Random(seed); r.sample(range(count), wanted). */
#include "evaluation/examples.h"

#include <stdbool.h>

#include "support/suite.h"

static void expect_draw(struct rlhf_examples *e, size_t count, size_t wanted, const size_t *expected)
{
    size_t out[RLHF_EXAMPLES_MAX];

    rlhf_examples_draw(e, count, wanted, out);
    for (size_t i = 0; i < wanted; i++)
        ck_assert_uint_eq(out[i], expected[i]);
}

START_TEST(draws_are_pythons)
{
    struct rlhf_examples e;

    rlhf_examples_init(&e, 1234);
    expect_draw(&e, 40, 5, (size_t[]){ 28, 7, 0, 5, 37 });
    expect_draw(&e, 40, 5, (size_t[]){ 2, 5, 6, 22, 15 });
    expect_draw(&e, 21, 3, (size_t[]){ 0, 20, 19 });
    expect_draw(&e, 7473, 7, (size_t[]){ 2835, 5311, 5105, 3966, 5044, 3797, 1216 });
    expect_draw(&e, 100, 6, (size_t[]){ 11, 23, 91, 14, 1, 64 });
    rlhf_examples_init(&e, 7);
    expect_draw(&e, 9, 9, (size_t[]){ 5, 2, 3, 8, 0, 4, 7, 6, 1 });
}
END_TEST

START_TEST(all_of_them_come_once_however_many)
{
    struct rlhf_examples e;
    size_t out[RLHF_EXAMPLES_MAX];

    rlhf_examples_init(&e, 3);
    for (size_t round = 0; round < 40; round++) {
        bool seen[RLHF_EXAMPLES_MAX] = { false };

        rlhf_examples_draw(&e, RLHF_EXAMPLES_MAX, RLHF_EXAMPLES_MAX, out);
        for (size_t i = 0; i < RLHF_EXAMPLES_MAX; i++) {
            ck_assert(!seen[out[i]]);
            seen[out[i]] = true;
        }
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/examples", draws_are_pythons, all_of_them_come_once_however_many);
}
