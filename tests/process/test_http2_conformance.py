"""Frames that a client must not send, and what the gateway must do: one case for each rule of RFC 9113
sections 3 to 8 and of RFC 7541 that a server or an intermediary can break."""
# ctest: timeout=300

import contextlib
import itertools
import struct

import pytest

from support.gateway import Gateway, route, wait_for
from support.http2 import (
    CANCEL, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, NO_ERROR, PREFACE,
    PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, Ended, Http2Client, literal_block, raw_frame,
    request)
from support.origin import Origin

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
ACK = END_STREAM = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 32


def u32(value):
    return struct.pack(">I", value)


def settings(*values, flags=0, stream=0):
    return raw_frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *v) for v in values))


def head(stream, fields=None, flags=END_HEADERS | END_STREAM):
    return raw_frame(HEADERS, flags, stream, literal_block(fields or request()))


def post(stream, **more):
    return head(stream, request("POST", **more), END_HEADERS)


def block(stream, data, flags=END_HEADERS | END_STREAM):
    return raw_frame(HEADERS, flags, stream, data)


GET = literal_block(request())


BIG = bytes(200000)


def script(connection):
    while True:
        body = BIG if connection.read_request().target == "/big" else b"ok"
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture(scope="module")
def shared():
    """One gateway and origin for all cases: each has a connection of its own."""
    with Origin(script) as origin:
        listen = [{"address": "127.0.0.1:$PORT", "http2": True}]
        with Gateway({"gateway": {"listen": listen}, "routes": [route(origin.port)]}) as gateway:
            yield origin, gateway


@pytest.fixture
def client(shared):
    with Http2Client(shared[1].port) as running:
        yield running


