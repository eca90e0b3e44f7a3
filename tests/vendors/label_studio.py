"""Label Studio 1.23, the real server, on loopback: tasks are pushed, people annotate, and the collector is killed in between.

Usage: label_studio.py LABEL-COLLECTOR. RLHF_LABEL_STUDIO names Label Studio's program; else label-studio of the PATH is taken,
and without either the test is skipped. Its first start migrates a database for a minute: the outcome is kept in RLHF_BUILD."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from daemon import Collector, free_port, request, seeded, skip, wait_for

TASKS = 50
TOKEN = "0123456789abcdef0123456789abcdef01234567"
PAIR = {"id": "c", "from_name": "comparison", "to_name": "comparison", "type": "pairwise"}


class LabelStudio:
    def __init__(self, binary):
        self.binary = binary
        self.dir = tempfile.mkdtemp(prefix="rlhf-label-studio-")
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        kept = os.path.join(os.environ.get("RLHF_BUILD", self.dir), "label-studio-migrated")
        if os.path.isdir(kept):
            shutil.copytree(kept, self.dir, dirs_exist_ok=True)
            self.start()
        else:
            self.start()
            self.end()
            shutil.copytree(self.dir, kept + ".new", dirs_exist_ok=True)
            os.rename(kept + ".new", kept)
            self.start()

    def start(self):
        environment = dict(os.environ, SSRF_PROTECTION_ENABLED="false", COLLECT_ANALYTICS="false", LATEST_VERSION_CHECK="false",
                           LABEL_STUDIO_BASE_DATA_DIR=self.dir)
        log = open(self.dir + "/log", "a")
        self.process = subprocess.Popen(
            [self.binary, "start", "--no-browser", "--port", str(self.port), "--internal-host", "127.0.0.1", "--data-dir",
             self.dir, "--username", "owner@example.org", "--password", "only-for-this-test", "--user-token", TOKEN,
             "--enable-legacy-api-token"], env=environment, stderr=log, stdout=log, start_new_session=True)
        wait_for(lambda: "Label Studio: " + open(self.dir + "/log").read()[-2000:], lambda: self.call("GET", "/health")[0] == 200,
                 600)  # it migrates its database at the first start

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()

    def call(self, method, path, body=None):
        return request(method, self.url + path, body, {"Authorization": "Token " + TOKEN})

    def must(self, method, path, body=None):
        status, answer = self.call(method, path, body)
        assert status in (200, 201, 204), (method, path, status, answer)
        return answer

    def tasks(self, project):
        status, page = self.call("GET", "/api/tasks/?project=%s&page=1&page_size=100&fields=all" % project)
        return page["tasks"] if status == 200 else []

    def annotate(self, task, result, **more):
        body = {"lead_time": 2.5, **more, **({} if result is None else {"result": result})}
        return self.must("POST", "/api/tasks/%d/annotations/" % task["id"], body)["id"]

    def close(self):
        self.end()
        shutil.rmtree(self.dir, ignore_errors=True)


def a_task(i):
    return {"id": "pair/%d" % i, "round": "r", "prompt": "Which is right, %d?" % i, "completions": ["yes %d" % i, "no %d" % i]}


def right(i):
    """Which completion of task i people prefer."""
    return "yes" if i % 3 else "no"


def number(task):
    return int(task["data"]["uid"].split("/")[1])


def side(task, word):
    return "left" if task["data"]["answer1"].startswith(word) else "right"


def pair(task, word):
    return [dict(PAIR, value={"selected": side(task, word)})]


def expect_right(row, i, word):
    """Ranks are in the task's order, whatever the vendor was shown."""
    assert row["completions"] == a_task(i)["completions"], row
    assert row["ranks"] == ([1, 2] if word == "yes" else [2, 1]), (i, word, row)
    assert sorted(row["presented"]) == [0, 1] and row["seconds"] == 2.5, row


