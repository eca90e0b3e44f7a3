#!/usr/bin/env python3
"""Compares model directories that rlhfctl writes with what transformers and safetensors read and write, both ways.

    files_live.py RLHFCTL [SEED]

Small random models of every family that RLHFCTL reads, as transformers saves them: RLHFCTL converts them to fp32, bfloat16
and fp16, in one file and in shards; transformers loads the result, whose tensors must be torch's roundings bit for bit and
whose logits those of the model that torch rounds. Then transformers saves in shards, and RLHFCTL must see the same weights.
Skipped (77) where $RLHF_PYTHON, or else python3, has no torch, transformers and safetensors."""
import filecmp, json, os, struct, subprocess, sys, tempfile

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import torch, transformers
    from safetensors import safe_open
except ImportError:
    python = os.environ.pop("RLHF_PYTHON", None)
    if python:
        os.execv(python, [python] + sys.argv)
    print("skipped: this python3 has no torch, transformers and safetensors; set RLHF_PYTHON to one that has")
    sys.exit(77)

transformers.utils.logging.disable_progress_bar()
CTL, SEED = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
TORCH = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
LLAMA = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
MODELS = {
    "gpt2": transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0, embd_pdrop=0,
                                    attn_pdrop=0, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    "llama": transformers.LlamaConfig(**LLAMA),
    "llama_tied": transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "mistral": transformers.MistralConfig(**LLAMA, sliding_window=7),
    "qwen2": transformers.Qwen2Config(**LLAMA),
    "qwen3": transformers.Qwen3Config(**LLAMA, head_dim=12, tie_word_embeddings=True),
    "gpt_neox": transformers.GPTNeoXConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                                           max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    "gemma2": transformers.Gemma2Config(**LLAMA, head_dim=8, sliding_window=7, query_pre_attn_scalar=8),
}
failures = []

def check(condition, what):
    if not condition:
        print("FAILED:", what)
        failures.append(what)

def ctl(*args):
    return subprocess.run([CTL, *args], capture_output=True, text=True)

def inspect(path):
    said = ctl("model", "inspect", "--json", path)
    check(said.returncode == 0, f"inspect {path}: {said.stderr}")
    return json.loads(said.stdout or "{}")

def tensors_of(path):
    out = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(path, name), "pt") as f:
                check(f.metadata() == {"format": "pt"}, f"{path}/{name}: metadata {f.metadata()}")
                for key in f.keys():
                    check(key not in out, f"{path}: {key} twice")
                    out[key] = f.get_tensor(key)
    return out

def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bool((a.contiguous().view(torch.uint8) == b.contiguous().view(torch.uint8)).all())

def outputs(model, ids):
    with torch.no_grad():
        return model.float()(input_ids=ids).logits

def check_index(path, tensors):
    with open(os.path.join(path, "model.safetensors.index.json")) as f:
        index = json.load(f)
    check(set(index["weight_map"]) == set(tensors), f"{path}: the index names other tensors")
    check(index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in tensors.values()), f"{path}: total_size")
    for name, file in index["weight_map"].items():
        with safe_open(os.path.join(path, file), "pt") as f:
            check(name in f.keys(), f"{path}: {name} is not in {file}")

def convert(kind, loader, source, ids, base):
    theirs = tensors_of(source)
    for dtype in TORCH:
        for shard in (None, "5KB", "20KB"):
            path = os.path.join(base, f"{kind}-{dtype}-{shard}")
            said = ctl("model", "convert", "--model", source, "--output", path, "--dtype", dtype, *(["--shard-size", shard] if shard else []))
            check(said.returncode == 0, f"convert {path}: {said.stderr}")
            if said.returncode:
                continue
            ours = tensors_of(path)
            check(set(ours) == set(theirs), f"{path}: {set(ours) ^ set(theirs)}")
            for name in set(ours) & set(theirs):
                check(same(ours[name], theirs[name].to(TORCH[dtype])), f"{path}: {name} is not torch's rounding")
            if shard:
                check_index(path, ours)
            if os.path.exists(os.path.join(source, "generation_config.json")):
                check(filecmp.cmp(os.path.join(source, "generation_config.json"), os.path.join(path, "generation_config.json"), False),
                      f"{path}: generation_config.json")
            loaded, info = loader.from_pretrained(path, output_loading_info=True, dtype="auto")
            check(not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], f"{path}: {info}")
            check(loaded.dtype == TORCH[dtype], f"{path}: loads as {loaded.dtype}")
            rounded = loader.from_pretrained(source, dtype=TORCH[dtype])
            check(torch.equal(outputs(loaded, ids), outputs(rounded, ids)), f"{path}: other logits")

def run(name, config, base):
    print(name, flush=True)
    for head in ("lm", "rm"):
        torch.manual_seed(SEED)
        loader = transformers.AutoModelForCausalLM if head == "lm" else transformers.AutoModelForSequenceClassification
        if head == "rm":
            config.num_labels = 1
        model = loader.from_config(config)
        for p in model.parameters():
            p.data.add_(0.3 * torch.randn_like(p))
        source = os.path.join(base, f"{name}-{head}")
        model.save_pretrained(source)
        ids = torch.randint(3, 97, (2, 11))
        convert(f"{name}-{head}", loader, source, ids, base)
        # and theirs in shards, in halves
        whole = inspect(source)["blake2b"]
        model.save_pretrained(source + "-theirs", max_shard_size="7KB")
        check(len(inspect(source + "-theirs")["files"]) > 1 and inspect(source + "-theirs")["blake2b"] == whole, f"{source}: shards differ")
        model.to(torch.bfloat16).save_pretrained(source + "-half")
        said = ctl("model", "convert", "--model", source + "-half", "--output", source + "-wide", "--dtype", "f32")
        check(said.returncode == 0, said.stderr)
        check(inspect(source + "-half")["blake2b"] == inspect(source + "-wide")["blake2b"], f"{source}: widening changes weights")
        check(list(inspect(source + "-half")["dtypes"]) == ["BF16"], f"{source}-half: {inspect(source + '-half')['dtypes']}")

def heads(base):
    """An LM becomes a reward model that transformers loads, and goes back."""
    source = os.path.join(base, "llama_tied-lm")
    for args, loader in (((source, "up", "reward"), transformers.AutoModelForSequenceClassification),
                         ((os.path.join(base, "up"), "down", "lm"), transformers.AutoModelForCausalLM)):
        path = os.path.join(base, args[1])
        said = ctl("model", "convert", "--model", args[0], "--output", path, "--head", args[2])
        check(said.returncode == 0, said.stderr)
        _, info = loader.from_pretrained(path, output_loading_info=True)
        check(not info["missing_keys"] and not info["unexpected_keys"], f"{path}: {info}")
    check(inspect(source)["blake2b"] == inspect(os.path.join(base, "down"))["blake2b"], "a head added and dropped changes the body")
    check(tensors_of(os.path.join(base, "up"))["score.weight"].shape == (1, 32), "the shape of score.weight")

with tempfile.TemporaryDirectory() as base:
    for name, config in MODELS.items():
        run(name, config, base)
    heads(base)
print(f"{len(failures)} failures" if failures else "all equal")
sys.exit(1 if failures else 0)
