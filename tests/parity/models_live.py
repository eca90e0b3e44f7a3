#!/usr/bin/env python3
"""models_live.py RLHFCTL [COUNT [SEED]] - random models of every family, computed by transformers and by `rlhfctl model
forward`, which must agree; what `rlhfctl model convert` writes must load in transformers and agree again.

Where Python has no torch, transformers or safetensors it says so and exits with 77. A failing model prints the seed that makes
it again: `models_live.py RLHFCTL 1 SEED`."""
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error} (torch, transformers and safetensors are wanted)")
    sys.exit(77)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

FAMILIES = ["GPT2", "Llama", "Mistral", "Qwen2", "Qwen3", "GPTNeoX", "Gemma2"]


def rope(r, context):
    """rope_parameters of any kind that transformers makes."""
    theta = r.choice([10000.0, 500000.0, 1234.5])
    kind = r.choice(["default", "default", "linear", "dynamic", "yarn", "llama3"])
    p = {"rope_type": kind, "rope_theta": theta}
    if kind != "default":
        p["factor"] = r.choice([1.0, 1.5, 2.0, 4.0, 8.0])
    if kind in ("yarn", "llama3") and r.random() < 0.8:
        p["original_max_position_embeddings"] = r.choice([8, 16, 32, context])
    if kind == "llama3":
        p["low_freq_factor"], p["high_freq_factor"] = r.choice([(1.0, 4.0), (0.5, 2.0), (1.0, 1.5)])
    if kind == "yarn":
        if r.random() < 0.3:
            p["beta_fast"], p["beta_slow"] = r.choice([(16.0, 2.0), (8, 1), (32, 4)])
        if r.random() < 0.3:
            p["attention_factor"] = r.choice([0.8, 1.3])
        elif r.random() < 0.3:
            p["mscale"], p["mscale_all_dim"] = r.choice([(1.0, 0.5), (0.707, 1.0)])
        if r.random() < 0.3:
            p["truncate"] = False
    return p


