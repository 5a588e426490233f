"""The proxies of servers.py, set up for HTTP/2 from clients: without TLS by prior knowledge, or inside
TLS 1.3 with one cipher, one group and one ECDSA certificate for all."""

import json
import os
import socket
import subprocess

from processes import Server
from servers import Haproxy, Nginx, Sluice

CIPHER = "TLS_AES_128_GCM_SHA256"


def certificate(directory):
    """(certificate, key) as files in `directory`; made by the first who asks."""
    names = [os.path.join(directory, name) for name in ("cert.pem", "key.pem")]
    if not os.path.exists(names[0]):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=bench.test",
                        "-addext", "subjectAltName=DNS:bench.test,IP:127.0.0.1",
                        "-keyout", names[1], "-out", names[0]], check=True, capture_output=True)
        os.chmod(names[1], 0o644)
    return names


def accepts(server):
    """Ready when it takes connections: not every one speaks HTTP/1 as well."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=2).close()
        return True
    except OSError:
        return False


class NginxHttp2(Nginx):
    is_ready = accepts

    def __init__(self, root, origin, tls=False):
        super().__init__(root, origin)
        self.secure = tls

    def command(self):
        command = super().command()
        path = os.path.join(self.directory, "nginx.conf")
        with open(path) as file:
            text = file.read()
        secure = ""
        if self.secure:
            cert, key = certificate(self.directory)
            secure = (f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; "
                      f"ssl_conf_command Ciphersuites {CIPHER}; ssl_ecdh_curve X25519;")
        text = text.replace("backlog=8192 reuseport ;", "backlog=8192 reuseport http2"
                            f"{' ssl' if self.secure else ''}; {secure}")
        with open(path, "w") as file:
            file.write(text)
        return command


class HaproxyHttp2(Haproxy):
    is_ready = accepts

    def __init__(self, root, origin, tls=False):
        super().__init__(root, origin)
        self.secure = tls

    def command(self):
        command = super().command()
        path = os.path.join(self.directory, "haproxy.cfg")
        with open(path) as file:
            text = file.read()
        if self.secure:
            both = self.write("both.pem", "".join(open(name).read()
                                                  for name in certificate(self.directory)))
            text = text.replace("backlog 8192", f"backlog 8192 ssl crt {both} alpn h2 "
                                f"ssl-min-ver TLSv1.3 ciphersuites {CIPHER} curves X25519")
            text = text.replace("X-Forwarded-Proto http", "X-Forwarded-Proto https")
        with open(path, "w") as file:
            file.write(text)
        return command


class Nghttpx(Server):
    name = "nghttpx"
    is_ready = accepts

    def __init__(self, root, origin, tls=False):
        super().__init__(root)
        self.origin = origin
        self.secure = tls

    def command(self):
        files = certificate(self.directory) if self.secure else ()
        return ["nghttpx", "--workers=1", "--single-process", "--no-via", "--add-x-forwarded-for",
                "--strip-incoming-x-forwarded-for", "--accesslog-file=/dev/null",
                "--errorlog-file=/dev/stderr", "--conf=/dev/null", "--log-level=WARN",
                f"--backend=127.0.0.1,{self.origin.port}", "--backend-keep-alive-timeout=300s",
                "--frontend-http2-read-timeout=300s", f"--tls13-ciphers={CIPHER}",
                f"--frontend=127.0.0.1,{self.port}{'' if self.secure else ';no-tls'}",
                *reversed(files)]


class SluiceHttp2(Sluice):
    def __init__(self, root, origin, binary, tls=False):
        super().__init__(root, origin, binary)
        self.secure = tls
        if tls:
            self.is_ready = lambda: accepts(self)

    def command(self):
        command = super().command()
        path = os.path.join(self.directory, "sluice.yaml")
        with open(path) as file:
            config = json.load(file)
        config["gateway"]["listen"] = [
            {"address": f"127.0.0.1:{self.port}", "http2": True, "tls": self.secure}]
        if self.secure:
            cert, key = (open(name).read() for name in certificate(self.directory))
            config["ssls"] = [{"id": "bench", "snis": ["bench.test"], "cert": cert, "key": key}]
        with open(path, "w") as file:
            json.dump(config, file, indent=1)
        return command


def make(name, root, origin, sluice):
    """`name`: as in the works of run.py, such as "nghttpx h2 tls"."""
    tls = name.endswith(" tls")
    kind = name.split()[0]
    if kind == "sluice":
        return SluiceHttp2(root, origin, sluice, tls)
    return {"nginx": NginxHttp2, "haproxy": HaproxyHttp2, "nghttpx": Nghttpx}[kind](root, origin, tls)


