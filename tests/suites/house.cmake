rlhf_suites(unit daemon USES daemon)
if(TARGET rlhfctl)
  rlhf_suites(integration rlhfctl USES base)
endif()
