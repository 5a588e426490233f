"""The first bytes of a TLS connection, as no proper client sends them, and handshakes in a crowd."""
# ctest: timeout=240

import os
import random
import select
import signal
import socket

import pytest

from support.gateway import Gateway, free_port, route, wait_for
from support.hello import (ALERT, ALPN, EARLY_DATA, HANDSHAKE, PADDING, SERVER_NAME,
                           SUPPORTED_VERSIONS, RecordClient, client_hello, message, read_record,
                           record, records, replace, server_name, vector, with_extensions)
from support.raw import ConnectionEnded, RawClient
from support.tls import Authority, config, connect, fetch, get

# RFC 8446 6
UNEXPECTED_MESSAGE, RECORD_OVERFLOW, HANDSHAKE_FAILURE = 10, 22, 40
ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION = 47, 50, 70
UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 112, 120


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test").issue("b.test")
        yield authority


@pytest.fixture
def gateway(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("b.test"))) as running:
        yield running
        with connect(running, ca) as client:  # whatever came before
            assert fetch(client, "a.test").status == 200


@pytest.fixture
def hello(ca):
    return client_hello(ca.client())


def answer_to(gateway, data):
    """The alert that ends it, or "handshake" if it goes on, or None if it is closed without a word."""
    with RawClient(gateway.port) as client:
        client.send_leniently(data)
        try:
            kind, content = read_record(client)
        except ConnectionEnded as ended:
            assert not ended.partial
            return None
        if kind == HANDSHAKE:
            return "handshake"
        assert kind == ALERT and content[0] == 2, (kind, content)
        try:
            client.expect_close()
        except ConnectionEnded:
            pass  # a reset, because not everything was read
        return content[1]


# In pieces

@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_hello_in_many_records(gateway, ca, size):
    first = []

    def change(data):
        if first:
            return [data]
        first.append(data)
        return [records(message(data), size)]
    with RecordClient(gateway.port, ca.client(), change=change) as client:
        assert fetch(client, "a.test").status == 200


def test_every_byte_in_a_segment_of_its_own(gateway, ca):
    def change(data):
        return [data[at:at + 1] for at in range(len(data))]
    with RecordClient(gateway.port, ca.client(), change=change) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert fetch(client, "a.test").status == 200


def test_a_client_that_goes_in_the_middle(gateway, hello):
    for size in range(0, len(hello), 11):
        with RawClient(gateway.port) as client:
            client.send(hello[:size])
    for _ in range(5):
        with RawClient(gateway.port) as client:
            client.send(hello)
            assert read_record(client)[0] == HANDSHAKE
            client.reset()


# Too much

def test_a_large_hello_is_taken(gateway, hello):
    large = with_extensions(hello, replace(PADDING, bytes(40_000)))
    assert answer_to(gateway, records(large, 16384)) == "handshake"


def test_a_hello_that_is_too_large_is_refused_by_its_head(gateway, hello):
    claims = b"\x01" + (200_000).to_bytes(3, "big") + message(hello)[4:]
    assert answer_to(gateway, record(claims)) == ILLEGAL_PARAMETER


def test_a_record_that_is_too_large_is_refused_by_its_head(gateway):
    assert answer_to(gateway, b"\x16\x03\x01\x48\x01" + bytes(100)) == RECORD_OVERFLOW


@pytest.mark.parametrize("kind, data", [(HANDSHAKE, b""), (20, b"\x01"), (21, b"\x01\x00"), (23, b"")],
                         ids=["empty", "change of cipher", "warning", "empty data"])
def test_floods_of_records_that_say_nothing(gateway, kind, data):
    assert answer_to(gateway, record(data, kind) * 5000) == UNEXPECTED_MESSAGE


# Old and other protocols

def test_old_protocols_are_refused(gateway, hello):
    no_versions = replace(SUPPORTED_VERSIONS)
    for version in (b"\x03\x00", b"\x03\x01", b"\x03\x02"):
        old = with_extensions(hello, no_versions, version=version)
        # SSL 3 has no alert for it.
        expected = HANDSHAKE_FAILURE if version == b"\x03\x00" else PROTOCOL_VERSION
        assert answer_to(gateway, record(old, version=version)) == expected
    only_old = with_extensions(hello, replace(SUPPORTED_VERSIONS, b"\x04\x03\x02\x03\x01"))
    assert answer_to(gateway, record(only_old)) == PROTOCOL_VERSION
    tls12 = with_extensions(hello, no_versions)
    assert answer_to(gateway, record(tls12)) == "handshake"
    # Versions to come, and values that are there to be ignored (RFC 8701), are no reason to refuse.
    grease = with_extensions(hello, replace(SUPPORTED_VERSIONS, b"\x06\x7a\x7a\x03\x05\x03\x04"))
    assert answer_to(gateway, record(grease)) == "handshake"


def test_ssl2_is_refused(gateway):
    ciphers = b"\x01\x00\x80\x05\x00\x80\x03\x00\x80"
    body = b"\x01\x00\x02" + len(ciphers).to_bytes(2, "big") + b"\0\0\0\x10" + ciphers + bytes(16)
    assert answer_to(gateway, bytes([0x80, len(body)]) + body) == PROTOCOL_VERSION


