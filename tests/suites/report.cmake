# What a run tells people: TensorBoard's event files.
rlhf_suites(unit events USES events base)
rlhf_suites(parity events USES events base LIBS PkgConfig::jansson)
rlhf_fuzz(events USES events)
