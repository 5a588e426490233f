"""Upstream servers: one that does exactly what a test says, and a real nginx."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field

from .gateway import PATIENCE, free_port, wait_for
from .sockets import accepted, accepts, stop_listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class PeerClosed(Exception):
    """The gateway ended the connection."""


@dataclass
class Request:
    head: bytes  # as received, without the empty line
    method: str
    target: str
    version: str
    headers: list
    body: bytes = b""
    body_size: int = 0
    trailers: list = field(default_factory=list)
    framing: str = "none"

    def values(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name):
        found = self.values(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None


class Connection:
    """The origin's side of one connection, used by a script."""

    def __init__(self, origin, sock, number):
        self.origin = origin
        self.socket = sock
        self.number = number  # 0 for the first connection of this origin
        self.received = b""  # every byte that came, unless bodies are discarded
        self.buffer = b""

    def _more(self):
        try:
            piece = self.socket.recv(1 << 18)
        except (ConnectionResetError, OSError):
            piece = b""
        if not piece:
            raise PeerClosed
        if len(self.received) < 1 << 20:
            self.received += piece
        self.buffer += piece

    def _take(self, count):
        while len(self.buffer) < count:
            self._more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_head(self):
        lines = [self._line()]
        while line := self._line():
            lines.append(line)
        method, target, version = lines[0].decode("latin-1").split(" ")
        headers = []
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip(" \t")))
        return Request(b"\r\n".join(lines), method, target, version, headers)

    def read_body(self, request, keep=True):
        """Reads the body of `request`; `keep=False` only counts its bytes."""
        def consume(count):
            while count > 0:
                if not self.buffer:
                    self._more()
                piece, self.buffer = self.buffer[:count], self.buffer[count:]
                count -= len(piece)
                request.body_size += len(piece)
                if keep:
                    request.body += piece
        if request.values("Transfer-Encoding"):
            request.framing = "chunked"
            while size := int(self._line(), 16):
                consume(size)
                assert self._take(2) == b"\r\n"
            while line := self._line():
                name, _, value = line.decode("latin-1").partition(":")
                request.trailers.append((name, value.strip()))
        elif request.values("Content-Length"):
            request.framing = "length"
            consume(int(request.value("Content-Length")))

    def read_request(self, keep=True):
        """The next complete request; it is recorded in the origin."""
        request = self.read_head()
        self.read_body(request, keep)
        with self.origin.lock:
            self.origin.requests.append(request)
        return request

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, OSError):
            raise PeerClosed from None
        return self

    def close(self):
        self.socket.close()

    def finish_sending(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has reset the connection
            raise PeerClosed from None

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_close(self):
        """Until the gateway closes its side; bytes before that count as received."""
        try:
            while True:
                self._more()
        except PeerClosed:
            pass


def serve(reply=OK):
    """A script that answers every request with the same bytes and keeps the connection."""
    def script(connection):
        while True:
            connection.read_request()
            connection.send(reply)
    return script


def once(reply=OK, end="wait"):
    """A script that answers one request and then waits for the gateway's close, closes or resets."""
    def script(connection):
        connection.read_request()
        connection.send(reply)
        {"wait": connection.wait_for_close, "close": connection.close,
         "reset": connection.reset}[end]()
    return script


def drip(count, pause):
    """A script that answers one request with a body of `count` bytes, a pause (seconds) before each."""
    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
        for _ in range(count):
            threading.Event().wait(pause)  # what is tested: time passes
            connection.send(b"x")
        connection.wait_for_close()
    return script


class Origin:
    """Listens on 127.0.0.1 (or a UNIX path); each connection runs `script` in a thread."""

    def __init__(self, script=None, path=None, backlog=1024, port=0):
        self.script = script or serve()
        self.lock = threading.Lock()
        self.requests = []  # the complete ones, in order of completion
        self.connections = []
        self.failures = []
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        if path:
            self.listener.bind(path)
            os.chmod(path, 0o777)
        else:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", port))
            self.port = self.listener.getsockname()[1]
        self.listener.listen(backlog)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        assert kind is not None or not self.failures, f"a script failed: {self.failures[0]!r}"

    def _accept(self):
        for sock in accepted(self.listener):
            sock.settimeout(PATIENCE)
            with self.lock:
                connection = Connection(self, sock, len(self.connections))
                self.connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        try:
            self.script(connection)
        except PeerClosed:
            pass
        except Exception as failure:  # shown when the test leaves the origin
            self.failures.append(failure)
        finally:
            connection.close()

    def close(self):
        stop_listening(self.listener)
        with self.lock:
            for connection in self.connections:
                try:
                    connection.socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def wait_for_requests(self, count):
        return wait_for(lambda: len(self.requests) >= count and self.requests,
                        f"{count} complete requests at the origin, came {len(self.requests)}")

    @property
    def received(self):
        """Every byte that came, over all connections."""
        with self.lock:
            return b"".join(connection.received for connection in self.connections)


class NginxOrigin:
    """A real nginx with files and a keep-alive limit that is never reached.

    /small a few bytes, /files/NAME from `files`, /status/NNN, /close closes after each reply, /who the
    client of the PROXY protocol (with `listen="proxy_protocol"`)."""

    def __init__(self, files=None, listen=""):
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix="sluice-nginx-")
        os.chmod(self.directory, 0o755)
        os.mkdir(os.path.join(self.directory, "files"))
        for name, content in (files or {}).items():
            with open(os.path.join(self.directory, "files", name), "wb") as file:
                file.write(content)
        config = os.path.join(self.directory, "nginx.conf")
        with open(config, "w") as file:
            file.write(f"""
worker_processes 1; daemon off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {self.directory}; client_max_body_size 0; default_type text/plain;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096 {listen};
    root {self.directory};
    location = /small {{ return 200 "small\\n"; }}
    location = /who {{ return 200 "$proxy_protocol_addr $proxy_protocol_port\\n"; }}
    location = /close {{ keepalive_timeout 0; return 200 "closing\\n"; }}
    location ~ ^/status/404$ {{ return 404; }}
    location ~ ^/status/503$ {{ return 503; }}
    location /files/ {{ }}
    location / {{ return 200 "$request_method $request_uri $http_host\\n"; }}
  }}
}}
""")
        self.log = open(os.path.join(self.directory, "output.log"), "wb")
        self.process = subprocess.Popen(["nginx", "-p", self.directory, "-c", config, "-e", "stderr"],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for(self._answers, "nginx to listen")

    def _answers(self):
        assert self.process.poll() is None, "nginx ended at its start"
        return accepts(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def header_names(request):
    return [name.lower() for name, _ in request.headers]


def content_length(data):
    return int(re.search(rb"(?i)content-length: (\d+)", data).group(1))
