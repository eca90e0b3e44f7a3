"""Labelbox, Scale and Surge as local servers that play what their documents say, and misbehave as servers do.

Usage: scripted.py LABEL-COLLECTOR RLHFCTL [DATABASE] (default: an SQLite file of its own). Each vendor is given tasks while the collector is killed and answers get lost, people
"judge", callbacks come, are lost, repeated, forged: in the end each label is there once, with the right value."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

from daemon import Collector, request, seeded, wait_for

TASKS = 12
SECRET, OLD_SECRET = "one secret, of today", "another secret, of yesterday"


class Server:
    """Serves self.answer(method, path, query, body) -> (status, object); may lose answers after the work is done."""

    def __init__(self, random):
        self.random, self.lock, self.trouble, self.seen = random, threading.Lock(), 0.0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                url = urllib.parse.urlparse(self.path)
                with outer.lock:
                    fate = outer.random.random() if outer.trouble else 1.0
                    outer.seen.append((self.command, url.path, dict(self.headers), body))
                    if fate < outer.trouble / 3:
                        status, answer = 429, {"message": "slow down"}
                    else:
                        status, answer = outer.answer(self.command, url.path, dict(urllib.parse.parse_qsl(url.query)), body)
                if outer.trouble / 3 <= fate < outer.trouble * 2 / 3:
                    self.close_connection = True  # it was done, and nobody hears of it
                    return
                if outer.trouble * 2 / 3 <= fate < outer.trouble:
                    status, answer = 503, {"message": "an upstream has gone"}
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = serve

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()


class Scale(Server):
    kind, extra = "scale", "    project: helpful pairs\n"

    def __init__(self, random):
        super().__init__(random)
        self.tasks = {}

    def answer(self, method, path, query, body):
        if (method, path) == ("POST", "/v2/task/chat"):
            b = json.loads(body)
            assert b["project_name"] == "helpful pairs", b
            task = {"task_id": "t%04d" % len(self.tasks), "status": "pending", "metadata": b["metadata"],
                    "texts": b["template_variables"]}
            self.tasks[task["task_id"]] = task
            return 200, {k: v for k, v in task.items() if k != "texts"}
        if (method, path) == ("GET", "/v2/tasks"):
            found = [t for t in self.tasks.values() if t.get("completed_at", "") > query.get("completed_after", "")
                     or "completed_after" not in query]
            first = int(query.get("next_token") or 0)
            more = first + 7 < len(found)
            return 200, {"tasks": found[first:first + 7], "next_token": str(first + 7) if more else None}
        task = self.tasks.get(query.get("task_id"))
        return (200, task) if task else (404, {"message": "no such task"})

    def pushed(self):
        return [(t["metadata"]["pair_id"], i) for i, t in self.tasks.items()]

    def judge(self, remote, word, when):
        t = self.tasks[remote]
        texts = t["texts"]["responses"]
        best = 0 if texts[0].startswith(word) else 1
        t.update(status="completed", completed_at="2026-01-05T10:%02d:%02d.000Z" % (when // 60, when % 60), threads=[{
            "id": "th", "submissions": [{"contributor_id": "c1"}], "annotations": [], "turns": [{
                "id": "tn", "messages": [{"role": "user", "content": {"text": t["texts"]["prompt"]}, "source_id": "prompt"}]
                + [{"role": "assistant", "content": {"text": x}, "source_id": "r%d" % i} for i, x in enumerate(texts)],
                "annotations": [{"key": "p", "type": "ranked_groups", "value": [["r%d" % best], ["r%d" % (1 - best)]]}]}]}])
        return {"task": t, "task_id": remote}

    def withdraw(self, remote):
        self.tasks[remote].update(status="canceled", completed_at="2026-01-05T12:00:00.000Z", threads=[])

    def headers(self, body):
        return {"scale-callback-auth": SECRET}


class Surge(Server):
    kind, extra = "surge", ""

    def __init__(self, random):
        super().__init__(random)
        self.projects, self.tasks = {}, {}

    def answer(self, method, path, query, body):
        parts = path.strip("/").split("/")
        if parts == ["projects"] and method == "GET":
            return 200, list(self.projects.values()) if query["page"] == "1" else []
        if parts == ["projects"]:
            b = json.loads(body)
            assert b["callback_url"].endswith("/hooks/surge/" + SECRET), b
            b["id"] = "p%d" % len(self.projects)
            self.projects[b["id"]] = b
            return 200, b
        if parts[0] == "tasks":
            return (200, self.tasks[parts[1]]) if parts[1] in self.tasks else (404, {"error": "not found"})
        if parts[-1] == "create_tasks":
            made = []
            for fields in json.loads(body)["tasks"]:
                task = {"id": "s%04d" % len(self.tasks), "project_id": parts[1], "status": "in_progress",
                        "is_gold_standard": False, "fields": fields, "responses": []}
                self.tasks[task["id"]] = task
                made.append(task)
            return 200, made
        page = int(query["page"])
        return 200, list(self.tasks.values())[(page - 1) * 6:page * 6]

    def pushed(self):
        return [(t["fields"]["pair_id"], i) for i, t in self.tasks.items()]

    def judge(self, remote, word, when):
        t = self.tasks[remote]
        best = "A" if t["fields"]["response_a"].startswith(word) else "B"
        t["responses"] = [{"id": remote + "-r0", "data": {"Which response is better?": best + " much better"},
                           "completed_at": "2026-01-05T10:00:00.000Z", "worker_id": "W1"}]
        return {"id": remote}

    def withdraw(self, remote):
        self.tasks[remote]["responses"] = []

    def headers(self, body):
        return {}


class Labelbox(Server):
    kind, extra = "labelbox", "    project: prj1\n    dataset: ds1\n"

    def __init__(self, random):
        super().__init__(random)
        self.files, self.rows, self.batched, self.labels, self.exports, self.hooks = {}, {}, [], {}, {}, 0

    def upload(self, body):
        text = body.split(b"Content-Type: application/json\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        name = "%s/files/%d" % (self.url, len(self.files))
        self.files[name] = json.loads(text)
        return {"uploadFile": {"url": name, "filename": "x"}}

    def upsert(self, manifest):
        for chunk in self.files[manifest]["chunk_uris"]:
            for row in self.files[chunk]:
                key = row["id"]["value"]
                self.rows.setdefault(key, {"id": "row-%d" % len(self.rows), "texts": row["payload"]["row_data"]["messages"]})
        return {"upsertDataRows": {"id": "task-1", "status": "IN_PROGRESS"}}

    def export(self):
        lines = [json.dumps({"data_row": {"id": self.rows[k]["id"], "global_key": k}, "projects": {"prj1": {"labels": [l] if l else []}}})
                 for k, l in ((k, self.labels.get(k)) for k in self.batched)]
        name = "e%d" % len(self.exports)
        half = len(lines) // 2
        parts = ["".join(x + "\n" for x in lines[:half]), "".join(x + "\n" for x in lines[half:])]
        self.exports[name] = [p.encode() for p in parts if p]
        return name

    def answer(self, method, path, query, body):
        if method == "GET":
            _, _, name, part = path.split("/")
            return 200, self.exports[name][int(part)]
        if body.startswith(b"--"):
            return 200, {"data": self.upload(body)}
        q, v = (lambda b: (b["query"], b["variables"]))(json.loads(body))
        if "upsertDataRows" in q:
            return 200, {"data": self.upsert(v["manifestUri"])}
        if "createBatchV2" in q:
            self.batched += [k for k in v["batchInput"]["globalKeys"] if k not in self.batched]
            return 200, {"data": {"project": {"createBatchV2": {"batch": {"id": "b"}, "failedDataRowIds": []}}}}
        if "createWebhook" in q:
            self.hooks += 1
            if self.hooks == 1:
                return 403, {"message": "no webhooks today"}
            return 200, {"data": {"createWebhook": {"id": "w%d" % self.hooks}}}
        if "exportDataRowsInProject" in q:
            return 200, {"data": {"exportDataRowsInProject": {"taskId": self.export(), "isStreamable": True}}}
        task = v["where"]["id"]
        if "exportMetadataHeader" in q:
            size = sum(len(p) for p in self.exports[task])
            return 200, {"data": {"task": {"status": "COMPLETE", "exportMetadataHeader": {"totalSize": str(size)} if size else None}}}
        if "exportFileFromOffset" in q:
            first = 0
            for i, p in enumerate(self.exports[task]):
                if first <= int(v["offset"]) < first + len(p):
                    return 200, {"data": {"task": {"exportFileFromOffset": {
                        "offsets": {"start": str(first), "end": str(first + len(p) - 1)},
                        "file": "%s/part/%s/%d" % (self.url, task, i)}}}}
                first += len(p)
        return 200, {"data": {"task": {"status": "COMPLETE"}}}

    def pushed(self):
        return [(k, k) for k in self.batched]

    def judge(self, remote, word, when):
        shown = [m["content"] for m in self.rows[remote]["texts"]]
        letter = "A" if shown[1].startswith(word) else "B"
        self.labels[remote] = {"id": "lbl-" + remote.split("/")[1], "label_details": {"created_by": "w17@example.org"},
                               "performance_details": {"seconds_to_create": 3, "skipped": False},
                               "annotations": {"classifications": [{"radio_answer": {"name": "Response " + letter}}]}}
        return {"id": self.labels[remote]["id"], "label": "{}", "dataRow": {"id": self.rows[remote]["id"]}}

    def withdraw(self, remote):
        self.labels[remote] = None

    def headers(self, body):
        self.deliveries = getattr(self, "deliveries", 0) + 1
        return {"X-Labelbox-Id": "d%d" % self.deliveries,
                "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}


def rlhfctl(c, *words):
    done = subprocess.run([sys.argv[2], "label", words[0], "--url", c.url, *words[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def hook(c, server, body, headers):
    path = "/hooks/" + server.kind + ("/" + urllib.parse.quote(SECRET) if server.kind == "surge" else "")
    return c.post(path, body, headers)


def a_task(kind, i):
    return {"id": "%s/%d" % (kind, i), "round": kind, "prompt": "Which is right, %d?" % i, "completions": ["yes %d" % i, "no %d" % i]}


def number(uid):
    return int(uid.split("/")[1])


def lost_and_repeated(c, server, random):
    """Tasks are given, judged and taken back while everything that can go wrong goes wrong."""
    name = server.kind
    assert c.post("/api/v1/tasks", [a_task(name, i) for i in range(TASKS)])[0] == 200
    server.trouble = 0.4
    told = rlhfctl(c, "push", name, "--round", name, "--count", str(TASKS))
    assert told == "%d tasks are queued for %s\n" % (TASKS, name), told
    assert c.vendor(name)["tasks"]["owed"] == TASKS and not c.get("/api/v1/tasks/next?labeler=ada&round=" + name)["tasks"]
    assert "%d judgements owed" % TASKS in rlhfctl(c, "vendors")
    for _ in range(4):
        time.sleep(random.uniform(0, 0.5))  # when it dies
        c.kill()
        c.start()
    server.trouble = 0.1
    wait_for(lambda: "%d sent: %s" % (TASKS, c.vendor(name)), lambda: c.vendor(name)["tasks"]["sent"] == TASKS)
    server.trouble = 0
    pushed = server.pushed()
    assert sorted(u for u, _ in pushed) == sorted(a_task(name, i)["id"] for i in range(TASKS)), pushed
    for when, (uid, remote) in enumerate(pushed):
        with server.lock:
            body = json.dumps(server.judge(remote, "yes" if number(uid) % 3 else "no", when)).encode()
        for _ in range(random.choice([0, 1, 2])):  # lost, once, twice
            status, answer = hook(c, server, body, server.headers(body))
            assert status == 200, answer
        if random.random() < 0.15:
            c.kill()
            c.start()
    source = lambda: {k[1]: r for k, r in c.labels().items() if k[0] == name}
    wait_for(lambda: "%d labels: %s" % (TASKS, c.vendor(name)), lambda: len(source()) == TASKS)
    for row in source().values():
        i = number(row["task"])
        assert row["revision"] == 1 and row["ranks"] == ([1, 2] if i % 3 else [2, 1]), row
        assert row["completions"] == a_task(name, i)["completions"] and sorted(row["presented"]) == [0, 1], row
    changed, gone = pushed[3], pushed[4]
    with server.lock:
        body = json.dumps(server.judge(changed[1], "no" if number(changed[0]) % 3 else "yes", 200)).encode()
        server.withdraw(gone[1])
    hook(c, server, body, server.headers(body))
    by_task = lambda: {r["task"]: r for r in source().values()}
    wait_for(lambda: "a revision and a deletion: %s" % c.vendor(name),
             lambda: by_task()[changed[0]]["revision"] == 2 and by_task()[gone[0]]["excluded"] == "deleted")
    assert by_task()[changed[0]]["ranks"] == ([2, 1] if number(changed[0]) % 3 else [1, 2])
    assert len(source()) == TASKS
    assert "looking" in rlhfctl(c, "pull", name)
    told = rlhfctl(c, "vendors")
    assert 'rlhf_collector_vendor_tasks{vendor="%s",state="sent"} %d\n' % (name, TASKS) in c.get("/metrics").decode()
    assert "%s (%s): %d labels" % (name, name, TASKS) in told and "%d sent" % TASKS in told, told


def keys(server, c):
    """Every request showed our key, as that vendor wants it."""
    basic = "Basic " + base64.b64encode(b"live_key:").decode()
    wanted = {"scale": "Bearer live_key", "labelbox": "Bearer live_key", "surge": basic}[server.kind]
    for method, path, headers, _ in server.seen:
        assert headers.get("Authorization") == (None if path.startswith("/part/") else wanted), (path, headers)
    log = open(c.dir + "/log").read()
    assert "live_key" not in log and SECRET not in log


def standard(body, secret, id, at):
    signed = ("%s.%d." % (id, at)).encode() + body
    return {"webhook-id": id, "webhook-timestamp": "%d" % at,
            "webhook-signature": "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()}


def forgeries(c):
    """Whoever does not prove who they are is refused, and nothing is stored."""
    key = base64.b64decode(WHSEC[6:])
    body = json.dumps({"type": "label.created", "data": {"id": "w1", "labeler": "ann", "prompt": "p", "completions": ["x", "y"],
                                                         "ranks": [1, 2]}}).encode()
    now = int(time.time())
    good = standard(body, key, "msg_1", now)
    bad = [({}, body), ({**good, "webhook-signature": ""}, body), (standard(body, b"guessed", "msg_2", now), body),
           ({**good, "webhook-id": "msg_3"}, body), ({**good, "webhook-timestamp": str(now - 1)}, body),
           ({**good, "webhook-signature": good["webhook-signature"][:-4]}, body),
           ({**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v1a,")}, body),
           (good, body[:-1]), (good, body + b" "), (good, json.dumps(json.loads(body), indent=1).encode()),
           (standard(body, key, "msg_4", now - 3600), body), (standard(body, key, "msg_5", now + 3600), body),
           (standard(body, key, "msg.6", now), body)]
    before = c.get("/api/v1/stats")
    for headers, text in bad:
        status, answer = c.post("/hooks/other", text, headers)
        assert status == 401, (status, answer, headers)
    labelbox = b'{"id":"lbl-1"}'
    sha1 = "sha1=" + hmac.new(SECRET.encode(), labelbox, hashlib.sha1).hexdigest()
    sha256 = "sha256=" + hmac.new(SECRET.encode(), labelbox, hashlib.sha256).hexdigest()
    refused = [("labelbox", labelbox, {}), ("labelbox", labelbox + b"\n", {"X-Hub-Signature-256": sha256}),
               ("labelbox", labelbox, {"X-Hub-Signature-256": sha256[:-1]}),
               ("labelbox", labelbox, {"X-Hub-Signature-256": sha256.upper()}),
               ("labelbox", labelbox, {"X-Hub-Signature-256": "sha256=" + "0" * 64, "X-Hub-Signature": sha1}),
               ("scale", b"{}", {}), ("scale", b"{}", {"scale-callback-auth": SECRET + " "}),
               ("scale", b"{}", {"scale-callback-auth": SECRET[:-1]}), ("surge", b"{}", {}), ("surge/" + SECRET[:3], b"{}", {}),
               ("surge/" + SECRET + "/x", b"{}", {})]
    for name, text, headers in refused:
        status, answer = c.post("/hooks/" + urllib.parse.quote(name), text, headers)
        assert status == 401, (name, status, answer, headers)
    assert c.post("/hooks/nobody", b"{}")[0] == 404
    assert c.get("/api/v1/stats") == before
    status, answer = c.post("/hooks/labelbox", labelbox, {"X-Hub-Signature": sha1, "X-Labelbox-Id": "once"})
    assert status == 200, answer  # the older one, where the newer is absent
    assert c.post("/hooks/labelbox", labelbox, {"X-Hub-Signature-256": sha256, "X-Labelbox-Id": "once"})[0] == 409
    assert c.post("/hooks/labelbox", b"not json", {"X-Hub-Signature-256": "sha256=" + hmac.new(
        SECRET.encode(), b"not json", hashlib.sha256).hexdigest()})[0] == 400
    wise(c, body, good, key)


def wise(c, body, good, key):
    """The generic webhook: stored once, replays refused, both secrets taken, revised, deleted."""
    labels = lambda: c.get("/api/v1/stats")["labels"]
    before = labels()
    status, answer = c.post("/hooks/other", body, good)
    assert status == 200 and answer["stored"] == 1, answer
    assert c.post("/hooks/other", body, good)[0] == 409
    c.kill()
    c.start()
    assert c.post("/hooks/other", body, good)[0] == 409, "forgotten over a restart"
    now = int(time.time())
    assert c.post("/hooks/other", body, standard(body, OLD_SECRET.encode(), "msg_7", now))[0] == 200
    assert labels() == before + 1
    changed = body.replace(b"[1, 2]", b"[2, 1]")
    status, answer = c.post("/hooks/other", changed, standard(changed, key, "msg_8", now))
    assert status == 200 and answer["revised"] == 1, answer
    wrong = body.replace(b"[1, 2]", b"[1, 7]").replace(b"w1", b"w2")
    status, answer = c.post("/hooks/other", wrong, standard(wrong, key, "msg_9", now))
    assert status == 422 and "ranks" in json.dumps(answer), answer
    gone = b'{"type": "label.deleted", "data": {"id": "w1"}}'
    assert c.post("/hooks/other", gone, standard(gone, key, "msg_10", now))[1]["deleted"] == 1
    assert labels() == before


WHSEC = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()


def main():
    random = seeded(11)
    servers = [kind(random) for kind in (Scale, Surge, Labelbox)]
    c = Collector(sys.argv[1], "", *sys.argv[3:])
    token, secret = c.file("token", "live_key\n"), c.file("secret", SECRET + "\n")
    whsec, old = c.file("whsec", WHSEC + "\n"), c.file("old", OLD_SECRET + "\n")
    text = ""
    for s in servers:
        text += ("  - name: %s\n    kind: %s\n    url: %s\n    token_file: %s\n    secret_files: [%s]\n    callback: %s\n%s"
                 "    batch: 6\n    poll_seconds: 1\n    sweep_seconds: 2\n    settle_seconds: 1\n    timeout_seconds: 5\n"
                 % (s.kind, s.kind, s.url, token, secret, c.url, s.extra))
    text += "  - name: other\n    kind: webhook\n    secret_files: [%s, %s]\n" % (whsec, old)
    c.configure(text)
    try:
        c.start()
        for s in servers:
            lost_and_repeated(c, s, random)
            keys(s, c)
        assert servers[2].hooks > 1 and "webhook-refused" in open(c.dir + "/log").read()
        forgeries(c)
        c.stop()
    finally:
        print(open(c.dir + "/log").read()[-3000:] if os.path.exists(c.dir + "/log") else "")
        c.close()
        for s in servers:
            s.close()


main()
