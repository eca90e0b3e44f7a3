/* fault.h - which field of a request a refusal is about.
 *
 * Texts of refusals begin with the field as judgement.h has it: "ranks[1] is 7, must be ...", "gold: ranks: 2 given",
 * "query parameter limit must ...". So a person reads one sentence, and a program gets a JSON pointer. */
#ifndef LABEL_COLLECTOR_FAULT_H
#define LABEL_COLLECTOR_FAULT_H

#include <jansson.h>
#include <stddef.h>

enum { COLLECTOR_POINTER = 96 };
/* "/ranks/1" behind prefix ("" or "/3", the element of an array); prefix alone where the text names no field. */
void collector_fault_pointer(const char *text, const char *prefix, char pointer[COLLECTOR_POINTER]);
/* {"pointer": ..., "detail": text}, or {"parameter": ..., ...} of the query; NULL where the text names neither. */
json_t *collector_fault_json(const char *text);

#endif
