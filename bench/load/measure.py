"""One measurement each: CPU time under load, calls to the system and the allocator, idle memory."""

import os
import re
import resource
import selectors
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass

from processes import LOAD_CPU, cpu_nanoseconds, private_bytes

DATA_CALLS = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto",
              "sendmsg", "sendmmsg", "sendfile", "splice"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What wrk, or h2load for HTTP/2, is told to send."""

    path: str
    connections: int = 64
    headers: tuple = ()
    script: str = ""
    handshakes: str = ""  # by `openssl s_time` instead: "new" or "reuse", one at a time
    streams: int = 0  # HTTP/2 with so many on each connection
    tls: bool = False
    body: bytes = b""


@dataclass(frozen=True)
class Sample:
    requests: int
    errors: int
    cpu_us: float  # of the proxy, per request
    utilisation: float  # of the proxy's CPU
    rate: float  # requests per second: bound by the generator, not a figure of merit
    steal: float
    softirq_leak: float  # CPU time of ksoftirqd/0 over the proxy's


def cpu_line():
    with open("/proc/stat") as stat:
        return [int(field) for field in stat.readline().split()[1:]]


def ksoftirqd():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/comm") as comm:
                    if comm.read().strip() == "ksoftirqd/0":
                        return [int(entry)]
            except FileNotFoundError:
                pass
    return []


def run_s_time(server, load, seconds):
    """A connection, a handshake and a request at a time; the proxy ends each."""
    output = subprocess.run(
        ["taskset", "-c", str(LOAD_CPU), "openssl", "s_time", "-connect",
         f"127.0.0.1:{server.port}", f"-{load.handshakes}", "-www", load.path, "-time",
         str(seconds), "-tls1_2" if server.tls.protocol == "TLSv1.2" else "-tls1_3"],
        check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    found = re.search(r"(\d+) connections in \d+ real seconds, (\d+) bytes read", output)
    if not found or int(found.group(1)) == 0 or int(found.group(2)) == 0:
        raise RuntimeError(f"no request was answered:\n{output}")
    return int(found.group(1)), 0


def run_wrk(server, load, seconds):
    if load.handshakes:
        return run_s_time(server, load, seconds)
    command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t", "1", "-c", str(load.connections),
               "-d", f"{seconds}s", "--timeout", "10s"]
    for header in load.headers:
        command += ["-H", header]
    if load.script:
        command += ["-s", load.script]
    command.append(server.url + load.path)
    output = subprocess.run(command, check=True, capture_output=True, text=True,
                            timeout=seconds + 60).stdout
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    bad_status = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    socket_errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors = int(bad_status.group(1)) if bad_status else 0
    errors += sum(map(int, socket_errors.groups())) if socket_errors else 0
    if requests == 0:
        raise RuntimeError(f"no request was answered:\n{output}")
    return requests, errors


def run_h2load(server, load, seconds):
    scheme = "https" if load.tls else "http"
    command = ["taskset", "-c", str(LOAD_CPU), "h2load", "-t", "1", "-c", str(load.connections),
               "-m", str(load.streams), "-D", str(seconds), "--groups=X25519",
               f"{scheme}://127.0.0.1:{server.port}{load.path}"]
    for header in load.headers:
        command += ["-H", header]
    with tempfile.NamedTemporaryFile() as body:
        if load.body:
            body.write(load.body)
            body.flush()
            command += ["-d", body.name]
        output = subprocess.run(command, check=True, capture_output=True, text=True,
                                timeout=seconds + 60).stdout
    failed, errored, timeout = map(int, re.search(
        r"(\d+) failed, (\d+) errored, (\d+) timeout", output).groups())
    good, *bad = map(int, re.search(
        r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output).groups())
    if good == 0:
        raise RuntimeError(f"no request was answered:\n{output}")
    return good, failed + errored + timeout + sum(bad)


def wait_until_idle(pids):
    """Until the CPU time of `pids` stands still: it is exact only then."""
    before = cpu_nanoseconds(pids)
    for _ in range(100):
        time.sleep(0.02)
        after = cpu_nanoseconds(pids)
        if after - before < 200_000:
            return after
        before = after
    return before


def under_load(server, load, seconds):
    softirq = ksoftirqd()
    pids = server.pids()
    cpu_before, softirq_before = wait_until_idle(pids), cpu_nanoseconds(softirq)
    line_before, begin = cpu_line(), time.monotonic()
    run = run_h2load if load.streams else run_wrk
    requests, errors = run(server, load, seconds)
    wall = time.monotonic() - begin
    line_after = cpu_line()
    cpu = wait_until_idle(pids) - cpu_before
    leak = cpu_nanoseconds(softirq) - softirq_before
    spent = [after - before for before, after in zip(line_before, line_after)]
    return Sample(requests=requests, errors=errors, cpu_us=cpu / requests / 1000,
                  utilisation=cpu / wall / 1e9, rate=requests / wall,
                  steal=spent[7] / max(1, sum(spent[:8])), softirq_leak=leak / max(1, cpu))


def exact_requests(server, path, count, connections=32):
    """Sends exactly `count` requests and fails when one is not answered with 2xx."""
    command = ["taskset", "-c", str(LOAD_CPU), "h2load", "--h1", "-n", str(count),
               "-c", str(connections), server.url + path]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout
    succeeded = int(re.search(r"status codes: (\d+) 2xx", output).group(1))
    if succeeded != count:
        raise RuntimeError(f"expected {count} answers 2xx, came:\n{output}")


def strace_counts(pid, send):
    """System calls of process `pid` while `send` runs: {name: (calls, errors)}."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as report:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", report.name, "-p", str(pid)],
                                  stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()  # "strace: Process N attached"
        try:
            send()
        finally:
            tracer.send_signal(2)
            tracer.communicate(timeout=30)
        counts = {}
        for line in report.read().splitlines():
            fields = line.split()
            if len(fields) >= 5 and re.fullmatch(r"[\d.]+", fields[0]) and fields[-1] != "total":
                errors = int(fields[4]) if len(fields) == 6 else 0
                counts[fields[-1]] = (int(fields[3]), errors)
        return counts


