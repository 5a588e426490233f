"""Active and passive checks: which nodes get requests, who asks them, and what survives."""
# ctest: timeout=300

import contextlib
import os
import signal
import threading

import pytest

from support.gateway import Gateway, children, example, free_port, route, wait_for
from support.origin import OK, Origin
from support.raw import RawClient
from support.tls import Authority, TlsOrigin

NEVER = 86400  # an interval: no probe comes within a test
QUICK = {"interval": 1, "successes": 1}
FAST = {"interval": 1, "http_failures": 1, "tcp_failures": 1, "timeouts": 1}


def answer(status):
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 2\r\n\r\nok" % status


class CheckedOrigin(Origin):
    """Answers /health with `health` and all else with `status`; counts both."""

    def __init__(self, health=200, status=200, **arguments):
        self.health, self.status = health, status
        super().__init__(self._serve, **arguments)

    def _serve(self, connection):
        while True:
            request = connection.read_request()
            connection.send(answer(self.health if request.target == "/health" else self.status))

    @property
    def probes(self):
        with self.lock:
            return [request for request in self.requests if request.target == "/health"]

    @property
    def served(self):
        with self.lock:
            return sum(1 for request in self.requests if request.target != "/health")

    def wait_for_probes(self, more):
        """Until so many more have been answered."""
        goal = len(self.probes) + more
        wait_for(lambda: len(self.probes) >= goal, f"{more} more probes")


def active(**fields):
    return {"http_path": "/health", "healthy": QUICK, "unhealthy": FAST, **fields}


def config(*ports, passive=None, gateway=None, **check):
    checks = {"active": active(**check), **({"passive": passive} if passive else {})}
    return {"routes": [route(*ports, upstream={"checks": checks})], **({"gateway": gateway} if gateway else {})}


def wait_for_log(gateway, *parts, count=1):
    """Until so many lines have all the parts."""
    def lines():
        return [line for line in gateway.log.splitlines() if all(part in line for part in parts)]
    return wait_for(lambda: len(found := lines()) >= count and found, f"{count} lines with {parts}")


def node(origin):
    return f"node=127.0.0.1:{origin.port} "


def wait_until_down(gateway, origin, count=1):
    return wait_for_log(gateway, "node is unhealthy", node(origin), count=count)


def wait_until_up(gateway, origin, count=1):
    return wait_for_log(gateway, "node is healthy again", node(origin), count=count)


def get(gateway):
    """The status of a request on a connection of its own."""
    with RawClient(gateway.port) as client:
        return client.get("/").status


def assert_unused(gateway, origin):
    before = origin.served
    for _ in range(20):
        assert get(gateway) == 200
    assert origin.served == before


def assert_avoided(gateway, origin):
    """Once the workers have looked again, nothing goes there."""
    def avoided():
        before = origin.served
        for _ in range(8):
            assert get(gateway) == 200
        return origin.served == before
    wait_for(avoided, "requests to go elsewhere")
    assert_unused(gateway, origin)


def wait_until_used(gateway, origin):
    def used():
        get(gateway)
        return origin.served > 0
    wait_for(used, "a request to come")


@pytest.fixture
def pair():
    with CheckedOrigin() as good, CheckedOrigin() as other:
        yield good, other


@contextlib.contextmanager
def gateway_that_knows(pair):
    """Two workers, where the second of the two origins has been found unhealthy, and still is."""
    good, sick = pair
    sick.health = 500
    with Gateway(config(good.port, sick.port), workers=2) as gateway:
        wait_until_down(gateway, sick)
        yield gateway


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_that_fails_its_checks_gets_no_requests_until_it_passes_them(pair, workers):
    good, sick = pair
    sick.health = 500
    with Gateway(config(good.port, sick.port), workers=workers) as gateway:
        (line,) = wait_until_down(gateway, sick)
        assert "check=active reason=http_failure status=500" in line and "upstream=route/r " in line
        assert_avoided(gateway, sick)
        (row,) = [row for row in gateway.run("status").stdout.splitlines() if f":{sick.port} " in row]
        assert " unhealthy " in row and "http_failure 500" in row
        sick.requests.clear()
        sick.health = 200
        wait_until_up(gateway, sick)
        wait_until_used(gateway, sick)
        assert "controller" in line
        assert " unhealthy " not in gateway.run("status").stdout


