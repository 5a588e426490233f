"""forward-auth with a real service: what it is asked, what its answers do, and what its failures."""
# ctest: timeout=180

import crypt

import pytest

from support.gateway import Gateway, upstream, wait_for
from support.http2 import Http2Client, request
from support.origin import OK, Origin, PeerClosed, serve
from support.raw import RawClient
from support.tls import Authority, TlsOrigin

REFUSAL = (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nX-Secret: s\r\nContent-Type: text/html\r\n"
           b"Content-Length: 7\r\n\r\nwho are")


def config(origin, uri, **fields):
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
            "routes": [{"id": "r", "uri": "/*", "upstream": upstream(origin.port),
                        "plugins": {"forward-auth": {"uri": uri, **fields}}}]}


def uri_of(service, path="/auth?from=gateway"):
    return f"http://127.0.0.1:{service.port}{path}"


def get(gateway, path="/", **headers):
    with RawClient(gateway.port) as client:
        return client.request("GET", path, headers=list(headers.items()))


@pytest.fixture
def origin():
    with Origin(serve()) as origin:
        yield origin


def test_what_the_service_is_asked(origin):
    with Origin(serve()) as service, \
            Gateway(config(origin, uri_of(service), request_headers=["Authorization", "X-Not"],
                           extra_headers={"X-Client": "$remote_addr", "X-Fixed": "v"})) as gateway, \
            RawClient(gateway.port) as client:
        client.send("POST /a/../b?c=d HTTP/1.1\r\nHost: shop.test:8080\r\nAuthorization: Basic x\r\n"
                    "Cookie: secret\r\nX-Forwarded-Uri: /forged\r\nContent-Length: 4\r\n\r\nbody")
        assert client.read_response().status == 200
        question = service.requests[0]
        assert (question.method, question.target) == ("GET", "/auth?from=gateway")
        assert sorted(question.headers) == sorted([
            ("Host", f"127.0.0.1:{service.port}"), ("Authorization", "Basic x"),
            ("X-Forwarded-Proto", "http"), ("X-Forwarded-Method", "POST"),
            ("X-Forwarded-Host", "shop.test"), ("X-Forwarded-Uri", "/b?c=d"),
            ("X-Forwarded-For", "127.0.0.1"), ("X-Client", "127.0.0.1"), ("X-Fixed", "v")])
        assert question.body == b""
        assert origin.requests[0].body == b"body"


def test_a_client_cannot_say_what_the_gateway_says(origin):
    names = ["x-forwarded-uri", "X-Forwarded-Method", "X-Tenant", "X-Token", "Content-Type", "Host",
             "Connection", "Content-Length"]
    with Origin(serve()) as service, \
            Gateway(config(origin, uri_of(service), request_headers=names, request_method="POST",
                           extra_headers={"X-Tenant": "ours", "X-Forwarded-Host": "h"})) as gateway, \
            RawClient(gateway.port) as client:
        client.send("DELETE http://shop.test/public/../admin?a HTTP/1.1\r\nHost: shop.test\r\n"
                    "X-Forwarded-Uri: /public\r\nX-Forwarded-Method: GET\r\nX-Tenant: theirs\r\n"
                    "X-Token: good\r\nx-token: evil\r\nContent-Type: text/x\r\n"
                    "Connection: X-Forwarded-Method, X-Tenant\r\nContent-Length: 4\r\n\r\nbody")
        assert client.read_response().status == 200
        question = service.requests[0]
        assert sorted(question.headers) == sorted([
            ("Host", f"127.0.0.1:{service.port}"), ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Method", "DELETE"), ("X-Forwarded-Host", "h"),
            ("X-Forwarded-Uri", "/admin?a"), ("X-Forwarded-For", "127.0.0.1"), ("X-Tenant", "ours"),
            ("X-Token", "good"), ("X-Token", "evil"), ("Content-Type", "text/x"),
            ("Content-Length", "4")])
        assert origin.requests[0].target == "/admin?a"


