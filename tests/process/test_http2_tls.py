"""HTTP/2 inside TLS: agreed on by ALPN, with certificates that bound what a connection may ask for."""

import subprocess

import pytest

from support.gateway import Gateway, route
from support.http2 import PREFACE, Http2Client, request
from support.origin import serve
from support.raw import RawClient
from support.tls import Authority, TlsClient

SIZE = 3 << 20


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test", "a.test", "IP:127.0.0.1").issue("b.test")
        yield authority


@pytest.fixture
def gateway(origin, ca):
    settings = {
        "gateway": {"listen": [{"address": "127.0.0.1:$PORT", "tls": True, "http2": True}]},
        "ssls": [ca.ssl("a.test"), ca.ssl("b.test")], "routes": [route(origin.port)]}
    with Gateway(settings) as running:
        yield running


def connect(gateway, ca, **options):
    context = ca.client(alpn=["h2", "http/1.1"])
    client = Http2Client(gateway.port, tls=(context, "a.test"), **options)
    assert client.socket.selected_alpn_protocol() == "h2"
    return client


def test_speaks_what_alpn_chose(origin, gateway, ca):  # RFC 9113 3.3
    with connect(gateway, ca) as client:
        streams = [client.start(request(path=f"/{i}", scheme="https")) for i in range(50)]
        assert all(client.finish(stream).status == 200 for stream in streams)
    assert origin.requests[0].value("X-Forwarded-Proto") == "https"
    with TlsClient(gateway.port, ca.client(alpn=["http/1.1"]), "a.test") as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert client.read_response().status == 200


def test_refuses_http2_that_was_not_agreed_on(gateway, ca):  # RFC 9113 3.3
    with TlsClient(gateway.port, ca.client(alpn=["http/1.1"]), "a.test") as client:
        client.send(PREFACE)
        assert client.read_response().status == 505


def test_moves_large_bodies_both_ways(origin, gateway, ca, tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(range(256)) * (SIZE // 256))
    body = upload.read_bytes()
    origin.script = serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + body)
    done = subprocess.run(
        ["curl", "-s", "--http2", "--cacert", ca.path("ca.pem"), "--connect-to",
         f"a.test:443:127.0.0.1:{gateway.port}", "-T", str(upload), "https://a.test/x", "-o",
         str(tmp_path / "download"), "-w", "%{http_code} %{http_version}"],
        capture_output=True, timeout=60, check=True)
    assert done.stdout == b"200 2"
    assert origin.requests[0].body == body
    assert (tmp_path / "download").read_bytes() == body


def test_a_connection_is_for_the_names_of_its_certificate(origin, gateway, ca):  # RFC 9113 9.1.2
    with connect(gateway, ca) as client:
        assert client.get(authority="b.test", scheme="https").status == 421
        assert client.get(authority="a.test", scheme="https").status == 200
    assert [r.value("Host") for r in origin.requests] == ["a.test"]


def test_a_host_that_asks_for_client_certificates_needs_its_own_connection(origin, ca):
    ca.issue("both", "a.test", "m.test")
    mutual = {**ca.ssl("both", "m.test", client={"ca": ca.read("ca.pem")}), "id": "mutual"}
    settings = {
        "gateway": {"listen": [{"address": "127.0.0.1:$PORT", "tls": True, "http2": True}]},
        "ssls": [ca.ssl("both", "a.test"), mutual], "routes": [route(origin.port)]}
    with Gateway(settings) as gateway, connect(gateway, ca) as client:
        # The certificate has both names, so a browser would reuse the connection.
        assert client.get(authority="m.test", scheme="https").status == 421
        assert client.get(authority="a.test", scheme="https").status == 200
    assert [r.value("Host") for r in origin.requests] == ["a.test"]


def test_h2load(origin, gateway):
    done = subprocess.run(["h2load", "-n", "1000", "-c", "4", "-m", "16",
                           f"https://127.0.0.1:{gateway.port}/"], capture_output=True, timeout=60)
    assert b"1000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout


def test_plain_http_on_the_port_is_told_so(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert client.read_response().status == 400
