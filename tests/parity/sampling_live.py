#!/usr/bin/env python3
"""Live comparison of `rlhfctl sample probs` with transformers' logits processors, on random logits and parameters.

usage: sampling_live.py RLHFCTL [ROUNDS [SEED]]     exit 77: torch, transformers or safetensors is not there
The kept set must be the same, probabilities within 1e-5. Excused: a cumulated probability within 1e-6 of its threshold,
which rounding decides; and which of several equal logits top-p keeps, as torch.sort promises no order of equals (with
AVX-512 it is not even stable): there the kept values must agree. A failing round prints its seed and parameters.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from transformers.generation.logits_process import (
        LogitsProcessorList, MinNewTokensLengthLogitsProcessor, MinPLogitsWarper, NoRepeatNGramLogitsProcessor,
        RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
        TypicalLogitsWarper)
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


def pick(g, values):
    return values[int(torch.randint(len(values), (1,), generator=g))]


def random_case(seed):
    g = torch.Generator().manual_seed(seed)
    b, v, t = pick(g, [1, 3, 8]), pick(g, [2, 7, 97, 512, 1003]), pick(g, [3, 12, 60])
    logits = torch.randn(b, v, generator=g) * pick(g, [0.3, 1.0, 4.0, 12.0])
    kind = pick(g, ["plain", "plain", "ties", "flat", "neginf"])
    if kind == "ties":
        logits = torch.round(logits)
    elif kind == "flat":
        logits = torch.full_like(logits, 1.5)
    elif kind == "neginf":
        logits[:, ::3] = float("-inf")
    ids = torch.randint(0, pick(g, [2, 5, v]) if v > 4 else v, (b, t), generator=g)
    params = {}

    def maybe(key, values, chance=0.35):
        if float(torch.rand(1, generator=g)) < chance:
            params[key] = pick(g, values)

    maybe("repetition_penalty", [1.3, 0.8, 2.0])
    maybe("no_repeat_ngram_size", [2, 3, 5])
    if v > 4:
        maybe("min_new_tokens", [1, 4])
    if "min_new_tokens" in params:
        params["eos_token_id"] = pick(g, [1, [0], [1, 3]])
        params["prompt_length"] = pick(g, [t, t - 1, max(t - 4, 0)])
    maybe("temperature", [0.05, 0.7, 1.3, 2.5])
    maybe("top_k", [1, 2, 5, 50, 2000])
    maybe("top_p", [0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.999])
    maybe("min_p", [0.01, 0.1, 0.5, 1.0])
    maybe("typical_p", [0.2, 0.6, 0.95])
    # torch.topk does not say which of equals it takes, so min_p's ties are left alone
    if "min_p" not in params:
        maybe("min_tokens_to_keep", [2, 3], 0.2)
    return logits, ids, params


def processors(p):
    keep = p.get("min_tokens_to_keep", 1)
    make = LogitsProcessorList()
    if "repetition_penalty" in p:
        make.append(RepetitionPenaltyLogitsProcessor(p["repetition_penalty"]))
    if "no_repeat_ngram_size" in p:
        make.append(NoRepeatNGramLogitsProcessor(p["no_repeat_ngram_size"]))
    if "min_new_tokens" in p:
        make.append(MinNewTokensLengthLogitsProcessor(p["prompt_length"], p["min_new_tokens"], p["eos_token_id"]))
    if "temperature" in p:
        make.append(TemperatureLogitsWarper(p["temperature"]))
    if "top_k" in p:
        make.append(TopKLogitsWarper(p["top_k"], min_tokens_to_keep=keep))
    if "top_p" in p:
        make.append(TopPLogitsWarper(p["top_p"], min_tokens_to_keep=keep))
    if "min_p" in p:
        make.append(MinPLogitsWarper(p["min_p"], min_tokens_to_keep=keep))
    if "typical_p" in p:
        make.append(TypicalLogitsWarper(p["typical_p"], min_tokens_to_keep=keep))
    return make


def near_a_threshold(logits, ids, p):
    """True when rounding may decide: the sum at a cut is within 1e-6 of the threshold, or two distances agree so far."""
    stage = {k: v for k, v in p.items() if k not in ("top_p", "min_p", "typical_p")}
    x = processors(stage)(ids, logits.clone()).double()
    if "top_p" in p:
        rising = torch.sort(x)[0].softmax(-1).cumsum(-1)
        if float((rising - (1 - p["top_p"])).abs().min()) < 1e-6:
            return True
        x = processors({k: v for k, v in p.items() if k not in ("min_p", "typical_p")})(ids, logits.clone()).double()
    if "min_p" in p:
        share = x.softmax(-1)
        share = share / share.amax(-1, keepdim=True)
        if float((share - p["min_p"]).abs().min()) < 1e-6 and p["min_p"] < 1:
            return True
        x = processors({k: v for k, v in p.items() if k != "typical_p"})(ids, logits.clone()).double()
    if "typical_p" in p:
        logp = x.log_softmax(-1)
        distance = (-logp - -(logp * logp.exp()).nansum(-1, keepdim=True)).abs()
        order = torch.sort(distance)[1]
        held = logp.exp().gather(-1, order).cumsum(-1)
        near = torch.sort(distance)[0].diff()
        if float((held - p["typical_p"]).abs().min()) < 1e-6 or bool(((near > 0) & (near < 1e-5)).any()):
            return True
        if bool(((near == 0) & (torch.sort(distance)[0][:, 1:] < 1e9)).any()) and "neginf" not in p:
            # equal in double, apart by rounding in float or not
            values = x.gather(-1, order)
            return bool(((near == 0) & (values.diff() != 0)).any())
    return False


def main():
    tool = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    torch.set_num_threads(1)
    worst, excused, ties = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as d:
        source, target = os.path.join(d, "in.safetensors"), os.path.join(d, "out.safetensors")
        for seed in range(first, first + rounds):
            logits, ids, params = random_case(seed)
            wanted = processors(params)(ids, logits.clone())
            save_file({"logits": logits.contiguous(), "input_ids": ids.contiguous()}, source)
            done = subprocess.run([tool, "sample", "probs", "--input", source, "--output", target, "--params",
                                   json.dumps(params)], capture_output=True, text=True)
            if bool((wanted == float("-inf")).all(-1).any()):  # nothing is left: transformers gives NaN
                assert done.returncode != 0, (seed, params)
                continue
            assert done.returncode == 0, (seed, params, done.stderr)
            out = load_file(target)
            if "top_p" in params or "typical_p" in params or "min_tokens_to_keep" in params:
                mine, theirs = torch.sort(out["scores"], stable=True)[0], torch.sort(wanted, stable=True)[0]
                if torch.equal(torch.isfinite(mine), torch.isfinite(theirs)) and torch.equal(
                        torch.isfinite(out["scores"]), torch.isfinite(wanted)) is False and float(
                        (mine.softmax(-1) - theirs.softmax(-1)).abs().max()) <= 1e-5:
                    ties += 1
                    continue
            if not torch.equal(torch.isfinite(out["scores"]), torch.isfinite(wanted)):
                if near_a_threshold(logits, ids, params):
                    excused += 1
                    continue
                print(f"seed {seed}: {params}: kept {torch.isfinite(out['scores']).sum(-1).tolist()}, "
                      f"not {torch.isfinite(wanted).sum(-1).tolist()}")
                return 1
            distance = float((out["probs"] - wanted.softmax(-1)).abs().max())
            worst = max(worst, distance)
            if distance > 1e-5:
                print(f"seed {seed}: {params}: probabilities differ by {distance:g}")
                return 1
    print(f"transformers {transformers.__version__}: {rounds} rounds, {excused} decided by rounding, {ties} by the order of equals, "
          f"largest difference {worst:.2g}")
    return 0 if excused <= rounds // 20 else 1


sys.exit(main())
