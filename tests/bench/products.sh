#!/usr/bin/env bash
# Does bfloat16 cost anything that is learnt? Pretrains one small model twice, 300 steps of the same batches from the same seed, with products in fp32 and in
# bf16, and prints the mean loss of the last 30 steps of each, and the ratio, as JSON lines.
#   tests/bench/products.sh TEXT [BUILD]      a file of text; build/dev
set -euo pipefail
text=$(realpath "$1")
cd "$(dirname "$0")/../.."
learner=${2:-build/dev}/daemons/learner
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

for products in fp32 bf16; do
    cat > "$place/$products.yaml" <<RUN
run: {name: $products, dir: $place/$products, seed: 1, products: $products}
tokenizer: {train: {files: [$text], vocab_size: 1024}}
model: {style: llama, layers: 4, heads: 4, channels: 256, context: 128}
stages:
  - pretrain: {name: text, data: [$text], steps: 300, batch: 16, window: 64, optimizer: {learning_rate: 1e-3, schedule: cosine, warmup: 20}}
RUN
    mkdir "$place/$products"
    "$learner" --config "$place/$products.yaml" 2> "$place/$products.log" || { tail -3 "$place/$products.log" >&2; exit 1; }
done
python3 - "$place" <<'PRINT'
import json, sys

def lines(products):
    return [json.loads(line) for line in open(f"{sys.argv[1]}/{products}/metrics.jsonl")]

loss = {}
for products in ("fp32", "bf16"):
    steps = [line["loss"] for line in lines(products) if line["stage"] == "text"]
    loss[products] = sum(steps[-30:]) / 30
    print(json.dumps({"case": "loss-after-300", "dtype": products, "value": round(loss[products], 5), "unit": "nats", "steps": len(steps)}))
print(json.dumps({"case": "loss-after-300", "value": round(loss["bf16"] / loss["fp32"], 5), "unit": "bf16 / fp32"}))
PRINT