def vendors(ls, key_file, c):
    return """  - name: ls
    kind: label_studio
    url: %s
    token_file: %s
    secret_files: [%s]
    callback: %s
    title: rlhfd test
    round: r
    price: 0.25
    batch: 7
    poll_seconds: 1
    sweep_seconds: 3
    settle_seconds: 2
  - name: ls-lists
    kind: label_studio
    url: %s
    token_file: %s
    title: rlhfd test of lists
    layout: rankings
    round: k
    poll_seconds: 1
""" % (ls.url, key_file, c.file("secret", "a callback's secret\n"), c.url, ls.url, key_file)


def push_and_kill(c, ls, random):
    """Tasks are given, and sent in eight requests; the collector dies again and again while it does so."""
    status, answer = c.post("/api/v1/tasks", [a_task(i) for i in range(TASKS)])
    assert status == 200, answer
    status, answer = c.post("/api/v1/vendors/ls/push", {"round": "r"})
    assert status == 200 and answer["tasks"] == TASKS, answer
    for _ in range(6):
        time.sleep(random.uniform(0, 0.6))  # when it dies
        c.kill()
        c.start()
    wait_for(lambda: "all sent: %s" % c.vendor("ls"), lambda: c.vendor("ls")["tasks"]["sent"] == TASKS)
    tasks = ls.tasks(c.vendor("ls")["project"])
    assert sorted(t["data"]["uid"] for t in tasks) == sorted(a_task(i)["id"] for i in range(TASKS)), len(tasks)
    shown = [t["data"]["answer1"].startswith("yes") for t in tasks]
    assert 0 < sum(shown) < TASKS, "sides are not shuffled"
    return tasks


def annotate_and_kill(c, ls, tasks, random):
    killed, ids = sorted(random.sample(range(TASKS), 5)), {}
    down = False
    for i, task in enumerate(tasks):
        if down:
            c.start()
        down = i in killed
        if down:
            c.kill()  # the callback of this one reaches nobody
        ids[ls.annotate(task, pair(task, right(number(task))))] = number(task)
    if down:
        c.start()
    wait_for(lambda: "%d labels: %s" % (TASKS, c.vendor("ls")), lambda: c.get("/api/v1/stats")["labels"] == TASKS)
    rows = c.labels()
    assert len(rows) == TASKS and all(r["revision"] == 1 for r in rows.values()), len(rows)
    for (source, label), row in rows.items():
        assert source == "ls" and row["task"] == a_task(ids[int(label)])["id"], row
        expect_right(row, ids[int(label)], right(ids[int(label)]))
    v = c.vendor("ls")
    assert v["labels"] == TASKS and v["cost"] == TASKS * 0.25, v
    return {i: label for label, i in ids.items()}


def change_minds(c, ls, tasks, labels):
    """Updates and deletions become revisions; what says nothing is nothing."""
    by_number = {number(t): t for t in tasks}
    update, delete, remove = by_number[3], by_number[4], by_number[5]
    ls.must("PATCH", "/api/annotations/%d/" % labels[3], {"result": pair(update, "yes")})
    ls.must("DELETE", "/api/annotations/%d/" % labels[4])
    ls.must("DELETE", "/api/tasks/%d/" % remove["id"])
    ls.must("PATCH", "/api/annotations/%d/" % labels[6], {"result": [], "was_cancelled": True})
    wait_for(lambda: "revisions: %s" % c.vendor("ls"),
             lambda: all(r["revision"] == 2 for k, r in c.labels().items() if int(k[1]) in [labels[i] for i in (3, 4, 5, 6)]))
    rows = c.labels()
    expect_right(rows[("ls", str(labels[3]))], 3, "yes")
    for i in (4, 5, 6):
        assert rows[("ls", str(labels[i]))]["excluded"] == "deleted", rows[("ls", str(labels[i]))]
    assert c.get("/api/v1/stats")["labels"] == TASKS - 3
    ls.annotate(delete, pair(delete, "no"))
    wait_for("a second opinion", lambda: c.get("/api/v1/stats")["labels"] == TASKS - 2)


