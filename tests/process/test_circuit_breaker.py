"""The circuit breaker of an upstream and of its nodes: one for the host, whatever worker looks."""
# ctest: timeout=180

import os
import signal
import threading

from support.gateway import Gateway, wait_for
from support.http2 import Http2Client, request
from support.origin import OK, Origin, serve
from support.raw import RawClient

FAILED = b"HTTP/1.1 500 Failed\r\nContent-Length: 6\r\n\r\nfailed"
FOREVER = {"open_time": 3600, "max_open_time": 3600}
SOON = {"open_time": 0.2, "max_open_time": 0.2, "ramp": 0}


def config(*origins, **breaker):
    nodes = {f"127.0.0.1:{origin.port}": 1 for origin in origins}
    fields = {"failure_percentage": 0, "consecutive_failures": 5, **breaker}
    return {"routes": [{"id": "r", "uri": "/*", "upstream": {
        "type": "roundrobin", "nodes": nodes, "retries": 0, "circuit_breaker": fields}}]}


def ask(gateway, count=1, **fields):
    """Each on a connection of its own, so that all workers are asked."""
    answers = []
    for _ in range(count):
        with RawClient(gateway.port) as client:
            answers.append(client.request("GET", "/", **fields))
    return answers


def is_open(response):
    if response.status != 503:
        return False
    assert response.json()["reason"] == "circuit_open"
    assert int(response.value("Retry-After")) >= 1
    return True


def count_of(gateway, text):
    return sum(1 for line in gateway.log.splitlines() if f" {text} " in line)


