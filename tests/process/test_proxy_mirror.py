"""proxy-mirror: what the copy is, and that the request does not care what becomes of it."""
# ctest: timeout=120

import pytest

from support.gateway import Gateway, upstream, wait_for
from support.origin import Origin, serve
from support.raw import RawClient


def config(origin, host, **fields):
    return {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(origin.port),
                        "plugins": {"proxy-mirror": {"host": host, **fields}}}]}


def host_of(service):
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture
def origin():
    with Origin(serve()) as origin:
        yield origin


@pytest.fixture
def mirror():
    with Origin(serve(b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nno!")) as mirror:
        yield mirror


def test_a_copy(origin, mirror):
    with Gateway(config(origin, host_of(mirror))) as gateway, RawClient(gateway.port) as client:
        client.send("PUT /a?b=c HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\r\nX-Forwarded-For: 6.6.6.6\r\n"
                    "Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nhello")
        assert client.read_response().body == b"ok"
        copy = mirror.wait_for_requests(1)[0]
        assert (copy.method, copy.target, copy.body) == ("PUT", "/a?b=c", b"hello")
        assert copy.value("Host") == f"127.0.0.1:{mirror.port}"
        assert copy.value("X-A") == "1"
        assert copy.value("X-Forwarded-For") == "127.0.0.1"
        assert copy.value("X-Hop") is None
        assert origin.requests[0].body == b"hello"


@pytest.mark.parametrize("place", ["consumers", "consumer_groups"])
def test_requests_of_a_consumer(origin, mirror, place):
    own = {"proxy-mirror": {"host": host_of(mirror)}}
    rose = {"username": "rose", "plugins": {"key-auth": {"key": "k"}}}
    settings = {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(origin.port), "plugins": {"key-auth": {}}}],
                "consumers": [rose, {"username": "jack", "plugins": {"key-auth": {"key": "j"}}}]}
    if place == "consumers":
        rose["plugins"].update(own)
    else:
        rose["group_id"] = "g"
        settings["consumer_groups"] = [{"id": "g", "plugins": own}]
    with Gateway(settings) as gateway, RawClient(gateway.port) as client:
        for key, body in (("j", "not this"), ("k", "hello")):
            client.send(f"POST / HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            assert client.read_response().status == 200
        assert mirror.wait_for_requests(1)[0].body == b"hello"
        assert [request.body for request in origin.requests] == [b"not this", b"hello"]


@pytest.mark.parametrize("fields,target", [({"path": "/p"}, "/p?b=c"),
                                           ({"path": "/p", "path_concat_mode": "prefix"}, "/p/a?b=c")])
def test_its_path(origin, mirror, fields, target):
    with Gateway(config(origin, host_of(mirror), **fields)) as gateway, \
            RawClient(gateway.port) as client:
        assert client.request("GET", "/a?b=c").status == 200
        assert mirror.wait_for_requests(1)[0].target == target


def test_a_share(origin, mirror):
    with Gateway(config(origin, host_of(mirror), sample_ratio=0.25)) as gateway, \
            RawClient(gateway.port) as client:
        for _ in range(400):
            assert client.request("GET", "/").status == 200
        wait_for(lambda: len(mirror.requests) > 40, "copies")
        assert len(mirror.requests) < 180


def test_bodies_that_are_too_long_or_of_unknown_length_go_to_the_upstream_only(origin, mirror):
    with Gateway(config(origin, host_of(mirror))) as gateway, RawClient(gateway.port) as client:
        body = "x" * (1024 * 1024 + 1)
        assert client.request("POST", "/long", body=body.encode()).status == 200
        client.send("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\nhi\r\n0\r\n\r\n")
        assert client.read_response().status == 200
        assert client.request("POST", "/short", body=body[1:].encode()).status == 200
        assert mirror.wait_for_requests(1)[0].target == "/short"
        assert [len(request.body) for request in origin.requests] == [len(body), 2, len(body) - 1]


def test_a_mirror_that_is_slow_silent_or_gone(origin):
    def silent(connection):
        connection.read_request()
        connection.wait_for_close()

    with Origin(silent) as mirror, Gateway(config(origin, host_of(mirror))) as gateway, \
            RawClient(gateway.port) as client:
        for _ in range(1100):  # more than may be under way
            assert client.request("GET", "/").status == 200
        assert len(mirror.connections) <= 1000
    with Gateway(config(origin, "http://127.0.0.1:1")) as gateway, RawClient(gateway.port) as client:
        assert client.request("GET", "/").status == 200
