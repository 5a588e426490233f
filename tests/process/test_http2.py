"""HTTP/2 clients of the gateway: requests, bodies, trailers, flow control, timeouts, drain."""
# ctest: timeout=240

import base64
import hashlib
import json
import signal
import subprocess
import threading

import pytest
from hyperframe.frame import DataFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from support.gateway import Gateway, example, route, wait_for
from support.http2 import (
    CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, PREFACE, PROTOCOL_ERROR, Ended,
    Http2Client, request)
from support.origin import once, serve
from support.raw import RawClient

INITIAL_WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE


def config(*ports, listen=None, **process):
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True, **(listen or {})}],
                        **process},
            "routes": [route(*ports)]}


@pytest.fixture
def gateway(origin):
    with Gateway(config(origin.port)) as running:
        yield running


@pytest.fixture
def client(gateway):
    with Http2Client(gateway.port) as running:
        yield running


def reply(status=b"200 OK", fields=b"", body=b""):
    return b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, fields, body)


# --- messages -----------------------------------------------------------------------------------


def test_forwards_a_request(origin, gateway, client):
    response = client.get("/path?query=1", extra=[("user-agent", "t"), ("x-a", "1"), ("x-a", "2"),
                                                  ("te", "trailers"), ("cookie", "a=1"),
                                                  ("cookie", "b=2")])
    assert (response.status, response.body) == (200, b"ok")
    assert response.value("content-length") == "2"
    assert response.value("date")
    (sent,) = origin.requests
    assert (sent.method, sent.target, sent.version) == ("GET", "/path?query=1", "HTTP/1.1")
    assert sent.value("Host") == "a.test"
    assert sent.values("x-a") == ["1", "2"]
    assert sent.value("cookie") == "a=1; b=2"
    assert sent.framing == "none"
    assert not sent.values("te")
    assert sent.value("X-Forwarded-Host") == "a.test"
    (record,) = gateway.wait_for_access(1)
    assert "HTTP/2.0" in json.dumps(record)


def test_speaks_http1_on_the_same_port(origin, gateway):
    with RawClient(gateway.port) as http1, Http2Client(gateway.port) as http2:
        assert http1.get().status == 200
        assert http2.get().status == 200
        assert http1.get().status == 200


def test_takes_the_preface_byte_by_byte(origin, gateway):  # RFC 9113 3.4
    with Http2Client(gateway.port, start=False) as client:
        for byte in PREFACE + SettingsFrame().serialize():
            client.send_bytes(bytes([byte]))
        assert client.get().status == 200


