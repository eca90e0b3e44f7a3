rlhf_suites(unit base USES base)
