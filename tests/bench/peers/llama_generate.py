#!/usr/bin/env python3
"""llama.cpp on the very work of bench-generate: the same shape, prompts of 64 tokens, 128 new ones, in one process.

    peers/llama_generate.py [seconds] [threads] [MODEL-BATCH[-DTYPE] ...]        tiny-32, l100-8, l100-1-bf16 ...

Needs the packages llama-cpp-python and gguf. Prints the same JSON lines as bench-generate, with "peer": "llama.cpp". Weights are
random, as in bench-generate: they change no step's cost. New tokens are the most probable ones, taken by numpy outside the clock,
which is in llama.cpp's favour; bench-generate's clock has its sampler inside.
"""
import json
import os
import resource
import statistics
import sys
import tempfile
import time

import gguf
import llama_cpp as L
import numpy as np

PROMPT, NEW = 64, 128
SHAPES = {"tiny": (6, 4, 64, 704, 4096, 512), "l100": (12, 12, 64, 2048, 32000, 1024)}


def write(path, shape, dtype):
    layers, heads, size, mlp, vocabulary, context = shape
    channels, random = heads * size, np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers)
    w.add_context_length(context)
    w.add_embedding_length(channels)
    w.add_feed_forward_length(mlp)
    w.add_head_count(heads)
    w.add_head_count_kv(heads)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_dimension_count(size)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(vocabulary)
    w.add_tokenizer_model("no_vocab")

    def matrix(name, rows, columns):
        x = random.standard_normal((rows, columns), np.float32) * 0.02
        if dtype == "bf16":
            w.add_tensor(name, gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, x)

    matrix("token_embd.weight", vocabulary, channels)
    for i in range(layers):
        w.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(channels, np.float32))
        for name in "qkv":
            matrix(f"blk.{i}.attn_{name}.weight", channels, channels)
        matrix(f"blk.{i}.attn_output.weight", channels, channels)
        w.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(channels, np.float32))
        matrix(f"blk.{i}.ffn_gate.weight", mlp, channels)
        matrix(f"blk.{i}.ffn_up.weight", mlp, channels)
        matrix(f"blk.{i}.ffn_down.weight", channels, mlp)
    w.add_tensor("output_norm.weight", np.ones(channels, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def decode(context, batch, rows):
    """rows: (token, position, sequence, wants logits)"""
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
        batch.seq_id[i][0] = sequence
    if L.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")


def measure(path, name, sequences, dtype, seconds, threads):
    vocabulary = SHAPES[name][4]
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    p = L.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = sequences * (PROMPT + NEW + 32), sequences * PROMPT, 512, sequences
    p.n_threads = p.n_threads_batch = threads
    p.kv_unified = True
    context = L.llama_init_from_model(model, p)
    batch = L.llama_batch_init(sequences * PROMPT, 0, 1)
    prompts = np.random.default_rng(2).integers(0, vocabulary, (sequences, PROMPT))
    prefills, decodes, end = [], [], None
    while end is None or time.perf_counter() < end or len(decodes) < 2:
        L.llama_memory_clear(L.llama_get_memory(context), True)
        rows = [(int(prompts[s, t]), t, s, t == PROMPT - 1) for s in range(sequences) for t in range(PROMPT)]
        begin = time.perf_counter()
        decode(context, batch, rows)
        prefilled = time.perf_counter() - begin
        last, spent = prompts[:, -1], 0.0
        for t in range(NEW - 1):
            rows = [(int(last[s]), PROMPT + t, s, True) for s in range(sequences)]
            begin = time.perf_counter()
            decode(context, batch, rows)
            logits = [L.llama_get_logits_ith(context, s) for s in range(sequences)]
            spent += time.perf_counter() - begin
            last = [np.ctypeslib.as_array(x, (vocabulary,)).argmax() for x in logits]
        if end is None:
            end = time.perf_counter() + seconds  # the first round only warms up
        else:
            prefills.append(prefilled)
            decodes.append(spent)
    for case, value in (("generate", sequences * (NEW - 1) / statistics.median(decodes)),
                        ("prefill", sequences * PROMPT / statistics.median(prefills))):
        print(json.dumps({"case": case, "peer": "llama.cpp (llama-cpp-python " + L.__version__ + ")", "model": name,
                          "batch": sequences, "threads": threads, "dtype": dtype, "value": round(value, 1),
                          "unit": "tokens/s", "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}),
              flush=True)
    L.llama_batch_free(batch)
    L.llama_free(context)
    L.llama_model_free(model)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    cases = sys.argv[3:] or ["l100-1", "l100-8", "l100-32", "l100-1-bf16", "tiny-1", "tiny-32", "tiny-64"]
    silent = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(silent, None)
    L.llama_backend_init()
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            name, sequences, dtype = (case.split("-") + ["f32"])[:3]
            path = os.path.join(folder, f"{name}-{dtype}.gguf")
            if not os.path.exists(path):
                write(path, SHAPES[name], dtype)
            measure(path, name, int(sequences), dtype, seconds, threads)


if __name__ == "__main__":
    main()