def test_takes_http1_that_begins_like_the_preface(origin, gateway):
    with RawClient(gateway.port) as client:
        client.send(b"P")
        client.send(b"R")
        client.send(b"OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_response().status == 200


def test_refuses_http2_where_it_is_off(origin):
    with Gateway({"routes": [route(origin.port)]}) as gateway:
        with Http2Client(gateway.port, start=False) as client:
            client.send_bytes(PREFACE + SettingsFrame().serialize())
            assert client.socket.recv(100).startswith(b"HTTP/1.1 505")


def test_serves_many_streams_at_once(origin, gateway, client):
    streams = [client.start(request(path=f"/{i}")) for i in range(100)]
    assert all(client.finish(stream).status == 200 for stream in streams)
    assert sorted(r.target for r in origin.requests) == sorted(f"/{i}" for i in range(100))


@pytest.mark.parametrize("known", [True, False])
def test_forwards_a_request_body(origin, client, known):
    body = bytes(range(256)) * 2000
    extra = [("content-length", str(len(body)))] if known else []
    stream = client.start(request("POST", extra=extra), end=False)
    left = body
    window = {0: 65535 + 983041, stream: 131072}
    while left:
        piece = left[:min(16384, window[0], window[stream])]
        if not piece:
            frame = client.read()
            if isinstance(frame, WindowUpdateFrame):
                window[frame.stream_id] += frame.window_increment
            continue
        client.data(stream, piece)
        left = left[len(piece):]
        window[0] -= len(piece)
        window[stream] -= len(piece)
    client.data(stream, b"", end=True)
    assert client.finish(stream).status == 200
    (sent,) = origin.requests
    assert sent.body == body
    assert sent.framing == ("length" if known else "chunked")


def test_trailers_survive_in_both_directions(origin, client):  # RFC 9113 8.1
    origin.script = serve(reply(fields=b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
                                body=b"2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 5\r\n\r\n"))
    stream = client.start(request("POST"), end=False)
    client.data(stream, b"abc")
    client.trailers(stream, [("x-check", "3"), ("authorization", "no trailer")])
    response = client.finish(stream)
    assert response.body == b"ok"
    assert response.trailers == [("x-sum", "7")]
    assert not response.value("transfer-encoding")
    (sent,) = origin.requests
    assert sent.trailers == [("x-check", "3")]


@pytest.mark.parametrize("method, status, fields, length", [
    ("HEAD", b"200 OK", b"Content-Length: 5\r\n", "5"),
    ("HEAD", b"200 OK", b"Transfer-Encoding: chunked\r\n", None),
    ("GET", b"204 No Content", b"", None),
    ("GET", b"304 Not Modified", b"Content-Length: 5\r\n", "5"),
    ("GET", b"200 OK", b"Content-Length: 0\r\n", "0"),
])
def test_ends_responses_without_a_body_with_their_head(origin, client, method, status, fields,
                                                       length):
    origin.script = serve(reply(status, fields))
    response = client.finish(client.start(request(method)))
    assert response.status == int(status[:3])
    assert response.value("content-length") == length
    assert response.body == b""
    assert not [frame for frame in client.frames if isinstance(frame, DataFrame)]


def test_drops_fields_of_the_upstream_connection(origin, client):  # RFC 9113 8.2.2
    origin.script = serve(reply(fields=b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
                                       b"Upgrade: x\r\nContent-Length: 0\r\nX-Kept: 1\r\n"))
    response = client.get()
    names = [name for name, _ in response.headers]
    assert names == ["x-kept", "date", "content-length"]


def test_forwards_informational_responses(origin, client):
    origin.script = serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(
        fields=b"Content-Length: 0\r\n"))
    response = client.get()
    assert response.informational == [(103, [("link", "</a>")])]
    assert response.status == 200


def test_forwards_100_continue(origin, client):
    def script(connection):
        head = connection.read_head()
        assert head.value("Expect") == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_body(head)
        connection.send(reply(fields=b"Content-Length: 0\r\n"))
        connection.wait_for_close()
    origin.script = script
    stream = client.start(request("PUT", extra=[("expect", "100-continue")]), end=False)
    client.wait_for(lambda: client.response(stream).informational)
    client.data(stream, b"body", end=True)
    assert client.finish(stream).status == 200
    assert client.response(stream).informational == [(100, [])]


@pytest.mark.parametrize("path, status", [("/../..//%2f", 400), ("/none", 404)])
def test_answers_what_it_does_not_forward(origin, path, status):
    settings = config(origin.port)
    settings["routes"][0]["uri"] = "/known"
    with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
        response = client.get(path)
        assert response.status == status
        assert response.value("content-type") == "application/json"
        assert b"error_msg" in response.body
        assert not origin.requests


def test_refuses_connect(origin, client):  # RFC 9113 8.5
    stream = client.start([(":method", "CONNECT"), (":authority", "a.test:80")], end=False)
    assert client.finish(stream).status == 405
    assert not origin.connections


# --- WebSocket by extended CONNECT (RFC 8441) ---------------------------------------------------


def websocket(path="/chat"):
    return [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
            (":authority", "a.test"), (":path", path), ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "x")]


