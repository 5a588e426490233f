"""HTTP/2 to upstreams (scheme h2c), seen by clients of HTTP/1.1: a real nghttpd for what goes well, a
scripted peer for what does not."""
# ctest: timeout=180

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading

import h2.errors
import h2.exceptions
import h2.settings
import pytest

from support.gateway import Gateway, free_port, upstream, wait_for
from support.h2_origin import H2Origin
from support.raw import ConnectionEnded, RawClient

NGHTTPD = shutil.which("nghttpd") or "/usr/sbin/nghttpd"


def config(*ports, **fields):
    return {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(*ports, scheme="h2c", **fields)}]}


@contextlib.contextmanager
def stage(answer=None, fields=None, **settings):
    with H2Origin(answer, **settings) as origin:
        with Gateway(config(origin.port, **(fields or {}))) as gateway:
            yield gateway, origin


def ok(connection, stream, _):
    connection.respond(stream, body=b"fine")


def get(gateway, path="/"):
    with RawClient(gateway.port) as client:
        return client.request("GET", path)


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory):
    root = tmp_path_factory.mktemp("www")
    (root / "small").write_bytes(b"small")
    (root / "big").write_bytes(os.urandom(5_000_000))
    port = free_port()
    process = subprocess.Popen([NGHTTPD, "--no-tls", "-a", "127.0.0.1", "-d", str(root), str(port)],
                               stdout=subprocess.DEVNULL)

    def answers():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
    wait_for(answers, "nghttpd")
    with Gateway(config(port)) as gateway:
        yield gateway, root, process
    process.kill()
    process.wait()


def test_bodies_of_a_real_server(nghttpd):
    gateway, root, _ = nghttpd
    assert get(gateway, "/small").body == b"small"
    assert get(gateway, "/big").body == (root / "big").read_bytes()
    assert get(gateway, "/nothing").status == 404


def test_many_clients_share_a_connection(nghttpd):
    gateway, _, process = nghttpd
    results = []

    def ask():
        with RawClient(gateway.port) as client:
            for _ in range(20):
                results.append(client.request("GET", "/small").body)
    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"small"] * 600
    sockets = [fd for fd in os.listdir(f"/proc/{process.pid}/fd")
               if os.readlink(f"/proc/{process.pid}/fd/{fd}").startswith("socket:")]
    assert len(sockets) <= 1 + 2, sockets  # listening, and one or two connections


def test_request_becomes_http2():
    with stage(ok) as (gateway, origin), RawClient(gateway.port) as client:
        client.send(b"GET /a%20b?q=1 HTTP/1.1\r\nHost: Shop.test:81\r\nX-Mixed: Case\r\n"
                    b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers, deflate\r\n\r\n")
        assert client.read_response().body == b"fine"
        (request,) = origin.requests
        assert request[":method"] == "GET" and request[":scheme"] == "http"
        assert request[":authority"] == "Shop.test:81" and request[":path"] == "/a%20b?q=1"
        assert request["x-mixed"] == "Case" and request["te"] == "trailers"
        assert request["x-forwarded-for"] == "127.0.0.1"
        assert not {"connection", "x-hop", "host", "keep-alive"} & set(request)


def test_trailers_both_ways():
    def answer(connection, stream):
        connection.respond(stream, body=b"body", trailers=[("x-sum", "7"), ("x-got", str(
            connection.trailers.get(stream, {}).get("x-check")))])
    with stage(on_end=answer) as (gateway, origin), RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
                    b"3\r\nabc\r\n0\r\nX-Check: 5\r\n\r\n")
        response = client.read_response()
        assert response.body == b"body"
        assert ("x-sum", "7") in [(name.lower(), value) for name, value in response.trailers]
        assert ("x-got", "5") in [(name.lower(), value) for name, value in response.trailers]


def test_refused_stream_is_tried_again_even_for_post():
    refused = []

    def answer(connection, stream, headers):
        if refused:
            return ok(connection, stream, headers)
        refused.append(stream)
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        return connection.flush()
    with stage(answer) as (gateway, origin), RawClient(gateway.port) as client:
        assert client.request("POST", "/", b"x").status == 200
        assert len(origin.requests) == 2


def test_reset_of_a_post_is_not_tried_again():
    def answer(connection, stream, _):
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        connection.flush()
    with stage(answer) as (gateway, origin), RawClient(gateway.port) as client:
        response = client.request("POST", "/", b"x")
        assert (response.status, response.json()["reason"]) == (502, "upstream_reset")
        assert len(origin.requests) == 1
        assert len(origin.connections) == 1


