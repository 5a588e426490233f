"""An HTTP/2 client made of frames: sends what it is told, also what no library would send."""

import socket
import struct
from dataclasses import dataclass, field

import hpack
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame,
    RstStreamFrame, SettingsFrame, WindowUpdateFrame)

PATIENCE = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11


class Ended(AssertionError):
    """The gateway closed the connection."""


@dataclass
class Response:
    status: int = None
    headers: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = None
    informational: list = field(default_factory=list)
    reset: int = None  # the code of RST_STREAM
    ended: bool = False  # by END_STREAM

    def value(self, name, default=None):
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else default


def request(method="GET", path="/", authority="a.test", extra=(), scheme="http"):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path),
            *extra]


def literal_block(fields):
    """Fields as literals without indexing, in any spelling: no encoder in the way."""
    def text(value):
        value = value if isinstance(value, bytes) else value.encode("latin-1")
        size = len(value)
        if size < 127:
            return bytes([size]) + value
        size -= 127
        out = b"\x7f"
        while size >= 128:
            out += bytes([size & 127 | 128])
            size >>= 7
        return out + bytes([size]) + value
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def raw_frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


class Http2Client:
    """`settings`: ours, sent at once; `window`: how far the connection's window is opened; `tls`: an
    ssl.SSLContext and a server name, for a connection inside TLS."""

    def __init__(self, port, settings=None, window=None, start=True, tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls[0].wrap_socket(self.socket, server_hostname=tls[1])
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer = b""
        self.frames = []  # every one that came
        self.responses = {}
        self.goaways = []
        self.pongs = []
        self.settings = None  # the gateway's
        self.acknowledged = 0
        self.next_stream = 1
        self.auto_window = True
        if start:
            frames = [SettingsFrame(settings=settings or {})]
            if window:
                frames.append(WindowUpdateFrame(0, window))
            self.send_bytes(PREFACE + b"".join(frame.serialize() for frame in frames))
            self.wait_for(lambda: self.settings is not None and self.acknowledged)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    # Sending

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send(self, *frames):
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def head_frame(self, fields, stream=None, end=True):
        if stream is None:
            stream, self.next_stream = self.next_stream, self.next_stream + 2
        frame = HeadersFrame(stream, self.encoder.encode(fields))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def start(self, fields=None, end=True):
        """Sends a request head; the number of its stream."""
        frame = self.head_frame(fields or request(), end=end)
        self.send(frame)
        return frame.stream_id

    def start_raw(self, fields, end=True):
        """The same, with fields that an encoder might change."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.send_bytes(raw_frame(1, 5 if end else 4, stream, literal_block(fields)))
        return stream

    def data(self, stream, data, end=False):
        frame = DataFrame(stream, data)
        if end:
            frame.flags.add("END_STREAM")
        self.send(frame)

    def trailers(self, stream, fields):
        self.send(self.head_frame(fields, stream))

    def reset(self, stream, code=CANCEL):
        self.send(RstStreamFrame(stream, error_code=code))

    # Receiving

    def _read_frame(self):
        def take(count):
            while len(self.buffer) < count:
                try:
                    piece = self.socket.recv(1 << 16)
                except ConnectionResetError:
                    piece = b""
                if not piece:
                    raise Ended(f"the connection ended after {[type(f).__name__ for f in self.frames[-5:]]}")
                self.buffer += piece
            taken, self.buffer = self.buffer[:count], self.buffer[count:]
            return taken
        frame, length = Frame.parse_frame_header(memoryview(take(9)))
        frame.parse_body(memoryview(take(length)))
        return frame

    def read(self):
        """The next frame; what it means is noted in this client."""
        frame = self._read_frame()
        self.frames.append(frame)
        if isinstance(frame, SettingsFrame):
            if "ACK" in frame.flags:
                self.acknowledged += 1
            else:
                self.settings = dict(frame.settings)
                ack = SettingsFrame()
                ack.flags.add("ACK")
                self.send(ack)
        elif isinstance(frame, HeadersFrame):
            self._on_headers(frame)
        elif isinstance(frame, DataFrame):
            response = self.response(frame.stream_id)
            response.body += frame.data
            response.ended = "END_STREAM" in frame.flags
            if self.auto_window and frame.flow_controlled_length and not response.ended:
                self.send(WindowUpdateFrame(0, frame.flow_controlled_length),
                          WindowUpdateFrame(frame.stream_id, frame.flow_controlled_length))
            elif self.auto_window and frame.flow_controlled_length:
                self.send(WindowUpdateFrame(0, frame.flow_controlled_length))
        elif isinstance(frame, RstStreamFrame):
            self.response(frame.stream_id).reset = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append(frame)
        elif isinstance(frame, PingFrame):
            if "ACK" in frame.flags:
                self.pongs.append(frame.opaque_data)
            else:
                pong = PingFrame(opaque_data=frame.opaque_data)
                pong.flags.add("ACK")
                self.send(pong)
        return frame

    def _on_headers(self, frame):
        block = frame.data
        while "END_HEADERS" not in frame.flags:
            following = self._read_frame()
            assert isinstance(following, ContinuationFrame)
            block += following.data
            if "END_HEADERS" in following.flags:
                break
        fields = [(name, value) for name, value in self.decoder.decode(block)]
        response = self.response(frame.stream_id)
        if response.status is not None:
            response.trailers = fields
        else:
            assert fields[0][0] == ":status", fields
            status = int(fields[0][1])
            if status < 200:
                response.informational.append((status, fields[1:]))
            else:
                response.status, response.headers = status, fields[1:]
        response.ended = response.ended or "END_STREAM" in frame.flags

    def response(self, stream):
        return self.responses.setdefault(stream, Response())

    def wait_for(self, condition):
        while not condition():
            self.read()

    def finish(self, stream):
        """The response on `stream`, complete or reset."""
        response = self.response(stream)
        self.wait_for(lambda: response.ended or response.reset is not None)
        return response

    def get(self, path="/", **fields):
        return self.finish(self.start(request(path=path, **fields)))

    def ping(self, data=b"12345678"):
        """A round trip: what was sent before has been handled."""
        count = len(self.pongs)
        self.send(PingFrame(opaque_data=data))
        self.wait_for(lambda: len(self.pongs) > count)
        return self.pongs[-1]

    def wait_for_end(self):
        """Until the gateway closes; the last GOAWAY, or None."""
        try:
            while True:
                self.read()
        except Ended:
            return self.goaways[-1] if self.goaways else None


