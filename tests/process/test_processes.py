"""Master, controller and workers: start, readiness, signals, deaths, the end."""
# ctest: timeout=300

import ctypes
import os
import pwd
import re
import signal
import socket
import struct
import subprocess

import pytest

from support.gateway import Gateway, command_line, descendants, free_port, route, wait_for


def get(port, path="/"):
    """The status of one GET on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1])


def is_alive(pid):
    return any(command_line(pid))  # none: gone, or a zombie that init has not reaped


def config(origin, **process):
    return {"gateway": process, "routes": [route(origin.port)]}


def run_briefly(gateway):
    """`sluice run` that is expected to fail."""
    return subprocess.run(gateway.command("run"), capture_output=True, text=True, timeout=60)


def started(gateway, *arguments):
    """`sluice run --daemon`; the master's process id."""
    result = gateway.run("run", "--daemon", *arguments)
    assert result.returncode == 0, result.stderr
    with open(gateway.path("sluice.pid")) as file:
        return int(file.read())


def test_serves_and_ends_without_leaving_a_trace(origin):
    with Gateway(config(origin), workers=2) as gateway:
        assert get(gateway.port) == 200
        assert len(gateway.worker_pids()) == 2
        with open(gateway.path("sluice.pid")) as file:
            assert int(file.read()) == gateway.pid
        control = os.stat(gateway.path("control.sock"))
        assert control.st_mode & 0o777 == 0o600
        gateway.stop()
        assert not os.path.exists(gateway.path("sluice.pid"))
        assert not os.path.exists(gateway.path("control.sock"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_roles_drop_to_the_user(origin):
    with Gateway(config(origin)) as gateway:
        uid = pwd.getpwnam("www-data").pw_uid
        for pid in [*gateway.worker_pids(), gateway.controller_pid()]:
            with open(f"/proc/{pid}/status") as file:
                status = file.read()
            assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.M)
            assert "NoNewPrivs:\t1" in status
            # Nothing, or reading only.
            (effective,) = re.findall(r"^CapEff:\t(\w+)$", status, re.M)
            allowed = 1 << 2 if pid == gateway.controller_pid() else 0
            assert int(effective, 16) & ~allowed == 0
        assert get(gateway.port) == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_unknown_user_is_refused(origin):
    gateway = Gateway(config(origin, user="nobody-of-this-name"), start=False)
    result = run_briefly(gateway)
    assert result.returncode == 1
    assert "nobody-of-this-name" in result.stderr and "does not exist" in result.stderr
    gateway.__exit__(None)


def test_a_bad_configuration_is_exit_code_1_with_all_diagnostics():
    gateway = Gateway("routes:\n  - {id: a, uri: 7}\n  - {id: a, urii: /}\n", start=False)
    result = run_briefly(gateway)
    assert result.returncode == 1
    assert "sluice.yaml:2:" in result.stderr and "sluice.yaml:3:" in result.stderr
    assert not os.path.exists(gateway.path("sluice.pid"))
    gateway.__exit__(None)


def test_a_taken_port_is_exit_code_1(origin):
    with socket.socket() as holder:
        # The strictest case: without the check the kernel would let both have it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        gateway = Gateway(config(origin, listen=[f"127.0.0.1:{port}"]), start=False)
        result = run_briefly(gateway)
        assert result.returncode == 1
        assert f"127.0.0.1:{port}" in result.stderr and "in use" in result.stderr
        assert not os.path.exists(gateway.path("sluice.pid"))
        gateway.__exit__(None)


def test_a_second_gateway_with_the_same_pid_file_is_refused(origin):
    with Gateway(config(origin)) as gateway:
        result = run_briefly(gateway)
        assert result.returncode == 1
        assert f"process {gateway.pid}" in result.stderr
        assert get(gateway.port) == 200


def test_a_stale_pid_file_and_socket_do_not_matter(origin):
    with Gateway(config(origin), start=False) as gateway:
        with open(gateway.path("sluice.pid"), "w") as file:
            file.write(f"{os.getpid()}\n")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(gateway.path("control.sock"))
        gateway.start()
        assert get(gateway.port) == 200


def test_listens_on_a_unix_socket_with_two_workers(origin):
    with Gateway({"gateway": {"listen": ["unix:http.sock"]}, "routes": [route(origin.port)]},
                 workers=2) as gateway:
        assert os.stat(gateway.path("http.sock")).st_mode & 0o777 == 0o666
        for _ in range(4):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(gateway.path("http.sock"))
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_daemon_returns_when_the_gateway_serves(origin):
    gateway = Gateway(config(origin), start=False)
    pid = started(gateway)
    try:
        assert get(gateway.port) == 200
        assert os.getsid(pid) != os.getsid(0)
    finally:
        assert gateway.run("stop").returncode == 0
    assert not is_alive(pid)
    gateway.__exit__(None)


def test_daemon_that_cannot_start_says_why(origin):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        gateway = Gateway(config(origin, listen=[f"127.0.0.1:{port}"]), start=False)
        result = gateway.run("run", "--daemon")
        assert result.returncode == 1
        assert "in use" in result.stderr
        gateway.__exit__(None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_end_it_and_its_children(origin, number):
    gateway = Gateway(config(origin), workers=2)
    family = descendants(gateway.pid)
    gateway.signal(number)
    assert gateway.process.wait(timeout=30) == 0
    assert not any(is_alive(pid) for pid in family)
    gateway.process = None
    gateway.check_log()
    gateway.__exit__(None)


def send_request(gateway):
    """A client that waits for its answer."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


class HoldingOrigin:
    """Accepts, reads a request head and waits until told to answer."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(30)
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def take(self):
        connection, _ = self.socket.accept()
        connection.settimeout(30)
        assert connection.recv(65536)
        return connection


def test_term_lets_requests_finish_and_refuses_new_ones():
    with HoldingOrigin() as origin:
        gateway = Gateway(config(origin))
        client = send_request(gateway)
        held = origin.take()
        gateway.signal(signal.SIGTERM)

        def refused():
            try:
                socket.create_connection(("127.0.0.1", gateway.port), timeout=30).close()
                return False
            except ConnectionRefusedError:
                return True

        wait_for(refused, "the port to close")
        held.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
        assert gateway.process.wait(timeout=30) == 0
        gateway.process = None
        gateway.__exit__(None)


def test_a_second_term_ends_at_once():
    with HoldingOrigin() as origin:
        gateway = Gateway(config(origin))
        client = send_request(gateway)
        held = origin.take()
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: "draining" in gateway.log, "the first TERM")
        assert gateway.process.poll() is None
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=30) == 0
        client.close()
        held.close()
        gateway.process = None
        gateway.check_log()
        gateway.__exit__(None)


