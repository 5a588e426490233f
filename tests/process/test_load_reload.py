"""Changes and accidents while clients keep sending: only what must break may break."""
# ctest: serial
# ctest: timeout=300

import os
import signal
import threading

import pytest
import yaml

from support.gateway import Gateway, children, route, wait_for
from support.load import Load
from support.origin import OK, NginxOrigin, Origin
from support.raw import RawClient, exchange
from support.sockets import client_ports


@pytest.fixture(scope="module")
def nginx():
    with NginxOrigin() as server:
        yield server


def config_for(nginx, revision=0):
    """The load goes to /*; /only-N exists in revision N alone, and the number of routes changes."""
    routes = [route(nginx.port),
              {**route(nginx.port, uri=f"/only-{revision}"), "id": "only", "methods": ["PUT"]}]
    routes += [{**route(nginx.port, uri=f"/r{number}/*"), "id": f"r{number}"} for number in range(revision % 7)]
    routes[0]["methods"] = ["GET"]
    return {"routes": routes}


def serves(gateway, revision):
    return exchange(gateway.port, b"PUT /only-%d HTTP/1.1\r\nHost: a\r\n\r\n" % revision).status == 200


def test_200_reloads_under_load(nginx):
    with Gateway(config_for(nginx), workers=2) as gateway:
        with Load(gateway.port, path="/small") as load:
            for revision in range(1, 201):
                done = gateway.reload(config_for(nginx, revision))
                assert done.returncode == 0, done.stdout + done.stderr
                load.wait_for(5)
                if revision % 10 == 0:
                    # Applied means applied: by every worker when the command returns.
                    for _ in range(4):
                        assert serves(gateway, revision)
                        assert not serves(gateway, revision - 1)
        assert load.counts.harm == 0, load.counts
        assert load.counts.ok > 1000


def test_reload_signals_in_a_storm(nginx):
    with Gateway(config_for(nginx), workers=2) as gateway:
        with Load(gateway.port, path="/small") as load:
            for revision in range(1, 31):
                gateway.write_config(config_for(nginx, revision))
                gateway.signal(signal.SIGHUP)
            wait_for(lambda: serves(gateway, 30), "the last revision to be served")
            load.wait_for(100)
        assert load.counts.harm == 0, load.counts


@pytest.mark.parametrize("broken", [
    "routes: [",
    "routes:\n  - {id: r, uri: /*, upstreem: {}}\n",
    "routes: 7\n",
    "routes: [{id: r, uri: /*, upstream_id: none}]\n",
    "routes: []\nroutes: []\n",
], ids=["syntax", "unknown-field", "type", "reference", "duplicate-key"])
def test_broken_configuration_under_load_changes_nothing(nginx, broken):
    with Gateway(config_for(nginx, 1)) as gateway:
        with open(gateway.config_path) as file:
            document = yaml.safe_load(file)
        process = yaml.safe_dump({"gateway": document["gateway"]})
        with Load(gateway.port, path="/small") as load:
            for _ in range(3):
                done = gateway.reload(process + broken)
                assert done.returncode == 1, done.stdout + done.stderr
                assert "sluice.yaml:" in done.stdout + done.stderr
                load.wait_for(50)
                assert serves(gateway, 1)
            done = gateway.reload(config_for(nginx, 2))
            assert done.returncode == 0, done.stdout + done.stderr
            assert serves(gateway, 2)
        assert load.counts.harm == 0, load.counts


