#!/usr/bin/env python3
"""Live comparison of `rlhfctl generate --input` with transformers' generate(): greedy, on random small models of every
family, with generation_config.json holding penalties, minimum lengths, lists of end tokens.

usage: generate_live.py RLHFCTL [ROUNDS [SEED]]    exit 77: torch, transformers or safetensors is not there
A row may differ from where two tokens' scores are within 1e-3 of each other. Rows have no padding where a setting
counts it (no_repeat_ngram_size), as transformers takes padding for tokens there and rlhfd does not.
"""
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from small_models import FAMILIES, VOCABULARY
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

NEW = 14


def pick(g, values):
    return values[int(torch.randint(len(values), (1,), generator=g))]


def one_round(tool, seed, d):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    family = pick(g, sorted(FAMILIES))
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    settings = dict(pad_token_id=0, eos_token_id=pick(g, [2, [2, 7, 9, 11, 13, 15], list(range(20, 40))]))
    if pick(g, [False, True]):
        settings["repetition_penalty"] = pick(g, [1.2, 0.9, 3.0])
    ngram = pick(g, [0, 0, 2, 3])
    if ngram:
        settings["no_repeat_ngram_size"] = ngram
    if pick(g, [False, True]):
        settings["min_new_tokens"] = pick(g, [1, 5, NEW])
    model.generation_config = transformers.GenerationConfig(**settings)
    model.save_pretrained(d)
    ids = torch.randint(3, VOCABULARY, (5, 9), generator=g)
    mask = torch.ones_like(ids)
    for row in range(0 if ngram else 5):
        pad = int(torch.randint(0, 5, (1,), generator=g))
        ids[row, :pad] = 0
        mask[row, :pad] = 0
    with torch.no_grad():
        wanted = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False,
                                return_dict_in_generate=True, output_scores=True, output_logits=True)
    source, target = os.path.join(d, "in.safetensors"), os.path.join(d, "out.safetensors")
    save_file(dict(input_ids=ids, attention_mask=mask), source)
    done = subprocess.run([tool, "generate", "--model", d, "--input", source, "--output", target, "--max-new-tokens",
                           str(NEW)], capture_output=True, text=True)
    what = f"seed {seed}: {family} {settings}"
    assert done.returncode == 0, f"{what}: {done.stderr}"
    out = load_file(target)
    sequences, excused = wanted.sequences, 0
    for row in range(5):
        ours, theirs = out["sequences"][row].tolist(), sequences[row].tolist()
        width = max(len(ours), len(theirs))
        ours, theirs = ours + [0] * (width - len(ours)), theirs + [0] * (width - len(theirs))
        for n in range(9, width):
            if ours[n] != theirs[n]:
                top = wanted.scores[n - 9][row].topk(2).values
                assert float(top[0] - top[1]) < 1e-3, f"{what}: row {row}: {ours} not {theirs}"
                excused += 1
                break
            if n - 9 < len(wanted.logits) and (n == 9 or theirs[n - 1] not in model.generation_config.eos_token_id
                                               if isinstance(model.generation_config.eos_token_id, list)
                                               else theirs[n - 1] != model.generation_config.eos_token_id):
                logprob = wanted.logits[n - 9][row].log_softmax(-1)[theirs[n]]
                assert abs(float(out["logprobs"][row, n - 9] - logprob)) < 1e-4, f"{what}: log-prob {row}, {n}"
            else:
                break
    return family, excused


def main():
    tool = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    families, excused = set(), 0
    for seed in range(first, first + rounds):
        with tempfile.TemporaryDirectory() as d:
            family, n = one_round(tool, seed, d)
            families.add(family)
            excused += n
    print(f"transformers {transformers.__version__}: {rounds} rounds, {excused} rows decided by rounding, "
          f"{', '.join(sorted(families))}")
    return 0 if excused <= rounds // 10 else 1


sys.exit(main())
