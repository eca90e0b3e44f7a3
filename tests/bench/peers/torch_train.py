#!/usr/bin/env python3
"""PyTorch on the very work of bench-train: the same models, batches and optimiser, with scaled_dot_product_attention.

    peers/torch_train.py SECONDS CASE THREADS [compile]

Prints the JSON lines of bench-train, with "peer": "pytorch", or "pytorch-compile" when the model goes through torch.compile. Ragged cases
read their token ids from RLHF_HH_IDS as bench-train does, pad each batch to its longest sequence, as people do, and count
the tokens that are no padding.
"""
import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {  # style, layers, heads, channels, feed-forward, vocabulary
    "tiny": ("llama", 6, 4, 256, 704, 4096),
    "l100": ("llama", 12, 12, 768, 2048, 32000),
    "gpt2": ("gpt2", 12, 12, 768, 3072, 50257),
}
CASES = {  # model, sequences a batch, length, batches
    "train-tiny": ("tiny", 16, 128, 1),
    "train-l100": ("l100", 4, 256, 1),
    "train-gpt2": ("gpt2", 4, 64, 1),
    "train-hh-tiny": ("tiny", 16, None, 4),
    "train-hh-l100": ("l100", 8, None, 2),
}
CONTEXT = 1024


class RMSNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-6)


def rotate(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), -1)


class Block(nn.Module):
    def __init__(self, style, heads, channels, mlp):
        super().__init__()
        self.llama, self.heads, self.mlp = style == "llama", heads, mlp
        norm = RMSNorm if self.llama else nn.LayerNorm
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=not self.llama)
        self.out = nn.Linear(channels, channels, bias=not self.llama)
        self.up = nn.Linear(channels, 2 * mlp if self.llama else mlp, bias=not self.llama)
        self.down = nn.Linear(mlp, channels, bias=not self.llama)

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2)
                   for y in self.qkv(self.norm1(x)).split(c, -1))
        if self.llama:
            q, k = q * cos + rotate(q) * sin, k * cos + rotate(k) * sin
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        up = self.up(self.norm2(x))
        if self.llama:
            gate, up = up.split(self.mlp, -1)
            return x + self.down(F.silu(gate) * up)
        return x + self.down(F.gelu(up, approximate="tanh"))


class Model(nn.Module):
    def __init__(self, style, layers, heads, channels, mlp, vocabulary):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, channels)
        self.positions = nn.Embedding(CONTEXT, channels) if style == "gpt2" else None
        self.blocks = nn.ModuleList(Block(style, heads, channels, mlp) for _ in range(layers))
        self.norm = RMSNorm(channels) if style == "llama" else nn.LayerNorm(channels)
        size = channels // heads
        angle = torch.outer(torch.arange(CONTEXT), 10000.0 ** (-torch.arange(0, size, 2) / size))
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids):
        t = ids.shape[1]
        x = self.embed(ids)
        if self.positions is not None:
            x = x + self.positions.weight[:t]
        for block in self.blocks:
            x = block(x, self.cos[:t], self.sin[:t])
        return self.norm(x) @ self.embed.weight.T


def conversations(vocabulary, sequences, batches):
    """Batches of (ids, targets), both padded, and how many tokens are no padding."""
    with open(os.path.join(os.environ["RLHF_HH_IDS"], f"hh-{vocabulary}.ids"), encoding="ascii") as lines:
        rows = [torch.tensor([int(i) for i in line.split()]) for line in lines]
    for b in range(batches):
        some = rows[b * sequences:(b + 1) * sequences]
        ids = nn.utils.rnn.pad_sequence(some, batch_first=True, padding_value=0)
        targets = nn.utils.rnn.pad_sequence([row[1:] for row in some], batch_first=True, padding_value=-100)
        yield ids, targets, sum(len(row) for row in some)


def main():
    seconds, case, threads = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    compiled = sys.argv[4:] == ["compile"]
    name, sequences, length, batches = CASES[case]
    vocabulary = SHAPES[name][-1]
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    if length:
        ids = torch.randint(0, vocabulary, (sequences, length))
        work = [(ids, ids[:, 1:], sequences * length)]
    else:
        work = list(conversations(vocabulary, sequences, batches))
    model = Model(*SHAPES[name])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    run = torch.compile(model, dynamic=length is None) if compiled else model

    def step(ids, targets):
        begin = time.perf_counter()
        logits = run(ids)[:, :-1].reshape(-1, vocabulary)
        loss = F.cross_entropy(logits, targets.reshape(-1), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - begin

    for ids, targets, _ in work if compiled else work[:1]:
        step(ids, targets)  # only warms up, and compiles
    times, end = [[] for _ in work], time.perf_counter() + seconds
    while not times[0] or time.perf_counter() < end:
        for i, (ids, targets, _) in enumerate(work):
            times[i].append(step(ids, targets))
    tokens = sum(count for _, _, count in work)
    print(json.dumps({"case": case, "peer": "pytorch-compile" if compiled else "pytorch", "model": name,
                      "batch": sequences, "threads": threads, "dtype": "f32",
                      "value": round(tokens / sum(statistics.median(t) for t in times), 1), "unit": "tokens/s",
                      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}), flush=True)


if __name__ == "__main__":
    main()
