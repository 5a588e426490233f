"""A TCP proxy between the gateway and an origin that breaks connections as a test says.

    with Origin() as origin, FaultProxy(origin.port) as proxy:  # the gateway's node is proxy.port
        proxy.down.latency = 0.2                    # of what the origin sends
        proxy.up.set(cut_after=100, end="reset")    # of what the gateway sends
        proxy.heal()

`up` and `down` are the Faults of the two directions. They may be changed at any time and hold from
then on, for connections that are open too; positions count from the beginning of each connection.

Of whole connections: refuse() until accept(); reset() and half_close() those that are open now;
`accepted` says how many there ever were. When the origin cannot be reached the gateway gets RST.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass, field

PIECE = 1 << 16


@dataclass
class Faults:
    """What happens to the bytes of one direction."""

    latency: float = 0  # seconds that each piece is late
    jitter: float = 0  # up to so many seconds more, for each piece another number
    bandwidth: float = 0  # bytes a second; 0: as fast as it goes
    corrupt: dict = field(default_factory=dict)  # {position: the byte instead, or a function of it}
    cut_after: int = None  # so many bytes pass; 0 cuts when the first one comes
    # And then: "reset" RST to both sides; "close" FIN to both; "half_close" FIN in this direction, the
    # other goes on; "stall" nothing more is read; "black_hole" all is read and lost, its FIN too.
    end: str = "close"

    def set(self, **changes):
        """Several at one time."""
        assert set(changes) <= set(vars(self)), f"faults are {list(vars(self))}, not {list(changes)}"
        for name in sorted(changes, key=lambda name: name == "cut_after"):  # which makes use of `end`
            setattr(self, name, changes[name])

    def heal(self):
        self.cut_after = None
        self.set(**vars(Faults()))

    @property
    def piece(self):
        return max(1, min(PIECE, int(self.bandwidth / 50))) if self.bandwidth else PIECE

    async def delay(self, count):
        time = self.latency + self.jitter * random.random()
        if self.bandwidth:
            time += count / self.bandwidth
        if time:
            await asyncio.sleep(time)

    def corrupted(self, piece, position):
        changed = bytearray(piece)
        for at, to in self.corrupt.items():
            if position <= at < position + len(piece):
                changed[at - position] = to(piece[at - position]) if callable(to) else to
        return bytes(changed)

    def room(self, position):
        """How many more bytes pass."""
        return PIECE if self.cut_after is None else max(0, self.cut_after - position)


class _Pair:
    """One connection of the gateway, and ours to the origin for it."""

    def __init__(self, proxy, gateway, origin):
        self.proxy, self.gateway, self.origin = proxy, gateway, origin
        self.tasks = []
        self.passes = True

    async def run(self):
        """Until both directions have ended."""
        self.tasks = [asyncio.create_task(self._pump(self.proxy.up, self.gateway, self.origin)),
                      asyncio.create_task(self._pump(self.proxy.down, self.origin, self.gateway))]
        await asyncio.wait(self.tasks)
        for task in self.tasks:
            if not task.cancelled() and task.exception():
                self.proxy.failures.append(task.exception())

    async def _pump(self, faults, source, sink):
        loop = asyncio.get_running_loop()
        position = 0
        try:
            while piece := await loop.sock_recv(source, faults.piece):
                await faults.delay(len(piece))
                piece = faults.corrupted(piece, position)[:faults.room(position)]
                position += len(piece)
                if self.passes:
                    await loop.sock_sendall(sink, piece)
                    if not faults.room(position):
                        return await self._cut(faults.end, source, sink)
            finish_sending(sink)
        except OSError:  # one side has reset its connection: the other is told
            self.reset()

    async def _cut(self, end, source, sink):
        if end == "reset":
            return self.reset()
        if end == "stall":
            await asyncio.Event().wait()
        if end in ("close", "half_close"):
            finish_sending(sink)
        if end == "close":
            self.passes = False
            finish_sending(source)
        # A socket that is closed with something unread in it sends RST.
        while await asyncio.get_running_loop().sock_recv(source, PIECE):
            pass
        if end == "black_hole":
            await asyncio.Event().wait()

    def reset(self):
        for sock in (self.gateway, self.origin):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end()

    def end(self):
        for task in self.tasks:
            task.cancel()


def finish_sending(sock):
    with contextlib.suppress(OSError):  # it is gone
        sock.shutdown(socket.SHUT_WR)


class FaultProxy:
    def __init__(self, origin_port):
        self.origin_port = origin_port
        self.up, self.down = Faults(), Faults()
        self.accepted = 0
        self.failures = []  # of its own
        self.pairs = set()
        self.serving = set()  # the loop itself keeps no task alive
        self.listener = self.accepting = None
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        self.accept()
        return self

    def __exit__(self, kind, *_):
        self._run(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=60)
        self.loop.close()
        assert kind is not None or not self.failures, f"the proxy failed: {self.failures[0]!r}"

    def heal(self):
        """From now on everything passes. A connection that was cut stays so."""
        self.up.heal()
        self.down.heal()

    def refuse(self):
        """No more connections. Those that are open stay."""
        self._run(self._stop_accepting())

    def accept(self):
        """Connections again, at the same port."""
        self._run(self._start_accepting())

    def reset(self):
        """RST to both sides of all that are open."""
        self._run(self._for_each(_Pair.reset))

    def half_close(self):
        """FIN to the gateway on all that are open, as if the origin had ended them."""
        self._run(self._for_each(lambda pair: finish_sending(pair.gateway)))

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    async def _for_each(self, action):
        for pair in list(self.pairs):
            action(pair)

    async def _start_accepting(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.accepting = asyncio.create_task(self._accept())

    async def _stop_accepting(self):
        if self.accepting:
            self.accepting.cancel()
            await asyncio.wait([self.accepting])
            self.accepting = None
            self.listener.close()

    async def _stop(self):
        await self._stop_accepting()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self):
        while True:
            gateway, _ = await asyncio.get_running_loop().sock_accept(self.listener)
            self.accepted += 1
            task = asyncio.create_task(self._serve(_Pair(self, gateway, socket.socket())))
            self.serving.add(task)
            task.add_done_callback(self.serving.discard)

    async def _serve(self, pair):
        self.pairs.add(pair)
        try:
            for sock in (pair.gateway, pair.origin):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(pair.origin, ("127.0.0.1", self.origin_port))
            await pair.run()
        except OSError:
            pair.reset()
        finally:
            self.pairs.discard(pair)
            pair.gateway.close()
            pair.origin.close()
