rlhf_bench(open USES model)
