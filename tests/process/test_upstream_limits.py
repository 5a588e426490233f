"""Limits of an upstream: exact on the whole host, with and without a queue."""
# ctest: timeout=180

import os
import signal
import threading

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from support.gateway import Gateway, upstream, wait_for
from support.h2_origin import H2Origin
from support.origin import OK, Origin
from support.raw import RawClient
from support.sockets import client_ports

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LATE = {"pending": 1000, "pending_timeout": 3600}


def config(*origins, **limits):
    return {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(
        *(origin.port for origin in origins), retries=0, limits=limits)}]}


class Counted:
    """A script that counts the requests that are in it at one time. Held ones wait for `release`."""

    def __init__(self, held=True):
        self.now = self.most = self.all = 0
        self.lock = threading.Condition()
        self.held = held

    def __call__(self, connection):
        while True:
            connection.read_request()
            with self.lock:
                self.now += 1
                self.all += 1
                self.most = max(self.most, self.now)
                assert self.lock.wait_for(lambda: not self.held, 60)
                self.now -= 1
            connection.send(OK)

    def release(self):
        with self.lock:
            self.held = False
            self.lock.notify_all()


def start(gateway, count):
    return [RawClient(gateway.port).send(GET) for _ in range(count)]


def is_overflow(response):
    if response.status != 503:
        return False
    assert response.json()["reason"] == "upstream_overflow"
    assert int(response.value("Retry-After")) >= 1
    return True


def statuses(clients):
    answers = [client.read_response() for client in clients]
    assert all(answer.status == 200 or is_overflow(answer) for answer in answers)
    return [answer.status for answer in answers]


@pytest.mark.parametrize("what", ["requests", "connections"])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_limit_is_exact_and_the_rest_is_refused(what, workers):
    script = Counted()
    with Origin(script) as origin, Gateway(config(origin, **{what: 3}), workers=workers) as gateway:
        clients = start(gateway, 40)
        gateway.wait_for_access(37)
        assert script.now == 3
        script.release()
        assert statuses(clients).count(200) == 3
        for _ in range(5):  # the places are free again, whatever worker asks
            with RawClient(gateway.port) as client:
                wait_for(lambda: client.get().status == 200, "a place")
        assert script.most == 3


@pytest.mark.parametrize("what", ["requests", "connections"])
@pytest.mark.parametrize("workers", [1, 2])
def test_who_may_wait_is_served_in_the_end(what, workers):
    script = Counted(held=False)
    with Origin(script) as origin, Gateway(config(origin, **{what: 2}, **LATE), workers=workers) as gateway:
        clients = start(gateway, 60)
        assert statuses(clients) == [200] * 60
    assert script.all == 60 and script.most <= 2


def test_each_worker_has_its_share_while_others_have_more():
    """One place, and both workers always have somebody who waits: none is forgotten."""
    script = Counted(held=False)
    with Origin(script) as origin, Gateway(config(origin, requests=1, **LATE), workers=2) as gateway:
        clients = [RawClient(gateway.port) for _ in range(24)]
        for _ in range(5):
            for client in clients:
                client.send(GET)
            assert statuses(clients) == [200] * 24
    assert script.most == 1


def test_only_so_many_wait():
    script = Counted()
    with Origin(script) as origin:
        with Gateway(config(origin, requests=1, pending=4, pending_timeout=3600), workers=2) as gateway:
            clients = start(gateway, 20)
            gateway.wait_for_access(15)
            script.release()
            assert statuses(clients).count(200) == 5
    assert script.most == 1


def test_nobody_waits_for_ever():
    script = Counted()
    with Origin(script) as origin:
        with Gateway(config(origin, requests=1, pending=10, pending_timeout=0.2)) as gateway:
            (first,) = start(gateway, 1)
            origin_has_it = wait_for(lambda: script.now == 1, "the first request")
            assert origin_has_it and statuses(start(gateway, 3)) == [503] * 3
            script.release()
            assert first.read_response().status == 200


def test_clients_that_leave_while_they_wait_leave_the_queue():
    script = Counted()
    with Origin(script) as origin:
        with Gateway(config(origin, requests=1, pending=2, pending_timeout=3600)) as gateway:
            (first,) = start(gateway, 1)
            wait_for(lambda: script.now == 1, "the first request")
            for client in start(gateway, 2):
                client.reset()
            assert {record["status"] for record in gateway.wait_for_access(2)} == {499}
            waiting = start(gateway, 2)  # the queue has room for both
            script.release()
            assert statuses([first, *waiting]) == [200] * 3
    assert script.all == 3