def cases(*rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


# The connection ends with GOAWAY of one of these codes.
@pytest.mark.parametrize("sent, codes", cases(
    ("3.4 the preface is followed by SETTINGS", None, {PROTOCOL_ERROR}),
    ("4.2 a frame above SETTINGS_MAX_FRAME_SIZE",
     post(1) + raw_frame(DATA, 0, 1, bytes(16385)), {FRAME_SIZE_ERROR}),
    ("4.2 a head above SETTINGS_MAX_FRAME_SIZE",
     raw_frame(HEADERS, END_HEADERS, 1, bytes(16385)), {FRAME_SIZE_ERROR}),
    ("4.3 a head that does not decompress", block(1, b"\xff\xff\xff\xff\xff\xff\xff"),
     {COMPRESSION_ERROR}),
    ("4.3 a frame inside a head",
     raw_frame(HEADERS, END_STREAM, 1, GET[:5]) + raw_frame(PING, 0, 0, bytes(8)),
     {PROTOCOL_ERROR}),
    ("4.3 another stream's head inside a head",
     raw_frame(HEADERS, END_STREAM, 1, GET[:5]) + head(3), {PROTOCOL_ERROR}),
    ("4.3 an unknown frame inside a head",
     raw_frame(HEADERS, END_STREAM, 1, GET[:5]) + raw_frame(0x20, 0, 1, b""), {PROTOCOL_ERROR}),
    ("5.1 DATA on an idle stream", raw_frame(DATA, 0, 1, b"a"), {PROTOCOL_ERROR}),
    ("5.1 RST_STREAM on an idle stream", raw_frame(RST_STREAM, 0, 1, u32(8)), {PROTOCOL_ERROR}),
    ("5.1 WINDOW_UPDATE on an idle stream", raw_frame(WINDOW_UPDATE, 0, 1, u32(1)),
     {PROTOCOL_ERROR}),
    ("5.1.1 an even stream", head(2), {PROTOCOL_ERROR}),
    ("5.1.1 a lower stream", head(5) + head(3), {PROTOCOL_ERROR, STREAM_CLOSED}),
    ("6.1 DATA on stream 0", raw_frame(DATA, 0, 0, b"a"), {PROTOCOL_ERROR}),
    ("6.1 more padding than DATA", post(1) + raw_frame(DATA, PADDED, 1, b"\x05abc"),
     {PROTOCOL_ERROR}),
    ("6.2 HEADERS on stream 0", head(0), {PROTOCOL_ERROR}),
    ("6.2 more padding than HEADERS",
     raw_frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + GET[:20]), {PROTOCOL_ERROR}),
    ("6.3 PRIORITY on stream 0", raw_frame(PRIORITY, 0, 0, bytes(5)), {PROTOCOL_ERROR}),
    ("6.4 RST_STREAM on stream 0", raw_frame(RST_STREAM, 0, 0, u32(8)), {PROTOCOL_ERROR}),
    ("6.4 RST_STREAM of another size", post(1) + raw_frame(RST_STREAM, 0, 1, bytes(3)),
     {FRAME_SIZE_ERROR}),
    ("6.5 an acknowledgement with content", settings((3, 1), flags=ACK), {FRAME_SIZE_ERROR}),
    ("6.5 SETTINGS on a stream", settings(stream=1), {PROTOCOL_ERROR}),
    ("6.5 SETTINGS of another size", raw_frame(SETTINGS, 0, 0, bytes(5)), {FRAME_SIZE_ERROR}),
    ("6.5.2 ENABLE_PUSH of 2", settings((2, 2)), {PROTOCOL_ERROR}),
    ("6.5.2 INITIAL_WINDOW_SIZE above 2^31-1", settings((4, 2**31)), {FLOW_CONTROL_ERROR}),
    ("6.5.2 MAX_FRAME_SIZE below 2^14", settings((5, 16383)), {PROTOCOL_ERROR}),
    ("6.5.2 MAX_FRAME_SIZE above 2^24-1", settings((5, 2**24)), {PROTOCOL_ERROR}),
    ("6.6 PUSH_PROMISE by a client", post(1) + raw_frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + GET),
     {PROTOCOL_ERROR}),
    ("6.7 PING on a stream", raw_frame(PING, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    ("6.7 PING of another size", raw_frame(PING, 0, 0, bytes(6)), {FRAME_SIZE_ERROR}),
    ("6.8 GOAWAY on a stream", raw_frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    ("6.9 WINDOW_UPDATE of 0 on the connection", raw_frame(WINDOW_UPDATE, 0, 0, u32(0)),
     {PROTOCOL_ERROR}),
    ("6.9 WINDOW_UPDATE of another size", raw_frame(WINDOW_UPDATE, 0, 0, bytes(3)),
     {FRAME_SIZE_ERROR}),
    ("6.9.1 a window of the connection above 2^31-1",
     raw_frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)) * 2, {FLOW_CONTROL_ERROR}),
    ("6.10 CONTINUATION without a head", raw_frame(CONTINUATION, END_HEADERS, 1, GET),
     {PROTOCOL_ERROR}),
    ("6.10 CONTINUATION after a complete head",
     post(1) + raw_frame(CONTINUATION, END_HEADERS, 1, GET), {PROTOCOL_ERROR}),
    ("6.10 CONTINUATION on stream 0", raw_frame(HEADERS, 0, 1, GET) +
     raw_frame(CONTINUATION, END_HEADERS, 0, b""), {PROTOCOL_ERROR}),
    ("6.10 CONTINUATION on another stream", raw_frame(HEADERS, 0, 1, GET) +
     raw_frame(CONTINUATION, END_HEADERS, 3, b""), {PROTOCOL_ERROR}),
    ("7541 2.3.3 an index beyond the tables", block(1, b"\xff\x80\x01"), {COMPRESSION_ERROR}),
    ("7541 4.2 a table above the limit", block(1, b"\x3f\xe2\x1f" + GET), {COMPRESSION_ERROR}),
    ("7541 4.2 a size update behind a field", block(1, GET + b"\x20"), {COMPRESSION_ERROR}),
    ("7541 5.1 an integer without end", block(1, b"\x7f" + b"\xff" * 10), {COMPRESSION_ERROR}),
    ("7541 5.2 Huffman padding of more than 7 bits", block(1, GET + b"\x00\x82\xff\xff\x00"),
     {COMPRESSION_ERROR}),
    ("7541 5.2 Huffman padding that is not EOS", block(1, GET + b"\x00\x81\x18\x00"),
     {COMPRESSION_ERROR}),
    ("7541 5.2 Huffman with EOS", block(1, GET + b"\x00\x84\xff\xff\xff\xff\x00"),
     {COMPRESSION_ERROR}),
    ("7541 6.1 index 0", block(1, b"\x80"), {COMPRESSION_ERROR}),
    ("7541 6.2 a block that ends inside a field", block(1, GET[:-2]), {COMPRESSION_ERROR}),
))
def test_connection_error(shared, sent, codes):
    if sent is None:
        with Http2Client(shared[1].port, start=False) as client:
            client.send_bytes(PREFACE + raw_frame(PING, 0, 0, bytes(8)))
            goaway = client.wait_for_end()
            assert goaway.error_code in codes
        return
    with Http2Client(shared[1].port) as client:
        client.send_bytes(sent)
        goaway = client.wait_for_end()
        assert goaway is not None, "closed without GOAWAY"
        assert goaway.error_code in codes


