#!/usr/bin/env bash
# The quickstart, small: the same command, stages, daemons and labeler, a few steps each. While it runs, a worker, the scorer and the
# learner are killed with SIGKILL; the run completes all the same. Then rlhfctl's other commands are used on what it left.
set -euo pipefail

dir=$(mktemp -d /tmp/rlhfd-quickstart.XXXXXX)
up=
cleanup() { [ -z "$up" ] || kill "$up" 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT
fail() { echo "FAILED: $*" >&2; tail -n 20 "$dir"/out "$dir"/run/log/*.log >&2 2>/dev/null || true; exit 1; }
ctl=$RLHF_BUILD/daemons/rlhfctl
run=$dir/run

"$RLHF_SOURCE/tests/integration/quickstart/small_yaml.sh" "$dir/small.yaml" || fail "no small run"
sed -i '0,/stop_at_kl: 6/s//stop_at_kl: 6\n      watch: {over: 1, limits: [{metric: entropy, at_least: 100}]}/' "$dir/small.yaml" # pauses ppo-1 at once

QUICKSTART_YAML=$dir/small.yaml RLHF_BIN=$RLHF_BUILD "$RLHF_SOURCE/deploy/quickstart.sh" --dir "$run" --port 0 >"$dir/out" 2>&1 &
up=$!

# Waits until a command succeeds, as long as the run goes on.
await() {
    local n
    for ((n = 0; n < 2400; n++)); do
        "$@" >/dev/null 2>&1 && return 0
        kill -0 "$up" 2>/dev/null || return 1
        read -rt 0.1 <> <(:) || true
    done
    return 1
}
# The process of this run that was started with a configuration file.
process_of() { pgrep -f -- "--config $run/$1"; }
kill_one() {
    local pid
    pid=$(process_of "$1") && kill -9 $pid || fail "there is no process of $1"
}

await test -s "$run/labels.http" || fail "no label-collector"
await "$ctl" status "$run/run.yaml" || fail "not all daemons answer rlhfctl status"
if "$ctl" up "$run/run.yaml" 2>"$dir/second"; then fail "a second rlhfctl up of the same run starts"; fi
grep -q "is being run by process" "$dir/second" || fail "the second rlhfctl up says: $(cat "$dir/second")"
kill_one etc/rollout-worker-1.yaml
kill_one run.yaml # the learner
await test -d "$run/checkpoints/reward-1" || fail "no reward model after the learner was killed"
kill_one etc/reward-scorer-1.yaml || true
paused() { "$ctl" status "$run/run.yaml" | grep -q "paused: entropy"; }
await paused || fail "the watch does not pause ppo-1"
await "$ctl" resume "$run/run.yaml" || fail "rlhfctl resume"
kill_one etc/rollout-worker-2.yaml || true
wait "$up" || { up=; fail "the run did not complete"; }
up=
grep -q "starting it again" "$dir/out" || fail "nobody said that a daemon was started again"
pgrep -f -- "--config $run/" && fail "daemons are left behind"

python3 - "$run" <<'PY' || fail "report.json"
import json, sys
r = json.load(open(sys.argv[1] + "/report.json"))
assert set(r) == {"seconds", "stages", "reward_model", "models"}, r.keys()
assert r["seconds"] > 0 and len(r["stages"]) == 13, r["stages"]
assert all(set(s) == {"name", "seconds", "steps", "tokens"} for s in r["stages"])
assert set(r["reward_model"]) == {"heldout_accuracy"} and 0 <= r["reward_model"]["heldout_accuracy"] <= 1
assert set(r["models"]) == {"pretrained", "sft", "ppo", "ppo_ptx"}
for name, m in r["models"].items():
    assert set(m) == {"truthful", "toxic", "follows", "win_rate_vs_sft", "kl", "perplexity", "perplexity_all", "arithmetic", "copy"}, m
    assert all(0 <= m[k] <= 1 for k in ("truthful", "toxic", "follows", "win_rate_vs_sft", "arithmetic", "copy")), m
    assert m["perplexity"] > 1 and m["perplexity_all"] > 1, m
assert r["models"]["sft"]["win_rate_vs_sft"] == 0.5 and abs(r["models"]["sft"]["kl"]) < 1e-6
labels = json.load(open(sys.argv[1] + "/labels.json"))
assert labels["labels"] >= 1, labels
PY
grep -q "truthful, %" "$dir/out" && grep -q "Gate: ppo-ptx is" "$dir/out" || fail "no table"

# A run that is complete is quick to run again, and says the same.
cp "$run/report.json" "$dir/before.json"
QUICKSTART_YAML=$dir/small.yaml RLHF_BIN=$RLHF_BUILD "$RLHF_SOURCE/deploy/quickstart.sh" --dir "$run" --port 0 >"$dir/out" 2>&1 ||
    fail "the complete run does not run again"
python3 - "$run" "$dir" <<'PY' || fail "the second report differs"
import json, sys
assert json.load(open(sys.argv[1] + "/report.json"))["models"] == json.load(open(sys.argv[2] + "/before.json"))["models"]
PY

# What rlhfctl does with what is there.
model=$run/checkpoints/ppo-ptx
"$ctl" model inspect --tensors "$model" >"$dir/inspect" || fail "model inspect"
grep -q "layers 3, heads 4" "$dir/inspect" && grep -q "agrees with the MANIFEST" "$dir/inspect" || fail "inspect says: $(cat "$dir/inspect")"
one=$("$ctl" generate --model "$model" --max-tokens 12 --seed 7 'Q: Name the dish of Orla.\nA:') || fail "generate"
two=$("$ctl" generate --model "$model" --max-tokens 12 --seed 7 --threads 1 'Q: Name the dish of Orla.\nA:')
[ "$one" = "$two" ] || fail "the same seed gives '$one' and '$two'"
if "$ctl" generate --model "$run/checkpoints/reward-2" x 2>"$dir/said"; then fail "a reward model writes"; fi
grep -q "gives numbers, not text" "$dir/said" || fail "$(cat "$dir/said")"
cp -r "$model" "$dir/cut" && truncate -s 100000 "$dir/cut/model.safetensors"
if "$ctl" model inspect "$dir/cut" 2>"$dir/said"; then fail "a truncated model passes"; fi
grep -q "model.safetensors" "$dir/said" || fail "the truncated file is not named: $(cat "$dir/said")"

printf '{"text":"The dish of Orla is 12 eggs."}\n{"text":"  \\u00E9"}\n' >"$dir/lines"
"$ctl" tokenizer encode --model "$model" --no-special "$dir/lines" | "$ctl" tokenizer decode --model "$model" | cmp - "$dir/lines" ||
    fail "encode and decode do not agree"
"$ctl" tokenizer train --out "$dir/tokenizer" --vocab-size 300 "$run/world/demonstrations.jsonl" 2>"$dir/said" &&
    fail "demonstrations are taken for documents"
grep -q "demonstrations.jsonl:1" "$dir/said" || fail "$(cat "$dir/said")"
"$ctl" tokenizer train --out "$dir/tokenizer" --vocab-size 300 "$run/world/heldout.jsonl" || fail "tokenizer train"
[ -s "$dir/tokenizer/tokenizer.json" ] || fail "no tokenizer.json"

# Labels in and out, through a collector that is started on the run's database.
rm -f "$run/labels.http"
"$RLHF_BUILD/daemons/label-collector" --config "$run/etc/label-collector.yaml" 2>>"$run/log/label-collector.log" &
up=$!
await test -s "$run/labels.http" || fail "the label-collector does not start"
"$ctl" label export --address-file "$run/labels.http" --round comparisons-1 --out "$dir/one.jsonl" || fail "label export"
[ "$(wc -l <"$dir/one.jsonl")" = "$(python3 -c 'import json,sys; print(sum(1 for l in open(sys.argv[1]) if len(json.loads(l)["responses"]) > 1))' "$dir/one.jsonl")" ] ||
    fail "the export is not comparisons"
"$ctl" label import --address-file "$run/labels.http" "$dir/one.jsonl" >"$dir/said" || fail "label import"
grep -q " 0 stored" "$dir/said" || fail "a second import stores again: $(cat "$dir/said")"
printf '{"prompt": "p", "chosen": "a", "rejected": "b"}\nnot json\n' >"$dir/two.jsonl"
"$ctl" label check "$dir/two.jsonl" "$dir/two.jsonl" >"$dir/said" 2>&1 || fail "label check"
grep -q "^1 comparisons, 2 lines at fault" "$dir/said" && grep -q "two.jsonl:2" "$dir/said" || fail "check says: $(cat "$dir/said")"
"$ctl" label import --address-file "$run/labels.http" --round mine "$dir/two.jsonl" >"$dir/said" 2>&1 || fail "label import of a half-good file"
grep -q "two.jsonl:2:" "$dir/said" && grep -q "1 stored" "$dir/said" || fail "import says: $(cat "$dir/said")"
"$ctl" label export --address-file "$run/labels.http" --round mine --format pairs | grep -q '"chosen": *"a"' || fail "export of pairs"
kill "$up" && wait "$up" || fail "the label-collector does not stop"
up=
if "$ctl" label export --url http://127.0.0.1:1 2>"$dir/said"; then fail "nobody answers, and that is fine?"; fi
grep -q "is the label-collector running" "$dir/said" || fail "$(cat "$dir/said")"
echo "the small quickstart ran, was killed in parts, and was used"
