"""Authentication where cases are not enough: reloads, clients that leave, logs, the example."""
# ctest: timeout=240

import base64
import crypt
import json
import os
import threading
import warnings

import pytest

from support import tokens
from support.clock import Clock
from support.gateway import PATIENCE, Gateway, example, route, wait_for
from support.http2 import Http2Client, request as http2_request
from support.origin import Origin
from support.raw import RawClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SLOW = crypt.crypt("secret", "$6$rounds=200000$abcdefgh")  # takes a good part of 0.1 s
    SLOW_64_TIMES = crypt.crypt("secret", "$6$rounds=50000$abcdefgh")


def basic(password, name="rose"):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def config(origin, plugins, consumers):
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}],
                        "access_log": {"path": "$DIR/access.log", "format": "json"}},
            "routes": [route(origin.port, plugins=plugins)], "consumers": consumers}


def slow_passwords(origin, slow=SLOW):
    return config(origin, {"basic-auth": {}}, [
        {"username": "rose", "plugins": {"basic-auth": {"username": "rose", "password_hash": slow}}}])


def slow_tokens(origin):
    return config(origin, {"jwt-auth": {}}, [
        {"username": "rose", "plugins": {"jwt-auth": {
            "key": "rose", "algorithm": "ES512", "public_key": tokens.public_key("ES512")}}}])


def token(number):
    return "Bearer " + tokens.token("ES512", claims={"key": "rose", "n": number})


def get(gateway, authorization, path="/"):
    with RawClient(gateway.port) as client:
        return client.request("GET", path, headers=[("Authorization", authorization)])


@pytest.mark.parametrize("settings, credentials", [
    (slow_passwords, lambda number: basic("secret" if number % 2 else f"wrong{number}")),
    (slow_tokens, token)])
def test_clients_leave_and_configurations_change_while_a_credential_is_verified(
        origin, settings, credentials):
    wanted = settings(origin)
    empty = config(origin, {"basic-auth": {}}, [])
    with Gateway(wanted) as gateway:
        for number in range(12):
            client = RawClient(gateway.port)
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                        f"Authorization: {credentials(number)}\r\n\r\nhello")
            if number % 3 == 0:
                assert gateway.reload(empty if number % 2 else wanted).returncode == 0
            client.reset()
            if number % 3 == 0:
                assert gateway.reload(wanted).returncode == 0
        with Http2Client(gateway.port) as client:
            streams = [client.start(http2_request("GET", "/", "a", [
                ("authorization", credentials(100 + number))])) for number in range(20)]
            client.ping()  # they have come
            for stream in streams[::2]:
                client.reset(stream)
            assert gateway.reload(empty).returncode == 0
            assert gateway.reload(wanted).returncode == 0
            for stream in streams[1::2]:
                assert client.finish(stream).status == 200  # odd numbers
        assert get(gateway, credentials(1)).status == 200
        assert get(gateway, credentials(1)[:-2]).status == 401
        gateway.wait_for_access(12 + 20 + 2)


# A name that nobody has is verified as one that somebody has: otherwise the time, or this limit,
# would tell the names.
@pytest.mark.parametrize("name", ["rose", "nobody"])
def test_what_is_verified_at_once_is_limited(origin, name):
    with Gateway(slow_passwords(origin, SLOW_64_TIMES)) as gateway, \
            Http2Client(gateway.port) as client:
        streams = [client.start(http2_request("GET", "/", "a", [
            ("authorization", basic(f"guess{number}", name))])) for number in range(90)]
        responses = [client.finish(stream) for stream in streams]
        assert {response.status for response in responses} == {401, 503}
        refused = [response for response in responses if response.status == 503]
        assert len(refused) <= 90 - 64
        assert ("retry-after", "1") in refused[0].headers
        assert get(gateway, basic("secret")).status == 200
    assert len(origin.requests) == 1


def test_a_name_that_nobody_has_is_never_let_in(origin):
    with Gateway(slow_passwords(origin)) as gateway:
        for password in ("secret", "guess", ""):
            for name in ("nobody", "", "Rose"):
                refusal = get(gateway, basic(password, name))
                assert (refusal.status, b"Invalid user authorization" in refusal.body) == (401, True)
            assert get(gateway, basic("secret")).status == 200
    assert len(origin.requests) == 3


