"""Upstreams that fail in every way: what the client is told, and that nobody gets a wrong answer."""
# ctest: timeout=180

import socket
import threading

import pytest

from support.gateway import Gateway, free_port, route, wait_for
from support.origin import OK, Origin, drip, once, serve
from support.raw import ConnectionEnded, RawClient

TIMEOUT = {"connect": 0.5, "send": 0.5, "read": 0.5}


@pytest.fixture(scope="module")
def stage():
    """A gateway that uses each upstream connection once, so that cases do not meet."""
    with Origin() as origin:
        fields = {"timeout": TIMEOUT, "keepalive_pool": {"size": 1, "idle_timeout": 60, "requests": 1}}
        with Gateway({"routes": [route(origin.port, upstream=fields)]}) as gateway:
            yield gateway, origin


def answer_to(stage, script, method="GET", body=None):
    gateway, origin = stage
    origin.script = script
    origin.requests.clear()
    with RawClient(gateway.port) as client:
        return client.request(method, "/", body)


def assert_bad_gateway(response, status=502):
    assert response.status == status, response
    assert response.json()["error_msg"].startswith(f"{status} ")
    assert response.json()["reason"]


def reset_at_once(connection):
    connection.read_head()
    connection.reset()


def close_at_once(connection):
    connection.read_head()
    connection.close()


def say(data, end="close"):
    return once(data, end)


