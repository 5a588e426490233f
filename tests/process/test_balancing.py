"""Who gets which request: every type of balancer, seen by real origins, over several workers."""
# ctest: timeout=300

import collections
import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import threading

import h2.exceptions
import pytest

from support.gateway import Gateway, SANITIZED, example, free_port, wait_for
from support.h2_origin import H2Origin
from support.load import Load
from support.origin import Origin
from support.raw import RawClient
from support.sockets import accepts

NAMED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def tell_port(connection):
    """Answers every request with the port of the origin."""
    while True:
        connection.read_request()
        connection.send(said(connection))


def said(connection):
    port = b"%d" % connection.origin.port
    return NAMED % (len(port), port)


@contextlib.contextmanager
def origins(count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Origin(tell_port)) for _ in range(count)]


def node(origin, weight=1, priority=0):
    return {"host": "127.0.0.1", "port": origin.port, "weight": weight, "priority": priority}


def config(nodes, **upstream):
    return {"upstreams": [{"id": "u", "nodes": nodes, **upstream}],
            "routes": [{"id": "r", "uri": "/*", "upstream_id": "u"}]}


def ask(gateway, path="/", headers=(), client=None):
    """The port of the origin that answered. A connection of its own, so that any worker gets it."""
    if client is not None:
        response = client.request("GET", path, headers=headers)
        assert response.status == 200, response
        return int(response.body)
    with RawClient(gateway.port) as fresh:
        return ask(gateway, path, headers, fresh)


def ask_many(gateway, count, clients=8):
    """Ports by how often they answered; over several connections, so over all workers."""
    counts = collections.Counter()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(RawClient(gateway.port)) for _ in range(clients)]
        for i in range(count):
            counts[ask(gateway, f"/{i}", client=connections[i % clients])] += 1
    return counts


def placement(gateway, keys=120):
    """{key: port}, each key asked for on a new connection."""
    return {key: ask(gateway, f"/{key}") for key in range(keys)}


