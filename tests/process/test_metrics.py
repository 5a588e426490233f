"""The metrics endpoint: what is counted is exact, also over reloads and deaths; it cannot be harmed."""
# ctest: timeout=300

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
import yaml

from support.gateway import TOP, Gateway, free_port, rss_bytes, upstream, wait_for
from support.load import Load
from support.metrics import PAGES, Metrics, assert_nothing_fell, scrape
from support.origin import OK, Origin, serve
from support.raw import RawClient
from support.tls import Authority, TlsClient

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS = "sluice_http_requests_total"


def route(name, port, plugins=None, **fields):
    return {"id": name, "uri": f"/{name}", "upstream": upstream(port),
            "plugins": {"prometheus": {}} if plugins is None else plugins, **fields}


class Measured(Gateway):
    """A gateway with metrics on a port of their own."""

    def __init__(self, config, workers=2, metrics=None, **arguments):
        self.metrics_port = free_port()
        self.metrics = {"address": f"127.0.0.1:{self.metrics_port}", **(metrics or {})}
        super().__init__(self.measured(config), workers=workers, **arguments)

    def measured(self, config):
        return {**config, "gateway": {"metrics": self.metrics, **config.get("gateway", {})}}

    def scrape(self):
        return scrape(self.metrics_port)

    def get(self, path, count=1):
        """Each over a connection of its own, so that all workers get some; the bytes that were
        exchanged."""
        sent = received = 0
        for _ in range(count):
            with RawClient(self.port) as client:
                request = GET % path.encode()
                client.send(request)
                before = client.read_head()
                body = client.read_exactly(int(before.value("Content-Length")))
                sent += len(request)
                received += len(body)
        return sent, received

    def restart_worker(self):
        """Kills one and waits until it is back."""
        self.may_lose_workers = True
        victim = self.worker_pids()[0]
        count = self.log.count(" back name=worker")
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: self.log.count(" back name=worker") > count, "the worker's successor")

    def restart_controller(self):
        victim = self.controller_pid()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: [p for p in self.role_pids("controller") if p != victim],
                 "the controller's successor")


@pytest.fixture
def origin():
    with Origin() as server:
        yield server


def two_routes(origin, **fields):
    return {"routes": [route("a", origin.port), route("b", origin.port, plugins={})], **fields}


def test_counts_are_exact(origin):
    with Measured(two_routes(origin)) as gateway:
        sent, _ = gateway.get("/a", 40)
        gateway.get("/b", 10)
        gateway.get("/none", 5)
        metrics = gateway.scrape()
        assert metrics.value(REQUESTS) == 55
        assert metrics.value(REQUESTS, route="a", code="200") == 40
        assert metrics.value(REQUESTS, route="", code="200") == 10
        assert metrics.value(REQUESTS, route="", code="404") == 5
        assert metrics.value("sluice_http_bytes_total", route="a", direction="received") == sent
        for name, count in [("request", 40), ("upstream", 40), ("overhead", 40)]:
            family = f"sluice_http_{name}_duration_seconds"
            assert metrics.value(family + "_count", route="a") == count
            assert metrics.value(family + "_bucket", route="a", le="+Inf") == count
            assert 0 <= metrics.value(family + "_sum", route="a") < 60
        assert metrics.value("sluice_http_upstream_duration_seconds_count", route="") == 10
        assert metrics.value("sluice_http_overhead_duration_seconds_count", route="") == 15
        assert metrics.value("sluice_http_requests_ended_total", reason="ok") == 50
        assert metrics.value("sluice_http_requests_ended_total", reason="no_route") == 5
        assert metrics.value("sluice_upstream_attempts_total") == 50
        assert metrics.value("sluice_connections_accepted_total") == 55
        assert metrics.value("sluice_http_requests_in_flight") == 0
        assert metrics.value("sluice_workers") == 2
        assert metrics.value("sluice_config_revision") == 1
        assert metrics.value("sluice_upstream_node_up") == 2
        assert metrics.value("sluice_upstream_nodes", state="up") == 2


