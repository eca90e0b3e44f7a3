#include "reward/rules.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { NUMBER_MOST = 128 };

/* ---- lengths ----------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return isspace((unsigned char)c) != 0;
}

static double length_of(const struct rlhf_source_text *t, enum rlhf_length_unit unit)
{
    size_t words = 0, characters = 0;

    if (unit == RLHF_LENGTH_TOKENS)
        return t->tokens;
    for (const char *c = t->completion; *c; c++) {
        words += !is_space(*c) && (c == t->completion || is_space(c[-1]));
        characters += ((unsigned char)*c & 0xC0) != 0x80;
    }
    return (double)(unit == RLHF_LENGTH_WORDS ? words : characters);
}

static double length_reward(const struct rlhf_source_settings *s, const struct rlhf_source_text *t)
{
    double length = length_of(t, s->unit);
    double outside = length < s->low ? s->low - length : length > s->high ? length - s->high : 0;

    return outside > 0 ? -s->per_unit * outside : 0; /* never -0 */
}

/* ---- exact answers ----------------------------------------------------------------------------------- */

static void trim(const char **at, size_t *size)
{
    while (*size > 0 && is_space(**at))
        ++*at, --*size;
    while (*size > 0 && is_space((*at)[*size - 1]))
        --*size;
}

bool rlhf_number_normal(const char *text, size_t size, char *out, size_t capacity)
{
    char digits[NUMBER_MOST];
    size_t n = 0, point = SIZE_MAX, from = 0;
    bool negative = false, any = false;

    trim(&text, &size);
    if (size > 0 && (*text == '-' || *text == '+'))
        negative = *text == '-', text++, size--;
    if (size > 0 && *text == '$')
        text++, size--;
    while (size > 0 && (text[size - 1] == '.' || text[size - 1] == '%'))
        size--;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ',' && i > 0 && point == SIZE_MAX)
            continue;
        if (n == sizeof digits || !(isdigit((unsigned char)text[i]) || (text[i] == '.' && point == SIZE_MAX)))
            return false;
        if (text[i] == '.')
            point = n;
        else
            any = true;
        digits[n++] = text[i];
    }
    if (!any)
        return false;
    while (point != SIZE_MAX && (digits[n - 1] == '0' || n - 1 == point)) { /* 1.50, 1. */
        if (--n == point)
            break;
    }
    while (from + 1 < n && digits[from] == '0' && digits[from + 1] != '.')
        from++;
    negative = negative && !(n - from == 1 && digits[from] == '0') && n > from;
    if (n - from + 3 > capacity)
        return false;
    size = 0;
    if (negative)
        out[size++] = '-';
    if (n == from || digits[from] == '.') /* .5 */
        out[size++] = '0';
    memcpy(out + size, digits + from, n - from);
    out[size + n - from] = '\0';
    return true;
}

/* Where the answer stands in a text. */
static int find_answer(const struct rlhf_source *s, const char *text, const char **at, size_t *size, bool *found,
                       struct rlhf_error *err)
{
    *at = text;
    *size = strlen(text);
    *found = true;
    if (rlhf_source_settings(s)->expression[0] && rlhf_source_find(s, text, at, size, found, err) < 0)
        return -1;
    trim(at, size);
    return 0;
}

static bool same_answer(const char *a, size_t a_size, const char *b, size_t b_size, bool numbers)
{
    char x[NUMBER_MOST + 4], y[NUMBER_MOST + 4];

    if (numbers && rlhf_number_normal(a, a_size, x, sizeof x) && rlhf_number_normal(b, b_size, y, sizeof y))
        return strcmp(x, y) == 0;
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

static float exact_reward(const struct rlhf_source *s, const struct rlhf_source_text *t, struct rlhf_error *why)
{
    const struct rlhf_source_settings *o = rlhf_source_settings(s);
    const char *given, *wanted;
    size_t given_size, wanted_size;
    bool found, stated;

    if (!t->answer) {
        rlhf_fail(why, RLHF_REJECT, "the prompt has no answer to compare with");
        return NAN;
    }
    if (find_answer(s, t->answer, &wanted, &wanted_size, &stated, why) < 0
        || find_answer(s, t->completion, &given, &given_size, &found, why) < 0)
        return NAN;
    if (!stated) { /* the answer alone, without what stands around it in a completion */
        wanted = t->answer;
        wanted_size = strlen(wanted);
        trim(&wanted, &wanted_size);
    }
    return (float)(found && same_answer(given, given_size, wanted, wanted_size, o->numbers) ? o->matched : o->unmatched);
}

/* ---- all --------------------------------------------------------------------------------------------- */

float rlhf_rule_reward(const struct rlhf_source *s, const struct rlhf_source_text *t, struct rlhf_error *why)
{
    const struct rlhf_source_settings *o = rlhf_source_settings(s);
    const char *at;
    size_t size;
    bool found;

    switch (o->kind) {
    case RLHF_SOURCE_PATTERN:
        if (rlhf_source_find(s, t->completion, &at, &size, &found, why) < 0)
            return NAN;
        return (float)(found ? o->matched : o->unmatched);
    case RLHF_SOURCE_LENGTH:
        return (float)length_reward(o, t);
    case RLHF_SOURCE_EXACT:
        return exact_reward(s, t, why);
    default:
        rlhf_fail(why, RLHF_REJECT, "'%s' is no rule: it is asked for over the network", o->name);
        return NAN;
    }
}
