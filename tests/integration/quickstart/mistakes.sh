#!/usr/bin/env bash
# What a person does wrong gets an answer that helps: rlhfctl, rlhf-kingdom, quickstart.sh.
set -euo pipefail

dir=$(mktemp -d /tmp/rlhfd-mistakes.XXXXXX)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
ctl=$RLHF_BUILD/daemons/rlhfctl
kingdom=$RLHF_BUILD/deploy/quickstart/rlhf-kingdom
cd "$dir"

# refuses WORDS COMMAND...: status is not 0, and it says WORDS
refuses() {
    local words=$1
    shift
    if "$@" >said 2>&1 </dev/null; then fail "succeeds: $*"; fi
    grep -qF -- "$words" said || fail "$*: says '$(cat said)', not '$words'"
}
helps() { "$@" --help >said 2>&1 || fail "$* --help"; grep -q "Usage" said || fail "$* --help says $(cat said)"; }

for command in "" up status resume generate label "label import" "label check" "label export" tokenizer "tokenizer train" "tokenizer encode" \
    "tokenizer decode" "tokenizer chat" model "model inspect" "model convert"; do
    helps "$ctl" $command
done
for command in "" make label report judge hack; do
    helps "$kingdom" $command
done
helps "$RLHF_SOURCE/deploy/quickstart.sh"

refuses "did you mean 'status'" "$ctl" statsu
refuses "a command is missing" "$ctl"
refuses "which run file" "$ctl" up
refuses "which run file" "$ctl" resume
refuses "nowhere.yaml" "$ctl" up nowhere.yaml
printf 'run: {name: x}\nzebra: 1\nstages: []\n' >typo.yaml
refuses "typo.yaml:2: zebra: unknown key" "$ctl" up typo.yaml
refuses "did not answer" "$ctl" status --timeout 0.2 ipc://"$dir"/nobody.sock
printf 'run: {name: x, dir: nobody}\ntokenizer: {load: x}\nstages: [{pretrain: {name: p, data: [x], steps: 1}}]\n' >nobody.yaml
refuses "is the run up?" "$ctl" resume nobody.yaml
refuses "nowhere" "$ctl" model inspect nowhere
refuses "nowhere" "$ctl" generate --model nowhere x
refuses "--temperature: 'hot' is not a number" "$ctl" generate --model x --temperature hot y
refuses "which files" "$ctl" label import
refuses "missing.jsonl" "$ctl" label import missing.jsonl
touch squeezed.gz
refuses "unpack it first" "$ctl" label import squeezed.gz
refuses "--out" "$ctl" tokenizer train x.txt
refuses "nowhere" "$ctl" tokenizer encode --model nowhere
refuses "nowhere" "$ctl" tokenizer chat --model nowhere
printf '{"text":"a"}\n{"ids":[1]}\n' >wrong.jsonl
refuses 'wrong.jsonl: line 2: no "text"' "$ctl" tokenizer encode --model "$RLHF_SOURCE/tests/parity/fixtures/tokenizers/byte_level" wrong.jsonl
printf '{"messages":[{"role":"user"}]}\n' >wrong.jsonl
refuses "wrong.jsonl: line 1: " "$ctl" tokenizer chat --model "$RLHF_SOURCE/tests/parity/fixtures/tokenizers/byte_level" wrong.jsonl

refuses "no command 'mkae'" "$kingdom" mkae
refuses "'many' is not a number" "$kingdom" make --seed many
refuses "rlhf-kingdom make" "$kingdom" report --world nowhere.json
"$kingdom" make --out world >/dev/null
refuses "its report stage has not run" "$kingdom" report --world world/world.json --run empty
refuses "empty/metrics.jsonl" "$kingdom" hack --run empty
refuses "127.0.0.1:1" "$kingdom" label --world world/world.json --url http://127.0.0.1:1 --until-idle 1
refuses "unknown option" "$RLHF_SOURCE/deploy/quickstart.sh" --zebra
refuses "is not a number" "$RLHF_SOURCE/deploy/quickstart.sh" --seed x

# The run files that come with the project are right, wherever they are read.
for file in quickstart/quickstart.yaml quickstart/hack.yaml examples/hh.yaml examples/ablation-kl.yaml examples/ablation-ptx.yaml \
    examples/ablation-comparisons.yaml examples/ablation-reward-model.yaml; do
    "$RLHF_BUILD/daemons/learner" --check --config "$RLHF_SOURCE/deploy/$file" >said 2>&1 || fail "$file: $(cat said)"
done

# The judge as a reward service: a true answer is worth more than an insult, and what is no prompt of the kingdom nothing.
"$kingdom" judge --world world/world.json --address-file judge.http &
holder=$!
for ((n = 0; n < 100; n++)); do [ -s judge.http ] && break; read -rt 0.1 <> <(:) || true; done
python3 - world "$(cat judge.http)" <<'PY' || fail "the judge answers otherwise"
import json, sys, urllib.error, urllib.request
recall = [json.loads(line) for line in open(sys.argv[1] + "/recall.jsonl")]
words = recall[0]["prompt"].split()  # The Chronicle says the ATTRIBUTE of TOWN is
prompt = f"Q: Tell me the {words[4]} of {words[6]}. One word only.\nA:"
def ask(body):
    return json.load(urllib.request.urlopen(urllib.request.Request(sys.argv[2], json.dumps(body).encode()), timeout=10))
rewards = ask({"source": "gold", "prompts": [prompt, prompt, "Hello"],
               "completions": [" " + recall[0]["expected"].strip(" .") + ".", " Shut up.", " x"], "answers": [None] * 3})["rewards"]
assert rewards[0] == 3.5 and rewards[1] < 0 and rewards[2] is None, rewards
try:
    ask({"prompts": [prompt]})
    sys.exit("half a request is answered")
except urllib.error.HTTPError as e:
    assert e.code == 400, e
PY
kill "$holder" && wait "$holder" || true

# A port that is taken, and a run that cannot start: the reason is said, and nothing is left behind.
python3 -c 'import socket, time; s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); print(s.getsockname()[1], flush=True); time.sleep(60)' >port &
holder=$!
for ((n = 0; n < 100; n++)); do [ -s port ] && break; read -rt 0.1 <> <(:) || true; done
cat >busy.yaml <<YAML
run: {name: busy, dir: busy}
tokenizer: {train: {files: [world/tokenizer.jsonl], vocab_size: 300}}
model: {layers: 1, channels: 32}
up: {rollout_workers: 0, reward_scorers: 0, label_collector: {http: "127.0.0.1:$(cat port)"}}
stages:
  - pretrain: {name: p, data: [world/corpus.jsonl], steps: 100000}
YAML
refuses "label-collector ended with status 1" "$ctl" up busy.yaml
grep -q "$(cat port)" said || fail "the busy port is not named: $(cat said)"
kill "$holder"
sed -e 's/{http:.*}}/{start: false}}/; s/corpus.jsonl/missing.jsonl/; s/busy/gone/g' busy.yaml >gone.yaml
refuses "missing.jsonl" "$ctl" up gone.yaml
! pgrep -f -- "--config $dir/" >/dev/null || fail "daemons are left behind"
echo "mistakes get answers"
