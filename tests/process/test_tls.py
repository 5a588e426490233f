"""TLS to clients: certificates by name, protocols, sessions, client certificates, replacement."""
# ctest: timeout=240

import contextlib
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from support.gateway import TOP, Gateway, example, free_port, route, wait_for
from support.origin import OK, Origin, once, serve
from support.raw import ConnectionEnded, RawClient
from support.tls import (Authority, TlsClient, TlsOrigin, config, connect, fetch, get, s_client)


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test").issue("wild", "*.wild.test").issue("b.test")
        authority.issue("client").issue("rsa", "a.test", kind="rsa").issue("new", "a.test")
        authority.issue("old", "old.test", days=-1)
        yield authority


@pytest.fixture
def gateway(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("wild", "*.wild.test"),
                        ca.ssl("b.test"))) as running:
        yield running


# Names and negotiation

def test_requests_come_through(origin, gateway, ca):
    with connect(gateway, ca) as client:
        for _ in range(3):
            assert fetch(client, "a.test").status == 200
    request = origin.requests[0]
    assert request.value("X-Forwarded-Proto") == "https"
    assert request.value("X-Forwarded-Host") == "a.test"


@pytest.mark.parametrize("name, subject", [
    ("a.test", "a.test"), ("A.TEST", "a.test"), ("b.test", "b.test"), ("x.wild.test", "wild"),
    ("X.Wild.Test", "wild")])
def test_the_certificate_is_chosen_by_name(gateway, ca, name, subject):
    with connect(gateway, ca, name) as client:
        assert client.subject == subject
        assert fetch(client, name).status == 200


@pytest.mark.parametrize("name", ["unknown.test", "a.b.wild.test", "wild.test", "127.0.0.1", None])
def test_an_unknown_name_gets_the_default(gateway, ca, name):
    arguments = ["-servername", name] if name else ["-noservername"]
    assert "subject=CN = a.test" in s_client(gateway, *arguments)


def test_the_default_can_be_named(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("b.test"),
                        tls={"default": "b.test"})) as gateway:
        assert "subject=CN = b.test" in s_client(gateway, "-noservername")


def test_an_unknown_name_can_be_refused(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), tls={"unknown_sni": "reject"})) as gateway:
        for arguments in (["-servername", "unknown.test"], ["-noservername"]):
            assert "unrecognized name" in s_client(gateway, *arguments)
        with connect(gateway, ca) as client:
            assert fetch(client, "a.test").status == 200


def test_a_trailing_dot_belongs_to_no_name(gateway):
    assert "subject=CN = b.test" in s_client(gateway, "-servername", "b.test.")


@pytest.mark.parametrize("offered, chosen", [
    (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (None, None)])
def test_alpn_chooses_what_is_served(gateway, ca, offered, chosen):
    with connect(gateway, ca, alpn=offered) as client:
        assert client.socket.selected_alpn_protocol() == chosen
        assert fetch(client, "a.test").status == 200


def test_alpn_refuses_what_is_not_served(gateway):
    assert "no application protocol" in s_client(gateway, "-alpn", "h2")


@pytest.mark.parametrize("version", ["http2", "http1.1"])
def test_both_versions_on_one_listener(origin, ca, version):
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("b.test"),
                        listen={"http2": True})) as gateway:
        for name, status in (("a.test", "200"), ("b.test", "421")):
            done = subprocess.run(
                ["curl", "-sS", f"--{version}", "-w", " %{http_version} %{http_code}", "--cacert",
                 ca.path("ca.pem"), "--resolve", f"a.test:{gateway.port}:127.0.0.1", "-H",
                 f"Host: {name}", f"https://a.test:{gateway.port}/"],
                capture_output=True, text=True, timeout=30)
            assert done.stdout.endswith(f" {version[4:]} {status}"), done.stdout + done.stderr


