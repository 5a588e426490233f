"""A running gateway: its own directory, port and processes; checked when it ends.

    with Gateway({"routes": [...]}) as gateway:
        client = RawClient(gateway.port)
"""

import copy
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import yaml

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("SLUICE_BIN", os.path.join(TOP, "build/dev/sluice"))
SANITIZED = os.path.exists(BINARY) and b"__asan_init" in open(BINARY, "rb").read()
PATIENCE = 30  # seconds until a condition that must come true counts as failed

# What a sanitizer or a broken invariant prints before it ends a process.
SIGNS_OF_A_BUG = re.compile(
    r"ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|broken invariant|terminate called", re.I)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, patience=PATIENCE):
    """The first true value of `condition()`; an AssertionError naming `what` when none comes."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.01)


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def upstream(*ports, **fields):
    """An upstream object over 127.0.0.1:port nodes of weight 1."""
    return {"type": "roundrobin", "nodes": {f"127.0.0.1:{port}": 1 for port in ports}, **fields}


def route(*ports, uri="/*", **fields):
    """A route `uri` to these ports; `upstream={...}` adds fields to its upstream."""
    extra = fields.pop("upstream", {})
    return {"id": "r", "uri": uri, "upstream": upstream(*ports, **extra), **fields}


def example(name, ports):
    """conf/examples/NAME.yaml as a dict, with the ports of 127.0.0.1 replaced: {1980: origin.port}."""
    with open(os.path.join(TOP, "conf/examples", name + ".yaml")) as file:
        text = file.read()
    for old, new in ports.items():
        assert f"127.0.0.1:{old}" in text, f"{name}.yaml has no 127.0.0.1:{old}"
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    return yaml.safe_load(text)


class Gateway:
    """`config`: a dict (process settings it does not name get defaults for tests) or a YAML text. $PORT
    and $DIR are replaced in both. `limits`: {resource: value}, set for all processes."""

    def __init__(self, config, workers=1, env=None, limits=None, start=True):
        self.directory = tempfile.mkdtemp(prefix="sluice-test-")
        os.chmod(self.directory, 0o777)  # the workers may drop their privileges
        self.port = free_port()
        self.workers = workers
        self.env = env or {}
        self.limits = limits or {}
        self.config_path = os.path.join(self.directory, "sluice.yaml")
        self.process = None
        self.first_workers = []
        self.may_lose_workers = False  # set by tests that kill some
        self.write_config(config)
        if start:
            try:
                self.start()
            except BaseException:
                self.kill()
                shutil.rmtree(self.directory, ignore_errors=True)
                raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
            else:
                print(f"gateway's log:\n{self.log[-8000:]}")
        finally:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    # Configuration

    def path(self, name):
        return os.path.join(self.directory, name)

    def text_of(self, config):
        text = config if isinstance(config, str) else self._with_defaults(config)
        return text.replace("$PORT", str(self.port)).replace("$DIR", self.directory)

    def _with_defaults(self, config):
        config = copy.deepcopy(config)
        process = config.setdefault("gateway", {})
        process.setdefault("workers", self.workers)
        process.setdefault("listen", [f"127.0.0.1:{self.port}"])
        process.setdefault("control", self.path("control.sock"))
        process.setdefault("state_dir", self.directory)
        process.setdefault("pid", self.path("sluice.pid"))
        process.setdefault("access_log", {"path": self.path("access.log"), "format": "json"})
        process.setdefault("error_log", {"path": "stderr", "level": "info"})
        process.setdefault("metrics", False)  # one port for all gateways would not do
        return yaml.safe_dump(config, sort_keys=False)

    def write_config(self, config):
        """Replaces the file in one step, as a careful editor does."""
        fresh = self.config_path + ".new"
        with open(fresh, "w") as file:
            file.write(self.text_of(config))
        os.chmod(fresh, 0o644)
        os.rename(fresh, self.config_path)

    # Processes

    def command(self, *arguments):
        return [BINARY, *arguments, "-c", self.config_path, "-p", self.directory]

    def start(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(self.path("notify.sock"))
        os.chmod(self.path("notify.sock"), 0o777)
        notify.settimeout(0.1)
        with open(self.path("error.log"), "ab") as log:
            self.process = subprocess.Popen(
                self.command("run"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": self.path("notify.sock"), **self.env},
                preexec_fn=self._set_limits if self.limits else None)
        self.notify = notify
        self.wait_for_notification("READY=1")
        self.first_workers = self.worker_pids()

    def _set_limits(self):
        import resource
        for name, value in self.limits.items():
            resource.setrlimit(name, (value, value))

    def wait_for_notification(self, text):
        """Until the master has sent `text` (e.g. "READY=1") to the service manager."""
        def received():
            assert self.process.poll() is None, \
                f"the gateway ended with {self.process.returncode}:\n{self.log[-8000:]}"
            try:
                return text in self.notify.recv(4096).decode().split("\n")
            except socket.timeout:
                return False
        wait_for(received, f"{text} from the master; its log:\n{self.log[-4000:]}")

    @property
    def pid(self):
        return self.process.pid

    def role_pids(self, role):
        return sorted(pid for pid in descendants(self.pid)
                      if any(role in part for part in command_line(pid)[1:]))

    def worker_pids(self):
        return self.role_pids("worker")

    def controller_pid(self):
        (pid,) = self.role_pids("controller")
        return pid

    @property
    def log(self):
        with open(self.path("error.log"), errors="replace") as file:
            return file.read()

    def access_log(self):
        """The records that are complete in the file now (format: json)."""
        with open(self.path("access.log"), errors="replace") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def wait_for_access(self, count):
        return wait_for(lambda: len(log := self.access_log()) >= count and log,
                        f"{count} lines in the access log")

    def run(self, *arguments, patience=PATIENCE):
        """Runs a command of the same binary for this gateway; a CompletedProcess with text."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True,
                              timeout=patience)

    def reload(self, config=None):
        if config is not None:
            self.write_config(config)
        return self.run("reload")

    def signal(self, number):
        self.process.send_signal(number)

    # The end

    def stop(self):
        """Ends it by TERM and checks that nothing went wrong in any of its processes."""
        if self.process is None:
            return
        if not self.may_lose_workers:
            assert self.process.poll() is None, \
                f"the gateway ended by itself with {self.process.returncode}:\n{self.log[-8000:]}"
            assert self.worker_pids() == self.first_workers, \
                f"a worker was replaced:\n{self.log[-8000:]}"
        family = descendants(self.pid)
        self.process.terminate()
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"TERM did not end the gateway:\n{self.log[-8000:]}") from None
        self.process = None
        left = [pid for pid in family if os.path.exists(f"/proc/{pid}") and command_line(pid)]
        for pid in left:
            self._kill_one(pid)
        self.check_log()
        assert code == 0, f"exit code {code} after TERM:\n{self.log[-8000:]}"
        assert not left, f"processes {left} outlived their master:\n{self.log[-8000:]}"

    def check_log(self):
        bug = SIGNS_OF_A_BUG.search(self.log)
        assert not bug, f"found {bug.group()!r}:\n{self.log[max(0, bug.start() - 500):][:8000]}"

    @staticmethod
    def _kill_one(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill(self):
        if self.process is None:
            return
        for pid in [self.pid, *descendants(self.pid)]:
            self._kill_one(pid)
        self.process.wait()
        self.process = None
