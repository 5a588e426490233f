"""HTTP/1.1 through the gateway: what clients and origins may do, and what either sees of it."""

import os
import tempfile

import pytest

from support.gateway import Gateway, route, wait_for
from support.origin import Origin, once, serve
from support.raw import ConnectionEnded, RawClient, exchange

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_forwards_a_request_and_its_response(origin, gateway):
    origin.script = serve(b"HTTP/1.1 201 Fine\r\nX-A: 1\r\nX-a: 2\r\nSet-Cookie: a=b\r\n"
                          b"Set-Cookie: c=d\r\nContent-Length: 4\r\n\r\nbody")
    with RawClient(gateway.port) as client:
        response = client.request("POST", "/p/a%20th?q=1&q=2", b"hello", [("X-B", "1"), ("X-b", "2")])
    assert (response.status, response.reason, response.body) == (201, "Fine", b"body")
    assert response.values("X-A") == ["1", "2"]
    assert response.values("Set-Cookie") == ["a=b", "c=d"]
    (request,) = origin.requests
    assert (request.method, request.target, request.version) == ("POST", "/p/a%20th?q=1&q=2", "HTTP/1.1")
    assert request.values("X-B") == ["1", "2"]
    assert request.value("Host") == "test.local"
    assert request.body == b"hello"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "BREW"])
def test_forwards_any_method(origin, gateway, method):
    with RawClient(gateway.port) as client:
        assert client.request(method, "/x").status == 200
    assert origin.requests[0].method == method


def test_keeps_both_connections(origin, gateway):
    with RawClient(gateway.port) as client:
        for number in range(20):
            assert client.get(f"/{number}").body == b"ok"
        client.expect_silence()
    assert len(origin.requests) == 20
    assert len(origin.connections) == 1


def test_pipelined_requests_are_answered_in_order(origin, gateway):
    def script(connection):
        while True:
            target = connection.read_request().target.encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
    origin.script = script
    count = 200
    with RawClient(gateway.port) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count)))
        for number in range(count):
            assert client.read_response().body == b"/%d" % number


def test_pipelined_requests_with_bodies_and_local_answers(origin):
    def script(connection):
        while True:
            body = connection.read_request().body
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    origin.script = script
    with Gateway({"routes": [route(origin.port, uri="/x")]}) as gateway, RawClient(gateway.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
                    b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
                    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
                    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthree")
        assert [client.read_response().body for _ in range(4)] == [
            b"one", b'{"error_msg":"404 Route Not Found"}\n', b"two", b"three"]


def test_a_request_dribbled_byte_by_byte(origin, gateway):
    data = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n"
    with RawClient(gateway.port) as client:
        for at in range(len(data)):
            client.send(data[at:at + 1])
        assert client.read_response().status == 200
    assert origin.requests[0].body == b"abc"


def test_empty_lines_before_a_request_are_skipped(gateway):
    assert exchange(gateway.port, b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


# Bodies and framing


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 300_000])
def test_request_bodies_keep_their_framing(origin, gateway, size):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with RawClient(gateway.port) as client:
        assert client.request("POST", "/length", body).status == 200
        client.send(b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, size, 7000):
            piece = body[start:start + 7000]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.read_response().status == 200
    first, second = origin.requests
    assert (first.framing, first.body) == ("length", body)
    assert (second.framing, second.body) == ("chunked", body)


@pytest.mark.parametrize("reply, framing", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "length"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "chunked"),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n", "chunked"),
], ids=["length", "chunked", "extension"])
def test_response_framing_is_kept(origin, gateway, reply, framing):
    origin.script = serve(reply)
    with RawClient(gateway.port) as client:
        for _ in range(2):
            response = client.get()
            assert (response.framing, response.body) == (framing, b"hello")
    assert len(origin.connections) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n"])
def test_body_until_close_keeps_the_client(origin, gateway, head):
    origin.script = once(head + b"hello", end="close")
    with RawClient(gateway.port) as client:
        for _ in range(2):
            response = client.get()
            assert (response.framing, response.body) == ("chunked", b"hello")


def test_trailers_pass_both_ways(origin, gateway):
    origin.script = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                          b"2\r\nok\r\n0\r\nX-Sum: abc\r\n\r\n")
    with RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Check\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Check: 42\r\n\r\n")
        response = client.read_response()
    assert response.trailers == [("X-Sum", "abc")]
    assert origin.requests[0].trailers == [("X-Check", "42")]