def test_the_shutdown_timeout_ends_what_does_not_finish():
    with HoldingOrigin() as origin:
        gateway = Gateway(config(origin, timeouts={"shutdown": "1s"}))
        client = send_request(gateway)
        held = origin.take()
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=30) == 0
        assert "time to drain is over" in gateway.log
        client.close()
        held.close()
        gateway.process = None
        gateway.__exit__(None)


def test_short_forms_of_stopping(origin):
    for name in ("quit", "stop"):
        gateway = Gateway(config(origin))
        assert gateway.run("-s", name).returncode == 0
        assert gateway.process.wait(timeout=30) == 0
        gateway.process = None
        gateway.__exit__(None)


def test_stop_at_once_does_not_wait_for_requests():
    with HoldingOrigin() as origin:
        gateway = Gateway(config(origin))
        client = send_request(gateway)
        held = origin.take()
        assert gateway.run("-s", "stop").returncode == 0
        assert gateway.process.wait(timeout=30) == 0
        client.close()
        held.close()
        gateway.process = None
        gateway.__exit__(None)


def test_usr1_reopens_the_logs(origin):
    settings = config(origin)
    settings["gateway"]["error_log"] = {"path": "err.log", "level": "info"}
    with Gateway(settings) as gateway:
        for name in ("access.log", "err.log"):
            os.rename(gateway.path(name), gateway.path(name + ".1"))
        gateway.signal(signal.SIGUSR1)
        wait_for(lambda: os.path.exists(gateway.path("access.log")), "the new access log")
        wait_for(lambda: os.path.exists(gateway.path("err.log")), "the new error log")

        def logged():
            assert get(gateway.port) == 200
            return gateway.access_log()

        wait_for(logged, "a line in the new access log")
        assert "logs reopened" in open(gateway.path("err.log")).read()