def switch(head, accept=None):
    """The 101 that opens the tunnel; `accept`: another answer to the key."""
    key = head.value("Sec-WebSocket-Key").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    if accept is None:
        accept = base64.b64encode(hashlib.sha1(key).digest())
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: x\r\n\r\n" % accept)


@pytest.fixture
def tunnels(origin):
    settings = config(origin.port)
    settings["routes"][0]["enable_websocket"] = True
    with Gateway(settings) as running, Http2Client(running.port) as client:
        assert client.settings[SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 1
        yield running, client


def test_a_websocket_goes_through(origin, tunnels):
    gateway, client = tunnels
    release = threading.Event()
    heads = []

    def script(connection):
        heads.append(connection.read_head())
        release.wait(20)
        connection.send(switch(heads[0]) + b"hello ")
        while connection._take(4) != b"done":
            connection.send(b"pong")
        connection.send(b"bye")
    origin.script = script
    stream = client.start(websocket(), end=False)
    client.data(stream, b"ping")  # before the tunnel is open
    client.ping()
    assert client.response(stream).status is None
    release.set()
    response = client.response(stream)
    client.wait_for(lambda: response.body == b"hello pong")
    assert response.status == 200
    assert [name for name, _ in response.headers] == ["sec-websocket-protocol"]
    client.data(stream, b"done", end=True)
    assert client.finish(stream).body == b"hello pongbye"
    (head,) = heads
    assert (head.method, head.target) == ("GET", "/chat")
    assert head.value("Upgrade") == "websocket"
    assert head.value("Connection").lower() == "upgrade"
    assert len(base64.b64decode(head.value("Sec-WebSocket-Key"), validate=True)) == 16
    assert head.value("sec-websocket-protocol") == "x"
    assert connection_is_left(client)
    (record, *_) = gateway.wait_for_access(1)
    assert record["status"] == 101


def connection_is_left(client):
    return client.ping() == b"12345678" and not client.goaways


def test_the_upstream_ends_a_websocket_first(origin, tunnels):
    _, client = tunnels

    def script(connection):
        connection.send(switch(connection.read_head()) + b"bye")
        connection.finish_sending()
        assert connection._take(5) == b"later"
    origin.script = script
    stream = client.start(websocket(), end=False)
    response = client.finish(stream)
    assert (response.body, response.reset) == (b"bye", None)
    client.data(stream, b"later", end=True)
    assert connection_is_left(client)
    assert response.reset is None


# As Node 18 leaves once it has read all.
def test_a_reset_behind_the_upstreams_end_is_an_end(origin, tunnels):
    gateway, client = tunnels

    def script(connection):
        connection.send(switch(connection.read_head()) + b"bye")
        connection.finish_sending()
        connection.wait_for_close()
    origin.script = script
    stream = client.start(websocket(), end=False)
    assert client.finish(stream).body == b"bye"
    client.reset(stream)
    (record,) = gateway.wait_for_access(1)
    assert (record["status"], record["reason"]) == (101, "ok")


def test_a_reset_ends_a_websocket(origin, tunnels):
    _, client = tunnels
    gone = threading.Event()

    def script(connection):
        connection.send(switch(connection.read_head()))
        connection.wait_for_close()
        gone.set()
    origin.script = script
    stream = client.start(websocket(), end=False)
    client.wait_for(lambda: client.response(stream).status == 200)
    client.reset(stream)
    assert gone.wait(20)


@pytest.mark.parametrize("answer, status", [
    (b"200 OK", 502),  # which would look like an open tunnel
    (b"403 Forbidden", 403)])
def test_an_answer_that_opens_no_tunnel(origin, tunnels, answer, status):
    _, client = tunnels
    origin.script = once(reply(answer, b"Content-Length: 2\r\n", b"no"))
    stream = client.start(websocket(), end=False)
    response = client.finish(stream)
    assert response.status == status
    client.wait_for(lambda: response.reset is not None)
    assert response.reset == NO_ERROR
    assert connection_is_left(client)


@pytest.mark.parametrize("end", ["idle", "shutdown"])
def test_a_websocket_that_the_gateway_ends_is_told_so(origin, end):  # RFC 6455 7.4.1
    settings = config(origin.port, timeouts={"shutdown": "500ms"})
    settings["routes"][0]["enable_websocket"] = True
    if end == "idle":
        settings["routes"][0]["upstream"]["timeout"] = {"connect": 5, "send": 5, "read": 0.5}

    def script(connection):
        connection.send(switch(connection.read_head()) + b"\x81\x02ab")
        connection.wait_for_close()
    origin.script = script
    with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
        stream = client.start(websocket(), end=False)
        response = client.response(stream)
        client.wait_for(lambda: response.body)
        if end == "shutdown":
            gateway.signal(signal.SIGTERM)
        assert client.finish(stream).body == b"\x81\x02ab\x88\x02\x03\xe9"
        assert response.reset is None
        if end == "idle":
            assert connection_is_left(client)
        else:
            assert client.wait_for_end().error_code == NO_ERROR
            assert gateway.process.wait(20) == 0
            gateway.process = None
        (record,) = gateway.wait_for_access(1)
        assert record["reason"] == {"idle": "tunnel_idle", "shutdown": "draining"}[end]


@pytest.mark.parametrize("accept", [b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"abc", b""])
def test_a_101_must_answer_the_key(origin, tunnels, accept):  # RFC 6455 4.1
    gateway, client = tunnels

    def script(connection):
        connection.send(switch(connection.read_head(), accept) + b"not for the client")
        connection.wait_for_close()
    origin.script = script
    stream = client.start(websocket(), end=False)
    response = client.finish(stream)
    assert response.status == 502
    assert b"not for the client" not in response.body
    (record,) = gateway.wait_for_access(1)
    assert (record["status"], record["reason"]) == (502, "invalid_response")
    wait_for(lambda: "Sec-WebSocket-Accept" in gateway.log, "the reason in the error log")


def test_a_key_of_the_client_is_not_passed_on(origin, tunnels):  # RFC 8441 5
    _, client = tunnels
    keys = []

    def script(connection):
        head = connection.read_head()
        keys.extend(head.values("Sec-WebSocket-Key"))
        connection.send(switch(head))
        connection.wait_for_close()
    origin.script = script
    fields = [*websocket(), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
    stream = client.start(fields, end=False)
    client.wait_for(lambda: client.response(stream).status is not None)
    assert client.response(stream).status == 200
    assert len(keys) == 1 and keys[0] != "dGhlIHNhbXBsZSBub25jZQ=="
    client.data(stream, b"", end=True)


def test_no_websocket_without_the_switch(origin, client):
    assert client.finish(client.start(websocket(), end=False)).status == 405
    assert not origin.connections


def test_no_other_protocol(origin, tunnels):
    _, client = tunnels
    fields = [(name, "other" if name == ":protocol" else value) for name, value in websocket()]
    assert client.finish(client.start(fields, end=False)).status == 405


# --- ends that come early -----------------------------------------------------------------------


def test_an_early_response_stops_the_body(origin, client):  # RFC 9113 8.1
    def script(connection):
        connection.read_head()
        connection.send(reply(b"403 Forbidden", b"Content-Length: 2\r\n", b"no"))
        connection.wait_for_close()
    origin.script = script
    stream = client.start(request("POST"), end=False)
    response = client.finish(stream)
    client.wait_for(lambda: response.reset is not None)
    assert (response.status, response.body, response.reset) == (403, b"no", NO_ERROR)
    origin.script = serve()
    assert client.get().status == 200


def test_a_reset_cancels_the_upstream_request(origin, gateway, client):
    gone = threading.Event()

    def script(connection):
        connection.read_request()
        connection.wait_for_close()
        gone.set()
    origin.script = script
    stream = client.start()
    origin.wait_for_requests(1)
    client.reset(stream)
    assert gone.wait(20)
    (record,) = gateway.wait_for_access(1)
    assert record["status"] == 499
    origin.script = serve()
    assert client.get().status == 200


def test_a_closed_connection_cancels_all_of_its_requests(origin, gateway):
    ended = []

    def script(connection):
        connection.read_request()
        connection.wait_for_close()
        ended.append(connection)
    origin.script = script
    with Http2Client(gateway.port) as client:
        for _ in range(5):
            client.start()
        origin.wait_for_requests(5)
    wait_for(lambda: len(ended) == 5, "all upstream connections to close")


@pytest.mark.parametrize("fields, body", [
    (b"Content-Length: 10\r\n", b"half"),
    (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n"),
])
def test_a_cut_response_is_reset(origin, client, fields, body):
    origin.script = once(reply(fields=fields, body=body), end="close")
    response = client.get()
    assert response.status == 200
    assert response.reset == INTERNAL_ERROR
    assert not response.ended


def test_an_upstream_failure_is_a_502_of_its_stream(origin, client):
    origin.script = once(b"garbage\r\n\r\n", end="close")
    assert client.get().status == 502
    origin.script = serve()
    assert client.get().status == 200


def test_a_body_that_is_too_large_is_refused(origin):
    with Gateway(config(origin.port, client_max_body_size=1000)) as gateway:
        with Http2Client(gateway.port) as client:
            known = client.start(request("POST", extra=[("content-length", "2000")]), end=False)
            assert client.finish(known).status == 413
            unknown = client.start(request("POST"), end=False)
            client.data(unknown, b"x" * 2000)
            assert client.finish(unknown).status == 413
            assert client.get().status == 200


# --- flow control -------------------------------------------------------------------------------


def big_reply(size):
    return reply(fields=b"Content-Length: %d\r\n" % size, body=bytes(size))


def test_keeps_to_the_clients_windows(origin, gateway):  # RFC 9113 6.9
    origin.script = serve(big_reply(1000))
    with Http2Client(gateway.port, settings={INITIAL_WINDOW: 100}) as client:
        client.auto_window = False
        stream = client.start()
        response = client.response(stream)
        client.wait_for(lambda: len(response.body) == 100)
        client.ping()
        assert len(response.body) == 100
        client.send(WindowUpdateFrame(stream, 200))
        client.wait_for(lambda: len(response.body) == 300)
        # RFC 9113 6.9.2: the change adjusts streams that are open
        client.send(SettingsFrame(settings={INITIAL_WINDOW: 200}))
        client.wait_for(lambda: len(response.body) == 400)
        client.send(SettingsFrame(settings={INITIAL_WINDOW: 0}))  # the window is -200
        client.send(WindowUpdateFrame(stream, 100))
        client.ping()
        assert len(response.body) == 400
        client.send(WindowUpdateFrame(stream, 1000))
        assert len(client.finish(stream).body) == 1000


def test_a_slow_stream_pauses_only_its_own_upstream(origin, gateway):
    size = 8 << 20
    sent = {}

    def script(connection):
        name = connection.read_request().target
        connection.send(reply(fields=b"Content-Length: %d\r\n" % size))
        for done in range(0, size, 1 << 16):
            connection.send(bytes(1 << 16))
            sent[name] = done
        connection.wait_for_close()
    origin.script = script
    with Http2Client(gateway.port, settings={INITIAL_WINDOW: 1000}, window=1 << 30) as client:
        client.auto_window = False
        slow = client.start(request(path="/slow"))
        client.wait_for(lambda: len(client.response(slow).body) == 1000)
        fast = client.start(request(path="/fast"))
        client.send(WindowUpdateFrame(fast, 1 << 30))
        assert len(client.finish(fast).body) == size
        assert len(client.response(slow).body) == 1000
        assert sent["/slow"] < size - (1 << 20), "the upstream of the slow stream was not paused"
        client.send(WindowUpdateFrame(slow, 1 << 30))
        assert len(client.finish(slow).body) == size


def test_an_upload_waits_for_its_upstream(origin, client):
    release = threading.Event()

    def script(connection):
        request_ = connection.read_head()
        release.wait(20)
        connection.read_body(request_, keep=False)
        connection.send(reply(fields=b"Content-Length: 0\r\n"))
        connection.wait_for_close()
    origin.script = script
    size = 12 << 20
    stream = client.start(request("POST", extra=[("content-length", str(size))]), end=False)
    windows = {0: 65535 + 983041, stream: 131072}
    left = size
    blocked = False
    while left > 0:
        count = min(16384, left, windows[0], windows[stream])
        if count > 0:
            client.data(stream, bytes(count), end=count == left)
            left -= count
            windows[0] -= count
            windows[stream] -= count
            continue
        if not blocked and left < size - (1 << 20):
            # Until the socket buffers of the origin are full the window goes on opening.
            client.ping()
            updates = [f for f in client.frames if isinstance(f, WindowUpdateFrame)]
            blocked = not updates
        if blocked:
            release.set()
        if not client.frames or not any(isinstance(f, WindowUpdateFrame) for f in client.frames):
            client.read()
        for frame in client.frames:
            if isinstance(frame, WindowUpdateFrame):
                windows[frame.stream_id] += frame.window_increment
        client.frames.clear()
    release.set()
    assert blocked, "the window was opened for 12 MiB that nobody had read"
    assert client.finish(stream).status == 200


# --- timeouts -----------------------------------------------------------------------------------

SHORT = {"header": "400ms", "body": "400ms", "send": "400ms", "keepalive": "400ms"}


def test_closes_an_idle_connection_with_goaway(origin):
    with Gateway(config(origin.port, timeouts=SHORT)) as gateway:
        with Http2Client(gateway.port) as client:
            assert client.get().status == 200
            goaway = client.wait_for_end()
            assert (goaway.error_code, goaway.last_stream_id) == (NO_ERROR, 1)


@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE,
                                  PREFACE + SettingsFrame().serialize() + b"\0\0\x10\x01\0\0\0\0\x01a"],
                         ids=["nothing", "half a preface", "no settings", "half a head"])
def test_closes_a_connection_that_does_not_begin(origin, sent):
    timeouts = {**SHORT, "keepalive": "60s"}
    with Gateway(config(origin.port, timeouts=timeouts)) as gateway:
        with Http2Client(gateway.port, start=False) as client:
            client.send_bytes(sent)
            client.wait_for_end()


def test_a_request_body_that_stops_is_answered_408(origin):
    timeouts = {**SHORT, "keepalive": "60s"}
    with Gateway(config(origin.port, timeouts=timeouts)) as gateway:
        with Http2Client(gateway.port) as client:
            stream = client.start(request("POST"), end=False)
            client.data(stream, b"abc")
            assert client.finish(stream).status == 408
            assert client.get().status == 200


def test_row85_a_dribbled_request_body_is_answered_408(origin):
    with Gateway(config(origin.port, limits={"min_body_rate": 1_000_000})) as gateway:
        with Http2Client(gateway.port) as client:
            stream = client.start(request("POST"), end=False)

            def answered():
                client.data(stream, b"x")
                client.ping()
                return client.response(stream).ended
            wait_for(answered, "the end of a body that grows by a byte for ever")
            assert client.response(stream).status == 408
            assert client.get().status == 200


def test_a_response_that_is_not_taken_is_given_up(origin):  # RFC 9113 10.5
    origin.script = serve(big_reply(1000))
    timeouts = {**SHORT, "keepalive": "60s"}
    with Gateway(config(origin.port, timeouts=timeouts)) as gateway:
        with Http2Client(gateway.port, settings={INITIAL_WINDOW: 0}) as client:
            stream = client.start()
            assert client.finish(stream).reset == CANCEL
            client.send(SettingsFrame(settings={INITIAL_WINDOW: 65535}))
            assert len(client.get().body) == 1000
            records = gateway.wait_for_access(2)
            assert [r["status"] for r in records] == [200, 200]


def test_sending_on_does_not_prolong_the_time_to_take_a_response(origin):
    def script(connection):
        connection.read_head()
        connection.send(big_reply(1_000_000))
        connection.wait_for_close()

    origin.script = script
    with Gateway(config(origin.port, timeouts={"send": "400ms"})) as gateway:
        with Http2Client(gateway.port, settings={INITIAL_WINDOW: 0}) as client:
            stream = client.start(request("POST"), end=False)
            response = client.response(stream)

            def given_up():
                client.data(stream, b"x")
                client.ping()
                return response.reset is not None
            wait_for(given_up, "the end of a response that nobody takes")
            assert response.reset == CANCEL and response.status == 200
            assert gateway.wait_for_access(1)[0]["reason"] == "client_send_timeout"


# --- drain and reload ---------------------------------------------------------------------------


def test_drains_in_two_steps(origin):  # RFC 9113 6.8
    release = threading.Event()

    def script(connection):
        while True:
            if connection.read_request().target == "/slow":
                release.wait(20)
            connection.send(reply(fields=b"Content-Length: 2\r\n", body=b"ok"))
    origin.script = script
    with Gateway(config(origin.port)) as gateway, Http2Client(gateway.port) as client:
        slow = client.start(request(path="/slow"))
        origin.wait_for_requests(1)
        gateway.signal(signal.SIGTERM)
        client.wait_for(lambda: client.goaways)
        assert client.goaways[0].last_stream_id == 2**31 - 1
        late = client.start(request(path="/late"))  # as if it had been on its way
        client.wait_for(lambda: len(client.goaways) == 2)
        last = client.goaways[1].last_stream_id
        assert last in (slow, late)
        if last == late:
            assert client.finish(late).status == 200
        release.set()
        assert client.finish(slow).body == b"ok"
        client.wait_for_end()
        gateway.process.wait(20)
        gateway.process = None


def test_1000_requests_over_reloads(origin):
    settings = config(origin.port)
    with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
        for turn in range(20):
            settings["routes"][0]["desc"] = str(turn)
            streams = [client.start() for _ in range(25)]
            assert gateway.reload(settings).returncode == 0
            streams += [client.start() for _ in range(25)]
            for stream in streams:
                response = client.finish(stream)
                assert (response.status, response.body) == (200, b"ok")
        assert not client.goaways


# --- real clients -------------------------------------------------------------------------------


def test_the_example_runs(origin):
    settings = example("http2", {1980: origin.port})
    settings["gateway"]["listen"][0]["address"] = "127.0.0.1:$PORT"
    with Gateway(settings) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/hello"
        assert run("curl", "-s", "--http2-prior-knowledge", url) == "ok"


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_curl(origin, gateway, tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(range(256)) * 4096)
    url = f"http://127.0.0.1:{gateway.port}/x"
    form = "%{http_code} %{http_version} %{size_download}"
    assert run("curl", "-s", "-o", "/dev/null", "-w", form, "--http2-prior-knowledge", "-T",
               str(upload), url) == "200 2 2"
    assert origin.requests[0].body == upload.read_bytes()
    assert run("curl", "-s", "-o", "/dev/null", "-w", form, "--http1.1", url) == "200 1.1 2"


def test_nghttp(origin, gateway):
    output = run("nghttp", "-v", "-m", "20", f"http://127.0.0.1:{gateway.port}/x")
    assert output.count(":status: 200") == 20


def test_h2load(origin, gateway):
    output = run("h2load", "-n", "2000", "-c", "4", "-m", "16", f"http://127.0.0.1:{gateway.port}/")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in output


# --- limits and floods (what the codec's unit tests show byte by byte, through the socket) --------


def test_a_head_over_the_limits_is_answered(origin):
    with Gateway(config(origin.port, limits={"header_size": 4000, "header_count": 20,
                                             "request_line": 1000})) as gateway:
        with Http2Client(gateway.port) as client:
            assert client.get("/" + "a" * 2000).status == 414
            assert client.get(extra=[("x", "v" * 4000)]).status == 431
            assert client.get(extra=[("x", str(i)) for i in range(30)]).status == 431
            assert client.get().status == 200
            assert len(origin.requests) == 1
            assert [r["status"] for r in gateway.wait_for_access(4)] == [414, 431, 431, 200]


def test_announces_the_limit_of_streams(origin):
    with Gateway(config(origin.port, limits={"http2_streams": 5})) as gateway:
        with Http2Client(gateway.port) as client:
            assert client.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 5


def flood(client, make, most=8000):
    """Sends what `make(i)` gives until the connection ends; how many were sent, and the GOAWAY."""
    count = 0
    try:
        while count < most:
            client.send_bytes(b"".join(make(i) for i in range(count, count + 50)))
            count += 50
    except (BrokenPipeError, ConnectionResetError):
        pass
    return count, client.wait_for_end()


def test_ends_a_rapid_reset(origin, gateway, client):  # CVE-2023-44487
    def make(i):
        stream = 2 * i + 1
        return client.head_frame(request(), stream).serialize() + \
            RstStreamFrame(stream, error_code=CANCEL).serialize()
    _, goaway = flood(client, make)
    assert goaway.error_code == ENHANCE_YOUR_CALM
    assert goaway.last_stream_id < 2 * 1000
    assert len(origin.requests) <= 1000
    wait_for(lambda: "flood=reset" in gateway.log, "the flood to be logged")


def test_ends_resets_that_it_is_made_to_send(origin, client):  # CVE-2025-8671
    def make(i):
        return client.head_frame(request("POST"), 2 * i + 1, end=False).serialize() + \
            WindowUpdateFrame(2 * i + 1, 2**31 - 1).serialize()
    _, goaway = flood(client, make)
    assert goaway.error_code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)


