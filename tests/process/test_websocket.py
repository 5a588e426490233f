"""WebSocket through the gateway: real client and server, and raw bytes where they must be exact."""
# ctest: timeout=600

import asyncio
import hashlib
import http
import os
import signal
import socket
import threading

import pytest
import websockets

from support.gateway import Gateway, example, rss_bytes, route, wait_for
from support.origin import Origin, serve
from support.raw import RawClient
from support.websocket import WebSocketServer, connect

UPGRADE = (b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Protocol: chat\r\n\r\n")
SWITCHING = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
GOING_AWAY = b"\x88\x02\x03\xe9"  # Close, 1001
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
NOT_SPECIAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def config(port, enabled=True, timeout=None, **process):
    fields = {"upstream": {"timeout": timeout}} if timeout else {}
    return {"gateway": process, "routes": [route(port, enable_websocket=enabled, **fields)]}


def tunnel_origin(talk, answer=SWITCHING):
    """An origin that answers each request with a 101 and then runs talk(connection)."""
    def script(connection):
        connection.read_request()
        connection.send(answer)
        talk(connection)
    return Origin(script)


def open_tunnel(gateway, more=b"", **options):
    client = RawClient(gateway.port, **options)
    client.send(UPGRADE + more)
    assert client.read_head().status == 101
    return client


@pytest.fixture(scope="module")
def echo():
    with WebSocketServer(subprotocols=["chat"]) as server:
        with Gateway(config(server.port)) as gateway:
            gateway.server = server
            yield gateway


SIZES = [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20, 5 << 20]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_every_size_class_come_back(echo, compression):
    async def run():
        async with connect(echo.port, compression=compression) as ws:
            for size in SIZES:
                binary = os.urandom(size)
                await ws.send(binary)
                assert await ws.recv() == binary
                text = "ä" * (size // 2)
                await ws.send(text)
                assert await ws.recv() == text
            for end in (ws, echo.server.sockets[-1]):
                assert bool(end.extensions) == (compression is not None)
    asyncio.run(run())


def test_many_small_messages_keep_their_order(echo):
    async def run():
        async with connect(echo.port) as ws:
            async def send():
                for number in range(5000):
                    await ws.send(str(number))
            sending = asyncio.create_task(send())
            for number in range(5000):
                assert await ws.recv() == str(number)
            await sending
    asyncio.run(run())


def test_fragments_pings_and_subprotocols(echo):
    async def run():
        async with connect(echo.port, subprotocols=["other", "chat"]) as ws:
            assert ws.subprotocol == "chat"
            await ws.send(["a" * 10, "b" * 70000, "", "c"])
            assert await ws.recv() == "a" * 10 + "b" * 70000 + "c"
            await asyncio.wait_for(await ws.ping(b"from the client"), 60)
            server = echo.server.sockets[-1]

            async def ping():
                await asyncio.wait_for(await server.ping(b"from the server"), 60)
            await asyncio.get_running_loop().run_in_executor(None, echo.server.run, ping())
    asyncio.run(run())


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "away"), (1011, "x" * 123), (4999, "mine")])
@pytest.mark.parametrize("by", ["client", "server"])
def test_close_codes_pass_in_both_directions(code, reason, by):
    seen = []

    async def handler(ws):
        try:
            if by == "server":
                await ws.close(code, reason)
            else:
                await ws.recv()
        finally:
            await ws.wait_closed()
            seen.append((ws.close_code, ws.close_reason))

    async def run(port):
        async with connect(port) as ws:
            if by == "client":
                await ws.close(code, reason)
            else:
                with pytest.raises(websockets.ConnectionClosed):
                    await ws.recv()
            assert (ws.close_code, ws.close_reason) == (code, reason)

    with WebSocketServer(handler) as server, Gateway(config(server.port)) as gateway:
        asyncio.run(run(gateway.port))
        wait_for(lambda: seen, "the server's side to be closed")
        assert seen == [(code, reason)]
        (record,) = gateway.wait_for_access(1)
        assert (record["status"], record["reason"]) == (101, "ok")


