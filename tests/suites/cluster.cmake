# All four daemons' state machines in one process, on a seed.
add_library(rlhf_cluster INTERFACE)
target_link_libraries(rlhf_cluster INTERFACE learner-objects rollout-worker-objects reward-scorer-objects
                      label-collector-objects rlhf_simulation)
rlhf_suites(unit cluster USES cluster)
# Real daemons, real sockets, real kills.
rlhf_suites(faults cluster USES reward_service config base LIBS PkgConfig::jansson learner-objects)
# A person in a browser, and the learner that waits for what they say.
rlhf_suites(integration learner USES browser model config base LIBS PkgConfig::jansson learner-objects)
set_tests_properties(${prefix}integration/learner/click PROPERTIES LABELS "integration;browser")
