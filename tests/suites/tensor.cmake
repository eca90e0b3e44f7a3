rlhf_suites(unit tensor USES tensor base)
rlhf_bench(gemm USES tensor base LIBS ${CMAKE_DL_LIBS})
