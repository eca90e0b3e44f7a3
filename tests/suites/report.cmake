# What a run tells people: TensorBoard's event files.
rlhf_suites(unit events USES events base)
rlhf_suites(parity events USES events base LIBS PkgConfig::jansson)
rlhf_fuzz(events USES events)
rlhf_test(parity/events/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/events_live.py
          $<TARGET_FILE:learner> $<TARGET_FILE:rlhfctl>)

# What a checkpoint was made of, and what rlhfctl makes of a run's directory.
rlhf_suites(integration report USES local_port browser LIBS PkgConfig::jansson)
set_tests_properties(${prefix}integration/report/page PROPERTIES LABELS "integration;browser")
add_library(rlhf_report ALIAS report-objects)
rlhf_suites(unit report USES report)