def test_requests_in_flight_end_on_the_revision_they_began_with():
    go_on = threading.Event()

    def script(connection):
        while True:
            connection.read_request()
            assert go_on.wait(30)
            connection.send(OK)
    with Origin(script) as old, Origin() as new:
        with Gateway({"routes": [route(old.port)]}) as gateway, RawClient(gateway.port) as client:
            client.send(b"GET /in-flight HTTP/1.1\r\nHost: a\r\n\r\n")
            old.wait_for_requests(1)
            done = gateway.reload({"routes": [route(new.port)]})
            assert done.returncode == 0, done.stdout + done.stderr
            assert exchange(gateway.port, b"GET /new HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
            go_on.set()
            assert client.read_response().body == b"ok"
            assert client.get("/next").status == 200
        assert [request.target for request in new.requests] == ["/new", "/next"]


def test_pools_survive_a_reload(origin):
    with Gateway({"routes": [route(origin.port)]}) as gateway, RawClient(gateway.port) as client:
        for number in range(10):
            assert client.get().status == 200
            extra = {**route(origin.port, uri=f"/x{number}"), "id": "x"}
            assert gateway.reload({"routes": [route(origin.port), extra]}).returncode == 0
        assert len(origin.connections) == 1


def test_row154_killed_worker_takes_only_its_own_connections(nginx):
    with Gateway(config_for(nginx), workers=2) as gateway:
        gateway.may_lose_workers = True
        with Load(gateway.port, connections=32, path="/small", reconnect=False) as load:
            load.wait_for(200)
            first, second = gateway.worker_pids()
            wait_for(lambda: len(client_ports(first, gateway.port)) + len(client_ports(second, gateway.port)) == 32,
                     "all connections to be held by the two workers")
            doomed = client_ports(first, gateway.port)
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: len(gateway.worker_pids()) == 2 and first not in gateway.worker_pids(),
                     "a new worker")
            load.wait_for(200)
            # The new worker serves: connections spread over both sockets are all answered.
            for _ in range(20):
                assert exchange(gateway.port, b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
        assert load.lost_ports == doomed
        assert load.counts.refused == 0 and load.counts.bad_status == 0, load.counts
        # What comes later is served by the configuration that was in force.
        assert gateway.reload(config_for(nginx, 3)).returncode == 0
        for _ in range(8):
            assert serves(gateway, 3)


def test_row154_connections_made_while_a_worker_is_dead_are_served(nginx):
    """The queue of its socket is kept by master: nobody is refused, whoever waited is answered."""
    with Gateway(config_for(nginx), workers=2) as gateway:
        gateway.may_lose_workers = True
        for _ in range(3):
            victim = gateway.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            clients = [RawClient(gateway.port).send(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(20)]
            for client in clients:
                assert client.read_response().status == 200
                client.close()
            wait_for(lambda: len(gateway.worker_pids()) == 2 and victim not in gateway.worker_pids(), "two workers")


def test_killed_controller_harms_nobody(nginx):
    with Gateway(config_for(nginx), workers=2) as gateway:
        with Load(gateway.port, path="/small") as load:
            load.wait_for(100)
            victim = gateway.controller_pid()
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: gateway.role_pids("controller") not in ([], [victim]), "a new controller")
            load.wait_for(100)

            def reloaded():
                return gateway.reload(config_for(nginx, 5)).returncode == 0
            wait_for(reloaded, "the new controller to reload")
            assert serves(gateway, 5)
        assert load.counts.harm == 0, load.counts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_ending_under_load_loses_no_request(nginx, number):
    """Every request that was sent is answered; the last answer on a connection announces the close."""
    gateway = Gateway(config_for(nginx), workers=2)
    with gateway:
        load = Load(gateway.port, path="/small", reconnect=False)
        with load:
            load.wait_for(200)
            gateway.signal(number)
            assert gateway.process.wait(timeout=30) == 0
        assert load.counts.harm == 0, load.counts
        assert load.counts.announced == load.number
        gateway.check_log()
        gateway.process = None


def test_ending_waits_for_requests_in_flight(origin):
    go_on = threading.Event()

    def script(connection):
        connection.read_request()
        assert go_on.wait(30)
        connection.send(OK)
        connection.wait_for_close()
    origin.script = script
    with Gateway({"routes": [route(origin.port)]}) as gateway, RawClient(gateway.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        origin.wait_for_requests(1)
        idle = RawClient(gateway.port)
        gateway.signal(signal.SIGTERM)
        idle.expect_close()  # so the worker is draining
        assert children(gateway.pid), "the master waits"
        go_on.set()
        response = client.read_response()
        assert (response.body, response.value("Connection")) == (b"ok", "close")
        client.expect_close()
        assert gateway.process.wait(timeout=30) == 0
        gateway.check_log()
        gateway.process = None
