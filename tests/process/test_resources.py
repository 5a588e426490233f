"""When something runs out: connections, file descriptors, disk. Serving goes on."""
# ctest: serial
# ctest: timeout=180

import os
import pwd
import resource
import subprocess
import threading

import pytest

from support.gateway import Gateway, route, wait_for
from support.origin import OK, Origin, serve
from support.raw import ConnectionEnded, RawClient, exchange

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_1000_connections_at_once(origin, gateway):
    """All requests are at the origin together before the first is answered."""
    number, go_on = 1000, threading.Event()

    def script(connection):
        while True:
            connection.read_request()
            assert go_on.wait(60)
            connection.send(OK)
    origin.script = script
    clients = [RawClient(gateway.port).send(GET) for _ in range(number)]
    origin.wait_for_requests(number)
    go_on.set()
    for client in clients:
        assert client.read_response().body == b"ok"
    for client in clients:
        assert client.send(GET).read_response().body == b"ok"
        client.close()
    assert len(origin.requests) == 2 * number


@pytest.fixture
def same_user(origin):
    """Its workers stay who we are, so that their limits can be changed."""
    config = {"gateway": {"user": pwd.getpwuid(os.geteuid()).pw_name}, "routes": [route(origin.port)]}
    with Gateway(config) as running:
        yield running


def test_row91_descriptors_run_out_and_come_back(same_user):
    gateway = same_user
    (worker,) = gateway.worker_pids()
    used = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 100, used + 100))
    clients = [RawClient(gateway.port).send(GET) for _ in range(400)]
    wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) >= used + 99
             or "no file descriptor" in gateway.log, "descriptors to run out")
    # Whoever was accepted is answered, by the origin or by a 502/503 when no upstream socket could be
    # made; the others wait in the queue until somebody leaves.
    answered = 0
    for client in clients:
        try:
            assert client.read_response().status in (200, 502, 503)
            answered += 1
        except ConnectionEnded as ended:
            assert ended.partial == b""
        client.close()
    assert answered > 100
    # Recovered: new clients are served as before.
    for _ in range(20):
        assert exchange(gateway.port, GET).status == 200
    assert gateway.log.count("accepting is paused") <= 30  # once a second, not once an event


def test_row160_full_disk_does_not_stop_requests(origin):
    config = {"gateway": {"access_log": {"path": "/dev/full", "format": "json"}},
              "routes": [route(origin.port)]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        for _ in range(3000):
            assert client.send(GET).read_response().status == 200


@pytest.fixture
def tiny_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    tmp_path.chmod(0o755)
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=777", "none", str(place)],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_row160_logging_goes_on_when_there_is_room_again(origin, tiny_disk):
    path = tiny_disk / "access.log"
    config = {"gateway": {"access_log": {"path": str(path), "format": "json"}}, "routes": [route(origin.port)]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        request = b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        for _ in range(200):
            assert client.send(request).read_response().status == 200
        wait_for(lambda: path.stat().st_size >= 120_000, "the disk to be full")
        for _ in range(200):
            assert client.send(request).read_response().status == 200

        def logged_again():
            if path.stat().st_size >= 120_000:  # lines that were waiting may fill it once more
                os.truncate(path, 0)
            assert client.send(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n").read_response().status == 200
            return b"/after" in path.read_bytes()
        wait_for(logged_again, "a line in the log after room was made")


def test_row165_many_idle_upstream_connections_close_at_once():
    gate = threading.Barrier(100, timeout=30)
    close_now = threading.Event()

    def script(connection):
        connection.read_request()
        gate.wait()
        connection.send(OK)
        close_now.wait(30)
        connection.close()
    with Origin(script) as origin:
        with Gateway({"routes": [route(origin.port)]}) as gateway:
            clients = [RawClient(gateway.port).send(GET) for _ in range(100)]
            for client in clients:
                assert client.read_response().status == 200
            origin.script = serve()
            close_now.set()
            for client in clients:
                assert client.send(GET).read_response().status == 200
                client.close()