def test_garbage(gateway):
    source = random.Random(5)
    for size in (1, 5, 100, 5000):
        for first in (b"\x16\x03\x01", b"\x16\xff\xff", b"\x80", b"\x00", b"ssh-2.0", b"\x17\x03\x03"):
            with RawClient(gateway.port) as client:
                client.send_leniently(first + source.randbytes(size))
                client.finish_sending()
                try:
                    left = client.read_to_end()
                    assert not left or left[0] == ALERT
                except ConnectionEnded:
                    pass


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"PRI * HTTP/2.0", b"CONNECT a:1 HTTP/1.1"])
def test_plain_requests_get_400(gateway, request_line):
    with RawClient(gateway.port) as client:
        client.send(request_line + b"\r\nHost: a.test\r\n\r\n")
        answer = client.read_response()
        assert answer.status == 400 and answer.json()["reason"] == "plain_http"


def test_http2_without_agreement_is_no_request(origin, gateway, ca):
    for alpn in (["http/1.1"], None):
        with connect(gateway, ca, alpn=alpn) as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            assert client.read_response().status in (400, 505)
            client.expect_close()
    assert not origin.requests


# Names (RFC 6066 3)

LONG = b"a" * 63


@pytest.mark.parametrize("data, expected", [
    ([server_name(b"b.test")], "handshake"),
    ([], "handshake"),
    ([server_name(b"127.0.0.1")], "handshake"),
    ([server_name(b".".join([LONG] * 4)[:255])], "handshake"),
    ([server_name(b"a" * 256)], UNRECOGNIZED_NAME),
    ([server_name(b"a" * 60_000)], UNRECOGNIZED_NAME),
    ([server_name(b"a.test\0.b.test")], UNRECOGNIZED_NAME),
    ([server_name(b"\0")], UNRECOGNIZED_NAME),
    ([server_name(b"a.test"), server_name(b"b.test")], ILLEGAL_PARAMETER),
    ([server_name(b"a.test", b"b.test")], DECODE_ERROR),
    ([server_name(b"")], "handshake"),
    ([b""], DECODE_ERROR),
    ([vector(b"\0\xff\xffa")], DECODE_ERROR),
    ([vector(b"\x01" + vector(b"a.test"))], DECODE_ERROR)],
    ids=["good", "none", "address", "255 bytes", "256 bytes", "60000 bytes", "NUL inside", "NUL",
         "extension twice", "two names", "no name", "empty", "wrong size", "other kind"])
def test_odd_names(gateway, hello, data, expected):
    odd = with_extensions(hello, replace(SERVER_NAME, *data))
    assert answer_to(gateway, records(odd, 16384)) == expected


# ALPN (RFC 7301) and early data (RFC 8446 4.2.10)

@pytest.mark.parametrize("data, expected", [
    (vector(vector(b"http/1.1", 1)), "handshake"),
    (vector(vector(b"spdy/3", 1) + vector(b"http/1.1", 1)), "handshake"),
    (vector(vector(b"h2", 1)), NO_APPLICATION_PROTOCOL),
    (vector(vector(b"http/1.0", 1) + vector(b"ftp", 1)), NO_APPLICATION_PROTOCOL),
    (vector(vector(b"HTTP/1.1", 1)), NO_APPLICATION_PROTOCOL),
    (vector(vector(b"", 1)), DECODE_ERROR), (vector(b""), DECODE_ERROR),
    (vector(b"\xffh2"), DECODE_ERROR)],
    ids=["http/1.1", "second", "h2", "others", "upper case", "no name", "empty", "wrong size"])
def test_alpn(gateway, hello, data, expected):
    assert answer_to(gateway, record(with_extensions(hello, replace(ALPN, data)))) == expected


def test_early_data_is_no_request(origin, gateway, ca, hello):
    early = with_extensions(hello, lambda found: [*found, (EARLY_DATA, b"")])
    sent = record(early) + record(get("a.test", "/early"), 23, b"\x03\x03")
    assert answer_to(gateway, sent) == "handshake"
    with connect(gateway, ca) as client:
        assert fetch(client, "a.test", "/later").status == 200
    assert [request.target for request in origin.requests] == ["/later"]


# A crowd

def test_a_storm_of_handshakes_does_not_hold_up_established_connections(origin, ca, hello):
    storm, established = 300, 8
    # The worker is its own upstream, which takes some turns of its loop and no other process.
    inner = free_port()
    served = config(origin, ca.ssl("a.test"))
    served["gateway"]["listen"].append(f"127.0.0.1:{inner}")
    served["routes"] = [route(inner, hosts=["a.test"],
                              upstream={"pass_host": "rewrite", "upstream_host": "inner.test"})]
    with Gateway(served) as gateway:
        (worker,) = gateway.worker_pids()
        regulars = [connect(gateway, ca) for _ in range(established)]
        for client in regulars:
            assert fetch(client, "a.test").status == 404
        newcomers = [RawClient(gateway.port) for _ in range(storm)]
        wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) > storm + established,
                 "all to be accepted")
        arrivals = select.epoll()
        # The worker finds everything at once, the hellos first.
        os.kill(worker, signal.SIGSTOP)
        try:
            for client in [*newcomers, *regulars]:
                arrivals.register(client.socket.fileno(), select.EPOLLIN | select.EPOLLET)
            for client in newcomers:
                client.send(hello)
            for client in regulars:
                client.send(get("a.test"))
        finally:
            os.kill(worker, signal.SIGCONT)
        order = []  # in which answers came, as the kernel has it
        while len(order) < storm + established:
            events = arrivals.poll(30)
            assert events, f"{len(order)} of {storm + established} were answered"
            order += [fd for fd, _ in events if fd not in order]
        places = [order.index(client.socket.fileno()) for client in regulars]
        assert max(places) < established + 40, places
        for client in regulars:
            assert client.read_response().status == 404
            assert fetch(client, "a.test").status == 404
            client.close()
        for client in newcomers:
            assert read_record(client)[0] == HANDSHAKE
            client.close()
        arrivals.close()