def status(gateway):
    result = gateway.run("status", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def nodes_of(gateway, upstream="upstream/u"):
    (found,) = [one for one in status(gateway)["upstreams"] if one["key"] == upstream]
    return {int(node["node"].rpartition(":")[2]): node for node in found["nodes"]}


def in_flight(gateway):
    return sum(node["in_flight"] for node in nodes_of(gateway).values())


def wait_until_idle(gateway):
    wait_for(lambda: in_flight(gateway) == 0, "nothing to be in flight")


# Distribution

@pytest.mark.parametrize("kind", ["roundrobin", "least_conn"])
def test_shares_are_those_of_the_weights(kind):
    with origins(3) as (a, b, c):
        nodes = [node(a, 1), node(b, 2), node(c, 5)]
        with Gateway(config(nodes, type=kind)) as gateway:
            counts = ask_many(gateway, 160)
            # One after the other, so that nothing is in flight when the next one is placed.
            assert counts == {a.port: 20, b.port: 40, c.port: 100}


@pytest.mark.parametrize("kind", ["random", "ewma"])
def test_choices_of_two_spread(kind):
    with origins(4) as servers:
        with Gateway(config([node(one) for one in servers], type=kind), workers=2) as gateway:
            counts = ask_many(gateway, 200)
            assert sum(counts.values()) == 200
            if kind == "random":
                assert len(counts) == 4 and min(counts.values()) > 20
            else:  # the slowest of four may lose to every other
                assert len(counts) >= 3


def test_ewma_prefers_the_fast(gateway_of_slow_and_fast):
    gateway, slow, fast = gateway_of_slow_and_fast("ewma")
    ask_many(gateway, 10)
    counts = ask_many(gateway, 60)
    # Two choices out of two nodes: the slow one is asked again only when its cost has decayed.
    assert counts[fast.port] > 4 * counts[slow.port]
    latency = nodes_of(gateway)
    assert latency[slow.port]["ewma_ms"] > latency[fast.port]["ewma_ms"]


def test_ewma_does_not_take_a_dead_node_for_the_fastest():
    with origins(1) as (alive,):
        dead = {"host": "127.0.0.1", "port": free_port(), "weight": 1}
        with Gateway(config([node(alive), dead], type="ewma")) as gateway:
            assert ask_many(gateway, 60) == {alive.port: 60}
            # Its failures were retried; after the first it costs too much to be tried again soon.
            attempts = sum(record["attempts"] for record in gateway.wait_for_access(60))
            assert attempts <= 62


@pytest.fixture
def gateway_of_slow_and_fast():
    def slowly(connection):
        while True:
            connection.read_request()
            threading.Event().wait(0.05)  # the subject: an origin that takes its time
            connection.send(said(connection))
    with contextlib.ExitStack() as stack:
        def start(kind):
            slow = stack.enter_context(Origin(slowly))
            fast = stack.enter_context(Origin(tell_port))
            gateway = stack.enter_context(
                Gateway(config([node(slow), node(fast)], type=kind), workers=2))
            return gateway, slow, fast
        yield start


@pytest.mark.parametrize("kind", ["least_conn", "random"])
def test_who_is_busy_gets_nothing_from_any_worker(kind):
    """A node that holds requests is known as busy by both workers, not only by the one that sent
    them: with private counts each worker would send it requests of its own."""
    released = threading.Event()

    def hold(connection):
        while True:
            connection.read_request()
            assert released.wait(30)
            connection.send(said(connection))
    with Origin(hold) as busy, Origin(tell_port) as idle:
        with Gateway(config([node(busy), node(idle)], type=kind), workers=2) as gateway:
            with contextlib.ExitStack() as stack:
                held = None
                while held is None:  # until one request is held
                    client = stack.enter_context(RawClient(gateway.port))
                    client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                    wait_for(lambda: any(r.target == "/held" for r in busy.requests + idle.requests),
                             "the request to arrive")
                    if busy.requests:
                        held = client
                    else:
                        client.read_response()
                        idle.requests.clear()
                counts = ask_many(gateway, 60, clients=20)
                assert counts == {idle.port: 60}
                assert nodes_of(gateway)[busy.port]["in_flight"] == 1
                released.set()
                assert held.read_response().body == b"%d" % busy.port
            wait_until_idle(gateway)


# Hashing

@pytest.mark.parametrize("kind", ["chash", "maglev"])
def test_a_key_stays_at_its_node(kind):
    """In all workers, over a reload of something else, after the death of a worker."""
    with origins(4) as servers:
        wanted = config([node(one) for one in servers], type=kind, key="uri")
        with Gateway(wanted, workers=2) as gateway:
            gateway.may_lose_workers = True
            before = placement(gateway)
            assert set(before.values()) == {one.port for one in servers}
            assert placement(gateway) == before
            wanted["routes"][0]["desc"] = "changed"
            wanted["upstreams"][0]["retries"] = 1
            assert gateway.reload(wanted).returncode == 0
            assert placement(gateway) == before
            victim = gateway.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: len(set(gateway.worker_pids()) - {victim}) == 2, "a new worker")
            wait_for(lambda: accepts(gateway.port), "the port to answer")
            assert placement(gateway) == before


def test_removing_a_node_moves_its_keys_only():
    with origins(4) as servers:
        nodes = [node(one) for one in servers]
        with Gateway(config(nodes, type="chash", key="uri"), workers=2) as gateway:
            before = placement(gateway)
            gone = servers[1].port
            assert gateway.reload(config(nodes[:1] + nodes[2:], type="chash", key="uri")).returncode == 0
            after = placement(gateway)
            assert all(after[key] == before[key] for key in before if before[key] != gone)
            assert gone not in after.values()
            # And back.
            assert gateway.reload(config(nodes, type="chash", key="uri")).returncode == 0
            assert placement(gateway) == before