def test_protocols(gateway, ca):
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with connect(gateway, ca, version=version) as client:
            assert client.socket.version() == name
            assert fetch(client, "a.test").status == 200
    assert re.search("alert protocol version|no protocols available",
                     s_client(gateway, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"))


def test_protocols_of_one_host(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"),
                        ca.ssl("b.test", ssl_protocols=["TLSv1.3"]))) as gateway:
        assert "Protocol  : TLSv1.2" in s_client(gateway, "-tls1_2", "-servername", "a.test")
        assert "alert protocol version" in s_client(gateway, "-tls1_2", "-servername", "b.test")


def test_modern_ciphers_and_groups_come_first(gateway):
    assert "TLS_AES_128_GCM_SHA256" in s_client(gateway)
    assert "Server Temp Key: X25519" in s_client(gateway)
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in s_client(gateway, "-tls1_2")
    for weak in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256"):
        assert "handshake failure" in s_client(gateway, "-tls1_2", "-cipher", weak)


def test_ciphers_can_be_changed(origin, ca):
    tls = {"ssl_ciphers": "TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"}
    with Gateway(config(origin, ca.ssl("a.test"), tls=tls)) as gateway:
        assert "TLS_CHACHA20_POLY1305_SHA256" in s_client(gateway)
        assert "ECDHE-ECDSA-AES256-GCM-SHA384" in s_client(gateway, "-tls1_2")


def test_ecdsa_is_preferred_and_rsa_is_there(origin, ca):
    both = ca.ssl("a.test", certs=[ca.read("rsa.pem")], keys=[ca.read("rsa.key")])
    with Gateway(config(origin, both)) as gateway:
        assert "Peer signature type: ECDSA" in s_client(gateway)
        assert "Peer signature type: RSA-PSS" in s_client(gateway, "-sigalgs", "rsa_pss_rsae_sha256")
        assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in s_client(
            gateway, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")


def test_renegotiation_is_refused(gateway):
    output = s_client(gateway, "-tls1_2", "-servername", "a.test", input=b"R\n" * 3)
    assert re.search("no renegotiation|NO_RENEGOTIATION|wrong ssl version", output), output
    assert "Compression: NONE" in output


def test_ocsp_responses_are_stapled(origin, ca):
    stapled = ca.ssl("a.test", ocsp=ca.ocsp_response("a.test"))
    with Gateway(config(origin, stapled, ca.ssl("b.test"))) as gateway:
        assert "OCSP Response Status: successful" in s_client(gateway, "-status", "-servername",
                                                              "a.test")
        assert "OCSP response: no response sent" in s_client(gateway, "-status", "-servername",
                                                             "b.test")


def test_an_ocsp_response_is_read_from_a_file(origin, ca):
    ca.ocsp_response("a.test")
    stapled = ca.ssl("a.test", ocsp="${base64:" + ca.path("a.test.ocsp") + "}")
    with Gateway(config(origin, stapled)) as gateway:
        assert "OCSP Response Status: successful" in s_client(gateway, "-status")


# Which listener is which

def test_any_free_port_keeps_its_settings(origin, ca):
    def listening(**listen):
        return config(origin, ca.ssl("a.test"), listen={"address": "127.0.0.1:0", **listen})
    with Gateway(listening(), workers=2) as gateway:
        gateway.port = int(re.search(r"listening address=127\.0\.0\.1:(\d+)", gateway.log).group(1))
        for http2 in (False, True, False):
            assert gateway.reload(listening(http2=http2)).returncode == 0
            for _ in range(5):
                with connect(gateway, ca, alpn=["h2", "http/1.1"]) as client:
                    assert client.socket.selected_alpn_protocol() == ("h2" if http2 else "http/1.1")
            with connect(gateway, ca) as client:
                assert fetch(client, "a.test").status == 200
        assert gateway.reload(listening(tls=False)).returncode == 0
        with RawClient(gateway.port) as client:
            assert client.get().status == 200
        assert gateway.log.count("listening address") == 1


def test_a_relative_path_keeps_its_settings(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), listen={"address": "unix:edge.sock"})) as gateway:
        with TlsClient(gateway.path("edge.sock"), ca.client(), "a.test") as client:
            assert fetch(client, "a.test").status == 200


