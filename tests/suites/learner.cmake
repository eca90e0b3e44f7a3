if(TARGET learner-objects)
  add_library(rlhf_learner_fleet ALIAS learner-objects)
  rlhf_suites(unit learner USES learner_fleet simulation)
endif()