@pytest.mark.parametrize("fields, path, headers", [
    ({"hash_on": "header", "key": "X-User"}, "/{n}", [("X-User", "{key}")]),
    ({"hash_on": "cookie", "key": "sid"}, "/{n}", [("Cookie", "a=b; sid={key}; c={n}")]),
    ({"hash_on": "vars", "key": "arg_id"}, "/{n}?n={n}&id={key}", []),
    ({"hash_on": "vars_combinations", "key": "$http_x_user-$arg_z"}, "/{n}", [("X-User", "{key}")]),
], ids=["header", "cookie", "vars", "vars_combinations"])
def test_hash_on(fields, path, headers):
    with origins(3) as servers:
        with Gateway(config([node(one) for one in servers], type="chash", **fields)) as gateway:
            placed = collections.defaultdict(set)
            for n in range(90):
                key = n % 30
                ask_headers = [(name, value.format(key=key, n=n)) for name, value in headers]
                placed[key].add(ask(gateway, path.format(key=key, n=n), ask_headers))
            assert all(len(ports) == 1 for ports in placed.values())
            assert len({port for ports in placed.values() for port in ports}) == 3
            # Without the key: in turns.
            assert set(ask_many(gateway, 30).values()) == {10}


def test_places_keys_where_nginx_does():
    """A real nginx with `hash $uri consistent` over the same servers, weights too."""
    with origins(5) as servers:
        weights = [1, 2, 1, 3, 1]
        with Nginx([(one.port, weight) for one, weight in zip(servers, weights)]) as nginx:
            nodes = [node(one, weight) for one, weight in zip(servers, weights)]
            with Gateway(config(nodes, type="chash", key="uri")) as gateway:
                assert placement(gateway, 200) == placement(nginx, 200)


def test_a_bad_key_is_an_error_of_the_configuration():
    gateway = Gateway(config([], type="chash", key="remote_adr"), start=False)
    result = gateway.run("check")
    assert result.returncode == 1
    assert "upstreams[0].key: unknown variable" in result.stderr
    assert "did you mean remote_addr?" in result.stderr
    gateway.__exit__(None)


class Nginx:
    """A proxy over 127.0.0.1 ports that hashes the path."""

    def __init__(self, servers):
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="sluice-nginx-")
        lines = "".join(f"server 127.0.0.1:{port} weight={weight};" for port, weight in servers)
        path = os.path.join(self.directory.name, "nginx.conf")
        os.chmod(self.directory.name, 0o755)
        with open(path, "w") as file:
            file.write(f"""
worker_processes 1; daemon off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; proxy_temp_path {self.directory.name}; client_body_temp_path {self.directory.name};
  upstream backends {{ hash $uri consistent; {lines} }}
  server {{ listen 127.0.0.1:{self.port}; location / {{ proxy_pass http://backends; }} }}
}}
""")
        self.process = subprocess.Popen(["nginx", "-p", self.directory.name, "-c", path, "-e", "stderr"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        wait_for(lambda: accepts(self.port), "nginx to listen")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.directory.cleanup()


@pytest.mark.parametrize("kind", ["chash", "maglev"])
def test_a_bound_keeps_a_popular_key_from_filling_one_node(kind):
    """All requests have one key and stay: none of 4 nodes gets more than 1.25 of the fair share."""
    released = threading.Event()

    def hold(connection):
        connection.read_request()
        assert released.wait(30)
        connection.send(said(connection))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Origin(hold)) for _ in range(4)]
        wanted = config([node(one) for one in servers], type=kind, key="uri", hash_balance_factor=125)
        gateway = stack.enter_context(Gateway(wanted, workers=2))
        clients = []
        for number in range(40):  # one after the other, so that each is counted before the next
            client = stack.enter_context(RawClient(gateway.port))
            client.send(b"GET /celebrity HTTP/1.1\r\nHost: a\r\n\r\n")
            clients.append(client)
            wait_for(lambda: sum(len(one.requests) for one in servers) == number + 1, "its arrival")
        assert max(len(one.requests) for one in servers) <= 13
        assert min(len(one.requests) for one in servers) >= 1
        assert in_flight(gateway) == 40
        released.set()
        for client in clients:
            assert client.read_response().status == 200
        wait_until_idle(gateway)


