#!/usr/bin/env python3
"""`rlhfctl eval` on the small fixtures that evaluate_live.py --fixtures wrote with lm-evaluation-harness; needs nothing but python.

usage: evaluate_own.py RLHFCTL FOLDER"""
import json
import math
import os
import subprocess
import sys

tool, folder = sys.argv[1:3]
bad = checked = 0
for name in sorted(os.listdir(folder)):
    d = os.path.join(folder, name)
    if not os.path.isdir(d):
        continue
    with open(os.path.join(d, "expected.json"), encoding="utf-8") as f:
        expected = json.load(f)
    for case in expected["cases"]:
        suite, path = case["suite"], os.path.join(d, case["file"])
        done = subprocess.run([tool, "eval", "--model", d, "--suite", f"{suite}={path}", "--json", "-", *case["options"]], capture_output=True, text=True)
        figures = json.loads(done.stdout)["suites"][suite] if done.returncode == 0 else {}
        for figure, value in case["figures"].items():
            got = figures.get(figure.removesuffix(" stderr"), {}).get("stderr" if figure.endswith(" stderr") else "value")
            checked += 1
            if got is None or not math.isclose(got, value, rel_tol=1e-4, abs_tol=1e-4):
                bad += 1
                print(f"{name}: {case['file']} {figure}: {got}, the harness has {value} {done.stderr}")
print(f"{checked} figures, {bad} differ")
sys.exit(bad > 0 or checked == 0)
