"""Responses of the gateway itself go through the plugins of their route as those of an upstream do;
and what plugins make of responses fits the client's version of HTTP."""

import gzip
import json

import pytest

from support.gateway import Gateway, route
from support.http2 import Http2Client, request as http2_request
from support.origin import Origin, serve
from support.raw import RawClient

REWRITE = {"response-rewrite": {"body": "sorry\n", "headers": {
    "set": {"X-Status": "$status", "Content-Type": "text/plain"}, "remove": ["Retry-After"]}}}
TEXT = b"a text that is worth it " * 40


def config(route_of, **fields):
    return {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}],
                        "client_max_body_size": 10},
            "routes": [route_of], **fields}


def nobody(plugins):
    return route(1, plugins=plugins, upstream={"retries": 0})


def silence(plugins, port):
    return route(port, plugins=plugins, upstream={"retries": 0, "timeout": {"connect": 5, "send": 5, "read": 0.2}})


def ask(gateway, method="GET", path="/", body=None):
    """The same over HTTP/1.1 and HTTP/2."""
    with RawClient(gateway.port) as client:
        yield client.request(method, path, body=body)
    with Http2Client(gateway.port) as client:
        stream = client.start(http2_request(method, path), end=body is None)
        if body is not None:
            client.data(stream, body.encode(), end=True)
        yield client.finish(stream)


def value_of(response, name):
    found = [value for key, value in response.headers if key.lower() == name.lower()]
    assert len(found) <= 1, found
    return found[0] if found else None


def check(response, status, original, body=b"sorry\n"):
    assert (response.status, response.body) == (status, body)
    assert value_of(response, "X-Status") == str(original)
    assert value_of(response, "Content-Type") == "text/plain"
    assert value_of(response, "Content-Length") == "6"


def test_a_node_that_refuses():
    with Gateway(config(nobody(REWRITE))) as gateway:
        for response in ask(gateway):
            check(response, 502, 502)
        for response in ask(gateway, "HEAD"):
            check(response, 502, 502, b"")
        records = gateway.wait_for_access(4)
        assert {record["status"] for record in records} == {502}
        assert {record["reason"] for record in records} == {"connect_refused"}


def test_a_node_that_is_silent():
    def script(connection):
        connection.read_request()
        connection.wait_for_close()
    with Origin(script) as origin, Gateway(config(silence(REWRITE, origin.port))) as gateway:
        for response in ask(gateway):
            check(response, 504, 504)


def test_a_response_that_is_none():
    with Origin(serve(b"SSH-2.0\r\n")) as origin, \
            Gateway(config(silence(REWRITE, origin.port))) as gateway:
        for response in ask(gateway):
            check(response, 502, 502)


def test_a_body_that_is_too_large(origin):
    with Gateway(config(route(origin.port, plugins=REWRITE))) as gateway:
        for response in ask(gateway, "POST", body="more than ten"):
            check(response, 413, 413)
        with RawClient(gateway.port) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "d\r\nmore than ten\r\n0\r\n\r\n")
            check(client.read_response(), 413, 413)


def test_another_status_and_a_condition():
    def status(vars):
        return {"response-rewrite": {"status_code": 200, "vars": vars}}
    with Gateway(config(nobody(status([["status", "==", 502]])))) as gateway:
        for response in ask(gateway):
            assert response.status == 200 and b"502" in response.body
        assert {record["status"] for record in gateway.wait_for_access(2)} == {200}
    with Gateway(config(nobody(status([["status", "==", 504]])))) as gateway:
        for response in ask(gateway):
            assert response.status == 502


def test_a_reply_of_a_plugin():
    plugins = {**REWRITE, "ip-restriction": {"blacklist": ["127.0.0.1"]}}
    with Gateway(config(nobody(plugins))) as gateway:
        for response in ask(gateway):
            check(response, 403, 403)


def test_no_route_at_all():
    rules = [{"id": "all", "plugins": {**REWRITE, "echo": {"after_body": "bye"}}}]
    settings = config({**nobody({}), "uri": "/there"}, global_rules=rules)
    with Gateway(settings) as gateway:
        for response in ask(gateway):
            assert (response.status, response.body) == (404, b"sorry\nbye")
            assert value_of(response, "X-Status") == "404"


def test_filters_and_compression_of_an_error():
    plugins = {"response-rewrite": {"filters": [{"regex": "502 [A-Za-z ]*", "replace": "later"}]},
               "gzip": {"types": "*", "min_length": 1}}
    with Gateway(config(nobody(plugins))) as gateway:
        for response in ask(gateway):  # gzip leaves 502 alone
            assert response.status == 502 and b"later" in response.body
    rules = [{"id": "all", "plugins": {"gzip": {"types": "*", "min_length": 1}}}]
    with Gateway(config({**nobody({}), "uri": "/there"}, global_rules=rules)) as gateway, \
            RawClient(gateway.port) as client:
        response = client.request("GET", "/", headers=[("Accept-Encoding", "gzip")])
        assert (response.status, response.value("Content-Encoding")) == (404, "gzip")
        assert b"404" in gzip.decompress(response.body)


def old_client(gateway):
    with RawClient(gateway.port) as client:
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
                    "Accept-Encoding: gzip\r\n\r\n")
        response = client.read_response()
        client.expect_close()
        return response


@pytest.mark.parametrize("answer", [
    b"Content-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT),
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT)],
    ids=["length", "chunked"])
def test_clients_of_http_1_0_get_what_they_understand(answer):
    def compress(**fields):
        return {"gzip": {"types": ["text/plain"], **fields}}
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    with Origin(serve(head + answer)) as origin:
        with Gateway(config(route(origin.port, plugins=compress()))) as gateway:
            response = old_client(gateway)
            assert response.value("Content-Encoding") is None
            assert response.value("Transfer-Encoding") is None
            assert response.body == TEXT
        with Gateway(config(route(origin.port, plugins=compress(http_version=1.0)))) as gateway:
            response = old_client(gateway)
            assert response.value("Content-Encoding") == "gzip"
            assert response.framing == "close"
            assert gzip.decompress(response.body) == TEXT
        # A length that is not known any more.
        echo = {"echo": {"after_body": "bye"}}
        with Gateway(config(route(origin.port, plugins=echo))) as gateway:
            response = old_client(gateway)
            assert (response.framing, response.body) == ("close", TEXT + b"bye")


def test_what_a_client_sends_does_not_make_a_mock_large():
    properties = {f"p{i}": {"type": "string", "example": "$arg_a"} for i in range(400)}
    mocking = {"mocking": {"response_schema": {"properties": properties}}}
    with Gateway(config(nobody(mocking))) as gateway:
        for response in ask(gateway, path="/?a=" + "x" * 6000):
            assert response.status == 200
            assert 1 << 20 < len(response.body) < 1100 * 1024
            made = json.loads(response.body)
            assert made["p0"] == "x" * 6000 and made["p399"] == ""
