"""Tests of plugins as data: tests/plugins/cases/PLUGIN/NAME.yaml, a list of cases under `cases`.

    cases:
      - name: a claim
        plugins: {echo: {body: hello}}      # of the route; `route:` adds other fields to it
        config: {global_rules: [...]}       # optional: more sections of the configuration
        origin: {status: 200, headers: {A: b}, body: text}
        request: {method: GET, path: /, headers: {A: b}, body: text}
        response: {status: 200, headers: {A: b, B: null}, body: text, json: {...}, matches: regex}
        upstream: {method: GET, path: /, headers: {A: b, B: null}, body: text}    # null: not asked
      - name: what is refused
        plugins: {echo: {}}
        refused: "regex in the output of `sluice check`"

`steps:` is a list of {request, response, upstream} where one request is not enough. What a case does
not name is not compared; null means: must not be there. A list of values: that often, in that order;
{matches: regex}: once, and all of it matches. `gunzip` is the body that was compressed.
Every case has a gateway's route and an origin of its own, by its Host; cases run over HTTP/1.1, or
also over HTTP/2 with `http2: true`. Tokens: !jwt, !bearer, !public_key, !jwks, see tokens.py.
"""

import glob
import gzip
import json
import os
import re

import yaml

from .gateway import TOP, upstream
from .http2 import Http2Client, request as http2_request
from .origin import Origin
from .raw import RawClient
from .tokens import CaseLoader

CASES = os.path.join(TOP, "tests/plugins/cases")


def files():
    return sorted(os.path.relpath(path, CASES)
                  for path in glob.glob(os.path.join(CASES, "*/*.yaml")))


def load(name):
    with open(os.path.join(CASES, name)) as file:
        cases = yaml.load(file, Loader=CaseLoader)["cases"]
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names), f"{name}: two cases have one name"
    for index, case in enumerate(cases):
        case.setdefault("host", f"case{index}.test")
    return cases


def answering(spec):
    """A script of an origin."""
    spec = spec or {}
    body = str(spec.get("body", "")).encode()
    lines = [f"HTTP/1.1 {spec.get('status', 200)} Fine"]
    lines += [f"{name}: {value}" for name, value in spec.get("headers", {}).items()]
    bare = spec.get("status", 200) in (204, 304)
    if spec.get("chunked"):
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in body) + b"0\r\n\r\n"
    elif not bare:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def script(connection):
        while True:
            request = connection.read_request()
            without = request.method == "HEAD" or bare
            connection.send(head if without else head + body)
    return script


class CaseServer:
    """The origins of some cases, and the configuration that leads to them."""

    def __init__(self, cases):
        self.origins = {}
        self.config = {"routes": []}
        for case in cases:
            if "refused" in case:
                continue
            origin = Origin(answering(case.get("origin")))
            self.origins[case["host"]] = origin
            self.add(self.config, case, origin.port)

    @staticmethod
    def add(config, case, port):
        route = {"id": case["host"], "uri": "/*", "host": case["host"], "upstream": upstream(port)}
        if "plugins" in case:
            route["plugins"] = case["plugins"]
        route.update(case.get("route", {}))
        config["routes"].append({key: value for key, value in route.items() if value is not None})
        for section, value in case.get("config", {}).items():
            if isinstance(value, list):
                config.setdefault(section, []).extend(value)
            else:
                config.setdefault(section, {}).update(value)

    def close(self):
        for origin in self.origins.values():
            origin.__exit__(None)


def refusal_config(case):
    config = {"routes": []}
    CaseServer.add(config, case, 1)
    return config


def _request_parts(case, step):
    spec = step.get("request") or {}
    headers = {"Host": case["host"], **spec.get("headers", {})}
    body = str(spec["body"]).encode() if "body" in spec else None
    return spec.get("method", "GET"), spec.get("path", "/"), headers, body


def send_http1(port, case, step):
    method, path, headers, body = _request_parts(case, step)
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"{name}: {one}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with RawClient(port) as client:
        client.send("\r\n".join(lines) + "\r\n\r\n")
        if body:
            client.send(body)
        return client.read_response(method)


def send_http2(port, case, step):
    method, path, headers, body = _request_parts(case, step)
    authority = headers.pop("Host")
    extra = []
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            extra.append((name.lower(), str(one)))
    with Http2Client(port) as client:
        fields = http2_request(method, path, authority, extra)
        stream = client.start(fields, end=body is None)
        if body is not None:
            client.data(stream, body, end=True)
        return client.finish(stream)


def _values(message, name):
    return [value for key, value in message.headers if key.lower() == name.lower()]


def compare(what, message, expected):
    for name, value in (expected.get("headers") or {}).items():
        found = _values(message, name)
        if isinstance(value, dict):
            assert len(found) == 1 and re.fullmatch(value["matches"], found[0]), \
                f"{what}: {name}: expected one {value['matches']}, got {found}"
            continue
        wanted = [] if value is None else [str(one) for one in
                                           (value if isinstance(value, list) else [value])]
        assert found == wanted, f"{what}: {name}: expected {wanted}, got {found}"
    if "gunzip" in expected:
        assert gzip.decompress(message.body).decode() == str(expected["gunzip"]), what
    if "body" in expected:
        assert message.body.decode() == str(expected["body"]), what
    if "json" in expected:
        assert json.loads(message.body) == expected["json"], what
    if "matches" in expected:
        assert re.search(expected["matches"], message.body.decode()), f"{what}: {message.body!r}"


def run(case, port, origin, send):
    for number, step in enumerate(case.get("steps") or [case]):
        where = f"{case['name']}, step {number + 1}" if "steps" in case else case["name"]
        before = len(origin.requests)
        response = send(port, case, step)
        expected = step.get("response") or {}
        assert response.status == expected.get("status", 200), \
            f"{where}: got {response.status} {response.body!r}"
        compare(f"{where}: response", response, expected)
        if "upstream" not in step:
            continue
        wanted, came = step["upstream"], origin.requests[before:]
        if wanted is None:
            assert not came, f"{where}: the upstream was asked {came[0].method} {came[0].target}"
            continue
        assert len(came) == 1, f"{where}: the upstream was asked {len(came)} times"
        for key, value in (("method", came[0].method), ("path", came[0].target)):
            assert value == wanted.get(key, value), f"{where}: upstream: {key} {value}"
        compare(f"{where}: upstream", came[0], wanted)
