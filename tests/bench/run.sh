#!/usr/bin/env bash
# Measures what is measured here, one JSON line a case, on an otherwise idle machine.
#   tests/bench/run.sh [CASE ...]      cases of tests/bench/*.c by name; all of them without
# SECONDS_A_CASE sets how long each is repeated (3); what counts is the median.
# Peers do the same work in the same run (tests/bench/peers): RLHF_PEER_PYTHON is a Python that has torch, RLHF_LLAMA_PYTHON one
# that has llama-cpp-python and gguf, RLHF_TRANSFORMERS_PYTHON one that has torch and transformers. PyTorch trains in turns with
# bench-train, ROUNDS times (3). Cases train-hh-… want RLHF_HH_IDS, a folder of token ids: peers/hh_ids.py
# hh-rlhf/train.jsonl.gz 4096 64 > FOLDER/hh-4096.ids, and the same with 32000. `iteration` is a case, too: the daemons', and TRL's
# with RLHF_PEER_PYTHON.
set -euo pipefail
cd "$(dirname "$0")/../.."

cmake --preset dev --log-level=WARNING >&2
cmake --build build/dev -j "$(nproc)" --target bench-all >&2
for program in build/dev/tests/bench-*; do
    [ -x "$program" ] && [ -f "$program" ] || continue
    if [ $# -eq 0 ]; then
        "$program" "${SECONDS_A_CASE:-3}"
    else
        for case in "$@"; do
            "$program" "${SECONDS_A_CASE:-3}" "$case"
        done
    fi
done
if [ -n "${RLHF_PEER_PYTHON:-}" ]; then
    for case in train-tiny train-gpt2 train-l100 train-hh-tiny train-hh-l100; do
        [[ $case = train-hh-* && -z "${RLHF_HH_IDS:-}" ]] && continue
        if [ $# -eq 0 ] || [[ " $* " = *" $case "* ]]; then
            "$RLHF_PEER_PYTHON" tests/bench/peers/train_ratios.py build/dev/tests/bench-train "${ROUNDS:-3}" "${SECONDS_A_CASE:-3}" 2 "$case" eager compile
        fi
    done
fi
if [ -n "${RLHF_TRANSFORMERS_PYTHON:-}" ] && [ $# -eq 0 ]; then
    "$RLHF_TRANSFORMERS_PYTHON" tests/bench/peers/transformers_generate.py "${SECONDS_A_CASE:-3}" 2
fi
if [ -n "${RLHF_LLAMA_PYTHON:-}" ] && [ $# -eq 0 ]; then
    "$RLHF_LLAMA_PYTHON" tests/bench/peers/llama_generate.py "${SECONDS_A_CASE:-3}" 2
fi
if [ $# -eq 0 ] || [[ " $* " = *" iteration "* ]]; then
    cmake --build build/dev -j "$(nproc)" >&2
    tests/bench/iteration.py build/dev
    [ -z "${RLHF_PEER_PYTHON:-}" ] || "$RLHF_PEER_PYTHON" tests/bench/peers/trl_grpo.py "$(nproc)"
fi