# Sessions

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_worker_resumes_and_reloads_do_not_matter(origin, ca, version):
    first = config(origin, ca.ssl("a.test"))
    with Gateway(first, workers=2) as gateway:
        context = ca.client(version=version)

        def request(session):
            with TlsClient(gateway.port, context, "a.test", session) as client:
                assert fetch(client, "a.test").status == 200
                return client.socket.session_reused, client.socket.session
        reused, session = request(None)
        assert not reused
        # A port of its own for each: the kernel spreads them over the workers.
        for _ in range(20):
            reused, session = request(session)
            assert reused
        second = config(origin, ca.ssl("a.test"), ca.ssl("b.test"))
        assert gateway.reload(second).returncode == 0
        reused, _ = request(session)
        assert reused


def test_sessions_outlive_their_worker(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        gateway.may_lose_workers = True
        context = ca.client()
        with TlsClient(gateway.port, context, "a.test") as client:
            assert fetch(client, "a.test").status == 200
            session = client.socket.session
        (worker,) = gateway.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: gateway.worker_pids() not in ([], [worker]), "another worker")
        with TlsClient(gateway.port, context, "a.test", session) as client:
            assert client.socket.session_reused


def test_one_ticket_is_sent(gateway):
    output = s_client(gateway, "-servername", "a.test", "-ign_eof",
                      input=get("a.test", "/", "Connection: close"))
    assert output.count("Post-Handshake New Session Ticket arrived") == 1


# CVE-2025-23419
def test_a_session_of_one_host_does_not_open_another(origin, ca):
    client_ca = {"ca": ca.read("ca.pem")}
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("b.test", client=client_ca))) as gateway:
        store = ca.path("session.pem")
        s_client(gateway, "-servername", "a.test", "-sess_out", store, "-ign_eof",
                 input=get("a.test", "/", "Connection: close"))
        assert os.path.exists(store)
        output = s_client(gateway, "-servername", "b.test", "-sess_in", store, "-ign_eof",
                          input=get("b.test", "/", "Connection: close"))
        assert "HTTP/1.1 200" not in output
        assert "Reused" not in output


# Client certificates

@pytest.fixture
def mutual(origin, ca):
    client = {"ca": ca.read("ca.pem")}
    skipping = {"ca": ca.read("ca.pem"), "skip_mtls_uri_regex": ["^/public/"]}
    with Gateway(config(origin, ca.ssl("a.test", client=client), ca.ssl("b.test"),
                        ca.ssl("wild", "*.wild.test", client=skipping))) as running:
        yield running


def test_a_client_certificate_is_demanded(mutual, ca):
    with connect(mutual, ca, certificate="client") as client:
        assert fetch(client, "a.test").status == 200
    for options in ({}, {"certificate": "old"}):
        with pytest.raises((ssl.SSLError, ConnectionResetError, ConnectionEnded)):
            with connect(mutual, ca, **options) as client:
                fetch(client, "a.test")
    with connect(mutual, ca, "b.test") as client:
        assert fetch(client, "b.test").status == 200


def test_a_stranger_is_refused(mutual, ca):
    with Authority("Another CA") as other:
        other.issue("client")
        context = ca.client()
        context.load_cert_chain(other.path("client.pem"), other.path("client.key"))
        with pytest.raises((ssl.SSLError, ConnectionResetError, ConnectionEnded)):
            with TlsClient(mutual.port, context, "a.test") as client:
                fetch(client, "a.test")