def test_below_the_wanted_share_of_healthy_nodes_all_are_used(pair):
    good, sick = pair
    sick.health = 500
    enough = config(good.port, sick.port)
    too_few = config(good.port, sick.port)
    enough["routes"][0]["upstream"]["healthy_panic_threshold"] = 50
    too_few["routes"][0]["upstream"]["healthy_panic_threshold"] = 51
    with Gateway(enough) as gateway:
        wait_until_down(gateway, sick)
        assert_avoided(gateway, sick)
        assert gateway.reload(too_few).returncode == 0
        sick.requests.clear()
        wait_until_used(gateway, sick)
        assert gateway.reload(enough).returncode == 0
        assert_avoided(gateway, sick)


def test_when_all_nodes_are_unhealthy_all_are_used(pair):
    for origin in pair:
        origin.health = 500
    with Gateway(config(*(origin.port for origin in pair))) as gateway:
        for origin in pair:
            wait_until_down(gateway, origin)
        for origin in pair:
            wait_until_used(gateway, origin)
        assert {get(gateway) for _ in range(10)} == {200}


def test_a_status_of_neither_list_says_nothing(pair):
    good, other = pair
    other.health = 418
    with Gateway(config(good.port, other.port)) as gateway:
        other.wait_for_probes(3)
        wait_until_used(gateway, other)
        assert "node is unhealthy" not in gateway.log


def test_it_takes_so_many_failures_in_a_row(pair):
    good, sick = pair
    replies = [500, 500, 200, 500, 500, 500]
    def script(connection):
        while True:
            request = connection.read_request()
            probe = request.target == "/health"
            connection.send(answer(replies[min(len(sick.probes), len(replies)) - 1] if probe else 200))
    sick.script = script
    with Gateway(config(good.port, sick.port, unhealthy={"interval": 1, "http_failures": 3})) as gateway:
        wait_until_down(gateway, sick)
        assert len(sick.probes) == len(replies)


def test_tcp_checks(origin):
    port = free_port()
    check = {"type": "tcp"}
    with Gateway(config(origin.port, port, **check)) as gateway:
        (line,) = wait_for_log(gateway, "node is unhealthy", f"node=127.0.0.1:{port} ")
        assert "reason=tcp_failure" in line and "refused" in line
        def one_attempt_each():
            before = len(gateway.access_log())
            for _ in range(8):
                assert get(gateway) == 200
            return all(record["attempts"] == 1 for record in gateway.wait_for_access(before + 8)[before:])
        wait_for(one_attempt_each, "the dead node to be left out")
        with CheckedOrigin(port=port) as back:
            wait_until_up(gateway, back)
            wait_until_used(gateway, back)


def test_https_checks_verify_the_certificate(origin):
    with Authority() as authority, Authority("Other CA") as other:
        authority.issue("a.test")
        other.issue("a.test")
        with TlsOrigin(authority.server("a.test"), lambda c: (c.read_request(), c.send(OK))) as good, \
                TlsOrigin(other.server("a.test")) as wrong:
            upstream = {"tls": {"ca": authority.read("ca.pem")},
                        "checks": {"active": active(type="https", host="a.test")}}
            with Gateway({"routes": [route(good.port, wrong.port, upstream=upstream)]}) as gateway:
                (line,) = wait_until_down(gateway, wrong)
                assert "reason=tcp_failure" in line and "certificate" in line
                good.wait_for_requests(2)
                assert set(good.names) == {"a.test"}
                assert node(good) not in "".join(wait_until_down(gateway, wrong))
                # Without verification it passes, also in a reload.
                upstream["checks"]["active"]["https_verify_certificate"] = False
                wrong.script = good.script
                gateway.reload({"routes": [route(good.port, wrong.port, upstream=upstream)]})
                wait_until_up(gateway, wrong)


def test_a_probe_has_a_time_limit():
    with Origin(lambda connection: connection.wait_for_close()) as silent, CheckedOrigin() as good:
        with Gateway(config(good.port, silent.port, timeout=0.2)) as gateway:
            (line,) = wait_until_down(gateway, silent)
            assert "reason=timeout" in line


