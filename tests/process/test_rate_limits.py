"""Limits of plugins over several workers: exact, and kept by reloads and by the death of workers."""
# ctest: timeout=240

import os
import signal
import threading
import time

import pytest

from support.gateway import Gateway, upstream, wait_for
from support.http2 import Http2Client
from support.origin import OK, Origin, serve
from support.raw import RawClient

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELD = b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"


def limited(port, plugins, **fields):
    return {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(port), "plugins": plugins,
                        **fields}]}


def offer(port, requests, clients=8):
    """Offers so many requests over several connections at one time; how often each status came."""
    counts, lock = {}, threading.Lock()

    def run(share):
        with RawClient(port) as client:
            for _ in range(share):
                client.send(GET)
                status = client.read_response().status
                with lock:
                    counts[status] = counts.get(status, 0) + 1

    threads = [threading.Thread(target=run, args=(requests // clients,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def replace_worker(gateway, number=signal.SIGKILL):
    """Kills one worker and waits for the next."""
    gateway.may_lose_workers = True
    before = gateway.worker_pids()
    os.kill(before[0], number)
    wait_for(lambda: len(gateway.worker_pids()) == len(before) and
             before[0] not in gateway.worker_pids(), "another worker")


class Held:
    """A script that holds requests for /held until `open` is set."""

    def __init__(self):
        self.waiting = 0
        self.open = threading.Event()
        self.lock = threading.Lock()

    def __call__(self, connection):
        while True:
            if connection.read_request().target == "/held":
                with self.lock:
                    self.waiting += 1
                assert self.open.wait(60)
            connection.send(OK)


@pytest.mark.parametrize("window", ["fixed", "sliding"])
def test_limit_count_is_exact_over_workers(window):
    plugins = {"limit-count": {"count": 5000, "time_window": 86400, "window_type": window}}
    with Origin(serve()) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        assert offer(gateway.port, 10_000) == {200: 5000, 503: 5000}


def test_counts_are_kept_by_reloads_and_deaths():
    plugins = {"limit-count": {"count": 40, "time_window": 86400}}
    with Origin(serve()) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        assert offer(gateway.port, 16) == {200: 16}
        gateway.reload(limited(origin.port, plugins, desc="another revision"))
        assert offer(gateway.port, 16) == {200: 16}
        replace_worker(gateway)
        assert offer(gateway.port, 16) == {200: 8, 503: 8}
        # A limit that is raised goes on from what was counted.
        plugins["limit-count"]["count"] = 48
        gateway.reload(limited(origin.port, plugins))
        assert offer(gateway.port, 16) == {200: 8, 503: 8}


def test_limit_req_lets_the_rate_through():
    rate, burst = 400, 200
    plugins = {"limit-req": {"rate": rate, "burst": burst, "nodelay": True, "key": "remote_addr"}}
    with Origin(serve()) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        begin = time.monotonic()
        allowed = 0
        while time.monotonic() - begin < 3:
            allowed += offer(gateway.port, 64).get(200, 0)
        most = (time.monotonic() - begin) * rate + burst + 1
        # Both clocks are the host's; each worker may be a loop's turn behind.
        assert burst < allowed <= most * 1.005


def test_limit_req_holds_early_requests_back():
    plugins = {"limit-req": {"rate": 10, "burst": 10, "key": "remote_addr"}}
    with Origin(serve()) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        begin = time.monotonic()
        assert offer(gateway.port, 8) == {200: 8}
        assert time.monotonic() - begin > 0.6  # seven of them, one every 100 ms


def test_limit_conn_counts_what_is_under_way():
    script = Held()
    plugins = {"limit-conn": {"conn": 3, "burst": 0, "default_conn_delay": 0.1,
                              "key": "remote_addr"}}
    with Origin(script) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        clients = [RawClient(gateway.port).send(HELD) for _ in range(3)]
        wait_for(lambda: script.waiting == 3, "three requests at the origin")
        assert offer(gateway.port, 8) == {503: 8}
        clients[0].reset()
        wait_for(lambda: offer(gateway.port, 1, clients=1) == {200: 1},
                 "the place of the client that left")
        assert offer(gateway.port, 4, clients=1) == {200: 4}
        script.open.set()
        for client in clients[1:]:
            assert client.read_response().status == 200
        assert offer(gateway.port, 3, clients=1) == {200: 3}


def test_places_of_a_killed_worker_come_back():
    script = Held()
    plugins = {"limit-conn": {"conn": 2, "burst": 0, "default_conn_delay": 0.1,
                              "key": "remote_addr"}}
    with Origin(script) as origin, Gateway(limited(origin.port, plugins)) as gateway:
        for _ in range(2):
            RawClient(gateway.port).send(HELD)
        wait_for(lambda: script.waiting == 2, "two requests at the origin")
        assert offer(gateway.port, 1, clients=1) == {503: 1}
        replace_worker(gateway)
        script.open.set()
        assert offer(gateway.port, 2, clients=1) == {200: 2}


def test_a_burst_of_limit_conn_waits():
    script = Held()
    plugins = {"limit-conn": {"conn": 1, "burst": 1, "default_conn_delay": 0.2,
                              "only_use_default_delay": True, "key": "remote_addr"}}
    with Origin(script) as origin, Gateway(limited(origin.port, plugins)) as gateway:
        first = RawClient(gateway.port).send(HELD)
        wait_for(lambda: script.waiting == 1, "the first request at the origin")
        begin = time.monotonic()
        second = RawClient(gateway.port).send(HELD)
        wait_for(lambda: script.waiting == 2, "the second one")
        assert time.monotonic() - begin > 0.19
        assert offer(gateway.port, 1, clients=1) == {503: 1}
        script.open.set()
        for client in (first, second):
            assert client.read_response().status == 200


class TestWaitingForLimitConn:
    """One request at the origin and two that wait: the next one is refused."""

    @staticmethod
    def config(origin, delay):
        limit = {"limit-conn": {"conn": 1, "burst": 2, "default_conn_delay": delay,
                                "only_use_default_delay": True, "key": "remote_addr"}}
        return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
                **limited(origin.port, limit if delay else {})}

    @staticmethod
    def fill(gateway, script):
        before = script.waiting
        first = RawClient(gateway.port).send(HELD)
        wait_for(lambda: script.waiting > before, "the first request at the origin")
        others = Http2Client(gateway.port)
        streams = [others.start(), others.start()]
        assert others.get().status == 503
        return first, others, streams

    def test_clients_leave(self):
        script = Held()
        with Origin(script) as origin, Gateway(self.config(origin, 3600)) as gateway:
            for number in range(1, 4):
                first, others, streams = self.fill(gateway, script)
                others.reset(streams[0])
                others.ping()
                others.__exit__(None)
                first.reset()
                # Who kept a place would leave too few for the next round.
                wait_for(lambda: sum(record["reason"] == "client_closed" for record in
                                     gateway.access_log()) == 3 * number, "the end of all three")
            script.open.set()

    def test_reloads(self):
        script = Held()
        with Origin(script) as origin, Gateway(self.config(origin, 0.5)) as gateway:
            first, others, streams = self.fill(gateway, script)
            assert gateway.reload(self.config(origin, 0)).returncode == 0
            assert offer(gateway.port, 8) == {200: 8}
            script.open.set()
            assert first.read_response().status == 200
            assert [others.finish(stream).status for stream in streams] == [200, 200]
            assert gateway.reload(self.config(origin, 0.5)).returncode == 0
            assert offer(gateway.port, 3, clients=1) == {200: 3}
            first.close()
            others.__exit__(None)


def test_more_keys_than_the_table_has_room_for():
    """Old keys make room for new ones."""
    plugins = {"limit-count": {"count": 1, "time_window": 86400, "key": "arg_k"}}
    config = {"gateway": {"limits": {"limit_keys": 1000}}}
    with Origin(serve()) as origin, \
            Gateway({**config, **limited(origin.port, plugins)}) as gateway, \
            RawClient(gateway.port) as client:
        for number in range(20_000):
            client.send(b"GET /?k=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            assert client.read_response().status == 200
        client.send(b"GET /?k=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        assert client.read_response().status == 503


def test_the_size_of_the_table_needs_a_restart():
    with Gateway(limited(1, {})) as gateway:
        result = gateway.reload({"gateway": {"limits": {"limit_keys": 5000}}, **limited(1, {})})
        assert result.returncode == 1
        assert "gateway.limits.limit_keys: changed, which takes effect only by a restart" in \
            result.stdout + result.stderr


def test_api_breaker_opens_for_all_workers_and_closes_again():
    plugins = {"api-breaker": {"break_response_code": 502, "unhealthy": {"failures": 4},
                               "healthy": {"successes": 1}}}
    failing = [True]

    def script(connection):
        while True:
            connection.read_request()
            connection.send(OK.replace(b"200", b"500", 1) if failing[0] else OK)

    with Origin(script) as origin, Gateway(limited(origin.port, plugins), workers=2) as gateway:
        assert offer(gateway.port, 4, clients=1) == {500: 4}
        assert offer(gateway.port, 32) == {502: 32}
        failing[0] = False
        wait_for(lambda: offer(gateway.port, 1, clients=1) == {200: 1}, "the end of the break")
        assert offer(gateway.port, 32) == {200: 32}


class TestSplit:
    USERS = 400

    @staticmethod
    def config(own, canary, weight):
        rule = {"key": "$http_x_user",
                "weighted_upstreams": [{"upstream": upstream(canary), "weight": weight},
                                       {"weight": 100 - weight}]}
        return limited(own, {"traffic-split": {"rules": [rule]}})

    def canary_users(self, gateway):
        users = set()
        with RawClient(gateway.port) as client:
            for user in range(self.USERS):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-User: u%d\r\n\r\n" % user)
                if client.read_response().body == b"canary":
                    users.add(user)
        return users

    def test_users_stay_on_their_side(self):
        def canary(connection):
            while True:
                connection.read_request()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary")

        with Origin(serve()) as own, Origin(canary) as other, \
                Gateway(self.config(own.port, other.port, 10), workers=2) as gateway:
            few = self.canary_users(gateway)
            assert 0.04 < len(few) / self.USERS < 0.18
            assert self.canary_users(gateway) == few
            gateway.reload(self.config(own.port, other.port, 30))
            more = self.canary_users(gateway)
            assert few < more and 0.2 < len(more) / self.USERS < 0.4
            replace_worker(gateway)
            assert self.canary_users(gateway) == more
            gateway.reload(self.config(own.port, other.port, 10))
            assert self.canary_users(gateway) == few

    def test_shares_without_a_key(self):
        def canary(connection):
            while True:
                connection.read_request()
                connection.send(b"HTTP/1.1 201 Canary\r\nContent-Length: 0\r\n\r\n")

        with Origin(serve()) as own, Origin(canary) as other:
            arms = [{"upstream": upstream(other.port), "weight": 1}, {"weight": 3}]
            plugins = {"traffic-split": {"rules": [{"weighted_upstreams": arms}]}}
            with Gateway(limited(own.port, plugins), workers=2) as gateway:
                counts = offer(gateway.port, 2000)
                # Five standard deviations.
                assert set(counts) == {200, 201} and 400 < counts[201] < 600
