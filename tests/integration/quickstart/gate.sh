#!/usr/bin/env bash
# The alignment tax gated, in a small kingdom: PPO without pretraining text wins and is rolled back for its tax; the same PPO with
# it wins and is promoted, and what follows starts from it.
set -euo pipefail

dir=$(mktemp -d /tmp/rlhfd-gate.XXXXXX)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; tail -n 20 "$dir"/out "$dir"/run/log/learner.log >&2 2>/dev/null || true; exit 1; }
ctl=$RLHF_BUILD/daemons/rlhfctl
kingdom=$RLHF_BUILD/deploy/quickstart/rlhf-kingdom
world=$dir/world

"$kingdom" make --seed 1 --out "$world" >/dev/null

# policy NAME KEYS: PPO from SFT, hard enough that its tax shows after a few iterations
policy() {
    cat <<YAML
  - policy:
      name: $1
      from: sft
      reward_model: reward
      prompts: $world/policy-1.jsonl
      iterations: 16
      prompts_per_iteration: 64
      minibatch: 16
      kl_coefficient: 0.1
      penalize_missing_end: true
      missing_end_reward: -3
      sampling: {max_new_tokens: 36}
      optimizer: {learning_rate: 6e-4, warmup: 2, epsilon: 1e-5}
      value_optimizer: {learning_rate: 5e-4, epsilon: 1e-5}
$2
YAML
}
# gate NAME CANDIDATE
gate() {
    cat <<YAML
  - evaluate:
      name: measured-$2
      policies: [sft, $2]
      reward_model: reward
      reference: sft
      prompts: [{name: evaluation, file: $world/evaluation.jsonl}]
      sampling: {max_new_tokens: 36}
      perplexity: [{name: without_forum, file: $world/heldout_without_forum.jsonl, count: 200}]
      exact: [{name: recall, file: $world/recall.jsonl}]
  - gate:
      name: $1
      candidate: $2
      evaluation: measured-$2
      tax:
        - {metrics: [perplexity.without_forum], better: lower, budget: 0.15}
        - {metrics: [exact.recall], better: higher, budget: 0.15}
      otherwise: go_on
YAML
}
cat >"$dir/run.yaml" <<YAML
run: {name: gate, dir: $dir/run, seed: 1}
tokenizer: {train: {files: [$world/tokenizer.jsonl], vocab_size: 512, digits_alone: true}}
model: {style: gpt2, layers: 2, heads: 4, channels: 96, context: 128}
learner: {threads: 2}
up: {rollout_workers: 2, label_collector: {http: "127.0.0.1:0"}}
stages:
  - pretrain:
      name: pretrained
      data: [$world/corpus.jsonl]
      steps: 700
      batch: 16
      window: 64
      optimizer: {learning_rate: 4e-3, warmup: 50, schedule: cosine, final_rate: 0.05}
  - sft:
      name: sft
      data: [$world/demonstrations.jsonl]
      epochs: 1
      batch: 32
      optimizer: {learning_rate: 6e-4, schedule: linear, final_rate: 0.1}
      mix: {data: [$world/corpus.jsonl], weight: 0.5, windows: 8, window: 64}
  - collect: {name: comparisons, policies: [sft], prompts: $world/comparisons-1.jsonl, count: 300, samples: 5, sampling: {max_new_tokens: 36}}
  - reward:
      name: reward
      rounds: [comparisons]
      held_out: 0
      epochs: 1
      batch: 8
      optimizer: {learning_rate: 6e-4, warmup: 5, schedule: linear, final_rate: 0.1}
$(policy plain "")
$(gate gate-plain plain)
$(policy ptx "      mix: {data: [$world/corpus.jsonl], weight: 4.0, windows: 8, window: 64}")
$(gate gate-ptx ptx)
  - sft: {name: next, data: [$world/demonstrations.jsonl], steps: 1}
YAML

"$ctl" up "$dir/run.yaml" --with "'$kingdom' label --world '$world/world.json' --address-file '$dir/run/labels.http'" >"$dir/out" 2>&1 ||
    fail "the run did not complete"
python3 - "$dir/run" <<'PY' || fail "the gates decided otherwise"
import json, sys
run = sys.argv[1]
plain, ptx = (json.load(open(f"{run}/gates/gate-{name}.json")) for name in ("plain", "ptx"))
clauses = lambda gate: {c["metric"]: c for c in gate["tries"][-1]["clauses"]}
for name, gate in (("plain", plain), ("ptx", ptx)):
    for c in clauses(gate).values():
        print(name, {k: round(v, 4) if isinstance(v, float) else v for k, v in c.items()}, file=sys.stderr)
assert clauses(plain)["reward"]["holds"] and not clauses(plain)["perplexity.without_forum"]["holds"], "plain PPO should win and pay"
assert plain["promoted"] == "sft" and plain["reaction"] == "go_on" and plain["reason"].startswith("tax: perplexity")
assert all(c["holds"] for c in clauses(ptx).values()) and ptx["promoted"] == "ptx"
assert "ptx" in json.load(open(f"{run}/checkpoints/next/provenance.json"))["parents"]
PY
grep -q "gate-clause stage=gate-plain candidate=plain clause=tax holds=no" "$dir/run/log/learner.log" || fail "the log does not name the clause"
echo "the gate rolled back the policy without pretraining text and promoted the one with it"
