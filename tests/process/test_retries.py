"""Which attempts are repeated, where, how often, and when a request has taken long enough."""
# ctest: timeout=180

import os
import signal
import threading

import pytest

from support.gateway import Gateway, descendants, example, free_port, wait_for
from support.h2_origin import H2Origin
from support.load import Load
from support.origin import OK, NginxOrigin, Origin, drip, serve
from support.raw import ConnectionEnded, RawClient

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-From: first\r\n\r\nbusy"


def config(*ports, **fields):
    """The first of `ports` is tried first, the others only when it failed."""
    nodes = [{"host": "127.0.0.1", "port": port, "weight": 1, "priority": -number}
             for number, port in enumerate(ports)]
    return {"routes": [{"id": "r", "uri": "/*", "upstream": {"type": "roundrobin", "nodes": nodes, **fields}}]}


def reset_at_once(connection):
    connection.read_head()
    connection.reset()


def silent(connection):
    connection.read_request()
    connection.wait_for_close()


class Parked:
    """A script that answers nobody before `release`, and counts who is there."""

    def __init__(self, reply=OK, reset=False):
        self.reply, self.reset = reply, reset
        self.arrived = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    def __call__(self, connection):
        while True:
            connection.read_request()
            with self.lock:
                self.arrived += 1
            assert self.released.wait(60)
            if self.reset:
                connection.reset()
                return
            connection.send(self.reply)

    def wait_for(self, count):
        wait_for(lambda: self.arrived >= count, f"{count} requests at the origin, came {self.arrived}")


def start_many(gateway, count, method=b"GET"):
    clients = [RawClient(gateway.port) for _ in range(count)]
    for client in clients:
        client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    return clients


# Statuses


