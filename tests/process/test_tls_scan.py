"""What scanners say of the default set-up."""
# ctest: timeout=300

import json
import re
import shutil
import subprocess

import pytest

from support.gateway import Gateway
from support.tls import Authority, config

# Of the certificate, which the test has made for itself.
OF_THE_CERTIFICATE = {"cert_chain_of_trust", "cert_revocation"}
# testssl.sh leaves right after the handshake, on a busy machine before the ticket has come. What
# resumes is the matter of test_tls_sessions.py.
OF_ITS_HASTE = {"sessionresumption_ticket", "sessionresumption_ID"}
# About the openssl program that it runs with.
OF_ITS_OPENSSL = {"engine_problem"}


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("localhost", days=90).issue("rsa", "localhost", kind="rsa", days=90)
        yield authority


@pytest.fixture
def scanned(origin, ca):
    both = ca.ssl("localhost", certs=[ca.read("rsa.pem")], keys=[ca.read("rsa.key")])
    with Gateway(config(origin, both, listen={"http2": True})) as running:
        yield running


def test_sslscan_finds_nothing_old(scanned):
    if shutil.which("sslscan") is None:
        pytest.skip("sslscan is not installed")
    found = subprocess.run(["sslscan", "--no-colour", "--no-certificate",
                            f"localhost:{scanned.port}"],
                           capture_output=True, text=True, timeout=60).stdout
    for line in ("TLSv1.0   disabled", "TLSv1.1   disabled", "TLSv1.2   enabled",
                 "TLSv1.3   enabled", "Session renegotiation not supported"):
        assert line in found
    ciphers = re.findall(r"(?:Preferred|Accepted) +\S+ +\d+ bits +(\S+)", found)
    assert len(ciphers) == 9
    for cipher in ciphers:
        assert re.fullmatch(r"(TLS_|ECDHE-ECDSA-|ECDHE-RSA-).*(GCM|CHACHA20).*", cipher)


# Protocols, ciphers and their order, forward secrecy, server defaults and known vulnerabilities.
def test_testssl_finds_nothing_to_complain_about(scanned):
    if shutil.which("testssl") is None:
        pytest.skip("testssl.sh is not installed")
    report = scanned.path("testssl.json")
    subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none",
                    "--ip", "127.0.0.1", "--jsonfile", report, "-p", "-s", "-f", "-P", "-S", "-U",
                    f"localhost:{scanned.port}"],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=280)
    with open(report) as file:
        findings = json.load(file)
    by_id = {one["id"].split(" ")[0]: one for one in findings}
    # It has come to the end, and saw what there is.
    for seen, expected in (("TLS1_2", "offered"), ("TLS1_3", "offered"), ("ALPN_HTTP2", "h2"),
                           ("PFS", "offered"), ("heartbleed", "not vulnerable"),
                           ("RC4", "not vulnerable")):
        assert expected in by_id[seen]["finding"], by_id[seen]
    bad = [one for one in findings if one["severity"] not in ("OK", "INFO")
           and one["id"].split(" ")[0] not in OF_THE_CERTIFICATE | OF_ITS_HASTE | OF_ITS_OPENSSL]
    assert not bad, bad