@pytest.mark.parametrize("reply", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
])
def test_head_has_no_body(origin, gateway, reply):
    origin.script = serve(reply)
    with RawClient(gateway.port) as client:
        for _ in range(2):
            assert client.request("HEAD").status == 200
        client.expect_silence()
    assert len(origin.connections) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_statuses(origin, gateway, status):
    length = b"Content-Length: 77\r\n" if status == 304 else b""
    origin.script = serve(b"HTTP/1.1 %d X\r\nETag: \"a\"\r\n%s\r\n" % (status, length))
    with RawClient(gateway.port) as client:
        for _ in range(2):
            response = client.get()
            assert (response.status, response.value("ETag"), response.body) == (status, '"a"', b"")
        client.expect_silence()
    assert len(origin.connections) == 1


# Interim responses


def test_row142_informational_responses_are_forwarded(origin, gateway):
    origin.script = serve(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + FINAL)
    with RawClient(gateway.port) as client:
        response = client.get()
        assert [one.status for one in response.informational] == [103, 102]
        assert response.informational[0].value("Link") == "</a>"
        assert response.body == b"ok"
        assert client.get().body == b"ok"


def test_informational_responses_do_not_go_to_http_1_0(origin, gateway):
    origin.script = serve(b"HTTP/1.1 103 Early Hints\r\n\r\n" + FINAL)
    assert exchange(gateway.port, b"GET / HTTP/1.0\r\n\r\n").informational == []


def test_expect_100_continue(origin, gateway):
    def script(connection):
        while True:
            request = connection.read_head()
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.read_body(request)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(request.body), request.body))
    origin.script = script
    with RawClient(gateway.port) as client:
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert client.read_head().status == 100
            client.send(b"hello")
            while (response := client.read_response()).status == 100:
                pass
            assert response.body == b"hello"


def test_expect_100_continue_refused_by_the_origin(origin, gateway):
    def script(connection):
        connection.read_head()
        connection.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    origin.script = script
    with RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.body) == (401, b"no")