# Weights, priorities, orders

def test_weight_zero_drains():
    """Nothing new, but what is under way there ends."""
    reached, released = threading.Event(), threading.Event()

    def hold(connection):
        while True:
            if connection.read_request().target == "/held":
                reached.set()
                assert released.wait(30)
            connection.send(said(connection))
    with Origin(hold) as leaving, Origin(tell_port) as staying:
        with Gateway(config([node(leaving), node(staying, 0)], type="least_conn")) as gateway:
            with RawClient(gateway.port) as client:
                client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                assert reached.wait(30)
                swapped = config([node(leaving, 0), node(staying)], type="least_conn")
                assert gateway.reload(swapped).returncode == 0
                assert ask_many(gateway, 20) == {staying.port: 20}
                assert nodes_of(gateway)[leaving.port]["in_flight"] == 1
                released.set()
                assert client.read_response().body == b"%d" % leaving.port
            wait_until_idle(gateway)


@pytest.mark.parametrize("kind", ["roundrobin", "least_conn", "chash", "ewma", "random", "maglev"])
def test_tiers_fail_over_and_back(kind):
    with origins(3) as (first, second, reserve):
        nodes = [node(first, priority=10), node(second, priority=10), node(reserve)]
        extra = {"key": "uri"} if kind in ("chash", "maglev") else {}
        with Gateway(config(nodes, type=kind, **extra), workers=2) as gateway:
            assert reserve.port not in ask_many(gateway, 60)
            order(gateway, "drain", first)
            assert set(ask_many(gateway, 20)) == {second.port}
            order(gateway, "down", second)
            assert set(ask_many(gateway, 20)) == {reserve.port}
            order(gateway, "up", first)
            assert set(ask_many(gateway, 20)) == {first.port}
            order(gateway, "up", second)
            both = set(ask_many(gateway, 60))
            # Of two nodes ewma may take the faster one only.
            assert both == {first.port, second.port} or kind == "ewma" and reserve.port not in both


def test_a_dead_tier_fails_over_by_retries():
    with origins(1) as (reserve,):
        nodes = [{"host": "127.0.0.1", "port": free_port(), "weight": 1, "priority": 1},
                 {"host": "127.0.0.1", "port": free_port(), "weight": 1, "priority": 1},
                 node(reserve)]
        with Gateway(config(nodes, type="roundrobin")) as gateway:
            assert ask_many(gateway, 10) == {reserve.port: 10}


def order(gateway, word, origin, upstream="u"):
    result = gateway.run("node", word, upstream, f"127.0.0.1:{origin.port}")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_orders_outlive_reload_worker_and_controller():
    with origins(2) as (a, b):
        wanted = config([node(a), node(b)], type="roundrobin")
        with Gateway(wanted, workers=2) as gateway:
            gateway.may_lose_workers = True
            assert order(gateway, "drain", a) == f"upstream/u 127.0.0.1:{a.port}: drain\n"
            assert ask_many(gateway, 20) == {b.port: 20}
            wanted["upstreams"][0]["nodes"][1]["weight"] = 3
            assert gateway.reload(wanted).returncode == 0
            assert ask_many(gateway, 20) == {b.port: 20}
            before = set(gateway.worker_pids())
            controller = gateway.controller_pid()
            for pid in [*before, controller]:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(set(gateway.worker_pids()) - before) == 2, "new workers")
            wait_for(lambda: gateway.role_pids("controller") not in ([], [controller]), "a new controller")
            wait_for(lambda: gateway.run("status").returncode == 0, "its answer")
            assert ask_many(gateway, 20) == {b.port: 20}
            assert nodes_of(gateway)[a.port]["state"] == "drain"
            order(gateway, "up", a)
            counts = ask_many(gateway, 40)  # each of two workers may be one off
            assert abs(counts[a.port] - 10) <= 2 and counts.total() == 40