def test_ends_a_flood_of_malformed_requests_and_of_their_records(origin, gateway, client):
    fields = request(extra=[("connection", "close")])
    with pytest.raises((Ended, OSError)):
        for _ in range(100):
            client.send(*(client.head_frame(fields) for _ in range(50)))
            client.ping()  # so that there are never more streams at once than allowed
    assert client.goaways[-1].error_code == ENHANCE_YOUR_CALM
    wait_for(lambda: "flood=reset" in gateway.log, "the flood to be logged")
    with RawClient(gateway.port) as other:
        assert other.send(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n").read_response().status == 200
    wait_for(lambda: "/last" in [record["path"] for record in gateway.access_log()], "the last record")
    records = gateway.access_log()[:-1]
    assert {record["reason"] for record in records} == {"malformed_request"}
    assert 100 < len(records) < 500  # the budget of resets, and what was under way


@pytest.mark.parametrize("frame", [
    PingFrame(opaque_data=b"12345678"), SettingsFrame(), WindowUpdateFrame(0, 1)],
    ids=["ping", "settings", "window update"])
def test_ends_floods_of_frames(gateway, client, frame):  # CVE-2019-9511, -9512, -9515
    data = frame.serialize()
    _, goaway = flood(client, lambda _: data)
    assert goaway.error_code == ENHANCE_YOUR_CALM


def test_a_flood_ends_only_its_own_connection(origin, gateway):
    with Http2Client(gateway.port) as good, Http2Client(gateway.port) as bad:
        data = PingFrame(opaque_data=b"12345678").serialize()
        flood(bad, lambda _: data)
        assert good.get().status == 200
        wait_for(lambda: "peer=127.0.0.1 flood=ping floods=1" in gateway.log, "the flood to be logged")
        with pytest.raises((Ended, OSError)):
            bad.ping()
