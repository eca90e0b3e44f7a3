#!/usr/bin/env bash
# quickstart.yaml with a few steps in each stage, to the file named.
set -euo pipefail

sed -e 's/steps: 1700/steps: 30/; s/epochs: [23]/epochs: 1/; s/iterations: [35]0/iterations: 3/' \
    -e 's/prompts_per_iteration: 128/prompts_per_iteration: 16/; s/samples: 6/samples: 4\n      count: 24/' \
    -e 's/samples: 3/samples: 2/; s/comparisons-2.jsonl$/comparisons-2.jsonl\n      count: 16/' \
    -e 's/validation.jsonl}/validation.jsonl, count: 20}/; s/evaluation.jsonl}/evaluation.jsonl, count: 40}/' \
    -e 's/\(heldout[a-z_]*\|sums\|copies\|recall\|asked\).jsonl}/\1.jsonl, count: 30}/' \
    "$RLHF_SOURCE/deploy/quickstart/quickstart.yaml" >"$1"
for part in 'count: 24' 'count: 16' 'count: 40'; do
    grep -q "$part" "$1" || { echo "quickstart.yaml has changed; adapt $0" >&2; exit 1; }
done
