"""Replacing the configuration of a running gateway."""
# ctest: timeout=300

import json
import os
import random
import signal
import socket
import subprocess

from support.gateway import Gateway, free_port, route, wait_for
from support.load import Load
from test_processes import get


def one(origin, uri="/*", **process):
    return {"gateway": process, "routes": [route(origin.port, uri=uri)]}


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask(sock, path="/"):
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(65536)
        assert piece, "the gateway closed the connection"
        answer += piece
    return int(answer.split(b" ", 2)[1])


def test_says_what_changed_and_serves_it_when_it_returns(origin):
    with Gateway(one(origin), workers=2) as gateway:
        result = gateway.reload({"routes": [route(origin.port, uri="/a", id="a"),
                                            route(origin.port, uri="/b", id="b")]})
        assert result.returncode == 0, result.stderr
        assert "2 added (a, b)" in result.stdout and "1 removed (r)" in result.stdout
        for _ in range(8):
            assert get(gateway.port, "/a") == 200
            assert get(gateway.port, "/") == 404
        answer = json.loads(gateway.run("reload", "--json").stdout)
        assert answer["ok"] is True and answer["changed"] is False and answer["since"]


def test_an_unchanged_file_is_no_new_revision(origin):
    with Gateway(one(origin)) as gateway:
        for _ in range(3):
            result = gateway.run("reload")
            assert result.returncode == 0
            assert result.stdout == "revision 1: nothing has changed\n"


def test_a_broken_file_changes_nothing_and_is_explained(origin):
    with Gateway(one(origin)) as gateway:
        result = gateway.reload("gateway: {control: $DIR/control.sock}\n"
                                "routes:\n  - {id: a, uri: 7}\n  - {id: b, urii: /}\n")
        assert result.returncode == 1
        assert "sluice.yaml:3:" in result.stderr and "sluice.yaml:4:" in result.stderr
        assert "no gateway" not in result.stderr
        assert get(gateway.port) == 200
        wait_for(lambda: "the old revision stays" in gateway.log, "the log to say so")
        assert gateway.reload(one(origin, uri="/fixed")).returncode == 0
        assert get(gateway.port, "/fixed") == 200


def test_a_vars_expression_that_cannot_be_compiled_is_refused(origin):
    with Gateway(one(origin)) as gateway:
        result = gateway.reload({"routes": [
            route(origin.port, vars=[["arg_x", "~~", "("]])]})
        assert result.returncode == 1
        assert "sluice.yaml:" in result.stderr
        assert get(gateway.port) == 200


def test_hup_and_its_short_form(origin):
    with Gateway(one(origin)) as gateway:
        gateway.write_config(one(origin, uri="/one"))
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: get(gateway.port, "/one") == 200, "the reload by HUP")
        gateway.write_config(one(origin, uri="/two"))
        assert gateway.run("-s", "reload").returncode == 0
        wait_for(lambda: get(gateway.port, "/two") == 200, "the reload by -s")


def test_a_changed_file_is_noticed(origin):
    with Gateway(one(origin)) as gateway:
        gateway.write_config(one(origin, uri="/renamed"))
        wait_for(lambda: get(gateway.port, "/renamed") == 200, "the renamed file")
        with open(gateway.config_path, "w") as file:  # in place
            file.write(gateway.text_of(one(origin, uri="/written")))
        wait_for(lambda: get(gateway.port, "/written") == 200, "the written file")


def test_a_changed_include_is_noticed(origin):
    gateway = Gateway({"include": ["routes.yaml"], "routes": []}, start=False)

    def include(uri):
        with open(gateway.path("new"), "w") as file:
            file.write(json.dumps({"routes": [route(origin.port, uri=uri)]}))
        os.rename(gateway.path("new"), gateway.path("routes.yaml"))

    include("/one")
    with gateway:
        gateway.start()
        assert get(gateway.port, "/one") == 200
        include("/two")
        wait_for(lambda: get(gateway.port, "/two") == 200, "the include")


def test_what_needs_a_restart_is_refused_with_its_place(origin):
    with Gateway(one(origin)) as gateway:
        result = gateway.reload(one(origin, workers=3, pid="other.pid"))
        assert result.returncode == 1
        assert "gateway.workers" in result.stderr and "gateway.pid" in result.stderr
        assert "restart" in result.stderr and "sluice.yaml:" in result.stderr
        assert len(gateway.worker_pids()) == 1


