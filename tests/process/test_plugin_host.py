"""What plugins may do to a request, and the host has to bear: shown by the plugin `probe` of
tests/support/probe_plugin.cc, which only this binary has."""
# ctest: binary=sluice_probe
# ctest: timeout=300

import subprocess

import pytest

from support.gateway import BINARY, Gateway, route, wait_for
from support.http2 import Http2Client, request as http2_request
from support.origin import Origin
from support.raw import ConnectionEnded, RawClient

LISTEN = {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = bytes(range(256)) * 4096


def test_the_binary_has_the_probe():
    assert "probe " in subprocess.check_output([BINARY, "plugins"], text=True, timeout=60), \
        "set SLUICE_BIN to sluice_probe"


def config(port, **probe):
    return {"gateway": LISTEN, "routes": [route(port, plugins={"probe": probe})]}


@pytest.fixture
def large():
    """An origin that answers with a megabyte: with its length, or in chunks for /chunked."""
    def script(connection):
        while True:
            request = connection.read_request()
            if request.target == "/chunked":
                body = b"".join(b"%x\r\n%b\r\n" % (50_000, LARGE[at:at + 50_000])
                                for at in range(0, 1_000_000, 50_000))
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nX-T: 1\r\n\r\n")
            else:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
                connection.send(head if request.method == "HEAD" else head + LARGE)
    with Origin(script) as origin:
        yield origin


def done(gateway, lives):
    """How often work off the loop has ended for a request that lives, or that is over."""
    return gateway.log.count(f"probe: work is done lives={lives}")


def wait_for_work(gateway, count):
    wait_for(lambda: gateway.log.count("probe: work begins") == count, f"work {count}")


# Work off the loop


@pytest.mark.parametrize("status", [0, 418])
@pytest.mark.parametrize("where", [False, True])
def test_a_request_goes_on_after_work_off_the_loop(origin, status, where):
    with Gateway(config(origin.port, act="off_loop", work=0.02, status=status, in_header_filter=where)) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(3):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
                response = client.read_response()
                assert (response.status, response.body) == \
                    ((200, b"ok") if status == 0 else (418, b"of the probe"))
        with Http2Client(gateway.port) as client:
            streams = [client.start() for _ in range(20)]
            assert {client.finish(stream).status for stream in streams} == {status or 200}
        wait_for(lambda: done(gateway, 1) == 23, "the work of all requests")
    assert len(origin.requests) == (0 if status and not where else 23)


@pytest.mark.parametrize("where", [False, True])
def test_clients_that_leave_meanwhile_do_no_harm(origin, where):
    with Gateway(config(origin.port, act="off_loop", work=3, in_header_filter=where)) as gateway:
        for count in range(3):
            with RawClient(gateway.port) as client:
                client.send(GET)
                wait_for_work(gateway, count + 1)
                client.reset()
        with Http2Client(gateway.port) as client:
            for count in range(3):
                stream = client.start()
                wait_for_work(gateway, count + 4)
                client.reset(stream)
            client.ping()
        gateway.wait_for_access(6)
        wait_for(lambda: done(gateway, 0) == 6, "the work of requests that are over")
        with RawClient(gateway.port) as client:
            assert client.send(GET).read_response().status == 200


def test_a_gateway_ends_while_work_is_under_way(origin):
    with Gateway({**config(origin.port, act="off_loop", work=1),
                  "gateway": {**LISTEN, "timeouts": {"shutdown": "100ms"}}}) as gateway:
        with RawClient(gateway.port) as client:
            client.send(GET)
            wait_for_work(gateway, 1)
            assert gateway.run("-s", "stop").returncode == 0
        gateway.process.wait(timeout=30)
        gateway.process = None


# Tickets


@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize("probe", [{"act": "drop_ticket"}, {"act": "keep_ticket", "limit": 0.05}, {"act": "fail"}])
def test_a_failure_is_a_500_and_said_in_the_log(origin, where, probe):
    with Gateway(config(origin.port, in_header_filter=where, **probe)) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(2):
                response = client.send(GET).read_response()
                assert response.status == 500
                assert "error_msg" in response.json()
        with Http2Client(gateway.port) as client:
            assert client.finish(client.start()).status == 500
        assert {record["reason"] for record in gateway.wait_for_access(3)} == {"plugin_failed"}
        assert "a plugin failed" in gateway.log
    assert len(origin.requests) == (3 if where else 0)


# Responses that are held


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_a_held_response_is_complete(large, path):
    expected = LARGE if path == "/" else LARGE[:1_000_000]
    with Gateway(config(large.port, act="off_loop", work=0.05, in_header_filter=True)) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(2):
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
                response = client.read_response()
                assert (response.status, response.body) == (200, expected)
                assert response.value("X-Probe") == "0"
            if path == "/":
                client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                response = client.read_response("HEAD")
                assert response.value("Content-Length") == str(len(LARGE))
        with Http2Client(gateway.port) as client:
            response = client.finish(client.start(http2_request(path=path)))
            assert (response.status, response.body) == (200, expected)


def test_a_reply_takes_the_place_of_a_response(large):
    with Gateway(config(large.port, act="reply", status=403, in_header_filter=True)) as gateway:
        with RawClient(gateway.port) as client:
            for path in ("/", "/chunked", "/"):
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
                response = client.read_response()
                assert (response.status, response.body) == (403, b"of the probe")
                assert response.values("Content-Length") == ["12"]
        with Http2Client(gateway.port) as client:
            response = client.finish(client.start())
            assert (response.status, response.body) == (403, b"of the probe")


def test_an_upstream_that_ends_while_its_response_is_held(origin):
    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        connection.close()
    with Origin(script) as cut, Gateway(config(cut.port, act="off_loop", work=0.3, in_header_filter=True)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(GET)
            try:
                # Nobody has seen its head: it can still be an error.
                assert client.read_response().status == 502
            except ConnectionEnded as ended:
                # The end came behind the head, which has gone by now: the body is cut.
                assert ended.partial.endswith(b"hello")


# Bodies of requests


def test_a_body_is_read_and_replaced(origin):
    with Gateway(config(origin.port, body_limit=100_000, wraps_body=True)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            assert client.read_response().value("X-Probe") == "7"
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
            assert client.read_response().status == 200
            client.send(GET)
            assert client.read_response().status == 200
        with Http2Client(gateway.port) as client:
            stream = client.start(http2_request("POST"), end=False)
            client.data(stream, b"hel")
            client.ping()
            client.data(stream, b"lo", end=True)
            assert client.finish(stream).status == 200
    assert [request.body for request in origin.requests] == [b"<hello>", b"<hello>", b"<>", b"<hello>"]
    assert {request.framing for request in origin.requests} == {"length"}


def test_a_body_over_the_plugins_limit_is_refused(origin):
    with Gateway(config(origin.port, body_limit=10)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789")
            assert client.read_response().status == 200
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
            response = client.read_response()
            assert (response.status, response.informational) == (413, [])
        with RawClient(gateway.port) as client:
            client.send_leniently(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  + b"6\r\n012345\r\n" * 2 + b"0\r\n\r\n")
            assert client.read_response().status == 413
            client.expect_close()
        with Http2Client(gateway.port) as client:
            stream = client.start(http2_request("POST"), end=False)
            client.data(stream, b"0123456789a", end=True)
            assert client.finish(stream).status == 413
    assert len(origin.requests) == 1


def test_who_waits_for_100_is_told_to_go_on(origin):
    with Gateway(config(origin.port, body_limit=10, wraps_body=True)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert client.read_head().status == 100
            client.send(b"hello")
            assert client.read_response().status == 200
    assert [request.body for request in origin.requests] == [b"<hello>"]


def test_a_body_that_is_not_complete_is_not_seen(origin):
    with Gateway(config(origin.port, body_limit=1000, act="reply", status=418)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
            client.reset()
        assert gateway.wait_for_access(1)[0]["reason"] == "client_closed"
    assert not origin.requests


# gRPC


def grpc_fields():
    return http2_request("POST", "/test.Echo/Unary", extra=[("content-type", "application/grpc"), ("te", "trailers")])


@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize("status, code", [(401, "16"), (403, "7"), (404, "12"), (429, "8"), (503, "14"), (504, "4")])
def test_a_reply_to_a_grpc_client_has_its_form(origin, where, status, code):
    with Gateway(config(origin.port, act="reply", status=status, in_header_filter=where)) as gateway:
        with Http2Client(gateway.port) as client:
            stream = client.start(grpc_fields(), end=False)
            client.data(stream, b"\0\0\0\0\0", end=True)
            response = client.finish(stream)
        assert response.status == 200
        fields = dict(response.headers) | dict(response.trailers or [])
        assert fields["grpc-status"] == code
        assert fields["grpc-message"] == "of the probe"
        assert fields["content-type"].startswith("application/grpc")
        assert response.body == b""


def test_a_failure_for_a_grpc_client(origin):
    with Gateway(config(origin.port, act="fail")) as gateway, Http2Client(gateway.port) as client:
        response = client.finish(client.start(grpc_fields()))
        assert (response.status, response.value("grpc-status")) == (200, "2")