def test_latency_is_split(origin):
    def slow(connection):
        connection.read_request()
        threading.Event().wait(0.3)  # what is measured
        connection.send(OK)
    with Origin(slow) as late:
        delay = {"prometheus": {}, "fault-injection": {"delay": {"duration": 0.2}}}
        with Measured({"routes": [route("slow", late.port),
                                  route("held", origin.port, delay)]}) as gateway:
            gateway.get("/slow")
            gateway.get("/held")
            metrics = gateway.scrape()

    def total(name, of):
        return metrics.value(f"sluice_http_{name}_duration_seconds_sum", route=of)
    # Timers count whole milliseconds.
    assert total("upstream", "slow") >= 0.29 and total("overhead", "held") >= 0.19
    assert total("upstream", "slow") > total("overhead", "slow")
    assert total("overhead", "held") > total("upstream", "held")
    for of in ("slow", "held"):
        parts = total("upstream", of) + total("overhead", of)
        assert abs(parts - total("request", of)) < 1e-6
    assert metrics.value("sluice_http_upstream_duration_seconds_bucket", route="slow", le="0.2") == 0
    assert metrics.value("apisix_http_latency_bucket", route="slow", type="upstream", le="200") == 0
    assert metrics.value("apisix_http_latency_sum", route="slow", type="upstream") >= 300


def test_nothing_is_lost_by_reloads_and_deaths(origin):
    with Measured(two_routes(origin)) as gateway:
        gateway.get("/a", 20)
        before = gateway.scrape()
        steps = [lambda: gateway.restart_worker(),
                 lambda: gateway.reload(gateway.measured(two_routes(origin, upstreams=[
                     {"id": "more", **upstream(origin.port)}]))),
                 lambda: gateway.restart_controller(),
                 lambda: gateway.restart_worker()]
        for done, step in enumerate(steps, start=1):
            step()
            gateway.get("/a", 7)
            after = gateway.scrape()
            assert_nothing_fell(before, after)
            assert after.value(REQUESTS, route="a", code="200") == 20 + 7 * done
            before = after
        assert before.value("sluice_process_restarts_total", role="worker") == 2
        assert before.value("sluice_process_restarts_total", role="controller") == 1
        assert before.value("sluice_config_reloads_total", result="committed") == 1
        assert before.value("sluice_config_revision") == 2
        assert before.value("sluice_config_last_reload_timestamp_seconds") > 1.7e9
        assert before.value("sluice_log_lines_total", level="error") >= 3


def test_refused_reloads_are_counted(origin):
    with Measured(two_routes(origin)) as gateway:
        assert gateway.reload({**gateway.measured(two_routes(origin)), "routes": 7}).returncode == 1
        # Once by the command, and perhaps once more because the file has changed.
        assert gateway.scrape().value("sluice_config_reloads_total", result="refused") in (1, 2)


def test_removed_routes_are_not_forgotten(origin):
    with Measured(two_routes(origin), metrics={"max_routes": 2}) as gateway:
        gateway.get("/a", 3)
        # More routes, one generation after the other, than there are rows: old ones are given up.
        for generation in range(4):
            names = [f"g{generation}{letter}" for letter in "xy"]
            routes = [route(name, origin.port) for name in names]
            before = gateway.scrape()
            assert gateway.reload(gateway.measured({"routes": routes})).returncode == 0
            for name in names:
                gateway.get(f"/{name}", 2)
            after = gateway.scrape()
            assert after.value(REQUESTS) == before.value(REQUESTS) + 4
            assert all(after.value(REQUESTS, route=name) == 2 for name in names)
        assert after.value(REQUESTS, route="other") > 0
        assert len(after.labels(REQUESTS, "route")) <= 8


