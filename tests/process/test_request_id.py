"""Identifiers of request-id: one for each request, the same for upstream and client."""

import pytest

from support.gateway import Gateway, route
from support.http2 import Http2Client
from support.raw import RawClient


def value(message):
    (found,) = [text for name, text in message.headers if name.lower() == "x-request-id"]
    return found


@pytest.mark.parametrize("algorithm", ["uuid", "nanoid", "range_id", "ksuid", "uuidv7"])
def test_every_request_has_its_own(origin, algorithm):
    config = {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
              "routes": [route(origin.port, plugins={"request-id": {"algorithm": algorithm}})]}
    ids = []
    with Gateway(config) as gateway:
        with RawClient(gateway.port) as client:
            for _ in range(50):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                ids.append(value(client.read_response()))
        with Http2Client(gateway.port) as client:
            for _ in range(50):
                ids.append(value(client.finish(client.start())))
    assert [request.value("X-Request-Id") for request in origin.requests] == ids
    assert len(set(ids)) == 100