def test_row133_connect_refused():
    with Gateway({"routes": [route(free_port())]}) as gateway, RawClient(gateway.port) as client:
        for _ in range(2):
            assert_bad_gateway(client.get())
        assert client.request("POST", "/", b"x").json()["reason"] == "connect_refused"


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_row133_connect_refused_goes_to_the_next_node(origin, method):
    config = {"routes": [route(free_port(), origin.port)]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        for _ in range(10):
            assert client.request(method, "/", b"body").status == 200
    assert len(origin.requests) == 10
    assert {request.body for request in origin.requests} == {b"body"}


def test_retries_can_be_turned_off(origin):
    config = {"routes": [route(free_port(), origin.port, upstream={"retries": 0})]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        assert sorted(client.get().status for _ in range(10)) == [200] * 5 + [502] * 5


def test_row151_all_nodes_fail_within_the_number_of_retries():
    with Origin(reset_at_once) as one, Origin(reset_at_once) as two, Origin(reset_at_once) as three:
        config = {"routes": [route(one.port, two.port, three.port, upstream={"retries": 1})]}
        with Gateway(config) as gateway, RawClient(gateway.port) as client:
            assert_bad_gateway(client.get())
            (record,) = gateway.wait_for_access(1)
        assert record["attempts"] == 2
        assert sum(len(origin.connections) for origin in (one, two, three)) == 2


def test_connect_timeout():
    """A listener whose queue is full does not answer SYNs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        with Gateway({"routes": [route(port, upstream={"timeout": TIMEOUT})]}) as gateway:
            with RawClient(gateway.port) as client:
                response = client.get()
        for filler in fillers:
            filler.close()
    assert_bad_gateway(response, 504)
    assert response.json()["reason"] == "connect_timeout"


@pytest.mark.parametrize("script", [reset_at_once, close_at_once])
def test_row134_ends_before_a_byte(stage, script):
    assert_bad_gateway(answer_to(stage, script))
    assert_bad_gateway(answer_to(stage, script, "POST", b"x"))


@pytest.mark.parametrize("script", [reset_at_once, close_at_once])
def test_row134_idempotent_requests_go_to_the_next_node(origin, script):
    with Origin(script) as bad:
        with Gateway({"routes": [route(bad.port, origin.port)]}) as gateway, RawClient(gateway.port) as client:
            for _ in range(4):
                assert client.get().status == 200
            statuses = [client.request("POST", "/", b"x").status for _ in range(4)]
            assert sorted(statuses) == [200, 200, 502, 502]
        posts_seen = bad.received.count(b"POST / ") + len([r for r in origin.requests if r.method == "POST"])
        assert posts_seen == 4


@pytest.mark.parametrize("end, status", [("close", 502), ("reset", 502), ("wait", 504)])
@pytest.mark.parametrize("data", [b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le",
                                  b"\x15\x03\x01\x00\x02\x02\x16"])
def test_row135_partial_heads(stage, data, end, status):
    assert_bad_gateway(answer_to(stage, say(data, end)), status)


@pytest.mark.parametrize("data", [
    pytest.param(b"<html>hello</html>\r\n\r\n", id="row135-http-0.9"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="row135-ssh"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", id="row139-two-lengths"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc", id="row139-length-list"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab", id="row139-negative"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab", id="row139-overflow"),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab", id="unknown-coding"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", id="row140-nul"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", id="row140-bare-cr"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", id="row140-space-before-colon"),
    pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="row140-no-colon"),
    pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="row141-version"),
    pytest.param(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", id="row141-status-2000"),
    pytest.param(b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", id="row141-status-000"),
    pytest.param(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", id="row141-status-099"),
    pytest.param(b"HTTP/1.1 102 P\r\n\r\n" * 200 + OK, id="row143-200-informational"),
    pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="row144-101"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100 * 1024 + b"\r\nContent-Length: 0\r\n\r\n",
                 id="row145-100-kb-field"),
    pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", id="row145-20000-fields"),
])
@pytest.mark.parametrize("end", ["close", "wait"])
def test_invalid_responses(stage, data, end):
    assert_bad_gateway(answer_to(stage, say(data, end)))


def test_row140_folded_field_is_joined_or_refused(stage):
    response = answer_to(stage, say(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"))
    assert response.status == 502 or (response.status, response.value("X")) == (200, "a b")


TRUNCATED = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhello",
    "no-last-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no-last-line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", TRUNCATED.values(), ids=TRUNCATED)
@pytest.mark.parametrize("end", ["close", "reset", "wait"])
def test_rows136_and_137_client_sees_the_truncation(stage, data, end):
    """Also when the upstream stalls after its head ("wait"): its read timeout ends the response."""
    gateway, origin = stage
    origin.script = say(data, end)
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            response = client.read_response()
        except ConnectionEnded as ended:
            assert b"0\r\n\r\n" not in ended.partial
        else:
            # A reset may overtake the head: then nothing was relayed yet.
            assert_bad_gateway(response)


def test_row136_reset_of_a_body_without_length(stage):
    """Delimited by the close: a reset is not that close."""
    gateway, origin = stage
    relayed = threading.Event()

    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        relayed.wait(20)
        connection.reset()
    origin.script = script
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_head().status == 200
        assert client.read_exactly(10) == b"5\r\nhello\r\n"
        relayed.set()
        with pytest.raises(ConnectionEnded) as ended:
            client.read_until(b"0\r\n\r\n")
        assert ended.value.partial == b""


def test_row137_stall_before_the_head(stage):
    response = answer_to(stage, lambda connection: (connection.read_request(), connection.wait_for_close()))
    assert_bad_gateway(response, 504)
    assert response.json()["reason"] == "upstream_read_timeout"


def test_row137_stall_behind_an_informational_response(stage):
    """Of the response itself nothing has come: a timeout, not a cut."""
    response = answer_to(stage, say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "wait"))
    assert_bad_gateway(response, 504)
    assert response.json()["reason"] == "upstream_read_timeout"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_row134_a_cut_head_of_an_idempotent_request_goes_to_the_next_node(origin, end):
    with Origin(say(b"HTTP/1.1 200 OK\r\nContent-Le", end)) as bad:
        with Gateway({"routes": [route(bad.port, origin.port)]}) as gateway, RawClient(gateway.port) as client:
            assert [client.get().status for _ in range(4)] == [200] * 4
            statuses = [client.request("POST", "/", b"x").status for _ in range(4)]
            assert sorted(statuses) == [200, 200, 502, 502]


def test_route_timeout_wins(origin):
    origin.script = lambda connection: (connection.read_request(), connection.wait_for_close())
    config = {"routes": [route(origin.port, timeout={"connect": 5, "send": 5, "read": 0.2})]}
    with Gateway(config) as gateway, RawClient(gateway.port) as client:
        assert client.get().status == 504


def test_slow_but_steady_response_does_not_time_out(stage):
    """The read timeout is between two reads, not for the whole."""
    gateway, origin = stage
    origin.script = drip(8, 0.15)  # more than the timeout in all
    with RawClient(gateway.port) as client:
        assert client.get().body == b"x" * 8


def test_row138_chunked_wins_over_length(origin, gateway):
    origin.script = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                          b"5\r\nhello\r\n0\r\n\r\n")
    with RawClient(gateway.port) as client:
        for _ in range(2):
            response = client.get()
            assert (response.status, response.framing, response.body) == (200, "chunked", b"hello")
    assert len(origin.connections) == 2


@pytest.mark.parametrize("method, head", [
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n"),
], ids=["204", "304", "HEAD"])
def test_row146_body_where_none_can_be_is_never_an_answer(origin, gateway, method, head):
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"

    def script(connection):
        connection.read_request()
        connection.send(head + evil)
        connection.wait_for_close()
    origin.script = script
    with RawClient(gateway.port) as client:
        assert client.request(method).status in (200, 204, 304)
        origin.script = serve()
        for _ in range(3):
            assert client.get().body == b"ok"
    assert b"GET / HTTP/1.1" not in origin.connections[0].received.partition(b"\r\n\r\n")[2]


def test_row147_second_answer_is_never_delivered(origin, gateway):
    def script(connection):
        connection.read_request()
        connection.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        connection.wait_for_close()
    origin.script = script
    with RawClient(gateway.port) as client:
        assert client.get().body == b"ok"
        origin.script = serve()
        for _ in range(3):
            assert client.get().body == b"ok"


def test_row147_bytes_on_an_idle_connection_end_it(origin, gateway):
    ready = threading.Event()

    def script(connection):
        connection.read_request()
        connection.send(OK)
        ready.wait(20)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        connection.wait_for_close()
        origin.ended = True
    origin.script, origin.ended = script, False
    with RawClient(gateway.port) as client:
        assert client.get().body == b"ok"
        ready.set()
        wait_for(lambda: origin.ended, "the end of the connection that spoke while idle")
        origin.script = serve()
        assert client.get().body == b"ok"


@pytest.mark.parametrize("status", [413, 401, 200])
@pytest.mark.parametrize("end", ["close", "drain"])
def test_row148_early_answer_while_the_client_uploads(origin, gateway, status, end):
    def script(connection):
        request = connection.read_head()
        connection.send(b"HTTP/1.1 %d Early\r\nContent-Length: 5\r\n%s\r\nearly"
                        % (status, b"Connection: close\r\n" if end == "close" else b""))
        if end == "drain":
            connection.read_body(request, keep=False)
            connection.wait_for_close()
        else:
            connection.finish_sending()
            connection.wait_for_close()
    origin.script = script
    with RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_000)
        head = client.read_head()  # before the rest is sent
        assert head.status == status
        assert client.read_exactly(5) == b"early"
        for _ in range(99):
            client.send_leniently(b"x" * 100_000)
    with RawClient(gateway.port) as client:
        origin.script = serve()
        assert client.get().body == b"ok"


@pytest.mark.parametrize("method, status", [
    ("GET", 200), ("HEAD", 200), ("PUT", 200), ("DELETE", 200), ("OPTIONS", 200),
    ("POST", 502), ("PATCH", 502)])
def test_row149_reused_connection_ends_at_its_second_request(origin, gateway, method, status):
    def script(connection):
        connection.read_request()
        connection.send(OK)
        if connection.number == 0:
            connection.read_request()
            connection.close()
        else:
            serve()(connection)
    origin.script = script
    with RawClient(gateway.port) as client:
        assert client.get("/first").status == 200
        body = b"hello" if method in ("PUT", "POST", "PATCH") else None
        assert client.request(method, "/second", body).status == status
        assert client.get("/third").status == 200
    seconds = [request for request in origin.requests if request.target == "/second"]
    assert len(seconds) == (2 if status == 200 else 1)


def test_idle_connection_closed_by_the_origin_is_not_used(origin, gateway):
    origin.script = once(OK, end="close")
    with RawClient(gateway.port) as client:
        for number in range(20):
            assert client.request("POST" if number % 2 else "GET", "/", b"x").status == 200
            # The gateway learns of the close by its armed read; a POST must not meet it.
            wait_for(lambda: _closed_by_gateway(gateway, origin), "the gateway to drop the connection")
    assert len(origin.requests) == 20


def _closed_by_gateway(gateway, origin):
    """No socket of the gateway is connected to the origin (state 01 or 08 in /proc/net/tcp)."""
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            remote_port = int(fields[2].rpartition(":")[2], 16)
            if remote_port == origin.port and fields[3] in ("01", "08"):
                return False
    return True


def test_row150_upstream_fin_while_the_body_is_sent(stage):
    gateway, origin = stage
    origin.script = close_at_once
    with RawClient(gateway.port) as client:
        client.send_leniently(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1000)
        assert_bad_gateway(client.read_response())


def test_pool_takes_the_latest_connection_and_keeps_its_size():
    barrier = threading.Barrier(5, timeout=20)

    def script(connection):
        while True:
            target = connection.read_request().target
            if target == "/together":
                barrier.wait()
            connection.send(OK)
    with Origin(script) as origin:
        pool = {"size": 2, "idle_timeout": 60, "requests": 1000}
        with Gateway({"routes": [route(origin.port, upstream={"keepalive_pool": pool})]}) as gateway:
            clients = [RawClient(gateway.port) for _ in range(5)]
            for client in clients:
                client.send(b"GET /together HTTP/1.1\r\nHost: a\r\n\r\n")
            for client in clients:
                assert client.read_response().status == 200
            assert len(origin.connections) == 5
            for _ in range(10):
                assert clients[0].get("/alone").status == 200
            assert len(origin.connections) == 5
            open_now = [c for c in origin.connections if c.socket.fileno() >= 0]
            wait_for(lambda: len([c for c in origin.connections if c.socket.fileno() >= 0]) == 2,
                     f"two idle connections, there are {len(open_now)}")
            for client in clients:
                client.close()


def test_pool_limits_the_requests_of_a_connection(origin):
    pool = {"size": 2, "idle_timeout": 60, "requests": 3}
    with Gateway({"routes": [route(origin.port, upstream={"keepalive_pool": pool})]}) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(9):
                assert client.get().status == 200
    assert len(origin.connections) == 3


def test_pool_closes_what_is_idle_too_long(origin):
    pool = {"size": 2, "idle_timeout": 0.2, "requests": 100}
    with Gateway({"routes": [route(origin.port, upstream={"keepalive_pool": pool})]}) as gateway:
        with RawClient(gateway.port) as client:
            assert client.get().status == 200
            wait_for(lambda: _closed_by_gateway(gateway, origin), "the idle connection to be closed")
            assert client.get().status == 200
    assert len(origin.connections) == 2


def test_name_that_does_not_resolve_is_an_unhealthy_node(origin):
    nodes = [{"host": "does-not-exist.invalid", "port": 80, "weight": 1}]
    with Gateway({"routes": [
            {"id": "bad", "uri": "/bad", "upstream": {"type": "roundrobin", "nodes": nodes}},
            route(origin.port)]}) as gateway, RawClient(gateway.port) as client:
        assert client.get("/good").status == 200
        assert client.get("/bad").status in (502, 503)
        assert client.get("/good").status == 200