def test_all_nodes_kept_away_is_503():
    with origins(2) as (a, b):
        with Gateway(config([node(a), node(b)])) as gateway:
            order(gateway, "down", a)
            order(gateway, "drain", b)
            with RawClient(gateway.port) as client:
                response = client.get("/")
                assert response.status == 503 and response.json()["reason"] == "no_healthy_node"


def test_orders_that_name_nothing_are_refused():
    with origins(1) as (a,):
        with Gateway(config([node(a)])) as gateway:
            result = gateway.run("node", "drain", "nobody", "127.0.0.1:1")
            assert result.returncode == 1
            assert 'there is no upstream "nobody"; there are upstream/u' in result.stderr
            result = gateway.run("node", "drain", "u", "127.0.0.1:1")
            assert result.returncode == 1
            assert f'no node "127.0.0.1:1"; it has 127.0.0.1:{a.port}' in result.stderr
            assert ask(gateway) == a.port


def test_status_for_people():
    with origins(2) as (a, b):
        with Gateway(config([node(a, 3), node(b, 1, -1)], type="least_conn", name="shop")) as gateway:
            ask_many(gateway, 40)
            text = gateway.run("status").stdout
            assert 'upstream/u "shop"  least_conn' in text
            (line,) = [line for line in text.split("\n") if f":{a.port}" in line]
            assert line.split()[1:5] == ["up", "3", "0", "0"]
            assert float(line.split()[5]) > 0


def test_a_name_has_its_addresses_as_nodes():
    with origins(1) as (a,):
        named = {"host": "localhost", "port": a.port, "weight": 2}
        with Gateway(config([named])) as gateway:
            assert ask(gateway) == a.port
            assert nodes_of(gateway)[a.port]["weight"] == 2


def test_the_example():
    with origins(2) as (a, b):
        wanted = example("balancing", {1980: a.port, 1981: b.port})
        for listed, origin in zip(wanted["upstreams"][-1]["nodes"], (a, b)):
            listed["port"] = origin.port
        with Gateway(wanted) as gateway:
            def ports(path, count=40, **fields):
                return collections.Counter(ask(gateway, path, **fields) for _ in range(count))
            assert ports("/turns") == {a.port: 30, b.port: 10}
            assert ports("/least-busy") == {a.port: 20, b.port: 20}
            assert len(ports("/by-user", headers=[("X-User", "alice")])) == 1
            assert len(ports("/by-address/x")) == 1
            assert sum(ports("/fast").values()) == sum(ports("/drawn").values()) == 40
            assert ports("/reserve") == {a.port: 40}


# Counts

@pytest.mark.parametrize("workers", [1, 2, 8])
def test_counts_return_to_zero(workers):
    """After load, clients that leave, reloads and the death of a worker."""
    released = threading.Event()

    def script(connection):
        while True:
            if connection.read_request().target == "/held" and not released.is_set():
                released.wait(30)
            connection.send(said(connection))
    with Origin(script) as a, Origin(script) as b:
        wanted = config([node(a), node(b)], type="least_conn")
        with Gateway(wanted, workers=workers) as gateway:
            gateway.may_lose_workers = True
            with Load(gateway.port, connections=8) as load:
                load.wait_for(100 if SANITIZED else 1000)
                for weight in (2, 3):
                    wanted["upstreams"][0]["nodes"][0]["weight"] = weight
                    assert gateway.reload(wanted).returncode == 0
                    load.wait_for(50)
            assert load.counts.harm == 0, load.counts
            wait_until_idle(gateway)

            held = []
            for _ in range(40):
                client = RawClient(gateway.port)
                client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                held.append(client)
            wait_for(lambda: in_flight(gateway) == 40, "40 requests to be held")
            for client in held[:20]:
                client.reset()
            wait_for(lambda: in_flight(gateway) == 20, "the clients that left to be forgotten")
            before = set(gateway.worker_pids())
            os.kill(gateway.worker_pids()[0], signal.SIGKILL)
            wait_for(lambda: len(set(gateway.worker_pids()) & before) == workers - 1
                     and len(gateway.worker_pids()) == workers, "a new worker")
            living = sum(is_open(client) for client in held[20:])
            assert living < 20 or workers == 8, "the dead worker held some"
            wait_for(lambda: in_flight(gateway) == living, "the dead worker's part to be taken out")
            released.set()
            wait_until_idle(gateway)
            for client in held:
                client.close()
            wait_for(lambda: accepts(gateway.port), "the port to answer")
            assert sum(ask_many(gateway, 20).values()) == 20
            wait_until_idle(gateway)