# The stream ends with RST_STREAM of one of these codes, or the connection does (RFC 9113 5.4.2 leaves
# that open); nothing complete reaches the upstream.
@pytest.mark.parametrize("sent, codes", cases(
    ("5.1 DATA on a stream that the client has ended", head(1) + raw_frame(DATA, 0, 1, b"a"),
     {STREAM_CLOSED}),
    ("5.1 HEADERS on a stream that the client has ended", head(1) + head(1), {STREAM_CLOSED}),
    ("5.1 DATA on a stream that the client has reset",
     post(1) + raw_frame(RST_STREAM, 0, 1, u32(CANCEL)) + raw_frame(DATA, 0, 1, b"a"),
     {STREAM_CLOSED, None}),
    ("6.3 PRIORITY of another size", raw_frame(PRIORITY, 0, 1, bytes(4)), {FRAME_SIZE_ERROR}),
    ("6.9 WINDOW_UPDATE of 0 on a stream", post(1) + raw_frame(WINDOW_UPDATE, 0, 1, u32(0)),
     {PROTOCOL_ERROR}),
    ("6.9.1 a window of a stream above 2^31-1",
     post(1) + raw_frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)), {FLOW_CONTROL_ERROR}),
    ("8.1 a second head without END_STREAM", post(1) + post(1), {PROTOCOL_ERROR}),
    ("8.1 a pseudo-header field in trailers",
     post(1) + raw_frame(HEADERS, 5, 1, literal_block([(":path", "/")])), {PROTOCOL_ERROR}),
    ("8.1.1 less body than content-length",
     post(1, extra=[("content-length", "5")]) + raw_frame(DATA, END_STREAM, 1, b"abc"),
     {PROTOCOL_ERROR}),
    ("8.1.1 more body than content-length",
     post(1, extra=[("content-length", "2")]) + raw_frame(DATA, END_STREAM, 1, b"abc"),
     {PROTOCOL_ERROR}),
    ("8.1.1 more body than content-length, in another frame",
     post(1, extra=[("content-length", "2")]) + raw_frame(DATA, 0, 1, b"ab") +
     raw_frame(DATA, END_STREAM, 1, b"c"), {PROTOCOL_ERROR}),
    ("8.1.1 a body behind content-length 0",
     post(1, extra=[("content-length", "0")]) +
     raw_frame(DATA, END_STREAM, 1, b"GET /smuggled HTTP/1.1\r\n\r\n"), {PROTOCOL_ERROR}),
    ("8.1.1 content-length without a body", head(1, request(extra=[("content-length", "5")])),
     {PROTOCOL_ERROR}),
))
def test_stream_error(shared, sent, codes):
    origin, gateway = shared
    origin.requests.clear()
    complete = sent.startswith(head(1))
    with Http2Client(gateway.port) as client:
        client.send_bytes(sent)
        try:
            client.ping()
            client.ping()  # an answer may overtake what was sent before the first
            code = client.response(1).reset
        except (Ended, OSError):
            code = client.wait_for_end().error_code
        assert code in codes
    assert complete or not origin.requests


def without(name):
    return [field for field in request() if field[0] != name]


def having(name, value):
    return [(key, value if key == name else old) for key, old in request()]


@contextlib.contextmanager
def records_of(gateway, client, marks=itertools.count()):
    """A list that gets the access records of what is done inside; the connection goes on after it."""
    number = next(marks)
    records = []
    assert client.get(f"/before/{number}").status == 200
    yield records
    assert client.get(f"/after/{number}").status == 200

    def complete():
        paths = [record["path"] for record in gateway.access_log()]
        return f"/after/{number}" in paths and paths
    paths = wait_for(complete, "the records")
    records += gateway.access_log()[paths.index(f"/before/{number}") + 1:
                                    paths.index(f"/after/{number}")]


