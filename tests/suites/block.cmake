# The same comparison with transformers itself, where python has it: random models of every family.
rlhf_test(parity/model/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/models_live.py $<TARGET_FILE:rlhfctl> 70)

# The small fixtures of our own, so that the walkers have something without ../shared.
foreach(suite IN ITEMS models training rope)
  rlhf_test(parity/model/${suite}-own COMMAND ${CMAKE_COMMAND} -E env RLHF_FIXTURES=${CMAKE_CURRENT_SOURCE_DIR}/parity/fixtures
            $<TARGET_FILE:test-parity-model-${suite}>)
endforeach()