def test_a_dead_worker_is_replaced_and_its_port_never_refuses(origin):
    with Gateway(config(origin), workers=2) as gateway:
        gateway.may_lose_workers = True
        for count in range(3):
            (victim, other) = gateway.worker_pids()
            os.kill(victim, signal.SIGKILL)
            assert get(gateway.port) == 200
            wait_for(lambda: len(gateway.worker_pids()) == 2 and victim not in gateway.worker_pids(),
                     "a new worker")
            assert other in gateway.worker_pids()
            wait_for(lambda: gateway.log.count(" back ") > count, "the new worker to serve")
            for _ in range(8):
                assert get(gateway.port) == 200
        assert "signal 9" in gateway.log


def test_a_killed_worker_is_started_again_at_once_and_serves(origin):
    with Gateway(config(origin)) as gateway:
        gateway.may_lose_workers = True
        (victim,) = gateway.worker_pids()
        os.kill(victim, signal.SIGKILL)
        assert get(gateway.port) == 200  # the only worker there is: the new one
        (successor,) = gateway.worker_pids()
        assert successor != victim
        wait_for(lambda: f" back name=worker-0 pid={successor}" in gateway.log, "it to be back")
        (died,) = re.findall(r"a process died name=worker-0 (.*)", gateway.log)
        assert "signal 9" in died
        assert int(re.search(r"restart_in_ms=(\d+)", died).group(1)) <= 100


def descriptor_of(pid, fd):
    """A copy of another process's descriptor; skips the test where the system forbids that."""
    pidfd_getfd = 438  # the same number on every architecture
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        copy = libc.syscall(pidfd_getfd, process, fd, 0)
    finally:
        os.close(process)
    if copy < 0:
        pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return copy


FRAMES = {
    "shorter than its head": b"junk",
    "a size that is a lie": struct.pack("=II", 30, 1000) + b"x",
    "a type that is not a child's": struct.pack("=II", 77, 8) + bytes(8),
    "a text that is longer than its message": struct.pack("=IIQQ", 52, 16, 1, 2**63),
}


@pytest.mark.parametrize("what", FRAMES)
@pytest.mark.parametrize("role", ["worker", "controller"])
def test_a_child_that_sends_junk_to_the_master_is_ended(origin, role, what):
    with Gateway(config(origin)) as gateway:
        gateway.may_lose_workers = True
        (victim,) = gateway.role_pids(role)
        with socket.socket(fileno=descriptor_of(victim, 3)) as channel:
            channel.send(FRAMES[what])
        wait_for(lambda: re.search(rf"killing a process name={role}\S* pid={victim} ", gateway.log),
                 "the master to end it")
        wait_for(lambda: re.search(rf" back name={role}", gateway.log), "its successor")
        (successor,) = gateway.role_pids(role)
        assert successor != victim
        assert get(gateway.port) == 200


