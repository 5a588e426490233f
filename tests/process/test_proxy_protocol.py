"""PROXY protocol: from whom it is taken, what it changes, and what upstreams are told."""

import socket
import ssl
import struct

import pytest

from support.gateway import Gateway, example, free_port, route, wait_for
from support.haproxy import Haproxy
from support.http2 import Http2Client
from support.origin import NginxOrigin, Origin, once
from support.raw import RawClient
from support.tls import Authority, TlsClient

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_WHO = GET.replace(b"/", b"/who", 1)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n"
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"


def v2(command_and_family, rest):
    return b"\r\n\r\n\0\r\nQUIT\n" + command_and_family + struct.pack(">H", len(rest)) + rest


V2 = v2(b"\x21\x11", socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") +
        struct.pack(">HH", 4711, 443))
V2_LOCAL = v2(b"\x20\0", b"")
V2_UNIX = v2(b"\x21\x31", b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0"))


def config(origin, mode=True, trusted=("127.0.0.1",), **process):
    """A gateway whose listener has proxy_protocol: `mode`."""
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "proxy_protocol": mode}],
                        "trusted_proxies": list(trusted), **process},
            "routes": [route(origin.port)]}


@pytest.fixture
def required(origin):
    with Gateway(config(origin)) as gateway:
        yield gateway


@pytest.fixture
def optional(origin):
    with Gateway(config(origin, "optional")) as gateway:
        yield gateway


def is_closed(client):
    try:
        return client.socket.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("header, client, port", [
    (V1, "192.0.2.1", "4711"), (V2, "192.0.2.1", "4711"), (V1_SIX, "2001:db8::1", "4711"),
    (V1_UNKNOWN, "127.0.0.1", None), (V2_LOCAL, "127.0.0.1", None), (V2_UNIX, "unix:", None)])  # no port, as in nginx
@pytest.mark.parametrize("mode", [True, "optional"])
def test_the_header_names_the_client(origin, mode, header, client, port):
    settings = config(origin, mode)
    if port is not None:
        settings["routes"][0]["vars"] = [["remote_port", "==", port]]
    with Gateway(settings) as gateway:
        with RawClient(gateway.port) as raw:
            for _ in range(2):  # it holds for every request of the connection
                raw.send(header + GET)
                header = b""
                assert raw.read_response().status == 200
        for request in origin.requests:
            assert request.value("X-Real-IP") == client
            assert request.value("X-Forwarded-For") == client
        assert [record["client"] for record in gateway.wait_for_access(2)] == [client] * 2


def test_routes_see_the_client_of_the_header(origin):
    settings = config(origin)
    settings["routes"] = [{**route(origin.port), "remote_addrs": ["192.0.2.0/24"]}]
    with Gateway(settings) as gateway:
        for header, status in ((V2, 200), (V1_SIX, 404), (V2_LOCAL, 404)):
            with RawClient(gateway.port) as client:
                assert client.send(header + GET).read_response().status == status


def test_forwarding_fields_are_believed_only_of_a_trusted_client(origin):
    forged = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n"
    with Gateway(config(origin, trusted=["127.0.0.1", "192.0.2.0/24"])) as gateway:
        for header in (V2, V1_SIX):
            with RawClient(gateway.port) as client:
                assert client.send(header + forged).read_response().status == 200
    assert [request.value("X-Real-IP") for request in origin.requests] == \
        ["203.0.113.5", "2001:db8::1"]
    assert origin.requests[0].value("X-Forwarded-For") == "203.0.113.5, 192.0.2.1"


