rlhf_suites(unit agreement USES agreement base)