def test_series_are_capped(origin):
    routes = [route(f"r{i}", origin.port) for i in range(6)]
    with Measured({"routes": routes}, metrics={"max_routes": 2}) as gateway:
        for i in range(6):
            gateway.get(f"/r{i}", i + 1)
        metrics = gateway.scrape()
        counts = {name: metrics.value(REQUESTS, route=name)
                  for name in metrics.labels(REQUESTS, "route")}
        assert counts == {"r0": 1, "r1": 2, "other": 3 + 4 + 5 + 6}


def test_names_services_and_labels_of_apisix(origin):
    config = {
        "services": [{"id": "s1", "name": "shop", "plugins": {"prometheus": {"prefer_name": True}},
                      **{"upstream": upstream(origin.port)}}],
        "routes": [{"id": "1", "name": "cart", "uri": "/cart", "service_id": "s1"},
                   {"id": "2", "name": "cart", "uri": "/basket", "service_id": "s1"},
                   {"id": "3", "uri": "/other", "host": "x", "upstream": upstream(origin.port),
                    "plugins": {"prometheus": {}}}],
        "plugin_metadata": [{"id": "prometheus",
                             "disabled_labels": {"http_status": ["matched_uri", "node"],
                                                 "bandwidth": ["route"]}}]}
    with Measured(config) as gateway:
        gateway.get("/cart", 2)
        gateway.get("/basket", 3)
        gateway.get("/other", 4)
        metrics = gateway.scrape()
        assert metrics.value(REQUESTS, route="cart", service="shop") == 5
        assert metrics.value(REQUESTS, route="3", service="") == 4
        assert metrics.value("apisix_http_status", code="200", route="cart", service="shop",
                             matched_uri="", matched_host="", consumer="", node="") == 5
        assert metrics.value("apisix_http_status", route="3", matched_host="x") == 4
        assert metrics.labels("apisix_bandwidth", "route") == {""}
        assert metrics.value("apisix_bandwidth", type="egress", service="shop") > 0
        assert metrics.value("apisix_http_latency_count", type="request", route="cart") == 5
        assert metrics.value("apisix_http_requests_total") == 9
        assert metrics.value("apisix_nginx_http_current_connections", state="accepted") == 9


def test_compat_can_be_off(origin):
    with Measured(two_routes(origin), metrics={"compat": False}) as gateway:
        gateway.get("/a")
        assert "apisix_" not in gateway.scrape().text


def test_a_filter_chooses_which_requests_are_counted_apart(origin):
    plugins = {"prometheus": {"_meta": {"filter": [["arg_x", "==", "1"]]}}}
    with Measured({"routes": [route("a", origin.port, plugins)]}) as gateway:
        gateway.get("/a?x=1", 2)
        gateway.get("/a", 3)
        metrics = gateway.scrape()
        assert metrics.value(REQUESTS, route="a") == 2
        assert metrics.value(REQUESTS, route="") == 3


def test_prometheus_of_a_consumer_is_refused(origin):
    config = two_routes(origin, consumers=[{"username": "jack", "plugins": {"prometheus": {}}}])
    with Measured(two_routes(origin)) as gateway:
        reply = gateway.reload(gateway.measured(config))
        assert reply.returncode == 1 and "series are of routes" in reply.stderr


def test_plugins_cost_and_decide(origin):
    abort = {"prometheus": {}, "fault-injection": {"abort": {"http_status": 418}}}
    delay = {"fault-injection": {"delay": {"duration": 0.05}}}
    with Measured({"routes": [route("abort", origin.port, abort),
                              route("delay", origin.port, delay)]}) as gateway:
        gateway.get("/abort", 6)
        gateway.get("/delay", 2)
        metrics = gateway.scrape()
        of_abort = {"route": "abort", "plugin": "fault-injection"}
        assert metrics.value("sluice_plugin_verdicts_total", verdict="reply", **of_abort) == 6
        assert metrics.value("sluice_plugin_calls_total", **of_abort) == 6
        assert 0 < metrics.value("sluice_plugin_running_seconds_total", **of_abort) < 1
        of_delay = {"route": "", "plugin": "fault-injection"}
        assert metrics.value("sluice_plugin_verdicts_total", verdict="suspend", **of_delay) == 2
        assert metrics.value("sluice_plugin_suspended_seconds_total", **of_delay) >= 0.1
        status = json.loads(gateway.run("status", "--json").stdout)
        costs = {(one["route"], one["plugin"]): one for one in status["plugins"]}
        assert costs["abort", "fault-injection"]["replies"] == 6
        assert costs["delay", "fault-injection"]["suspensions"] == 2
        assert costs["delay", "fault-injection"]["suspended_ns"] >= 1e8
        text = gateway.run("status").stdout
        assert re.search(r"abort +fault-injection +6 +\d+\.\d{3} ", text), text


