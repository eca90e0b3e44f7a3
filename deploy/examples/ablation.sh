#!/usr/bin/env bash
# The shapes of the paper's ablations in the quickstart's kingdom: deploy/examples/ablation.sh [kl | ptx | comparisons | reward-model]..., all of
# them by default. They share one run directory, so what they have in common is made once.
set -euo pipefail

main() {
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- kl ptx comparisons reward-model
for name in "$@"; do
    [ -e "deploy/examples/ablation-$name.yaml" ] || { echo "ablation.sh: there is no ablation '$name' (kl, ptx, comparisons, reward-model)" >&2; exit 2; }
done
. deploy/programs.sh
build_programs
rlhfctl=$(find_program rlhfctl)
kingdom=$(find_program rlhf-kingdom)
dir=runs/ablation
mkdir -p "$dir"
[ -e "$dir/world/world.json" ] || "$kingdom" make --seed 1 --out "$dir/world"
"$kingdom" judge --world "$dir/world/world.json" --port 8478 &
judge=$!
trap 'kill $judge 2>/dev/null || true' EXIT
for name in "$@"; do
    printf '\n== %s\n' "$name"
    "$rlhfctl" up "deploy/examples/ablation-$name.yaml" --with \
        "'$kingdom' label --world '$dir/world/world.json' --address-file '$dir/labels.http'"
    at=$name
    [ "$name" != comparisons ] || at=size
    python3 - "$dir/evaluations/$at/metrics.json" <<'PY'
import json, sys
models = json.load(open(sys.argv[1]))["models"]
print(f"{'policy':12}{'score':>8}{'judge':>8}{'KL':>8}{'perplexity':>12}{'sums':>8}{'copies':>8}")
for name, m in models.items():
    print(f"{name:12}{m['reward']:8.2f}{m['reward.gold']:8.2f}{m['kl']:8.2f}{m['perplexity']['without_forum']:12.3f}"
          f"{100 * m['exact']['sums']:8.0f}{100 * m['exact']['copies']:8.0f}")
PY
done
exit
}
main "$@"
