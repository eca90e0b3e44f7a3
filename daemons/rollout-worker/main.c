/* rollout-worker: turns leased prompts into rollouts. */
#include "rollout-worker/program.h"

int main(int argc, char **argv)
{
    return rollout_worker_main(argc, argv);
}
