"""The wall clock jumps while the gateway runs: nothing that waits, counts or is held back may notice."""
# ctest: timeout=180

import datetime
import json
import threading

import pytest

from support.clock import Clock
from support.gateway import Gateway, wait_for
from support.origin import OK, Origin, serve
from support.raw import RawClient

HOUR, YEARS = 3600, 2 * 365 * 24 * 3600
JUMPS = [HOUR, -HOUR, YEARS, -YEARS, 0]
FAILED = b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n"
LONG = {"open_time": 60, "max_open_time": 60}


@pytest.fixture
def clock():
    with Clock() as clock:
        yield clock


def ask(gateway, path="/"):
    with RawClient(gateway.port) as client:
        return client.get(path)


def assert_jumped(gateway, clock):
    """The proof that the gateway lives in the other time: what its log says of a request that it refuses."""
    def refused():
        return [record for record in gateway.access_log() if record["status"] == 405]
    before = len(refused())
    with RawClient(gateway.port) as client:
        assert client.request("TRACE").status == 405
    record = wait_for(lambda: refused()[before:], "its line in the access log")[0]
    said = datetime.datetime.fromisoformat(record["ts"].replace("Z", "+00:00"))
    off = (said - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert abs(off - clock.offset) < HOUR / 2, f"{record['ts']} is {off} s off instead of {clock.offset}"


def config(*ports, **fields):
    nodes = {f"127.0.0.1:{port}": 1 for port in ports}
    return {"upstreams": [{"id": "u", "nodes": nodes, "retries": 0, **fields}],
            "routes": [{"id": "r", "uri": "/*", "upstream_id": "u"}]}


def upstream(gateway):
    result = gateway.run("status", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["upstreams"][0]


def test_ejections_and_breakers_keep_their_time(clock):
    """An hour or years, forwards or backwards: what is out stays out, what is in stays in, for as long as before."""
    with Origin(serve(FAILED)) as bad, Origin() as good:
        fields = {"outlier_detection": {"consecutive_errors": 3, "max_ejection_percent": 50, "base_ejection_time": "60s",
                                        "max_ejection_time": "60s"},
                  "circuit_breaker": {"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 3, **LONG}}
        with Gateway(config(bad.port, good.port, **fields), workers=2, env=clock.environment) as gateway:
            wait_for(lambda: ask(gateway) and "circuit opened" in gateway.log and "node is ejected" in gateway.log,
                     "the node to be left out")
            before = len(bad.requests)
            left = 60_000
            for offset in JUMPS:
                clock.jump(offset)
                assert {ask(gateway).status for _ in range(10)} == {200}
                assert_jumped(gateway, clock)
                states = {node["node"]: node for node in upstream(gateway)["nodes"]}
                out, fine = states[f"127.0.0.1:{bad.port}"], states[f"127.0.0.1:{good.port}"]
                assert (out["state"], out["breaker"]["phase"]) == ("ejected", "open")
                assert (fine["state"], fine["breaker"]["phase"]) == ("up", "closed")
                assert 0 < out["ejection"]["back_in_ms"] <= left and 0 < out["breaker"]["open_for_ms"] <= 60_000
                left = out["ejection"]["back_in_ms"]  # only ever less
            assert len(bad.requests) == before


@pytest.mark.parametrize("offset", [YEARS, -YEARS])
def test_what_is_held_back_comes_back_in_its_time(clock, offset):
    """Also when the clock went back, so that by it the time would never come."""
    answers = {"now": FAILED}

    def script(connection):
        while True:
            connection.read_request()
            connection.send(answers["now"])
    with Origin(script) as flapping, Origin() as good:
        soon = {"open_time": 0.2, "max_open_time": 0.2, "probes": 1, "ramp": 0}
        fields = {"outlier_detection": {"consecutive_errors": 3, "max_ejection_percent": 50, "base_ejection_time": "200ms",
                                        "max_ejection_time": "200ms"},
                  "circuit_breaker": {"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 3, **soon}}
        with Gateway(config(flapping.port, good.port, **fields), env=clock.environment) as gateway:
            wait_for(lambda: ask(gateway) and "circuit opened" in gateway.log, "the node to be left out")
            clock.jump(offset)
            answers["now"] = OK
            wait_for(lambda: ask(gateway) and "circuit closed" in gateway.log, "the node to be back")
            assert_jumped(gateway, clock)


@pytest.mark.parametrize("offset", [YEARS, -YEARS])
def test_requests_and_timeouts_under_way_go_on(clock, offset):
    """Nothing times out by a jump, and what must time out still does."""
    arrived, released = threading.Semaphore(0), threading.Event()

    def script(connection):
        while (target := connection.read_request().target) != "/silent":
            if target == "/held":
                arrived.release()
                released.wait(60)
            connection.send(OK)
        arrived.release()
        connection.wait_for_close()
    with Origin(script) as origin:
        running = config(origin.port, limits={"requests": 2, "pending": 5, "pending_timeout": 3600},
                         timeout={"connect": 3600, "send": 3600, "read": 3600})
        running["routes"].append({"id": "hasty", "uri": "/silent", "upstream_id": "u",
                                  "timeout": {"connect": 1, "send": 1, "read": 1}})
        with Gateway(running, env=clock.environment) as gateway:
            with RawClient(gateway.port) as idle, RawClient(gateway.port) as begun:
                assert idle.get("/quick").status == 200  # kept now
                begun.send(b"GET /held HTTP/1.1\r\nHo")
                held = [RawClient(gateway.port).send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")]
                assert arrived.acquire(timeout=30)
                silent = RawClient(gateway.port).send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
                assert arrived.acquire(timeout=30)
                held.append(RawClient(gateway.port).send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"))
                wait_for(lambda: upstream(gateway)["total"]["pending"] == 1, "a request that waits")
                clock.jump(offset)
                assert silent.read_response().json()["reason"] == "upstream_read_timeout"
                assert arrived.acquire(timeout=30)  # the one that waited has the place
                for client in (*held, idle, begun):
                    client.expect_silence()
                released.set()
                assert [client.read_response().body for client in held] == [b"ok"] * 2
                assert idle.get("/quick").status == 200
                assert begun.send(b"st: a\r\n\r\n").read_response().body == b"ok"
                assert_jumped(gateway, clock)


@pytest.mark.parametrize("offset", [YEARS, -YEARS])
def test_active_checks_go_on(clock, offset):
    with Origin() as origin:
        check = {"active": {"healthy": {"interval": 1}, "unhealthy": {"interval": 1}}}
        with Gateway(config(origin.port, checks=check), env=clock.environment) as gateway:
            origin.wait_for_requests(1)
            clock.jump(offset)
            more = len(origin.requests) + 2
            origin.wait_for_requests(more)
            assert_jumped(gateway, clock)
            assert "unhealthy" not in gateway.log
