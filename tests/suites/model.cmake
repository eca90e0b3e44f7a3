rlhf_suites(unit model USES model tensor base)
rlhf_suites(parity model USES model tensor base)
rlhf_fuzz(safetensors USES model)
rlhf_fuzz(config_json USES model)
rlhf_fuzz(checkpoint USES model)

add_executable(bench-train bench/train.c)
target_link_libraries(bench-train PRIVATE rlhf_model rlhf_flags)
