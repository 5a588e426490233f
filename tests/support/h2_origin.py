"""An HTTP/2 upstream that is scripted frame by frame (python3-h2).

    with H2Origin(answer) as origin: ...

`answer(connection, stream, headers)` is called for each request when its headers are in; it may use
connection.h2 (h2.connection.H2Connection) and connection.flush(). Bodies are collected in
connection.bodies[stream]; `on_end(connection, stream)` is called when a request is complete.
"""

import socket
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from .gateway import PATIENCE
from .sockets import accepted, stop_listening


class H2Connection:
    def __init__(self, origin, sock):
        self.origin = origin
        self.sock = sock
        self.bodies = {}
        self.trailers = {}
        self.lock = threading.RLock()
        self.sending = threading.Lock()
        self.opened = threading.Condition(self.lock)  # a window
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))

    def flush(self):
        if not self.origin.speaks:
            return
        with self.sending:  # frames leave in the order in which they were made
            with self.lock:
                data = self.h2.data_to_send()
            if data:
                self.sock.sendall(data)

    def respond(self, stream, status=200, body=b"", fields=(), trailers=None):
        with self.lock:
            self.h2.send_headers(stream, [(":status", str(status)), *fields],
                                 end_stream=not body and trailers is None)
            if body:
                self.h2.send_data(stream, body, end_stream=trailers is None)
            if trailers is not None:
                self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()

    def send_body(self, stream, body):
        """All of it and the end, as far as the windows allow at a time. Not from a handler."""
        while body:
            with self.opened:
                while not (room := min(self.h2.local_flow_control_window(stream),
                                       self.h2.max_outbound_frame_size)):
                    assert self.opened.wait(PATIENCE), "the window stays closed"
                self.h2.send_data(stream, body[:room], end_stream=room >= len(body))
            body = body[room:]
            self.flush()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def run(self):
        try:
            if self.origin.settings:
                self.h2.local_settings = h2.settings.Settings(
                    client=False, initial_values=self.origin.settings)
            self.h2.initiate_connection()
            if self.origin.lenient:
                self.h2.local_settings = h2.settings.Settings(client=False)
            self.flush()
            while data := self.sock.recv(65536):
                with self.lock:
                    events = self.h2.receive_data(data)
                for event in events:
                    self.handle(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.close()

    def handle(self, event):
        origin = self.origin
        if isinstance(event, h2.events.RequestReceived):
            self.bodies[event.stream_id] = b""
            origin.requests.append(dict(event.headers))
            if origin.answer:
                origin.answer(self, event.stream_id, dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            if origin.acknowledge:
                with self.lock:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded) and origin.on_end:
            origin.on_end(self, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            origin.resets.append((event.stream_id, event.error_code))
        elif isinstance(event, h2.events.PingReceived):
            origin.pings += 1
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            with self.opened:
                self.opened.notify_all()


class H2Origin:
    def __init__(self, answer=None, on_end=None, settings=None, acknowledge=True, lenient=False):
        self.answer, self.on_end = answer, on_end
        self.settings = settings or {}
        self.acknowledge = acknowledge  # False: windows are never opened again
        self.lenient = lenient  # `settings` are announced, but who breaks them is not cut off
        self.speaks = True  # False: nothing is sent, not even settings, until `speak`
        self.requests, self.resets, self.connections, self.pings = [], [], [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def speak(self):
        self.speaks = True
        for connection in self.connections:
            connection.flush()

    def __exit__(self, *_):
        stop_listening(self.listener)
        for connection in self.connections:
            connection.close()

    def _accept(self):
        for sock in accepted(self.listener):
            connection = H2Connection(self, sock)
            self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()