def is_open(client):
    """The gateway has neither answered nor closed."""
    return not select.select([client.socket], [], [], 0)[0]


def test_counts_are_right_with_http2_upstreams():
    """Streams that share a connection are counted one by one: held, answered and abandoned."""
    waiting = []

    def answer(connection, stream, headers):
        if dict(headers)[":path"] == "/held":
            waiting.append((connection, stream))
        else:
            connection.respond(stream, body=b"0")
    with H2Origin(answer) as origin:
        with Gateway(config([node(origin)], type="least_conn", scheme="h2c"), workers=2) as gateway:
            ask_many(gateway, 10)
            held = [RawClient(gateway.port) for _ in range(10)]
            for client in held:
                client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: in_flight(gateway) == 10 and len(waiting) == 10, "10 streams to be held")
            for client in held[:4]:
                client.reset()
            wait_for(lambda: in_flight(gateway) == 6, "what was abandoned to be forgotten")
            for connection, stream in waiting:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    connection.respond(stream, body=b"0")
            for client in held[4:]:
                assert client.read_response().status == 200
                client.close()
            wait_until_idle(gateway)


# What checks and ejection say

def fails_while(broken):
    def script(connection):
        while True:
            connection.read_request()
            connection.send(NAMED.replace(b"200 OK", b"500 Broken") % (1, b"x")
                            if broken.is_set() else said(connection))
    return script


EJECT = {"consecutive_errors": 2, "max_ejection_percent": 100, "base_ejection_time": 300,
         "max_ejection_time": 300}


def states(gateway):
    return {port: node["state"] for port, node in nodes_of(gateway).items()}


def test_panic_when_all_are_ejected():
    """Then each gets its share as if nothing were known; not who is kept away."""
    broken = threading.Event()
    broken.set()
    with contextlib.ExitStack() as stack:
        a, b, c = [stack.enter_context(Origin(fails_while(broken))) for _ in range(3)]
        nodes = [node(one) for one in (a, b, c)]
        gateway = stack.enter_context(Gateway(config(nodes, outlier_detection=EJECT)))
        order(gateway, "drain", c)
        with RawClient(gateway.port) as client:
            for _ in range(8):
                assert client.get("/").status == 500
        assert states(gateway) == {a.port: "ejected", b.port: "ejected", c.port: "drain"}
        broken.clear()
        assert ask_many(gateway, 20) == {a.port: 10, b.port: 10}


def test_a_tier_that_is_ejected_fails_over():
    broken = threading.Event()
    broken.set()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Origin(fails_while(broken)))
        reserve = stack.enter_context(Origin(tell_port))
        nodes = [node(first, priority=1), node(reserve)]
        gateway = stack.enter_context(Gateway(config(nodes, outlier_detection=EJECT), workers=2))
        with RawClient(gateway.port) as client:
            for _ in range(2):
                assert client.get("/").status == 500
        assert states(gateway) == {first.port: "ejected", reserve.port: "up"}
        assert ask_many(gateway, 20) == {reserve.port: 20}, "by both workers"