@pytest.mark.parametrize("reply, reason", [
    (b"nonsense\r\n\r\n", "http_failure"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "http_failure"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "http_failure"),
    (b"HTTP/1.1 2", "tcp_failure"),
    (b"", "tcp_failure"),
], ids=["nonsense", "huge_head", "informational_flood", "cut", "nothing"])
def test_what_is_no_response_is_a_failure(reply, reason):
    def script(connection):
        connection.read_request()
        connection.send(reply)
        connection.finish_sending()
        connection.wait_for_close()
    with Origin(script) as bad, CheckedOrigin() as good:
        with Gateway(config(good.port, bad.port)) as gateway:
            (line,) = wait_until_down(gateway, bad)
            assert f"reason={reason}" in line


def test_informational_responses_are_passed_over():
    def script(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(500))
    with Origin(script) as bad:
        with Gateway(config(bad.port)) as gateway:
            (line,) = wait_until_down(gateway, bad)
            assert "status=500" in line


def test_the_request_of_a_probe():
    with CheckedOrigin() as health, Origin() as origin:
        check = {"http_method": "POST", "http_path": "/health", "http_req_body": "are you\nwell?",
                 "req_headers": ["User-Agent: checker", "X-Two:  b "], "host": "health.test", "port": health.port}
        with Gateway(config(origin.port, **check)) as gateway:
            health.wait_for_probes(1)
            assert get(gateway) == 200
        probe = health.probes[0]
        assert (probe.method, probe.version, probe.body) == ("POST", "HTTP/1.1", b"are you\nwell?")
        assert probe.value("Host") == "health.test"
        assert probe.value("User-Agent") == "checker"
        assert probe.value("X-Two") == "b"
        assert probe.value("Connection") == "close"
        assert len(origin.requests) == 1


def test_probes_name_the_node_unless_told_otherwise():
    with CheckedOrigin() as one, CheckedOrigin() as two:
        upstream = {"checks": {"active": active()}}
        rewritten = {**upstream, "pass_host": "rewrite", "upstream_host": "app.test"}
        routes = [route(one.port, upstream=upstream),
                  {**route(two.port, uri="/two", upstream=rewritten), "id": "two"}]
        with Gateway({"routes": routes}):
            one.wait_for_probes(1)
            two.wait_for_probes(1)
    assert one.probes[0].value("Host") == f"127.0.0.1:{one.port}"
    assert two.probes[0].value("Host") == "app.test"


def test_nodes_that_expect_a_proxy_header_get_one():
    lines = []
    def script(connection):
        lines.append(connection._line())
        assert connection.read_request().target == "/health"
        connection.send(OK)
    with Origin(script) as origin:
        upstream = {"proxy_protocol": "v1", "checks": {"active": active()}}
        with Gateway({"routes": [route(origin.port, upstream=upstream)]}) as gateway:
            origin.wait_for_requests(2)
            assert "node is unhealthy" not in gateway.log
    assert set(lines) == {b"PROXY UNKNOWN"}


def test_names_of_nodes_are_resolved():
    with CheckedOrigin(health=500) as sick:
        upstream = {"nodes": {f"localhost:{sick.port}": 1}, "checks": {"active": active()}}
        with Gateway({"routes": [route(upstream=upstream)]}) as gateway:
            wait_until_down(gateway, sick)


def owner_of(gateway, port):
    """The process of the gateway that has the TCP socket with this local port."""
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table][1:]
    inodes = {row[9] for row in rows if int(row[1].split(":")[1], 16) == port} - {"0"}
    for pid in [gateway.pid, *children(gateway.pid)]:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") in {f"socket:[{inode}]" for inode in inodes}:
                    return pid
            except FileNotFoundError:
                pass
    return None


def test_only_the_controller_probes():
    """However many workers there are: each probe is looked up while it waits for its answer."""
    probers, ports = [], []
    looked = threading.Semaphore(0)
    def script(connection):
        connection.read_request()
        ports.append(connection.socket.getpeername()[1])
        assert looked.acquire(timeout=20)
        connection.send(OK)
    with Origin(script) as origin:
        with Gateway(config(origin.port, timeout=30), workers=2) as gateway:
            for number in range(1, 4):
                wait_for(lambda: len(ports) >= number, "a probe")
                assert len(ports) == number  # never two at once
                probers.append(owner_of(gateway, ports[-1]))
                looked.release()
            assert set(probers) == {gateway.controller_pid()}


