#!/usr/bin/env bash
# Runs a libFuzzer program for RLHF_FUZZ_SECONDS (60). What it learns is kept beside it, in NAME.corpus, and goes on growing
# in later runs; the seeds in tests/fuzz/corpus are read, not written. An input that is a finding is named in the output.
#   tests/fuzz/search.sh build/fuzz/tests/fuzz-journal
set -euo pipefail
program=$1
name=${program##*/fuzz-}
seeds=$(dirname "$0")/corpus/$name
mkdir -p "$program.corpus"
# Memory: what hostile files may take at most. Time: an input that needs 10 s is a finding.
exec "$program" -max_total_time="${RLHF_FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -error_exitcode=1 -timeout_exitcode=1 -print_final_stats=1 -verbosity=1 -artifact_prefix="$program." "$program.corpus" "$seeds" 2>&1 | tail -n 40