def test_the_only_workers_death_loses_no_queued_connection(origin):
    with Gateway(config(origin)) as gateway:
        gateway.may_lose_workers = True
        (victim,) = gateway.worker_pids()
        os.kill(victim, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as queued:
            queued.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            os.kill(victim, signal.SIGKILL)
            assert queued.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_dead_controller_is_replaced_and_reloads(origin):
    with Gateway(config(origin)) as gateway:
        victim = gateway.controller_pid()
        os.kill(victim, signal.SIGKILL)
        assert get(gateway.port) == 200
        result = gateway.reload({"routes": [route(origin.port, uri="/other")]})
        assert result.returncode == 0, result.stderr
        assert get(gateway.port, "/other") == 200
        assert get(gateway.port, "/") == 404
        assert gateway.controller_pid() != victim


def test_a_change_made_while_the_controller_was_dead_is_found(origin):
    with Gateway(config(origin)) as gateway:
        os.kill(gateway.controller_pid(), signal.SIGSTOP)
        gateway.write_config({"routes": [route(origin.port, uri="/other")]})
        os.kill(gateway.controller_pid(), signal.SIGKILL)
        wait_for(lambda: get(gateway.port, "/other") == 200, "the change to be found")


def test_a_reborn_worker_serves_the_revision_that_was_reloaded(origin):
    with Gateway(config(origin)) as gateway:
        gateway.may_lose_workers = True
        assert gateway.reload({"routes": [route(origin.port, uri="/new")]}).returncode == 0
        os.kill(gateway.worker_pids()[0], signal.SIGKILL)
        assert get(gateway.port, "/new") == 200
        assert get(gateway.port, "/") == 404


def test_workers_end_when_the_master_is_killed(origin):
    gateway = Gateway(config(origin), workers=2)
    family = descendants(gateway.pid)
    gateway.signal(signal.SIGKILL)
    gateway.process.wait(timeout=30)
    wait_for(lambda: not any(is_alive(pid) for pid in family), "the orphans to end")
    gateway.process = None
    # Another master can take over at once.
    os.unlink(gateway.path("notify.sock"))
    gateway.start()
    assert get(gateway.port) == 200
    gateway.__exit__(None)


def test_a_crash_loop_backs_off_and_the_others_serve(origin):
    with Gateway(config(origin), workers=2) as gateway:
        gateway.may_lose_workers = True
        (_, survivor) = gateway.worker_pids()

        def kill_the_other():
            for pid in gateway.worker_pids():
                if pid != survivor:
                    os.kill(pid, signal.SIGKILL)
            return "it keeps dying" in gateway.log

        wait_for(kill_the_other, "the back-off")
        for _ in range(8):
            assert get(gateway.port) == 200
        wait_for(lambda: len(gateway.worker_pids()) == 2, "another try")
        wait_for(lambda: re.search(r" back name=worker-\d", gateway.log), "it to serve")


class Notifications:
    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(30)

    def wait_for(self, line):
        """The message with that line; whatever comes before is skipped."""
        while True:
            message = self.socket.recv(4096).decode().split("\n")
            if line in message:
                return message


def test_tells_the_service_manager_how_it_is(origin):
    name = f"sluice-test-{os.getpid()}-{free_port()}"
    notifications = Notifications("\0" + name)  # an abstract one
    gateway = Gateway(config(origin), start=False)
    with open(gateway.path("error.log"), "wb") as log:
        gateway.process = subprocess.Popen(
            gateway.command("run"), stdout=log, stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "200000"})
    ready = notifications.wait_for("READY=1")
    assert any(line.startswith("STATUS=serving") for line in ready)
    assert get(gateway.port) == 200
    notifications.wait_for("WATCHDOG=1")
    gateway.write_config({"routes": [route(origin.port, uri="/x")]})
    gateway.signal(signal.SIGHUP)
    reloading = notifications.wait_for("RELOADING=1")
    assert any(re.fullmatch(r"MONOTONIC_USEC=\d+", line) for line in reloading)
    notifications.wait_for("READY=1")
    gateway.signal(signal.SIGTERM)
    notifications.wait_for("STOPPING=1")
    assert gateway.process.wait(timeout=30) == 0
    gateway.process = None
    gateway.__exit__(None)


def test_too_few_open_files_are_warned_about(origin):
    settings = config(origin)
    settings["gateway"]["limits"] = {"worker_connections": 10_000_000}
    with Gateway(settings) as gateway:
        (line,) = [line for line in gateway.log.split("\n") if "open files" in line][:1]
        assert "10000000" in line and "20000256" in line
        assert get(gateway.port) == 200
