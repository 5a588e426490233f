"""Memory of the workers while clients send keys and tokens that never come again: what a worker
remembers of them is bounded. SLUICE_FLAT_KEYS=1000000 is the long form, for a release build."""
# ctest: timeout=240

import hashlib
import hmac
import os
import re
import socket
import time

import pytest

from support.gateway import Gateway, PATIENCE, route
from support.tokens import url

MANY = int(os.environ.get("SLUICE_FLAT_KEYS", "100000"))  # a worker remembers 16,384 tokens
FEW = MANY // 10
LIMIT_KEYS = 1000
MOST_GROWTH = 1024 * 1024  # buffers come and go; 32 bytes for each would be 2.9 MB
BATCH = 100
CLIENTS = 8  # over two workers
SECRET = "a-secret-of-32-bytes-for-the-test"
# A sanitizer keeps what was freed; what counts is what is in use.
LEAN = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") +
        ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=1"}
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def jwt(number, secret):
    signed = url(b'{"alg":"HS256"}') + "." + \
        url(b'{"key":"rose","exp":%d,"n":%d}' % (time.time() + 86_400, number))
    return signed + "." + url(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def by_header(path, value):
    return lambda number: f"GET {path} HTTP/1.1\r\nHost: a\r\n{value(number)}\r\n\r\n".encode()


KINDS = {
    "limit-count": (by_header("/count", "X-Key: k{}".format), 200),
    "limit-req": (by_header("/req", "X-Key: k{}".format), 200),
    "limit-conn": (by_header("/conn", "X-Key: k{}".format), 200),
    "token-bucket": (by_header("/bucket", "X-Key: k{}".format), 200),
    "valid tokens": (by_header("/jwt", lambda n: "Authorization: Bearer " + jwt(n, SECRET)), 200),
    "forged tokens": (by_header("/jwt", lambda n: "Authorization: Bearer " + jwt(n, "x")), 401),
    "broken tokens": (by_header("/jwt", "Authorization: Bearer {}.e30.x".format), 401),
    "unknown keys": (by_header("/key", "apikey: k{}".format), 401),
}


def config():
    def ends(path, plugins):
        """Behind all other plugins, the gateway itself answers."""
        answer = {"_meta": {"priority": 1}, "response_example": "ok", "content_type": "text/plain"}
        return {**route(1, uri=path, plugins={**plugins, "mocking": answer}), "id": path[1:]}

    key = {"key": "http_x_key"}
    return {
        "gateway": {"limits": {"limit_keys": LIMIT_KEYS}, "access_log": False,
                    "error_log": {"path": "stderr", "level": "warn"}},
        "consumers": [{"username": "rose", "plugins": {
            "jwt-auth": {"key": "rose", "secret": SECRET}, "key-auth": {"key": "s3cret"}}}],
        "routes": [
            ends("/count", {"limit-count": {"count": 1, "time_window": 86_400, **key}}),
            ends("/req", {"limit-req": {"rate": 1, "burst": 0, **key}}),
            ends("/conn", {"limit-conn": {"conn": 1, "burst": 0, "default_conn_delay": 1, **key}}),
            ends("/bucket", {"token-bucket": {"capacity": 1, "refill": 1, **key}}),
            ends("/jwt", {"jwt-auth": {}}),
            ends("/key", {"key-auth": {}}),
        ]}


@pytest.fixture(scope="module")
def gateway():
    with Gateway(config(), workers=2, env=LEAN) as running:
        yield running


def memory(gateway):
    """Bytes of all workers; what they share counts once, and pages of files, which the kernel drops
    and reads again as it likes, do not."""
    total = 0
    for pid in gateway.worker_pids():
        with open(f"/proc/{pid}/smaps_rollup") as file:
            sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.M))
        total += sum(int(sizes[kind]) for kind in ("Pss_Anon", "Pss_Shmem", "SwapPss")) * 1024
    return total


def send_all(gateway, make, wanted, begin, end):
    """Requests for these numbers, pipelined; each has to be answered with that status."""
    clients = [socket.create_connection(("127.0.0.1", gateway.port), PATIENCE)
               for _ in range(CLIENTS)]
    number = begin
    while number < end:
        under_way = []
        for client in clients:
            count = min(BATCH, end - number)
            client.sendall(b"".join(make(n) for n in range(number, number + count)))
            under_way.append((client, count))
            number += count
        for client, count in under_way:
            received = b""
            while len(statuses := STATUS.findall(received)) < count:
                piece = client.recv(1 << 20)
                assert piece, f"closed behind {received[-300:]!r}"
                received += piece
            assert set(statuses) <= {b"%d" % wanted}, received[:1000]
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_is_bounded(gateway, kind):
    make, status = KINDS[kind]
    send_all(gateway, make, status, 0, FEW)
    before = memory(gateway)
    send_all(gateway, make, status, FEW, MANY)
    after = memory(gateway)
    print(f"{kind}: {before >> 10} KiB after {FEW}, {after >> 10} KiB after {MANY}")
    assert after - before <= MOST_GROWTH