def test_a_known_token_ends_with_its_consumer(origin):
    def consumers(secret):
        return [{"username": "rose", "plugins": {"jwt-auth": {"key": "rose", "secret": secret}}}]
    good = config(origin, {"jwt-auth": {}}, consumers(tokens.SECRET))
    bearer = "Bearer " + tokens.token(claims={"key": "rose"})
    with Gateway(good) as gateway:
        for _ in range(3):
            assert get(gateway, bearer).status == 200
        for worse, message in ((consumers("another"), b"failed to verify jwt"),
                               ([], b"Invalid user key in JWT token")):
            assert gateway.reload(config(origin, {"jwt-auth": {}}, worse)).returncode == 0
            wait_for(lambda: get(gateway, bearer).status == 401, "the new configuration")
            assert message in get(gateway, bearer).body
            assert gateway.reload(good).returncode == 0
            wait_for(lambda: get(gateway, bearer).status == 200, "the old configuration")


def test_secrets_in_the_query_are_not_logged(origin):
    settings = config(origin, {"key-auth": {"query": "k"}},
                      [{"username": "rose", "plugins": {"key-auth": {"key": "s3cret"}}}])
    settings["gateway"]["access_log"]["format"] = "$request|$request_uri|$args|$arg_k|$consumer_name"
    with Gateway(settings) as gateway, RawClient(gateway.port) as client, \
            Http2Client(gateway.port) as second:
        assert client.request("GET", "/a?x=1&k=s3cret&y=2").status == 200
        assert client.request("GET", "/b?k=s3cres&x").status == 401
        assert second.finish(second.start(http2_request("GET", "/c?%6b=s3cret"))).status == 200
        assert client.request("GET", "/d?x=k=1").status == 401

        def lines():
            with open(gateway.path("access.log")) as file:
                return file.read().splitlines()
        wait_for(lambda: len(lines()) == 4, "four lines")
        assert sorted(lines()) == [
            "GET /a?x=1&k=***&y=2 HTTP/1.1|/a?x=1&k=***&y=2|x=1&k=***&y=2|***|rose",
            "GET /b?k=***&x HTTP/1.1|/b?k=***&x|k=***&x|***|-",
            "GET /c?%6b=*** HTTP/2.0|/c?%6b=***|%6b=***|***|rose",
            "GET /d?x=k=1 HTTP/1.1|/d?x=k=1|x=k=1|-|-"]
    assert [request.target for request in origin.requests] == ["/a?x=1&k=s3cret&y=2", "/c?%6b=s3cret"]


def test_secrets_in_fields_and_cookies_are_not_logged(origin):
    settings = config(origin, {"key-auth": {"header": "X-Key"}, "file-logger": {"path": "$DIR/file.log"}},
                      [{"username": "rose", "plugins": {
                          "key-auth": {"key": "s3cret"}, "jwt-auth": {"key": "rose", "secret": "s"},
                          "basic-auth": {"username": "rose", "password": "s3cret"}}}])
    settings["routes"] += [
        {**route(origin.port, plugins={"jwt-auth": {}}), "id": "j", "uri": "/jwt"},
        {**route(origin.port, plugins={"jwt-auth": {"_meta": {"mode": "shadow"}}}), "id": "s", "uri": "/shadow"},
        {**route(origin.port, plugins={"basic-auth": {"hide_credentials": True}}), "id": "b", "uri": "/basic"}]
    settings["gateway"]["access_log"]["format"] = \
        "$uri $status $http_x_key|$http_authorization|$http_cookie|$cookie_jwt|$remote_user"
    bearer = tokens.token(claims={"key": "rose"}, secret="s")
    with Gateway(settings) as gateway, RawClient(gateway.port) as client:
        def ask(path, *headers):
            return client.request("GET", path, headers=list(headers)).status
        assert ask("/a", ("x-key", "s3cret")) == 200
        assert ask("/b", ("X-Key", "s3cres")) == 401
        assert ask("/c", ("X-Key", "s3cret"), ("x-key", "s3cres")) == 401
        assert ask("/jwt", ("Cookie", f"a=b; jwt={bearer};c=d")) == 200
        assert ask("/jwt", ("Cookie", "a=b"), ("Cookie", "jwt=x.y.z")) == 401
        assert ask("/jwt", ("Authorization", f"Bearer {bearer}"), ("Cookie", "a=b")) == 200
        assert ask("/shadow", ("Authorization", bearer)) == 200
        assert ask("/basic", ("Authorization", basic("s3cret"))) == 200
        assert ask("/basic", ("Authorization", basic("guess"))) == 401
        assert ask("/basic", ("Authorization", "Basic s3cret!")) == 401
        known = "Basic " + base64.b64encode(b"rose:***").decode()

        def lines(name):
            if not os.path.exists(gateway.path(name)):
                return []
            with open(gateway.path(name)) as file:
                return file.read().splitlines()
        wait_for(lambda: len(lines("access.log")) == 10, "ten lines")
        assert lines("access.log") == [
            "/a 200 ***|-|-|-|-", "/b 401 ***|-|-|-|-", "/c 401 ***|-|-|-|-",
            "/jwt 200 -|-|a=b; jwt=***; c=d|***|-", "/jwt 401 -|-|a=b; jwt=***|***|-",
            "/jwt 200 -|***|a=b|-|-", "/shadow 200 -|***|-|-|-",
            f"/basic 200 -|{known}|-|-|rose", f"/basic 401 -|{known}|-|-|rose", "/basic 401 -|***|-|-|-"]
        wait_for(lambda: len(lines("file.log")) == 3, "three lines")
        assert [json.loads(line)["request"]["headers"]["x-key"] for line in lines("file.log")] == ["***"] * 3
    assert origin.requests[0].value("X-Key") == "s3cret"
    assert origin.requests[-1].value("Authorization") is None


