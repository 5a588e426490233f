"""What the network does to connections between gateway and node, by tests/support/fault_proxy.py: what
the client is told, who is asked instead, what the node is blamed for, and that nothing is left over."""
# ctest: timeout=300

import contextlib
import json
import socket
import threading

import pytest

from support.fault_proxy import FaultProxy
from support.gateway import Gateway, wait_for
from support.h2_origin import H2Origin
from support.origin import Origin
from support.raw import ConnectionEnded, RawClient
from support.sockets import connections

BODY = b"".join(b"%07d\n" % number for number in range(12_500))  # 100 KB that is nowhere like itself
CHUNK = 4096
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
protocols = pytest.mark.parametrize("protocol", ["http1", "http2"])


def answer_http1(connection):
    """Says what it was sent, or BODY in chunks."""
    while True:
        request = connection.read_request()
        if request.framing != "none":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body)
            continue
        body = connection.origin.body
        chunks = [b"%x\r\n%s\r\n" % (len(body[at:at + CHUNK]), body[at:at + CHUNK]) for at in range(0, len(body), CHUNK)]
        connection.send(HEAD + b"".join(chunks) + b"0\r\n\r\n")


def answer_http2(connection, stream):
    """The same. Beside the thread that reads, because it waits for windows."""
    body = connection.bodies[stream] or connection.origin.body
    connection.origin.bodies.append(connection.bodies[stream])

    def send():
        with contextlib.suppress(Exception):  # the stream or the connection was reset
            with connection.lock:
                connection.h2.send_headers(stream, [(":status", "200"), ("content-length", str(len(body)))])
            connection.send_body(stream, body)
    threading.Thread(target=send, daemon=True).start()


def make_origin(protocol, body=BODY):
    origin = Origin(answer_http1) if protocol == "http1" else H2Origin(on_end=answer_http2)
    origin.body, origin.bodies = body, []
    return origin


def complete_requests(origin):
    return origin.bodies if isinstance(origin, H2Origin) else origin.requests


class Stage:
    """A gateway whose first node is behind `proxy`; a second one, if wanted, is asked when that fails. On
    the path /hasty it waits for 0.4 s only."""

    def __init__(self, gateway, proxy, origin, spare):
        self.gateway, self.proxy, self.origin, self.spare = gateway, proxy, origin, spare
        self.requests = 0

    def begin(self):
        """Forgets what was before."""
        self.proxy.heal()
        self.reset()
        if self.requests > 0:
            self.gateway.wait_for_access(self.requests)
        for origin in (self.origin, self.spare):
            complete_requests(origin).clear()

    def reset(self):
        """Ends the connections through the proxy, until the gateway knows."""
        self.proxy.reset()
        wait_for(lambda: not self.is_connected(), "the gateway to see the end")

    def is_connected(self):
        return any(remote == self.proxy.port for pid in self.gateway.worker_pids() for _, remote in connections(pid))

    def client(self):
        """For one request."""
        self.requests += 1
        return RawClient(self.gateway.port)

    def fetch(self, method="GET", body=None, path="/"):
        """The response if it is complete, or how it ended."""
        with self.client() as client:
            try:
                response = client.request(method, path, body)
            except ConnectionEnded as ended:
                assert not ended.partial.endswith(b"0\r\n\r\n"), "a cut response looks complete"
                return ended
        assert response.status != 200 or response.body == (body or self.origin.body), "a wrong body as if it were right"
        return response

    def last_records(self, count):
        return self.gateway.wait_for_access(self.requests)[self.requests - count:]

    def last_record(self):
        return self.last_records(1)[0]

    def in_flight(self):
        result = self.gateway.run("status", "--json")
        assert result.returncode == 0, result.stderr
        (upstream,) = json.loads(result.stdout)["upstreams"]
        return sum(node["in_flight"] for node in upstream["nodes"])

    def wait_until_idle(self):
        self.proxy.heal()
        wait_for(lambda: self.in_flight() == 0, "nothing to be in flight")


