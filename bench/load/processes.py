"""Child processes of a campaign: started, pinned to a CPU, waited for and ended by pid."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

PROXY_CPU = 0
LOAD_CPU = 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descendants(root):
    """The pids of `root` and of everything it started, directly or not."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


class Server:
    """One server process set in the foreground, with its own directory and port."""

    name = "server"
    cpu = PROXY_CPU
    tls = None  # servers.Tls: it listens with TLS

    def __init__(self, root):
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix=f"{self.name}-", dir=root)
        os.chmod(self.directory, 0o777)  # a worker may have dropped its privileges
        self.process = None

    def command(self):
        raise NotImplementedError

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def connect(self, source="127.0.0.1", timeout=10):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=timeout,
                                          source_address=(source, 0))
        if not self.tls:
            return client
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(client)

    def write(self, file_name, text):
        path = os.path.join(self.directory, file_name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def edit(self, file_name, change):
        """Replaces a file that `write` made by what `change` makes of its text."""
        with open(os.path.join(self.directory, file_name)) as file:
            text = file.read()
        self.write(file_name, change(text))

    def start(self, environment=None):
        log = open(os.path.join(self.directory, "output.log"), "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(self.cpu), *self.command()],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
            env={**os.environ, **(environment or {})})
        log.close()
        self._wait_until_ready()
        return self

    def _wait_until_ready(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at its start:\n{self.output()}")
            if self.is_ready():
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not answer 200 on port {self.port}:\n{self.output()}")

    def is_ready(self):
        try:
            with self.connect(timeout=2) as client:
                client.sendall(b"GET /small HTTP/1.1\r\nHost: ready\r\nConnection: close\r\n\r\n")
                return client.recv(12).endswith(b" 200")
        except OSError:
            return False

    def output(self):
        with open(os.path.join(self.directory, "output.log"), errors="replace") as log:
            return log.read()[-4000:]

    def pids(self):
        return descendants(self.process.pid)

    def worker_pid(self):
        """The process that carries traffic: it has used the most CPU time."""
        return max(self.pids(), key=lambda pid: cpu_nanoseconds([pid]))

    def stop(self):
        if self.process is None:
            return
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
        self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)


def cpu_nanoseconds(pids):
    """CPU time of all threads of `pids`: exact for a thread that is off its CPU."""
    total = 0
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except FileNotFoundError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/schedstat") as schedstat:
                    total += int(schedstat.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total


def private_bytes(pids):
    """User memory that `pids` have for themselves (shared pages count by their share)."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