def test_requests_of_a_consumer_stay_with_one_node():
    consumers = [{"username": f"c{number}", "plugins": {"key-auth": {"key": f"k{number}"}}}
                 for number in range(20)]
    with Origin() as first, Origin() as second:
        by_consumer = route(first.port, second.port, plugins={"key-auth": {}},
                            upstream={"type": "chash", "hash_on": "consumer"})
        with Gateway({"routes": [by_consumer], "consumers": consumers}) as gateway, \
                RawClient(gateway.port) as client:
            for number in 2 * list(range(20)):
                fields = [("apikey", f"k{number}")]
                assert client.request("GET", "/", headers=fields).status == 200
        seen = [{request.value("X-Consumer-Username") for request in node.requests}
                for node in (first, second)]
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 20


def test_the_example(origin):
    settings = example("consumers", {1980: origin.port})
    settings["gateway"] = {}
    with Gateway(settings) as gateway, RawClient(gateway.port) as client:
        def ask(path, method="GET", **headers):
            fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
            return client.request(method, path, headers=fields)

        assert ask("/orders/1").status == 401
        assert ask("/orders/1", X_Api_Key="change-me-2").status == 200
        assert origin.requests[-1].value("X-Credential-Identifier") == "new"
        assert origin.requests[-1].value("X-Consumer-Custom-ID") == "4711"
        assert ask("/orders/1", X_Api_Key="change-me-3").value("X-Internal") == "yes"
        assert ask("/orders/1", "DELETE", X_Api_Key="change-me-3").status == 403
        assert ask("/office/", Authorization=basic("secret")).status == 200
        assert ask("/office/", Authorization=basic("guess")).status == 401
        claims = {"iss": "https://id.partner.test", "aud": "app"}
        bearer = "Bearer " + tokens.token(claims=claims, secret="change-me-4")
        assert ask("/app/", Authorization=bearer).status == 200
        assert origin.requests[-1].value("X-Consumer-Username") == "partner"
        assert ask("/app/").value("X-Guest") == "yes"
        assert origin.requests[-1].value("X-Consumer-Username") == "guest"


class Issuer:
    """Publishes keys; `gate` holds its answers back while it is cleared."""

    def __init__(self, *algorithms, head=b"HTTP/1.1 200 OK\r\n", body=None):
        text = json.dumps({"keys": [tokens.jwk(name) for name in algorithms]}).encode()
        self.head, self.body = head, text if body is None else body
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def script(self, connection):
        while True:
            connection.read_request()
            self.asked.set()
            assert self.gate.wait(PATIENCE)
            connection.send(self.head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body)


def with_keys_of(origin, server):
    return config(origin, {"jwt-auth": {"key_claim_name": "iss"}}, [
        {"username": "rose", "plugins": {"jwt-auth": {
            "key": "id", "jwks_uri": f"http://127.0.0.1:{server.port}/keys?all=1"}}}])


