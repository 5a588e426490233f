"""Clients of HTTP/1 that ask for much at one time, and those that do not take what they asked for."""

import os
import signal
import socket
import threading

import pytest

from support.gateway import Gateway, route, rss_bytes, wait_for
from support.origin import OK, Origin
from support.raw import RawClient

NOWHERE = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"  # is answered at once: 404
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
# Memory that is free counts as free.
LEAN = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


def config(origin=None, **process):
    routes = [] if origin is None else [route(origin.port, uri="/")]
    return {"gateway": process, "routes": routes}


@pytest.mark.parametrize("early", [b"\r", b"\r\n", b"\r\n\r\n\r\n\r", b"\r\n\r\n\r\n\r\n"])
def test_empty_lines_of_one_client_are_not_anothers(early):
    with Gateway(config()) as gateway:
        with RawClient(gateway.port) as odd, RawClient(gateway.port) as other:
            odd.send(early)
            for _ in range(3):  # also when it gets what the odd one has used
                assert other.send(b"\r\n" + NOWHERE).read_response().status == 404
            odd.send((b"\r\n" * 4)[len(early):] + NOWHERE)
            assert odd.read_response().status == 404


@pytest.mark.parametrize("count", [1, 15, 16, 17, 200])
def test_a_client_that_resets_behind_its_pipeline_harms_nobody(count):
    with Gateway(config()) as gateway:
        (worker,) = gateway.worker_pids()
        with RawClient(gateway.port) as client:
            assert client.send(NOWHERE).read_response().status == 404
            os.kill(worker, signal.SIGSTOP)
            client.send(NOWHERE * count)
            client.reset()
            os.kill(worker, signal.SIGCONT)
        with RawClient(gateway.port) as other:
            assert other.send(NOWHERE).read_response().status == 404


def push(client, data):
    """Sends until the other side takes no more; how much it took."""
    client.socket.setblocking(False)
    sent = idle = 0
    while sent < len(data) and idle < 50:  # half a second without a byte
        try:
            sent += client.socket.send(data[sent:sent + (1 << 20)])
            idle = 0
        except BlockingIOError:
            idle += 1
            threading.Event().wait(0.01)
    client.socket.settimeout(60)
    return sent


@pytest.mark.parametrize("half_closes", [False, True])
def test_who_takes_no_answers_cannot_ask_for_ever_more(half_closes):
    with Gateway(config(), env=LEAN) as gateway:
        (worker,) = gateway.worker_pids()
        with RawClient(gateway.port, receive_buffer=4096) as client:
            client.send(NOWHERE).read_response()
            before = rss_bytes(worker)
            count = 5000 if half_closes else 500_000
            requests = NOWHERE * count
            sent = push(client, requests)
            assert (sent < len(requests)) != half_closes
            assert rss_bytes(worker) - before < 16 << 20
            if half_closes:
                client.finish_sending()
            else:
                sending = threading.Thread(target=client.send_leniently, args=(requests[sent:],))
                sending.start()
            for _ in range(count if half_closes else 20_000):
                assert client.read_response().status == 404
            if half_closes:
                client.expect_close()
            else:
                client.socket.shutdown(socket.SHUT_RDWR)
                sending.join()


def test_sending_more_does_not_prolong_the_time_to_take_an_answer():
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)

    def script(connection):
        connection.read_request()
        connection.send(big)

    with Origin(script) as origin:
        with Gateway(config(origin, timeouts={"send": "500ms"})) as gateway:
            with RawClient(gateway.port, receive_buffer=4096) as client:
                client.send(GET)

                def ended():
                    client.send_leniently(b"G")  # a byte of the next request now and then
                    return gateway.access_log()
                (record,) = wait_for(ended, "the client's connection to be closed")
            assert record["reason"] == "client_send_timeout"


def late_origin(answered):
    def script(connection):
        while True:
            request = connection.read_request()
            if request.method == "GET":
                answered.wait(60)
            connection.send(OK)
    return Origin(script)


@pytest.mark.parametrize("size", [1000, 60_000, 300_000, 3_000_000])
def test_a_body_that_comes_before_the_answer_to_the_request_before_it(size):
    answered = threading.Event()
    with late_origin(answered) as origin, Gateway(config(origin)) as gateway:
        with RawClient(gateway.port) as client:
            data = GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
            sending = threading.Thread(target=client.send, args=(data,))
            sending.start()
            with RawClient(gateway.port) as other:  # by then some of it has been read
                other.send(NOWHERE).read_response()
            answered.set()
            assert [client.read_response().status for _ in range(2)] == [200, 200]
            sending.join()
        assert [request.body for request in origin.requests] == [b"", bytes(size)]


def test_a_body_behind_an_answer_has_its_time_limit():
    answered = threading.Event()
    with late_origin(answered) as origin:
        with Gateway(config(origin, timeouts={"body": "300ms"})) as gateway:
            with RawClient(gateway.port) as client:
                client.send(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
                origin_has_it = lambda: origin.connections and origin.connections[0].received
                wait_for(origin_has_it, "the first request")
                answered.set()
                assert [client.read_response().status for _ in range(2)] == [200, 408]
                client.expect_close()


def test_nothing_of_a_held_request_that_fails_is_sent_with_the_next_one():
    first, second = (b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" for body in (b"first", b"second"))
    post = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Origin() as origin:
        routes = [{**route(uri="/held", plugins={"fault-injection": {"delay": {"duration": 0.3}}}), "id": "h"},
                  route(origin.port, uri="/")]
        routes[0]["upstream"]["nodes"] = {f"127.0.0.1:{origin.port}": 0}  # none to be tried
        with Gateway({"routes": routes}) as gateway, RawClient(gateway.port) as client:
            client.send(GET).read_response()  # a connection to the origin is there
            client.send(post % b"/held" + first + post % b"/" + second)
            assert [client.read_response().status for _ in range(2)] == [503, 200]
            assert client.send(GET).read_response().status == 200
        assert [request.body for request in origin.requests] == [b"", b"second", b""]
        assert len(origin.connections) == 1
