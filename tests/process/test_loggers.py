"""file-logger and http-logger: what they write, and that nothing is lost in silence."""
# ctest: timeout=180

import json
import os
import threading

import pytest

from support.gateway import Gateway, upstream, wait_for
from support.h2_origin import H2Origin
from support.http2 import Http2Client, request
from support.origin import Origin, serve
from support.raw import RawClient


def config(origin, plugins, **fields):
    return {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(origin.port),
                        "plugins": plugins}], **fields}


def get(gateway, path="/", headers=()):
    with RawClient(gateway.port) as client:
        return client.request("GET", path, headers=headers).status


def lines_of(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        # A long line may be read while it is being written.
        return [json.loads(line) for line in file if line.endswith("\n")]


@pytest.fixture
def origin():
    with Origin(serve()) as origin:
        yield origin


LOG = "$DIR/requests.log"


def test_lines_of_a_file(origin):
    plugins = {"file-logger": {"path": LOG, "match": [[["arg_skip", "~=", "1"]]]}}
    with Gateway(config(origin, plugins)) as gateway:
        assert get(gateway, '/a?b=c&d="\\', [("Authorization", "Basic x"), ("X-A", "y")]) == 200
        assert get(gateway, "/?skip=1") == 200
        line, = wait_for(lambda: lines_of(gateway.path("requests.log")), "a line")
        assert line["request"]["method"] == "GET"
        assert line["request"]["uri"] == '/a?b=c&d="\\'
        assert line["request"]["url"] == 'http://test.local/a?b=c&d="\\'
        assert line["request"]["headers"] == {"host": "test.local", "authorization": "***", "x-a": "y"}
        assert line["response"]["status"] == 200
        assert line["response"]["headers"]["content-length"] == "2"
        assert "body" not in line["request"] and "body" not in line["response"]
        assert (line["route_id"], line["client_ip"]) == ("r", "127.0.0.1")
        assert line["upstream"] == f"127.0.0.1:{origin.port}"
        assert line["latency"] >= line["upstream_latency"] > 0


def test_each_name_of_a_field_stands_there_once(origin):
    with Gateway(config(origin, {"file-logger": {"path": LOG}})) as gateway:
        assert get(gateway, "http://test.local/a?b", [
            ("X-A", "1"), ("x-a", "2"), ("X-B", "\xe4"), ("x-A", ""), ("Cookie", "a"), ("cookie", "b")]) == 200

        def once(pairs):
            assert len({name for name, _ in pairs}) == len(pairs), pairs
            return dict(pairs)
        text = wait_for(lambda: lines_of(gateway.path("requests.log")), "a line") and \
            open(gateway.path("requests.log")).read()
        request = json.loads(text, object_pairs_hook=once)["request"]
        assert request["headers"] == {"host": "test.local", "x-a": ["1", "2", ""], "x-b": "\ufffd",
                                      "cookie": ["***", "***"]}
        assert (request["uri"], request["url"]) == ("/a?b", "http://test.local/a?b")


def test_a_pipe_that_nobody_reads(origin):
    with Gateway(config(origin, {"file-logger": {"path": LOG, "log_format": {"n": "$arg_n"}}})) as gateway:
        os.mkfifo(gateway.path("requests.log"))
        os.chmod(gateway.path("requests.log"), 0o666)
        for number in range(6):  # more than there are pool threads
            assert get(gateway, f"/?n={number}") == 200
            wait_for(lambda: "log lines are lost" in gateway.log, "a word about it")
        assert "No such device or address" in gateway.log


def test_a_format_of_ones_own_and_of_the_metadata(origin):
    plugins = {"file-logger": {"log_format": {"who": "$remote_addr on $host", "status": "$status",
                                              "time": "$request_time", "gone": "$http_x",
                                              "fixed": "v"}}}
    metadata = [{"id": "file-logger", "path": LOG, "log_format": {"other": "$uri"}}]
    with Gateway(config(origin, plugins, plugin_metadata=metadata)) as gateway:
        get(gateway)
        line, = wait_for(lambda: lines_of(gateway.path("requests.log")), "a line")
        assert float(line.pop("time")) >= 0
        assert line == {"who": "127.0.0.1 on test.local", "status": "200", "gone": None, "fixed": "v"}
    with Gateway(config(origin, {"file-logger": {}}, plugin_metadata=metadata)) as gateway:
        get(gateway, "/x")
        assert wait_for(lambda: lines_of(gateway.path("requests.log")), "a line") == [{"other": "/x"}]


def test_every_line_of_two_workers_arrives_over_reloads_rotation_and_the_end(origin):
    plugins = {"file-logger": {"path": LOG, "log_format": {"n": "$arg_n"}}}
    with Gateway(config(origin, plugins), workers=2) as gateway:
        path = gateway.path("requests.log")

        def run(start):
            for number in range(start, start + 100):
                assert get(gateway, f"/?n={number}") == 200

        threads = [threading.Thread(target=run, args=(start,)) for start in range(0, 400, 100)]
        for thread in threads:
            thread.start()
        for revision in range(3):
            gateway.reload(config(origin, plugins, upstreams=[
                {"id": f"u{revision}", "nodes": {"127.0.0.1:1": 1}}]))
        wait_for(lambda: lines_of(gateway.path("requests.log")), "the first lines")
        os.rename(path, path + ".1")
        for thread in threads:
            thread.join()
        get(gateway, "/?n=last")
        gateway.stop()
        written = [line["n"] for name in (path, path + ".1") for line in lines_of(name)]
    assert sorted(written) == sorted([str(number) for number in range(400)] + ["last"])


def test_a_file_that_cannot_be_written(origin):
    with Gateway(config(origin, {"file-logger": {"path": "/dev/full"}})) as gateway:
        assert get(gateway) == 200
        wait_for(lambda: "log lines are lost" in gateway.log, "the complaint")
        assert "/dev/full" in gateway.log


BODIES = {"include_req_body": True, "include_resp_body": True}


def line_of(gateway):
    line, = wait_for(lambda: lines_of(gateway.path("requests.log")), "a line")
    return line


def logged(origin, body=None, method="POST", **fields):
    """The line of one request, and what its client got."""
    with Gateway(config(origin, {"file-logger": {"path": LOG, **fields}})) as gateway:
        with RawClient(gateway.port) as client:
            response = client.request(method, "/", body=body)
        return line_of(gateway), response


def test_bodies(origin):
    line, response = logged(origin, "hello \x00\"", **BODIES)
    assert line["request"]["body"] == 'hello \x00"'
    assert line["response"]["body"] == "ok" and response.body == b"ok"
    line, _ = logged(origin, None, "GET", **BODIES)
    assert "body" not in line["request"]
    line, _ = logged(origin, None, "HEAD", **BODIES)
    assert "body" not in line["response"]


@pytest.mark.parametrize("pieces", [1, 300])
def test_bodies_over_http2(origin, pieces):
    settings = {**config(origin, {"file-logger": {"path": LOG, **BODIES}}),
                "gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]}}
    with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
        stream = client.start(request("POST"), end=False)
        for number in range(pieces):
            client.data(stream, b"%3d" % number, end=number == pieces - 1)
        assert client.finish(stream).body == b"ok"
        line = line_of(gateway)
    assert line["request"]["body"] == "".join(f"{number:3}" for number in range(pieces))
    assert line["response"]["body"] == "ok"


def test_bodies_of_http2_from_http2():
    """As gRPC goes: frames of bytes that are no text."""
    message = b"\x00\x00\x00\x00\x03\xff\xfe!"
    def echo(connection, stream):
        connection.respond(stream, body=connection.bodies[stream], trailers=[("grpc-status", "0")])

    with H2Origin(on_end=echo) as origin:
        settings = config(origin, {"file-logger": {"path": LOG, **BODIES}})
        settings["routes"][0]["upstream"]["scheme"] = "grpc"
        settings["gateway"] = {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]}
        with Gateway(settings) as gateway, Http2Client(gateway.port) as client:
            stream = client.start(request("POST", extra=[("content-type", "application/grpc")]),
                                  end=False)
            client.data(stream, message, end=True)
            response = client.finish(stream)
            line = line_of(gateway)
    assert response.body == message
    assert response.trailers == [("grpc-status", "0")]
    shown = "\0\0\0\0\x03\ufffd\ufffd!"  # JSON is UTF-8
    assert (line["request"]["body"], line["response"]["body"]) == (shown, shown)


def test_bodies_in_a_format(origin):
    line, _ = logged(origin, "hello", log_format={"in": "$request_body", "out": "$resp_body"},
                     **BODIES)
    assert line == {"in": "hello", "out": "ok"}
    line, _ = logged(origin, "hello", log_format={"in": "$request_body", "out": "$resp_body"})
    assert line == {"in": None, "out": None}


def test_only_the_first_bytes_of_bodies_are_kept():
    size = 3_000_000
    large = b"x" * size
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + large
    with Origin(serve(answer)) as origin:
        line, response = logged(origin, large.decode(), max_req_body_bytes=10,
                                max_resp_body_bytes=2_000_000, **BODIES)
        assert response.body == large and origin.requests[0].body == large
        assert line["request"]["body"] == "x" * 10
        assert line["response"]["body"] == "x" * 2_000_000


def test_conditions_for_bodies(origin):
    fields = {**BODIES, "include_req_body_expr": [["arg_b", "==", "1"]],
              "include_resp_body_expr": [["status", "==", 404]]}
    with Gateway(config(origin, {"file-logger": {"path": LOG, **fields}})) as gateway:
        with RawClient(gateway.port) as client:
            for path in ("/?b=1", "/?b=2"):
                assert client.request("POST", path, body="hello").status == 200
        lines = wait_for(lambda: len(found := lines_of(gateway.path("requests.log"))) == 2 and found,
                         "two lines")
    assert [line["request"].get("body") for line in lines] == ["hello", None]
    assert [line["response"].get("body") for line in lines] == [None, None]


def test_nothing_waits_for_a_logger(origin):
    """Bodies in both directions, a piece at a time: each arrives before the next one is sent."""
    def script(connection):
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            assert connection._line() == b"4"
            connection.send(b"4\r\n" + connection._take(6))
        connection.send(b"0\r\n\r\n")
        connection.wait_for_close()
    with Origin(script) as server, \
            Gateway(config(server, {"file-logger": {"path": LOG, **BODIES}})) as gateway:
        with RawClient(gateway.port) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send("4\r\nabc0\r\n")
            assert client.read_head().status == 200
            for number in range(3):
                assert client.read_until(b"\r\n") == b"4"
                assert client.read_exactly(6) == b"abc%d\r\n" % number
                if number < 2:
                    client.send("4\r\nabc%d\r\n" % (number + 1))
            client.send("0\r\n\r\n")
        line = line_of(gateway)
    assert line["request"]["body"] == line["response"]["body"] == "abc0abc1abc2"


def test_bodies_of_requests_that_plugins_answer_or_change(origin):
    def both(**plugins):
        return config(origin, {"file-logger": {"path": LOG, **BODIES}, **plugins})
    with Gateway(both(**{"mocking": {"response_example": "mocked", "content_type": "text/plain"}})) \
            as gateway, RawClient(gateway.port) as client:
        assert client.request("POST", "/", body="hello").body == b"mocked"
        line = line_of(gateway)
        assert line["response"]["body"] == "mocked"
        assert line["response"]["headers"]["content-type"] == "text/plain"
    rewrite = {"response-rewrite": {"body": "other", "headers": {"set": {"X-A": "b"}}},
               "gzip": {"types": "*", "min_length": 1}}
    with Gateway(both(**rewrite)) as gateway, RawClient(gateway.port) as client:
        client.request("POST", "/", body="hello", headers=[("Accept-Encoding", "gzip")])
        line = line_of(gateway)
        assert (line["request"]["body"], line["response"]["body"]) == ("hello", "other")
        assert line["response"]["headers"]["x-a"] == "b"
    held = {"fault-injection": {"delay": {"duration": 0.2}}}
    with Gateway(both(**held)) as gateway, RawClient(gateway.port) as client:
        assert client.request("POST", "/", body="hello").status == 200
        assert line_of(gateway)["request"]["body"] == "hello"


def test_a_logger_of_a_consumer_has_bodies_too(origin):
    logger = {"file-logger": {"path": LOG, **BODIES}}
    consumers = [{"username": "rose", "plugins": {"key-auth": {"key": "k"}, **logger}}]
    with Gateway(config(origin, {"key-auth": {}}, consumers=consumers)) as gateway, \
            RawClient(gateway.port) as client:
        client.request("POST", "/", body="hello", headers=[("apikey", "k")])
        assert line_of(gateway)["request"]["body"] == "hello"


def test_extra_members(origin):
    extra = {"tenant": "$http_x_tenant", "fixed": "v", "server": "mine", "route_id": "other"}
    line, _ = logged(origin, None, "GET", log_format_extra=extra)
    assert (line["tenant"], line["fixed"], line["server"]) == (None, "v", "mine")
    assert line["route_id"] == "other" and line["request"]["method"] == "GET"
    metadata = [{"id": "file-logger", "log_format_extra": {"everywhere": "1"}}]
    for own, expected in (({}, "1"), ({"log_format_extra": {"a": "b"}}, None)):
        with Gateway(config(origin, {"file-logger": {"path": LOG, **own}},
                            plugin_metadata=metadata)) as gateway:
            get(gateway)
            assert line_of(gateway).get("everywhere") == expected


def test_fields_of_responses(origin):
    answer = (b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nX-A: 1\r\nX-B: c\r\nx-a: 2\r\n"
              b"Content-Length: 0\r\n\r\n")
    with Origin(serve(answer)) as server:
        line, _ = logged(server, None, "GET")
        assert line["response"]["headers"] == {"set-cookie": "***", "x-a": ["1", "2"], "x-b": "c",
                                               "content-length": "0"}
    nobody = {"routes": [{"id": "r", "uri": "/*", "upstream": upstream(1),
                          "plugins": {"file-logger": {"path": LOG}}}]}
    with Gateway(nobody) as gateway:
        assert get(gateway) == 502
        line = line_of(gateway)
        assert line["response"]["headers"]["content-type"] == "application/json"


def test_bodies_that_leave_before_a_batch_is_full(origin):
    """A batch goes by its bytes too: what waits is bounded, and nothing of this is lost."""
    collector = Collector()
    body = "x" * 1_000_000
    with Origin(collector) as service, \
            Gateway(config(origin, http_logger(service, log_format={"n": "$arg_n", "b": "$request_body"},
                                               include_req_body=True, inactive_timeout=3600,
                                               max_req_body_bytes=1_000_000))) as gateway:
        with RawClient(gateway.port) as client:
            for number in range(40):
                assert client.request("POST", f"/?n={number}", body=body).status == 200
        wait_for(lambda: len(collector.batches) >= 5, "batches")
        gateway.stop()
        assert collector.numbers() == [str(number) for number in range(40)]
        assert "log lines are lost" not in gateway.log


class Collector:
    """A service that takes batches; `status` and `held` say how."""

    def __init__(self):
        self.batches = []
        self.answers = []
        self.status = b"200 OK"
        self.open = threading.Event()
        self.open.set()

    def __call__(self, connection):
        while True:
            request = connection.read_request()
            assert self.open.wait(60)
            self.batches.append(request)
            self.answers.append(self.status)
            connection.send(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 0\r\n\r\n")

    def numbers(self):
        found = []
        for batch in self.batches:
            value = json.loads(batch.body)
            found += [line["n"] for line in (value if isinstance(value, list) else [value])]
        return sorted(found, key=int)


def http_logger(service, **fields):
    return {"http-logger": {"uri": f"http://127.0.0.1:{service.port}/logs?a=b",
                            "log_format": {"n": "$arg_n"}, **fields}}


def test_batches_of_http(origin):
    collector = Collector()
    with Origin(collector) as service, \
            Gateway(config(origin, http_logger(service, batch_max_size=3, auth_header="Bearer t",
                                               inactive_timeout=1))) as gateway:
        for number in range(7):
            get(gateway, f"/?n={number}")
        wait_for(lambda: len(collector.numbers()) == 7, "all lines")
        first, last = collector.batches[0], collector.batches[-1]
        assert (first.method, first.target) == ("POST", "/logs?a=b")
        assert first.value("Authorization") == "Bearer t"
        assert first.value("Content-Type") == "application/json"
        assert first.body == b'[{"n":"0"},{"n":"1"},{"n":"2"}]'
        assert last.body == b'{"n":"6"}'


def test_lines_below_each_other(origin):
    collector = Collector()
    with Origin(collector) as service, \
            Gateway(config(origin, http_logger(service, batch_max_size=2,
                                               concat_method="new_line"))) as gateway:
        for number in range(2):
            get(gateway, f"/?n={number}")
        wait_for(lambda: collector.batches, "a batch")
        assert collector.batches[0].body == b'{"n":"0"}\n{"n":"1"}'


def test_a_batch_is_sent_again(origin):
    collector = Collector()
    collector.status = b"503 No"
    with Origin(collector) as service, \
            Gateway(config(origin, http_logger(service, batch_max_size=1, max_retry_count=1000,
                                               retry_delay=0))) as gateway:
        get(gateway, "/?n=1")
        wait_for(lambda: len(collector.batches) >= 3, "repetitions")
        assert {batch.body for batch in collector.batches} == {b'{"n":"1"}'}
        collector.status = b"200 OK"
        wait_for(lambda: b"200 OK" in collector.answers, "the last one")
        assert "log lines are lost" not in gateway.log


def test_what_is_dropped_is_said(origin):
    collector = Collector()
    collector.open.clear()
    metadata = [{"id": "http-logger", "max_pending_entries": 2}]
    with Origin(collector) as service, \
            Gateway(config(origin, http_logger(service, batch_max_size=1, timeout=60),
                           plugin_metadata=metadata)) as gateway:
        for number in range(6):
            assert get(gateway, f"/?n={number}") == 200
        wait_for(lambda: "log lines are lost" in gateway.log, "the complaint")
        assert 'logger="route/r http logger"' in gateway.log
        collector.open.set()
        wait_for(lambda: len(collector.batches) >= 3, "what was kept")
        assert collector.numbers() == ["0", "1", "2"]


def test_a_service_that_is_not_there(origin):
    class Nobody:
        port = 1
    with Gateway(config(origin, http_logger(Nobody, batch_max_size=1))) as gateway:
        assert get(gateway, "/?n=1") == 200
        wait_for(lambda: "log lines are lost" in gateway.log, "the complaint")


def test_lines_leave_with_the_worker_and_with_old_configurations(origin):
    collector = Collector()
    with Origin(collector) as service:
        plugins = http_logger(service, inactive_timeout=3600, buffer_duration=3600)
        with Gateway(config(origin, plugins)) as gateway:
            get(gateway, "/?n=1")
            gateway.reload(config(origin, plugins, plugin_metadata=[
                {"id": "http-logger", "max_pending_entries": 9}]))
            get(gateway, "/?n=2")
            assert not collector.batches
        assert collector.numbers() == ["1", "2"]