@pytest.mark.parametrize("reply", [
    BUSY, b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n",  # goes on and on
    b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\nbusy", b"HTTP/1.1 503 Busy\r\n\r\nbusy"],
    ids=["complete", "chunks", "length", "until-close"])
@pytest.mark.parametrize("method, body", [("GET", None), ("HEAD", None), ("PUT", b"x" * 1000)])
def test_a_listed_status_goes_to_the_next_node(origin, reply, method, body):
    ended = threading.Event()

    def busy(connection):
        connection.read_request()
        connection.send(reply)
        connection.wait_for_close()
        ended.set()
    with Origin(busy) as first:
        with Gateway(config(first.port, origin.port, retry={"conditions": ["503"]})) as gateway:
            with RawClient(gateway.port) as client:
                response = client.request(method, "/", body)
                assert (response.status, response.value("X-From")) == (200, None)
                assert ended.wait(20)  # what was left of the answer is nobody's
                assert client.get("/second").status == 200
            records = gateway.wait_for_access(2)
    assert [record["attempts"] for record in records] == [2, 2]
    assert [request.body for request in origin.requests] == [body or b"", b""]
    assert len(first.requests) == 2


def test_a_listed_status_of_a_post_is_the_answer(origin):
    with Origin(serve(BUSY)) as first:
        with Gateway(config(first.port, origin.port, retry={"conditions": [503]})) as gateway:
            with RawClient(gateway.port) as client:
                for _ in range(3):
                    response = client.request("POST", "/", b"x")
                    assert (response.status, response.body) == (503, b"busy")
    assert len(first.requests) == 3 and not origin.requests
    assert len(first.connections) == 1


@pytest.mark.parametrize("retry", [{}, {"conditions": ["502", "reset"]}, {"conditions": []}])
def test_a_status_that_is_not_listed_is_the_answer(origin, retry):
    with Origin(serve(BUSY)) as first, Gateway(config(first.port, origin.port, retry=retry)) as gateway:
        with RawClient(gateway.port) as client:
            assert client.get().body == b"busy"
    assert not origin.requests


@pytest.mark.parametrize("fields", [{"retries": 0}, {"retry": {"conditions": ["503"], "budget": {"percent": 0, "floor": 0}}}])
def test_a_listed_status_is_the_answer_when_nothing_is_left(origin, fields):
    fields = {"retry": {"conditions": ["503"]}, **fields}
    with Origin(serve(BUSY)) as first, Gateway(config(first.port, origin.port, **fields)) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(2):
                response = client.get()
                assert (response.status, response.body) == (503, b"busy")
    assert not origin.requests and len(first.connections) == 1


def test_the_last_nodes_status_is_the_answer():
    with Origin(serve(BUSY)) as first, Origin(serve(BUSY.replace(b"first", b"other"))) as second:
        with Gateway(config(first.port, second.port, retry={"conditions": ["503"]})) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().value("X-From") == "other"
    assert len(first.requests) == len(second.requests) == 1


def test_a_body_that_is_too_large_to_keep_is_not_sent_again(origin):
    with Origin(serve(BUSY)) as first, Gateway(config(first.port, origin.port, retry={"conditions": ["503"]})) as gateway:
        with RawClient(gateway.port) as client:
            assert client.request("PUT", "/", b"x" * 200_000).status == 503
    assert not origin.requests


def test_a_listed_status_over_http2_goes_to_the_next_node():
    def busy(connection, stream, _):
        connection.respond(stream, 503, b"busy" * 1000)
    with H2Origin(busy) as first, H2Origin(lambda connection, stream, _: connection.respond(stream, 200, b"ok")) as second:
        with Gateway(config(first.port, second.port, scheme="h2c", retry={"conditions": ["503"]})) as gateway:
            with RawClient(gateway.port) as client:
                for _ in range(5):
                    assert client.get().body == b"ok"
    assert len(first.requests) == len(second.requests) == 5
    assert len(first.connections) == len(second.connections) == 1


# Conditions


def test_conditions_that_are_not_listed_fail(origin):
    with Origin(reset_at_once) as first, Gateway(config(first.port, origin.port, retry={"conditions": ["503"]})) as gateway:
        with RawClient(gateway.port) as client:
            assert client.get().json()["reason"] in ("upstream_reset", "upstream_closed")
    with Gateway(config(free_port(), origin.port, retry={"conditions": ["reset"]})) as gateway:
        with RawClient(gateway.port) as client:
            assert client.get().json()["reason"] == "connect_refused"
    assert not origin.requests


@pytest.mark.parametrize("listed", [True, False])
def test_a_read_timeout_is_repeated_only_if_listed(origin, listed):
    timeout = {"connect": 5, "send": 5, "read": 0.2}
    with Origin(silent) as first:
        retry = {"conditions": ["timeout"]} if listed else {}
        with Gateway(config(first.port, origin.port, timeout=timeout, retry=retry)) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().status == (200 if listed else 504)
                assert client.request("POST", "/", b"x").json()["reason"] == "upstream_read_timeout"


# Rounds and back-off


def test_one_node_is_asked_again_after_the_back_off():
    def script(connection):
        if connection.number < 2:
            reset_at_once(connection)
        else:
            serve()(connection)
    with Origin(script) as origin:
        back_off = {"base": 0.02, "max": 0.05}
        with Gateway(config(origin.port, retries=5, retry={"backoff": back_off})) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().status == 200
            (record,) = gateway.wait_for_access(1)
        assert record["attempts"] == 3


def test_without_back_off_no_node_is_asked_twice():
    with Origin(reset_at_once) as first, Origin(reset_at_once) as second:
        with Gateway(config(first.port, second.port, retries=9)) as gateway, RawClient(gateway.port) as client:
            assert client.get().status == 502
        assert len(first.connections) == len(second.connections) == 1


def test_another_node_comes_before_the_same_one():
    order = []

    def fail(connection):
        connection.read_head()
        order.append(connection.origin)
        connection.reset()
    with Origin(fail) as first, Origin(fail) as second:
        retry = {"backoff": {"base": 0.001}}
        with Gateway(config(first.port, second.port, retries=5, retry=retry)) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().status == 502
        assert len(order) == 6
        assert all(one is not next_one for one, next_one in zip(order, order[1:]))


def test_back_offs_are_as_short_as_they_say():
    """200 of at most a millisecond fit into 10 seconds; with the gateway's usual time limits, which are
    kept to 0.1 s, they would take 20."""
    def script(connection):
        connection.read_head()
        connection.send(OK) if connection.number == 200 else connection.reset()
    with Origin(script) as origin:
        fields = {"retries": 200, "retry": {"backoff": {"base": 0.001, "max": 0.001}, "budget": {"floor": 1000}}}
        timeout = {"connect": 10, "send": 10, "read": 10, "total": 10}
        with Gateway(config(origin.port, timeout=timeout, **fields)) as gateway, RawClient(gateway.port) as client:
            assert client.get().status == 200
            assert gateway.wait_for_access(1)[0]["attempts"] == 201


def test_a_client_that_leaves_during_the_back_off_ends_it():
    with Origin(reset_at_once) as origin:
        retry = {"backoff": {"base": 3600, "max": 3600}}
        with Gateway(config(origin.port, retries=1, retry=retry)) as gateway:
            client = RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: origin.connections and origin.connections[0].socket.fileno() < 0, "the first attempt")
            client.reset()
            (record,) = gateway.wait_for_access(1)
    assert record["status"] == 499


