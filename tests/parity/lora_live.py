#!/usr/bin/env python3
"""Live comparison with PEFT: adapters that PEFT made are computed and merged by rlhfctl; adapters that rlhfd trained are
loaded by PEFT.

usage: lora_live.py RLHFCTL LORA-TOOL [ROUNDS [SEED]]    exit 77: torch, transformers, peft or safetensors is not there
Random small models of every family, random settings. Logits within 1e-4 (+ 1e-4 relative), losses 1e-5, gradients 1e-4
of the largest entry, merged logits as logits.
"""
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    import transformers
    import peft
    from safetensors.torch import load_file, save_file
    from small_models import FAMILIES, VOCABULARY
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

MODULES = {
    "gpt2": ["c_attn", "attn.c_proj", "mlp.c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "attention.dense", "dense_h_to_4h", "dense_4h_to_h"],
}
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Random:
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def pick(self, values):
        return values[int(torch.randint(len(values), (1,), generator=self.g))]

    def some(self, values):
        chosen = [v for v in values if float(torch.rand(1, generator=self.g)) < 0.5]
        return chosen or [values[0]]


def targets_of(r, family):
    names = r.some(MODULES.get(family, LLAMA))
    kind = r.pick(["list", "list", "pattern", "all-linear"])
    if kind == "list":
        return names
    if kind == "pattern":
        return r".*\.(\d+)\.(.*\.)?(" + "|".join(n.replace(".", r"\.") for n in names) + ")"
    return kind


def model_and_adapter(seed, directory):
    r = Random(seed)
    family = r.pick(sorted(FAMILIES))
    torch.manual_seed(seed)
    reward = r.pick([False, False, False, True])
    config = FAMILIES[family]()
    if reward:
        config.num_labels = 1
        if config.pad_token_id is None:
            config.pad_token_id = 0
        auto = transformers.AutoModelForSequenceClassification
    else:
        auto = transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.08)
    model.save_pretrained(os.path.join(directory, "base"))
    targets = targets_of(r, family)
    names = MODULES.get(family, LLAMA)
    settings = dict(r=r.pick([1, 2, 5, 8]), lora_alpha=r.pick([1, 4, 16]), use_rslora=r.pick([False, True]),
                    target_modules=targets, lora_dropout=r.pick([0.0, 0.1]), bias="none",
                    task_type="SEQ_CLS" if reward else "CAUSAL_LM", fan_in_fan_out=family == "gpt2")
    if r.pick([False, False, True]):
        settings["rank_pattern"] = {r.pick(names): 3}
    if r.pick([False, False, True]):
        settings["alpha_pattern"] = {r.pick(names).replace(".", r"\."): 7}
    if isinstance(targets, list) and r.pick([False, False, True]):
        settings["layers_to_transform"] = r.pick([[1], 0, [0, 1]])
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                p.add_(torch.randn(p.shape) * 0.1)
    adapted.save_pretrained(os.path.join(directory, "adapter"))
    return r, family, reward, settings, adapted


def batch_of(r, rows):
    ids = torch.randint(3, VOCABULARY, (rows, 11), generator=r.g)
    mask = torch.ones_like(ids)
    for row in range(rows):
        pad = int(torch.randint(0, 5, (1,), generator=r.g))
        if pad:
            ids[row, -pad:] = 0
            mask[row, -pad:] = 0
    return ids, mask


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def far(is_, wanted, absolute, relative):
    distance = (is_ - wanted).abs() / (absolute + relative * wanted.abs())
    return float(distance.max())