# Reset with PROTOCOL_ERROR, never forwarded; the connection goes on. Row numbers are those of the
# catalogue of downgrade attacks: what an HTTP/1 upstream must never see.
MALFORMED = [
    *[(f"row44 8.1.1 content-length {value!r}", request(extra=[("content-length", value)]))
      for value in ("5x", "+0", "-0", "", " 0", "0,0", "18446744073709551616")],
    ("row44 8.1.1 two content-lengths",
     request(extra=[("content-length", "0"), ("content-length", "0")])),
    ("row45 8.2.2 transfer-encoding", request(extra=[("transfer-encoding", "chunked")])),
    *[(f"row46 8.2.1 value {value!r}", request(extra=[("x", value)]))
      for value in ("a\r\nb: c", "a\rb", "a\nb", "a\0b", "a\x01b", "a\x7fb", " a", "a ", "\ta")],
    *[(f"row46 row47 8.2.1 name {name!r}", request(extra=[(name, "v")]))
      for name in ("", "x y", "X", "xY", "x:y", "x\r\ny", "x\0", "x\x7f", "x\xe9", "x(y)", "x,")],
    *[(f"row48 8.2.2 {name}: {value}", request(extra=[(name, value)]))
      for name, value in (("connection", "close"), ("connection", "x-a"), ("keep-alive", "1"),
                          ("proxy-connection", "close"), ("upgrade", "h2c"), ("te", "gzip"),
                          ("te", "trailers, deflate"))],
    *[(f"row49 8.3.1 :method {value!r}", having(":method", value))
      for value in ("GET /admin", "GET\r\nX: y", "", "G(T", "GET ")],
    *[(f"row50 8.3.1 :path {value!r}", having(":path", value))
      for value in ("/a b", "/a\r\nX: y", "/\0", "", "v/x", "http://evil/x", "*", "/a#b", "\t/")],
    *[(f"row51 8.3.1 :scheme {value!r}", having(":scheme", value))
      for value in ("http://evil/?", "", "ftp", "http ")],
    *[(f"row52 8.3.1 :authority {value!r}", having(":authority", value))
      for value in ("a\r\nX: y", "u@a.test", "u:p@a.test", "a.test/x", "a b", "", "a:99999", "[::1")],
    ("row53 8.3.1 another host", request(extra=[("host", "evil")])),
    ("row53 8.3.1 two hosts", request(extra=[("host", "a.test"), ("host", "a.test")])),
    *[(f"row54 8.3.1 without {name}", without(name))
      for name in (":method", ":scheme", ":path", ":authority")],
    *[(f"row54 8.3 {name} twice", [(name, value), *request()])
      for name, value in ((":method", "GET"), (":scheme", "http"), (":path", "/"),
                          (":authority", "a.test"))],
    ("row54 8.3 a late pseudo-header field", [*without(":path"), ("x", "y"), (":path", "/")]),
    ("row54 8.3 an unknown pseudo-header field", [(":x", "y"), *request()]),
    ("row54 8.3.2 a pseudo-header field of responses", [(":status", "200"), *request()]),
    ("row54 8441 :protocol without CONNECT", [(":protocol", "websocket"), *request()]),
    ("row55 8.5 CONNECT with :path", having(":method", "CONNECT")),
    ("row55 8441 extended CONNECT without :path",
     [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
      (":authority", "a.test")]),
]


@pytest.mark.parametrize("fields", [pytest.param(fields, id=name) for name, fields in MALFORMED])
def test_malformed_request(shared, client, fields):
    origin, gateway = shared
    with records_of(gateway, client) as records:
        origin.requests.clear()
        stream = client.start_raw(fields)
        response = client.finish(stream)
        assert (response.status, response.reset) == (None, PROTOCOL_ERROR)
        assert not origin.requests
    assert [(record["status"], record["reason"]) for record in records] == \
        [(400, "malformed_request")]
    assert records[0]["proto"] in ("HTTP/2.0", None)


def test_a_body_that_was_not_announced_is_malformed_too(shared, client):  # RFC 9113 8.1.1
    origin, gateway = shared
    with records_of(gateway, client) as records:
        stream = client.start(request("POST", "/held", extra=[("content-length", "0")]), end=False)
        client.data(stream, b"GET /smuggled HTTP/1.1")
        assert client.finish(stream).reset == PROTOCOL_ERROR
        assert not [seen for seen in origin.requests if seen.target == "/held"]
    assert [(record["status"], record["reason"], record["method"], record["path"])
            for record in records] == [(400, "bad_framing", "POST", "/held")]


@pytest.mark.parametrize("fields", cases(
    ("row57 content-length", [("content-length", "5")]),
    ("row57 transfer-encoding", [("transfer-encoding", "chunked")]),
    ("row57 CRLF", [("x", "a\r\nb: c")]),
    ("row57 host", [("host", "evil")])))
def test_trailers_that_may_not_be_forwarded(shared, client, fields):
    origin, _ = shared
    origin.requests.clear()
    stream = client.start_raw(request("POST"), end=False)
    client.send_bytes(raw_frame(HEADERS, 5, stream, literal_block(fields)))
    response = client.finish(stream)
    if response.status == 200:
        assert origin.requests[0].trailers == []
    else:
        assert response.reset == PROTOCOL_ERROR
        assert not origin.requests


