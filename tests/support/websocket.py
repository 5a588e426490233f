"""A real WebSocket server (python3-websockets) for tests, in a thread of its own."""

import asyncio
import threading

import websockets


class WebSocketServer:
    """`handler(socket)` serves each connection; the default sends every message back."""

    def __init__(self, handler=None, **options):
        self.handler = handler or self.echo
        self.sockets = []
        self.options = {"max_size": None, "ping_interval": None, **options}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.run(self._serve())
        self.port = self.server.sockets[0].getsockname()[1]

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    async def _serve(self):
        async def serve(socket):
            self.sockets.append(socket)
            try:
                await self.handler(socket)
            except websockets.ConnectionClosed:
                pass
        return await websockets.serve(serve, "127.0.0.1", 0, backlog=4096, **self.options)

    @staticmethod
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        async def stop():
            self.server.close()
            await self.server.wait_closed()
        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=60)
        self.loop.close()


def connect(port, path="/", name="127.0.0.1", **options):
    """A client of 127.0.0.1:port that knows it as `name`; `ssl`: its context, for wss."""
    options = {"max_size": None, "ping_interval": None, "open_timeout": 60, "close_timeout": 60,
               **options}
    scheme = "wss" if "ssl" in options else "ws"
    return websockets.connect(f"{scheme}://{name}:{port}{path}", host="127.0.0.1", port=port, **options)
