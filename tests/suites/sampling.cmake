# The sampler and the command around it against transformers itself, where python has it.
rlhf_test(parity/sampling/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/sampling_live.py
          $<TARGET_FILE:rlhfctl> 300)

# LoRA against PEFT itself, both ways.
add_executable(lora-tool parity/lora_tool.c)
target_link_libraries(lora-tool PRIVATE rlhf_model rlhf_tensor rlhf_base rlhf_flags)
rlhf_test(parity/lora/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/lora_live.py
          $<TARGET_FILE:rlhfctl> $<TARGET_FILE:lora-tool> 20)
rlhf_test(parity/generate/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/generate_live.py
          $<TARGET_FILE:rlhfctl> 30)

# The small fixtures of our own, so that the walkers have something without ../shared.
foreach(suite IN ITEMS sampling lora)
  rlhf_test(parity/model/${suite}-own COMMAND ${CMAKE_COMMAND} -E env RLHF_FIXTURES=${CMAKE_CURRENT_SOURCE_DIR}/parity/fixtures
            $<TARGET_FILE:test-parity-model-${suite}>)
endforeach()