def test_what_looks_like_a_field_of_the_service(origin):
    answer = b"HTTP/1.1 204 Fine\r\nX-User-Id: jack\r\nX-Role: a\r\nX-Role: b\r\n\r\n"
    with Origin(serve(answer)) as service:
        settings = config(origin, uri_of(service), upstream_headers=["X-User-Id", "X-Role", "X-None"])
        forged = [("X-User-Id", "1"), ("X_User_Id", "2"), ("x-user_id", "3"), ("X_Role", "4"),
                  ("X_None", "5"), ("X-User-Ids", "mine")]
        with Gateway(settings) as gateway, RawClient(gateway.port) as client:
            assert client.request("GET", "/", headers=forged).status == 200
            heard = origin.requests[0]
            assert [(name, value) for name, value in heard.headers if name.lower()[1:2] in "-_" and
                    name.lower().replace("_", "-").startswith(("x-user", "x-role", "x-none"))] == [
                        ("X-User-Ids", "mine"), ("X-User-Id", "jack"), ("X-Role", "a"), ("X-Role", "b")]
        settings["routes"][0]["plugins"]["forward-auth"]["_meta"] = {"mode": "shadow"}
        with Gateway(settings) as gateway, RawClient(gateway.port) as client:
            assert client.request("GET", "/", headers=forged).status == 200
            assert all(origin.requests[1].value(name) == value for name, value in forged)


def test_a_refusal_with_several_fields_of_a_name(origin):
    answer = (b"HTTP/1.1 302 No\r\nSet-Cookie: a=b\r\nLocation: /login\r\nset-cookie: c=d\r\n"
              b"Content-Length: 0\r\n\r\n")
    with Origin(serve(answer)) as service, \
            Gateway(config(origin, uri_of(service),
                           client_headers=["Set-Cookie", "Location", "Content-Length"])) as gateway:
        refusal = get(gateway)
        assert (refusal.status, refusal.body) == (302, b"")
        assert refusal.values("Set-Cookie") == ["a=b", "c=d"]
        assert refusal.values("Location") == ["/login"]
        assert refusal.values("Content-Length") == ["0"]


def test_what_the_upstream_hears(origin):
    answer = b"HTTP/1.1 204 Fine\r\nX-User: jack\r\nX-Other: o\r\n\r\n"
    with Origin(serve(answer)) as service, \
            Gateway(config(origin, uri_of(service), upstream_headers=["X-User", "X-Role"])) as gateway:
        headers = {"X-User": "forged", "X-Role": "forged", "X-Other": "mine"}
        assert get(gateway, **headers).status == 200
        heard = origin.requests[0]
        assert [heard.values(name) for name in headers] == [["jack"], [], ["mine"]]
        with Http2Client(gateway.port) as client:
            assert client.get(extra=[("x-user", "forged")]).status == 200
        assert origin.requests[1].values("X-User") == ["jack"]


def test_a_refusal(origin):
    with Origin(serve(REFUSAL)) as service, \
            Gateway(config(origin, uri_of(service), client_headers=["WWW-Authenticate"])) as gateway:
        answer = get(gateway)
        assert (answer.status, answer.body) == (401, b"who are")
        assert answer.value("WWW-Authenticate") == "Basic"
        assert answer.value("Content-Type") == "text/html"
        assert answer.value("X-Secret") is None
        with Http2Client(gateway.port) as client:
            assert client.get().status == 401
        assert not origin.requests
        assert [record["reason"] for record in gateway.wait_for_access(2)] == ["plugin_reply"] * 2


def test_the_body_goes_to_both(origin):
    with Origin(serve()) as service, \
            Gateway(config(origin, uri_of(service), request_method="POST",
                           max_req_body_size=100_000)) as gateway, \
            RawClient(gateway.port) as client:
        body = "x" * 70_000
        client.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n"
                    f"\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n")
        assert client.read_response().status == 200
        for request in (service.requests[0], origin.requests[0]):
            assert request.body == body.encode()
        assert service.requests[0].method == "POST"
        assert service.requests[0].value("Content-Type") == "text/x"
        client.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
        assert client.read_response().status == 413
        assert len(service.requests) == 1