def test_listeners_come_and_go_and_the_kept_one_keeps_its_connections(origin):
    with Gateway(one(origin), workers=2) as gateway:
        kept = connect(gateway.port)
        assert ask(kept) == 200
        more = free_port()
        both = [f"127.0.0.1:{gateway.port}", f"127.0.0.1:{more}", "unix:http.sock"]
        assert gateway.reload(one(origin, listen=both)).returncode == 0
        for _ in range(4):
            assert get(more) == 200
        assert os.path.exists(gateway.path("http.sock"))
        on_more = connect(more)
        assert ask(on_more) == 200
        assert gateway.reload(one(origin)).returncode == 0

        def refused():
            try:
                connect(more).close()
                return False
            except ConnectionRefusedError:
                return True

        wait_for(refused, "the listener to go")
        assert not os.path.exists(gateway.path("http.sock"))
        assert ask(kept) == 200
        assert ask(on_more) == 200  # what was accepted lives on
        kept.close()
        on_more.close()


def port_for_any_address():
    """A port below those that the kernel gives to outgoing connections: one of them, made by
    anybody, would be in the way of a wildcard address."""
    for _ in range(100):
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", random.randrange(20000, 30000)))
                return probe.getsockname()[1]
            except OSError:
                pass
    raise AssertionError("no free port")


def test_an_address_may_become_a_wider_one_of_the_same_port(origin):
    port = port_for_any_address()
    with Gateway(one(origin, listen=[f"127.0.0.1:{port}"])) as gateway:
        result = gateway.reload(one(origin, listen=[f"0.0.0.0:{port}"]))
        assert result.returncode == 0, result.stderr
        assert get(port) == 200


def test_a_listener_that_cannot_be_made_refuses_the_reload(origin):
    with socket.create_server(("127.0.0.1", 0)) as holder, Gateway(one(origin)) as gateway:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        changed = one(origin, uri="/new", listen=[f"127.0.0.1:{gateway.port}", taken])
        result = gateway.reload(changed)
        assert result.returncode == 1
        assert taken in result.stderr and "in use" in result.stderr
        assert get(gateway.port) == 200
        assert get(gateway.port, "/new") == 200  # by the old route, /*


def test_logs_can_be_moved_turned_off_and_on(origin):
    with Gateway(one(origin)) as gateway:
        moved = {"path": gateway.path("moved.log"), "format": "$request_uri $status"}
        assert gateway.reload(one(origin, access_log=moved)).returncode == 0
        assert get(gateway.port, "/x") == 200
        wait_for(lambda: open(gateway.path("moved.log")).read() == "/x 200\n", "the moved log")
        assert gateway.reload(one(origin, access_log=False)).returncode == 0
        assert get(gateway.port, "/y") == 200
        assert gateway.reload(one(origin, access_log=moved)).returncode == 0
        assert get(gateway.port, "/z") == 200
        wait_for(lambda: "/z 200\n" in open(gateway.path("moved.log")).read(), "the log again")
        assert "/y" not in open(gateway.path("moved.log")).read()


def test_reloads_that_are_asked_for_at_once_are_all_answered(origin):
    with Gateway(one(origin)) as gateway:
        gateway.write_config(one(origin, uri="/new"))
        asked = [subprocess.Popen(gateway.command("reload"), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) for _ in range(24)]
        for process in asked:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        assert get(gateway.port, "/new") == 200


def test_reloads_under_load_fail_nothing_and_close_nothing(origin):
    with Gateway(one(origin), workers=2) as gateway:
        with Load(gateway.port, connections=16, path="/") as load:
            for i in range(50):
                extra = [route(origin.port, uri=f"/extra{i}", id=f"extra{i}")]
                config = one(origin)
                config["routes"] += extra
                result = gateway.reload(config)
                assert result.returncode == 0, result.stderr
            load.wait_for(100)
        assert load.counts.harm == 0, load.counts


def test_nonsense_on_the_control_socket_is_answered_and_survived(origin):
    with Gateway(one(origin)) as gateway:
        for request in (b"nonsense\n", b"{}\n", b'{"command":"dance"}\n', b'{"command":7}\n',
                        b"[" * 4000 + b"\n", b"x" * 10000, b'{"command":"reload","command":1}\n'):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(gateway.path("control.sock"))
                sock.sendall(request)
                answer = b""
                while piece := sock.recv(65536):
                    answer += piece
            parsed = json.loads(answer)
            assert parsed["ok"] is False and parsed["text"]
        idle = []
        for _ in range(40):  # more than are served at a time
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            try:
                sock.connect(gateway.path("control.sock"))
            except BlockingIOError:
                pass
            idle.append(sock)
        for sock in idle:
            sock.close()
        assert gateway.run("reload").returncode == 0


def test_a_reload_may_bring_the_first_node_that_is_a_name(origin):
    with Gateway({"routes": [route(origin.port)]}) as gateway:
        named = route(upstream={"nodes": {f"localhost:{origin.port}": 1}})
        assert gateway.reload({"routes": [named]}).returncode == 0
        assert get(gateway.port) == 200
        assert len(origin.requests) == 1
