/* program.h - the whole rollout-worker: what main.c calls, and a bench that times its steps from within. */
#ifndef ROLLOUT_WORKER_PROGRAM_H
#define ROLLOUT_WORKER_PROGRAM_H

/* Until it is told to stop; the status of the process. */
int rollout_worker_main(int argc, char **argv);

#endif
