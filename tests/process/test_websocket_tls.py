"""WebSocket over TLS, to clients and to nodes, and over HTTP/2: real clients and servers."""
# ctest: timeout=240

import asyncio
import json
import os
import signal
import subprocess

import pytest
import websockets

from support.gateway import Gateway, TOP, route
from support.tls import Authority
from support.websocket import WebSocketServer, connect

SIZES = [0, 1, 125, 126, 127, 16383, 16384, 16385, 65535, 65536, 65537, 1 << 20]


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test")
        yield authority


@pytest.fixture(scope="module")
def echo():
    with WebSocketServer(subprotocols=["chat"]) as server:
        yield server


def config(ca, port, timeout=None, scheme="http", **process):
    fields = {"scheme": scheme, **({"timeout": timeout} if timeout else {})}
    if scheme == "https":
        fields["tls"] = {"ca": ca.read("ca.pem")}
    listen = [{"address": "127.0.0.1:$PORT", "tls": True, "http2": True}]
    return {"gateway": {"listen": listen, **process}, "ssls": [ca.ssl("a.test")],
            "routes": [route(port, enable_websocket=True, upstream=fields)]}


def wss(gateway, ca, **options):
    return connect(gateway.port, name="a.test", ssl=ca.client(), server_hostname="a.test", **options)


async def echoes(ws):
    for size in SIZES:
        message = os.urandom(size)
        await ws.send(message)
        assert await ws.recv() == message
    await asyncio.wait_for(await ws.ping(b"alive"), 60)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_every_size_class_come_back_through_tls(echo, ca, compression):
    async def run(gateway):
        async with wss(gateway, ca, compression=compression) as ws:
            await echoes(ws)
        assert ws.close_code == 1000

    with Gateway(config(ca, echo.port)) as gateway:
        asyncio.run(run(gateway))
        (record,) = gateway.wait_for_access(1)
        assert (record["status"], record["reason"]) == (101, "ok")


def test_a_node_behind_tls(ca):
    async def run(gateway):
        async with wss(gateway, ca) as ws:
            await echoes(ws)
            await ws.close(4001, "mine")
        assert (ws.close_code, ws.close_reason) == (4001, "mine")

    with WebSocketServer(ssl=ca.server("a.test")) as server:
        with Gateway(config(ca, server.port, scheme="https")) as gateway:
            asyncio.run(run(gateway))


def test_many_sockets_at_once_through_tls_on_both_sides(ca):
    async def run(gateway):
        async def one(number):
            async with wss(gateway, ca, compression=None) as ws:
                for turn in range(20):
                    text = f"{number} {turn} " + "x" * (number * turn * 10)
                    await ws.send(text)
                    assert await ws.recv() == text
        await asyncio.gather(*(one(number) for number in range(50)))

    with WebSocketServer(ssl=ca.server("a.test")) as server:
        with Gateway(config(ca, server.port, scheme="https"), workers=2) as gateway:
            asyncio.run(run(gateway))


@pytest.mark.parametrize("end", ["idle", "shutdown"])
def test_the_gateways_end_arrives_through_tls(echo, ca, end):
    timeout = {"connect": 5, "send": 5, "read": 0.5} if end == "idle" else None

    async def run(gateway):
        async with wss(gateway, ca) as ws:
            if end == "shutdown":
                gateway.signal(signal.SIGTERM)
            await ws.wait_closed()
            assert ws.close_code == 1001

    with Gateway(config(ca, echo.port, timeout, timeouts={"shutdown": "300ms"})) as gateway:
        asyncio.run(run(gateway))
        if end == "shutdown":
            assert gateway.process.wait(30) == 0
            gateway.process = None


def test_a_node_whose_certificate_is_wrong_opens_nothing(ca):
    async def run(gateway):
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            async with wss(gateway, ca):
                pass
        assert refused.value.status_code == 502

    with Authority("Other CA") as other:
        other.issue("a.test")
        with WebSocketServer(ssl=other.server("a.test")) as server:
            with Gateway(config(ca, server.port, scheme="https")) as gateway:
                asyncio.run(run(gateway))
                assert gateway.wait_for_access(1)[0]["reason"] == "upstream_tls_failed"


# Over HTTP/2 (RFC 8441), by Node's client


def over_http2(gateway, ca=None, sockets=1, sizes=SIZES):
    script = os.path.join(TOP, "tests/support/websocket_http2.js")
    scheme, authority = ("https", ca.path("ca.pem")) if ca else ("http", "-")
    done = subprocess.run(
        ["node", script, f"{scheme}://127.0.0.1:{gateway.port}", authority, str(sockets),
         *map(str, sizes)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


GOOD = {"status": 200, "protocol": "chat", "pong": True, "close": 1000}


@pytest.mark.parametrize("sockets", [1, 20])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_node_opens_sockets_over_http2(echo, ca, tls, sockets):
    settings = config(ca, echo.port)
    if not tls:
        settings["gateway"]["listen"][0]["tls"] = False
    with Gateway(settings) as gateway:
        seen = over_http2(gateway, ca if tls else None, sockets)
        assert seen["offered"]
        assert seen["sockets"] == [{**GOOD, "echoed": SIZES}] * sockets
        records = gateway.wait_for_access(sockets)
        assert {(record["status"], record["reason"]) for record in records} == {(101, "ok")}


def test_node_is_refused_without_the_switch(echo, ca):
    settings = config(ca, echo.port)
    settings["routes"][0]["enable_websocket"] = False
    with Gateway(settings) as gateway:
        assert [socket["status"] for socket in over_http2(gateway, ca)["sockets"]] == [405]
