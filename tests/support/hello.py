"""ClientHello messages (RFC 8446 4.1.2) as bytes that a test may change, and a client that hands its
records over before they are sent."""

import ssl
import struct

from .raw import RawClient

ALERT, HANDSHAKE = 21, 22
SERVER_NAME, EARLY_DATA, ALPN, PADDING, SUPPORTED_VERSIONS = 0, 42, 16, 21, 43


def client_hello(context, name="a.test"):
    """The first record of a client of this context."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def vector(data, size=2):
    return len(data).to_bytes(size, "big") + data


def record(data, kind=HANDSHAKE, version=b"\x03\x01"):
    return bytes([kind]) + version + vector(data)


def records(message, size):
    """A message of the handshake in records of at most `size` bytes."""
    return b"".join(record(message[at:at + size]) for at in range(0, len(message), size))


def message(hello):
    """The message in a record."""
    return hello[5:]


def with_extensions(hello, edit, version=b"\x03\x03"):
    """The message of a hello with its list of (type, data) replaced by what `edit` makes of it."""
    body = message(hello)[4:]
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + struct.unpack_from(">H", body, at)[0]
    at += 1 + body[at]
    head, rest, found = version + body[2:at], body[at + 2:], []
    while rest:
        kind, size = struct.unpack_from(">HH", rest)
        found.append((kind, rest[4:4 + size]))
        rest = rest[4 + size:]
    body = head + vector(b"".join(struct.pack(">H", kind) + vector(data)
                                  for kind, data in edit(found)))
    return b"\x01" + vector(body, 3)


def replace(kind, *values):
    """An edit: these values in place of the extension of that kind."""
    return lambda found: [*(one for one in found if one[0] != kind), *((kind, v) for v in values)]


def server_name(*names):
    """The data of the extension, a host name each."""
    return vector(b"".join(b"\0" + vector(name) for name in names))


def read_record(client):
    """(type, data) of the next one."""
    kind, _, size = struct.unpack(">BHH", client.read_exactly(5, "the head of a record"))
    return kind, client.read_exactly(size, "a record")


class RecordClient(RawClient):
    """A TLS client over memory: `change` is given what it would send, and what that returns is sent."""

    def __init__(self, port, context, name="a.test", change=lambda data: [data]):
        super().__init__(port)
        self.change = change
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._run(self.tls.do_handshake)

    def _run(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                piece = self.socket.recv(65536)
                self.incoming.write(piece) if piece else self.incoming.write_eof()
            finally:
                self._flush()

    def _flush(self):
        data = self.outgoing.read()
        for piece in self.change(data) if data else []:
            self.socket.sendall(piece)

    def send(self, data):
        self._run(lambda: self.tls.write(data))
        return self

    def _more(self):
        piece = self._run(lambda: self.tls.read(65536))
        self.buffer += piece
        return bool(piece)
