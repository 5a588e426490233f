"""An HTTP/1.1 client made of bytes: sends what it is told, reads responses strictly."""

import re
import socket
import struct
from dataclasses import dataclass, field

PATIENCE = 20


class ProtocolError(AssertionError):
    """The peer sent something that is not a correct HTTP/1.1 response."""


class ConnectionEnded(ProtocolError):
    """The peer closed or reset before the message was complete; `partial` is what came."""

    def __init__(self, text, partial):
        super().__init__(f"{text}; received {partial[-300:]!r}")
        self.partial = partial


@dataclass
class Response:
    status: int
    reason: str
    version: str
    headers: list  # (name, value), as received
    body: bytes = b""
    trailers: list = field(default_factory=list)
    informational: list = field(default_factory=list)  # the 1xx responses before it
    chunk_sizes: list = field(default_factory=list)
    framing: str = "none"  # none, length, chunked, close

    def values(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name, default=None):
        found = self.values(name)
        if len(found) > 1:
            raise ProtocolError(f"{name} came {len(found)} times: {found}")
        return found[0] if found else default

    def json(self):
        import json
        return json.loads(self.body)


FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*?)[ \t]*")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) (\d{3}) ([^\r\n\x00]*)")


def parse_fields(lines):
    fields = []
    for line in lines:
        match = FIELD.fullmatch(line)
        if not match:
            raise ProtocolError(f"bad field line {line!r}")
        fields.append((match.group(1).decode(), match.group(2).decode("latin-1")))
    return fields


class RawClient:
    def __init__(self, port, source=None, receive_buffer=None, address="127.0.0.1"):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(port, str) else socket.AF_INET)
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(port if isinstance(port, str) else (address, port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def send_leniently(self, data):
        """For bytes that the peer may refuse by closing while they are sent."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def finish_sending(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Reading

    def _more(self):
        """False at the end of the stream."""
        piece = self.socket.recv(1 << 20)
        self.buffer += piece
        return bool(piece)

    def _need_more(self, what):
        try:
            if self._more():
                return
        except ConnectionResetError:
            raise ConnectionEnded(f"reset while waiting for {what}", self.buffer) from None
        except socket.timeout:
            raise ProtocolError(f"nothing came for {PATIENCE} s while waiting for {what}; "
                                f"received {self.buffer[-300:]!r}") from None
        raise ConnectionEnded(f"closed while waiting for {what}", self.buffer)

    def read_until(self, mark, what="a delimiter"):
        start = 0
        while (at := self.buffer.find(mark, start)) < 0:
            start = max(0, len(self.buffer) - len(mark) + 1)
            self._need_more(what)
        taken, self.buffer = self.buffer[:at], self.buffer[at + len(mark):]
        return taken

    def read_exactly(self, count, what="bytes"):
        while len(self.buffer) < count:
            self._need_more(what)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_head(self):
        lines = self.read_until(b"\r\n\r\n", "a response head").split(b"\r\n")
        match = STATUS_LINE.fullmatch(lines[0])
        if not match:
            raise ProtocolError(f"bad status line {lines[0]!r}")
        return Response(int(match.group(2)), match.group(3).decode("latin-1"),
                        match.group(1).decode(), parse_fields(lines[1:]))

    def read_response(self, method="GET"):
        """The next final response with its body, and the 1xx ones before it."""
        informational = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            informational.append(response)
        response.informational = informational
        if method == "HEAD" or response.status in (101, 204, 304):
            if response.status in (101, 204) and response.values("Transfer-Encoding"):
                raise ProtocolError(f"Transfer-Encoding in a {response.status}")
            return response
        encoding, length = response.value("Transfer-Encoding"), response.value("Content-Length")
        if encoding is not None:
            if length is not None:
                raise ProtocolError("both Transfer-Encoding and Content-Length")
            if encoding.lower() != "chunked":
                raise ProtocolError(f"unexpected Transfer-Encoding {encoding!r}")
            response.framing = "chunked"
            self._read_chunks(response)
        elif length is not None:
            if not re.fullmatch(r"\d+", length):
                raise ProtocolError(f"bad Content-Length {length!r}")
            response.framing = "length"
            response.body = self.read_exactly(int(length), "a body")
        else:
            response.framing = "close"
            response.body = self.read_to_end()
        return response

    def _read_chunks(self, response):
        pieces = []
        while True:
            line = self.read_until(b"\r\n", "a chunk size")
            if not re.fullmatch(rb"[0-9a-fA-F]+", line):
                raise ProtocolError(f"bad chunk size line {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            response.chunk_sizes.append(size)
            pieces.append(self.read_exactly(size, "chunk data"))
            if self.read_exactly(2, "the end of a chunk") != b"\r\n":
                raise ProtocolError("no CRLF behind chunk data")
        lines = []
        while line := self.read_until(b"\r\n", "a trailer line"):
            lines.append(line)
        response.trailers = parse_fields(lines)
        response.body = b"".join(pieces)

    def read_to_end(self):
        """Everything until the peer's FIN."""
        while True:
            try:
                if not self._more():
                    break
            except ConnectionResetError:
                raise ConnectionEnded("reset", self.buffer) from None
            except socket.timeout:
                raise ProtocolError(f"expected the peer to close within {PATIENCE} s") from None
        taken, self.buffer = self.buffer, b""
        return taken

    def expect_close(self):
        """The peer closes and sends nothing more before."""
        rest = self.read_to_end()
        if rest:
            raise ProtocolError(f"expected a close, got {rest[:300]!r}")

    def expect_silence(self):
        """Nothing more has come and the connection is open; only after a later answer is known."""
        self.socket.setblocking(False)
        try:
            piece = self.socket.recv(1, socket.MSG_PEEK)
            raise ProtocolError(f"expected silence, got {piece!r} or a close")
        except BlockingIOError:
            if self.buffer:
                raise ProtocolError(f"expected silence, got {self.buffer!r}") from None
        finally:
            self.socket.settimeout(PATIENCE)

    def get(self, path="/", **headers):
        return self.request("GET", path, **headers)

    def request(self, method, path="/", body=None, headers=(), host="test.local"):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines) + "\r\n\r\n")
        if body:
            self.send(body)
        return self.read_response(method)


def exchange(port, data, method="GET"):
    """One response to raw bytes, on a connection of its own."""
    with RawClient(port) as client:
        return client.send_leniently(data).read_response(method)