@contextlib.contextmanager
def stage(protocol="http1", spare=False, body=BODY, **fields):
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(make_origin(protocol, body))
        proxy = stack.enter_context(FaultProxy(origin.port))
        other = stack.enter_context(make_origin(protocol, body)) if spare else None
        ports = [proxy.port, *([other.port] if spare else [])]
        nodes = [{"host": "127.0.0.1", "port": port, "weight": 1, "priority": -at} for at, port in enumerate(ports)]
        upstream = {"id": "u", "nodes": nodes, "scheme": "http" if protocol == "http1" else "h2c",
                    "timeout": {"connect": 20, "send": 20, "read": 20}, **fields}
        hasty = {"connect": 20, "send": 0.4, "read": 0.4}
        gateway = stack.enter_context(Gateway({"upstreams": [upstream], "routes": [
            {"id": "patient", "uri": "/*", "upstream_id": "u"},
            {"id": "hasty", "uri": "/hasty", "upstream_id": "u", "timeout": hasty}]}))
        it = Stage(gateway, proxy, origin, other)
        yield it
        it.wait_until_idle()


@pytest.fixture(scope="module", params=["http1", "http2"])
def running(request):
    with stage(request.param, spare=True) as it:
        yield it


@pytest.fixture
def line(running):
    running.begin()
    yield running
    running.wait_until_idle()


def describe(value):
    return "-".join(f"{key}={one}" for key, one in value.items()) if isinstance(value, dict) else str(value)


# Slow


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("faults", [{"latency": 0.03}, {"latency": 0.01, "jitter": 0.03}, {"bandwidth": 1 << 20},
                                    {"bandwidth": 400 << 10, "jitter": 0.01}], ids=describe)
def test_a_slow_network_changes_nothing(line, direction, faults):
    getattr(line.proxy, direction).set(**faults)
    assert line.fetch().status == 200
    assert line.fetch("POST", BODY).status == 200
    assert [(record["reason"], record["attempts"]) for record in line.last_records(2)] == [("ok", 1)] * 2


@pytest.mark.parametrize("direction", ["up", "down"])
def test_latency_beyond_the_read_timeout(line, direction):
    """It is no failure that others could make good: the request is with the node."""
    assert line.fetch(path="/hasty").status == 200
    getattr(line.proxy, direction).latency = 3600
    assert line.fetch(path="/hasty").status == 504
    line.proxy.heal()
    line.reset()
    assert line.fetch(path="/hasty").status == 200
    assert [(record["reason"], record["attempts"]) for record in line.last_records(3)] == [
        ("ok", 1), ("upstream_read_timeout", 1), ("ok", 1)]
    assert not complete_requests(line.spare)


def test_many_clients_over_a_bad_line(line):
    """Late, shaky and narrow at one time, both ways, 20 at once: every byte arrives."""
    for direction in (line.proxy.up, line.proxy.down):
        direction.set(latency=0.002, jitter=0.01, bandwidth=8 << 20)
    answers = []

    def run(number):
        answers.append(line.fetch(*(("POST", BODY[number:]) if number % 2 else ())))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 20


# Cut


@pytest.mark.parametrize("end", ["reset", "close", "half_close"])
@pytest.mark.parametrize("at", [0, 5, 12])
def test_cut_before_the_response(line, at, end):
    """An idempotent request goes to the next node, a POST does not. 12 bytes are no head in any protocol."""
    line.proxy.down.set(cut_after=at, end=end)
    assert line.fetch().status == 200
    post = line.fetch("POST", b"x")
    assert post.status == 502 and post.json()["reason"] in ("upstream_reset", "upstream_closed")
    got, posted = line.last_records(2)
    assert (got["attempts"], got["status"]) == (2, 200)
    assert (posted["attempts"], posted["reason"]) == (1, post.json()["reason"])
    assert len(complete_requests(line.spare)) == 1
    line.proxy.heal()
    assert line.fetch("POST", b"x").status == 200  # by the first, which is back
    assert len(complete_requests(line.spare)) == 1


@pytest.mark.parametrize("end", ["stall", "black_hole"])
@pytest.mark.parametrize("direction, at", [("down", 0), ("down", 12), ("up", 30)])
def test_silence_before_the_response(line, direction, at, end):
    getattr(line.proxy, direction).set(cut_after=at, end=end)
    response = line.fetch(path="/hasty")
    assert (response.status, response.json()["reason"]) == (504, "upstream_read_timeout")
    assert line.last_record()["attempts"] == 1


