/* overdue.h - tasks that vendors have had for too long (hold_hours) are offered to others again. */
#ifndef LABEL_COLLECTOR_OVERDUE_H
#define LABEL_COLLECTOR_OVERDUE_H

#include "collector.h"

/* Every minute at most. Never fails: what the store says goes to collector_wrote(). */
void collector_free_overdue(struct collector *c);

#endif
