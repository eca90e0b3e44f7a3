rlhf_suites(unit tokenizer USES tokenizer base)
rlhf_suites(parity tokenizer USES chat tokenizer base LIBS PkgConfig::jansson)
rlhf_suites(unit chat USES chat base LIBS PkgConfig::jansson)
rlhf_fuzz(chat_template USES chat LIBS PkgConfig::jansson)
rlhf_bench(tokenizer USES tokenizer base LIBS PkgConfig::jansson m)
rlhf_suites(unit data USES data tokenizer base)
rlhf_suites(parity data USES data tokenizer base)
rlhf_fuzz(comparison USES data)

# The same comparison with the library itself, where python has it.
add_executable(tokenizer-tool parity/tokenizer_tool.c)
target_link_libraries(tokenizer-tool PRIVATE rlhf_tokenizer rlhf_flags)
rlhf_test(parity/tokenizer/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/tokenizer_live.py
          $<TARGET_FILE:test-parity-tokenizer-fixtures> $<TARGET_FILE:tokenizer-tool>)
rlhf_fuzz(tokenizer_json USES tokenizer)

# Chat templates beside transformers itself, where python has it.
rlhf_test(parity/chat/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/chat_live.py $<TARGET_FILE:rlhfctl> 1 400)