class Switch:
    """A script that answers as it is told at that moment."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, connection):
        while True:
            connection.read_request()
            answer = self.answer
            connection.send(answer() if callable(answer) else answer)


class Held:
    """An answer that waits for `released`, and counts who waits for it."""

    def __init__(self, answer=OK):
        self.answer, self.waiting = answer, 0
        self.lock, self.released = threading.Lock(), threading.Event()

    def __call__(self):
        with self.lock:
            self.waiting += 1
        assert self.released.wait(60)
        return self.answer


def test_it_opens_for_all_workers_and_no_request_passes():
    with Origin(serve(FAILED)) as origin:
        with Gateway(config(origin, **FOREVER), workers=2) as gateway:
            assert [answer.status for answer in ask(gateway, 5)] == [500] * 5
            refused = ask(gateway, 30)
            assert all(is_open(answer) for answer in refused)
            assert int(refused[0].value("Retry-After")) > 3000
            records = gateway.wait_for_access(35)
            assert len(origin.requests) == 5
            assert count_of(gateway, "circuit opened") == 1
    assert records[-1]["reason"] == "circuit_open" and records[-1]["attempts"] == 0


def test_a_grpc_client_is_told_unavailable():
    with Origin(serve(FAILED)) as origin:
        running = config(origin, **FOREVER)
        running["gateway"] = {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]}
        with Gateway(running) as gateway:
            ask(gateway, 5)
            with Http2Client(gateway.port) as client:
                response = client.finish(client.start(request("POST", extra=[("content-type", "application/grpc")])))
    assert (response.status, response.value("grpc-status")) == (200, "14")
    assert response.value("grpc-message") == "circuit_open"


def test_probes_are_bounded_then_it_closes():
    switch, held = Switch(FAILED), Held()
    with Origin(switch) as origin:
        with Gateway(config(origin, probes=2, **SOON), workers=2) as gateway:
            ask(gateway, 5)
            switch.answer = held
            clients = []

            def probe():
                clients.append(RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
                return held.waiting >= 2
            wait_for(probe, "two probes")
            for _ in range(20):
                clients.append(RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
            gateway.wait_for_access(5 + len(clients) - 2)  # all others were refused
            assert held.waiting == 2
            held.released.set()
            statuses = [client.read_response().status for client in clients]
            assert statuses.count(200) == 2 and statuses.count(503) == len(clients) - 2
            assert [answer.status for answer in ask(gateway, 20)] == [200] * 20
            assert count_of(gateway, "circuit opened") == count_of(gateway, "circuit closed") == 1


def test_a_probe_that_fails_opens_it_again():
    with Origin(serve(FAILED)) as origin, Gateway(config(origin, **SOON)) as gateway:
        ask(gateway, 5)
        assert is_open(ask(gateway)[0])
        wait_for(lambda: ask(gateway)[0].status == 500, "a probe")
        assert is_open(ask(gateway)[0])
        assert count_of(gateway, "circuit opened again") == 1
        assert len(origin.requests) == 6


def test_a_probe_whose_client_leaves_is_given_back():
    switch, held = Switch(FAILED), Held()
    with Origin(switch) as origin, Gateway(config(origin, probes=1, probe_limit=3600, **SOON)) as gateway:
        ask(gateway, 5)
        switch.answer = held

        def probe():
            client = RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            done = len(gateway.access_log())
            wait_for(lambda: held.waiting or len(gateway.access_log()) > done, "a probe or a refusal")
            return held.waiting and client
        client = wait_for(probe, "a probe")
        assert is_open(ask(gateway)[0])
        client.reset()
        switch.answer = OK
        wait_for(lambda: ask(gateway)[0].status == 200, "the next probe")
        held.released.set()
        assert ask(gateway)[0].status == 200


def test_clients_that_leave_and_mistakes_of_theirs_do_not_count():
    switch = Switch(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    with Origin(switch) as origin, Gateway(config(origin, consecutive_failures=2, **FOREVER)) as gateway:
        assert [answer.status for answer in ask(gateway, 10)] == [404] * 10
        switch.answer = held = Held()
        clients = [RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(5)]
        wait_for(lambda: held.waiting == 5, "five requests")
        for client in clients:
            client.reset()
        gateway.wait_for_access(15)
        switch.answer = OK
        held.released.set()
        assert ask(gateway)[0].status == 200


def test_failures_to_answer_count():
    def script(connection):
        connection.read_head()
        connection.reset()
    with Origin(script) as origin, Gateway(config(origin, consecutive_failures=3, **FOREVER)) as gateway:
        assert [answer.status for answer in ask(gateway, 5)] == [502] * 3 + [503] * 2
    assert len(origin.connections) == 3


def test_429_counts_if_wanted():
    with Origin(serve(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n")) as origin:
        with Gateway(config(origin, count_429=True, **FOREVER)) as gateway:
            assert [answer.status for answer in ask(gateway, 7)] == [429] * 5 + [503] * 2


def test_the_share_of_failures_opens_it():
    switch = Switch(FAILED)
    breaker = {"consecutive_failures": 0, "failure_percentage": 50, "minimum_requests": 10, **FOREVER}
    with Origin(switch) as origin, Gateway(config(origin, **breaker)) as gateway:
        assert [answer.status for answer in ask(gateway, 5)] == [500] * 5
        switch.answer = OK
        assert [answer.status for answer in ask(gateway, 4)] == [200] * 4
        switch.answer = FAILED
        assert ask(gateway)[0].status == 500  # the tenth
        assert is_open(ask(gateway)[0])


def test_a_node_that_fails_is_left_out():
    with Origin(serve(FAILED)) as bad, Origin() as good:
        with Gateway(config(bad, good, scope="endpoint", **FOREVER), workers=2) as gateway:
            statuses = [answer.status for answer in ask(gateway, 60)]
            assert statuses.count(500) == len(bad.requests) == 5
            assert statuses.count(200) == len(good.requests) == 55
            good.script = None
            assert "circuit opened" in gateway.log and f"node=127.0.0.1:{bad.port}" in gateway.log


def test_all_nodes_open_is_an_open_circuit():
    with Origin(serve(FAILED)) as one, Origin(serve(FAILED)) as two:
        with Gateway(config(one, two, scope="endpoint", **FOREVER)) as gateway:
            assert [answer.status for answer in ask(gateway, 10)] == [500] * 10
            assert all(is_open(answer) for answer in ask(gateway, 5))
    assert len(one.requests) == len(two.requests) == 5


def test_a_node_comes_back():
    switch = Switch(FAILED)
    with Origin(switch) as flapping, Origin() as good:
        with Gateway(config(flapping, good, scope="both", **SOON)) as gateway:
            wait_for(lambda: ask(gateway) and count_of(gateway, "circuit opened"), "the breaker to open")
            switch.answer = OK
            before = len(flapping.requests)
            wait_for(lambda: ask(gateway)[0].status == 200 and len(flapping.requests) >= before + 10,
                     "the node to be used again")
            assert count_of(gateway, "circuit closed") >= 1


def test_a_node_that_turns_slow_leaves_other_traffic_alone():
    """As soon as the window says so it gets nothing more, and nobody waits for it."""
    switch, held = Switch(OK), Held()

    def slow():
        threading.Event().wait(0.3)  # the subject
        return OK
    breaker = {"consecutive_failures": 0, "slow_percentage": 50, "slow_call": 0.2, "minimum_requests": 5, **FOREVER}
    with Origin(switch) as node, Origin() as other:
        with Gateway(config(node, other, scope="endpoint", **breaker), workers=2) as gateway:
            assert [answer.status for answer in ask(gateway, 4)] == [200] * 4
            switch.answer = slow
            wait_for(lambda: ask(gateway) and count_of(gateway, "circuit opened"), "the breaker to open")
            switch.answer = held  # who went there now would wait for ever
            before = len(node.requests)
            assert [answer.status for answer in ask(gateway, 50)] == [200] * 50
            assert len(node.requests) == before
            held.released.set()


def test_reload_and_death_of_a_worker_change_nothing():
    with Origin(serve(FAILED)) as origin:
        running = config(origin, **FOREVER)
        with Gateway(running) as gateway:
            ask(gateway, 5)
            running["routes"][0]["name"] = "changed"
            assert gateway.reload(running).returncode == 0
            assert is_open(ask(gateway)[0])
            gateway.may_lose_workers = True
            (victim,) = gateway.worker_pids()
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: gateway.worker_pids() not in ([], [victim]), "a new worker")
            assert is_open(ask(gateway)[0])
    assert len(origin.requests) == 5


def test_a_reload_without_it_lets_requests_through():
    with Origin(serve(FAILED)) as origin:
        running = config(origin, **FOREVER)
        with Gateway(running) as gateway:
            ask(gateway, 5)
            del running["routes"][0]["upstream"]["circuit_breaker"]
            assert gateway.reload(running).returncode == 0
            assert ask(gateway)[0].status == 500