def test_a_refusal_of_the_server_reaches_the_client():
    async def refuse(path, headers):
        return http.HTTPStatus.FORBIDDEN, [("X-Why", "no ticket")], b"forbidden"

    async def run(port):
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            async with connect(port):
                pass
        assert refused.value.status_code == 403
        assert refused.value.headers["X-Why"] == "no ticket"

    with WebSocketServer(process_request=refuse) as server, Gateway(config(server.port)) as gateway:
        asyncio.run(run(gateway.port))


# The upgrade


def test_the_upgrade_is_forwarded_and_its_answer_relayed():
    with tunnel_origin(lambda connection: connection.wait_for_close()) as origin:
        with Gateway(config(origin.port)) as gateway:
            with RawClient(gateway.port) as client:
                answer = client.send(UPGRADE).read_head()
            assert (answer.status, answer.reason) == (101, "Switching Protocols")
            assert answer.value("Upgrade") == "websocket"
            assert answer.value("Connection").lower() == "upgrade"
            assert answer.value("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            assert answer.value("Sec-WebSocket-Protocol") == "chat"
            assert not answer.values("Content-Length") and not answer.values("Transfer-Encoding")
            request = origin.wait_for_requests(1)[0]
            assert request.method == "GET" and request.value("Upgrade") == "websocket"
            assert request.value("Connection").lower() == "upgrade"
            assert request.value("Sec-WebSocket-Key") == "dGhlIHNhbXBsZSBub25jZQ=="
            assert request.value("Sec-WebSocket-Version") == "13"
            assert request.value("Sec-WebSocket-Protocol") == "chat"
            assert request.framing == "none"


@pytest.mark.parametrize("request_bytes", [
    UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    UPGRADE.replace(b"GET", b"POST"),
    UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websocketx"),
    UPGRADE.replace(b"Connection: Upgrade", b"Connection: keep-alive"),
    UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
    UPGRADE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
])
def test_what_is_not_a_websocket_upgrade_is_an_ordinary_request(request_bytes):
    with Origin(serve(NOT_SPECIAL)) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            assert client.send(request_bytes).read_response().body == b"ok"
            if b"HTTP/1.0" not in request_bytes:  # the connection goes on
                assert client.send(GET).read_response().status == 200
        for request in origin.requests:
            assert not request.values("Upgrade")
            assert "upgrade" not in (request.value("Connection") or "").lower()


def test_of_several_upgrades_only_websocket_is_forwarded():
    with Origin(serve(NOT_SPECIAL)) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade: foo, WebSocket")
                        .replace(b"Connection: Upgrade", b"Connection: HTTP2-Settings, upgrade"))
            assert client.read_response().status == 200
        assert origin.requests[0].values("Upgrade") == ["websocket"]
        assert origin.requests[0].value("Connection").lower() == "upgrade"


def test_without_the_switch_no_upgrade_is_forwarded():
    with Origin(serve(NOT_SPECIAL)) as origin, Gateway(config(origin.port, False)) as gateway:
        with RawClient(gateway.port) as client:
            assert client.send(UPGRADE).read_response().status == 200
            assert client.send(GET).read_response().status == 200
        assert not origin.requests[0].values("Upgrade")


def test_the_routes_switch_overrides_the_services():
    with Origin(serve(NOT_SPECIAL)) as origin:
        on, off = {"enable_websocket": True}, {"enable_websocket": False}
        service = route(origin.port)["upstream"]
        settings = {
            "services": [{"id": "on", "upstream": service, **on}, {"id": "off", "upstream": service}],
            "routes": [{"id": "a", "uri": "/a", "service_id": "on"},
                       {"id": "b", "uri": "/b", "service_id": "on", **off},
                       {"id": "c", "uri": "/c", "service_id": "off", **on},
                       {"id": "d", "uri": "/d", "service_id": "off"}]}
        with Gateway(settings) as gateway:
            for path in "abcd":
                with RawClient(gateway.port) as client:
                    client.send(UPGRADE.replace(b"/chat", b"/" + path.encode())).read_response()
        forwarded = {request.target: bool(request.values("Upgrade")) for request in origin.requests}
        assert forwarded == {"/a": True, "/b": False, "/c": True, "/d": False}


