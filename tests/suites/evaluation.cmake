rlhf_suites(unit evaluation USES evaluation config data chat model tokenizer tensor base LIBS PkgConfig::jansson)
rlhf_fuzz(suite USES evaluation)

# lm-evaluation-harness itself beside `rlhfctl eval`, where python has it: random models, tokenizers of four kinds.
rlhf_test(parity/evaluation/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/evaluate_live.py $<TARGET_FILE:rlhfctl> 12)
# What it computed for the small fixtures of our own.
rlhf_test(parity/evaluation/own COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/evaluate_own.py $<TARGET_FILE:rlhfctl>
          ${CMAKE_CURRENT_SOURCE_DIR}/parity/fixtures/evaluation)
rlhf_test(integration/rlhfctl/eval COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/rlhfctl/eval.sh)
