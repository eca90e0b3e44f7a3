rlhf_suites(unit quickstart USES kingdom base)