# Time limits


def test_an_attempt_that_takes_too_long_goes_to_the_next_node(origin):
    gone = threading.Event()

    def hang(connection):
        silent(connection)
        gone.set()
    with Origin(hang) as first:
        with Gateway(config(first.port, origin.port, retry={"per_try_timeout": 0.2})) as gateway:
            with RawClient(gateway.port) as client:
                assert client.request("PUT", "/", b"body").status == 200
                assert gone.wait(20)
                response = client.request("POST", "/", b"x")
                assert (response.status, response.json()["reason"]) == (504, "upstream_try_timeout")
            records = gateway.wait_for_access(2)
    assert [record["attempts"] for record in records] == [2, 1]
    assert [request.body for request in origin.requests] == [b"body"]


def test_the_time_of_an_attempt_ends_with_its_head():
    with Origin(drip(4, 0.15)) as origin, Gateway(config(origin.port, retry={"per_try_timeout": 0.3})) as gateway:
        with RawClient(gateway.port) as client:
            assert client.get().body == b"xxxx"


def test_a_slow_upload_is_not_the_attempts_time(origin):
    with Gateway(config(origin.port, retry={"per_try_timeout": 0.2})) as gateway, RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        threading.Event().wait(0.6)  # the subject: the client's time
        assert client.send(b"x").read_response().status == 200


@pytest.mark.parametrize("place", ["upstream", "route"])
def test_the_total_time_is_bounded(place):
    limit = {"connect": 60, "send": 60, "read": 60, "total": 0.3}
    with Origin(silent) as origin:
        running = config(origin.port, **({"timeout": limit} if place == "upstream" else {}))
        if place == "route":
            running["routes"][0]["timeout"] = limit
        with Gateway(running) as gateway, RawClient(gateway.port) as client:
            response = client.get()
            assert (response.status, response.json()["reason"]) == (504, "total_timeout")
            assert client.get().status == 504  # the connection goes on


def test_the_total_time_cuts_a_response():
    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        connection.wait_for_close()
    with Origin(script) as origin:
        limit = {"connect": 60, "send": 60, "read": 60, "total": 0.3}
        with Gateway(config(origin.port, timeout=limit)) as gateway, RawClient(gateway.port) as client:
            with pytest.raises(ConnectionEnded):
                client.get()
            (record,) = gateway.wait_for_access(1)
    assert record["reason"] == "total_timeout"


def test_the_total_time_contains_all_attempts():
    with Origin(reset_at_once) as origin:
        limit = {"connect": 60, "send": 60, "read": 60, "total": 0.5}
        retry = {"backoff": {"base": 0.1, "max": 0.1}, "budget": {"floor": 1000}}
        with Gateway(config(origin.port, retries=1_000_000, timeout=limit, retry=retry)) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().json()["reason"] == "total_timeout"


def test_a_client_that_leaves_resets_the_stream_of_an_http2_upstream():
    with H2Origin() as origin, Gateway(config(origin.port, scheme="h2c")) as gateway:
        client = RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: origin.requests, "the request at the origin")
        client.reset()
        wait_for(lambda: origin.resets, "the reset of its stream")
        (record,) = gateway.wait_for_access(1)
    assert record["status"] == 499
    assert [code for _, code in origin.resets] == [8]  # CANCEL


# The budget