def test_the_depth_of_a_client_s_chain_is_limited(origin, ca):
    with Authority("Root") as root:
        issuer = "ca"
        for name in ("outer", "inner"):
            root.issue_authority(name, issuer)
            issuer = name
        root.issue("far", issuer="inner").issue("near", issuer="outer")
        root.chain("far", "inner", "outer")
        root.chain("near", "outer")

        def answers(depth, certificate):
            demanding = ca.ssl("a.test", client={"ca": root.read("ca.pem"), "depth": depth})
            assert gateway.reload(config(origin, demanding)).returncode == 0
            context = ca.client()
            context.load_cert_chain(root.path(f"{certificate}.chain"), root.path(f"{certificate}.key"))
            try:
                with TlsClient(gateway.port, context, "a.test") as client:
                    return fetch(client, "a.test").status == 200
            except (ssl.SSLError, ConnectionResetError, ConnectionEnded):
                return False
        with Gateway(config(origin, ca.ssl("a.test"))) as gateway:
            assert answers(2, "far") and answers(1, "near") and answers(2, "near")
            assert not answers(1, "far") and not answers(0, "near")


def test_some_paths_need_no_certificate(mutual, ca):
    with connect(mutual, ca, "x.wild.test") as client:
        assert fetch(client, "x.wild.test", "/public/1").status == 200
        answer = fetch(client, "x.wild.test", "/private")
        assert answer.status == 400
        assert answer.json()["reason"] == "client_certificate"
    with connect(mutual, ca, "x.wild.test", certificate="client") as client:
        assert fetch(client, "x.wild.test", "/private").status == 200
    # What is matched is the path that is forwarded.
    with connect(mutual, ca, "x.wild.test") as client:
        assert fetch(client, "x.wild.test", "/public/../private").status == 400


# 421

@pytest.mark.parametrize("name, host, status", [
    ("b.test", "b.test", 200), ("b.test", "B.TEST:443", 200), ("b.test", "a.test", 421),
    ("b.test", "x.wild.test", 421), ("b.test", "unknown.test", 421),
    (None, "b.test", 200), (None, "unknown.test", 200), (None, "a.test", 421),
    (None, "x.wild.test", 421)])
def test_misdirected_requests(origin, ca, name, host, status):
    client_ca = {"ca": ca.read("ca.pem")}
    with Gateway(config(origin, ca.ssl("b.test"), ca.ssl("a.test", client=client_ca),
                        ca.ssl("wild", "*.wild.test", client=client_ca))) as gateway:
        context = ca.client(verify=False)
        with TlsClient(gateway.port, context, name) as client:
            answer = fetch(client, host)
            assert answer.status == status
            if status == 421:
                assert answer.json()["reason"] == "misdirected_request"


