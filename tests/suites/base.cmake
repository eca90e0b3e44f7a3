rlhf_suites(unit base USES base)
rlhf_suites(unit telemetry USES telemetry base)
rlhf_suites(unit config USES config base)
rlhf_suites(unit store USES store telemetry base)