def test_limits_say_how_full_their_table_is(origin):
    limit = {"limit-count": {"count": 1, "time_window": 600, "key": "arg_key"}}
    config = {"gateway": {"limits": {"limit_keys": 1000}},
              "routes": [route("r", origin.port, limit)]}
    with Measured(config) as gateway:
        for key in range(8):
            gateway.get(f"/r?key={key}")
        metrics = gateway.scrape()
        assert metrics.value("sluice_limit_table_keys") == 8
        assert metrics.value("sluice_limit_table_keys_limit") == 1000
        assert metrics.value("sluice_limit_table_evicted_total") == 0
        with RawClient(gateway.port) as client:
            for key in range(8, 3000):
                client.send(GET % f"/r?key={key}".encode()).read_response()
        metrics = gateway.scrape()
        keys = metrics.value("sluice_limit_table_keys")
        assert 1000 < keys < 3000
        assert metrics.value("sluice_limit_table_evicted_total") == 3000 - keys
        assert metrics.value("sluice_limit_table_refused_total") == 0


def test_what_is_open_is_what_is_open(origin):
    with Measured(two_routes(origin), workers=2) as gateway:
        clients = [RawClient(gateway.port) for _ in range(20)]
        for client in clients:
            client.send(GET % b"/a").read_response()
        assert gateway.scrape().value("sluice_connections") == 20
        gateway.restart_worker()
        left = gateway.scrape().value("sluice_connections")
        assert left < 20
        for client in clients:
            client.close()
        wait_for(lambda: gateway.scrape().value("sluice_connections") == 0, "no connection")
        assert gateway.scrape().value("sluice_connections_accepted_total") == 20


def test_handshakes_are_counted(origin):
    with Authority() as authority:
        authority.issue("a.test", "a.test")
        port = free_port()
        config = {"gateway": {"listen": [{"address": f"127.0.0.1:{port}", "tls": True}]},
                  "ssls": [authority.ssl("a.test", "a.test")], "routes": [route("a", origin.port)]}
        with Measured(config) as gateway:
            gateway.port = port
            context = authority.client()
            for _ in range(3):
                with TlsClient(port, context, "a.test") as client:
                    client.send(GET.replace(b"x", b"a.test") % b"/a").read_response()
                    session = client.socket.session
            with TlsClient(port, context, "a.test", session=session) as client:
                client.send(GET.replace(b"x", b"a.test") % b"/a").read_response()
                assert client.socket.session_reused
            with RawClient(port) as client:
                client.send_leniently(b"\x16\x03\x01\x00\x05hello")
                client.read_to_end()
            metrics = gateway.scrape()
            assert metrics.value("sluice_tls_handshakes_total", result="full") == 3
            assert metrics.value("sluice_tls_handshakes_total", result="resumed") == 1
            assert metrics.value("sluice_tls_handshakes_total", result="failed") == 1