@pytest.mark.parametrize("end", ["reset", "close", "half_close", "stall", "black_hole"])
@pytest.mark.parametrize("at", [300, 50_000, 100_000])
def test_a_cut_response_is_cut_for_the_client(line, at, end):
    line.proxy.down.set(cut_after=at, end=end)
    ended = line.fetch(path="/hasty" if end in ("stall", "black_hole") else "/")
    record = line.last_record()
    # A reset may overtake the bytes before it. Then nothing of them was relayed, and another node answers.
    if end == "reset" and record["attempts"] == 2:
        assert ended.status == 200
    else:
        assert isinstance(ended, ConnectionEnded), ended
        assert (record["status"], record["attempts"], record["reason"]) == (200, 1, "response_truncated")
        assert not complete_requests(line.spare)
    line.proxy.heal()
    line.reset()
    assert line.fetch().status == 200


def test_cut_at_every_place_of_a_small_response():
    """Wherever the connection ends, the client gets all of it, or sees that it did not."""
    body = BODY[:40]
    size = len(HEAD + b"28\r\n" + body + b"\r\n0\r\n\r\n")
    with stage(body=body) as it:
        for at in range(size):
            it.proxy.down.set(cut_after=at, end="close")
            answer = it.fetch()
            assert isinstance(answer, ConnectionEnded) or answer.status == 502, f"after {at} bytes: {answer}"
        reasons = [record["reason"] for record in it.last_records(size)]
        assert reasons == ["upstream_closed"] * len(HEAD) + ["response_truncated"] * (size - len(HEAD))
        it.proxy.down.cut_after = size
        assert it.fetch().status == 200


@pytest.mark.parametrize("end", ["reset", "close", "half_close"])
def test_a_cut_request_is_never_taken_for_a_whole_one(line, end):
    """A large body is not sent again; a small one of a PUT is, to the other node."""
    line.proxy.up.set(cut_after=30_000, end=end)
    response = line.fetch("PUT", BODY)
    assert response.status == 502 and response.json()["reason"] in ("upstream_reset", "upstream_closed")
    assert not complete_requests(line.origin) and not complete_requests(line.spare)
    line.proxy.up.cut_after = 70
    assert line.fetch("PUT", BODY[:5000]).status == 200
    assert not complete_requests(line.origin) and len(complete_requests(line.spare)) == 1
    assert line.last_record()["attempts"] == 2


@pytest.mark.parametrize("end", ["stall", "black_hole"])
def test_an_upload_into_nothing(line, end):
    """Stalled, it stops when all buffers between are full; into a hole HTTP/1 sends it to the end."""
    upload = 30 << 20
    line.proxy.up.set(cut_after=30_000, end=end)
    with line.client() as client:
        head = b"POST /hasty HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % upload
        sender = threading.Thread(target=client.send_leniently, args=(head + b"x" * upload,))
        sender.start()
        response = client.read_response()
        client.socket.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert response.status == 504
    assert response.json()["reason"] in ("upstream_send_timeout", "upstream_read_timeout")
    assert not complete_requests(line.origin)


# Corrupt


@pytest.mark.parametrize("at", [2, 9, 15, 20, HEAD.index(b"chunked"), len(HEAD) - 2, len(HEAD)], ids=[
    "version", "status", "end-of-line", "name", "value", "end-of-head", "chunk-size"])
def test_a_corrupted_head_is_a_bad_gateway(at):
    with stage() as it:
        it.proxy.down.corrupt = {at: 0x01}
        answer = it.fetch()
        record = it.last_record()
        assert record["reason"] == "invalid_response"
        if at == len(HEAD):  # the head was right, and may be on its way
            assert isinstance(answer, ConnectionEnded) or answer.status == 502
        else:
            assert (answer.status, record["status"]) == (502, 502)
        it.proxy.heal()
        assert it.fetch().status == 200
        assert it.proxy.accepted == 2


