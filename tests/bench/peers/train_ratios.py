#!/usr/bin/env python3
"""Training here beside PyTorch, in turns, so that both see the same machine.

    peers/train_ratios.py BENCH-TRAIN ROUNDS SECONDS THREADS CASE [eager] [compile]

Runs bench-train and torch_train.py ROUNDS times in turn, prints their lines, and then a line with the medians' ratio (and the least and
largest ratio of a round) for each way of running PyTorch.
"""
import json
import pathlib
import statistics
import subprocess
import sys


def run(command):
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    print(line, flush=True)
    return json.loads(line)


def main():
    bench, rounds, seconds, threads, case = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
    ways = sys.argv[6:] or ["eager"]
    torch = [sys.executable, str(pathlib.Path(__file__).parent / "torch_train.py"), seconds, case, threads]
    ours, theirs = [], {way: [] for way in ways}
    for _ in range(rounds):
        ours.append(run([bench, seconds, case, threads]))
        for way in ways:
            theirs[way].append(run(torch + (["compile"] if way == "compile" else [])))
    for way in ways:
        ratios = [a["value"] / b["value"] for a, b in zip(ours, theirs[way])]
        value, other = (statistics.median(line["value"] for line in lines) for lines in (ours, theirs[way]))
        print(json.dumps({"case": case, "threads": int(threads), "against": theirs[way][0]["peer"], "value": value, "peer_value": other,
                          "ratio": round(value / other, 2), "ratios": [round(min(ratios), 2), round(max(ratios), 2)],
                          "gemm_fraction": statistics.median(line["gemm_fraction"] for line in ours),
                          "peak_rss_mb": ours[0]["peak_rss_mb"], "peer_peak_rss_mb": theirs[way][0]["peak_rss_mb"]}))


if __name__ == "__main__":
    main()
