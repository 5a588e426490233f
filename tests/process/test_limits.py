"""What a client may not do: too large, too slow, too many. Each has its status and costs little."""
# ctest: timeout=180

import threading
import time

import pytest

from support.gateway import Gateway, route, wait_for
from support.origin import OK
from support.raw import ConnectionEnded, RawClient, exchange

SHORT = {"header": "400ms", "body": "400ms", "send": "400ms", "keepalive": "400ms"}


def refused(gateway, data, status):
    """`data` need not be a complete request: the answer comes before its end."""
    with RawClient(gateway.port) as client:
        response = client.send_leniently(data).read_response()
        assert response.status == status, response
        assert response.value("Connection") == "close"
        assert "error_msg" in response.json()
        client.expect_close()


# Sizes


@pytest.mark.parametrize("data, status", [
    pytest.param(b"GET /" + b"a" * 65536, 414, id="row88-uri"),
    pytest.param(b"GET /?" + b"a" * 65536, 414, id="row88-query"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100 * 1024, 431, id="row88-one-field"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"a" * 65536, 431, id="row88-cookie"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a" * 100 * 1024, 431, id="row88-field-name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 1000, 431,
                 id="row88-total-of-1-mb"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431, id="row88-2000-fields"),
    pytest.param(b"A" * 70_000, 400, id="method"),
])
def test_default_head_limits(origin, gateway, data, status):
    refused(gateway, data, status) if status != 400 else refused_any(gateway, data)
    assert origin.requests == []


def refused_any(gateway, data):
    assert exchange(gateway.port, data).status in (400, 414, 501)


@pytest.mark.parametrize("length, status", [(240, 200), (270, 414)])
def test_configured_request_line(origin, length, status):
    line = b"GET /".ljust(length - len(b" HTTP/1.1"), b"a") + b" HTTP/1.1"
    config = {"gateway": {"limits": {"request_line": 256}}, "routes": [route(origin.port)]}
    with Gateway(config) as gateway:
        assert exchange(gateway.port, line + b"\r\nHost: a\r\n\r\n").status == status


def test_configured_head_size_and_count(origin):
    config = {"gateway": {"limits": {"header_size": 1024, "header_count": 10}},
              "routes": [route(origin.port)]}
    with Gateway(config) as gateway:
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        assert exchange(gateway.port, head + b"X: " + b"a" * 900 + b"\r\n\r\n").status == 200
        refused(gateway, head + b"X: " + b"a" * 1100 + b"\r\n\r\n", 431)
        assert exchange(gateway.port, head + b"X: y\r\n" * 9 + b"\r\n").status == 200
        refused(gateway, head + b"X: y\r\n" * 10 + b"\r\n", 431)


@pytest.fixture
def small_bodies(origin):
    config = {"gateway": {"client_max_body_size": "10KB"}, "routes": [route(origin.port)]}
    with Gateway(config) as gateway:
        yield gateway


def test_row89_length_over_the_limit_is_refused_before_the_body(origin, small_bodies):
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n"
    refused(small_bodies, head + b"\r\n", 413)
    with RawClient(small_bodies.port) as client:
        response = client.send(head + b"Expect: 100-continue\r\n\r\n").read_response()
        assert (response.status, response.informational) == (413, [])
    refused(small_bodies, head + b"\r\n" + b"x" * 10001, 413)
    assert origin.connections == []


def test_row89_chunked_body_over_the_limit_is_cut(origin, small_bodies):
    with RawClient(small_bodies.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000 + b"\r\n")
        wait_for(lambda: b"POST / " in origin.received, "the head at the origin")
        client.send_leniently((b"1388\r\n" + b"x" * 5000 + b"\r\n") * 2 + b"0\r\n\r\n")
        assert client.read_response().status == 413
        client.expect_close()
    assert origin.requests == []


def test_bodies_at_the_limit_pass(origin, small_bodies):
    with RawClient(small_bodies.port) as client:
        assert client.request("POST", "/", b"x" * 10000).status == 200
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + b"x" * 10000
                    + b"\r\n0\r\n\r\n")
        assert client.read_response().status == 200
    assert [len(request.body) for request in origin.requests] == [10000, 10000]


def limited(origin, plugin_limit):
    return {"gateway": {"client_max_body_size": "10KB"},
            "routes": [route(origin.port, plugins={"client-control": {"max_body_size": plugin_limit}})]}


def test_a_plugin_allows_longer_bodies_than_the_gateway(origin):
    with Gateway(limited(origin, 20000)) as gateway:
        with RawClient(gateway.port) as client:
            assert client.request("POST", "/", b"x" * 20000).status == 200
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n" + b"x" * 20000
                        + b"\r\n0\r\n\r\n")
            assert client.read_response().status == 200
    assert [len(request.body) for request in origin.requests] == [20000, 20000]


def test_a_plugin_allows_any_body(origin):
    with Gateway(limited(origin, 0)) as gateway:
        with RawClient(gateway.port) as client:
            assert client.request("POST", "/", b"x" * 300_000).status == 200


def test_row89_a_plugin_allows_less(origin):
    with Gateway(limited(origin, 100)) as gateway:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n"
        with RawClient(gateway.port) as client:
            response = client.send(head + b"Expect: 100-continue\r\n\r\n").read_response()
            assert (response.status, response.informational) == (413, [])
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n" + b"x" * 50 + b"\r\n")
            wait_for(lambda: b"POST / " in origin.received, "the head at the origin")
            client.send_leniently((b"32\r\n" + b"x" * 50 + b"\r\n") * 2 + b"0\r\n\r\n")
            assert client.read_response().status == 413
            client.expect_close()
    assert origin.requests == []