def test_a_client_that_leaves_frees_its_place():
    script = Counted()
    with Origin(script) as origin, Gateway(config(origin, requests=1, **LATE)) as gateway:
        (first,) = start(gateway, 1)
        wait_for(lambda: script.now == 1, "the first request")
        (second,) = start(gateway, 1)
        first.reset()
        wait_for(lambda: script.all == 2, "the one that waited")
        script.release()
        assert second.read_response().status == 200


def test_first_come_first_served():
    script = Counted()
    with Origin(script) as origin, Gateway(config(origin, requests=1, **LATE)) as gateway:
        clients = []
        for number in range(5):
            client = RawClient(gateway.port).send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            # A refused path of the same client would be later than it: one after the other is enough.
            clients.append(client)
            with RawClient(gateway.port) as other:
                assert other.request("TRACE").status == 405
        wait_for(lambda: script.now == 1, "the first request")
        script.release()
        assert statuses(clients) == [200] * 5
    assert [request.target for request in origin.requests] == [f"/{number}" for number in range(5)]


def test_kept_connections_are_used_and_given_up_for_another_node():
    """Two connections for three nodes: what is idle makes room."""
    scripts = [Counted(held=False) for _ in range(3)]
    with Origin(scripts[0]) as one, Origin(scripts[1]) as two, Origin(scripts[2]) as three:
        with Gateway(config(one, two, three, connections=2)) as gateway, RawClient(gateway.port) as client:
            for _ in range(12):
                assert client.get().status == 200
    assert [script.all for script in scripts] == [4, 4, 4]


def test_one_node_needs_no_more_than_its_connections(origin):
    with Gateway(config(origin, connections=2, **LATE)) as gateway:
        assert statuses(start(gateway, 40)) == [200] * 40
    assert len(origin.connections) <= 2


def test_a_dead_worker_gives_its_places_back():
    script = Counted()
    with Origin(script) as origin, Gateway(config(origin, requests=1)) as gateway:
        start(gateway, 1)
        wait_for(lambda: script.now == 1, "the first request")
        with RawClient(gateway.port) as client:
            assert is_overflow(client.get())
        gateway.may_lose_workers = True
        (victim,) = gateway.worker_pids()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: gateway.worker_pids() not in ([], [victim]), "a new worker")
        script.release()
        with RawClient(gateway.port) as client:
            assert client.get().status == 200


def test_a_reload_without_limits_lets_all_go_on():
    script = Counted()
    with Origin(script) as origin:
        running = config(origin, requests=1, **LATE)
        with Gateway(running) as gateway:
            clients = start(gateway, 5)
            wait_for(lambda: script.now == 1, "the first request")
            del running["routes"][0]["upstream"]["limits"]
            assert gateway.reload(running).returncode == 0
            wait_for(lambda: script.now == 5, "those that waited")
            script.release()
            assert statuses(clients) == [200] * 5


def test_a_request_body_waits_with_its_request():
    script = Counted()
    with Origin(script) as origin, Gateway(config(origin, requests=1, **LATE)) as gateway:
        (first,) = start(gateway, 1)
        wait_for(lambda: script.now == 1, "the first request")
        body = b"x" * 3_000_000
        with RawClient(gateway.port) as client:
            sender = threading.Thread(target=client.send, args=(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + body,))
            sender.start()
            script.release()
            assert client.read_response().status == 200
            sender.join()
        assert first.read_response().status == 200
    assert origin.requests[-1].body == body


@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("size", [64 * 1024 + 1, 100_000, 1_000_000])
def test_the_end_of_a_body_that_waits_is_not_lost(protocol, size):
    """Of the first size the last byte fills the buffer and makes the gateway stop reading."""
    script = Counted()
    ends = []

    def hold(connection, stream):
        ends.append(len(connection.bodies[stream]))
        if len(ends) > 1:
            connection.respond(stream, 200, b"ok")

    h1, h2 = Origin(script), H2Origin(on_end=hold)
    with h1, h2:
        node = h1 if protocol == "http1" else h2
        running = config(node, requests=1, **LATE)
        running["routes"][0]["upstream"] |= {"scheme": "http" if protocol == "http1" else "h2c",
                                             "timeout": {"connect": 5, "send": 5, "read": 0.5}}
        with Gateway(running) as gateway:
            (first,) = start(gateway, 1)
            wait_for(lambda: script.now or ends, "the first request")
            with RawClient(gateway.port) as client:
                upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
                sender = threading.Thread(target=client.send, args=(upload,))
                sender.start()
                # Silent nodes: the first request ends by its read timeout, and so must the second at HTTP/1.
                assert first.read_response().status == 504
                assert client.read_response().status == (504 if protocol == "http1" else 200)
                sender.join()
                script.release()
    assert protocol == "http1" or ends == [0, size]