@pytest.mark.parametrize("change", [lambda byte: byte ^ 0x80, lambda _: 0, lambda _: ord(" "), lambda _: ord("\n")],
                         ids=["high-bit", "nul", "space", "newline"])
def test_no_corruption_of_the_framing_makes_a_wrong_answer(change):
    """Every byte of it, one by one: the right body, an error or a cut, and never a wrong body."""
    body = BODY[:48]
    chunk = len(HEAD + b"30\r\n")
    framing = [*range(chunk), *range(chunk + len(body), chunk + len(body) + len(b"\r\n0\r\n\r\n"))]
    seen = set()
    with stage(body=body, keepalive_pool={"size": 1, "idle_timeout": 60, "requests": 1}) as it:
        for at in framing:
            it.proxy.down.corrupt = {at: change}
            answer = it.fetch(path="/hasty")  # which compares the body
            seen.add("cut" if isinstance(answer, ConnectionEnded) else answer.status)
    assert {502, "cut"} <= seen <= {200, 502, 504, "cut"}


def test_no_corruption_of_frames_makes_a_wrong_answer():
    """The beginning of an HTTP/2 connection: SETTINGS, the head, the first frames of the body."""
    with stage("http2") as it:
        for at in range(0, 80, 2):
            it.reset()
            it.proxy.down.corrupt = {at: lambda byte: byte ^ 0x80, at + 1: lambda byte: byte ^ 0xff}
            answer = it.fetch(path="/hasty")
            assert isinstance(answer, ConnectionEnded) or answer.status in (200, 502, 504), f"byte {at}: {answer}"
        it.proxy.heal()
        it.reset()
        assert it.fetch().status == 200


def test_a_corrupted_frame_is_a_bad_gateway():
    with stage("http2") as it:
        it.proxy.down.corrupt = {3: 0x09}  # CONTINUATION where SETTINGS must be
        assert it.fetch().status == 502
        assert it.last_record()["reason"] == "invalid_response"


# Refuse, and connections that are kept


def test_refused_connections_go_elsewhere_until_they_are_accepted(line):
    line.proxy.refuse()
    for method in ("GET", "POST"):
        assert line.fetch(method, b"x" if method == "POST" else None).status == 200
    line.proxy.accept()
    assert line.fetch("POST", b"x").status == 200
    assert [record["attempts"] for record in line.last_records(3)] == [2, 2, 1]
    assert len(complete_requests(line.spare)) == 2 and len(complete_requests(line.origin)) == 1


@protocols
@pytest.mark.parametrize("end", ["reset", "half_close"])
def test_a_kept_connection_that_ends_harms_nobody(protocol, end):
    """It is replaced without a word: no attempt more, and nothing counts against the node."""
    with stage(protocol, spare=True, outlier_detection={"consecutive_errors": 1, "max_ejection_percent": 100}) as it:
        for number in range(5):
            assert it.fetch("POST", b"x").status == 200
            getattr(it.proxy, end)()
            wait_for(lambda: not it.is_connected(), "the gateway to see the end")
        assert {record["attempts"] for record in it.last_records(5)} == {1}
        assert it.proxy.accepted == 5 and not complete_requests(it.spare)
        assert "ejected" not in it.gateway.log


def test_a_kept_connection_into_a_black_hole(line):
    """Nobody has said that it ended, so a request waits in vain; a connection that is reset is not used again."""
    assert line.fetch().status == 200
    line.proxy.up.set(cut_after=0, end="black_hole")
    line.proxy.down.set(cut_after=0, end="black_hole")
    assert line.fetch(path="/hasty").json()["reason"] == "upstream_read_timeout"
    line.proxy.heal()
    line.reset()
    assert line.fetch().status == 200


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_client_that_leaves_a_stalled_request(line, where):
    line.proxy.down.set(cut_after=0 if where == "head" else 50_000, end="stall")
    client = line.client().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for(lambda: line.in_flight() == 1, "the request")
    if where == "body":
        assert client.read_head().status == 200
    client.reset()
    record = line.last_record()
    assert record["reason"] == "client_closed" and record["status"] == (499 if where == "head" else 200)


