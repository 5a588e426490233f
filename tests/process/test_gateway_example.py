"""conf/examples/gateway.yaml as its users have it: curl as the client, sluice's own origins behind."""
# ctest: timeout=120

import base64
import hashlib
import hmac
import json
import subprocess
import time

import pytest

from support.gateway import Gateway, example, wait_for
from support.origin import Origin
from support.raw import RawClient

KEY = ["-H", "apikey: jacks-key"]


class Service:
    """An origin that says which version it is, and fails when told to."""

    def __init__(self, version):
        self.version = version
        self.failing = False

    def __call__(self, connection):
        while True:
            request = connection.read_request()
            body = json.dumps({"version": self.version, "target": request.target,
                               "headers": dict(request.headers)}).encode()
            status = b"500 No" if self.failing else b"200 OK"
            connection.send(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


@pytest.fixture
def services():
    return Service("now"), Service("next")


@pytest.fixture
def gateway(services):
    with Origin(services[0]) as orders, Origin(services[1]) as following:
        config = example("gateway", {1980: orders.port, 1981: following.port})
        config["gateway"]["listen"] = ["127.0.0.1:$PORT"]
        with Gateway(config, workers=2) as gateway:
            yield gateway


def curl(gateway, path, *options):
    """(status, fields, body) as curl sees it."""
    done = subprocess.run(["curl", "-s", "-i", *options, f"http://127.0.0.1:{gateway.port}{path}"],
                          capture_output=True, text=True, timeout=30, check=True)
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), fields, body


def token(claims, secret=b"only-an-example-of-32-characters"):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def test_who_may_call(gateway):
    assert curl(gateway, "/orders/1")[0] == 401
    assert curl(gateway, "/orders/1", "-H", "apikey: a-guess")[0] == 401
    status, fields, body = curl(gateway, "/orders/1", *KEY)
    assert status == 200 and len(fields["x-request-id"]) >= 32
    heard = {name.lower(): value for name, value in json.loads(body)["headers"].items()}
    assert heard["x-consumer-username"] == "jack" and "apikey" not in heard
    assert fields["x-ratelimit-remaining"] == "99"


def test_how_much(gateway):
    counts = {}
    with RawClient(gateway.port) as client:
        for _ in range(101):
            status = client.request("GET", "/orders/1", headers=[("apikey", "jacks-key")]).status
            counts[status] = counts.get(status, 0) + 1
    assert counts == {200: 100, 429: 1}


def test_a_service_with_a_token(gateway):
    now = int(time.time())

    def call(claims, **fields):
        return curl(gateway, "/partners/stock?x=1", "-H",
                    "Authorization: Bearer " + token(claims, **fields))

    status, fields, body = call({"key": "shop", "exp": now + 60})
    assert status == 200 and json.loads(body)["target"] == "/stock?x=1"
    assert fields["x-ratelimit-remaining"] == "999"
    assert call({"key": "shop", "exp": now - 60})[0] == 401
    assert call({"key": "shop", "exp": now + 60}, secret=b"x" * 32)[0] == 401
    assert call({"key": "jack", "exp": now + 60})[0] == 401
    assert curl(gateway, "/partners/stock", *KEY)[0] == 401


def test_which_version(gateway):
    version = {json.loads(curl(gateway, "/orders/1", *KEY)[2])["version"] for _ in range(10)}
    assert len(version) == 1
    body = curl(gateway, "/orders/1", *KEY, "-H", "X-Version: next")[2]
    assert json.loads(body)["version"] == "next"


def test_what_happens_when_it_fails(gateway, services):
    for service in services:
        service.failing = True
    assert [curl(gateway, "/orders/2", *KEY)[0] for _ in range(4)] == [500, 500, 500, 503]
    assert "come back later" in curl(gateway, "/orders/2", *KEY)[2]
    assert curl(gateway, "/orders/3", *KEY)[0] == 500  # another path
    for service in services:
        service.failing = False
    wait_for(lambda: curl(gateway, "/orders/2", *KEY)[0] == 200, "the end of the break")


def test_browsers_ask_first(gateway):
    status, fields, _ = curl(gateway, "/orders/1", "-X", "OPTIONS", "-H", "Origin: https://shop.example",
                             "-H", "Access-Control-Request-Method: POST")
    assert status == 200
    assert fields["access-control-allow-origin"] == "https://shop.example"