def peft_to_us(tool, seed, d):
    r, family, reward, settings, adapted = model_and_adapter(seed, d)
    ids, mask = batch_of(r, 4)
    source, target, merged = (os.path.join(d, n) for n in ("in.safetensors", "out.safetensors", "merged"))
    base, adapter = os.path.join(d, "base"), os.path.join(d, "adapter")
    what = f"seed {seed}: {family}{' reward' if reward else ''} {settings}"
    labels = ids.masked_fill(mask == 0, -100)
    save_file(dict(input_ids=ids, attention_mask=mask) if reward else
              dict(input_ids=ids, attention_mask=mask, labels=labels), source)
    run(tool, "model", "forward", "--model", base, "--adapter", adapter, "--input", source, "--output", target, "--grad",
        *(["--reward"] if reward else []))
    out = load_file(target)
    if reward:
        rewards = adapted(input_ids=ids, attention_mask=mask).logits[:, 0]
        loss = -torch.nn.functional.logsigmoid(rewards[:2] - rewards[2:]).mean()
        assert far(out["rewards"], rewards.detach(), 1e-4, 1e-4) <= 1, what
    else:
        logits = adapted(input_ids=ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))
        assert far(out["logits"][mask.bool()], logits.detach()[mask.bool()], 1e-4, 1e-4) <= 1, what
    assert abs(float(out["loss"]) - float(loss.detach())) <= 1e-5 + 1e-5 * abs(float(loss.detach())), what
    loss.backward()
    compared = 0
    for name, p in adapted.named_parameters():
        if not p.requires_grad:
            continue
        name = "grad." + name.replace(".default.", ".").replace("modules_to_save.default.", "").replace("modules_to_save.", "")
        wanted = p.grad if p.grad is not None else torch.zeros_like(p)
        assert name in out, f"{what}: no {name}"
        assert float((out[name] - wanted).abs().max()) <= 1e-5 + 1e-4 * float(wanted.abs().max()), f"{what}: {name}"
        compared += 1
    assert compared == sum(k.startswith("grad.") for k in out), what
    run(tool, "model", "merge", "--model", base, "--adapter", adapter, "--output", merged)
    auto = transformers.AutoModelForSequenceClassification if reward else transformers.AutoModelForCausalLM
    whole = auto.from_pretrained(merged, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = adapted.merge_and_unload().eval()(input_ids=ids, attention_mask=mask).logits
        ours = whole(input_ids=ids, attention_mask=mask).logits
    keep = torch.ones_like(mask[:, 0]).bool() if reward else mask.bool()
    assert far(ours[keep], theirs[keep], 1e-4, 1e-4) <= 1, what
    return family


def us_to_peft(tool, maker, seed, d):
    r = Random(seed + 10 ** 6)
    family = r.pick(sorted(FAMILIES))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager").eval()
    base, adapter = os.path.join(d, "base2"), os.path.join(d, "adapter2")
    source, target = os.path.join(d, "in2.safetensors"), os.path.join(d, "out2.safetensors")
    model.save_pretrained(base)
    names = r.some(MODULES.get(family, LLAMA)) if r.pick([False, True]) else []
    run(maker, base, adapter, str(r.pick([1, 3, 8])), str(r.pick([2, 8])), str(r.pick([0, 1])), *names)
    ids, mask = batch_of(r, 3)
    save_file(dict(input_ids=ids, attention_mask=mask), source)
    run(tool, "model", "forward", "--model", base, "--adapter", adapter, "--input", source, "--output", target)
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        theirs = peft.PeftModel.from_pretrained(model, adapter).eval()(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    ours = load_file(target)["logits"][mask.bool()]
    assert far(ours, theirs, 1e-4, 1e-4) <= 1, f"seed {seed}: {family} {names}"
    assert float((theirs - before).abs().max()) > 1e-3, f"seed {seed}: the adapter changes nothing"


def main():
    tool, maker = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    first = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    families = set()
    for seed in range(first, first + rounds):
        with tempfile.TemporaryDirectory() as d:
            families.add(peft_to_us(tool, seed, d))
            us_to_peft(tool, maker, seed, d)
    print(f"peft {peft.__version__}, transformers {transformers.__version__}: {rounds} rounds, {', '.join(sorted(families))}")
    return 0


sys.exit(main())