# Who is not known does not make the gateway keep a body.
def test_the_body_is_read_behind_the_plugins_in_front(origin):
    with Origin(serve()) as service:
        settings = config(origin, uri_of(service), request_method="POST", max_req_body_size=1000)
        settings["consumers"] = [{"username": "rose", "plugins": {"key-auth": {"key": "k"}}}]
        settings["routes"][0]["plugins"]["key-auth"] = {}
        with Gateway(settings) as gateway, RawClient(gateway.port) as client:
            for length in ("Content-Length: 900", "Content-Length: 5000", "Transfer-Encoding: chunked"):
                with RawClient(gateway.port) as unknown:
                    unknown.send(f"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{length}\r\n\r\n")
                    response = unknown.read_response()
                    assert response.status == 401 and not response.informational
            client.send("POST / HTTP/1.1\r\nHost: a\r\napikey: k\r\nExpect: 100-continue\r\n"
                        "Content-Length: 900\r\n\r\n")
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            client.send("x" * 900)
            assert client.read_response().status == 200
            client.send("POST / HTTP/1.1\r\nHost: a\r\napikey: k\r\nContent-Length: 5000\r\n\r\n")
            assert client.read_response().status == 413
        assert [request.body for request in service.requests] == [b"x" * 900]
        assert [request.body for request in origin.requests] == [b"x" * 900]


