/* slow_sync.h - a disk whose syncs take RLHF_SYNC_US microseconds longer, for programs that are linked with this library or
 * preload it. Machines differ more in this than in anything else that a database waits for. */
#ifndef RLHF_BENCH_SLOW_SYNC_H
#define RLHF_BENCH_SLOW_SYNC_H

const char *slow_sync_library(void); /* its file, to be preloaded */

#endif
