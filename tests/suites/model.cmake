rlhf_suites(unit model USES model tensor base)
rlhf_suites(parity model USES model tensor base)
