#!/usr/bin/env bash
# Runs every test: installs what is missing, builds with warnings as errors, builds again with the address and
# undefined-behaviour sanitizers, and runs both builds' tests through one ctest, whose summary comes last.
#   tests/run.sh [-R REGEX ...]      arguments go to ctest
#   tests/run.sh fuzz [SECONDS [-R REGEX ...]]   libFuzzer searches with every fuzz target for so long (60)
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

jobs=$(nproc)
if command -v ccache >/dev/null; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache
fi

if [ "${1:-}" = fuzz ]; then
    export RLHF_FUZZ_SECONDS=${2:-60}
    shift $(($# > 1 ? 2 : 1))
    deploy/install-packages.sh build run test fuzz
    cmake --preset fuzz --log-level=WARNING
    cmake --build build/fuzz -j "$jobs" --target fuzz-all
    exec ctest --test-dir build/fuzz -L '^fuzz$' -j "$jobs" --output-on-failure --no-tests=error "$@"
fi
deploy/install-packages.sh build run test
for preset in ci asan; do
    echo "== $preset: configure and build"
    cmake --preset "$preset" --log-level=WARNING
    cmake --build "build/$preset" -j "$jobs"
done

# One ctest over both build trees. Tests of the sanitized build are called asan/...; what only measures, or takes
# minutes even without sanitizers, has the label "long" or "bench" and runs once.
mkdir -p build/all
cat >build/all/CTestTestfile.cmake <<EOF
subdirs("$PWD/build/ci" "$PWD/build/asan")
EOF
echo "== tests"
exec ctest --test-dir build/all -j "$jobs" --output-on-failure --no-tests=error "$@"
