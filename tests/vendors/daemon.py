"""A label-collector under test: started on a configuration, asked over HTTP, killed, started again."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

DEADLINE = 300  # seconds, for what must come about at all


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def request(method, url, body=None, headers=None, timeout=DEADLINE):
    """(status, what the body's JSON says, or its bytes); (0, why) when nobody answers."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    r = urllib.request.Request(url, method=method, data=data, headers={"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(r, timeout=timeout) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read()
    except (OSError, urllib.error.URLError) as e:
        return 0, str(e)
    try:
        return status, json.loads(text) if text else None
    except ValueError:
        return status, text


def wait_for(what, condition, deadline=DEADLINE):
    """The first value of condition() that is true."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("in vain waited for: " + (what() if callable(what) else what))


class Collector:
    def __init__(self, binary, vendors, database=None):
        self.binary = binary
        self.dir = tempfile.mkdtemp(prefix="rlhf-vendors-")
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        self.database = database or self.dir + "/labels.db"
        self.process = None
        self.configure(vendors)

    def file(self, name, text):
        with open(os.path.join(self.dir, name), "w") as f:
            f.write(text)
        return os.path.join(self.dir, name)

    def configure(self, vendors):
        self.file("collector.yaml",
                  "listen: ipc://%s/socket\nhttp: 127.0.0.1:%d\nhttp_address_file: %s/address\ndatabase: %s\nvendors:\n%s"
                  % (self.dir, self.port, self.dir, self.database, vendors))

    def start(self):
        log = open(self.dir + "/log", "a")
        self.process = subprocess.Popen([self.binary, "--config", self.dir + "/collector.yaml"], stderr=log, stdout=log)
        wait_for(lambda: "the daemon: " + open(self.dir + "/log").read()[-2000:],
                 lambda: self.process.poll() is not None or self.get("/healthz", check=False)[0] == 200)
        assert self.process.poll() is None, open(self.dir + "/log").read()[-2000:]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0, open(self.dir + "/log").read()[-2000:]

    def get(self, path, check=True):
        status, answer = request("GET", self.url + path)
        assert not check or status == 200, (path, status, answer)
        return answer if check else (status, answer)

    def post(self, path, body, headers=None):
        return request("POST", self.url + path, body, headers)

    def vendor(self, name):
        return next(v for v in self.get("/api/v1/vendors")["vendors"] if v["name"] == name)

    def labels(self):
        """The revision that stands of every label, by id."""
        rows, cursor = {}, ""
        while True:
            page = self.get("/api/v1/comparisons?limit=500" + cursor)
            for row in page["comparisons"]:
                rows[(row["source"], row["id"])] = row
            cursor = "&cursor=" + page["cursor"]
            if not page["more"]:
                return rows

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def seeded(default):
    """A generator whose seed is told, and can be given again (RLHF_SEED)."""
    seed = int(os.environ.get("RLHF_SEED", default))
    print("RLHF_SEED=%d" % seed)
    return random.Random(seed)
