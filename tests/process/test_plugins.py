"""The cases of tests/plugins/cases against the running gateway, see tests/support/plugin_cases.py."""
# ctest: timeout=300

import os
import re

import pytest

from support import plugin_cases
from support.gateway import Gateway

ONLY = os.environ.get("SLUICE_PLUGIN")  # the cases of one plugin
NAMES = [name for name in plugin_cases.files() if not ONLY or name.startswith(ONLY + "/")]


@pytest.mark.parametrize("name", NAMES)
def test_plugin(name):
    cases = plugin_cases.load(name)
    server = plugin_cases.CaseServer(cases)
    failures = []
    try:
        listen = {"gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]}}
        with Gateway({**listen, **server.config}) as gateway:
            for case in cases:
                failures += list(_failures(case, gateway, server))
    finally:
        server.close()
    assert not failures, "\n".join(failures)


def _failures(case, gateway, server):
    if "refused" in case:
        yield from _check_refusal(case, gateway)
        return
    sends = [plugin_cases.send_http1] + ([plugin_cases.send_http2] if case.get("http2") else [])
    for send in sends:
        try:
            plugin_cases.run(case, gateway.port, server.origins[case["host"]], send)
        except AssertionError as failure:
            yield f"{send.__name__}: {failure}"


def _check_refusal(case, gateway):
    path = gateway.path("refused.yaml")
    with open(path, "w") as file:
        file.write(gateway.text_of(plugin_cases.refusal_config(case)))
    command = [part if part != gateway.config_path else path for part in gateway.command("check")]
    import subprocess
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    output = result.stdout + result.stderr
    if result.returncode == 0:
        yield f"{case['name']}: was not refused"
    elif not re.search(case["refused"], output):
        yield f"{case['name']}: expected {case['refused']!r} in\n{output}"