def test_no_more_probes_at_once_than_concurrency_says():
    lock, counts = threading.Lock(), {"now": 0, "most": 0, "all": 0}
    def script(connection):
        connection.read_request()
        with lock:
            counts["now"] += 1
            counts["all"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        with lock:
            counts["now"] -= 1
        connection.send(OK)
    with Origin(script) as one, Origin(script) as two, Origin(script) as three:
        with Gateway(config(one.port, two.port, three.port, concurrency=1)):
            for origin in (one, two, three):
                origin.wait_for_requests(2)
    assert counts["most"] == 1


def test_without_checks_nobody_is_asked(pair):
    good, other = pair
    routes = [route(good.port, upstream={"checks": {"active": active()}}),
              {**route(other.port, uri="/other"), "id": "other"}]
    with Gateway({"routes": routes}):
        good.wait_for_probes(3)
    assert not other.requests


PASSIVE = {"unhealthy": {"http_failures": 20, "http_statuses": [503]}}


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_that_workers_see_add_up(pair, workers):
    good, sick = pair
    sick.status = 503
    check = {"healthy": {"interval": NEVER}, "unhealthy": {"interval": NEVER}}
    with Gateway(config(good.port, sick.port, passive=PASSIVE, **check), workers=workers) as gateway:
        statuses = [get(gateway) for _ in range(30)]
        assert 200 in statuses and 503 in statuses
        assert "node is unhealthy" not in gateway.log  # 15 failures at most... of 20
        def is_down():
            get(gateway)
            return "node is unhealthy" in gateway.log
        wait_for(is_down, "the node to be found unhealthy")
        (line,) = wait_until_down(gateway, sick)
        assert "check=passive reason=http_failure status=503" in line and "worker-" in line
        assert_avoided(gateway, sick)


def test_passive_checks_count_what_never_answers(origin):
    check = {"healthy": {"interval": NEVER}, "unhealthy": {"interval": NEVER}}
    port = free_port()
    with Gateway(config(origin.port, port, passive={"unhealthy": {"tcp_failures": 3}}, **check)) as gateway:
        def is_down():
            assert get(gateway) == 200
            return "node is unhealthy" in gateway.log
        wait_for(is_down, "the node to be found unhealthy")
        (line,) = wait_for_log(gateway, "node is unhealthy", f"node=127.0.0.1:{port} ")
        assert "check=passive reason=tcp_failure" in line and "connect_refused" in line


def test_an_active_check_brings_back_what_a_passive_one_took_out(pair):
    good, sick = pair
    sick.status = 503
    passive = {"unhealthy": {"http_failures": 1, "http_statuses": [503]}}
    check = {"healthy": {"interval": NEVER, "successes": 1}}
    with Gateway(config(good.port, sick.port, passive=passive, **check)) as gateway:
        def is_down():
            get(gateway)
            return "node is unhealthy" in gateway.log
        wait_for(is_down, "the node to be found unhealthy")
        sick.status = 200
        wait_until_up(gateway, sick)
        sick.requests.clear()
        wait_until_used(gateway, sick)


def test_the_end_of_the_controller_changes_nothing(pair):
    _, sick = pair
    with gateway_that_knows(pair) as gateway:
        assert_avoided(gateway, sick)
        first = gateway.controller_pid()
        os.kill(first, signal.SIGKILL)
        assert_unused(gateway, sick)
        wait_for(lambda: first not in (now := gateway.role_pids("controller")) and now, "another controller")
        sick.wait_for_probes(2)
        assert_avoided(gateway, sick)
        assert len(wait_until_down(gateway, sick)) == 1
        sick.requests.clear()
        sick.health = 200
        wait_until_up(gateway, sick)
        wait_until_used(gateway, sick)


def test_health_survives_the_workers(pair):
    _, sick = pair
    with gateway_that_knows(pair) as gateway:
        gateway.may_lose_workers = True
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        gone = set(gateway.first_workers)
        wait_for(lambda: len(set(gateway.worker_pids()) - gone) == 2, "other workers")
        wait_for_log(gateway, "node is unhealthy")
        assert_unused(gateway, sick)


def test_a_reload_of_something_else_keeps_health(pair):
    good, sick = pair
    sick.health = 500
    check = {"unhealthy": {**FAST, "interval": NEVER}}  # once down nobody asks again
    first = config(good.port, sick.port, **check)
    with Gateway(first, workers=2) as gateway:
        wait_until_down(gateway, sick)
        probes = len(sick.probes)
        second = {"routes": [*first["routes"], {**route(good.port, uri="/more"), "id": "more"}]}
        assert gateway.reload(second).returncode == 0
        good.wait_for_probes(2)  # the other node is still asked
        assert_avoided(gateway, sick)
        assert len(sick.probes) == probes
        assert "healthy again" not in gateway.log


def test_a_reload_without_checks_forgets_what_they_found(pair):
    good, sick = pair
    with gateway_that_knows(pair) as gateway:
        sick.requests.clear()
        assert gateway.reload({"routes": [route(good.port, sick.port)]}).returncode == 0
        wait_until_used(gateway, sick)
        # When they return, the node begins as a healthy one.
        assert gateway.reload(config(good.port, sick.port)).returncode == 0
        wait_until_down(gateway, sick, count=2)


def test_a_reload_may_change_the_checks(pair):
    good, sick = pair
    check = {"healthy": {"interval": NEVER}}
    with Gateway(config(good.port, sick.port, **check)) as gateway:
        sick.health = 500
        assert gateway.reload(config(good.port, sick.port)).returncode == 0
        wait_until_down(gateway, sick)


# Ejection of outliers

def outlier_config(*ports, **fields):
    outliers = {"consecutive_errors": 3, "max_ejection_percent": 50, "base_ejection_time": "60s", **fields}
    return {"routes": [route(*ports, upstream={"outlier_detection": outliers})]}


def get_until_ejected(gateway, count=1):
    def is_ejected():
        get(gateway)
        return gateway.log.count("node is ejected") >= count
    wait_for(is_ejected, "the node to be ejected")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_that_fails_in_a_row_is_ejected(pair, workers):
    good, sick = pair
    sick.status = 500
    with Gateway(outlier_config(good.port, sick.port), workers=workers) as gateway:
        get_until_ejected(gateway)
        (line,) = wait_for_log(gateway, "node is ejected", node(sick))
        assert "reason=consecutive_errors" in line and "times=1" in line
        assert_avoided(gateway, sick)
        # It lasts: not for the processes that saw it only.
        gateway.may_lose_workers = True
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        gone = set(gateway.first_workers)
        wait_for(lambda: len(set(gateway.worker_pids()) - gone) == workers, "other workers")
        assert_avoided(gateway, sick)


def test_an_ejected_node_returns(pair):
    good, sick = pair
    sick.status = 500
    with Gateway(outlier_config(good.port, sick.port, base_ejection_time="500ms")) as gateway:
        get_until_ejected(gateway)
        sick.requests.clear()
        sick.status = 200
        wait_until_used(gateway, sick)


def test_no_more_than_their_share_is_ejected(pair):
    for origin in pair:
        origin.status = 500
    with Gateway(outlier_config(*(origin.port for origin in pair))) as gateway:
        get_until_ejected(gateway)
        for _ in range(20):
            assert get(gateway) == 500  # by the node that is left
        assert gateway.log.count("node is ejected") == 1


def test_a_check_that_is_passed_ends_an_ejection(pair):
    good, sick = pair
    sick.status = 500
    upstream = {"outlier_detection": {"consecutive_errors": 3, "max_ejection_percent": 50},
                "checks": {"active": active()}}
    with Gateway({"routes": [route(good.port, sick.port, upstream=upstream)]}) as gateway:
        get_until_ejected(gateway)
        wait_for_log(gateway, "not ejected any more", f"node=127.0.0.1:{sick.port}")
        sick.requests.clear()
        wait_until_used(gateway, sick)


def test_shipped_example(pair):
    good, sick = pair
    sick.health = 503
    with CheckedOrigin(status=500) as third:
        shipped = example("health", {1980: good.port, 1981: sick.port, 1982: third.port})
        shipped["gateway"] = {}
        with Gateway(shipped, workers=2) as gateway:
            def status(path):
                with RawClient(gateway.port) as client:
                    return client.get(path).status
            (line,) = wait_until_down(gateway, sick)
            assert "upstream=upstream/checked " in line
            assert {status("/checked/") for _ in range(10)} == {200}
            wait_for(lambda: status("/ejecting/") and "node is ejected" in gateway.log, "an ejection")
            assert node(third) in wait_for_log(gateway, "node is ejected")[0]
            assert {status("/ejecting/") for _ in range(10)} == {200}