def of_issuer(algorithm, number=0):
    return "Bearer " + tokens.token(algorithm, {"kid": algorithm}, {"iss": "id", "n": number})


def test_keys_are_fetched_once(origin):
    issuer = Issuer("RS256", "ES512", "EdDSA")
    with Origin(issuer.script) as server, Gateway(with_keys_of(origin, server)) as gateway:
        for number in range(3):
            for algorithm in ("RS256", "ES512", "EdDSA"):
                assert get(gateway, of_issuer(algorithm, number)).status == 200
        assert get(gateway, of_issuer("ES256")).status == 401  # would fetch again in a minute
        assert gateway.reload(with_keys_of(origin, server)).returncode == 0
        assert get(gateway, of_issuer("RS256", 9)).status == 200
        (request,) = server.requests
        assert (request.method, request.target) == ("GET", "/keys?all=1")
        assert request.value("Host") == f"127.0.0.1:{server.port}"
        assert not request.values("Authorization")


def test_a_key_that_is_withdrawn_is_good_no_longer(origin):
    """Also where nobody sends a token that the gateway does not know."""
    issuer, later = Issuer("RS256", "ES512"), Issuer("ES512")
    known = of_issuer("RS256")
    with Clock(of_all_kinds=True) as clock, Origin(issuer.script) as server:
        settings = with_keys_of(origin, server)
        settings["consumers"][0]["plugins"]["jwt-auth"]["jwks_refresh"] = 600
        with Gateway(settings, env=clock.environment) as gateway:
            assert get(gateway, known).status == 200
            issuer.body = later.body
            clock.jump(300)
            assert get(gateway, known).status == 200
            assert len(server.requests) == 1
            clock.jump(601)
            wait_for(lambda: get(gateway, known).status == 401, "the keys to be fetched")
            assert get(gateway, of_issuer("ES512")).status == 200
            assert len(server.requests) == 2


def test_clients_leave_and_configurations_change_while_keys_are_fetched(origin):
    issuer = Issuer("RS256", "ES512")
    issuer.gate.clear()
    with Origin(issuer.script) as server, Gateway(with_keys_of(origin, server)) as gateway:
        with Http2Client(gateway.port) as client:
            streams = [client.start(http2_request("GET", "/", "a", [
                ("authorization", of_issuer(algorithm, number))]))
                for number in range(10) for algorithm in ("RS256", "ES512")]
            client.ping()
            assert issuer.asked.wait(PATIENCE)
            for stream in streams[::3]:
                client.reset(stream)
            with RawClient(gateway.port) as other:
                other.send(f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {of_issuer('ES512', 77)}\r\n\r\n")
                other.reset()
            assert gateway.reload(config(origin, {}, [])).returncode == 0
            issuer.gate.set()
            for number, stream in enumerate(streams):
                if number % 3:
                    assert client.finish(stream).status == 200
        assert gateway.reload(with_keys_of(origin, server)).returncode == 0
        assert get(gateway, of_issuer("RS256", 99)).status == 200
        assert len(server.requests) == 1


@pytest.mark.parametrize("issuer", [
    Issuer(head=b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n"),
    Issuer(head=b"HTTP/1.1 404 Not Found\r\n"),
    Issuer(body=b"<html>"),
    Issuer(body=b'{"keys": [{"kty": "oct", "k": "AA"}]}'),
    Issuer(body=b" " * (300 * 1024))], ids=["redirect", "missing", "html", "secrets", "large"])
def test_keys_that_cannot_be_fetched(origin, issuer):
    with Origin(issuer.script) as server, Gateway(with_keys_of(origin, server)) as gateway:
        for number in range(3):
            response = get(gateway, of_issuer("RS256", number))
            assert response.status == 503
            assert json.loads(response.body) == {"message": "failed to verify jwt"}
        assert len(server.requests) == 1, "once a minute"
        assert "could not fetch the keys of an issuer" in gateway.log
    assert not origin.requests


def test_no_issuer_at_all(origin):
    with Origin(Issuer().script) as server:
        settings = with_keys_of(origin, server)
    with Gateway(settings) as gateway:
        assert get(gateway, of_issuer("RS256")).status == 503
        assert get(gateway, "Bearer x").status == 401
