#!/usr/bin/env python3
"""transformers' generate() on the very work of bench-generate: the same shape, prompts of 64 tokens, 128 new ones, drawn at
temperature 1.

    peers/transformers_generate.py [seconds] [threads] [MODEL-BATCH ...]        tiny-32, l100-8 ...

Needs torch and transformers. Prints the same JSON lines as bench-generate, with "peer": "transformers". generate() reads the
prompts, too: a run of one new token is taken off, so that both clocks go from the first new token to the last.
"""
import json
import resource
import statistics
import sys
import time

import torch
import transformers

PROMPT, NEW = 64, 128
SHAPES = {"tiny": (6, 4, 64, 704, 4096, 512), "l100": (12, 12, 64, 2048, 32000, 1024)}


def model_of(name):
    layers, heads, size, mlp, vocabulary, context = SHAPES[name]
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=heads * size, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=context, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0)
    return transformers.LlamaForCausalLM(config).eval()


def seconds_of(model, prompts, new):
    begin = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0,
                             min_new_tokens=new, max_new_tokens=new)
    assert out.shape[1] == PROMPT + new
    return time.perf_counter() - begin


def measure(name, sequences, seconds, threads):
    model = model_of(name)
    prompts = torch.randint(0, SHAPES[name][4], (sequences, PROMPT), generator=torch.Generator().manual_seed(2))
    seconds_of(model, prompts, 2)  # warms up
    prefills, decodes, end = [], [], time.perf_counter() + seconds
    while not decodes or time.perf_counter() < end:
        prefills.append(seconds_of(model, prompts, 1))
        decodes.append(seconds_of(model, prompts, NEW) - prefills[-1])
    for case, value in (("generate", sequences * (NEW - 1) / statistics.median(decodes)),
                        ("prefill", sequences * PROMPT / statistics.median(prefills))):
        print(json.dumps({"case": case, "peer": "transformers " + transformers.__version__, "model": name,
                          "batch": sequences, "threads": threads, "dtype": "f32", "value": round(value, 1),
                          "unit": "tokens/s", "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}),
              flush=True)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.set_num_threads(threads)
    for case in sys.argv[3:] or ["l100-32", "tiny-32", "tiny-64"]:
        name, sequences = case.split("-")
        measure(name, int(sequences), seconds, threads)


if __name__ == "__main__":
    main()
