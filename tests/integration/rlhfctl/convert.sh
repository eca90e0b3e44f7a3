#!/usr/bin/env bash
# rlhfctl model convert and inspect on a small model of our own (the fuzz corpus has one): every kind of number, shards, heads.
set -euo pipefail

dir=$(mktemp -d /tmp/rlhfd-convert.XXXXXX)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
ctl=$RLHF_BUILD/daemons/rlhfctl
corpus=$RLHF_SOURCE/tests/fuzz/corpus/checkpoint/llama
cd "$dir"

# refuses WORDS COMMAND...: status is not 0, and it says WORDS
refuses() {
    local words=$1
    shift
    if "$@" >said 2>&1 </dev/null; then fail "succeeds: $*"; fi
    grep -qF -- "$words" said || fail "$*: says '$(cat said)', not '$words'"
}
# field KEY DIR: what inspect --json says
field() { "$ctl" model inspect --json "$2" | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

python3 - "$corpus" <<'PY'
import os, sys
data = open(sys.argv[1], "rb").read()
size = int.from_bytes(data[:2], "little")
os.mkdir("m")
open("m/config.json", "wb").write(data[2:2 + size])
open("m/model.safetensors", "wb").write(data[2 + size:])
open("m/tokenizer.json", "w").write("{ \"any\": 1}\r\n")
PY

digest=$(field '["blake2b"]' m)
"$ctl" model convert --model m --output whole >/dev/null || fail "convert"
[ "$(field '["blake2b"]' whole)" = "$digest" ] || fail "a copy has other weights"
[ "$(field '["manifest"]' whole)" = agrees ] || fail "no manifest"
cmp m/tokenizer.json whole/tokenizer.json || fail "tokenizer.json changed"
"$ctl" model convert --model whole --output shards --shard-size 0.1KB >/dev/null || fail "convert to shards"
[ "$(field '["blake2b"]' shards)" = "$digest" ] || fail "shards have other weights"
[ "$(ls shards/*.safetensors | wc -l)" -gt 2 ] && [ -f shards/model.safetensors.index.json ] || fail "no shards: $(ls shards)"
"$ctl" model convert --model shards --output joined >/dev/null || fail "convert back"
cmp whole/model.safetensors joined/model.safetensors || fail "shards joined are another file"
"$ctl" model convert --model m --output half --dtype bf16 >/dev/null || fail "convert to bf16"
"$ctl" model convert --model half --output wide --dtype f32 >/dev/null || fail "convert to f32"
"$ctl" model convert --model wide --output again --dtype bf16 >/dev/null || fail "convert to bf16 again"
[ "$(field '["blake2b"]' half)" = "$(field '["blake2b"]' wide)" ] || fail "widening changes weights"
cmp half/model.safetensors again/model.safetensors || fail "a second rounding changes weights"
[ "$(field '["dtypes"]["BF16"]["tensors"]' half)" = "$(field '["tensor_count"]' half)" ] || fail "not all are BF16"
grep -q '"torch_dtype": "bfloat16"' half/config.json || fail "config.json does not say bfloat16"

"$ctl" model convert --model half --output reward --head reward >/dev/null || fail "convert to a reward model"
[ "$(field '["head"]' reward)" = reward ] && [ "$(field '["dtypes"]["BF16"]["tensors"] > 0' reward)" = True ] || fail "no reward model in BF16"
if [ "$(field '["tied"]' m)" = True ]; then
    "$ctl" model convert --model reward --output lm --head lm >/dev/null || fail "convert back to a language model"
    [ "$(field '["blake2b"]' lm)" = "$(field '["blake2b"]' half)" ] || fail "a head added and dropped changes the body"
else
    refuses "no language-model head" "$ctl" model convert --model reward --output lm --head lm
fi

refuses "is there already" "$ctl" model convert --model m --output whole
refuses "f32, bf16 or f16" "$ctl" model convert --model m --output x --dtype int8
refuses "is not a size" "$ctl" model convert --model m --output x --shard-size many
refuses "lm or reward" "$ctl" model convert --model m --output x --head tail
refuses "which directories" "$ctl" model convert --model m
refuses "nowhere" "$ctl" model convert --model nowhere --output x
cp -r shards cut
first=$(ls cut/*.safetensors | head -1)
truncate -s 60 "$first"
refuses "$(basename "$first")" "$ctl" model convert --model cut --output x
refuses "$(basename "$first")" "$ctl" model inspect cut
rm "$first"
refuses "$(basename "$first")" "$ctl" model inspect cut
[ ! -e x ] && [ ! -e x.tmp ] || fail "something was left behind: $(ls -d x*)"
"$ctl" model inspect --tensors half | grep -q BF16 || fail "inspect --tensors"
