"""TLS to upstreams: whose certificate is accepted, ours, sessions, and what is never done."""
# ctest: timeout=180

import ssl
import threading

import pytest

from support.gateway import Gateway, upstream, wait_for
from support.origin import OK, Origin, PeerClosed, once, serve
from support.raw import ConnectionEnded, RawClient
from support.tls import Authority, TlsOrigin


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test").issue("b.test").issue("ip", "IP:127.0.0.1").issue("gateway")
        authority.issue("old", "a.test", days=-1)
        yield authority


def config(ca, *ports, ssls=(), verify=True, tls=None, **fields):
    secured = {"ca": ca.read("ca.pem"), **(tls or {})} if verify else {"verify": False, **(tls or {})}
    fields = {"scheme": "https", "tls": secured, **fields}
    return {"ssls": list(ssls),
            "routes": [{"id": "r", "uri": "/*", "upstream": upstream(*ports, **fields)}]}


def get(gateway, host="a.test"):
    with RawClient(gateway.port) as client:
        return client.request("GET", "/", host=host)


def reason(gateway, host="a.test"):
    answer = get(gateway, host)
    assert answer.status == 502
    return answer.json()["reason"]


def test_requests_go_through_tls(ca):
    with TlsOrigin(ca.server("a.test")) as origin, Gateway(config(ca, origin.port)) as gateway:
        assert get(gateway).body == b"ok"
        assert origin.names == ["a.test"]
        assert origin.requests[0].value("Host") == "a.test"


def test_connections_are_reused_for_the_same_host_only(ca):
    with TlsOrigin(ca.server("a.test")) as origin, \
            Gateway(config(ca, origin.port, verify=False)) as gateway:
        for host in ("a.test", "a.test", "A.test:8080", "b.test", "a.test", "b.test"):
            assert get(gateway, host).status == 200
        assert origin.names == ["a.test", "b.test"]


@pytest.mark.parametrize("options, name", [
    ({"pass_host": "node"}, None),
    ({"pass_host": "rewrite", "upstream_host": "b.test:8443"}, "b.test"),
    ({"pass_host": "pass"}, "a.test")])
def test_the_name_follows_pass_host(ca, options, name):
    certificate = {"a.test": "a.test", "b.test": "b.test", None: "ip"}[name]
    with TlsOrigin(ca.server(certificate)) as origin, \
            Gateway(config(ca, origin.port, **options)) as gateway:
        assert get(gateway).status == 200
        assert origin.names == [name]  # an address is not sent as a name


@pytest.mark.parametrize("certificate, host", [
    ("old", "a.test"), ("b.test", "a.test"), ("a.test", "127.0.0.1")])
def test_a_wrong_certificate_is_refused(ca, certificate, host):
    with TlsOrigin(ca.server(certificate)) as origin, Gateway(config(ca, origin.port)) as gateway:
        assert reason(gateway, host) == "upstream_tls_failed"
        assert not origin.requests
        assert gateway.wait_for_access(1)[0]["reason"] == "upstream_tls_failed"


def test_an_unknown_authority_is_refused(ca):
    with Authority("Another CA") as other:
        other.issue("a.test")
        with TlsOrigin(other.server("a.test")) as origin:
            with Gateway(config(ca, origin.port)) as gateway:
                assert reason(gateway) == "upstream_tls_failed"
            # The system does not know it either.
            with Gateway(config(ca, origin.port, tls={"ca": other.read("ca.pem")})) as gateway:
                assert get(gateway).status == 200
            plain = {"routes": [{"id": "r", "uri": "/*",
                                 "upstream": upstream(origin.port, scheme="https")}]}
            with Gateway(plain) as gateway:
                assert reason(gateway) == "upstream_tls_failed"
                assert "self-signed certificate" in gateway.log or \
                    "unable to get local issuer certificate" in gateway.log


def test_verification_can_be_turned_off(ca):
    with TlsOrigin(ca.server("old")) as origin, \
            Gateway(config(ca, origin.port, verify=False)) as gateway:
        assert get(gateway, "whoever.test").status == 200


def test_there_is_no_way_back_to_plain_text(ca):
    def answer_anything(connection):
        connection._more()
        connection.send(OK)
        connection.wait_for_close()
    with Origin(answer_anything) as origin, Gateway(config(ca, origin.port)) as gateway:
        assert reason(gateway) == "upstream_tls_failed"
        assert not origin.requests
        assert b"GET" not in origin.received


def test_another_node_is_tried(ca):
    with TlsOrigin(ca.server("old")) as bad, TlsOrigin(ca.server("a.test")) as good, \
            Gateway(config(ca, bad.port, good.port)) as gateway:
        for _ in range(4):
            assert get(gateway).status == 200
        assert not bad.requests and len(good.requests) == 4


def own(ca):
    return {"client_cert": ca.read("gateway.pem"), "client_key": ca.read("gateway.key")}


def test_the_gateway_shows_its_certificate(ca):
    with TlsOrigin(ca.server("a.test", client_ca=True)) as origin:
        with Gateway(config(ca, origin.port)) as gateway:
            assert get(gateway).status == 502
        with Gateway(config(ca, origin.port, tls=own(ca))) as gateway:
            assert get(gateway).status == 200
        named = {"id": "mine", "type": "client", "cert": ca.read("gateway.pem"),
                 "key": ca.read("gateway.key")}
        with Gateway(config(ca, origin.port, tls={"client_cert_id": "mine"},
                            ssls=[named])) as gateway:
            assert get(gateway).status == 200