# What has to be accepted.
@pytest.mark.parametrize("sent", cases(
    ("4.1 an unknown frame", raw_frame(0x42, 0xff, 0, b"anything")),
    ("4.1 an unknown frame on a stream", raw_frame(0x42, 0xff, 1, b"anything")),
    ("4.1 unknown flags", raw_frame(PING, 0xfe, 0, bytes(8))),
    ("4.1 the reserved bit", raw_frame(PING, 0, 2**31, bytes(8))),
    ("5.5 an unknown setting", settings((0x99, 5))),
    ("6.3 PRIORITY on an idle stream", raw_frame(PRIORITY, 0, 5, u32(0) + b"\x10")),
    ("6.5.3 the last value of a setting counts", settings((4, 0), (4, 65535))),
    ("7 an unknown error code", post(1) + raw_frame(RST_STREAM, 0, 1, u32(0x999)))))
def test_is_accepted(client, sent):
    client.send_bytes(sent)
    client.next_stream = 7
    assert client.get().status == 200


def test_padding_and_priority_of_a_head(client):  # RFC 9113 6.2
    client.send_bytes(raw_frame(HEADERS, END_HEADERS | END_STREAM | PADDED | WITH_PRIORITY, 1,
                                b"\x03" + u32(0) + b"\x10" + GET + bytes(3)))
    assert client.finish(1).status == 200


def test_padding_counts_against_the_window_and_is_given_back(shared, client):  # RFC 9113 6.1, 6.9.1
    origin, _ = shared
    origin.requests.clear()
    client.send_bytes(post(1))
    total = 0
    while total < 2 << 20:  # twice the window of the connection
        client.send_bytes(raw_frame(DATA, PADDED, 1, b"\xff" + b"a" * 100 + bytes(255)))
        total += 356
        if total % (356 * 100) == 0:
            client.ping()
    client.data(1, b"", end=True)
    assert client.finish(1).status == 200
    assert origin.requests[0].body_size == total // 356 * 100


def test_a_head_in_several_frames(client):  # RFC 9113 6.10
    client.send_bytes(raw_frame(HEADERS, END_STREAM, 1, GET[:7]) +
                      raw_frame(CONTINUATION, 0, 1, GET[7:20]) +
                      raw_frame(CONTINUATION, END_HEADERS, 1, GET[20:]))
    assert client.finish(1).status == 200


def test_more_streams_than_allowed(shared):  # RFC 9113 5.1.2
    origin, gateway = shared
    with Http2Client(gateway.port) as client:
        client.ping()  # our SETTINGS are acknowledged
        client.send_bytes(b"".join(post(2 * i + 1) for i in range(129)))
        client.wait_for(lambda: client.goaways or client.response(257).reset is not None)
        code = client.goaways[0].error_code if client.goaways else client.response(257).reset
        assert code in (REFUSED_STREAM, PROTOCOL_ERROR)
    assert origin  # stays


def test_acknowledges_settings(client):  # RFC 9113 6.5.3
    before = client.acknowledged
    client.send_bytes(settings((3, 10)) + settings((4, 70000)))
    client.wait_for(lambda: client.acknowledged == before + 2)


def test_answers_ping_with_the_same_data(client):  # RFC 9113 6.7
    assert client.ping(b"\0\1\2\3\4\5\6\7") == b"\0\1\2\3\4\5\6\7"


def test_frames_keep_to_the_clients_frame_size(client):  # RFC 9113 4.2
    assert client.get("/big").body == BIG
    assert max(frame.body_len for frame in client.frames) <= 16384


def test_finishes_what_is_open_after_goaway(client):  # RFC 9113 6.8
    client.send_bytes(post(1) + raw_frame(GOAWAY, 0, 0, u32(0) + u32(NO_ERROR) + b"text"))
    client.data(1, b"abc", end=True)
    assert client.finish(1).status == 200
    client.wait_for_end()


def test_trailers_behind_an_early_end_are_ignored(client):  # RFC 9113 5.1, 8.1
    client.send_bytes(post(1, extra=[("expect", "x")]))  # 417, without waiting for the body
    assert client.finish(1).status == 417
    client.send_bytes(raw_frame(DATA, 0, 1, b"abc") +
                      raw_frame(HEADERS, 5, 1, literal_block([("x", "y")])))
    client.next_stream = 3
    assert client.get().status == 200


def test_streams_that_are_closed_are_remembered(client):  # RFC 9113 5.1, 6.9
    assert client.get().status == 200
    client.send_bytes(raw_frame(WINDOW_UPDATE, 0, 1, u32(1)) + raw_frame(PRIORITY, 0, 1, bytes(5)) +
                      raw_frame(RST_STREAM, 0, 1, u32(CANCEL)))
    assert client.get().status == 200
    assert not client.goaways