# What an attacker would like: a tunnel that one side does not know of


def test_row33_bytes_behind_a_refused_upgrade_are_neither_forwarded_nor_a_request():
    refused = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with Origin(serve(refused)) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(UPGRADE.replace(b"13", b"777") + b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.read_response()
            assert answer.status == 426 and answer.value("Connection") == "close"
            assert client.read_to_end() == b""
        assert [request.target for request in origin.requests] == ["/chat"]
        assert b"/admin" not in origin.received


def test_bytes_behind_an_upgrade_that_fails_here_are_no_request():
    with Gateway(config(1)) as gateway, RawClient(gateway.port) as client:
        client.send(UPGRADE + GET)
        assert client.read_response().status == 502
        assert client.read_to_end() == b""
        assert len(gateway.wait_for_access(1)) == 1


def test_row33_nothing_goes_up_before_the_answer():
    early = b"early bytes " * 10
    answered = threading.Event()

    def script(connection):
        connection.read_head()
        connection.origin.before = None
        answered.wait(60)
        connection.origin.before = connection.buffer  # what read_head had got besides the head
        connection.send(SWITCHING)
        connection.origin.after = connection._take(len(early))
        connection.send(b"seen").wait_for_close()

    with Origin(script) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(UPGRADE + early)
            with RawClient(gateway.port) as other:  # the worker has read all of it by then
                other.send(GET.replace(b"HTTP/1.1", b"HTTP/9.9")).read_response()
            answered.set()
            assert client.read_head().status == 101
            assert client.read_exactly(4) == b"seen"
        assert (origin.before, origin.after) == (b"", early)


@pytest.mark.parametrize("answer", [
    SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    SWITCHING.replace(b"Upgrade: websocket\r\n", b""),
    SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: h2c"),
    SWITCHING.replace(b"Connection: Upgrade\r\n", b"")])
def test_a_101_that_is_no_websocket_opens_nothing(answer):
    with tunnel_origin(lambda connection: connection.wait_for_close(), answer) as origin:
        with Gateway(config(origin.port)) as gateway, RawClient(gateway.port) as client:
            client.send(UPGRADE + b"into the tunnel")
            assert client.read_response().status == 502
            assert client.read_to_end() == b""
            assert gateway.wait_for_access(1)[0]["reason"] == "invalid_response"
        assert b"into the tunnel" not in origin.received


def test_a_101_that_nobody_asked_for_opens_nothing():
    with tunnel_origin(lambda connection: connection.wait_for_close()) as origin:
        with Gateway(config(origin.port)) as gateway, RawClient(gateway.port) as client:
            assert client.send(GET).read_response().status == 502


def test_an_upgrade_waits_for_the_answer_before_it_in_a_pipeline():
    def script(connection):
        connection.read_request()
        connection.send(NOT_SPECIAL)
        connection.read_request()
        connection.send(SWITCHING)
        connection.send(b"tunnel").wait_for_close()

    with Origin(script) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(GET + UPGRADE)
            assert client.read_response().body == b"ok"
            assert client.read_head().status == 101
            assert client.read_exactly(6) == b"tunnel"


def test_a_dead_node_is_passed_over():
    with WebSocketServer() as server:
        settings = config(server.port)
        settings["routes"][0]["upstream"]["nodes"]["127.0.0.1:1"] = 1

        async def run(port):
            for _ in range(4):
                async with connect(port) as ws:
                    await ws.send("x")
                    assert await ws.recv() == "x"
        with Gateway(settings) as gateway:
            asyncio.run(run(gateway.port))


# Bytes


def test_any_bytes_pass_unchanged_in_both_directions():
    size = 20 << 20
    down, up = os.urandom(1 << 20) * 20, os.urandom(1 << 20) * 20
    digests = []

    def talk(connection):
        sending = threading.Thread(target=connection.send, args=(down,))
        sending.start()
        digests.append(hashlib.sha256(connection._take(size)).digest())
        sending.join()
        connection.wait_for_close()

    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        with open_tunnel(gateway) as client:
            sending = threading.Thread(target=client.send, args=(up,))
            sending.start()
            received = client.read_exactly(size)
            sending.join()
            wait_for(lambda: digests, "the origin to have all")
        assert received == down and digests == [hashlib.sha256(up).digest()]
        (record,) = gateway.wait_for_access(1)
        assert record["bytes_in"] == len(UPGRADE) + size
        assert size < record["bytes_out"] < size + 1000
        assert record["status"] == 101


def test_bytes_right_behind_the_101_are_the_tunnels():
    with tunnel_origin(lambda connection: connection.wait_for_close(), SWITCHING + b"first") as origin:
        with Gateway(config(origin.port)) as gateway, open_tunnel(gateway) as client:
            assert client.read_exactly(5) == b"first"


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_closes_pass_and_the_other_direction_goes_on(first):
    def talk(connection):
        if first == "client":
            connection.wait_for_close()
            connection.send(b"late" * 1000)
        else:
            connection.finish_sending()
            assert connection._take(8) == b"late" * 2
            connection.wait_for_close()

    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        with open_tunnel(gateway) as client:
            if first == "client":
                client.finish_sending()
                assert client.read_to_end() == b"late" * 1000
            else:
                assert client.read_to_end() == b""
                client.send(b"late" * 2).finish_sending()
            record = gateway.wait_for_access(1)[0]
            assert (record["status"], record["reason"]) == (101, "ok")


def test_a_client_that_has_ended_before_the_answer_still_gets_it():
    def talk(connection):
        connection.wait_for_close()
        connection.send(b"bye")

    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(UPGRADE + b"all").finish_sending()
            assert client.read_head().status == 101
            assert client.read_to_end() == b"bye"
        assert origin.received.endswith(b"all")


@pytest.mark.parametrize("slow", ["client", "upstream"])
def test_a_slow_reader_holds_the_sender_back(slow):
    """100 MB against a reader that does not read: they wait in the kernel, not in the worker."""
    total = 100 << 20
    piece = bytes(range(256)) * 4096
    sent = [0]
    go_on = threading.Event()

    def push(sock):
        sock.settimeout(None)  # it is held back for as long as the test looks
        while sent[0] < total:
            sock.sendall(piece)
            sent[0] += len(piece)

    def read_all(peer):
        digest, count, data = hashlib.sha256(), 0, peer.buffer
        while True:
            digest.update(data)
            count += len(data)
            if count >= total or not (data := peer.socket.recv(1 << 20)):
                return count, digest.digest()

    results = []

    def talk(connection):
        if slow == "client":
            push(connection.socket)
        else:
            go_on.wait(60)
            results.append(read_all(connection))
        connection.wait_for_close()

    expected = hashlib.sha256()
    for _ in range(total // len(piece)):
        expected.update(piece)
    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        (worker,) = gateway.worker_pids()
        with open_tunnel(gateway, receive_buffer=65536 if slow == "client" else None) as client:
            before = rss_bytes(worker)
            pusher = None
            if slow == "upstream":
                pusher = threading.Thread(target=push, args=(client.socket,))
                pusher.start()
            last = [-1]

            def stands_still():
                now, last[0] = sent[0], sent[0] if sent[0] == last[0] else sent[0]
                for _ in range(20):  # other requests are served meanwhile, and give it time
                    with RawClient(gateway.port) as other:
                        other.send(GET.replace(b"HTTP/1.1", b"HTTP/9.9")).read_response()
                return sent[0] == now and now > 0

            wait_for(stands_still, "the sender to be held back")
            assert sent[0] < total
            assert rss_bytes(worker) - before < 16 << 20
            if slow == "client":
                assert read_all(client) == (total, expected.digest())
            else:
                go_on.set()
                pusher.join()
                wait_for(lambda: results, "the origin to have all")
                assert results == [(total, expected.digest())]


# Ends


@pytest.mark.parametrize("end, reason", [("reset", "upstream_reset"), ("close", "ok")])
def test_an_upstream_that_dies_ends_the_clients_connection(end, reason):
    def talk(connection):
        connection.send(b"some")
        connection._take(4)
        getattr(connection, end)()

    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        with open_tunnel(gateway) as client:
            assert client.read_exactly(4) == b"some"
            client.send(b"more")
            assert client.read_to_end() == b""
        record = gateway.wait_for_access(1)[0]
        assert (record["status"], record["reason"]) == (101, reason)


def test_a_client_that_resets_ends_the_upstreams_connection():
    ended = threading.Event()

    def talk(connection):
        connection.send(b"some").wait_for_close()
        ended.set()

    with tunnel_origin(talk) as origin, Gateway(config(origin.port)) as gateway:
        client = open_tunnel(gateway)
        assert client.read_exactly(4) == b"some"
        client.reset()
        assert ended.wait(60)
        record = gateway.wait_for_access(1)[0]
        assert (record["status"], record["reason"]) == (101, "client_closed")


def test_a_silent_tunnel_is_closed_after_the_read_timeout():
    closed = threading.Event()

    def talk(connection):
        connection.wait_for_close()
        closed.set()

    timeout = {"connect": 5, "send": 5, "read": 1}
    with tunnel_origin(talk) as origin, Gateway(config(origin.port, timeout=timeout)) as gateway:
        with open_tunnel(gateway) as client:
            assert client.read_to_end() == GOING_AWAY
            assert closed.wait(60)
        record = gateway.wait_for_access(1)[0]
        assert (record["status"], record["reason"]) == (101, "tunnel_idle")


@pytest.mark.parametrize("sent, goodbye", [
    (b"\x81\x02ab", GOING_AWAY), (b"\x01\x02ab\x89\x00", GOING_AWAY),  # in a message, not in a frame
    (b"\x81", b""), (b"\x81\x02a", b""), (b"\x82\x7e\x00", b""), (b"\x82\x7f" + bytes(7), b""),
    (b"\x88\x02\x03\xe8", b"")], ids=["a frame", "fragment and ping", "half a header", "half a payload",
                                      "half a length", "half a long length", "closed already"])
def test_a_silent_tunnel_is_told_so_only_between_frames(sent, goodbye):
    timeout = {"connect": 5, "send": 5, "read": 1}
    origin = tunnel_origin(lambda connection: connection.wait_for_close(), SWITCHING + sent)
    with origin, Gateway(config(origin.port, timeout=timeout)) as gateway:
        with open_tunnel(gateway) as client:
            assert client.read_to_end() == sent + goodbye


def test_a_real_client_learns_that_its_socket_was_idle():
    async def run(port):
        async with connect(port) as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1001

    timeout = {"connect": 5, "send": 5, "read": 2}
    with WebSocketServer() as server:
        with Gateway(config(server.port, timeout=timeout)) as gateway:
            asyncio.run(run(gateway.port))
            assert gateway.wait_for_access(1)[0]["reason"] == "tunnel_idle"


@pytest.mark.parametrize("talker", ["client", "upstream"])
def test_bytes_of_one_direction_keep_both_open(talker):
    def talk(connection):
        if talker == "upstream":
            while not connection.origin.enough.wait(0.05):
                connection.send(b".")
        connection.origin.received_all = True
        connection.wait_for_close()

    timeout = {"connect": 5, "send": 5, "read": 2}
    with tunnel_origin(talk) as origin, Gateway(config(origin.port, timeout=timeout)) as gateway:
        origin.enough = threading.Event()
        with open_tunnel(gateway) as client:
            for _ in range(60):  # for longer than the limit
                if talker == "client":
                    client.send(b".")
                    origin.enough.wait(0.05)
                else:
                    assert client.read_exactly(1) == b"."
            assert not gateway.access_log()
            origin.enough.set()


def test_a_graceful_stop_waits_for_open_sockets():
    with WebSocketServer() as server:
        gateway = Gateway(config(server.port))

        async def run():
            async with connect(gateway.port) as ws:
                gateway.signal(signal.SIGTERM)
                while "draining" not in gateway.log:
                    await asyncio.sleep(0.01)
                for number in range(50):
                    await ws.send(str(number))
                    assert await ws.recv() == str(number)
                assert gateway.process.poll() is None

        asyncio.run(run())
        assert gateway.process.wait(timeout=30) == 0
        assert "time to drain is over" not in gateway.log
        gateway.process = None
        gateway.check_log()
        gateway.__exit__(None)


def test_the_shutdown_timeout_ends_open_sockets():
    with tunnel_origin(lambda connection: connection.wait_for_close()) as origin:
        gateway = Gateway(config(origin.port, timeouts={"shutdown": "500ms"}))
        with open_tunnel(gateway) as client:
            gateway.signal(signal.SIGTERM)
            assert client.read_to_end() == GOING_AWAY
            assert gateway.process.wait(timeout=30) == 0  # though the client's side is still open
        assert "time to drain is over" in gateway.log
        assert "it did not end when told" not in gateway.log
        assert gateway.access_log()[0]["reason"] == "draining"
        gateway.process = None
        gateway.check_log()
        gateway.__exit__(None)


def test_real_clients_learn_that_the_gateway_goes_away():
    count = 50
    with WebSocketServer() as server:
        gateway = Gateway(config(server.port, timeouts={"shutdown": "500ms"}), workers=2)

        async def run():
            sockets = [await connect(gateway.port) for _ in range(count)]
            gateway.signal(signal.SIGTERM)
            await asyncio.gather(*(ws.wait_closed() for ws in sockets))
            assert {ws.close_code for ws in sockets} == {1001}

        asyncio.run(run())
        assert gateway.process.wait(timeout=30) == 0
        assert {record["reason"] for record in gateway.access_log()} == {"draining"}
        assert "it did not end when told" not in gateway.log
        gateway.process = None
        gateway.check_log()
        gateway.__exit__(None)


def test_a_thousand_sockets_survive_a_hundred_reloads():
    count, reloads = 1000, 100
    with WebSocketServer(compression=None) as server:
        with Gateway(config(server.port), workers=2) as gateway:
            async def talk(sockets, text):
                await asyncio.gather(*(ws.send(text) for ws in sockets))
                assert set(await asyncio.gather(*(ws.recv() for ws in sockets))) == {text}

            async def run():
                sockets = []
                for _ in range(count // 50):
                    sockets += await asyncio.gather(
                        *(connect(gateway.port, compression=None) for _ in range(50)))
                loop = asyncio.get_running_loop()
                for number in range(reloads):
                    settings = config(server.port)
                    settings["routes"].append({**route(server.port, uri=f"/r{number}"), "id": "other"})
                    if number % 3 == 0:  # also without the route that they came by
                        settings["routes"][0]["enable_websocket"] = False
                    done = await loop.run_in_executor(None, gateway.reload, settings)
                    assert done.returncode == 0, done.stderr
                    if number % 10 == 9:
                        await talk(sockets, f"after {number}")
                assert all(ws.open for ws in sockets)
                await asyncio.gather(*(ws.close() for ws in sockets))
                assert {ws.close_code for ws in sockets} == {1000}

            asyncio.run(run())
            records = gateway.wait_for_access(count)
            assert {(record["status"], record["reason"]) for record in records} == {(101, "ok")}


def test_the_example_runs():
    async def run(port):
        for path in ("/chat/room", "/echo"):
            async with connect(port, path) as ws:
                await ws.send("hello")
                assert await ws.recv() == "hello"
        with pytest.raises(websockets.InvalidStatusCode):  # the origin sees no Upgrade
            async with connect(port, "/chat/history"):
                pass

    with WebSocketServer() as server:
        with Gateway(example("websocket", {9080: "$PORT", 1980: server.port})) as gateway:
            asyncio.run(run(gateway.port))