def test_expect_is_answered_locally_when_there_is_no_route(origin):
    with Gateway({"routes": [route(origin.port, uri="/x")]}) as gateway, RawClient(gateway.port) as client:
        client.send(b"POST /y HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.informational) == (404, [])


def test_expect_from_http_1_0_is_ignored(origin, gateway):
    response = exchange(gateway.port, b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    assert (response.status, response.informational) == (200, [])
    assert origin.requests[0].body == b"hi"


def test_unknown_expectation_is_refused(origin, gateway):
    assert exchange(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\nExpect: cookies\r\n\r\n").status == 417
    assert origin.requests == []


# Versions and closing


def test_http_1_0_client(origin, gateway):
    with RawClient(gateway.port) as client:
        response = client.send(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n").read_response()
        assert (response.status, response.body) == (200, b"ok")
        client.expect_close()
    assert origin.requests[0].version == "HTTP/1.1"


def test_http_1_0_client_gets_no_chunks(origin, gateway):
    origin.script = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    response = exchange(gateway.port, b"GET /x HTTP/1.0\r\n\r\n")
    assert (response.framing, response.body) == ("close", b"hello")


def test_client_asks_for_close(origin, gateway):
    with RawClient(gateway.port) as client:
        response = client.request("GET", "/", headers=[("Connection", "close")])
        assert response.value("Connection") == "close"
        client.expect_close()
        assert RawClient(gateway.port).get().status == 200
    assert len(origin.connections) == 1
    assert origin.requests[0].value("Connection") in (None, "keep-alive")


def test_origin_asks_for_close(origin, gateway):
    origin.script = once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    with RawClient(gateway.port) as client:
        for _ in range(3):
            response = client.get()
            assert response.status == 200 and response.value("Connection") is None
    assert len(origin.connections) == 3


def test_row150_half_closed_client_gets_its_answer(origin, gateway):
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").finish_sending()
        assert client.read_response().body == b"ok"
        client.expect_close()


def test_client_that_leaves_ends_the_attempt(origin, gateway):
    def script(connection):
        connection.read_head()
        connection.wait_for_close()
        origin.gone = True
    origin.script, origin.gone = script, False
    client = RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for(lambda: b"GET / " in origin.received, "the request at the origin")
    client.reset()
    wait_for(lambda: origin.gone, "the end of the upstream connection")
    (record,) = gateway.wait_for_access(1)
    assert record["status"] == 499


# Header fields


def test_hop_by_hop_fields_are_removed(origin, gateway):
    origin.script = serve(b"HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n"
                          b"Proxy-Connection: x\r\nUpgrade: h2c\r\nX-Stay: 1\r\nContent-Length: 2\r\n\r\nok")
    with RawClient(gateway.port) as client:
        response = client.request("GET", headers=[
            ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "1"), ("TE", "gzip"),
            ("Proxy-Connection", "x"), ("Upgrade", "foo"), ("Proxy", "evil"), ("X-Stay", "2")])
        assert client.get().status == 200
    for name in ("X-Secret", "Keep-Alive", "Proxy-Connection", "Upgrade"):
        assert response.values(name) == [], name
    assert response.value("X-Stay") == "1"
    for name in ("X-Hop", "Keep-Alive", "TE", "Proxy-Connection", "Upgrade", "Proxy"):
        assert origin.requests[0].values(name) == [], name
    assert origin.requests[0].value("X-Stay") == "2"


FORGED = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil"),
          ("X-Forwarded-Port", "1"), ("X-Real-IP", "1.2.3.4")]


def test_forwarded_fields_of_a_stranger_are_replaced(origin, gateway):
    with RawClient(gateway.port) as client:
        client.request("GET", headers=FORGED, host="shop.test:9080")
    request = origin.requests[0]
    assert request.value("X-Forwarded-For") == "127.0.0.1"
    assert request.value("X-Real-IP") == "127.0.0.1"
    assert request.value("X-Forwarded-Proto") == "http"
    assert request.value("X-Forwarded-Host") == "shop.test:9080"
    assert request.value("X-Forwarded-Port") == str(gateway.port)


@pytest.mark.parametrize("received, client_ip", [
    (["1.2.3.4"], "1.2.3.4"),
    (["9.9.9.9, 1.2.3.4, 10.0.0.7"], "1.2.3.4"),
    (["9.9.9.9", "1.2.3.4"], "1.2.3.4"),
    (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
])
def test_forwarded_fields_of_a_trusted_proxy(origin, received, client_ip):
    config = {"gateway": {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}, "routes": [route(origin.port)]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        client.request("GET", headers=[*(("X-Forwarded-For", value) for value in received),
                                       ("X-Forwarded-Proto", "https")])
    request = origin.requests[0]
    assert ", ".join(request.values("X-Forwarded-For")) == ", ".join([*received, "127.0.0.1"])
    assert request.value("X-Real-IP") == client_ip
    assert request.value("X-Forwarded-Proto") == "https"


@pytest.mark.parametrize("pass_host, fields, expected", [
    ("pass", {}, "shop.test"), ("node", {}, "127.0.0.1:{port}"),
    ("rewrite", {"upstream_host": "internal.test"}, "internal.test"),
])
def test_pass_host(origin, pass_host, fields, expected):
    config = {"routes": [route(origin.port, upstream={"pass_host": pass_host, **fields})]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        assert client.request("GET", host="shop.test").status == 200
    assert origin.requests[0].value("Host") == expected.format(port=origin.port)


def test_via_is_configurable(origin, gateway):
    with RawClient(gateway.port) as client:
        client.get()
    assert origin.requests[0].value("Via") is None
    with Gateway({"gateway": {"via": "edge"}, "routes": [route(origin.port)]}) as other:
        with RawClient(other.port) as client:
            client.request("GET", headers=[("Via", "1.0 fred")])
    assert ", ".join(origin.requests[1].values("Via")) == "1.0 fred, 1.1 edge"


# Routing and upstreams


def test_no_route(gateway):
    with Gateway({"routes": []}) as empty:
        response = exchange(empty.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.status == 404
    assert response.json() == {"error_msg": "404 Route Not Found"}
    assert response.value("Content-Type").startswith("application/json")


def test_weights_are_kept(gateway):
    with Origin() as one, Origin() as two:
        nodes = {f"127.0.0.1:{one.port}": 3, f"127.0.0.1:{two.port}": 1}
        config = {"routes": [{"id": "r", "uri": "/*", "upstream": {"type": "roundrobin", "nodes": nodes}}]}
        with Gateway(config) as weighted, RawClient(weighted.port) as client:
            for _ in range(40):
                assert client.get().status == 200
        assert (len(one.requests), len(two.requests)) == (30, 10)


def test_unix_socket_node_and_listener():
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as place:
        os.chmod(place, 0o755)  # the workers may be another user
        relay_over_unix_sockets(os.path.join(place, "origin.sock"))


def relay_over_unix_sockets(path):
    with Origin(path=path) as server:
        config = {"routes": [{"id": "r", "uri": "/*", "upstream": {"type": "roundrobin",
                                                                   "nodes": [{"host": f"unix:{path}", "weight": 1}]}}]}
        with Gateway(config) as gateway:
            with RawClient(gateway.port) as client:
                assert client.get().body == b"ok"
        with Gateway(config, start=False) as gateway:
            listen = gateway.path("http.sock")
            config["gateway"] = {"listen": [f"127.0.0.1:{gateway.port}", {"address": f"unix:{listen}"}]}
            gateway.write_config(config)
            gateway.start()
            with RawClient(listen) as client:
                assert client.get().body == b"ok"
        assert len(server.requests) == 2


def test_upstream_by_name_of_localhost(origin):
    config = {"routes": [{"id": "r", "uri": "/*", "upstream": {
        "type": "roundrobin", "nodes": [{"host": "localhost", "port": origin.port, "weight": 1}]}}]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        assert client.get().body == b"ok"


def test_access_log_tells_what_happened(origin, gateway):
    with RawClient(gateway.port) as client:
        client.request("POST", "/logged?q=1", b"hello")
    (record,) = gateway.wait_for_access(1)
    assert (record["method"], record["path"], record["status"]) == ("POST", "/logged", 200)
    assert (record["route"], record["host"], record["client"]) == ("r", "test.local", "127.0.0.1")
    assert record["node"] == f"127.0.0.1:{origin.port}"
    assert record["attempts"] == 1
    assert record["bytes_in"] > 5 and record["bytes_out"] > 2
    assert set(record["t"]) == {"total", "connect", "ttfb", "upstream"}


@pytest.mark.parametrize("target", ["/x", "*"])
def test_options_that_may_go_no_further_is_answered_here(origin, gateway, target):
    with RawClient(gateway.port) as client:
        response = client.request("OPTIONS", target, headers=[("Max-Forwards", "0")])
        assert (response.status, response.body) == (200, b"")
        assert "OPTIONS" in response.value("Allow") and response.value("Content-Length") == "0"
        assert client.get("/next").status == 200  # the connection goes on
    assert [request.target for request in origin.requests] == ["/next"]
    record = gateway.wait_for_access(2)[0]
    assert (record["status"], record["reason"], record["attempts"]) == (200, "ok", 0)


def test_options_counts_how_often_it_is_forwarded(origin, gateway):
    with RawClient(gateway.port) as client:
        for method, sent in (("OPTIONS", "10"), ("OPTIONS", "1"), ("GET", "0"), ("GET", "some")):
            assert client.request(method, "/x", headers=[("Max-Forwards", sent)]).status == 200
    assert [request.value("Max-Forwards") for request in origin.requests] == ["9", "0", "0", "some"]


@pytest.mark.parametrize("values", [["-1"], ["1", "1"], [""], ["1x"], ["9" * 30]])
def test_options_with_a_count_that_is_none_is_refused(origin, gateway, values):
    with RawClient(gateway.port) as client:
        response = client.request("OPTIONS", "/x", headers=[("Max-Forwards", each) for each in values])
        assert response.status == 400
    assert not origin.requests


def test_a_request_that_has_been_here_before_is_refused(origin):
    with Gateway({"gateway": {"via": "gw-1"}, "routes": [route(origin.port)]}) as gateway:
        for via in (["1.1 gw-1"], ["1.0 other, HTTP/1.1  GW-1 (Sluice)"], ["1.1 a", "2.0 gw-1"]):
            with RawClient(gateway.port) as client:
                response = client.request("GET", "/x", headers=[("Via", each) for each in via])
                assert response.status == 508
                assert response.json()["reason"] == "loop_detected"
        assert not origin.requests
        with RawClient(gateway.port) as client:
            for via in ("1.1 gw-10", "1.1 agw-1", "gw-1 other", "1.1 other (gw-1)"):
                assert client.request("GET", "/x", headers=[("Via", via)]).status == 200


def test_a_gateway_that_forwards_to_itself_notices():
    with Gateway({"gateway": {"via": "me", "listen": ["127.0.0.1:$PORT"]}, "routes": [
            {"id": "r", "uri": "/*", "upstream": {"type": "roundrobin", "nodes": [
                {"host": "127.0.0.1", "port": 1, "weight": 1}]}}]}) as gateway:
        assert gateway.reload({"gateway": {"via": "me"}, "routes": [route(gateway.port)]}).returncode == 0
        with RawClient(gateway.port) as client:
            assert client.get("/x").status == 508
        assert len(gateway.wait_for_access(2)) == 2
