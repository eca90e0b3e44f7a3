rlhf_suites(unit rl USES rl tensor base)
rlhf_suites(parity rl USES rl tensor base LIBS PkgConfig::jansson)

# The training side of the learner, with everything around it answered in one process.
add_library(rlhf_local_port STATIC support/learner/local_port.c)
target_include_directories(rlhf_local_port PUBLIC ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(rlhf_local_port PUBLIC learner-objects PRIVATE rlhf_flags)
rlhf_suites(unit learner-train USES local_port LIBS PkgConfig::jansson)
rlhf_suites(parity learner-train USES local_port LIBS PkgConfig::jansson)
rlhf_suites(faults learner USES local_port)