# What the node is blamed for


FAULTS = {
    "refused": lambda proxy: proxy.refuse(),
    "reset": lambda proxy: proxy.down.set(cut_after=0, end="reset"),
    "closed": lambda proxy: proxy.down.set(cut_after=0, end="close"),
    "cut-body": lambda proxy: proxy.down.set(cut_after=50_000, end="half_close"),
    "stalled": lambda proxy: proxy.down.set(cut_after=0, end="stall"),
    "stalled-body": lambda proxy: proxy.down.set(cut_after=50_000, end="stall"),
    "lost-requests": lambda proxy: proxy.up.set(cut_after=20, end="black_hole"),
    "garbage": lambda proxy: proxy.down.corrupt.update({3: 0x09}),
}
NEVER = {"interval": 86400}
REACTIONS = {
    "checks": {"active": {"type": "tcp", "healthy": NEVER, "unhealthy": NEVER},
               "passive": {"unhealthy": {"tcp_failures": 3, "timeouts": 3, "http_failures": 3}}},
    "outlier_detection": {"consecutive_errors": 3, "max_ejection_percent": 100, "base_ejection_time": 3600,
                          "max_ejection_time": 3600},
    "circuit_breaker": {"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 3, "open_time": 3600,
                        "max_open_time": 3600},
}


@protocols
@pytest.mark.parametrize("fault", FAULTS)
def test_a_node_that_fails_three_times_is_left_out(protocol, fault):
    """By everything that looks at it: passive checks, outlier detection, its circuit breaker."""
    with stage(protocol, spare=True, **REACTIONS) as it:
        assert it.fetch().status == 200
        it.reset()  # a connection that works already would go on working
        FAULTS[fault](it.proxy)
        for number in range(3):
            assert "node=" not in it.gateway.log, f"after {number} failures"
            it.fetch(path="/hasty")
        found = [line for line in it.gateway.log.splitlines() if f"node=127.0.0.1:{it.proxy.port}" in line]
        texts = ["node is ejected", "circuit opened"]
        # Checks count each kind by itself, and of a stalled connection the first response is cut, the others are late.
        if (protocol, fault) != ("http2", "stalled-body"):
            texts.append("node is unhealthy")
        for text in texts:
            assert len([line for line in found if text in line]) == 1, it.gateway.log
        before = it.proxy.accepted
        for _ in range(10):
            assert it.fetch().status == 200
        assert it.proxy.accepted == before
        assert {record["attempts"] for record in it.last_records(10)} == {1}


@protocols
def test_a_slow_node_is_cut_off_by_its_breaker_and_comes_back(protocol):
    breaker = {"scope": "endpoint", "failure_percentage": 0, "slow_percentage": 50, "slow_call": 0.15, "minimum_requests": 4,
               "open_time": 0.2, "max_open_time": 0.2, "probes": 1, "ramp": 0}
    with stage(protocol, spare=True, circuit_breaker=breaker) as it:
        it.proxy.down.latency = 0.3
        wait_for(lambda: it.fetch().status == 200 and "circuit opened" in it.gateway.log, "the breaker to open")
        it.proxy.heal()
        wait_for(lambda: it.fetch().status == 200 and "circuit closed" in it.gateway.log, "the breaker to close")


def test_a_flapping_line_costs_no_idempotent_request():
    """Refused, reset and back, again and again, under load, with a second node."""
    with stage(spare=True) as it:
        stopping, answers = threading.Event(), []

        def run():
            while not stopping.is_set():
                answers.append(it.fetch("PUT", b"x" * 100).status)
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()

        def wait_for_more(count):
            goal = len(answers) + count
            wait_for(lambda: len(answers) >= goal, f"{count} more answers")
        for _ in range(10):
            wait_for_more(20)
            it.proxy.refuse()
            it.proxy.reset()
            wait_for_more(20)
            it.proxy.accept()
            wait_for_more(5)
            it.proxy.down.set(cut_after=0, end="reset")
            it.proxy.reset()
            wait_for_more(20)
            it.proxy.heal()
        stopping.set()
        for thread in threads:
            thread.join()
        assert set(answers) == {200}
