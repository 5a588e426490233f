#!/usr/bin/python3
"""What clients notice of one node of three that turns slow: 2 ms for an answer, then 300 ms for each.

Sixteen clients ask all the time, 10 ms after each answer. Latencies of all requests, those at the
slow node too: before it turns, in the first breaker window (10 s) after that, and later.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field

from processes import LOAD_CPU
from servers import Sluice

QUICK, SLOW = 0.002, 0.3
WINDOW = 11  # seconds: the breaker's ten, and the begun one
CLIENTS, PAUSE = 16, 0.01
BREAKER = {"circuit_breaker": {"scope": "endpoint", "slow_percentage": 50, "slow_call": 0.1}}
CASES = {
    "nothing": {},
    "slow-call breaker": BREAKER,
    "try timeout, outlier": {
        "retry": {"per_try_timeout": 0.1},
        "outlier_detection": {"consecutive_errors": 5, "max_ejection_percent": 34}},
    "ewma": {"type": "ewma"},
    "least_conn": {"type": "least_conn"},
    "least_conn, slow-call breaker": {"type": "least_conn", **BREAKER},
}


class Node:
    """Answers each request after `delay`."""

    def __init__(self):
        self.delay = QUICK

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway closed it
        finally:
            writer.close()


class Gateway(Sluice):
    def __init__(self, root, nodes, binary, fields):
        super().__init__(root, nodes[0], binary)
        self.upstream = {"nodes": {f"127.0.0.1:{node.port}": 1 for node in nodes}, **fields}

    def command(self):
        command = super().command()

        def change(text):
            config = json.loads(text)
            config["upstreams"][0].update(self.upstream)
            return json.dumps(config)
        self.edit("sluice.yaml", change)
        return command


@dataclass
class Seen:
    begins: list = field(default_factory=list)
    times: list = field(default_factory=list)
    failed: int = 0

    def between(self, begin, end):
        return sorted(taken for at, taken in zip(self.begins, self.times) if begin <= at < end)


async def ask(port, seen, stop):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not stop.is_set():
        begin = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        seen.begins.append(begin)
        seen.times.append(time.monotonic() - begin)
        seen.failed += head[9:12] != b"200"
        await asyncio.sleep(PAUSE)
    writer.close()


async def one_round(root, binary, fields, seconds):
    """Sorted latencies of the three times, and how many requests failed."""
    nodes = [await Node().start() for _ in range(3)]
    gateway = Gateway(root, nodes, binary, fields)
    try:
        await asyncio.to_thread(gateway.start)
        seen, stop = Seen(), asyncio.Event()
        clients = [asyncio.create_task(ask(gateway.port, seen, stop)) for _ in range(CLIENTS)]
        await asyncio.sleep(1)  # connections are made
        begin = time.monotonic()
        await asyncio.sleep(seconds)
        turned = time.monotonic()
        nodes[0].delay = SLOW
        await asyncio.sleep(WINDOW + seconds)
        stop.set()
        await asyncio.gather(*clients)
        return ([seen.between(begin, turned - QUICK * 10), seen.between(turned, turned + WINDOW),
                 seen.between(turned + WINDOW, turned + WINDOW + seconds)], seen.failed)
    finally:
        await asyncio.to_thread(gateway.stop)
        for node in nodes:
            node.server.close()


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def text_of(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def report(name, rounds):
    columns = [name]
    for part in range(3):
        columns.append(text_of([quantile(times[part], 0.99) for times, _ in rounds]))
    later = [times[2] for times, _ in rounds]
    columns.append(text_of([quantile(times, 0.999) for times in later]))
    slow = sum(1 for times in later for taken in times if taken >= SLOW)
    columns.append(f"{100 * slow / sum(map(len, later)):.2f} %")
    columns.append(str(sum(failed for _, failed in rounds)))
    print("| " + " | ".join(columns) + " |", flush=True)


def main():
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="nothing; slow-call breaker; ewma",
                        help=f"separated by semicolons, of: {'; '.join(CASES)} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="each with new processes")
    parser.add_argument("--seconds", type=int, default=6, help="before the turn, and after the window")
    parser.add_argument("--sluice", default=os.path.join(top, "build/release/sluice"))
    options = parser.parse_args()
    wanted = [name.strip() for name in options.cases.split(";")]
    if unknown := set(wanted) - set(CASES):
        parser.error(f"unknown case {min(unknown)!r}: expected some of {'; '.join(CASES)}")
    os.sched_setaffinity(0, {LOAD_CPU})
    root = tempfile.mkdtemp(prefix="sluice-bench-", dir="/dev/shm")
    os.chmod(root, 0o755)
    print("Milliseconds, median and range of the rounds\n\n"
          "| node selection | p99 before | p99 in the window | p99 after it | p99.9 after it "
          "| slow after it | failed |\n|---|---|---|---|---|---|---|", flush=True)
    try:
        for name in wanted:
            report(name, [asyncio.run(one_round(root, options.sluice, CASES[name], options.seconds))
                          for _ in range(options.rounds)])
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
