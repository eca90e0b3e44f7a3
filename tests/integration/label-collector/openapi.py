"""openapi.json against the real label-collector: the file names every route of the code and no other, with its roles; every
operation is asked, as everybody; what is sent and what comes back is what its schemas say, and what they forbid is refused.

    openapi.py LABEL-COLLECTOR SOURCE-DIRECTORY
"""
import json, os, re, signal, subprocess, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("skipped: python3 has no jsonschema (Debian: python3-jsonschema)")
    sys.exit(77)

program, source = sys.argv[1:]
folder = os.path.join(source, "daemons/label-collector")
document = json.load(open(os.path.join(folder, "openapi.json")))
ROLES = ("labeler", "vendor", "learner", "owner")


def resolve(node):
    while "$ref" in node:
        at = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def check(schema, value, what):
    # The validator wants the components beside the schema that points to them.
    errors = list(Draft202012Validator({**schema, "components": document["components"]}).iter_errors(value))
    assert not errors, f"{what}: {errors[0].message} at {list(errors[0].absolute_path)} in {json.dumps(value)[:600]}"


def allows(schema, value):
    return Draft202012Validator({**schema, "components": document["components"]}).is_valid(value)


# ---- the code's table -------------------------------------------------------------------------------

def routes_of_code():
    code = open(os.path.join(folder, "api.c")).read()
    names = {"COLLECTOR_PUBLIC": ["public"], "COLLECTOR_ANY_ROLE": list(ROLES),
             **{f"COLLECTOR_{r.upper()}": [r] for r in ROLES}}
    for name, value in re.findall(r"#define (\w+) \(?(COLLECTOR_[A-Z_ |]+)\)?\n", code):
        names[name] = [r for part in value.split("|") for r in names[part.strip()]]
    found = re.findall(r'\{ "([A-Z]+)", "([^"]+)", (\w+),', code)
    assert len(found) > 30, found
    return {(method.lower(), path): sorted(names[roles]) for method, path, roles in found}


def operations():
    return {(method, path): op for path, item in document["paths"].items() for method, op in item.items()}


code, file = routes_of_code(), operations()
assert not code.keys() - file.keys(), f"not in openapi.json: {sorted(code.keys() - file.keys())}"
assert not file.keys() - code.keys(), f"no route of the code: {sorted(file.keys() - code.keys())}"
for route, roles in code.items():
    assert sorted(file[route]["x-roles"]) == roles, (route, roles, file[route]["x-roles"])
ids = [op["operationId"] for op in file.values()]
assert len(ids) == len(set(ids)), "an operationId stands twice"
for name, schema in document["components"]["schemas"].items():
    Draft202012Validator.check_schema(schema)

# ---- the daemon -------------------------------------------------------------------------------------

directory = tempfile.TemporaryDirectory()
d = directory.name
open(f"{d}/secret", "w").write("whsec_" + "c2VjcmV0" * 6 + "\n")
os.chmod(f"{d}/secret", 0o600)
open(f"{d}/collector.yaml", "w").write(
    f"listen: ipc://{d}/socket\nhttp: 127.0.0.1:0\nhttp_address_file: {d}/address\ndatabase: {d}/labels.db\nlabels_per_task: 2\n"
    f"gold_share: 0\nprice: 0.1\ninstructions: {{ranking: 'Be kind.'}}\nvendors:\n  - {{name: caller, kind: webhook, secret_files: ['{d}/secret']}}\n")
token = {}
for role in ROLES:
    token[role] = subprocess.run([program, "token", "add", "--config", f"{d}/collector.yaml", "--role", role, "the-" + role],
                                 check=True, capture_output=True, text=True).stdout.strip()
daemon = subprocess.Popen([program, "--config", f"{d}/collector.yaml"], stderr=open(f"{d}/log", "w"))
for _ in range(30000):
    if os.path.exists(f"{d}/address") and os.path.getsize(f"{d}/address"):
        break
    assert daemon.poll() is None, open(f"{d}/log").read()
    time.sleep(0.002)
address = open(f"{d}/address").read().strip()
seen = {}  # (method, path) -> statuses that came