def test_streams_that_are_reset_count_against_their_node():
    """Their connection lives, so it was not given up while idle: another node is asked, and this one ejected."""
    broken = threading.Event()

    def answer(connection, stream, _):
        if broken.is_set():
            connection.h2.reset_stream(stream, 2)  # INTERNAL_ERROR
            connection.flush()
        else:
            connection.respond(stream, body=b"first")
    with H2Origin(answer) as first, H2Origin(lambda one, stream, _: one.respond(stream, body=b"other")) as other:
        nodes = [{"host": "127.0.0.1", "port": one.port, "weight": 1, "priority": -at}
                 for at, one in enumerate((first, other))]
        running = config(first.port, nodes=nodes, outlier_detection={
            "consecutive_errors": 3, "max_ejection_percent": 100, "base_ejection_time": 3600, "max_ejection_time": 3600})
        with Gateway(running) as gateway, RawClient(gateway.port) as client:
            assert client.get().body == b"first"
            broken.set()
            assert [client.get().body for _ in range(6)] == [b"other"] * 6
            assert "node is ejected" in gateway.log
            assert [record["attempts"] for record in gateway.wait_for_access(7)] == [1, 2, 2, 2, 1, 1, 1]
    assert len(first.requests) == 4 and len(first.connections) == 1


def test_resets_after_early_answers_are_no_flood():
    """RFC 9113 8.1: a server that has answered may reset the rest of the request with NO_ERROR."""
    def answer(connection, stream, _):
        connection.respond(stream, body=b"fine")
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
        connection.flush()
    with stage(answer) as (gateway, origin), RawClient(gateway.port) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
        client.send(head)
        for _ in range(600):
            assert client.read_response().status == 200
            client.send(b"x" + head)  # the body comes when the answer is there
        assert len(origin.connections) == 1


def test_reset_within_the_body_cuts_the_response():
    def answer(connection, stream, _):
        connection.h2.send_headers(stream, [(":status", "200")])
        connection.h2.send_data(stream, b"part")
        connection.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        connection.flush()
    with stage(answer) as (gateway, _), RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionEnded):
            client.read_response()


def test_goaway_moves_later_requests_to_another_connection():
    def answer(connection, stream, headers):
        connection.respond(stream, body=b"fine")
        if len(connection.origin.requests) == 1:
            connection.h2.close_connection()
            connection.flush()
    with stage(answer) as (gateway, origin):
        for _ in range(3):
            assert get(gateway).status == 200
        assert len(origin.connections) == 2


def test_connection_closed_while_a_get_is_under_way_is_tried_again_once():
    def answer(connection, stream, headers):
        if len(connection.origin.requests) == 2:
            return connection.close()
        return ok(connection, stream, headers)
    with stage(answer) as (gateway, origin):
        assert get(gateway).status == 200
        assert get(gateway).status == 200
        assert len(origin.requests) == 3


def test_streams_up_to_what_the_peer_allows():
    waiting = []

    def answer(connection, stream, _):
        waiting.append((connection, stream))
    settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    with stage(answer, settings=settings) as (gateway, origin):
        clients = []
        with contextlib.ExitStack() as stack:
            def ask():
                client = stack.enter_context(RawClient(gateway.port))
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                clients.append(client)
                wait_for(lambda: len(origin.requests) == len(clients), "the request")
            for _ in range(5):
                ask()
            assert len(origin.connections) == 3
            for connection, stream in waiting:
                connection.respond(stream, body=b"fine")
            assert [client.read_response().status for client in clients] == [200] * 5


def in_flight(gateway):
    (found,) = json.loads(gateway.run("status", "--json").stdout)["upstreams"]
    return sum(node["in_flight"] for node in found["nodes"])


def test_a_burst_before_the_peers_settings_is_not_refused():
    """RFC 9113 5.1.2: streams above what the peer allows are refused, and what it allows is not known yet."""
    lock = threading.Lock()
    waiting, refused = {}, []

    def answer(connection, stream, _):
        with lock:
            mine = waiting.setdefault(connection, [])
            if len(mine) < 3:
                return mine.append(stream)
            refused.append(stream)
        return connection.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    with H2Origin(answer, settings=settings, lenient=True) as origin, contextlib.ExitStack() as stack:
        origin.speaks = False
        gateway = stack.enter_context(Gateway(config(origin.port)))
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(10)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: in_flight(gateway) == 10, "all requests to be under way")
        origin.speak()
        wait_for(lambda: refused or sum(map(len, waiting.values())) == 10, "all streams")
        assert not refused and len(origin.connections) == 4
        for connection, streams in waiting.items():
            for stream in streams:
                connection.respond(stream, body=b"fine")
        assert [client.read_response().status for client in clients] == [200] * 10


def test_a_peer_without_settings_is_no_connection():
    fields = {"timeout": {"connect": 0.5, "send": 60, "read": 60}}
    with stage(ok, fields) as (gateway, origin):
        origin.speaks = False
        response = get(gateway)
        assert (response.status, response.json()["reason"]) == (504, "connect_timeout")
        origin.speaks = True
        assert get(gateway).status == 200
        assert len(origin.connections) == 2