# Connections of HTTP/2, which carry many requests


GOAWAY_AFTER_3 = b"\0\0\x08\x07\0" + bytes(4) + (3).to_bytes(4, "big") + bytes(4)


class HeldAnswers:
    """An HTTP/2 origin's answers, which wait for `release`; two streams a connection."""

    STREAMS = 2

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []
        self.held = True
        self.seen = self.refused = self.busy = self.most_busy = 0

    def __call__(self, connection, stream, headers):
        with self.lock:
            if sum(1 for each, _ in self.waiting if each is connection) == self.STREAMS:
                self.refused += 1
                return connection.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            self.seen += 1
            if self.held:
                return self.waiting.append((connection, stream))
            self.busy += 1  # a connection hands over one stream at a time
            self.most_busy = max(self.most_busy, self.busy)
        threading.Event().wait(0.002)  # so long is somebody there
        with self.lock:
            self.busy -= 1
        connection.respond(stream, body=b"ok")

    def release(self):
        with self.lock:
            self.held = False
            waiting, self.waiting = self.waiting, []
        for connection, stream in waiting:
            connection.respond(stream, body=b"ok")


def config_h2(*origins, scheme="h2c", **limits):
    found = config(*origins, **limits)
    found["routes"][0]["upstream"]["scheme"] = scheme
    return found


def few_streams(answers):
    return H2Origin(answers, settings={SettingCodes.MAX_CONCURRENT_STREAMS: answers.STREAMS}, lenient=True)


def start_held(gateway, answers, count, seen):
    """A burst, until the origin has so many of it."""
    clients = start(gateway, count)
    wait_for(lambda: answers.seen == seen, "the requests")
    with RawClient(gateway.port) as client:  # all others have been read as well
        assert client.request("TRACE").status == 405
    return clients


@pytest.mark.parametrize("workers", [1, 2])
def test_http2_connections_are_limited(workers):
    answers = HeldAnswers()
    with few_streams(answers) as origin:
        with Gateway(config_h2(origin, connections=2, **LATE), workers=workers) as gateway:
            clients = start_held(gateway, answers, 30, 4)
            assert answers.seen == 4 and len(origin.connections) == 2
            answers.release()
            assert statuses(clients) == [200] * 30
            with RawClient(gateway.port) as client:
                assert client.get().status == 200
    assert answers.most_busy <= 2 and answers.refused == 0


def test_http2_bursts_of_two_workers_have_one_connection_at_a_time():
    """Both always have requests that wait, and take the only connection from each other."""
    answers = HeldAnswers()
    answers.release()
    with few_streams(answers) as origin:
        with Gateway(config_h2(origin, connections=1, **LATE), workers=2) as gateway:
            clients = [RawClient(gateway.port) for _ in range(24)]
            wait_for(lambda: all(client_ports(pid, gateway.port) for pid in gateway.worker_pids()), "both to have some")
            for _ in range(5):
                for client in clients:
                    client.send(GET)
                assert statuses(clients) == [200] * 24
    assert answers.most_busy == 1 and answers.refused == 0
    assert len(origin.connections) > 1, "each had it"


def test_who_may_not_wait_for_a_stream_is_refused():
    answers = HeldAnswers()
    with few_streams(answers) as origin, Gateway(config_h2(origin, connections=1)) as gateway:
        clients = start_held(gateway, answers, 2, 2)
        with RawClient(gateway.port) as client:
            assert is_overflow(client.get())
        answers.release()
        assert statuses(clients) == [200] * 2


def test_an_idle_http2_connection_makes_room_for_another_node():
    answers = [HeldAnswers(), HeldAnswers()]
    for each in answers:
        each.release()
    with few_streams(answers[0]) as one, few_streams(answers[1]) as two:
        with Gateway(config_h2(one, two, connections=1)) as gateway, RawClient(gateway.port) as client:
            for _ in range(8):
                assert client.get().status == 200
    assert [each.seen for each in answers] == [4, 4]


def test_who_waits_for_a_stream_of_a_connection_that_ends_gets_another():
    """GOAWAY after two requests of a burst: the rest goes by the connection that takes its place."""
    answers = HeldAnswers()
    with few_streams(answers) as origin:
        with Gateway(config_h2(origin, connections=1, **LATE)) as gateway:
            clients = start_held(gateway, answers, 2, 2)
            clients += start(gateway, 10)
            connection = origin.connections[0]
            with connection.sending:  # a frame that the library does not send without ending all
                connection.sock.sendall(GOAWAY_AFTER_3)
            answers.release()
            assert statuses(clients) == [200] * 12
    assert len(origin.connections) > 1
