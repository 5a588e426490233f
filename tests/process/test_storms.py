"""Nodes that die, stall, reset, flap, lie and come back, while workers and the controller are killed and
the configuration is reloaded: what must hold all the time, and that it all comes back."""
# ctest: timeout=400

import collections
import contextlib
import itertools
import json
import os
import signal
import threading

import pytest

from support.gateway import Gateway, wait_for
from support.load import Load
from support.origin import Origin
from support.raw import ConnectionEnded, RawClient
from support.sockets import client_ports

MOODS = ["reset", "stall", "short", "long", "flap", "error", "half", "dead"]
LIMIT = 4
some_workers = pytest.mark.parametrize("workers", [1, 2, 8])


class Crowd:
    """How many are in it at one time."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self.lock:
            self.now -= 1


class Moody:
    """A node that answers with the path, or as its mood is."""

    def __init__(self, crowd=None):
        self.crowd = crowd or Crowd()
        self.mood = "good"
        self.served = self.busy = 0
        self.lock = threading.Lock()
        self.origin = Origin(self)
        self.port = self.origin.port

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.origin.__exit__(kind)

    def set(self, mood):
        if self.mood == "dead":
            self.origin = Origin(self, port=self.port)
        with self.lock:
            self.mood = mood
        if mood == "dead":
            # Whoever is answered now would still count here when the gateway asks elsewhere.
            wait_for(lambda: self.busy == 0, "the last answer")
            self.origin.close()

    def __call__(self, connection):
        for number in itertools.count():
            request = connection.read_request()
            with self.lock:
                mood = self.mood if self.mood != "flap" else ("good", "reset")[number % 2]
                serves = mood in ("good", "long")
                self.busy += serves
            try:
                if not self.answer(connection, request.target.encode(), mood):
                    return
            finally:
                with self.lock:
                    self.busy -= serves

    def answer(self, connection, body, mood):
        """False: that was the last one."""
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n"
        if mood in ("good", "long"):
            with self.crowd:
                threading.Event().wait(0.003)  # so long is somebody there
            self.served += 1
            lie = head % (b"200 OK", 4) + b"EVIL" if mood == "long" else b""
            connection.send(head % (b"200 OK", len(body)) + body + lie)
            return True
        if mood == "error":
            connection.send(head % (b"503 Busy", 0))
            return True
        if mood == "stall":
            connection.wait_for_close()
        elif mood == "half":
            connection.send(head % (b"200 OK", len(body)) + body[:2]).wait_for_close()
        elif mood == "short":
            connection.send(head % (b"200 OK", len(body) + 10) + body).close()
        else:
            connection.reset()
        return False


class Askers:
    """Clients that ask all the time, each time on a connection of its own and for another path."""

    def __init__(self, port, count=8):
        self.port = port
        self.outcomes = collections.Counter()
        self.wrong, self.failures = [], []
        self.numbers = itertools.count()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a request is never answered"

    def _run(self):
        while not self.stopping.is_set():
            number = next(self.numbers)
            try:
                outcome = self._ask(f"/{number}/abcdef")
            except (ConnectionEnded, OSError):
                outcome = "cut"
            except BaseException as failure:
                outcome = repr(failure)
                self.wrong.append(outcome)
            self.outcomes[outcome] += 1
            if outcome != 200:
                self.failures.append((number, outcome))

    def _ask(self, path):
        with RawClient(self.port) as client:
            response = client.get(path)
        if response.status == 200 and response.body != path.encode():
            self.wrong.append((path, response))
        return response.status

    def wait_for(self, more, outcome=None):
        def count():
            return self.outcomes[outcome] if outcome else self.outcomes.total()
        goal = count() + more
        wait_for(lambda: self.wrong or count() >= goal, f"{more} more answers ({outcome}), after {self.outcomes}")
        assert not self.wrong, self.wrong[:3]


def config(*nodes, name="first", **fields):
    upstream = {"id": "u", "nodes": {f"127.0.0.1:{node.port}": 1 for node in nodes}, **fields}
    return {"upstreams": [upstream], "routes": [
        {"id": "r", "name": name, "uri": "/*", "upstream_id": "u", "enable_websocket": True}]}


RESILIENT = {
    "timeout": {"connect": 1.5, "send": 1.5, "read": 1.5},
    "retry": {"conditions": ["connect_failure", "refused_stream", "reset", "503"]},
    "limits": {"requests": LIMIT, "pending": 1000, "pending_timeout": 60},
    "circuit_breaker": {"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 4, "open_time": 0.2,
                        "max_open_time": 0.5, "ramp": 0},
    "outlier_detection": {"consecutive_errors": 8, "max_ejection_percent": 50, "base_ejection_time": "200ms",
                          "max_ejection_time": "500ms"},
}


def status(gateway):
    """Of the only upstream; a controller that was killed takes a moment to come back."""
    def answer():
        result = gateway.run("status", "--json")
        return result.returncode == 0 and json.loads(result.stdout)["upstreams"][0]
    return wait_for(answer, "the controller's answer")


def count_of(gateway, text):
    return sum(1 for line in gateway.log.splitlines() if f" {text} " in line)


def in_flight(gateway):
    return sum(node["in_flight"] for node in status(gateway)["nodes"])


def wait_until_idle(gateway):
    """Nothing is counted any more, neither at a node nor at the upstream."""
    def idle():
        found = status(gateway)
        total = found["total"] or {}
        return not any([*(node["in_flight"] for node in found["nodes"]),
                        *(total.get(name, 0) for name in ("in_flight", "retries", "pending"))])
    wait_for(idle, "all counts to be zero")


def kill(gateway, role, which=0):
    """kill -9, and until another one is there."""
    gateway.may_lose_workers = True
    before = gateway.role_pids(role)
    victim = before[which]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in (now := gateway.role_pids(role)) and len(now) == len(before), f"another {role}")


@some_workers
def test_nothing_is_wrong_in_a_storm_and_all_comes_back(workers):
    crowd = Crowd()
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Moody(crowd)) for _ in range(4)]
        moody, steady = nodes[:3], nodes[3]
        gateway = stack.enter_context(Gateway(config(*nodes, **RESILIENT), workers=workers))
        askers = stack.enter_context(Askers(gateway.port))
        askers.wait_for(20)
        for number, mood in enumerate(MOODS):
            moody[number % 3].set(mood)
            askers.wait_for(12)
            assert gateway.reload(config(*nodes, name=f"n{number}", **RESILIENT)).returncode == 0
            moody[(number + 1) % 3].set(mood)
            if number % 3 == 0:
                kill(gateway, "controller")
            askers.wait_for(12)
            moody[(number + 2) % 3].set("good")
        assert crowd.most <= LIMIT, "the limit is the host's, at every moment"
        # Who dies again and again is started again later and later.
        for number, mood in enumerate(MOODS if workers == 8 else MOODS[:2 * workers]):
            moody[number % 3].set(mood)
            kill(gateway, "worker", number % workers)
            askers.wait_for(12)
        for node in moody:
            node.set("good")
        before = [node.served for node in nodes]

        def all_serve():
            return all(node.served >= served + 5 for node, served in zip(nodes, before))
        wait_for(all_serve, "all nodes to serve again")
        wait_for(lambda: all(node["state"] == "up" and node["breaker"]["phase"] == "closed"
                             for node in status(gateway)["nodes"]), "all nodes to be up")
        healed = next(askers.numbers)
        askers.wait_for(100, 200)
        assert not [failure for failure in askers.failures if failure[0] > healed], "failures without a cause"
        assert set(askers.outcomes) <= {200, 502, 503, 504, "cut"}, askers.outcomes
        askers.__exit__()
        wait_until_idle(gateway)
        assert steady.served > 100


@some_workers
def test_only_what_a_killed_worker_held_fails(workers):
    """While a node is dead, retried around and cut off, and the controller is killed with the worker."""
    with Moody() as dead, Moody() as good, Moody() as other:
        breaker = {"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 3, "open_time": 3600,
                   "max_open_time": 3600}
        with Gateway(config(dead, good, other, circuit_breaker=breaker), workers=workers) as gateway:
            with Load(gateway.port, connections=24, path="/load", reconnect=False) as load:
                load.wait_for(200)
                dead.set("dead")
                wait_for(lambda: count_of(gateway, "circuit opened"), "the dead node to be cut off")
                load.wait_for(100)
                assert load.counts.harm == 0, load.counts
                victim = gateway.worker_pids()[0]
                doomed = client_ports(victim, gateway.port)
                kill(gateway, "worker")
                kill(gateway, "controller")
                if workers > 1:
                    load.wait_for(200)
                wait_for(lambda: load.lost_ports >= doomed, "the victim's clients to see it")
            assert load.lost_ports == doomed
            assert load.counts.bad_status == load.counts.refused == 0, load.counts
            for number in range(20):
                with RawClient(gateway.port) as client:
                    assert client.get(f"/{number}").body == b"/%d" % number
            wait_until_idle(gateway)
            phases = {node["node"]: node["breaker"]["phase"] for node in status(gateway)["nodes"]}
            assert phases.pop(f"127.0.0.1:{dead.port}") == "open" and set(phases.values()) == {"closed"}
            assert count_of(gateway, "circuit opened") == 1


UPGRADE = (b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
SWITCHING = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
REFUSED = b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n"


class Holder:
    """Keeps what comes: requests without an answer, WebSockets as open tunnels until they are told."""

    def __init__(self, crowd):
        self.crowd = crowd
        self.answer = SWITCHING

    def __call__(self, connection):
        request = connection.read_request()
        with self.crowd:
            if request.values("Upgrade"):
                answer = self.answer
                connection.send(answer)
                if answer is REFUSED:
                    return
            {b"r": connection.reset, b"c": connection.close}[connection._take(1)]()


def read_to_end(client):
    with contextlib.suppress(ConnectionEnded):
        client.read_to_end()


@contextlib.contextmanager
def holders(workers=1, count=1, **fields):
    crowd = Crowd()
    with contextlib.ExitStack() as stack:
        scripts = [Holder(crowd) for _ in range(count)]
        origins = [stack.enter_context(Origin(script)) for script in scripts]
        gateway = stack.enter_context(Gateway(config(*origins, **fields), workers=workers))
        yield gateway, crowd, scripts


def holds(gateway, kind):
    """A client whose request is held, or None if the limit is reached."""
    before = in_flight(gateway)
    client = RawClient(gateway.port).send(UPGRADE if kind == "tunnels" else b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    if kind == "tunnels" or before >= LIMIT:
        head = client.read_head()
        if head.status == 101:
            return client
        assert head.status == 503 and client.read_until(b"upstream_overflow") is not None
        return None
    wait_for(lambda: in_flight(gateway) > before, "the request to be counted")
    return client


@some_workers
@pytest.mark.parametrize("kind", ["requests", "tunnels"])
def test_limits_are_exact_across_kills_and_reloads(kind, workers):
    """A dead worker gives back what it held and not a place more; the living keep theirs."""
    with holders(workers, count=2, limits={"requests": LIMIT}) as (gateway, crowd, scripts):
        ports = [int(node["node"].rpartition(":")[2]) for node in status(gateway)["nodes"]]
        clients = {client.socket.getsockname()[1]: client for client in (holds(gateway, kind) for _ in range(LIMIT))}
        for _ in range(workers + 1):  # so that a worker without any is asked as well
            assert holds(gateway, kind) is None
        fresh = config(name="changed", limits={"requests": LIMIT})
        fresh["upstreams"][0]["nodes"] = {f"127.0.0.1:{port}": 1 for port in ports}
        assert gateway.reload(fresh).returncode == 0
        assert holds(gateway, kind) is None

        held = {pid: client_ports(pid, gateway.port) & set(clients) for pid in gateway.worker_pids()}
        victim = max(held, key=lambda pid: len(held[pid]))
        doomed = held[victim]
        assert doomed
        kill(gateway, "worker", gateway.worker_pids().index(victim))
        kill(gateway, "controller")
        wait_for(lambda: crowd.now == LIMIT - len(doomed) == in_flight(gateway), "the dead one's to be given back")
        for port in doomed:
            read_to_end(clients.pop(port))
        for _ in doomed:
            client = holds(gateway, kind)
            clients[client.socket.getsockname()[1]] = client
        assert holds(gateway, kind) is None
        assert crowd.now == crowd.most == LIMIT
        for client in clients.values():
            client.expect_silence()
            client.reset()
        wait_until_idle(gateway)
        holds(gateway, kind).reset()
        wait_until_idle(gateway)


def end_tunnel(client, how):
    if how == "client-reset":
        client.reset()
    elif how == "client-close":
        client.close()
    else:
        read_to_end(client.send(b"r" if how == "node-reset" else b"c"))
        client.close()


def test_a_tunnel_that_ends_frees_its_place():
    with holders(limits={"requests": LIMIT}) as (gateway, _, _):
        clients = [holds(gateway, "tunnels") for _ in range(LIMIT)]
        for how in ("client-close", "node-close", "client-reset", "node-reset"):
            assert holds(gateway, "tunnels") is None
            end_tunnel(clients.pop(0), how)
            wait_for(lambda: in_flight(gateway) == LIMIT - 1, f"the place after {how}")
            clients.append(holds(gateway, "tunnels"))
        for client in clients:
            client.close()
        wait_until_idle(gateway)


OPENS = {"scope": "upstream", "failure_percentage": 0, "consecutive_failures": 3, "open_time": 0.3, "max_open_time": 0.3,
         "probes": 1, "ramp": 0}


@pytest.mark.parametrize("end, opens", [("node-reset", True), ("refused", True), ("node-close", False),
                                        ("client-close", False), ("client-reset", False)])
def test_what_a_tunnel_says_to_the_breaker(end, opens):
    """A node that resets its tunnels or refuses them fails; whoever ends one in order says nothing bad."""
    with holders(circuit_breaker={**OPENS, "open_time": 3600, "max_open_time": 3600}) as (gateway, _, (script,)):
        script.answer = REFUSED if end == "refused" else SWITCHING
        for number in range(4):
            is_open = opens and number == 3
            assert count_of(gateway, "circuit opened") == is_open
            client = RawClient(gateway.port).send(UPGRADE)
            status_of_it = client.read_head().status
            assert status_of_it == (503 if is_open else 500 if end == "refused" else 101)
            if status_of_it == 101:
                end_tunnel(client, end)
            gateway.wait_for_access(number + 1)
            client.close()


def test_a_tunnel_is_a_probe_as_soon_as_it_is_open():
    """It closes the breaker by its 101, however long it lasts then."""
    with holders(circuit_breaker=OPENS) as (gateway, _, (script,)):
        script.answer = REFUSED
        for _ in range(3):
            with RawClient(gateway.port) as client:
                assert client.send(UPGRADE).read_head().status == 500
        wait_for(lambda: count_of(gateway, "circuit opened"), "the breaker to open")
        script.answer = SWITCHING

        def opened():
            client = RawClient(gateway.port).send(UPGRADE)
            if client.read_head().status == 101:
                return client
            client.close()
            return None
        probe = wait_for(opened, "a tunnel as a probe")
        assert count_of(gateway, "circuit closed") == 1
        others = [holds(gateway, "tunnels") for _ in range(3)]
        for client in (probe, *others):
            client.close()


@some_workers
def test_an_open_breaker_survives_every_process(workers):
    """Of the upstream as a whole: worker by worker, the controller, reloads, and nothing reaches the node."""
    breaker = {"scope": "both", "failure_percentage": 0, "consecutive_failures": 3, "open_time": 3600,
               "max_open_time": 3600}
    with Moody() as node:
        wanted = config(node, circuit_breaker=breaker)
        with Gateway(wanted, workers=workers) as gateway:
            node.set("error")
            for _ in range(3):
                with RawClient(gateway.port) as client:
                    assert client.get().status == 503
            node.set("good")
            for number in range(workers):
                kill(gateway, "worker", number)
                if number % 3 == 0:
                    kill(gateway, "controller")
                    assert gateway.reload(config(node, name=f"n{number}", circuit_breaker=breaker)).returncode == 0
                for _ in range(workers):
                    with RawClient(gateway.port) as client:
                        response = client.get()
                        assert (response.status, response.json()["reason"]) == (503, "circuit_open")
            found = status(gateway)
            assert found["total"]["breaker"]["phase"] == found["nodes"][0]["breaker"]["phase"] == "open"
            assert node.served == 0 and count_of(gateway, "circuit opened") == 2
