rlhf_bench(open USES model)
rlhf_fuzz(shards USES model)
rlhf_test(parity/model/files_live LONG COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/parity/files_live.py $<TARGET_FILE:rlhfctl>)
rlhf_test(integration/rlhfctl/convert COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/rlhfctl/convert.sh)