def test_a_connection_for_one_request_each_serves_a_burst():
    """Who waits for a connection that may carry no more gets another one, also before its settings."""
    with stage(ok, {"keepalive_pool": {"size": 10, "requests": 1}}) as (gateway, origin):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(6)]
            for client in clients:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [client.read_response().status for client in clients] == [200] * 6
        assert len(origin.connections) == 6


def test_upload_waits_for_the_window():
    """An upstream that never opens its window: the client is held back, and in the end the send
    timeout answers; other requests on the connection go on."""
    fields = {"timeout": {"connect": 1, "send": 1, "read": 30}}
    with stage(None, fields, acknowledge=False) as (gateway, origin):
        origin.answer = lambda connection, stream, headers: (
            ok(connection, stream, headers) if headers[":path"] == "/quick" else None)
        with RawClient(gateway.port) as client:
            client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
            client.send(b"x" * 60_000)
            wait_for(lambda: origin.requests, "the request")
            assert get(gateway, "/quick").status == 200
            client.send(b"x" * 100_000)
            response = client.read_response()
            assert (response.status, response.json()["reason"]) == (504, "upstream_send_timeout")
        wait_for(lambda: origin.resets, "the reset of the stream")


def test_clients_that_do_not_read_hold_up_nobody_else():
    """Their responses stand still on the connection that all share; its window is not theirs alone."""
    big = bytes(5_000_000)

    def serve(connection, stream, headers):
        if headers[":path"] == "/quick":
            return connection.respond(stream, body=b"quick" * 1000)
        connection.h2.send_headers(stream, [(":status", "200")])
        connection.flush()
        threading.Thread(target=send_all, args=(connection, stream), daemon=True).start()

    def send_all(connection, stream):
        with contextlib.suppress(AssertionError, OSError, h2.exceptions.ProtocolError):
            connection.send_body(stream, big)

    with stage(serve) as (gateway, origin), contextlib.ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(RawClient(gateway.port, receive_buffer=4096))
            client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").read_head()

        def all_stand_still():
            (connection,) = origin.connections
            with connection.lock:
                streams = range(1, 25, 2)
                return not any(connection.h2.local_flow_control_window(stream) for stream in streams)
        wait_for(all_stand_still, "all windows to be used")
        assert get(gateway, "/quick").body == b"quick" * 1000
        assert len(origin.connections) == 1


def test_large_pieces_go_out_without_a_word_from_the_peer():
    """What one turn has read, 128 KiB, is more than is put out in one go. The windows are wide open, and
    nothing that the peer sends reminds the gateway of the rest."""
    size = 4 << 20

    def answer(connection, stream, headers):
        with connection.lock:
            connection.h2.increment_flow_control_window(1 << 28)

    def respond(connection, stream):
        connection.respond(stream, body=hashlib.sha256(connection.bodies[stream]).digest())

    settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 28}
    body = os.urandom(1 << 20) * (size >> 20)
    with stage(answer, acknowledge=False, settings=settings, on_end=respond) as (gateway, origin):
        for framing in ("length", "chunked"):
            with RawClient(gateway.port) as client:
                head = b"Content-Length: %d" % size
                data = body
                if framing == "chunked":
                    head, data = b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + data)
                assert client.read_response().body == hashlib.sha256(body).digest()


def test_client_that_goes_away_resets_its_stream_only():
    with stage(lambda *_: None) as (gateway, origin):
        with RawClient(gateway.port) as client:
            client.send(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: origin.requests, "the request")
            client.reset()
        wait_for(lambda: origin.resets, "the reset of the stream")
        assert origin.resets[0][1] == h2.errors.ErrorCodes.CANCEL
        origin.answer = ok
        assert get(gateway).status == 200
        assert len(origin.connections) == 1


def test_read_timeout_resets_the_stream():
    fields = {"timeout": {"connect": 1, "send": 1, "read": 0.5}}
    with stage(lambda *_: None, fields) as (gateway, origin):
        response = get(gateway)
        assert (response.status, response.json()["reason"]) == (504, "upstream_read_timeout")
        wait_for(lambda: origin.resets, "the reset of the stream")


def test_peer_that_speaks_http1_is_a_bad_gateway():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()
        threading.Thread(target=serve, daemon=True).start()
        with Gateway(config(listener.getsockname()[1])) as gateway:
            assert get(gateway).status == 502
        listener.shutdown(socket.SHUT_RDWR)


def test_malformed_response_is_not_forwarded():
    """RFC 9113 8.2.2: a response with a connection-specific field is malformed."""
    def answer(connection, stream, _):
        connection.h2.config.validate_outbound_headers = False
        connection.h2.config.normalize_outbound_headers = False
        connection.respond(stream, body=b"x", fields=[("transfer-encoding", "chunked")])
    with stage(answer) as (gateway, _):
        assert get(gateway).status == 502