@pytest.mark.parametrize("size, status", [(0, 200), (600, 200), (1200, 413)])
def test_the_body_comes_while_a_password_is_verified(origin, size, status):
    slow = crypt.crypt("secret", "$5$rounds=200000$abcdefgh$")
    with Origin(serve()) as service:
        settings = config(origin, uri_of(service), request_method="POST", max_req_body_size=1000)
        settings["consumers"] = [{"username": "rose", "plugins": {"basic-auth": {
            "username": "rose", "password_hash": slow}}}]
        settings["routes"][0]["plugins"]["basic-auth"] = {}
        head = request("POST", extra=[("authorization", "Basic cm9zZTpzZWNyZXQ=")])
        with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
            stream = client.start(head, end=False)
            for last in (False, False, True):
                client.data(stream, b"x" * (size // 3), end=last)
            assert client.finish(stream).status == status
        wanted = [b"x" * size] if status == 200 else []
        assert [asked.body for asked in service.requests] == wanted
        assert [asked.body for asked in origin.requests] == wanted


# It has a limit of its own.
@pytest.mark.parametrize("reader", ["mirror", "form", "consumer"])
def test_a_body_that_is_there_for_somebody_else(origin, reader):
    with Origin(serve()) as service, Origin(serve()) as other:
        settings = config(origin, uri_of(service), request_method="POST", max_req_body_size=1000)
        route = settings["routes"][0]
        if reader == "mirror":
            settings["global_rules"] = [{"id": "g", "plugins": {"proxy-mirror": {
                "host": f"http://127.0.0.1:{other.port}"}}}]
        elif reader == "form":
            route["vars"] = [["post_arg_a", "==", "b"]]
        else:
            strict = route["plugins"]["forward-auth"]
            settings["consumers"] = [{"username": "rose", "plugins": {
                "key-auth": {"key": "k"}, "forward-auth": strict}}]
            route["plugins"] = {"key-auth": {},
                                "forward-auth": {**strict, "max_req_body_size": 100_000}}
        with Gateway(settings) as gateway, RawClient(gateway.port) as client:
            for size, status in ((900, 200), (5000, 413)):
                body = "a=b&c=" + "x" * (size - 6)
                client.send("POST / HTTP/1.1\r\nHost: a\r\napikey: k\r\nContent-Type: "
                            "application/x-www-form-urlencoded\r\n"
                            f"Content-Length: {size}\r\n\r\n{body}")
                assert client.read_response().status == status
        assert [len(asked.body) for asked in service.requests] == [900]


@pytest.mark.parametrize("status", [200, 403])
def test_fields_without_a_value(origin, status):
    answer = b"HTTP/1.1 %d X\r\nX-Token:\r\nContent-Type:\r\nContent-Length: 0\r\n\r\n" % status
    fields = {"upstream_headers": ["X-Token"], "client_headers": ["X-Token"]}
    with Origin(serve(answer)) as service, Gateway(config(origin, uri_of(service), **fields)) as gateway:
        response = get(gateway)
        assert response.status == status
        if status == 200:
            assert origin.requests[0].value("X-Token") == ""
        else:
            assert response.value("X-Token") == ""


def test_the_plugin_of_a_consumer_reads_the_body(origin):
    with Origin(serve()) as service:
        settings = config(origin, uri_of(service), request_method="POST", max_req_body_size=1000)
        own = settings["routes"][0].pop("plugins")
        settings["routes"][0]["plugins"] = {"key-auth": {}}
        settings["consumers"] = [{"username": "rose", "plugins": {"key-auth": {"key": "k"}, **own}}]
        with Gateway(settings) as gateway, RawClient(gateway.port) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\napikey: k\r\nContent-Length: 4\r\n\r\nbody")
            assert client.read_response().status == 200
        assert service.requests[0].body == origin.requests[0].body == b"body"


def test_connections_to_the_service_are_kept(origin):
    for keep, connections in ((True, 1), (False, 4)):
        with Origin(serve()) as service, \
                Gateway(config(origin, uri_of(service), keepalive=keep)) as gateway:
            for _ in range(4):
                assert get(gateway).status == 200
            assert len(service.connections) == connections


def silent(connection):
    connection.read_request()
    connection.wait_for_close()


def cut(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive.")
    connection.close()


def endless(connection):
    connection.read_request()
    try:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
        connection.wait_for_close()
    except OSError:
        raise PeerClosed from None


@pytest.mark.parametrize("script", [silent, cut, endless, serve(b"SMTP ready\r\n")],
                         ids=["silent", "cut", "endless", "no http"])
def test_a_service_that_fails(origin, script):
    with Origin(script) as service:
        with Gateway(config(origin, uri_of(service), timeout=400)) as gateway:
            assert get(gateway).status == 403
            assert not origin.requests
        with Gateway(config(origin, uri_of(service), timeout=400, status_on_error=503)) as gateway:
            assert get(gateway).status == 503
        with Gateway(config(origin, uri_of(service), timeout=400,
                            allow_degradation=True)) as gateway:
            assert get(gateway).status == 200
            assert len(origin.requests) == 1


def test_a_service_that_is_not_there(origin):
    with Gateway(config(origin, "http://127.0.0.1:1/")) as gateway:
        assert get(gateway).status == 403
    with Gateway(config(origin, "http://nowhere.invalid/", timeout=2000)) as gateway:
        assert get(gateway).status == 403


def test_clients_that_leave_and_reloads_while_it_thinks(origin):
    waiting = []

    def script(connection):
        while True:
            connection.read_request()
            waiting.append(connection)

    with Origin(script) as service:
        with Gateway(config(origin, uri_of(service), timeout=60_000)) as gateway:
            leaver = RawClient(gateway.port).send("GET /l HTTP/1.1\r\nHost: a\r\n\r\n")
            stayer = RawClient(gateway.port).send("GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: len(waiting) == 2, "both questions")
            leaver.reset()
            gateway.wait_for_access(1)
            plain = {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(origin.port)}]}
            assert gateway.reload({**config(origin, "http://a/"), **plain}).returncode == 0
            assert get(gateway).status == 200
            for connection in waiting:
                connection.send(OK)
            assert stayer.read_response().status == 200
            assert sorted(request.target for request in origin.requests) == ["/", "/s"]


def test_a_service_with_tls(origin):
    with Authority() as authority:
        authority.issue("ip", "IP:127.0.0.1")
        with TlsOrigin(authority.server("ip")) as service:
            uri = f"https://127.0.0.1:{service.port}/"
            with Gateway(config(origin, uri)) as gateway:
                assert get(gateway).status == 403  # nobody knows its authority
            with Gateway(config(origin, uri, ssl_verify=False)) as gateway:
                assert get(gateway).status == 200
