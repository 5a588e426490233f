"""Keep-alive clients that run while a test does something to the gateway, and count what breaks."""

import selectors
import socket
import threading
import time
from dataclasses import dataclass, field

from .gateway import wait_for


@dataclass
class Counts:
    ok: int = 0
    bad_status: int = 0
    closed: int = 0  # connections that the gateway ended
    failed: int = 0  # requests in flight when it did
    refused: int = 0  # connections that could not be made
    announced: int = 0  # connections whose last answer said Connection: close; no harm
    examples: list = field(default_factory=list)

    @property
    def harm(self):
        return self.bad_status + self.closed + self.failed + self.refused


class _Client:
    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""
        self.local = sock.getsockname()[1]


class Load:
    """`connections` clients, each with one request in flight, all in one thread.

    with Load(gateway.port) as load:
        load.wait_for(1000)
        ...
    assert load.counts.harm == 0, load.counts
    """

    def __init__(self, port, connections=16, path="/", reconnect=True):
        self.port = port
        self.request = f"GET {path} HTTP/1.1\r\nHost: load.test\r\n\r\n".encode()
        self.number = connections
        self.reconnect = reconnect
        self.counts = Counts()
        self.clients = {}  # local port -> _Client
        self.lost_ports = set()  # local ports of the connections that the gateway ended
        self.stopping = False
        self.selector = selectors.DefaultSelector()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        for _ in range(self.number):
            self._connect()
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()

    def stop(self):
        """Ends after every request in flight has been answered."""
        self.stopping = True
        self.thread.join(timeout=60)
        assert not self.thread.is_alive(), f"requests were never answered: {self.counts}"
        if self.failure:
            raise self.failure
        return self.counts

    def wait_for(self, more):
        """Until `more` further requests have been answered."""
        goal = self.counts.ok + more
        wait_for(lambda: self.failure or self.counts.ok >= goal, f"{more} more answers under load")

    def _connect(self):
        try:
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        except OSError as failure:
            self.counts.refused += 1
            self._remember(f"connect: {failure}")
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(sock)
        self.clients[client.local] = client
        self.selector.register(sock, selectors.EVENT_READ, client)
        self._send(client)

    def _send(self, client):
        try:
            client.socket.sendall(self.request)
        except OSError as failure:
            self._lost(client, f"send: {failure}")

    def _run(self):
        try:
            deadline = None
            while self.clients:
                for key, _ in self.selector.select(timeout=0.2):
                    if key.fileobj.fileno() >= 0:
                        self._read(key.data)
                if self.stopping:
                    deadline = deadline or time.monotonic() + 30
                    assert time.monotonic() < deadline, "answers did not come"
        except BaseException as failure:
            self.failure = failure

    def _read(self, client):
        try:
            piece = client.socket.recv(65536)
        except OSError as failure:
            return self._lost(client, f"receive: {failure}")
        if not piece:
            return self._lost(client, f"closed behind {client.buffer[:100]!r}")
        client.buffer += piece
        head, separator, body = client.buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        at = head.lower().index(b"content-length:")
        length = int(head[at + 15:].split(b"\r\n")[0])
        if len(body) < length:
            return None
        client.buffer = body[length:]
        if head.startswith(b"HTTP/1.1 200 "):
            self.counts.ok += 1
        else:
            self.counts.bad_status += 1
            self._remember(head[:200])
        if b"\r\nconnection: close" in head.lower():
            self.counts.announced += 1
            self._forget(client)
            if self.reconnect and not self.stopping:
                self._connect()
        elif self.stopping:
            self._forget(client)
        else:
            self._send(client)
        return None

    def _lost(self, client, why):
        self.lost_ports.add(client.local)
        self.counts.closed += 1
        self.counts.failed += 1
        self._remember(f"port {client.local}: {why}")
        self._forget(client)
        if self.reconnect and not self.stopping:
            self._connect()

    def _forget(self, client):
        self.selector.unregister(client.socket)
        client.socket.close()
        self.clients.pop(client.local, None)

    def _remember(self, what):
        if len(self.counts.examples) < 5:
            self.counts.examples.append(what)