def config_of(r, family):
    """A random configuration with shapes that no kernel likes."""
    layers, heads = r.randint(1, 4), r.randint(1, 6)
    common = dict(vocab_size=r.randint(20, 300), bos_token_id=1, eos_token_id=2, pad_token_id=0,
                  tie_word_embeddings=r.random() < 0.5)
    context = r.choice([24, 40, 64, 128])
    if family == "GPT2":
        return dict(common, n_embd=heads * r.randint(1, 17), n_head=heads, n_layer=layers, n_positions=64,
                    n_inner=r.choice([None, r.randint(1, 90)]), layer_norm_epsilon=r.choice([1e-5, 1e-3]),
                    activation_function=r.choice(["gelu_new", "gelu", "gelu_pytorch_tanh", "silu"]),
                    scale_attn_weights=r.random() < 0.7, scale_attn_by_inverse_layer_idx=r.random() < 0.3,
                    resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    d = 2 * r.randint(2, 17)
    groups = r.choice([g for g in range(1, heads + 1) if heads % g == 0])
    c = dict(common, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=r.randint(1, 90),
             max_position_embeddings=context, rope_parameters=rope(r, context), hidden_size=heads * r.randint(2, 17) + 3 * heads)
    if family == "GPTNeoX":
        part = r.choice([0.25, 0.5, 1.0, 0.3])
        d = r.randint(2, 24)
        while int(d * part) % 2 or int(d * part) < 4:
            d += 1
        c.update(hidden_size=heads * d, use_parallel_residual=r.random() < 0.5, attention_bias=r.random() < 0.7,
                 hidden_act=r.choice(["gelu", "gelu_new", "silu"]), layer_norm_eps=r.choice([1e-5, 1e-3]))
        c["rope_parameters"]["partial_rotary_factor"] = part
        return c
    c.update(num_key_value_heads=groups, rms_norm_eps=r.choice([1e-6, 1e-5, 1e-3]))
    if family == "Qwen2":
        c["hidden_size"] = heads * d
    else:
        c["head_dim"] = d
    act = r.choice(["silu", "silu", "gelu", "gelu_pytorch_tanh"])
    c["hidden_activation" if family == "Gemma2" else "hidden_act"] = act
    if family in ("Llama", "Qwen3", "Gemma2"):
        c["attention_bias"] = r.random() < 0.5
    if family == "Llama":
        c["mlp_bias"] = r.random() < 0.5
    if family == "Mistral":
        c["sliding_window"] = r.choice([None, 1, 3, 7, 17, 100])
    if family in ("Qwen2", "Qwen3"):
        c.update(use_sliding_window=r.random() < 0.6, sliding_window=r.choice([1, 4, 9, 18]), max_window_layers=r.randint(0, 4))
        if r.random() < 0.4:
            c["layer_types"] = [r.choice(["full_attention", "sliding_attention"]) if c["use_sliding_window"] else "full_attention"
                                for _ in range(layers)]
    if family == "Gemma2":
        c.update(sliding_window=r.choice([1, 3, 8, 20]), query_pre_attn_scalar=r.randint(1, 50),
                 attn_logit_softcapping=r.choice([None, 2.0, 50.0]), final_logit_softcapping=r.choice([None, 3.0, 30.0]))
        if r.random() < 0.4:
            c["layer_types"] = [r.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
    return c


def old_style(config):
    """The config.json that version 4 would have written."""
    p = config.pop("rope_parameters", None)
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    if p:
        part, theta = p.pop("partial_rotary_factor", None), p.pop("rope_theta")
        if config["model_type"] == "gpt_neox":
            config["rotary_pct"], config["rotary_emb_base"] = part, theta
        else:
            config["rope_theta"] = theta
        config["rope_scaling"] = None if p["rope_type"] == "default" else p
    return config


def make(r, seed, folder):
    family = FAMILIES[seed % len(FAMILIES)]
    reward = r.random() < 0.25
    config = getattr(transformers, family + "Config")(**config_of(r, family), **({"num_labels": 1} if reward else {}))
    cls = family + ("ForSequenceClassification" if reward else "LMHeadModel" if family == "GPT2" else "ForCausalLM")
    torch.manual_seed(seed)
    model = getattr(transformers, cls)(config).eval()
    with torch.no_grad():  # livelier than fresh weights, where little would show
        for name, w in model.named_parameters():
            w.add_(torch.randn_like(w) * (0.3 if w.dim() == 1 else 0.25))
    dtype = r.choice([torch.float32] * 3 + [torch.bfloat16, torch.float16])
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": "20KB"} if r.random() < 0.3 else {}))
    path = os.path.join(folder, "config.json")
    if r.random() < 0.5:
        with open(path) as f:
            old = old_style(json.load(f))
        with open(path, "w") as f:
            json.dump(old, f)
    return load(cls, folder), cls, reward


def load(cls, folder):
    return getattr(transformers, cls).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def rows_of(r, config, reward):
    """Ragged rows, padded on one side, and labels."""
    limit = getattr(config, "n_positions", 90)
    lengths = [r.randint(1, min(limit, r.choice([8, 30, 90]))) for _ in range(r.choice([2, 4]))]
    width = max(lengths) + r.choice([0, 0, 2])
    left = r.random() < 0.5
    ids, mask, labels = (torch.full((len(lengths), width), x) for x in (0, 0, -100))
    for b, n in enumerate(lengths):
        at = slice(width - n, width) if left else slice(0, n)
        ids[b, at] = torch.tensor([r.randrange(3, config.vocab_size) for _ in range(n)])
        mask[b, at] = 1
        labels[b, at] = torch.where(torch.rand(n) < 0.8, ids[b, at], -100)
        labels[b, at.start] = -100  # nothing before it predicts it
    if not bool((labels != -100).any()):
        longest = lengths.index(max(lengths))
        labels[longest] = torch.where(mask[longest] == 1, ids[longest], -100)
        labels[longest, (width - max(lengths)) if left else 0] = -100
    return ids, mask, labels


def wanted(model, reward, ids, mask, labels):
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    model.zero_grad()
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    if reward:
        rewards = out.logits[:, 0]
        half = len(rewards) // 2
        loss = -torch.nn.functional.logsigmoid(rewards[:half] - rewards[half:]).mean()
        result = {"rewards": rewards.detach(), "loss": loss.detach()[None]}
    else:
        logprobs = out.logits.log_softmax(-1)
        given = logprobs[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        both = mask[:, :-1] * mask[:, 1:]
        result = {"logits": (out.logits * mask[..., None]).detach(), "logprobs": (given * both).detach()}
        count = (labels != -100).sum()
        if count:
            loss = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum") / count
            result["loss"] = loss.detach()[None]
        else:
            loss = None
    if loss is not None:
        loss.backward()
        for name, w in model.named_parameters():
            result["grad." + name] = w.grad if w.grad is not None else torch.zeros_like(w)
    return result


def forward(ctl, folder, reward, ids, mask, labels, grad=True):
    rows, out = os.path.join(folder, "rows.in"), os.path.join(folder, "rows.out")
    t = {"input_ids": ids, "attention_mask": mask}
    if not reward and bool((labels != -100).any()):
        t["labels"] = labels
    grad = grad and (reward or "labels" in t)
    save_file({k: v.long().contiguous() for k, v in t.items()}, rows)
    command = [ctl, "model", "forward", "--model", folder, "--input", rows, "--output", out]
    done = subprocess.run(command + ["--reward"] * reward + ["--grad"] * grad, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr.strip())
    return load_file(out)


def compare(got, want, slack=None):
    """The worst of all tensors, in parts of what is allowed (at least ten times its slack); names must be the same."""
    names = set(want)
    if set(got) != names:
        raise AssertionError(f"other names: {sorted(set(got) ^ set(want))[:6]}")
    grads = max([want[n].abs().max().item() for n in names if n.startswith("grad.")], default=0)
    worst = (0, "")
    for name in names:
        if name.startswith("grad."):
            allowed = 1e-4 * grads + 1e-6
        else:
            allowed = {"loss": 1e-5}.get(name, 1e-4) * (1 + want[name].abs().max().item() / 10)
        if slack:
            allowed = max(allowed, 10 * slack[name])
        if want[name].shape != got[name].shape:
            raise AssertionError(f"{name} is {list(got[name].shape)}, not {list(want[name].shape)}")
        far = (got[name] - want[name]).abs().max().item() / allowed if want[name].numel() else 0
        if not far <= worst[0]:
            worst = (far, name)
    return worst


def rounding(model, want, reward, ids, mask, labels):
    """How far transformers in fp32 is from itself with weights that are a rounding away, by tensor."""
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(1 + 6e-8 * torch.randn_like(w).sign())
    other = wanted(model, reward, ids, mask, labels)
    return {name: (want[name] - other[name]).abs().max().item() if want[name].numel() else 0 for name in want}


def try_one(ctl, seed, can_convert):
    r = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        model, cls, reward = make(r, seed, folder)
        ids, mask, labels = rows_of(r, model.config, reward)
        want = wanted(model, reward, ids, mask, labels)
        got = forward(ctl, folder, reward, ids, mask, labels)
        far, name = compare(got, want)
        if not far <= 1:  # unless the model itself is as ill-conditioned
            far, name = compare(got, want, slack=rounding(model, want, reward, ids, mask, labels))
        if not far <= 1:
            raise AssertionError(f"{cls}: {name} is {far:.1f} times what is allowed away")
        if can_convert:
            other = os.path.join(folder, "written")
            done = subprocess.run([ctl, "model", "convert", "--model", folder, "--output", other], capture_output=True, text=True)
            if done.returncode:
                raise AssertionError("convert: " + done.stderr.strip())
            back = load(cls, other)
            again = wanted(back, reward, ids, mask, labels)
            for name in want:  # the same weights and the same settings give the same bits
                if not torch.equal(again[name], want[name]):
                    far = (again[name] - want[name]).abs().max().item()
                    raise AssertionError(f"{cls}: {name} is {far:.2g} away once written and loaded")
        return cls, far


def main():
    ctl = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 70
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    can_convert = "convert" in subprocess.run([ctl, "model", "--help"], capture_output=True, text=True).stdout
    failed, worst = 0, {}
    for seed in range(first, first + count):
        try:
            cls, far = try_one(ctl, seed, can_convert)
            worst[cls] = max(worst.get(cls, 0), far)
        except AssertionError as error:
            failed += 1
            print(f"seed {seed}: {error}", flush=True)
    for cls, far in sorted(worst.items()):
        print(f"{cls:36} at most {far:.2f} of what is allowed")
    print(f"{count - failed} of {count} models agree" + ("" if can_convert else "; `model convert` is not there, nothing was written"))
    sys.exit(1 if failed else 0)


main()
