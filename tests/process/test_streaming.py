"""Large bodies and slow peers: bytes flow as they come and memory stays constant."""
# ctest: serial
# ctest: timeout=240

import threading

import pytest

from support.gateway import SANITIZED, Gateway, rss_bytes, route, wait_for
from support.origin import serve
from support.raw import RawClient

MB = 1 << 20
# Freed memory must not be kept for the sanitizer's reports: this file measures growth.
LEAN = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}
BLOCK = bytes(range(256)) * 256  # 64 KiB
CHUNK = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
LENGTH_1_GB = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MB)


@pytest.fixture
def lean(origin):
    with Gateway({"routes": [route(origin.port)]}, env=LEAN) as gateway:
        with RawClient(gateway.port) as client:  # first use allocates what is kept
            assert client.get().status == 200
        yield gateway


def worker_memory(gateway):
    return sum(rss_bytes(pid) for pid in gateway.worker_pids())


class Watch:
    """The most memory that the workers had while it was looking."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.start = self.most = worker_memory(gateway)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.wait(0.05):
            self.most = max(self.most, worker_memory(self.gateway))

    def growth(self):
        self.most = max(self.most, worker_memory(self.gateway))
        self.stopping.set()
        self.thread.join()
        return self.most - self.start


def settled(read):
    """Waits until `read()` stands still (what fills is full) and returns it."""
    state = {"last": -1, "same": 0}

    def still():
        value = read()
        state["same"] = state["same"] + 1 if value == state["last"] and value > 0 else 0
        state["last"] = value
        return state["same"] > 50
    wait_for(still, "a transfer to come to rest")
    return state["last"]


def counting_reader(connection):
    """A script that reads requests of any size without keeping them."""
    while True:
        request = connection.read_request(keep=False)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                        % (len(str(request.body_size)), str(request.body_size).encode()))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_uploads_200_mb(origin, lean, framing):
    origin.script = counting_reader
    fresh_connections(origin)
    watch = Watch(lean)
    blocks = 200 * MB // len(BLOCK)
    with RawClient(lean.port) as client:
        if framing == "length":
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (blocks * len(BLOCK)))
            for _ in range(blocks):
                client.send(BLOCK)
        else:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(blocks):
                client.send(CHUNK)
            client.send(b"0\r\n\r\n")
        assert client.read_response().body == str(200 * MB).encode()
    assert origin.requests[-1].framing == framing
    assert watch.growth() < 8 * MB


def fresh_connections(origin):
    """Ends what is idle, so that the next request meets the origin's new script."""
    for connection in list(origin.connections):
        try:
            connection.socket.shutdown(2)
        except OSError:
            pass


def send_gigabyte(head, piece, count, end=b""):
    def script(connection):
        while True:
            connection.read_request()
            connection.sent = 0
            connection.send(head)
            for _ in range(count):
                connection.send(piece)
                connection.sent += len(BLOCK)
            connection.send(end)
    return script


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_row90_downloads_1_gb_to_a_reader_that_stops_for_a_while(origin, lean, framing):
    count = 1024 * MB // len(BLOCK)
    if framing == "length":
        origin.script = send_gigabyte(LENGTH_1_GB, BLOCK, count)
    else:
        origin.script = send_gigabyte(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK,
                                      count, b"0\r\n\r\n")
    fresh_connections(origin)
    watch = Watch(lean)
    with RawClient(lean.port, receive_buffer=65536) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_head().status == 200
        wait_for(lambda: getattr(origin.connections[-1], "sent", 0) > 0, "the first bytes")
        stopped_at = settled(lambda: origin.connections[-1].sent)
        assert stopped_at < 64 * MB  # what socket buffers hold
        received, block = len(client.buffer), bytearray(MB)
        tail = bytes(client.buffer[-5:])
        while True:
            size = client.socket.recv_into(block)
            assert size > 0, f"closed after {received} bytes"
            received += size
            tail = (tail + bytes(block[max(0, size - 5):size]))[-5:]
            if framing == "length" and received >= 1024 * MB:
                break
            if framing == "chunked" and tail == b"0\r\n\r\n" and received >= 1024 * MB:
                break
    if framing == "length":
        assert received == 1024 * MB
    assert watch.growth() < 8 * MB


def test_row90_100_slow_readers(origin, lean):
    origin.script = send_gigabyte(LENGTH_1_GB, BLOCK, 1024 * MB // len(BLOCK))
    fresh_connections(origin)
    watch = Watch(lean)
    clients = [RawClient(lean.port, receive_buffer=4096) for _ in range(100)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for client in clients:
        assert client.read_head().status == 200
    settled(lambda: sum(getattr(connection, "sent", 0) for connection in origin.connections))
    # Red zones and the allocator of a sanitizer come on top.
    assert watch.growth() < (40 if SANITIZED else 20) * MB
    for client in clients:
        client.close()


def test_an_origin_that_does_not_read_stops_the_client(origin, lean):
    """The same in the other direction, and the body still arrives whole afterwards."""
    go_on = threading.Event()

    def script(connection):
        head = connection.read_head()
        go_on.wait(60)
        connection.read_body(head, keep=False)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                        % (len(str(head.body_size)), str(head.body_size).encode()))
    origin.script = script
    fresh_connections(origin)
    watch = Watch(lean)
    total = 256 * MB
    sent = [0]
    with RawClient(lean.port) as client:
        client.socket.settimeout(60)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)

        def upload():
            while sent[0] < total:
                client.socket.sendall(BLOCK)
                sent[0] += len(BLOCK)
        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        assert settled(lambda: sent[0]) < 64 * MB
        assert watch.growth() < 8 * MB
        go_on.set()
        assert client.read_response().body == str(total).encode()
        thread.join(10)


def test_both_directions_flow_at_once(origin, gateway):
    """The origin answers with what it gets while it gets it."""
    def script(connection):
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(connection._line(), 16):
            data = connection._take(size)
            connection._take(2)
            connection.send(b"%x\r\n%s\r\n" % (len(data), data))
        connection._line()
        connection.send(b"0\r\n\r\n")
        connection.wait_for_close()
    origin.script = script
    with RawClient(gateway.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"5\r\nfirst\r\n")
        assert client.read_head().status == 200
        assert client.read_exactly(10) == b"5\r\nfirst\r\n"  # while the request goes on
        client.send(b"6\r\nsecond\r\n")
        assert client.read_exactly(11) == b"6\r\nsecond\r\n"
        client.send(b"0\r\n\r\n")
        assert client.read_exactly(5) == b"0\r\n\r\n"


def test_pieces_are_relayed_as_they_come(origin, gateway):
    """No piece waits for the next one."""
    seen = threading.Semaphore(0)

    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for number in range(10):
            connection.send(b"part%d" % number)
            assert seen.acquire(timeout=20)
        connection.wait_for_close()
    origin.script = script
    with RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_head().status == 200
        for number in range(10):
            assert client.read_exactly(5) == b"part%d" % number
            seen.release()


@pytest.mark.parametrize("size", [65535, 65536, 65537, 131072, 1_000_003])
def test_bodies_arrive_unchanged_through_slow_peers(origin, gateway, size):
    body = (BLOCK * (size // len(BLOCK) + 1))[:size]
    origin.script = serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, body))
    with RawClient(gateway.port, receive_buffer=4096) as client:
        for _ in range(3):
            assert client.request("PUT", "/", body).body == body
    assert all(request.body == body for request in origin.requests)