def test_the_gateway_s_certificate_is_replaced_under_load(ca):
    ca.issue("second")
    context = ca.server("a.test", client_ca=True)
    shown = []

    def script(connection):
        subject = dict(part[0] for part in connection.socket.getpeercert()["subject"])
        shown.append(subject["commonName"])
        serve()(connection)

    def of(name):
        return config(ca, origin.port, tls={"client_cert": ca.read(f"{name}.pem"),
                                            "client_key": ca.read(f"{name}.key")})
    with TlsOrigin(context, script) as origin, Gateway(of("gateway"), workers=2) as gateway:
        stop = threading.Event()
        failures, counts = [], [0]

        def ask():
            try:
                with RawClient(gateway.port) as client:
                    while not stop.is_set():
                        assert client.request("GET", "/", host="a.test").status == 200
                        counts[0] += 1
            except Exception as failure:
                failures.append(failure)
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for name in ("second", "gateway", "second", "gateway"):
                before, known = counts[0], len(shown)
                assert gateway.reload(of(name)).returncode == 0
                wait_for(lambda: failures or counts[0] > before + 20, "requests after the reload")
                wait_for(lambda: failures or name in shown[known:], "the new certificate")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(ca, version):
    context = ca.server("a.test")
    context.minimum_version = context.maximum_version = version
    reused = []

    def script(connection):
        reused.append(connection.socket.session_reused)
        once(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), "close")(connection)
    with TlsOrigin(context, script) as origin, Gateway(config(ca, origin.port)) as gateway:
        for _ in range(4):
            assert get(gateway).status == 200
    assert reused == [False, True, True, True]


def test_changed_settings_take_no_old_connection(ca):
    with TlsOrigin(ca.server("old")) as origin, \
            Gateway(config(ca, origin.port, verify=False)) as gateway:
        assert get(gateway).status == 200
        assert gateway.reload(config(ca, origin.port)).returncode == 0
        assert reason(gateway) == "upstream_tls_failed"


def test_a_reload_that_changes_nothing_of_it_keeps_connections(ca):
    with TlsOrigin(ca.server("a.test")) as origin, Gateway(config(ca, origin.port)) as gateway:
        assert get(gateway).status == 200
        changed = config(ca, origin.port)
        changed["routes"][0]["desc"] = "changed"
        assert gateway.reload(changed).returncode == 0
        assert get(gateway).status == 200
        assert origin.names == ["a.test"]


@pytest.mark.parametrize("cut", [False, True])
def test_a_body_until_the_end_must_end_properly(ca, cut):
    reply = b"HTTP/1.1 200 OK\r\n\r\nhalf"
    with TlsOrigin(ca.server("a.test"), once(reply, "close"), cut=cut) as origin, \
            Gateway(config(ca, origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            if not cut:
                assert client.read_response().body == b"half"
            else:
                with pytest.raises(ConnectionEnded):
                    client.read_response()
        record = gateway.wait_for_access(1)[0]
        assert record["reason"] == ("response_truncated" if cut else "ok")


def test_the_end_of_an_idle_connection_is_announced(ca):
    ends = []

    def script(connection):
        connection.read_request()
        connection.send(OK)
        connection.socket.suppress_ragged_eofs = False
        try:
            ends.append(connection.socket.recv(1))
        except OSError as failure:
            ends.append(failure)
        connection.close()
    context = ca.server("a.test")
    context.options &= ~0x80  # SSL_OP_IGNORE_UNEXPECTED_EOF, which Python sets
    with TlsOrigin(context, script) as origin, \
            Gateway(config(ca, origin.port, keepalive_pool={"idle_timeout": 0.2})) as gateway:
        assert get(gateway).status == 200
        assert wait_for(lambda: ends, "the end of the connection") == [b""]


def test_an_upstream_that_does_not_answer_the_handshake(ca):
    def silent(connection):
        try:
            connection.wait_for_close()
        except PeerClosed:
            pass
    with Origin(silent) as origin, \
            Gateway(config(ca, origin.port,
                           timeout={"connect": 0.3, "send": 5, "read": 5})) as gateway:
        answer = get(gateway)
        assert answer.status == 504
        assert answer.json()["reason"] == "connect_timeout"


def test_large_bodies(ca):
    body = bytes(range(256)) * 10000

    def echo(connection):
        request = connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        connection.send(request.body)
        connection.wait_for_close()
    with TlsOrigin(ca.server("a.test"), echo) as origin, \
            Gateway(config(ca, origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            answer = client.request("POST", "/", body=body, host="a.test")
            assert answer.body == body


def test_a_bad_certificate_of_an_upstream_is_refused_by_check(ca):
    bad = config(ca, 1, tls={"client_cert": ca.read("gateway.pem"), "client_key": ca.read("a.test.key")})
    with Gateway(bad, start=False) as gateway:
        done = gateway.run("check")
        assert done.returncode != 0
        assert "routes[0].upstream.tls.client_key: the private key does not belong" in done.stderr


def test_the_default_port_is_443():
    config = {"upstreams": [{"id": "u", "type": "roundrobin", "scheme": "https",
                             "nodes": {"localhost": 1}}],
              "routes": [{"id": "r", "uri": "/*", "upstream_id": "u"}]}
    with Gateway(config, start=False) as gateway:
        assert gateway.run("check").returncode == 0
        explained = gateway.run("explain", "GET", "http://a/").stdout
        assert "443" in explained, explained


def test_requests_in_a_row_over_one_connection(ca):
    with TlsOrigin(ca.server("a.test"), serve()) as origin, \
            Gateway(config(ca, origin.port)) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(50):
                assert client.request("GET", "/", host="a.test").status == 200
        wait_for(lambda: len(origin.requests) == 50, "all requests")
        assert len(origin.connections) == 1