@pytest.mark.parametrize("fields, most", [({}, 8), ({"retry": {"budget": {"percent": 0, "floor": 5}}}, 5),
                                          ({"limits": {"retries": 2}}, 2),
                                          ({"retry": {"budget": {"percent": 0, "floor": 0}}}, 0)])
def test_row151_the_budget_bounds_retries_of_the_host(fields, most):
    """40 requests fail together; the second node sees a fifth of them, not all."""
    failing, waiting = Parked(reset=True), Parked()
    with Origin(failing) as first, Origin(waiting) as second:
        with Gateway(config(first.port, second.port, **fields), workers=2) as gateway:
            clients = start_many(gateway, 40)
            failing.wait_for(40)
            failing.released.set()
            denied = gateway.wait_for_access(40 - most)
            waiting.wait_for(most)
            assert waiting.arrived == most, "more retries than the budget allows"
            waiting.released.set()
            statuses = [client.read_response().status for client in clients]
            assert len(denied) == 40 - most
            with RawClient(gateway.port) as client:  # those places are free again
                assert client.get().status == (200 if most else 502)
    assert statuses.count(200) == most and statuses.count(502) == 40 - most


def test_a_dead_node_takes_nothing_from_the_budget(origin):
    with Gateway(config(free_port(), origin.port, retry={"budget": {"percent": 0, "floor": 0}})) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(5):
                assert client.request("POST", "/", b"x").status == 200


def test_the_example():
    hangs = Parked()
    with Origin(serve(BUSY)) as busy, Origin() as good, Origin(hangs) as slow:
        wanted = example("resilience", {1980: busy.port, 1981: good.port, 1982: slow.port})
        with Gateway(wanted) as gateway, RawClient(gateway.port) as client:
            assert [client.get().status for _ in range(4)] == [200] * 4  # two of them after 3 seconds
            late = wait_for(lambda: (answer := client.get("/quick/x")).status != 200 and answer, "the slow node's turn")
            assert (late.status, late.json()["reason"]) == (504, "total_timeout")
            hangs.released.set()


# Nodes that die


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_killed_under_load_costs_no_request(workers):
    nodes = [NginxOrigin(), NginxOrigin()]
    try:
        running = {"routes": [{"id": "r", "uri": "/*", "upstream": {
            "type": "roundrobin", "nodes": {f"127.0.0.1:{node.port}": 1 for node in nodes}, "retries": 1}}]}
        with Gateway(running, workers=workers) as gateway, Load(gateway.port, path="/small") as load:
            load.wait_for(500)
            for pid in [nodes[0].process.pid, *descendants(nodes[0].process.pid)]:
                os.kill(pid, signal.SIGKILL)
            load.wait_for(500)
            assert load.counts.harm == 0, load.counts
    finally:
        for node in nodes:
            node.__exit__()


def test_no_post_is_ever_seen_twice():
    """Nodes that refuse, reset before, in and behind the request: what reached one goes to no other."""
    ends = [lambda connection: connection.reset(), lambda connection: connection.close(),
            lambda connection: connection.send(b"HTTP/1.1 20")]

    def flaky(connection):
        while True:
            request = connection.read_head()
            number = int(request.target.rpartition("/")[2])
            if number % 4 < 3:
                connection.read_body(request)
                ends[number % 4](connection)
                return
            connection.read_body(request)
            connection.send(OK)
    with Origin(flaky) as one, Origin(flaky) as two:
        nodes = {f"127.0.0.1:{port}": 1 for port in (one.port, two.port, free_port())}
        running = {"routes": [{"id": "r", "uri": "/*", "upstream": {
            "type": "roundrobin", "nodes": nodes, "retries": 5,
            "retry": {"conditions": ["connect_failure", "refused_stream", "reset", "timeout", 502, 503, 504],
                      "backoff": {"base": 0.001}, "budget": {"floor": 1000}}}}]}
        with Gateway(running, workers=2) as gateway:
            statuses = []
            for number in range(120):
                with RawClient(gateway.port) as client:
                    statuses.append(client.request("POST", f"/{number}", b"x").status)
        received = one.received + two.received
        for number in range(120):
            assert received.count(b"POST /%d HTTP" % number) == 1, number
    assert statuses.count(200) == 30 and statuses.count(502) == 90
