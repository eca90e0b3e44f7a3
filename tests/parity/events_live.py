#!/usr/bin/env python3
"""A learner's event files as TensorBoard itself reads them.

    events_live.py LEARNER RLHFCTL

A run of two stages is killed (SIGKILL) twice and goes on. TensorBoard's EventAccumulator watches all the while, and a second
one reads the directory afresh at the end: both must have every number of metrics.jsonl once, and so must `rlhfctl events`. An
event file that TensorBoard wrote is read by `rlhfctl events` as well. Skipped (77) where $RLHF_PYTHON, or else python3, has no
tensorboard."""
import glob, json, math, os, signal, subprocess, sys, tempfile, time

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError:
    python = os.environ.pop("RLHF_PYTHON", None)
    if python:
        os.execv(python, [python] + sys.argv)
    print("skipped: this python3 has no tensorboard; set RLHF_PYTHON to one that has")
    sys.exit(77)

LEARNER, CTL = sys.argv[1:3]
RUN = """
run: {name: live, dir: run, seed: 3}
tokenizer: {train: {files: [text.txt], vocab_size: 280}}
model: {style: gpt2, layers: 1, heads: 2, channels: 16, context: 32}
learner: {threads: 1, checkpoint_seconds: 1}
stages:
  - pretrain: {name: first, data: [text.txt], steps: 4000, batch: 4, window: 24, optimizer: {learning_rate: 1e-3}}
  - pretrain: {name: second, data: [text.txt], steps: 2000, batch: 4, window: 24, optimizer: {learning_rate: 1e-3}}
"""
failures = []

def check(condition, what):
    if not condition:
        print("FAILED:", what)
        failures.append(what)

def metrics():
    out = {}
    with open("run/metrics.jsonl") as f:
        for line in f:
            o = json.loads(line)
            for key, value in o.items():
                if key not in ("stage", "step", "time_ms"):
                    out.setdefault(f"{o['stage']}/{key}", []).append((o["step"], math.nan if value is None else value))
    return out

def has_made_steps(stage, steps):
    try:
        with open("run/metrics.jsonl", "rb") as f:
            return f.read().count(b'"stage":"%s"' % stage.encode()) >= steps
    except FileNotFoundError:
        return False

def accumulated(accumulator):
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}

def same(a, b):
    if a.keys() != b.keys():
        return f"tags {sorted(a.keys() ^ b.keys())}"
    for tag in a:
        if [s for s, _ in a[tag]] != [s for s, _ in b[tag]]:
            return f"{tag}: {len(a[tag])} steps, not {len(b[tag])} (or in another order)"
        for (step, x), (_, y) in zip(a[tag], b[tag]):
            if not (math.isclose(x, y, rel_tol=1e-6) or math.isnan(x) and math.isnan(y)):
                return f"{tag} step {step}: {x}, not {y}"
    return None

def ctl_events(path):
    said = subprocess.run([CTL, "events", path], capture_output=True, text=True)
    check(said.returncode == 0, f"rlhfctl events: {said.stderr}")
    return json.loads(said.stdout)

def by_tag(events):
    out = {}
    for s in events["scalars"]:
        out.setdefault(s["tag"], []).append((s["step"], float(s["value"])))
    return out

with tempfile.TemporaryDirectory() as where:
    os.chdir(where)
    with open("text.txt", "w") as f:
        f.write("\n".join(f"The {n}th line of {n * 7} lines tells of {n % 13} birds.\n" for n in range(300)))
    with open("run.yaml", "w") as f:
        f.write(RUN)
    everything = {"scalars": 0}
    os.makedirs("run/tensorboard")
    watching = EventAccumulator("run/tensorboard", size_guidance=everything)
    for life in range(3):
        log = open(f"log{life}", "w")
        learner = subprocess.Popen([LEARNER, "--config", "run.yaml"], stdout=log, stderr=log)
        deadline = time.time() + 300
        if life < 2: # in the middle of the first stage, and of the second
            while learner.poll() is None and not has_made_steps(("first", "second")[life], 1000):
                time.sleep(0.002)
            learner.send_signal(signal.SIGKILL)
            check(learner.wait() == -signal.SIGKILL, f"life {life} ended before it was killed: " + open(f"log{life}").read()[-600:])
            watching.Reload()
            continue
        while learner.poll() is None and time.time() < deadline:
            watching.Reload()
            with open(f"log{life}") as f:
                if "stage-done stage=second" in f.read():
                    learner.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        learner.wait()
        watching.Reload()
    expected = metrics()
    check(len(expected["first/loss"]) == 4000 and len(expected["second/loss"]) == 2000, "the run is not whole; " + open("log2").read()[-600:])
    files = sorted(glob.glob("run/tensorboard/*"))
    check(len(files) == 2, f"the file at work and the one before it expected: {files}")
    wrong = same(accumulated(watching), expected)
    check(not wrong, f"TensorBoard that watched: {wrong}")
    fresh = EventAccumulator("run/tensorboard", size_guidance=everything)
    fresh.Reload()
    wrong = same(accumulated(fresh), expected)
    check(not wrong, f"TensorBoard afresh: {wrong}")
    wrong = same(by_tag(ctl_events(files[-1])), expected)
    check(not wrong, f"rlhfctl events: {wrong}")
    first = fresh.Scalars("first/loss")[0].wall_time
    check(abs(first - time.time()) < 3600, f"wall time {first}")

    writer = EventFileWriter("theirs")
    for step in range(5):
        writer.add_event(Event(wall_time=1e9 + step, step=step, summary=Summary(value=[Summary.Value(tag="a/b", simple_value=step / 3)])))
    writer.close()
    wrong = same(by_tag(ctl_events(glob.glob("theirs/*")[0])), {"a/b": [(s, s / 3) for s in range(5)]})
    check(not wrong, f"a file of TensorBoard's: {wrong}")

print("failed" if failures else "a run killed twice: TensorBoard has every number once")
sys.exit(1 if failures else 0)