# Time


@pytest.fixture
def impatient(origin):
    with Gateway({"gateway": {"timeouts": SHORT}, "routes": [route(origin.port)]}) as gateway:
        yield gateway


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: y"])
def test_row84_slow_head_is_ended(impatient, data):
    refused(impatient, data, 408)


def dribble(client, piece):
    """Sends `piece` again and again, until an answer has begun or the connection is reset."""
    def answered():
        client.send_leniently(piece)
        try:
            client.socket.setblocking(False)
            return client._more() or True
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        finally:
            client.socket.settimeout(20)
    wait_for(answered, f"the end of what grows by {piece} for ever")


def test_row84_dribbling_does_not_extend_the_head(impatient):
    with RawClient(impatient.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        dribble(client, b"X: y\r\n")
        assert client.buffer.startswith(b"HTTP/1.1 408 ")


def test_connection_that_says_nothing_is_closed(impatient):
    with RawClient(impatient.port) as client:
        assert client.read_to_end() == b""


def test_row84_others_are_served_beside_a_crowd_of_slow_ones(origin):
    with Gateway({"routes": [route(origin.port)]}) as gateway:
        crowd = [RawClient(gateway.port).send(b"GET / HTTP/1.1\r\nHost: a\r\n") for _ in range(500)]
        for _ in range(20):
            assert exchange(gateway.port, REQUEST).status == 200
        for client in crowd:
            client.send(b"\r\n")
        for client in crowd:
            assert client.read_response().status == 200
            client.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 8192", b"Transfer-Encoding: chunked"])
def test_row85_slow_body_is_ended(origin, impatient, framing):
    refused(impatient, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n", 408)
    assert origin.requests == []


@pytest.mark.parametrize("framing,piece", [(b"Content-Length: 100000000", b"x"),
                                           (b"Transfer-Encoding: chunked", b"1\r\nx\r\n")])
def test_row85_dribbled_body_is_ended(origin, framing, piece):
    # No gap is as long as the timeout of 30 s: it is the average that is too low.
    limits = {"min_body_rate": 1_000_000}
    with Gateway({"gateway": {"limits": limits}, "routes": [route(origin.port)]}) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
            dribble(client, piece)
            assert client.buffer.startswith(b"HTTP/1.1 408 ")
            (record,) = gateway.wait_for_access(1)
            assert record["reason"] == "body_timeout"


def test_a_client_that_is_being_answered_may_be_silent(origin, impatient):
    def script(connection):
        request = connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(12):  # together longer than the gateway waits for a silent client
            connection.send(b"5\r\nevent\r\n")
            time.sleep(0.1)
        connection.read_body(request)
        connection.send(b"0\r\n\r\n")
    origin.script = script
    with RawClient(impatient.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wait_for(lambda: client._more() or client.buffer.count(b"event") == 12, "all events")
        client.send(b"0\r\n\r\n")
        assert client.read_response().body == b"event" * 12


def test_idle_connection_is_closed(impatient):
    with RawClient(impatient.port) as client:
        assert client.get().status == 200
        client.expect_close()


def test_row86_slow_reader_is_ended(origin, impatient):
    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            connection.send(b"x" * 100_000)
        origin.finished = True
    origin.script, origin.finished = script, False
    with RawClient(impatient.port, receive_buffer=4096) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (record,) = impatient.wait_for_access(1)
        assert record["reason"] == "client_send_timeout"
        with pytest.raises(ConnectionEnded):
            client.read_response()
    wait_for(lambda: not origin.connections[0].socket.fileno() > 0, "the end of the upstream connection")
    assert not origin.finished


# Number


@pytest.fixture
def ten_places(origin):
    config = {"gateway": {"limits": {"worker_connections": 10}}, "routes": [route(origin.port)]}
    with Gateway(config) as gateway:
        yield gateway


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("leave", [True, False], ids=["until one leaves", "until one is idle"])
def test_row92_at_the_limit_new_connections_wait(origin, ten_places, leave):
    """In the kernel's queue, which is bounded, while all others are busy."""
    go_on = threading.Event()

    def script(connection):
        while True:
            connection.read_request()
            assert go_on.wait(30)
            connection.send(OK)
    origin.script = script
    inside = []
    for number in range(10):
        inside.append(RawClient(ten_places.port).send(REQUEST))
        origin.wait_for_requests(number + 1)
    with RawClient(ten_places.port) as outside:
        outside.send(REQUEST)
        wait_for(lambda: "worker_connections" in ten_places.log, "the limit to be reported")
        assert len(origin.requests) == 10
        go_on.set()
        for client in inside:
            assert client.read_response().status == 200
            if leave:
                client.close()
        assert outside.read_response().status == 200
    for client in inside:
        client.close()


def test_row92_at_the_limit_the_longest_idle_connection_gives_way(ten_places):
    clients = []
    for _ in range(30):
        clients.append(RawClient(ten_places.port))
        assert clients[-1].get().status == 200
    clients[0].expect_close()
    assert clients[-1].get().status == 200
    for client in clients:
        client.close()
