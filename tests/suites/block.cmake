# The same comparison with transformers itself, where python has it: random models of every family.
rlhf_test(parity/model/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/models_live.py $<TARGET_FILE:rlhfctl> 70)
