# The sampler and the command around it against transformers itself, where python has it.
rlhf_test(parity/sampling/live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/sampling_live.py
          $<TARGET_FILE:rlhfctl> 300)
