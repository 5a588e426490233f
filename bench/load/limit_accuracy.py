#!/usr/bin/python3
"""How exact limits are that two workers share: 10,000 requests at an even pace over 10 s, twice as
many as the limit lets through, over 64 connections; how many pass, and how many should.

limit-count has to let exactly `count` pass. limit-req lets pass what has leaked until the last
request, and the burst.
"""

import argparse
import json
import os
import re
import selectors
import shutil
import sys
import tempfile
import time

from servers import Origin, Sluice

REQUESTS, SECONDS, CONNECTIONS = 10_000, 10, 64
LIMIT = REQUESTS // 2
RATE, BURST = LIMIT / SECONDS, 50
WINDOW = {"count": LIMIT, "time_window": 3600}
CASES = {
    "limit-count, fixed window": {"limit-count": WINDOW},
    "limit-count, sliding window": {"limit-count": {**WINDOW, "window_type": "sliding"}},
    "limit-req": {"limit-req": {"rate": RATE, "burst": BURST, "nodelay": True,
                                "key": "remote_addr"}},
    "limit-req that delays": {"limit-req": {"rate": RATE, "burst": BURST, "key": "remote_addr"}},
}
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Gateway(Sluice):
    cpu = "0,1"

    def __init__(self, root, origin, binary, plugins):
        super().__init__(root, origin, binary)
        self.plugins = plugins

    def command(self):
        command = super().command()

        def change(text):
            config = json.loads(text)
            config["gateway"]["workers"] = 2
            config["routes"][0]["uri"] = "/small"
            config["routes"].append({"id": "limited", "uri": "/limited/*", "plugins": {
                **self.plugins, "proxy-rewrite": {"uri": "/small"}}, "upstream_id": "origin"})
            return json.dumps(config)
        self.edit("sluice.yaml", change)
        return command


class Clients:
    """Connections that take turns; answers are counted as they come."""

    def __init__(self, server):
        self.sockets = [server.connect() for _ in range(CONNECTIONS)]
        self.selector = selectors.DefaultSelector()
        self.received = {}
        self.counts = {}
        self.answers = 0
        for client in self.sockets:
            client.setblocking(False)
            self.selector.register(client, selectors.EVENT_READ)
            self.received[client] = b""

    def read(self, seconds):
        for key, _ in self.selector.select(max(0, seconds)):
            client = key.fileobj
            data = self.received[client] + client.recv(1 << 16)
            last = 0
            for found in STATUS.finditer(data):
                status, last = int(found.group(1)), found.end()
                self.counts[status] = self.counts.get(status, 0) + 1
                self.answers += 1
            self.received[client] = data[max(last, len(data) - 12):]

    def offer(self):
        """The time from the first to the last request."""
        request = b"GET /limited/ HTTP/1.1\r\nHost: a\r\n\r\n"
        begin = time.monotonic()
        for number in range(REQUESTS):
            due = begin + number * SECONDS / REQUESTS
            while (left := due - time.monotonic()) > 0:
                self.read(left)
            self.sockets[number % CONNECTIONS].send(request)
        took = time.monotonic() - begin
        while self.answers < REQUESTS:
            if time.monotonic() > begin + SECONDS + 30:
                raise RuntimeError(f"{self.answers} of {REQUESTS} requests were answered")
            self.read(1)
        return took


def measure(root, origin, binary, plugins):
    server = Gateway(root, origin, binary, plugins)
    try:
        server.start()
        clients = Clients(server)
        took = clients.offer()
        passed, refused = clients.counts.get(200, 0), clients.counts.get(503, 0)
        if passed + refused != REQUESTS:
            raise RuntimeError(f"expected 200 and 503, came {clients.counts}")
    finally:
        server.stop()
    wanted = LIMIT if "limit-count" in plugins else RATE * took + BURST + 1
    return {"passed": passed, "wanted": wanted, "off": passed / wanted - 1, "seconds": took}


def main():
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default=os.path.join(top, "build/release/sluice"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", action="append", choices=list(CASES), help="otherwise all")
    options = parser.parse_args()
    root = tempfile.mkdtemp(prefix="sluice-bench-", dir="/dev/shm")
    os.chmod(root, 0o755)
    origin = Origin(root)
    try:
        origin.start()
        for name in options.case or CASES:
            for _ in range(options.runs):
                result = measure(root, origin, options.sluice, CASES[name])
                print(f"{name}: {result['passed']} of {result['wanted']:.0f} passed, "
                      f"{result['off']:+.2%}", flush=True)
    finally:
        origin.stop()
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
