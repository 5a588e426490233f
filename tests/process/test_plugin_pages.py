"""docs/plugins is what the plugins say of themselves, and its examples work."""

import json
import os
import subprocess

import pytest
import yaml

from support.gateway import BINARY, TOP

DOCS = os.path.join(TOP, "docs/plugins")


def plugins():
    return json.loads(subprocess.check_output([BINARY, "plugins", "--json"], timeout=60))


def test_pages_are_up_to_date(tmp_path):
    subprocess.run([BINARY, "plugins", "--docs", str(tmp_path)], check=True, timeout=60)
    written = {name: (tmp_path / name).read_text() for name in os.listdir(tmp_path)}
    kept = {name: open(os.path.join(DOCS, name)).read()
            for name in os.listdir(DOCS) if name != "README.md"}
    assert kept == written, "run: sluice plugins --docs docs/plugins"


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin["name"])
def test_examples_load(tmp_path, plugin):
    assert plugin["example"], "a plugin has an example in its traits"
    config = {"routes": [{"id": "r", "uri": "/*", "upstream": {"nodes": {"127.0.0.1:1": 1}},
                          "plugins": {plugin["name"]: yaml.safe_load(plugin["example"])}}]}
    path = tmp_path / "sluice.yaml"
    path.write_text(yaml.safe_dump(config))
    result = subprocess.run([BINARY, "check", "-c", str(path)], capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_example_of_the_guide_is_the_one_that_is_compiled():
    with open(os.path.join(DOCS, "README.md")) as file:
        guide = file.read()
    for name in ("hello.h", "hello.cc"):
        with open(os.path.join(TOP, "tests/unit/plugin", name)) as file:
            code = file.read().replace("tests/unit/plugin/hello.h", "plugins/hello.h")
        assert "```cpp\n" + code + "```" in guide, f"{name} differs from docs/plugins/README.md"


def test_lists_plugins():
    text = subprocess.check_output([BINARY, "plugins"], text=True, timeout=60)
    assert "echo  " in text and len(text.splitlines()) == len(plugins())
