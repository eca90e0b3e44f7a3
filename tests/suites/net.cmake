rlhf_suites(unit net USES simulation net proto base)
