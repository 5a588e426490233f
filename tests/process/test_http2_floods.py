"""What a client can do to an HTTP/2 connection costs bounded memory, and nobody else is hurt (the
catalogue of floods and stalls, rows 69 to 83). That floods end is shown in test_http2.py and in the
codec's unit tests; here they come on many connections at once, which nobody closes or reads."""
# ctest: timeout=300

import os
import socket
import struct

import pytest
from hyperframe.frame import PingFrame, RstStreamFrame, SettingsFrame

from support.gateway import SANITIZED, Gateway, route, rss_bytes, wait_for
from support.http2 import CANCEL, PREFACE, Http2Client, literal_block, raw_frame, request
from support.origin import NginxOrigin

KB, MB = 1 << 10, 1 << 20
CONNECTIONS = 20
FRAMES = 8000  # on each connection, unless it ends before
STREAMS = 100  # at once
HEADERS, PRIORITY, CONTINUATION = 1, 2, 9
INITIAL_WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE
LEAN = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") +
        ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}

GET = literal_block(request())
POST = literal_block(request("POST"))
FIELD = literal_block([("x", "v" * 90)])


@pytest.fixture(scope="module")
def origin():
    with NginxOrigin({"big": bytes(MB)}) as server:
        yield server


@pytest.fixture(scope="module")
def silent():
    """A port of which the kernel accepts connections, and nobody else."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield server.getsockname()[1]


@pytest.fixture
def gateway(origin, silent):
    settings = {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}],
                            "error_log": {"path": "stderr", "level": "info"}},
                "routes": [route(origin.port), {**route(silent, uri="/silent"), "id": "silent"}]}
    with Gateway(settings, env=LEAN) as running:
        with Http2Client(running.port) as client:  # first use allocates what is kept
            assert client.get().status == 200
        yield running


def head(stream, block=GET, flags=5):
    return raw_frame(HEADERS, flags, stream, block)


def window_update(stream, increment):
    return raw_frame(8, 0, stream, struct.pack(">I", increment))


def once_then(first, then):
    return lambda i: first if i == 0 else then


# What each of FRAMES steps sends, row by row.
FLOODS = {
    "row69 rapid reset": lambda i: head(2 * i + 1) + RstStreamFrame(
        2 * i + 1, error_code=CANCEL).serialize(),
    "row70 made resets": lambda i: head(2 * i + 1, POST, 4) + window_update(2 * i + 1, 0),
    "row71 continuation": once_then(head(1, GET, 0), raw_frame(CONTINUATION, 0, 1, FIELD)),
    "row72 empty continuation": once_then(head(1, GET, 0), raw_frame(CONTINUATION, 0, 1)),
    "row73 settings": lambda _: SettingsFrame(settings={INITIAL_WINDOW: 65535}).serialize(),
    "row74 ping": lambda _: PingFrame(opaque_data=b"12345678").serialize(),
    "row75 empty data": once_then(head(1, POST, 4), raw_frame(0, 0, 1)),
    "row76 priority": lambda i: raw_frame(PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 2 * i + 3, 9)),
    "row77 window update": lambda _: window_update(0, 1),
    "row77 unknown frame": lambda _: raw_frame(0x42, 0, 0, b"x" * 16),
    "malformed": lambda i: head(2 * i + 1, literal_block(request(extra=[("connection", "x")]))),
    # An entry of 4000 bytes in the table, and then one byte for each time that it is named.
    "row80 compression": lambda i: head(2 * i + 1, (b"" if i else b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000)
                                        + GET + b"\xbe" * 8000),
    "requests without end": lambda i: head(2 * i + 1, literal_block(request(path="/silent"))),
}


# Those that open streams: as many as are allowed at once, of 6 KB.
OPENING = {name for name, make in FLOODS.items() if make(1)[3] == HEADERS}
ENDED_BY_AN_ERROR = "row70 made resets"  # of the connection, at once
SLACK = 4 if SANITIZED else 1  # red zones, which small pieces of memory have too


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_on_many_connections_takes_little_memory(gateway, name):
    grown = attack(gateway, lambda client: send_all(client, FLOODS[name]))
    limit = 128 * 6 * KB if name in OPENING else 100 * KB
    assert grown < CONNECTIONS * limit * SLACK
    if name != ENDED_BY_AN_ERROR:
        wait_for(lambda: gateway.log.count("client floods an HTTP/2 connection") == CONNECTIONS,
                 "all floods to be logged")


def send_all(client, make):
    client.socket.settimeout(1)  # who is not read, waits no longer
    try:
        for first in range(0, FRAMES, 100):
            client.send_bytes(b"".join(make(i) for i in range(first, first + 100)))
    except OSError:
        pass


def big_answers(client):
    client.send_bytes(b"".join(head(2 * i + 1, literal_block(request(path="/files/big")))
                               for i in range(STREAMS)))


def zero_windows(client):
    client.send(SettingsFrame(settings={INITIAL_WINDOW: 0}))
    big_answers(client)


def open_windows(client):
    client.send(SettingsFrame(settings={INITIAL_WINDOW: 2**31 - 1}))
    client.send_bytes(window_update(0, 2**31 - 1 - 65535))
    big_answers(client)


def trickling_windows(client):
    """A byte now and then, which keeps every answer alive."""
    zero_windows(client)
    for _ in range(10):
        client.send_bytes(b"".join(window_update(2 * i + 1, 1) for i in range(STREAMS)))


def uploads(client):
    """As much of each body as the window of the connection allows, to a node that reads nothing."""
    post = literal_block(request("POST", "/silent"))
    size = (64 * KB - 1) // STREAMS
    for i in range(STREAMS):
        client.send_bytes(head(2 * i + 1, post, 4) + raw_frame(0, 0, 2 * i + 1, bytes(size)))


def large_heads(client):
    """Each of 12 KB, sent once and then named in the table."""
    get = literal_block(request(path="/silent"))
    for i in range(STREAMS):
        entry = b"" if i else b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
        client.send_bytes(head(2 * i + 1, get + entry + b"\xbe" * (3 if i else 2)))


def half_heads(client):
    client.send_bytes(head(1, GET, 0) + raw_frame(CONTINUATION, 0, 1, FIELD * 100) * 3)


# Who waits, and how many bytes a stream may cost meanwhile: of an answer, what is read at once and the
# 32 KiB that may wait.
ANSWER = 100 * KB
STALLS = {
    "row78 zero windows": (zero_windows, ANSWER),
    "row78 open windows, not read": (open_windows, ANSWER),
    "row78 trickling windows": (trickling_windows, ANSWER),
    "uploads": (uploads, 32 * KB),
    "large heads": (large_heads, 32 * KB),
    "half heads": (half_heads, 2 * KB),
}


@pytest.mark.parametrize("name", STALLS)
def test_a_stall_of_many_streams_takes_what_it_may(gateway, name):
    stall, limit = STALLS[name]
    answers = STREAMS if limit == ANSWER else 0
    assert attack(gateway, stall, answers) < CONNECTIONS * STREAMS * limit * SLACK


def settled_memory(worker, good):
    """What the worker has when it does not grow any more."""
    last, same = 0, 0
    while same < 20:
        assert good.get().status == 200
        now = rss_bytes(worker)
        last, same = max(now, last), (same + 1 if now <= last else 0)
    return last


def attack(gateway, act, answers=0):
    """How much the worker has grown when `act` was done on each of CONNECTIONS, all still open and not
    read. Another client is served all the while. `answers` are then found to have begun on each."""
    (worker,) = gateway.worker_pids()
    before = rss_bytes(worker)
    clients = []
    with Http2Client(gateway.port) as good:
        try:
            for _ in range(CONNECTIONS):
                client = Http2Client(gateway.port, start=False)
                clients.append(client)
                client.send_bytes(PREFACE + SettingsFrame().serialize())
                act(client)
                assert good.get().status == 200
            grown = settled_memory(worker, good) - before
            for client in clients:
                client.auto_window = False
                client.wait_for(lambda: len(client.responses) >= answers)
                assert {response.status for response in client.responses.values()} <= {200}
        finally:
            for client in clients:
                client.socket.close()
        assert good.get().status == 200
    return grown
