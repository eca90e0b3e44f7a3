#!/bin/sh
# `rlhfctl eval` as people call it: the table, the JSON, two models, folders of data, and what it says of mistakes.
set -eu
ctl=$RLHF_BUILD/daemons/rlhfctl
own=$RLHF_SOURCE/tests/parity/fixtures/evaluation
model=$own/gpt2_gpt2
other=$own/qwen3_llama3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
shows() { # what the output must contain
    grep -qF -- "$1" out || { cat out >&2; fail "no '$1'"; }
}
refuses() { # what it must say, command...
    expected=$1
    shift
    if "$@" >out 2>&1; then fail "accepted: $*"; fi
    shows "$expected"
}

# A folder with data sets as they are published; the table has a line a figure.
mkdir -p data/TruthfulQA data/winogender
cp "$model"/mc_task.json data/TruthfulQA
cp "$model"/all_sentences.tsv data/winogender
"$ctl" eval --model "$model" --data data --suite truthfulqa --suite winogender --suite crows_pairs="$model"/crows.csv --json figures.json >out
for word in truthfulqa mc1 mc2 winogender acc_female gender_gap crows_pairs pct_stereotype_gender wilson; do shows "$word"; done
python3 - <<'END'
import json
o = json.load(open("figures.json"))
assert o["data"]["truthfulqa"] == {"file": "data/TruthfulQA/mc_task.json", "questions": 6}, o["data"]
f = o["suites"]["truthfulqa"]["mc2"]
assert f["low"] < f["value"] < f["high"] and f["n"] == 6 and f["interval"] == "normal" and f["better"] == "higher", f
assert o["suites"]["crows_pairs"]["pct_stereotype"]["interval"] == "wilson" and "against" not in o
END

# The same figures whatever the batch and the threads, to the bit.
"$ctl" eval --model "$model" --data data --suite truthfulqa --suite winogender --json one.json --batch 1 --threads 1 >out
"$ctl" eval --model "$model" --data data --suite truthfulqa --suite winogender --json two.json --batch 4096 --threads 3 >out
cmp one.json two.json

# Two models, paired; of the same model twice there is no difference.
"$ctl" eval --model "$model" --against "$other" --suite hellaswag="$model"/hellaswag.jsonl --suite perplexity="$model"/text.txt.gz --json - >two.json
python3 - <<'END'
import json
o = json.load(open("two.json"))
for suite, figure in (("hellaswag", "acc"), ("perplexity", "byte_perplexity")):
    a, b, d = (x[suite][figure] for x in (o["suites"], o["against"]["suites"], o["difference"]))
    assert abs(a["value"] - b["value"] - d["value"]) < 1e-12, (a, b, d)
assert o["difference"]["hellaswag"]["acc"]["interval"] == "paired-normal"
END
"$ctl" eval --model "$model" --against "$model" --data data --suite truthfulqa >out
shows "0.0000 to 0.0000"
"$ctl" eval --model "$model" --data data --suite truthfulqa --limit 2 >out
shows "      2  wilson"

# Completions, judged by a reward model and a lexicon.
"$ctl" model convert --model "$model" --output judge --head reward >out 2>&1
printf '{"prompt": "%s"}\n' The My Every >prompts.jsonl
mkdir -p data/ldnoobw
printf 'nothing\nof it\n' >data/ldnoobw/en.txt
"$ctl" eval --model "$model" --against "$other" --data data --suite win_rate=prompts.jsonl --suite toxicity=prompts.jsonl --reward-model judge \
    --toxicity-model judge --max-new-tokens 8 --json judged.json >out
for word in win_rate reward lexicon_respectful score_biased; do shows "$word"; done
python3 - <<'END'
import json
o = json.load(open("judged.json"))
assert o["comparison"]["win_rate"]["win_rate"]["n"] == 3, o["comparison"]
assert o["suites"]["toxicity"]["lexicon_neutral"]["interval"] == "wilson"
END

# And by a judge behind HTTP, who has nothing to say of the third prompt: it is left out of both models' figures.
cat >judge.py <<'END'
import http.server, json
class Judge(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = asked["messages"][-1]["content"]
        assert self.headers["Authorization"] == "Bearer open-sesame", self.headers
        words = "No idea." if "Every" in question else json.dumps({"score": len(question) % 11})
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": words}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Judge)
print(server.server_port, flush=True)
server.serve_forever()
END
mkfifo port
python3 judge.py >port &
server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
read -r port_number <port
mkdir keys && (umask 077; echo open-sesame >keys/judge-key)
cat >judge.yaml <<END
judge: {name: helpful, url: 'http://127.0.0.1:$port_number/v1/chat/completions', model: a-judge, credential: judge-key, backoff_ms: 1,
        question: 'Rate from 0 to 10: {prompt} / {completion}'}
END
"$ctl" eval --model "$model" --against "$other" --suite win_rate=prompts.jsonl --suite toxicity=prompts.jsonl --judge judge.yaml --toxicity-judge judge.yaml \
    --credentials keys --max-new-tokens 8 --json asked.json >out 2>&1
shows "2 completions got no score and are left out; the last: "
python3 - <<'END'
import json
o = json.load(open("asked.json"))
reward = o["suites"]["win_rate"]["reward"]
assert reward["n"] == 2 and 0 <= reward["value"] <= 10, reward
assert o["comparison"]["win_rate"]["win_rate"]["n"] == 2 and o["difference"]["win_rate"]["reward"]["n"] == 2, o
assert o["suites"]["toxicity"]["score_neutral"]["n"] == 2, o["suites"]["toxicity"]
END
refuses "judge-key" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl --judge judge.yaml
echo 'length: {name: short}' >rule.yaml
refuses "describe a judge or a service" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl --judge rule.yaml
echo '{}' >rule.yaml
refuses "exactly one key, its kind" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl --judge rule.yaml
refuses "two who judge" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl --judge judge.yaml --reward-model judge

refuses "who judges? It needs a reward model" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl
refuses "this is a language model, no reward model" "$ctl" eval --model "$model" --suite win_rate=prompts.jsonl --reward-model "$model"
refuses "there is no suite 'truthfullqa'; did you mean 'truthfulqa'" "$ctl" eval --model "$model" --suite truthfullqa=x
refuses "where are its questions" "$ctl" eval --model "$model" --suite truthfulqa
refuses "there is no file of the suite gsm8k in it" "$ctl" eval --model "$model" --data data --suite gsm8k
refuses "--suite truthfulqa is given twice" "$ctl" eval --model "$model" --data data --suite truthfulqa --suite truthfulqa
cp "$model"/test.jsonl alone.jsonl
refuses "no file to take 5 examples from" "$ctl" eval --model "$model" --suite gsm8k=alone.jsonl --data data
refuses "nowhere" "$ctl" eval --model nowhere --data data --suite truthfulqa
refuses "--suite: which?" "$ctl" eval --model "$model"
refuses "--limit: '0' is not a number" "$ctl" eval --model "$model" --data data --suite truthfulqa --limit 0
printf 'sentid\tsentence\nnurse.patient.0.male.txt\tShe left.\n' >bad.tsv
refuses "bad.tsv:2: there is no male pronoun" "$ctl" eval --model "$model" --suite winogender=bad.tsv
printf '{"question": "q", "mc1_targets": {"%2000s": 1}, "mc2_targets": {"b": 1}}\n' x >long.jsonl
refuses "long.jsonl:1: " "$ctl" eval --model "$model" --suite truthfulqa=long.jsonl
shows "the model's context is 512"
"$ctl" eval --help >out
shows "grade-school mathematics"
echo done
