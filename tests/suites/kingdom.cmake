rlhf_suites(unit quickstart USES kingdom base)
if(TARGET rlhfctl-objects)
  add_library(rlhf_rlhfctl ALIAS rlhfctl-objects)
  rlhf_suites(unit rlhfctl USES rlhfctl)
endif()
rlhf_test(integration/quickstart/mistakes COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/quickstart/mistakes.sh)
# A person in a browser in the labeler's place.
rlhf_suites(integration quickstart USES browser base LIBS PkgConfig::jansson)
set_tests_properties(${prefix}integration/quickstart/yourself PROPERTIES LABELS "integration;browser")
# Minutes under sanitizers; faults/cluster/kill runs the same daemons there.
rlhf_test(integration/quickstart/small LONG TIMEOUT 900 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/quickstart/small.sh)
rlhf_test(integration/quickstart/gate LONG TIMEOUT 900 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/quickstart/gate.sh)