def test_a_reload_that_demands_certificates_holds_for_open_connections(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        with connect(gateway, ca) as client:
            assert fetch(client, "a.test").status == 200
            demanding = ca.ssl("a.test", client={"ca": ca.read("ca.pem")})
            assert gateway.reload(config(origin, demanding)).returncode == 0
            assert fetch(client, "a.test").status == 421


# Replacement

def test_a_certificate_is_replaced_under_load(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test")), workers=2) as gateway:
        stop = threading.Event()
        failures = []
        counts = [0, 0]

        def stay():  # one connection that must survive
            try:
                with connect(gateway, ca) as client:
                    while not stop.is_set():
                        assert fetch(client, "a.test").status == 200
                        counts[0] += 1
            except Exception as failure:
                failures.append(failure)

        def come_and_go():
            try:
                while not stop.is_set():
                    with connect(gateway, ca) as client:
                        assert client.subject in ("a.test", "new")
                        assert fetch(client, "a.test").status == 200
                        counts[1] += 1
            except Exception as failure:
                failures.append(failure)
        threads = [threading.Thread(target=work) for work in (stay, stay, come_and_go, come_and_go)]
        for thread in threads:
            thread.start()
        try:
            for round_number in range(10):
                name = "new" if round_number % 2 == 0 else "a.test"
                before = list(counts)
                assert gateway.reload(config(origin, ca.ssl(name, "a.test"))).returncode == 0
                with connect(gateway, ca) as client:
                    assert client.subject == name
                wait_for(lambda: failures or (counts[0] > before[0] and counts[1] > before[1]),
                         "requests after the reload")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]


def test_a_changed_file_is_a_changed_certificate(origin, ca):
    paths = {"cert": "${file:$DIR/site.pem}", "key": "${file:$DIR/site.key}"}
    with Gateway(config(origin, {"id": "s", "snis": ["a.test"], **paths}), start=False) as gateway:
        def install(name):
            for ending in ("pem", "key"):
                with open(gateway.path(f"site.{ending}"), "w") as file:
                    file.write(ca.read(f"{name}.{ending}"))
        install("a.test")
        gateway.start()
        with connect(gateway, ca) as client:
            assert client.subject == "a.test"
        install("new")
        assert gateway.reload().returncode == 0
        with connect(gateway, ca) as client:
            assert client.subject == "new"


BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("change, path, reason", [
    (lambda ca: {"cert": BROKEN}, "ssls[0].cert", "cannot be read"),
    (lambda ca: {"cert": "${file:/nowhere/a.pem}"}, "ssls[0].cert", "No such file"),
    (lambda ca: {"key": ca.read("b.test.key")}, "ssls[0].key", "does not belong"),
    (lambda ca: {"key": BROKEN}, "ssls[0].key", "expected a private key"),
    (lambda ca: {"ocsp": "AAAA"}, "ssls[0].ocsp", "expected a successful OCSP response"),
    (lambda ca: {"client": {"ca": BROKEN}}, "ssls[0].client.ca", "cannot be read"),
    (lambda ca: {"client": {"ca": ca.read("ca.pem"), "skip_mtls_uri_regex": ["("]}},
     "ssls[0].client.skip_mtls_uri_regex[0]", "("),
    (lambda ca: {"certs": [ca.read("b.test.pem")], "keys": [ca.read("b.test.key")]}, "ssls[0]",
     "keys of the same kind")])
def test_a_bad_replacement_keeps_the_old_one(gateway, origin, ca, change, path, reason):
    bad = {**ca.ssl("a.test"), **change(ca)}
    done = gateway.reload(config(origin, bad))
    assert done.returncode != 0
    assert path in done.stdout + done.stderr and reason in done.stdout + done.stderr
    secret = ca.read("a.test.key").split("\n")[1]
    assert secret not in done.stdout + done.stderr + gateway.log
    with connect(gateway, ca) as client:
        assert fetch(client, "a.test").status == 200
    assert gateway.run("check").returncode != 0


def test_an_expired_certificate_is_a_warning(origin, ca):
    with Gateway(config(origin, ca.ssl("old", "old.test"))) as gateway:
        assert "ssls[0].cert: the certificate expired on 20" in gateway.log
        assert "expired on 20" in gateway.run("check").stderr


def test_a_tls_listener_needs_a_certificate(origin):
    with Gateway(config(origin), start=False) as gateway:
        done = gateway.run("check")
        assert done.returncode != 0
        assert 'needs a certificate in "ssls"' in done.stderr


def test_bad_ciphers_are_refused(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), tls={"ssl_ciphers": "NONSENSE"}),
                 start=False) as gateway:
        done = gateway.run("check")
        assert done.returncode != 0
        assert "gateway.tls.ssl_ciphers" in done.stderr


def test_a_disabled_certificate_is_not_shown(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), ca.ssl("b.test", status=0))) as gateway:
        assert "subject=CN = a.test" in s_client(gateway, "-servername", "b.test")


# Trouble

