"""What a gateway's metrics endpoint says, parsed strictly.

    metrics = scrape(port)
    metrics.value("sluice_http_requests_total", route="r")    # the sum of all series that match
"""

import http.client
import re

PAGES = ("/metrics", "/apisix/prometheus/metrics")

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"bad labels {text!r}"
        name, value = match.groups()
        assert name not in labels, f"{name} twice in {text!r}"
        labels[name] = re.sub(r'\\["\\n]', lambda found: ESCAPES[found.group()], value)
        at = match.end()
    return labels


class Metrics:
    """Families in `types`; `samples` as {(name, labels): value}."""

    def __init__(self, text):
        assert text.endswith("\n")
        self.text, self.types, self.samples = text, {}, {}
        family = None
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                assert family not in self.types, f"the family {family} is there twice"
                self.types[family] = kind
            elif not line.startswith("# HELP "):
                self._add_sample(family, line)

    def _add_sample(self, family, line):
        match = SAMPLE.fullmatch(line)
        assert match, f"bad line {line!r}"
        name, labels, value = match.groups()
        assert name in [family + suffix for suffix in SUFFIXES[self.types[family]]], \
            f"{line!r} is not of the family {family}"
        key = (name, tuple(sorted(parse_labels(labels or "").items())))
        assert key not in self.samples, f"{line!r} is there twice"
        self.samples[key] = float(value)

    def series(self, name, **labels):
        """The values of the series that have these labels, by their labels."""
        return {key: value for key, value in self.samples.items()
                if key[0] == name and set(labels.items()) <= set(key[1])}

    def value(self, name, **labels):
        return sum(self.series(name, **labels).values())

    def labels(self, name, label):
        """All values of a label of that name."""
        return {dict(key[1])[label] for key in self.series(name) if label in dict(key[1])}

    def counters(self):
        """All that must never fall."""
        return {key: value for key, value in self.samples.items()
                if self.types.get(key[0]) == "counter" or key[0].endswith(("_bucket", "_count", "_sum"))}


def scrape(port, page=PAGES[0]):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{response.status}: {body!r}"
        assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return Metrics(body.decode())
    finally:
        connection.close()


def assert_nothing_fell(before, after):
    for key, value in before.counters().items():
        assert after.samples.get(key, -1) >= value, f"{key} fell from {value} to {after.samples.get(key)}"
