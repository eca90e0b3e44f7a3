/* check.h - invariants: what only a mistake of ours can break. They stay on in release builds, because going on with a
 * broken invariant would be untruthful. Input is never asserted on; it gets an error. */
#ifndef RLHF_BASE_CHECK_H
#define RLHF_BASE_CHECK_H

#define RLHF_ASSERT(condition)                                                                               \
    (__builtin_expect(!(condition), 0) ? rlhf_assert_failed(#condition, __FILE__, __LINE__, __func__) : (void)0)

/* Says on stderr what broke and where, and aborts. */
_Noreturn void rlhf_assert_failed(const char *condition, const char *file, int line, const char *function);

#endif