def test_plain_http_gets_an_answer(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = client.read_response()
        assert answer.status == 400
        assert answer.json()["reason"] == "plain_http"
        assert answer.value("Connection") == "close"
        client.expect_close()


def test_nonsense_is_refused(gateway, ca):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00" + bytes(512))
        received = b""
        while piece := plain.recv(4096):
            received += piece
        assert received[:1] == b"\x15"  # an alert
    with connect(gateway, ca) as client:
        assert fetch(client, "a.test").status == 200


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_an_unfinished_handshake_ends_in_time(origin, ca, begun):
    with Gateway(config(origin, ca.ssl("a.test"), timeouts={"header": "300ms"})) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as plain:
            plain.sendall(begun)
            assert plain.recv(4096) == b""


def test_a_request_that_is_cut_off_is_not_forwarded_as_complete(origin, gateway, ca):
    with connect(gateway, ca) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        wait_for(lambda: b"x" * 50 in origin.received, "the first half")
        os.close(client.socket.detach())
    wait_for(lambda: origin.connections[0].socket.fileno() < 0 or not origin.requests, "the end")
    assert not origin.requests


@contextlib.contextmanager
def strict_client(port, ca):
    """One that tells the announced end of a connection (b"") from a cut (an error)."""
    context = ca.client()
    context.options &= ~0x80  # SSL_OP_IGNORE_UNEXPECTED_EOF, which Python sets
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname="a.test",
                                 suppress_ragged_eofs=False) as client:
            yield client


def read_to_end(client):
    received = b""
    while piece := client.recv(65536):
        received += piece
    return received


def read_all(port, ca, data):
    with strict_client(port, ca) as client:
        client.sendall(data)
        return read_to_end(client)


def read_response(client):
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        piece = client.recv(65536)
        assert piece, received
        received += piece


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.0\r\n\r\n", get("a.test", "/", "Connection: close"), get("a.test")],
    ids=["HTTP/1.0", "close", "idle"])
def test_the_end_is_announced(origin, ca, data):
    with Gateway(config(origin, ca.ssl("a.test"), timeouts={"keepalive": "200ms"})) as gateway:
        assert read_all(gateway.port, ca, data).endswith(b"\r\n\r\nok")


def test_a_cut_response_does_not_look_complete(ca):
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    with Origin(once(cut, "close")) as origin, \
            Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        with pytest.raises(ssl.SSLError, match="unexpected eof"):
            read_all(gateway.port, ca, b"GET / HTTP/1.0\r\n\r\n")


def test_a_connection_that_gives_way_is_told(origin, ca):
    with Gateway(config(origin, ca.ssl("a.test"), limits={"worker_connections": 2})) as gateway:
        with strict_client(gateway.port, ca) as first:
            first.sendall(get("a.test"))
            read_response(first)
            with connect(gateway, ca) as second:
                assert fetch(second, "a.test").status == 200
                assert read_to_end(first) == b""


def hold_response(released, head):
    """An origin that answers with `head` and then waits; requests for / are answered."""
    def script(connection):
        if connection.read_request().target != "/held":
            connection.send(OK)
        else:
            connection.send(head)
            released.wait(30)
        connection.close()
    return script


# Closed at once by a second TERM, or when the time to drain is over.
@pytest.mark.parametrize("signals", [2, 1], ids=["at once", "drain limit"])
def test_an_end_by_force_is_told_to_whom_nothing_is_owed(ca, signals):
    released = threading.Event()
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"
    with Origin(hold_response(released, begun)) as origin:
        limits = {"shutdown": "300ms" if signals == 1 else "60s"}
        with Gateway(config(origin, ca.ssl("a.test"), timeouts=limits)) as gateway:
            gateway.may_lose_workers = True
            with strict_client(gateway.port, ca) as waiting, strict_client(gateway.port, ca) as cut, \
                    strict_client(gateway.port, ca) as idle:
                idle.sendall(get("a.test"))
                read_response(idle)
                cut.sendall(get("a.test", "/held"))
                while not (head := cut.recv(65536)).endswith(b"begun"):
                    assert head
                # A request that has not come to its end: it is no response that is missing then.
                waiting.sendall(b"GET / HTTP/1.1\r\n")
                gateway.signal(signal.SIGTERM)
                wait_for(lambda: "draining" in gateway.log, "the drain")
                if signals == 2:
                    gateway.signal(signal.SIGTERM)
                for client in (idle, waiting):
                    assert read_to_end(client) == b""
                with pytest.raises(ssl.SSLError, match="unexpected eof"):
                    read_to_end(cut)
                gateway.process.wait(timeout=30)
            released.set()
            gateway.process = None
            gateway.check_log()


