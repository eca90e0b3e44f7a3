rlhf_suites(unit reward USES reward reward_service base)
