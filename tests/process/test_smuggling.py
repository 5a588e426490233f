"""Requests whose end or target could be read in two ways: refused, and nothing complete is sent up.

Each case holds the bytes as a client would send them. SMUG is the request that an attacker hides;
it must never reach the origin as one.
"""
# ctest: timeout=180

import pytest

from support.gateway import Gateway, route, upstream, wait_for
from support.origin import Origin
from support.raw import ConnectionEnded, RawClient

SMUG = b"GET /SMUG HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def post(*lines, body=b"", version=b"1.1"):
    head = [b"POST /x HTTP/" + version, b"Host: a", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*lines, target=b"/x", host=b"Host: a"):
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *([host] if host else []), *lines]) + b"\r\n\r\n"


def chunked(body):
    return post(CHUNKED, body=body)


def names(*pairs):
    """[(id, bytes, statuses)] as pytest parameters."""
    return [pytest.param(data, statuses, id=name) for name, data, statuses in pairs]


BAD = (400,)

FRAMING = [
    ("row1-cl-te", post(b"Content-Length: 41", CHUNKED, body=END + SMUG), BAD),
    ("row2-te-cl", post(CHUNKED, b"Content-Length: 4",
                        body=b"%x\r\n" % len(SMUG) + SMUG + b"\r\n" + END), BAD),
    ("row3-te-te", post(CHUNKED, CHUNKED, body=END + SMUG), BAD),
    *[(f"row4-{name}", post(b"Transfer-Encoding: " + value, body=END + SMUG), (400, 501))
      for name, value in (("not-last-identity", b"chunked, identity"),
                          ("not-last-gzip", b"chunked, gzip"), ("unknown", b"xchunked"),
                          ("quoted", b'"chunked"'), ("vt", b"\x0bchunked"), ("a0", b"\xa0chunked"))],
    ("row4-unknown-with-cl", post(b"Transfer-Encoding: xchunked", b"Content-Length: 5",
                                  body=b"hello"), (400, 501)),
    *[(f"row5-{name}", post(b"Transfer-Encoding: " + value, body=END + SMUG), (400, 501))
      for name, value in (("comma-first", b",chunked"), ("comma-last", b"chunked,"),
                          ("parameter", b"chunked;q=1"))],
    ("row6-gzip-chunked", post(b"Transfer-Encoding: gzip, chunked", body=END), (501,)),
    ("row7-te-in-1.0", post(CHUNKED, body=END + SMUG, version=b"1.0"), BAD),
    ("row8-te-space-colon", post(b"Transfer-Encoding : chunked", body=END + SMUG), BAD),
    ("row8-te-tab-colon", post(b"Transfer-Encoding\t: chunked", body=END + SMUG), BAD),
    ("row8-cl-space-colon", post(b"Content-Length : 5", body=b"hello"), BAD),
    ("row9-fold-te", post(b"X: y\r\n Transfer-Encoding: chunked", body=END + SMUG), BAD),
    ("row9-fold-te-value", post(b"Transfer-Encoding:\r\n chunked", body=END + SMUG), BAD),
    ("row9-fold-cl", post(b"X: y\r\n Content-Length: 5", body=b"hello"), BAD),
    ("row9-fold-tab", post(b"X: y\r\n\tz"), BAD),
    ("row10-space-before-first", b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n", BAD),
    ("row11-bare-lf-fields", b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", BAD),
    ("row11-bare-lf-line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", BAD),
    ("row11-bare-lf-end", b"GET /x HTTP/1.1\r\nHost: a\r\n\n", BAD),
    ("row11-bare-lf-all", b"GET /x HTTP/1.1\nHost: a\n\n", BAD),
    ("row12-bare-cr", get(b"X: 1\rTransfer-Encoding: chunked"), BAD),
    ("row12-bare-cr-first", get(b"x:\rTransfer-Encoding: chunked"), BAD),
    ("row13-cr-z", b"GET /x HTTP/1.1\r\nHost: a\r\n\rZ\r\n\r\n", BAD),
    ("row14-nul-value", get(b"X: a\0b"), BAD),
    ("row14-nul-host", get(host=b"Host: a\0b"), BAD),
    ("row14-nul-name", get(b"X\0: a"), BAD),
    *[(f"row15-ctl-{code:02x}", get(b"X: a" + bytes([code]) + b"b"), BAD)
      for code in (0x01, 0x08, 0x0b, 0x0c, 0x1f, 0x7f)],
    ("row16-no-colon", get(b"BadHeader"), BAD),
    ("row16-empty-name", get(b": v"), BAD),
    ("row16-space-in-name", get(b"X A: v"), BAD),
    ("row16-parentheses", get(b"X(A): v"), BAD),
    ("row16-85-in-name", get(b"X\x85: v"), BAD),
    ("row16-utf8-in-name", get("Xé: v".encode()), BAD),
    ("row17-cl-twice", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), BAD),
    ("row17-cl-list", post(b"Content-Length: 5, 5", body=b"hello"), BAD),
    ("row18-cl-differ", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello1"), BAD),
    ("row18-cl-0-and-41", post(b"Content-Length: 0", b"Content-Length: 41", body=SMUG), BAD),
    ("row18-cl-list-differ", post(b"Content-Length: 5, 6", body=b"hello1"), BAD),
    *[(f"row19-{name}", post(b"Content-Length: " + value, body=b"hello"), BAD)
      for name, value in (("plus", b"+5"), ("minus", b"-5"), ("minus-0", b"-0"), ("hex", b"0x5"),
                          ("underscore", b"1_0"), ("space", b"1 0"), ("letters", b"5abc"),
                          ("comma", b"5,"), ("fraction", b"5.0"), ("vt", b"\x0b5"),
                          ("nul", b"5\0"), ("2-64-plus-5", b"18446744073709551621"))],
    ("row20-empty-cl", post(b"Content-Length:", body=b"hello"), BAD),
    ("row20-empty-then-number", post(b"Content-Length:", b"Content-Length: 5", body=b"hello"), BAD),
    ("row21-2-63-plus-5", post(b"Content-Length: 9223372036854775813", body=b"hello"), (400, 413)),
]

CHUNKS = [
    *[(f"row22-{name}", chunked(size + b"\r\nhello\r\n" + END + SMUG), BAD)
      for name, size in (("0x5", b"0x5"), ("plus", b"+5"), ("minus-0", b"-0"), ("underscore", b"0_5"),
                         ("space", b" 5"), ("letters", b"5xyz"), ("empty", b""), ("z", b"Z"))],
    *[(f"row23-{name}", chunked(size + b"\r\nhello\r\n" + END + SMUG), (400, 413))
      for name, size in (("over-64-bit", b"10000000000000005"), ("all-f", b"f" * 16),
                         ("long", b"f" * 400))],
    ("row24-lf-after-size", chunked(b"5\nhello\r\n" + END + SMUG), BAD),
    ("row24-lf-after-data", chunked(b"5\r\nhello\n" + END + SMUG), BAD),
    ("row24-lf-in-extension", chunked(b"5;a\nb\r\nhello\r\n" + END + SMUG), BAD),
    ("row24-lf-after-last", chunked(b"0\n\r\n" + SMUG), BAD),
    ("row24-lf-at-end", chunked(b"0\r\n\n" + SMUG), BAD),
    ("row25-cr-after-size", chunked(b"5\rhello\r\n" + END + SMUG), BAD),
    ("row25-cr-in-line", chunked(b"2\r\r;a\r\nhi\r\n" + END + SMUG), BAD),
    ("row26-longer-data", chunked(b"3\r\nhello\r\n" + END + SMUG), BAD),
    ("row26-no-crlf", chunked(b"5\r\nhello0\r\n\r\n" + SMUG), BAD),
    ("row27-long-extension", chunked(b"5;" + b"a" * 70_000 + b"\r\nhello\r\n" + END), BAD),
    ("row27-many-extensions", chunked((b"1;" + b"a" * 3000 + b"\r\nx\r\n") * 10 + END), BAD),
    ("row30-trailer-no-colon", chunked(b"5\r\nhello\r\n0\r\nnocolon\r\n\r\n" + SMUG), BAD),
    ("row30-trailer-lf", chunked(b"5\r\nhello\r\n0\r\nX: y\n\r\n" + SMUG), BAD),
]

TARGETS = [
    ("row35-two-hosts", get(b"Host: b"), BAD),
    ("row35-same-host-twice", get(b"Host: a"), BAD),
    *[(f"row35-{name}", get(host=b"Host: " + value), BAD)
      for name, value in (("list", b"a, b"), ("userinfo", b"u@a"), ("path", b"a/evil"),
                          ("space", b"a evil"), ("port", b"a:b"), ("big-port", b"a:99999"),
                          ("query", b"a?b"), ("fragment", b"a#b"))],
    ("row35-no-host", get(host=None), BAD),
    *[(f"row37-{name}", get(target=target), BAD)
      for name, target in (("userinfo", b"@evil/"), ("no-slash", b"foo"), ("fragment", b"/x#frag"),
                           ("absolute-userinfo", b"http://u@b/x"), ("absolute-empty", b"http:///x"),
                           ("ftp", b"ftp://b/x"))],
    ("row38-two-versions", b"GET /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("row38-tabs", b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("row38-tab-in-target", get(target=b"/x\ty"), BAD),
    ("row38-nul-in-target", get(target=b"/x\0y"), BAD),
    ("row38-cr-in-target", get(target=b"/x\ry"), BAD),
    ("row38-ctl-in-target", get(target=b"/x\x01y"), BAD),
    ("row38-del-in-target", get(target=b"/x\x7fy"), BAD),
    ("row38-two-spaces", b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    ("row39-http-0.9", b"GET /x\r\n\r\n", BAD),
    ("row39-http-1.10", b"GET /x HTTP/1.10\r\nHost: a\r\n\r\n", (400, 505)),
    ("row39-http-2.0", b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", (400, 505)),
    ("row39-overflow", b"GET /x HTTP/4294967297.1\r\nHost: a\r\n\r\n", (400, 505)),
    ("row39-lower-case", b"GET /x http/1.1\r\nHost: a\r\n\r\n", (400, 505)),
    ("row40-connect", b"CONNECT host:22 HTTP/1.1\r\nHost: host:22\r\n\r\n", (405, 501)),
    ("row41-trace", b"TRACE /x HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", (405,)),
    ("row64-nul", get(target=b"/a%00"), BAD),
    ("row64-not-hex", get(target=b"/%zz"), BAD),
    ("row64-lone-percent", get(target=b"/%"), BAD),
    ("row64-u", get(target=b"/%u0061"), BAD),
    ("row62-encoded-slash", get(target=b"/a%2f..%2fadmin"), BAD),
    ("row62-encoded-slash-first", get(target=b"/%2fadmin"), BAD),
    ("row62-encoded-backslash", get(target=b"/a%5cadmin"), BAD),
    ("row62-backslash", get(target=b"/a\\..\\admin"), BAD),
    *[(f"row63-{number}", get(target=target), BAD)
      for number, target in enumerate((b"/a/..;/admin", b"/a/..;foo=bar/admin", b"/.;/admin"))],
    ("row66-fragment", get(target=b"/admin#f"), BAD),
    ("row66-fragment-dots", get(target=b"/x#/../admin"), BAD),
]


@pytest.fixture(scope="module")
def stage():
    """One gateway for all cases: /admin has a route of its own, /local has none."""
    with Origin() as origin, Origin() as admin:
        config = {"routes": [
            {**route(origin.port), "id": "all", "uri": "/*", "methods": ["GET", "POST", "PUT"],
             "hosts": ["a", "b", "b.test"]},
            {"id": "admin", "uris": ["/admin", "/admin/*"], "hosts": ["a"], "upstream": upstream(admin.port)},
        ]}
        with Gateway(config) as gateway:
            yield gateway, origin, admin


def forget(origin):
    with origin.lock:
        origin.requests.clear()


def requests_after_probe(gateway, origin):
    """What the origin saw, once a later request has come through: earlier ones are there then."""
    with RawClient(gateway.port) as client:
        assert client.request("GET", "/probe", host="a").status == 200
    wait_for(lambda: any(request.target == "/probe" for request in origin.requests), "the probe")
    return [request for request in origin.requests if request.target != "/probe"]


@pytest.mark.parametrize("data, statuses", names(*FRAMING, *CHUNKS, *TARGETS))
def test_refuses_and_closes(stage, data, statuses):
    gateway, origin, admin = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        response = client.send_leniently(data).read_response()
        assert response.status in statuses, response
        assert response.value("Connection") == "close"
        assert response.value("Content-Type", "").startswith("application/json")
        assert "error_msg" in response.json()
        client.expect_close()
    assert requests_after_probe(gateway, origin) == []
    assert b"SMUG" not in origin.received
    assert admin.requests == []


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data, _ in CHUNKS])
def test_refuses_chunks_that_come_later(stage, data):
    """The head is at the origin already when the bad chunk comes: that connection is ended."""
    gateway, origin, _ = stage
    forget(origin)
    head, _, body = data.partition(b"\r\n\r\n")
    before = origin.received.count(b"POST /x HTTP/1.1")
    with RawClient(gateway.port) as client:
        client.send(head + b"\r\n\r\n1\r\n!\r\n")
        wait_for(lambda: origin.received.count(b"POST /x HTTP/1.1") > before, "the head at the origin")
        assert client.send_leniently(body).read_response().status in (400, 413)
        client.expect_close()
    assert requests_after_probe(gateway, origin) == []


def test_row23_chunk_of_4_gib_is_not_truncated(stage):
    """2^32+5 is a legal size: its bytes are awaited, never taken for a chunk of five."""
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(chunked(b"100000005\r\nhello\r\n" + END + SMUG))
        wait_for(lambda: b"SMUG" in origin.received, "the bytes of the chunk at the origin")
        client.finish_sending()
        with pytest.raises(ConnectionEnded):
            assert client.read_response().status in (400, 413)
            raise ConnectionEnded("refused", b"")
    assert requests_after_probe(gateway, origin) == []


@pytest.mark.parametrize("body", [
    pytest.param(b'5;name=value\r\nhello\r\n' + END, id="extension"),
    pytest.param(b'5;name="quo;ted"\r\nhello\r\n' + END, id="quoted"),
    pytest.param(b"5;a;b=c\r\nhello\r\n" + END, id="several"),
    pytest.param(b"5 ;a\r\nhello\r\n" + END, id="bws"),
    pytest.param(b"00000005\r\nhello\r\n" + END, id="leading-zeros"),
    pytest.param(b"A\r\nhellohello\r\n" + END, id="upper-case"),
])
def test_row28_valid_chunks_pass_without_extensions(stage, body):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        assert client.send(chunked(body)).read_response().status == 200
    (request,) = origin.wait_for_requests(1)
    assert request.body in (b"hello", b"hellohello")
    assert b";" not in request.head


@pytest.mark.parametrize("line", ["Content-Length: 9", "Transfer-Encoding: chunked", "Host: evil",
                                  "Authorization: Basic eA=="])
def test_row29_dangerous_trailers_are_not_merged(stage, line):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        response = client.send(chunked(b"5\r\nhello\r\n0\r\n" + line.encode() + b"\r\n\r\n")).read_response()
    if response.status == 400:
        assert requests_after_probe(gateway, origin) == []
        return
    (request,) = requests_after_probe(gateway, origin)
    assert request.trailers == []
    assert request.value("Host") == "a"
    assert request.value("Authorization") is None


@pytest.mark.parametrize("head", [
    b"POST /x HTTP/1.1\r\nHost: unknown\r\nContent-Length: %d\r\n\r\n" % len(SMUG),
    b"DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SMUG),
    b"GET /x HTTP/1.1\r\nHost: unknown\r\nContent-Length: %d\r\n\r\n" % len(SMUG),
], ids=["host", "method", "get"])
def test_row31_body_of_a_locally_answered_request_is_not_a_request(stage, head):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(head + SMUG)
        assert client.read_response().status == 404
        client.send_leniently(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            assert client.read_response().status == 200  # drained
        except ConnectionEnded as ended:
            assert ended.partial == b""  # or closed
    assert [request.target for request in requests_after_probe(gateway, origin)] in ([], ["/next"])


def test_row31_chunked_body_of_a_locally_answered_request_is_not_a_request(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: unknown\r\n" + CHUNKED + b"\r\n\r\n")
        client.send_leniently(b"%x\r\n" % len(SMUG) + SMUG + b"\r\n" + END)
        assert client.read_response().status == 404
    assert requests_after_probe(gateway, origin) == []


def test_row32_odd_expectation_does_not_change_framing(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send_leniently(post(b"Expect: y 100-continue", b"Content-Length: %d" % len(SMUG), body=SMUG))
        assert client.read_response().status in (200, 417)
    seen = requests_after_probe(gateway, origin)
    assert all(request.body == SMUG for request in seen) and len(seen) <= 1


def test_row33_bytes_behind_an_upgrade_are_not_a_tunnel(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777",
                        target=b"/ws") + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        first = client.read_response()
        if first.status == 200:
            assert client.read_response().status == 200
            seen = requests_after_probe(gateway, origin)
            assert [request.target for request in seen] == ["/ws", "/second"]
            assert seen[0].value("Upgrade") is None
        else:
            assert first.status in (400, 426)


def test_row34_h2c_upgrade_is_ignored(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"))
        assert client.read_response().status == 200
    (request,) = origin.wait_for_requests(1)
    assert request.value("Upgrade") is None and request.value("HTTP2-Settings") is None


def test_row36_absolute_form_wins_over_host(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(get(target=b"http://b.test/x?q=1"))
        assert client.read_response().status == 200
    (request,) = origin.wait_for_requests(1)
    assert request.target == "/x?q=1"
    assert request.value("Host") == "b.test"


@pytest.mark.parametrize("line", [b"Transfer_Encoding: chunked", b"Content_Length: 5"])
def test_row42_underscore_twins_are_not_forwarded(stage, line):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        status = client.send(get(line)).read_response().status
    seen = requests_after_probe(gateway, origin)
    if status == 200:
        assert b"_" not in seen[0].head
    else:
        assert status == 400 and seen == []


def test_row43_connection_cannot_strip_what_matters(stage):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        client.send(post(b"Connection: host, authorization, x-forwarded-for, content-length, x-hop",
                         b"Authorization: Basic eA==", b"X-Hop: 1", b"Content-Length: 5", body=b"hello"))
        assert client.read_response().status == 200
    (request,) = origin.wait_for_requests(1)
    assert request.value("Host") == "a"
    assert request.value("Authorization") == "Basic eA=="
    assert request.value("X-Forwarded-For") == "127.0.0.1"
    assert request.value("X-Hop") is None
    assert request.body == b"hello"


@pytest.mark.parametrize("target", [
    "/a/../admin", "/./admin", "/a/%2e%2e/admin", "/../admin", "/a/%2E./admin", "/a/.%2e/admin",
    "//admin", "///admin", "/%61dmin", "/%41/../admin",
])
def test_rows59_to_61_every_spelling_finds_the_admin_route(stage, target):
    gateway, origin, admin = stage
    forget(origin)
    forget(admin)
    with RawClient(gateway.port) as client:
        status = client.send(get(target=target.encode())).read_response().status
    assert requests_after_probe(gateway, origin) == []
    if status == 200:
        assert [request.target for request in admin.requests] == ["/admin"]
    else:
        assert status == 400
    forget(admin)


@pytest.mark.parametrize("target", ["/a/%252e%252e/admin", "/a/%c0%ae%c0%ae/admin", "/x?/../admin",
                                    "/x?q=/%2e%2e/admin#".rstrip("#"), "/x?a=%zz&b=%"])
def test_rows65_and_66_are_forwarded_unchanged(stage, target):
    gateway, origin, _ = stage
    forget(origin)
    with RawClient(gateway.port) as client:
        assert client.send(get(target=target.encode())).read_response().status == 200
    (request,) = origin.wait_for_requests(1)
    assert request.target.upper() == target.upper()  # %c0 may become %C0: the same by RFC 3986 6.2.2.1