@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_may_come_in_any_pieces(required, origin, header):
    with RawClient(required.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header + GET:
            client.send(bytes([byte]))
        assert client.read_response().status == 200
    assert origin.requests[0].value("X-Real-IP") == "192.0.2.1"


def test_pipelined_requests_behind_a_header_are_all_answered(required):
    with RawClient(required.port) as client:
        client.send(V1[:20])
        with RawClient(required.port) as other:  # the worker has read the first piece by now
            assert other.send(V2 + GET).read_response().status == 200
        client.send(V1[20:] + GET * 20)
        for _ in range(20):
            assert client.read_response().status == 200


@pytest.mark.parametrize("bytes_sent, reason", [
    (GET, "begins with something else"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n" + GET, "TCP4 or TCP6 with two addresses"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" + GET, "CRLF"),
    (V2[:12] + b"\x31" + V2[13:] + GET, "version 2"),
    (v2(b"\x21\x11", bytes(12) + b"\x03\0\x04abcd") + GET, "checksum does not match")])
def test_a_required_header_that_is_missing_or_broken_closes_the_connection(
        required, origin, bytes_sent, reason):
    with RawClient(required.port) as client:
        client.send_leniently(bytes_sent)
        assert is_closed(client)
    wait_for(lambda: reason in required.log, "the reason in the log")
    assert "peer=127.0.0.1" in required.log and not origin.requests


def test_a_connection_that_ends_inside_a_header_is_logged_and_one_that_says_nothing_is_not(required):
    with RawClient(required.port) as client:
        client.finish_sending()
        assert is_closed(client)
    with RawClient(required.port) as client:
        client.send(V2[:20]).finish_sending()
        assert is_closed(client)
    wait_for(lambda: "ended inside a PROXY header" in required.log, "the reason in the log")
    assert required.log.count("connection refused") == 1


def test_a_peer_that_is_not_trusted_is_closed_before_it_says_anything(origin):
    with Gateway(config(origin, trusted=["192.0.2.1"])) as gateway:
        with RawClient(gateway.port) as client:
            assert is_closed(client)
        assert "the peer is not in trusted_proxies" in gateway.log
        with RawClient(gateway.port) as client:
            client.send_leniently(V2 + GET)
            assert is_closed(client)
        assert not origin.requests


def test_optional_serves_who_sends_none(optional, origin):
    with RawClient(optional.port) as client:
        assert client.send(GET).read_response().status == 200
        # Only the beginning of a connection can be a header.
        assert client.send(V1).read_response().status == 400
    assert origin.requests[0].value("X-Real-IP") == "127.0.0.1"


def test_optional_refuses_a_header_of_somebody_who_is_not_trusted(origin):
    with Gateway(config(origin, "optional", trusted=["192.0.2.1"])) as gateway:
        with RawClient(gateway.port) as client:
            assert client.send(GET).read_response().status == 200
        for header in (V1, V2, V2_LOCAL):
            with RawClient(gateway.port) as client:
                client.send_leniently(header + GET)
                assert is_closed(client)
        assert gateway.log.count("a PROXY header of a peer that is not in trusted_proxies") == 3
        assert len(origin.requests) == 1


@pytest.mark.parametrize("mode, sent, logged", [
    (True, b"", True), (True, V2[:5], True), ("optional", V1[:8], True), ("optional", b"", False)])
def test_a_header_that_does_not_come_in_time_closes_the_connection(origin, mode, sent, logged):
    with Gateway(config(origin, mode, timeouts={"header": "200ms"})) as gateway:
        with RawClient(gateway.port) as client:
            client.send(sent)
            assert is_closed(client)
        assert ("no PROXY header came in time" in gateway.log) == logged


def test_a_reload_turns_it_on_and_off(origin):
    settings = config(origin, False)
    with Gateway(settings) as gateway:
        with RawClient(gateway.port) as kept:
            assert kept.send(GET).read_response().status == 200
            assert gateway.reload(config(origin, True)).returncode == 0
            assert kept.send(GET).read_response().status == 200  # it began without
            with RawClient(gateway.port) as client:
                client.send_leniently(GET)
                assert is_closed(client)
            with RawClient(gateway.port) as client:
                assert client.send(V2 + GET).read_response().status == 200
            assert gateway.reload(settings).returncode == 0
            with RawClient(gateway.port) as client:
                assert client.send(GET).read_response().status == 200


def test_a_drain_does_not_wait_for_a_header(required):
    with RawClient(required.port) as client:
        client.send(V2[:5])
        with RawClient(required.port) as other:  # the worker has read the first by now
            assert other.send(V2 + GET).read_response().status == 200
        required.stop()


@pytest.mark.parametrize("options", [
    "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_in_front(required, origin, options):
    with Haproxy(required.port, options) as front:
        with RawClient(front.port, source="127.0.0.9") as client:
            for _ in range(3):
                assert client.send(GET).read_response().status == 200
    assert {request.value("X-Real-IP") for request in origin.requests} == {"127.0.0.9"}
    assert required.wait_for_access(3)[-1]["client"] == "127.0.0.9"
    assert "connection refused" not in required.log


# In front of TLS: the header comes before the ClientHello


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test")
        yield authority


def tls_config(origin, ca, mode=True, **options):
    settings = config(origin, mode, **options)
    settings["gateway"]["listen"][0] |= {"tls": True, "http2": True}
    return {**settings, "ssls": [ca.ssl("a.test")]}


GET_A = GET.replace(b"Host: a", b"Host: a.test")


@pytest.mark.parametrize("header, client", [(V1, "192.0.2.1"), (V2, "192.0.2.1"),
                                            (V1_SIX, "2001:db8::1"), (V2_LOCAL, "127.0.0.1")])
def test_a_tls_client_is_named_by_the_header(origin, ca, header, client):
    with Gateway(tls_config(origin, ca)) as gateway:
        with TlsClient(gateway.port, ca.client(), "a.test", preface=header) as raw:
            for _ in range(2):
                assert raw.send(GET_A).read_response().status == 200
        for request in origin.requests:
            assert request.value("X-Real-IP") == client
            assert request.value("X-Forwarded-Proto") == "https"
        assert [record["client"] for record in gateway.wait_for_access(2)] == [client] * 2


@pytest.mark.parametrize("step", [1 << 20, 1, 50])
@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_and_its_handshake_may_come_in_any_pieces(origin, ca, header, step):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ca.client().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with Gateway(tls_config(origin, ca)) as gateway, RawClient(gateway.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def turn(act, before=b""):
            """What `act` gives, moving bytes as long as it wants some."""
            while True:
                try:
                    result = act()
                except ssl.SSLWantReadError:
                    result = None
                data, before = before + outgoing.read(), b""
                for start in range(0, len(data), step):
                    client.send(data[start:start + step])
                if result is not None:
                    return result
                incoming.write(client.socket.recv(65536))

        turn(lambda: tls.do_handshake() or True, header)
        turn(lambda: tls.write(GET_A))
        assert turn(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200 OK")
    assert origin.requests[0].value("X-Real-IP") == "192.0.2.1"


@pytest.mark.parametrize("preface, trusted, reason", [
    (b"", ["127.0.0.1"], "begins with something else"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ["127.0.0.1"], "TCP4 or TCP6 with two addresses"),
    (V1, ["192.0.2.0/24"], "not in trusted_proxies")],
    ids=["none", "broken", "not trusted"])
def test_no_handshake_without_a_required_header(origin, ca, preface, trusted, reason):
    with Gateway(tls_config(origin, ca, trusted=trusted)) as gateway:
        with pytest.raises(OSError):
            TlsClient(gateway.port, ca.client(), "a.test", preface=preface)
        wait_for(lambda: reason in gateway.log, "the reason in the log")
        assert not origin.requests and not gateway.access_log()


def test_optional_takes_tls_clients_with_and_without_a_header(origin, ca):
    with Gateway(tls_config(origin, ca, "optional")) as gateway:
        for preface, client in ((b"", "127.0.0.1"), (V2, "192.0.2.1")):
            with TlsClient(gateway.port, ca.client(), "a.test", preface=preface) as raw:
                assert raw.send(GET_A).read_response().status == 200
            assert origin.requests[-1].value("X-Real-IP") == client


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_haproxy_in_front_of_tls(origin, ca, options):
    with Gateway(tls_config(origin, ca)) as gateway, Haproxy(gateway.port, options) as front:
        with TlsClient(front.port, ca.client(alpn=["http/1.1"]), "a.test") as client:
            assert client.send(GET_A).read_response().status == 200
        with Http2Client(front.port, tls=(ca.client(alpn=["h2"]), "a.test")) as client:
            assert client.get().status == 200
        assert [record["client"] for record in gateway.wait_for_access(2)] == ["127.0.0.1"] * 2
        assert "connection refused" not in gateway.log


# To upstreams


def upstream_config(origin, version, **fields):
    settings = config(origin, "optional")
    settings["routes"][0]["upstream"].update(proxy_protocol=version, **fields)
    return settings


def header_of(connection):
    """The PROXY header and what came behind it."""
    return connection.received.split(b"GET ")[0]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_upstream_is_told_who_the_client_is(version):
    def script(connection):
        size = 0
        while size == 0:
            connection._more()
            if connection.buffer.startswith(b"PROXY "):
                size = connection.buffer.find(b"\r\n") + 2 if b"\r\n" in connection.buffer else 0
            elif len(connection.buffer) >= 16:
                size = 16 + struct.unpack(">H", connection.buffer[14:16])[0]
        connection._take(size)
        once()(connection)

    with Origin(script) as origin:
        with Gateway(upstream_config(origin, version)) as gateway:
            with RawClient(gateway.port) as client:
                port = client.socket.getsockname()[1]
                # Twice on one connection of the client, and once for another client.
                for _ in range(2):
                    assert client.send(GET).read_response().status == 200
            with RawClient(gateway.port) as client:
                assert client.send(V1_SIX + GET).read_response().status == 200
            headers = [header_of(connection) for connection in origin.connections]
            local = gateway.port
    if version == "v1":
        assert headers == [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {local}\r\n".encode()] * 2 + \
            [f"PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 4711 {local}\r\n".encode()]
    else:
        four = socket.inet_aton("127.0.0.1")
        six = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        assert headers == [v2(b"\x21\x11", four + four + struct.pack(">HH", port, local))] * 2 + \
            [v2(b"\x21\x21", six + bytes(10) + b"\xff\xff" + four + struct.pack(">HH", 4711, local))]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_as_upstream_understands_it(version):
    with NginxOrigin(listen="proxy_protocol") as origin:
        with Gateway(upstream_config(origin, version)) as gateway:
            for header, address, port in ((b"", "127.0.0.9", None), (V1, "192.0.2.1", 4711),
                                          (V1_SIX, "2001:db8::1", 4711)):
                with RawClient(gateway.port, source=None if header else "127.0.0.9") as client:
                    port = port or client.socket.getsockname()[1]
                    response = client.send(header + GET_WHO).read_response()
                    assert response.body.decode() == f"{address} {port}\n"


def test_a_client_known_by_a_field_has_no_port():
    with NginxOrigin(listen="proxy_protocol") as origin:
        with Gateway(upstream_config(origin, "v2")) as gateway:
            with RawClient(gateway.port) as client:
                client.send(b"GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
                assert client.read_response().body == b"203.0.113.5 \n"  # nginx writes 0 as nothing


def test_a_connection_for_one_client_is_never_used_for_another():
    with NginxOrigin(listen="proxy_protocol") as origin:
        with Gateway(upstream_config(origin, "v2")) as gateway:
            with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
                second.send(V1_SIX)
                for _ in range(5):
                    for client, address in ((first, b"127.0.0.1 "), (second, b"2001:db8::1 ")):
                        assert client.send(GET_WHO).read_response().body.startswith(address)


def test_the_example_runs(origin):
    optional = free_port()
    with NginxOrigin(listen="proxy_protocol") as told:
        ports = {9080: "$PORT", 9081: optional, 1980: origin.port, 1981: told.port}
        with Gateway(example("proxy-protocol", ports)) as gateway:
            get_hello = GET.replace(b"/", b"/hello", 1)
            for port, sent in ((gateway.port, V1 + get_hello), (optional, V2 + get_hello),
                               (optional, get_hello), (gateway.port, V2 + GET.replace(b"/", b"/tell", 1))):
                with RawClient(port) as client:
                    assert client.send(sent).read_response().status == 200
            with RawClient(gateway.port) as client:
                client.send_leniently(get_hello)
                assert is_closed(client)
    assert [request.value("X-Real-IP") for request in origin.requests] == \
        ["192.0.2.1", "192.0.2.1", "127.0.0.1"]
