"""What happens to a request that a plugin holds: clients that leave, reloads, pipelines, ends."""

import socket
from types import SimpleNamespace

import pytest
from hyperframe.frame import WindowUpdateFrame

from support.gateway import Gateway, route
from support.http2 import Http2Client, request as http2_request
from support.raw import RawClient

SHORT = {"fault-injection": {"delay": {"duration": 0.5}}}
LONG = {"fault-injection": {"delay": {"duration": 3600}}}
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def limit_req(rate):
    """Holds what comes behind a first request."""
    return {"limit-req": {"rate": rate, "burst": 1000, "key": "remote_addr"}}


def mocking(delay):
    return {"mocking": {"delay": delay, "response_example": "ok", "content_type": "text/plain"}}


# What delays requests for half a second, and for an hour or so.
SHORTS = {"fault-injection": SHORT, "limit-req": limit_req(2), "mocking": mocking(0.5)}
LONGS = {"fault-injection": LONG, "limit-req": limit_req(0.0005), "mocking": mocking(3600)}


def config(origin, plugins, **fields):
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}],
                        "timeouts": {"shutdown": "1s"}},
            "routes": [route(origin.port, plugins=plugins, **fields)]}


@pytest.fixture(params=LONGS)
def held(origin, request):
    """A gateway that holds every request."""
    with Gateway(config(origin, LONGS[request.param])) as gateway:
        if request.param == "limit-req":
            with RawClient(gateway.port) as client:
                assert client.get().status == 200
            gateway.wait_for_access(1)
            origin.requests.clear()
        yield gateway


def test_clients_that_leave_are_forgotten(origin, held):
    before = len(held.access_log())
    for _ in range(20):
        with RawClient(held.port) as client:
            client.send(POST)
            client.reset()
    with Http2Client(held.port) as client:
        for _ in range(20):
            client.start()
        client.ping()
    with Http2Client(held.port) as client:
        stream = client.start()
        client.ping()
        client.reset(stream)
        client.ping()
    records = held.wait_for_access(before + 21)[before:]
    assert {record["reason"] for record in records} == {"client_closed"}
    assert not origin.requests


@pytest.mark.parametrize("plugin", SHORTS)
def test_a_reload_does_not_disturb_a_held_request(origin, plugin):
    with Gateway(config(origin, SHORTS[plugin])) as gateway, RawClient(gateway.port) as client, \
            RawClient(gateway.port) as leaver:
        if plugin == "limit-req":
            assert client.get().status == 200
            origin.requests.clear()
        client.send(POST)
        leaver.send(POST)
        for _ in range(3):
            assert gateway.reload(config(origin, {})).returncode == 0
            assert gateway.reload(config(origin, LONGS[plugin])).returncode == 0
        leaver.reset()
        assert client.read_response().status == 200
    if plugin != "mocking":
        assert [request.body for request in origin.requests] == [b"hello"] * len(origin.requests)
        assert 1 <= len(origin.requests) <= 2  # perhaps the leaver's too


@pytest.mark.parametrize("plugin", ["fault-injection", "limit-req"])
def test_requests_behind_a_held_one_wait_for_it(origin, plugin):
    with Gateway(config(origin, SHORTS[plugin])) as gateway, RawClient(gateway.port) as client:
        client.send(POST + b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n" + POST)
        assert [client.read_response().status for _ in range(3)] == [200, 200, 200]
    assert [(request.method, request.target, request.body) for request in origin.requests] == [
        ("POST", "/x", b"hello"), ("GET", "/y", b""), ("POST", "/x", b"hello")]


def test_a_body_that_comes_while_the_request_is_held_is_complete(origin):
    body = bytes(range(256)) * 4096
    with Gateway(config(origin, SHORT)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.send(body)
            assert client.read_response().status == 200
        with Http2Client(gateway.port) as client:
            stream = client.start(http2_request("POST"), end=False)
            for begin in range(0, 60000, 10000):
                client.data(stream, body[begin:begin + 10000])
            client.data(stream, b"", end=True)
            assert client.finish(stream).status == 200
    assert [request.body for request in origin.requests] == [body, body[:60000]]


def test_an_end_at_once_ends_held_requests(held):
    with Http2Client(held.port) as client:
        client.start()
        client.ping()  # it has come
        assert held.run("-s", "stop").returncode == 0
        client.wait_for_end()
    held.process.wait(timeout=30)
    held.process = None


def test_a_body_that_was_held_waits_on_for_a_connection():
    """Behind a suspension the client is read no faster than the upstream takes what it sends."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())  # fills its queue: further ones wait
        second.setblocking(False)
        second.connect_ex(deaf.getsockname())
        limits = {"timeout": {"connect": 2, "send": 2, "read": 2}}
        settings = config(SimpleNamespace(port=deaf.getsockname()[1]), SHORT, upstream=limits)
        with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
            stream = client.start(http2_request("POST"), end=False)
            response, sent, window = client.response(stream), 0, 128 * 1024
            while response.status is None and sent < 1 << 20:
                while window:
                    piece = min(window, 16384)
                    client.data(stream, bytes(piece))
                    sent, window = sent + piece, window - piece
                frame = client.read()
                if isinstance(frame, WindowUpdateFrame) and frame.stream_id == stream:
                    window += frame.window_increment
            assert (response.status, sent) == (504, 128 * 1024)
