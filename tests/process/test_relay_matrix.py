"""The same exchanges over each pair of protocols: {HTTP/1.1, HTTP/2} clients x {HTTP/1.1, HTTP/2}
upstreams. A real client (httpx) on one side, Python's own server or a scripted one on the other."""
# ctest: timeout=300

import hashlib
import http.server
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.gateway import Gateway, upstream
from support.h2_origin import H2Origin

SIZES = [0, 1, 16_383, 65_536, 1_000_003]


def body_of(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def answer(method, path, headers, body):
    """What both kinds of upstream do: (status, fields, body, body has a known length)."""
    kind, _, argument = path.strip("/").partition("/")
    if kind == "size":
        return 200, [("content-type", "x/y")], body_of(int(argument)), True
    if kind == "stream":
        return 200, [], body_of(int(argument)), False
    if kind == "status":
        return int(argument), [("x-status", argument)], b"", True
    if kind == "cookies":
        fields = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("x-got", headers.get("cookie", ""))]
        return 200, fields, b"", True
    digest = hashlib.sha256(body).hexdigest().encode()
    fields = [("x-method", method), ("x-length", str(len(body))),
              ("x-announced", headers.get("content-length", "none"))]
    return 200, fields, digest, True


class Http1Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def serve(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, fields, body, known = answer(self.command, self.path, headers, self.read_body())
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            if known:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD" or status in (204, 304):
            return
        if known:
            self.wfile.write(body)
            return
        for at in range(0, len(body), 10_000):
            piece = body[at:at + 10_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = serve

    def log_message(self, *_):
        pass


class Http1Upstream:
    scheme = "http"

    def __enter__(self):
        http.server.ThreadingHTTPServer.request_queue_size = 128  # 5 are fewer than come at one time
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http1Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Http2Upstream(H2Origin):
    scheme = "h2c"

    def __init__(self):
        super().__init__(answer=self.note, on_end=self.serve)
        self.heads = {}

    def note(self, connection, stream, headers):
        self.heads[connection, stream] = headers

    def serve(self, connection, stream):
        threading.Thread(target=self.send, args=(connection, stream), daemon=True).start()

    def send(self, connection, stream):
        headers = self.heads.pop((connection, stream))
        method = headers[":method"]
        status, fields, body, known = answer(method, headers[":path"], headers,
                                             connection.bodies.pop(stream))
        if known and status not in (204, 304):
            fields = [*fields, ("content-length", str(len(body)))]
        if method == "HEAD":
            body = b""
        with connection.lock:
            connection.h2.send_headers(stream, [(":status", str(status)), *fields],
                                       end_stream=not body)
        connection.flush()
        connection.send_body(stream, body)


@pytest.fixture(scope="module", params=list(itertools.product(["h1", "h2"], ["h1", "h2"])),
                ids=lambda pair: f"{pair[0]}-client-{pair[1]}-upstream")
def client(request):
    of_client, of_upstream = request.param
    with (Http1Upstream() if of_upstream == "h1" else Http2Upstream()) as origin:
        with Gateway({
                "gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
                "routes": [{"id": "r", "uri": "/*",
                            "upstream": upstream(origin.port, scheme=origin.scheme)}],
        }) as gateway:
            def another():
                return httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=60,
                                    http1=of_client == "h1", http2=of_client == "h2")
            with another() as session:
                session.another = another
                session.expected_version = "HTTP/1.1" if of_client == "h1" else "HTTP/2"
                yield session


@pytest.mark.parametrize("size", SIZES)
def test_response_of_known_length(client, size):
    response = client.get(f"/size/{size}")
    assert response.http_version == client.expected_version
    assert response.status_code == 200 and response.headers["content-type"] == "x/y"
    assert response.headers["content-length"] == str(size)
    assert response.content == body_of(size)


@pytest.mark.parametrize("size", SIZES)
def test_response_of_unknown_length(client, size):
    response = client.get(f"/stream/{size}")
    assert response.content == body_of(size)


@pytest.mark.parametrize("size", SIZES)
def test_request_of_known_length(client, size):
    response = client.post("/echo", content=body_of(size))
    assert response.headers["x-length"] == str(size)
    assert response.headers["x-announced"] == str(size)
    assert response.text == hashlib.sha256(body_of(size)).hexdigest()


@pytest.mark.parametrize("size", SIZES[1:])
def test_request_of_unknown_length(client, size):
    body = body_of(size)
    pieces = (body[at:at + 7_000] for at in range(0, size, 7_000))
    response = client.put("/echo", content=pieces)
    assert response.headers["x-method"] == "PUT"
    assert response.text == hashlib.sha256(body).hexdigest()


def test_head_has_the_length_and_no_body(client):
    response = client.head("/size/12345")
    assert response.headers["content-length"] == "12345"
    assert response.content == b""
    assert client.get("/size/5").content == body_of(5)  # the connection is still in step


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_status_without_a_body(client, status):
    response = client.get(f"/status/{status}")
    assert (response.status_code, response.headers["x-status"]) == (status, str(status))
    assert response.content == b""


def test_repeated_fields_stay_apart_and_in_order(client):
    response = client.get("/cookies", headers={"cookie": "x=1; y=2"})
    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    assert response.headers["x-got"] == "x=1; y=2"


# A client for each thread: httpx shares an HTTP/2 connection between threads in a way that can wait
# for ever for a window that is open.
def test_many_at_once(client):
    def ask(numbers):
        with client.another() as own:
            return [own.post("/echo", content=body_of(number * 999)).text for number in numbers]
    numbers = [range(first, 100, 16) for first in range(16)]
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(ask, numbers))
    assert got == [[hashlib.sha256(body_of(number * 999)).hexdigest() for number in some]
                   for some in numbers]


def test_errors_of_ours_look_the_same(client):
    response = client.request("TRACE", "/size/1")
    assert (response.status_code, response.json()["reason"]) == (405, "method_not_allowed")
