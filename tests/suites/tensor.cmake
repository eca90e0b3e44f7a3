rlhf_suites(unit tensor USES tensor base)
