#!/usr/bin/env python3
"""A whole iteration of GRPO or PPO through the real daemons, as `rlhfctl up` starts them: generation, rewards and reference
log-probs, the update, the new weights at the workers. The work of peers/trl_grpo.py.

    tests/bench/iteration.py [BUILD] [MODEL-COMPLETIONS[-ALGORITHM] ...]        tiny-64, l100-16, tiny-64-ppo ...

Random weights, prompts of 64 tokens, groups of 8, 128 new tokens each, a reference model, one epoch. Rewards are a rule's, as TRL is
given a function; PPO, whose critic begins as a reward model, has one of the same size (a few steps on made-up comparisons make it).
Prints JSON lines: seconds an iteration (the median of those behind the first), and the peak of the memory of all daemons
together in MB (proportional set sizes: what they share counts once), in those iterations. BUILD is build/dev by default; PRODUCTS=bf16
multiplies numbers rounded to bfloat16, ITERATIONS are 3.
"""
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SHAPES = {"tiny": (6, 4, 256, 704, 4096), "l100": (12, 12, 768, 2048, 32000)}
PROMPT, NEW, GROUP, ITERATIONS = 64, 128, 8, int(os.environ.get("ITERATIONS", "3"))
PRODUCTS = os.environ.get("PRODUCTS", "fp32")
MEMORY_EVERY = 0.5 # seconds: adding up a process's pages takes the kernel milliseconds
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def byte_letters():
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]


def write_tokenizer(path, vocabulary):
    """Byte-level without merges: a letter is a token. The rest of the vocabulary is there, and never read. No token ends a text,
    so that every completion is as long as another."""
    words = byte_letters()
    words += [f"w{i}w" for i in range(vocabulary - len(words))]
    os.makedirs(path)
    with open(f"{path}/tokenizer.json", "w") as f:
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                   "post_processor": None, "decoder": {"type": "ByteLevel"},
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                             "vocab": {w: i for i, w in enumerate(words)}, "merges": []}}, f)


def text(n):
    return "".join(random.choice(LETTERS) for _ in range(n))


def write_run(top, model, completions, algorithm, threads):
    layers, heads, channels, mlp, vocabulary = SHAPES[model]
    write_tokenizer(f"{top}/tokenizer", vocabulary)
    with open(f"{top}/prompts.jsonl", "w") as f:
        for _ in range(completions // GROUP):
            f.write(json.dumps({"prompt": text(PROMPT)}) + "\n")
    with open(f"{top}/documents.jsonl", "w") as f:
        f.write(json.dumps({"text": text(256)}) + "\n")
    if algorithm == "ppo":
        with open(f"{top}/comparisons.jsonl", "w") as f:
            for _ in range(4):
                f.write(json.dumps({"prompt": text(16), "chosen": text(16), "rejected": text(16)}) + "\n")
    reward_stages = """
  - collect: {name: seed, want: 4}
  - reward: {name: reward, from: base, rounds: [seed], held_out: 0, epochs: 1, batch: 4}""" if algorithm == "ppo" else ""
    rewards = "reward_model: reward" if algorithm == "ppo" else "rewards: [{length: {name: length, unit: characters, at_most: 100}}]"
    with open(f"{top}/run.yaml", "w") as f:
        f.write(f"""run: {{name: bench, dir: {top}/run, seed: 1, products: {PRODUCTS}}}
tokenizer: {{load: {top}/tokenizer}}
model: {{style: llama, layers: {layers}, heads: {heads}, channels: {channels}, mlp_size: {mlp}, context: 512, tied: true}}
learner: {{threads: {threads}, verify_tokens: 64}}
up: {{rollout_workers: 1, reward_scorers: 1, worker_threads: {threads}, scorer_threads: {threads},
     label_collector: {{http: "127.0.0.1:0"}}}}
stages:
  - pretrain: {{name: base, data: [{top}/documents.jsonl], steps: 1, batch: 1, window: 64}}{reward_stages}
  - policy:
      name: policy
      from: base
      algorithm: {algorithm}
      {rewards}
      prompts: {top}/prompts.jsonl
      iterations: {ITERATIONS}
      prompts_per_iteration: {completions // GROUP}
      samples: {GROUP}
      inner_epochs: 1
      minibatch: {completions}
      kl_coefficient: 0.04
      checkpoint_every: 0
      sampling: {{max_new_tokens: {NEW}}}
      optimizer: {{learning_rate: 1e-6}}
""")


def children(pid):
    found = [pid]
    for p in found:
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/children") as f:
                    found += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return found[1:]


def memory(pid):
    total = {}
    for p in children(pid):
        try:
            with open(f"/proc/{p}/comm") as f:
                name = f.read().strip()
            with open(f"/proc/{p}/smaps_rollup") as f:
                total[name] = next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024
        except (OSError, StopIteration):
            pass
    return total


def follow(up, top):
    """The times at which iterations were done, and the memory at its peak between the first and the last."""
    times, peak, looked = [], {}, 0
    imported = not os.path.exists(f"{top}/comparisons.jsonl")
    metrics = f"{top}/run/metrics.jsonl"
    while up.poll() is None and len(times) < ITERATIONS:
        if not imported and os.path.exists(f"{top}/run/labels.http"):
            done = subprocess.run([f"{build}/daemons/rlhfctl", "label", "import", "--round", "seed", "--address-file",
                                   f"{top}/run/labels.http", f"{top}/comparisons.jsonl"], capture_output=True, text=True)
            imported = done.returncode == 0
        if times and time.monotonic() >= looked + MEMORY_EVERY:
            looked = time.monotonic()
            now = memory(up.pid)
            if sum(now.values()) > sum(peak.values()):
                peak = now
        if os.path.exists(metrics):
            with open(metrics) as f:
                lines = [json.loads(line) for line in f if line.endswith("\n")]
            done = sum(1 for line in lines if line.get("stage") == "policy")
            times += [time.monotonic()] * (done - len(times))
        time.sleep(0.02)
    return times, peak


def measure(model, completions, algorithm, threads):
    top = tempfile.mkdtemp(prefix="rlhfd-bench-")
    write_run(top, model, completions, algorithm, threads)
    with open(f"{top}/out", "w") as out:
        up = subprocess.Popen([f"{build}/daemons/rlhfctl", "up", f"{top}/run.yaml"], stdout=out, stderr=out)
    try:
        times, peak = follow(up, top)
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()
    if len(times) < ITERATIONS:
        with open(f"{top}/out") as f:
            sys.exit(f.read() + f"the run ended early; see {top}")
    shutil.rmtree(top)
    seconds = statistics.median(b - a for a, b in zip(times, times[1:]))
    line = {"case": "iteration", "model": model, "batch": completions, "threads": threads, "dtype": PRODUCTS.replace("fp", "f"), "algorithm": algorithm}
    print(json.dumps({**line, "value": round(seconds, 3), "unit": "s"}))
    print(json.dumps({**line, "case": "iteration-memory", "value": round(sum(peak.values())), "unit": "MB",
                      "daemons": {name: round(mb) for name, mb in peak.items()}}), flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
arguments = sys.argv[1:]
build = arguments.pop(0) if arguments and os.path.isdir(arguments[0]) else "build/dev"
for case in arguments or ["tiny-64", "l100-16"]:
    parts = case.split("-") + ["grpo"]
    random.seed(1)
    measure(parts[0], int(parts[1]), parts[2], len(os.sched_getaffinity(0)))
