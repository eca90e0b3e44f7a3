rlhf_suites(unit tokenizer USES tokenizer base)
rlhf_suites(parity tokenizer USES tokenizer base LIBS PkgConfig::jansson)