def is_json(media):
    return media in ("application/json", "application/problem+json")


def ask(method, path, role="owner", body=None, query="", kind="application/json", headers=(), id="none"):
    """One request; what comes back must be what the file says of that status."""
    op = file[method, path]
    url = address + path.replace("{id}", urllib.parse.quote(id, safe="")) + (f"?{query}" if query else "")
    data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**dict(headers)}, method=method.upper())
    if data is not None:
        request.add_header("Content-Type", kind)
    if role:
        request.add_header("Authorization", "Bearer " + token[role])
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, head, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        status, head, text = answer.code, answer.headers, answer.read().decode()
    what = f"{method.upper()} {url} {body!r:.300} as {role}: {status} {text[:400]}"
    assert str(status) in op["responses"], f"{what}\nthis status is not in openapi.json"
    content = resolve(op["responses"][str(status)])["content"]
    media = head["Content-Type"].split(";")[0]
    assert media in content, f"{what}\n{media} is not in openapi.json"
    check(content[media]["schema"], json.loads(text) if is_json(media) else text, what)
    seen.setdefault((method, path), set()).add(status)
    return status, text, head


def want(status, *args, **kw):
    got = ask(*args, **kw)
    assert got[0] == status, f"{status} expected of {args} {kw}: {got[:2]}"
    return json.loads(got[1]) if is_json(got[2]["Content-Type"].split(";")[0]) else got[1]


A = "/api/v1/"
PAIR = {"prompt": "p", "completions": ["x", "y"]}