def exact_connections(server, path, count):
    """Sends `count` requests, each on a connection of its own that the proxy closes."""
    request = f"GET {path} HTTP/1.1\r\nHost: new.test\r\nConnection: close\r\n\r\n".encode()
    for _ in range(count):
        with server.connect() as client:
            client.sendall(request)
            exchange_once(client)
            if client.recv(1):
                raise RuntimeError("bytes behind the response")


def syscalls_per_request(server, path, send=exact_requests, few=1000, many=6000):
    """From the difference of two runs, so that connecting and closing cancel out."""
    send(server, path, 2000)  # warm: pools are filled, buffers have grown
    pid = server.worker_pid()
    counts = [strace_counts(pid, lambda: send(server, path, number)) for number in (few, many)]
    span = many - few

    def per_request(names, column=0):
        totals = [sum(count.get(name, (0, 0))[column] for name in names) for count in counts]
        return (totals[1] - totals[0]) / span

    waits = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}
    others = set(counts[0]) | set(counts[1])
    others -= DATA_CALLS | waits | {"epoll_ctl"}
    return {
        "data": per_request(DATA_CALLS),
        "data errors": per_request(DATA_CALLS, column=1),
        "epoll_ctl": per_request({"epoll_ctl"}),
        "epoll_wait": per_request(waits),
        "other": {name: rate for name in sorted(others)
                  if abs(rate := per_request({name})) >= 0.005},
    }


class MallocCounter:
    """Builds the preload library; `environment` makes a server count into `self.calls()`."""

    def __init__(self, directory):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "malloc_count.c")
        self.library = os.path.join(directory, "malloc_count.so")
        self.file = os.path.join(directory, "malloc_count")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-fno-builtin", "-o", self.library, source],
                       check=True)
        with open(self.file, "wb") as file:
            file.write(bytes(8))
        os.chmod(self.file, 0o666)
        self.environment = {"LD_PRELOAD": self.library, "MALLOC_COUNT_FILE": self.file}

    def calls(self):
        with open(self.file, "rb") as file:
            return struct.unpack("<Q", file.read(8))[0]

    def per_request(self, server, path, few=2000, many=22000):
        exact_requests(server, path, 5000)
        spent = []
        for number in (few, many):
            before = self.calls()
            exact_requests(server, path, number)
            spent.append(self.calls() - before)
        return (spent[1] - spent[0]) / (many - few)


def exchange_once(client):
    """Reads one response with Content-Length to its end."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(65536)
        if not piece:
            raise RuntimeError("closed before a response: too few descriptors?")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += client.recv(65536)


def hold_idle(server, path, count):
    """Opens `count` keep-alive connections and uses each once. They come at a pace that lets a proxy
    take back what only a busy connection needs, as it would over the minutes that they stay."""
    request = f"GET {path} HTTP/1.1\r\nHost: idle.test\r\n\r\n".encode()
    clients = []
    for number in range(count):
        client = server.connect(f"127.0.0.{2 + number % 8}")
        clients.append(client)
        client.sendall(request)
        exchange_once(client)
        if number % 1000 == 999:
            time.sleep(1.5)
    return clients


def memory_with_idle(server, path, connections):
    """User memory of all processes of `server` with that many idle connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < connections + 100:
        raise RuntimeError(f"needs {connections + 100} descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    exact_requests(server, path, 5000, connections=64)
    clients = hold_idle(server, path, connections)
    try:
        time.sleep(2)
        wait_until_idle(server.pids())
        poll = selectors.DefaultSelector()
        for client in clients:
            poll.register(client, selectors.EVENT_READ)
        closed = len(poll.select(0))
        poll.close()
        if closed:
            raise RuntimeError(f"{closed} of {connections} idle connections were closed")
        return private_bytes(server.pids())
    finally:
        for client in clients:
            client.close()