def say_nothing(c, ls):
    """Skipped, empty, null and malformed annotations: no label, a skip, and a complaint."""
    before = c.get("/api/v1/stats")
    more = [a_task(i) for i in range(TASKS, TASKS + 5)]
    assert c.post("/api/v1/tasks", more)[0] == 200
    assert c.post("/api/v1/vendors/ls/push", {"round": "r"})[1]["tasks"] >= 5
    project = c.vendor("ls")["project"]
    fresh = lambda: {number(t): t for t in ls.tasks(project) if number(t) >= TASKS}
    wait_for("five more tasks", lambda: len(fresh()) == 5)
    tasks = fresh()
    ls.annotate(tasks[TASKS], [], was_cancelled=True)
    ls.annotate(tasks[TASKS + 1], [])
    ls.annotate(tasks[TASKS + 2], None)
    ls.annotate(tasks[TASKS + 3], [dict(PAIR, value={"selected": "up"})])
    ls.annotate(tasks[TASKS + 4], pair(tasks[TASKS + 4], "yes"))
    wait_for(lambda: "a skip and a label: %s" % c.vendor("ls"),
             lambda: c.get("/api/v1/stats")["skips"] == before["skips"] + 1
             and c.get("/api/v1/stats")["labels"] == before["labels"] + 1)
    wait_for("the complaint", lambda: "up, not left or right" in c.vendor("ls")["said"]["error"])


def rank(c, ls):
    """Rankings in a project of their own, without callbacks: polling brings them, in the task's order."""
    texts = ["worst", "best", "middle"]
    assert c.post("/api/v1/tasks", [{"id": "k%d" % i, "round": "k", "prompt": "p", "completions": texts} for i in range(6)])[0] == 200
    assert c.post("/api/v1/vendors/ls-lists/push", {})[1]["tasks"] == 6
    wait_for("six lists", lambda: c.vendor("ls-lists")["tasks"]["sent"] == 6)
    for task in ls.tasks(c.vendor("ls-lists")["project"]):
        order = sorted(task["data"]["items"], key=lambda item: ["best", "middle", "worst"].index(item["body"]))
        ls.annotate(task, [{"id": "r", "from_name": "rank", "to_name": "answers", "type": "ranker",
                            "value": {"ranker": {"rank": [item["id"] for item in order]}}}])
    wait_for(lambda: "six rankings: %s" % c.vendor("ls-lists"), lambda: c.vendor("ls-lists")["labels"] == 6)
    for row in (r for r in c.labels().values() if r["source"] == "ls-lists"):
        assert row["ranks"] == [3, 1, 2] and row["completions"] == texts and sorted(row["presented"]) == [0, 1, 2], row


def main():
    binary = os.environ.get("RLHF_LABEL_STUDIO") or shutil.which("label-studio")
    if not binary or not os.path.exists(binary):
        skip("no label-studio: pip install 'label-studio==1.23.*', and name it in RLHF_LABEL_STUDIO")
    random = seeded(7)
    ls = LabelStudio(binary)
    c = Collector(sys.argv[1], "")
    try:
        c.configure(vendors(ls, c.file("token", TOKEN + "\n"), c))
        c.start()
        tasks = push_and_kill(c, ls, random)
        labels = annotate_and_kill(c, ls, tasks, random)
        status, answer = ls.call("POST", "/api/token/")  # from here on with a personal access token
        assert status == 201, answer
        c.stop()
        c.configure(vendors(ls, c.file("token", answer["token"] + "\n"), c))
        c.start()
        change_minds(c, ls, tasks, labels)
        say_nothing(c, ls)
        rank(c, ls)
        assert c.vendor("ls")["error"] == "", c.vendor("ls")
        v = c.vendor("ls")
        print("%d labels; since the last start %s" % (v["labels"], json.dumps({k: v[k] for k in ("said", "requests", "callbacks")})))
        c.stop()
    finally:
        c.close()
        ls.close()


main()
