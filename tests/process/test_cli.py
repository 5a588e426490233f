"""The command line: exit codes, what is printed where, and what is left alone."""

import json
import os
import subprocess

import pytest

from support.gateway import BINARY, Gateway, route

ROUTES = {"routes": [route(1, uri="/hello")]}


def sluice(*arguments, **options):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60,
                          **options)


@pytest.fixture
def stopped():
    """A configuration without a running gateway."""
    gateway = Gateway(ROUTES, start=False)
    yield gateway
    gateway.__exit__(None)


def test_version():
    assert sluice("-v").stdout.startswith("sluice ")
    assert "libuv" in sluice("-V").stdout
    version = json.loads(sluice("version", "--json").stdout)
    assert version["name"] == "sluice"
    assert version["event_loop"].startswith("libuv ") and version["http2"].startswith("nghttp2 ")


@pytest.mark.parametrize("arguments", [(), ("unknown",), ("run", "--nonsense"), ("-s", "dance"),
                                       ("--role", "nobody")])
def test_misuse_is_exit_code_2(arguments):
    result = sluice(*arguments)
    assert result.returncode == 2
    assert result.stderr and not result.stdout


def test_help_names_every_command_and_where_files_lie():
    text = sluice("--help").stdout
    for word in ("run", "check", "reload", "stop", "routes", "explain", "version", "demo-origin",
                 "DIR/run/sluice.pid"):
        assert word in text


def test_check_touches_nothing(stopped):
    before = sorted(os.listdir(stopped.directory))
    result = stopped.run("check")
    assert (result.returncode, result.stderr) == (0, "")
    assert "1 route" in result.stdout
    assert stopped.run("-t").returncode == 0
    assert sorted(os.listdir(stopped.directory)) == before


def test_check_as_json(stopped):
    answer = json.loads(stopped.run("check", "--json").stdout)
    assert answer["ok"] is True and answer["routes"] == 1
    stopped.write_config("routes:\n  - {id: a, uri: /a, upstraem: {}}\n")
    result = stopped.run("check", "--json")
    answer = json.loads(result.stdout)
    assert result.returncode == 1
    assert answer["ok"] is False and answer["diagnostics"][0]["line"] == 2


def test_check_prints_every_mistake_with_its_place(stopped):
    stopped.write_config("routes:\n  - {id: a, uri: /a, upstraem: {}}\n  - {id: b, uri: 7}\n")
    result = stopped.run("check")
    assert result.returncode == 1
    assert "sluice.yaml:2:" in result.stderr and "sluice.yaml:3:" in result.stderr
    assert result.stdout == ""


def test_a_missing_file_is_named(stopped):
    os.unlink(stopped.config_path)
    for command in ("check", "run", "routes"):
        result = stopped.run(command)
        assert result.returncode == 1
        assert stopped.config_path in result.stderr


def test_routes_and_explain_as_json(stopped):
    assert "/hello" in stopped.run("routes").stdout
    assert json.loads(stopped.run("routes", "--json").stdout)
    assert stopped.run("explain", "GET", "http://x.test/hello").returncode == 0
    explained = stopped.run("explain", "GET", "http://x.test/hello", "--json")
    assert json.loads(explained.stdout)
    refused = stopped.run("explain", "GET", "http://x.test/%zz", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["ok"] is False


def test_commands_for_a_running_gateway_say_when_there_is_none(stopped):
    for command in (("reload",), ("stop",), ("-s", "quit"), ("-s", "reopen")):
        result = stopped.run(*command)
        assert result.returncode == 1
        assert "no gateway" in result.stderr


def test_default_places_lie_below_the_prefix(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "sluice.yaml").write_text(
        "gateway: {workers: 1, user: root, metrics: false, listen: ['unix:run/http.sock']}\nroutes: []\n")
    os.chmod(tmp_path, 0o755)
    result = sluice("run", "--daemon", "-p", str(tmp_path), cwd="/")
    assert result.returncode == 0, result.stderr
    try:
        for name in ("run/sluice.pid", "run/control.sock", "run/http.sock", "state",
                     "logs/access.log", "logs/error.log"):
            assert (tmp_path / name).exists(), name
        assert "serving" in (tmp_path / "logs/error.log").read_text()
    finally:
        assert sluice("stop", "-p", str(tmp_path)).returncode == 0
    assert os.listdir(tmp_path / "run") == []
