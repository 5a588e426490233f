"""Every field that Apache APISIX's plugins have works here or is refused by name, and means the same
when it is left out. tests/plugins/apisix_fields.json has the names, with the version they are of."""

import copy
import json
import os
import subprocess

import pytest
import yaml

from support.gateway import BINARY, TOP

with open(os.path.join(TOP, "tests/plugins/apisix_fields.json")) as file:
    APISIX = json.load(file)["plugins"]
OURS = {plugin["name"]: plugin
        for plugin in json.loads(subprocess.check_output([BINARY, "plugins", "--json"], timeout=60))}
COMMON = sorted(set(APISIX) & set(OURS))
SCHEMAS = {"config": "schema", "metadata": "metadata_schema", "consumer": "consumer_schema"}
# Where leaving a field out means something else, on purpose: docs/apisix.md says why.
OTHER_DEFAULTS = {("jwt-auth", "algorithm"): None}  # HS256 for a secret; the keys of a set have theirs


def find(schema, path):
    """The schema of a field, "open" when it lies in a map that takes any names, or None."""
    for name in path.replace("[]", ".[]").split("."):
        if name == "[]":
            inner = schema.get("items")
        else:
            inner = schema.get("properties", {}).get(name)
        if inner is None:
            return "open" if "properties" not in schema else None
        schema = inner
    return schema


def planted(path, inside):
    """`inside` with something at `path`, as deep as that is."""
    names = path.replace("[]", ".[]").split(".")
    root = copy.deepcopy(inside)
    place, key = root, names[0]
    for name in names[1:]:
        if name == "[]":
            if not isinstance(place.get(key), list) or not place[key]:
                place[key] = [{}]
            place, key = place[key], 0
        else:
            if not isinstance(place[key] if isinstance(place, list) else place.get(key), dict):
                place[key] = {}
            place, key = place[key], name
    place[key] = "x"
    return root


def check(tmp_path, config):
    path = tmp_path / "sluice.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    result = subprocess.run([BINARY, "check", "-c", str(path)], capture_output=True, text=True,
                            timeout=60)
    return result.returncode, result.stdout + result.stderr


def is_named(path, output):
    """Something was said of this field, or of what it lies in, and not that nobody knows it."""
    names = path.replace("[]", "[0]").split(".")
    parts = [".".join(names[:count]) for count in range(1, len(names) + 1)]
    parts += [part.removesuffix("[0]") for part in parts]
    return any(f".{part}: " in output and f".{part}: unknown field" not in output for part in parts)


def configured(part, name, example, path):
    route = {"id": "r", "uri": "/*", "upstream": {"nodes": {"127.0.0.1:1": 1}}}
    if part == "config":
        return {"routes": [{**route, "plugins": {name: planted(path, example)}}]}
    if part == "metadata":
        return {"routes": [route], "plugin_metadata": [{"id": name, **planted(path, {})}]}
    return {"routes": [route],
            "consumers": [{"username": "jack", "plugins": {name: planted(path, {})}}]}


def test_there_is_something_to_compare():
    assert len(COMMON) >= 10


@pytest.mark.parametrize("name", COMMON)
def test_every_field_works_or_is_refused_by_name(tmp_path, name):
    example = yaml.safe_load(OURS[name]["example"])
    silent = []
    for part, key in SCHEMAS.items():
        fields = APISIX[name].get(part, {})
        if fields and key not in OURS[name]:
            silent.append(f"{part}: nothing of it is read")
            continue
        for path in fields:
            if find(OURS[name][key], path) is not None:
                continue
            code, output = check(tmp_path, configured(part, name, example, path))
            if code == 0 or not is_named(path, output):
                silent.append(f"{part}: {path}: {output.splitlines()[:1]}")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("name", COMMON)
def test_defaults_and_priority_are_apisixs(name):
    assert OURS[name]["priority"] == APISIX[name]["priority"]
    differences = []
    for part, key in SCHEMAS.items():
        for path, field in APISIX[name].get(part, {}).items():
            known = find(OURS[name].get(key, {}), path)
            if "default" not in field or not isinstance(known, dict):
                continue
            wanted = OTHER_DEFAULTS.get((name, path), field["default"])
            ours = known.get("default")
            if ours is None and (wanted in ("", {}) or isinstance(wanted, list)):
                continue  # such defaults are not shown
            if ours != wanted:
                differences.append(f"{path}: expected {wanted!r}, got {ours!r}")
    assert not differences, "\n".join(differences)