def test_breakers_and_limits_are_shown(origin):
    with Origin(serve(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as bad:
        breaking = {**upstream(bad.port), "retries": 0, "limits": {"requests": 7},
                    "circuit_breaker": {"consecutive_failures": 3, "open_time": 60}}
        with Measured({"routes": [{"id": "a", "uri": "/a", "upstream": breaking}]}) as gateway:
            gateway.get("/a", 5)
            metrics = gateway.scrape()
        assert metrics.value("sluice_upstream_breaker_state", upstream="route/a", state="open") == 1
        assert metrics.value("sluice_upstream_breaker_state", state="closed") == 0
        assert metrics.value("sluice_http_requests_ended_total", reason="circuit_open") == 2
        assert metrics.value("sluice_upstream_limit", kind="requests") == 7
        assert metrics.value("sluice_upstream_limit_used", kind="requests") == 0


# --- the endpoint --------------------------------------------------------------------------------


def test_both_pages_and_nothing_else(origin):
    with Measured(two_routes(origin)) as gateway:
        assert [scrape(gateway.metrics_port, page).types for page in PAGES][0]
        for method, path, status in [("GET", "/", 404), ("GET", "/metricsx", 404),
                                     ("POST", "/metrics", 405), ("GET", "/metrics?x=1", 200)]:
            client = RawClient(gateway.metrics_port)
            client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = client.read_response()
            assert reply.status == status, (method, path)
            assert (reply.value("Allow") == "GET, HEAD") == (status == 405)
        client = RawClient(gateway.metrics_port)
        client.send(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert int(client.read_response("HEAD").value("Content-Length")) > 1000
        client.send(GET % b"/metrics")  # the connection is kept
        assert client.read_response().status == 200


def test_bad_requests_are_bounded(origin):
    with Measured(two_routes(origin)) as gateway:
        port = gateway.metrics_port
        before = rss_bytes(gateway.controller_pid())
        for request, status in [
                (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000, 431),
                (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
                (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1000, 413),
                (b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", 413),
                (b"\x00\x01\x02\r\n\r\n", 400)]:
            with RawClient(port) as client:
                client.send_leniently(request)
                reply = client.read_head()
                assert reply.status == status, request[:60]
                assert reply.value("Connection") == "close"
        # Connections that say nothing, that begin and stop, that ask and do not read.
        idle = [RawClient(port) for _ in range(20)]
        begun = [RawClient(port).send(b"GET /metr") for _ in range(20)]
        scrape(port)
        lazy = []
        for _ in range(30):
            client = RawClient(port, receive_buffer=4096)
            client.send(GET % b"/metrics")
            lazy.append(client)
        for client in idle + begun + lazy:
            client.close()
        scrape(port)
        gateway.get("/a")
        assert rss_bytes(gateway.controller_pid()) - before < 64 << 20


def test_slow_readers_do_not_stop_others(origin):
    routes = [route(f"r{i}", origin.port) for i in range(150)]
    with Measured({"routes": routes}) as gateway:
        for i in range(150):
            gateway.get(f"/r{i}")
        page = len(gateway.scrape().text)
        assert page > 1 << 20
        slow = []
        for _ in range(8):
            client = RawClient(gateway.metrics_port, receive_buffer=4096)
            client.send(GET % b"/metrics")
            slow.append((client, int(client.read_head().value("Content-Length"))))
        assert gateway.scrape().value(REQUESTS) == 150
        client, size = slow[0]
        Metrics(client.read_exactly(size).decode())  # it gets all that it waits for
        for client, _ in slow:
            client.close()


def test_scrapes_under_load_are_consistent(origin):
    with Measured(two_routes(origin)) as gateway:
        results, failures = [], []

        def scrape_often():
            try:
                results.append([gateway.scrape() for _ in range(8)])
            except Exception as failure:  # shown below
                failures.append(failure)
        with Load(gateway.port, path="/a") as load:
            load.wait_for(200)
            scrapers = [threading.Thread(target=scrape_often) for _ in range(4)]
            for scraper in scrapers:
                scraper.start()
            for scraper in scrapers:
                scraper.join()
        assert not failures, failures[0]
        for row in results:
            for before, after in zip(row, row[1:]):
                assert_nothing_fell(before, after)


def test_the_address_follows_the_configuration(origin):
    with Measured(two_routes(origin)) as gateway:
        other = free_port()
        moved = gateway.measured(two_routes(origin, gateway={"metrics": {"address": f"127.0.0.1:{other}"}}))
        assert gateway.reload(moved).returncode == 0
        wait_for(lambda: not accepts(gateway.metrics_port), "the old port to be closed")
        wait_for(lambda: accepts(other), "the new port")
        assert scrape(other).value("sluice_config_revision") == 2
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            reply = gateway.reload(gateway.measured(two_routes(origin, gateway={"metrics": {"address": address}})))
            assert reply.returncode == 1
            assert "gateway.metrics: listen " + address in reply.stderr
            # Before the port is free: the file is looked at again when its change is noticed.
            assert scrape(other).value("sluice_config_revision") == 2
        path = gateway.path("metrics.sock")
        named = gateway.measured(two_routes(origin, gateway={"metrics": {"address": "unix:" + path}}))
        assert gateway.reload(named).returncode == 0
        with RawClient(path) as client:
            client.send(GET % b"/metrics")
            assert client.read_response().status == 200
        off = gateway.measured(two_routes(origin, gateway={"metrics": False}))
        assert gateway.reload(off).returncode == 0
        wait_for(lambda: not os.path.exists(path), "the socket to be removed")
        gateway.get("/a")


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("metrics, refused", [
    (True, "expected false or a map with address, max_routes and compat"),
    ({"address": "nowhere"}, "expected an address such as"),
    ({"max_routes": 8001}, "expected an integer from 0 to 8000"),
    ({"port": 9091}, "gateway.metrics.port: unknown field")])
def test_refuses(origin, tmp_path, metrics, refused):
    path = tmp_path / "sluice.yaml"
    path.write_text(yaml.safe_dump({"gateway": {"metrics": metrics}, **two_routes(origin)}))
    from support.gateway import BINARY
    result = subprocess.run([BINARY, "check", "-c", str(path)], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 1 and re.search(refused, result.stderr + result.stdout), result.stderr


# --- what refers to the names --------------------------------------------------------------------


NAME = re.compile(r"\b(?:sluice|apisix)_[a-z0-9_]+")


def names_in(path):
    with open(os.path.join(TOP, path)) as file:
        return set(NAME.findall(file.read()))


@pytest.fixture(scope="module")
def live():
    """A scrape of a gateway in which everything is in use."""
    with Origin() as server:
        config = two_routes(server)
        config["routes"][0]["upstream"].update(
            {"circuit_breaker": {}, "limits": {"requests": 9},
             "checks": {"active": {"healthy": {"interval": 60}}}})
        with Measured(config) as gateway:
            gateway.get("/a", 2)
            return gateway.scrape()


def test_every_name_is_documented_and_every_documented_name_exists(live):
    assert names_in("docs/observability.md") == set(live.types)


@pytest.mark.parametrize("path", ["conf/grafana-dashboard.json", "conf/prometheus-rules.yaml"])
def test_dashboard_and_alerts_refer_to_names_that_exist(live, path):
    known = {family + suffix for family, kind in live.types.items()
             for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    used = names_in(path)
    assert used and used <= known, used - known


def test_the_dashboard_is_one():
    with open(os.path.join(TOP, "conf/grafana-dashboard.json")) as file:
        dashboard = json.load(file)
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert panels and all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def promtool(*arguments, **options):
    try:
        return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60,
                              check=False, **options)
    except FileNotFoundError:
        pytest.skip("promtool is not installed (Debian: prometheus)")


def test_promtool_takes_the_alerts():
    result = promtool("check", "rules", os.path.join(TOP, "conf/prometheus-rules.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_takes_the_page(live):
    own = [line for line in live.text.splitlines(keepends=True) if "apisix_" not in line]
    result = promtool("check", "metrics", input="".join(own))
    assert result.returncode == 0, result.stdout + result.stderr