def good_requests():
    """Each operation as it is meant, for each kind of body that it takes."""
    for path, item in document["paths"].items():
        if item.get("get", {}).get("x-roles") == ["public"]:
            want(200, "get", path)
    want(200, "get", "/metrics")
    assert json.loads(ask("get", "/openapi.json", role=None)[1]) == document
    tasks = [{"id": "r1/1", "round": "r1", **PAIR}, {"id": "a", "kind": "likert", **PAIR, "wanted": 1}, {"id": "b", "kind": "toxicity", **PAIR},
             {"id": "c", "kind": "flags", **PAIR}, {"id": "d", "kind": "demonstration", "prompt": "write"},
             {"id": "g", **PAIR, "gold": {"ranks": [1, 2]}, "policies": [{"policy": "sft"}, {"policy": "ppo"}]}]
    assert want(200, "post", A + "tasks", body=tasks[0]) == {"stored": 1, "known": 0}
    assert want(200, "post", A + "tasks", body=tasks, role="learner") == {"stored": 5, "known": 1}
    want(409, "post", A + "tasks", body={**tasks[0], "prompt": "other"})
    offered = want(200, "get", A + "tasks/next", role="labeler", query="count=9")
    assert {t["kind"] for t in offered["tasks"]} == {"ranking", "likert", "toxicity", "flags", "demonstration"}
    said = {"r1/1": {"ranks": [1, 2], "presented": [1, 0], "seconds": 2.5, "strength": 2, "note": "n", "flags": [[], ["opinion"]]},
            "a": {"ratings": [7, 1]}, "b": {"ratings": [0, 2]}, "c": {"flags": [["hallucination"], []]}, "d": {"answer": "so"}, "g": {"ranks": [1, 2]}}
    for task, label in said.items():
        check(document["components"]["schemas"]["Label"], label, task)
        want(200, "post", A + "tasks/{id}/label", role="labeler", id=task, body=label)
    want(200, "post", A + "tasks/{id}/label", role="vendor", id="r1/1", body={"labeler": "v", "ranks": [2, 1]})
    want(404, "post", A + "tasks/{id}/label", role="labeler", body={"ranks": [1, 2]})
    want(409, "post", A + "tasks/{id}/label", role="labeler", id="r1/1", body={"ranks": [1, 2], "revision": 5})
    want(200, "post", A + "tasks/{id}/undo", role="labeler", id="d", body={})
    want(404, "post", A + "tasks/{id}/undo", role="labeler", id="d", body={})
    want(200, "post", A + "tasks/{id}/skip", role="labeler", id="d", body={"reason": "unclear"})
    want(404, "post", A + "tasks/{id}/skip", role="labeler", body={})
    want(409, "post", A + "tasks/{id}/skip", role="labeler", id="a", body={})
    want(200, "post", A + "comparisons", body={"id": "1", "labeler": "x", "prompt": "q", "chosen": "u", "rejected": "v"})
    want(200, "post", A + "comparisons", role="vendor", body=[{"id": "2", "labeler": "x", "prompt": "q", "completions": ["u", "v", "w"], "ranks": [1, 1, 3]}])
    want(409, "post", A + "comparisons", body={"id": "1", "labeler": "other", "prompt": "q", "chosen": "u", "rejected": "v"})
    want(404, "post", A + "comparisons", body={"labeler": "x", "task": "none", "ranks": [1, 2]})
    want(200, "post", A + "rankings", body={"task": "r1/1", "labeler": "x", "ranking": [[0, 1]]})
    want(409, "post", A + "rankings", body={"id": "1", "labeler": "other", "prompt": "q", "completions": ["u", "v"], "ranking": [1, 0]})
    want(404, "post", A + "rankings", body={"task": "none", "labeler": "x", "ranking": [1, 0]})
    line = json.dumps({"prompt": "q", "chosen": "1", "rejected": "2"})
    want(200, "post", A + "import", body=line + "\nnonsense\n", kind="application/x-ndjson", query="round=r2&labeler=file")
    want(422, "post", A + "import", body="nonsense\n", kind="application/x-ndjson")
    want(400, "post", A + "import", body=line, kind="application/x-ndjson", query="format=word")
    formats = next(p for p in file["get", A + "export"]["parameters"] if p.get("name") == "format")["schema"]["enum"]
    refusal = want(400, "get", A + "export", query="format=word")["detail"]
    assert sorted(re.split(", | or ", refusal.split(" must be ")[1])) == sorted(formats), (refusal, formats)
    for how in formats:
        want(200, "get", A + "export", query=f"format={how}&round=r1")
    for list, query in (("comparisons", "round=r1"), ("rounds", ""), ("labelers", "round=r1"), ("standing", "scope=source"), ("standing", "name=x"),
                        ("tasks", "open=1&round=r1"), ("audit", ""), ("tokens", "")):
        page = want(200, "get", A + list, query=query + "&limit=1")
        want(200, "get", A + list, query=f"{query}&limit=2&cursor={page['cursor']}")
        want(400, "get", A + list, query="cursor=invented")
    for path in ("stats", "settings", "agreement", "vendors", "session"):
        want(200, "get", A + path, role="owner")
    assert len(want(200, "get", A + "throughput", query="by=day&count=3")["spans"]) == 3
    assert sum(s["labels"] for s in want(200, "get", A + "throughput")["spans"]) == 11
    want(400, "get", A + "throughput", query="by=year")
    want(200, "post", A + "standing", body={"scope": "labeler", "name": "x", "quota": None, "weight": 0.5})
    for why in ("flips", None):
        want(200, "post", A + "quarantine", body={"scope": "labeler", "name": "x", "why": why})
    want(200, "post", A + "weights", body={"round": "r1"})
    made = want(201, "post", A + "tokens", body={"role": "labeler", "name": "eve"})
    want(200, "delete", A + "tokens/{id}", id=str(made["number"]))
    want(404, "delete", A + "tokens/{id}", id=str(made["number"]))
    status, _, head = ask("post", A + "session", role=None, body={"token": token["labeler"]}, headers={"X-Rlhfd-Page": "1"})
    assert status == 200 and "HttpOnly" in head["Set-Cookie"]
    cookie = {"Cookie": head["Set-Cookie"].split(";")[0], "X-Rlhfd-Page": "1"}
    assert want(200, "get", A + "session", role=None, headers=cookie)["name"] == "the-labeler"
    want(200, "delete", A + "session", role=None, headers=cookie)
    want(401, "get", A + "session", role=None, headers=cookie)
    want(401, "post", A + "session", role=None, body={"token": "rlhf_wrong"}, headers={"X-Rlhfd-Page": "1"})
    want(403, "post", A + "session", role=None, body={"token": token["labeler"]})
    want(404, "post", A + "vendors/{id}/push", body={})
    want(404, "post", A + "vendors/{id}/pull")
    want(422, "post", A + "vendors/{id}/push", id="caller", body={})
    want(422, "post", A + "vendors/{id}/pull", id="caller")
    want(404, "post", "/hooks/{id}", role=None, body={})
    assert ask("post", "/hooks/{id}", role=None, id="caller", body={})[0] in (401, 403)


