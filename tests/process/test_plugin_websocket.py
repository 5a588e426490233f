"""Plugins on routes with WebSocket: they decide about the handshake and leave the frames alone."""

import asyncio

import pytest
import websockets

from support.gateway import Gateway, route
from support.http2 import Http2Client
from support.raw import RawClient
from support.websocket import WebSocketServer, connect

HANDSHAKE = (b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
MASKED_HI = b"\x81\x82\0\0\0\0hi"
MESSAGES = ["", "hello", b"\0" * 70_000]


@pytest.fixture
def server():
    async def handler(socket):
        socket_fields.append(socket.request_headers)
        await WebSocketServer.echo(socket)
    socket_fields = []
    with WebSocketServer(handler) as running:
        running.fields = socket_fields
        yield running


def gateway_to(server, plugins):
    return Gateway({"routes": [route(server.port, enable_websocket=True, plugins=plugins)]})


def talk(gateway):
    async def run():
        async with connect(gateway.port) as client:
            for message in MESSAGES:
                await client.send(message)
                assert await client.recv() == message
    asyncio.run(run())


@pytest.mark.parametrize("plugins", [
    pytest.param({"fault-injection": {"delay": {"duration": 0.1}}}, id="held"),
    pytest.param({"echo": {"before_body": "<", "after_body": ">"}}, id="changes-bodies"),
    pytest.param({"gzip": {"types": "*", "min_length": 1}}, id="compresses"),
    pytest.param({"response-rewrite": {"filters": [{"regex": "hello", "replace": "bye"}]}}, id="searches-bodies"),
    pytest.param({"cors": {}, "request-id": {}, "ip-restriction": {"whitelist": ["127.0.0.1"]}}, id="let-it-pass"),
    pytest.param({"client-control": {"max_body_size": 1}}, id="limits-bodies"),
])
def test_frames_pass_as_they_are(server, plugins):
    with gateway_to(server, plugins) as gateway:
        talk(gateway)


def test_the_handshake_can_be_changed(server):
    with gateway_to(server, {"proxy-rewrite": {"headers": {"set": {"X-Added": "$remote_addr"}}}}) as gateway:
        talk(gateway)
    assert server.fields[0]["X-Added"] == "127.0.0.1"


@pytest.mark.parametrize("plugins, status", [
    ({"ip-restriction": {"blacklist": ["127.0.0.1"]}}, 403),
    ({"fault-injection": {"abort": {"http_status": 503}, "delay": {"duration": 0.05}}}, 503),
    ({"redirect": {"uri": "/other"}}, 302),
])
def test_a_refused_handshake_is_an_answer_and_the_end(server, plugins, status):
    with gateway_to(server, plugins) as gateway:
        with RawClient(gateway.port) as client:
            client.send(HANDSHAKE)
            assert client.read_response().status == status
            client.expect_close()
        if status == 302:
            return  # which this client follows

        async def run():
            with pytest.raises(websockets.InvalidStatusCode) as refused:
                await connect(gateway.port)
            assert refused.value.status_code == status
        asyncio.run(run())
    assert not server.sockets


def test_frames_that_come_too_early_are_no_request(server):
    with gateway_to(server, {"ip-restriction": {"blacklist": ["127.0.0.1"]}}) as gateway:
        with RawClient(gateway.port) as client:
            client.send(HANDSHAKE + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_response().status == 403
            client.expect_close()
        assert len(gateway.wait_for_access(1)) == 1


def test_frames_behind_a_held_handshake_are_kept(server):
    with gateway_to(server, {"fault-injection": {"delay": {"duration": 0.2}}}) as gateway:
        with RawClient(gateway.port) as client:
            client.send(HANDSHAKE + MASKED_HI)
            assert client.read_head().status == 101
            assert client.read_exactly(4) == b"\x81\x02hi"


def test_a_held_handshake_of_http2_opens_its_tunnel(server):
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"),
              (":path", "/chat"), ("sec-websocket-version", "13")]
    settings = {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
                "routes": [route(server.port, enable_websocket=True,
                                 plugins={"fault-injection": {"delay": {"duration": 0.2}}})]}
    with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
        streams = [client.start(fields, end=False) for _ in range(20)]
        for stream in streams:
            client.data(stream, MASKED_HI)
        for stream in streams:
            response = client.response(stream)
            client.wait_for(lambda: len(response.body) == 4)
            assert (response.status, response.body) == (200, b"\x81\x02hi")
