rlhf_suites(unit rl USES rl tensor base)
rlhf_suites(parity rl USES rl tensor base LIBS PkgConfig::jansson)