def everybody_else():
    """Without a token and with each role: the statuses that the file's roles promise."""
    for (method, path), op in file.items():
        body = "{}" if "requestBody" in op else None
        if op["x-roles"] == ["public"]:
            continue
        want(401, method, path, role=None, body=body)
        for role in ROLES:
            status = ask(method, path, role=role, body=body, query="labeler=the-labeler" if path.endswith("next") else "")[0]
            assert (status == 403) == (role not in op["x-roles"]), (method, path, role, status)


def wrong_requests():
    """What the schemas forbid the daemon refuses: each property once of a wrong type, and each required one left out."""
    bodies = {A + "tasks": {"id": "n", **PAIR, "round": "r", "kind": "ranking", "wanted": 2, "gold": {"ranks": [1, 2]}, "policies": [1, 2]},
              A + "tasks/{id}/label": {"ranks": [1, 2], "presented": [0, 1], "seconds": 1, "strength": 1, "note": "n", "labeler": "the-labeler", "revision": 9},
              A + "comparisons": {"id": "n", "labeler": "x", **PAIR, "ranks": [1, 2], "seconds": 1, "strength": 1, "note": "n", "presented": [0, 1]},
              A + "rankings": {"id": "n", "labeler": "x", **PAIR, "ranking": [0, 1]},
              A + "tokens": {"role": "labeler", "name": "n"},
              A + "standing": {"scope": "labeler", "name": "n", "quota": 3, "weight": 1},
              A + "quarantine": {"scope": "labeler", "name": "n", "why": "w"}}
    checked = 0
    for path, body in bodies.items():
        schema = file["post", path]["requestBody"]["content"]["application/json"]["schema"]
        check(schema, body, path)
        for key in body:
            for value in ({"no": "thing"}, True, -7, "\u0001" * 300):
                wrong = {**body, key: value}
                if allows(schema, wrong):
                    continue
                status, text, _ = ask("post", path, body=wrong, id="r1/1")
                assert status in (400, 409, 422), f"POST {path}: the schema forbids {key} = {value!r:.40}, the daemon: {status} {text}"
                checked += 1
            less = {k: v for k, v in body.items() if k != key}
            if not allows(schema, less):
                status, text, _ = ask("post", path, body=less, id="r1/1")
                assert status == 422, f"POST {path} without {key}: {status} {text}"
        for mess, status in (("{", 400), ("[]", 422), ("7", 422), ("null", 400)):
            got = ask("post", path, body=mess, id="r1/1")
            assert got[0] in (400, 422), (path, mess, got)
        want(415, "post", path, body="{}", kind="text/plain", id="r1/1")
    assert checked > 60, checked


try:
    good_requests()
    everybody_else()
    wrong_requests()
    missing = [route for route in file if not any(s < 300 for s in seen.get(route, ())) and "vendors/{id}" not in route[1] and route[1] != "/hooks/{id}"]
    assert not missing, f"never answered with 2xx here: {missing}"
    unseen = {route: sorted(set(op["responses"]) - {str(s) for s in seen[route]} - {"429", "503", "507", "413", "415", "400", "422"})
              for route, op in file.items()}
    unseen = {route: codes for route, codes in unseen.items() if codes and "vendors" not in route[1] and "hooks" not in route[1]
              and file[route]["x-roles"] != ["public"] and codes != ["403"]}
    assert not unseen, f"said by the file, never seen: {unseen}"
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0, open(f"{d}/log").read()
    print(f"{len(file)} operations, {sum(map(len, seen.values()))} different answers")
except BaseException:
    print(open(f"{d}/log").read()[-2000:], file=sys.stderr)
    raise
finally:
    daemon.kill()
    daemon.wait()