def test_large_bodies_both_ways(ca):
    body = os.urandom(3_000_000)

    def echo(connection):
        request = connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        connection.send(request.body)
        connection.wait_for_close()
    with Origin(echo) as origin, Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        with connect(gateway, ca) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.send(body)
            assert client.read_response().body == body


def test_a_slow_reader_does_not_make_the_gateway_hold_the_body(ca):
    def flood(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        try:
            for _ in range(1000):
                connection.send(bytes(100000))
                sent.append(100000)
        finally:
            pass
    sent = []
    with Origin(flood) as origin, Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        with connect(gateway, ca) as client:
            client.send(get("a.test"))
            client.socket.recv(100)

            def stalled():
                before = sum(sent)
                time.sleep(0.2)
                return sum(sent) == before
            wait_for(stalled, "the origin to be held back")
            assert sum(sent) < 50_000_000


def test_curl_and_the_variables(origin, ca):
    access = {"path": "$DIR/access.log",
              "format": "$scheme $https $ssl_protocol $ssl_cipher $ssl_server_name"}
    with Gateway(config(origin, ca.ssl("a.test"), access_log=access)) as gateway:
        done = subprocess.run(
            ["curl", "-sS", "--cacert", ca.path("ca.pem"), "--resolve",
             f"a.test:{gateway.port}:127.0.0.1", f"https://a.test:{gateway.port}/"],
            capture_output=True, text=True, timeout=30)
        assert done.stdout == "ok", done.stderr
        line = wait_for(lambda: open(gateway.path("access.log")).read(), "the access log")
        assert line == "https on TLSv1.3 TLS_AES_128_GCM_SHA256 a.test\n"


def test_many_connections_at_once(gateway, ca):
    context = ca.client()
    clients = []

    def come():
        client = TlsClient(gateway.port, context, "a.test")
        assert fetch(client, "a.test").status == 200
        clients.append(client)
    threads = [threading.Thread(target=come) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 64
    for client in clients:
        assert fetch(client, "a.test").status == 200
        client.close()


def test_shipped_example(origin):
    with open(os.path.join(TOP, "conf/examples/tls.yaml")) as file:
        command = re.search(r"# +(openssl req .*)", file.read()).group(1)
    with TlsOrigin(None, serve()) as secure:
        shipped = example("tls", {1980: origin.port, 1981: secure.port})
        port = free_port()
        shipped["gateway"]["listen"][0]["address"] = f"127.0.0.1:{port}"
        with Gateway(shipped, start=False) as gateway:
            subprocess.run(shlex.split(command), cwd=gateway.directory, check=True,
                           capture_output=True, timeout=30)
            secure.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            secure.context.load_cert_chain(gateway.path("localhost.pem"),
                                           gateway.path("localhost.key"))
            secure.context.load_verify_locations(gateway.path("localhost.pem"))
            secure.context.verify_mode = ssl.CERT_REQUIRED
            gateway.start()

            def curl(host, path, *arguments):
                done = subprocess.run(
                    ["curl", "-sS", "--cacert", "localhost.pem", "--resolve",
                     f"{host}:{port}:127.0.0.1", "-w", " %{http_code} %{http_version}", *arguments,
                     f"https://{host}:{port}{path}"],
                    cwd=gateway.directory, capture_output=True, text=True, timeout=30)
                return done.stdout + done.stderr
            mine = ["--cert", "localhost.pem", "--key", "localhost.key"]
            assert curl("localhost", "/hello") == "ok 200 2"
            assert curl("localhost", "/secure") == "ok 200 2"
            assert curl("partner.localhost", "/hello", *mine) == "ok 200 2"
            assert " 400 " in curl("partner.localhost", "/hello")
            assert curl("partner.localhost", "/public/1") == "ok 200 2"
