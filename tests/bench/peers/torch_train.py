#!/usr/bin/env python3
"""PyTorch, eager, on the very work of bench-train's case train-tiny: the same model, batch and optimiser.

    peers/torch_train.py [seconds] [threads]

Prints the same JSON line as bench-train, with "peer": "pytorch".
"""
import json
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

LAYERS, HEADS, CHANNELS, MLP, VOCABULARY, BATCH, LENGTH = 6, 4, 256, 704, 4096, 16, 128


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CHANNELS))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def rotate(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), -1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(), RMSNorm()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS, bias=False)
        self.out = nn.Linear(CHANNELS, CHANNELS, bias=False)
        self.gate_up = nn.Linear(CHANNELS, 2 * MLP, bias=False)
        self.down = nn.Linear(MLP, CHANNELS, bias=False)

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, HEADS, c // HEADS).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(c, -1))
        q, k = q * cos + rotate(q) * sin, k * cos + rotate(k) * sin
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        gate, up = self.gate_up(self.norm2(x)).split(MLP, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, CHANNELS)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = RMSNorm()
        size = CHANNELS // HEADS
        angle = torch.outer(torch.arange(LENGTH), 10000.0 ** (-torch.arange(0, size, 2) / size))
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.norm(x) @ self.embed.weight.T


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    times, end = [], None
    while end is None or time.perf_counter() < end or len(times) < 4:
        begin = time.perf_counter()
        loss = F.cross_entropy(model(ids)[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if end is None:
            end = time.perf_counter() + seconds  # the first step only warms up
        else:
            times.append(time.perf_counter() - begin)
    print(json.dumps({"case": "train-tiny", "peer": "pytorch " + torch.__version__, "model": "tiny", "batch": BATCH,
                      "threads": threads, "dtype": "f32", "value": round(BATCH * LENGTH / statistics.median(times)),
                      "unit": "tokens/s", "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
