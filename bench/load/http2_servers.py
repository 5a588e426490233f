"""The proxies of servers.py, set up for HTTP/2 from clients: by prior knowledge, or inside TLS 1.3; to
an HTTP/1 origin, or as a gRPC proxy that speaks HTTP/2 to it."""

import json
import os
import socket

from processes import Server
from servers import Haproxy, Nginx, Sluice, Tls

CIPHER = "TLS_AES_128_GCM_SHA256"


def accepts(server):
    """Ready when it takes connections: not every one speaks HTTP/1 as well."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=2).close()
        return True
    except OSError:
        return False


class NginxHttp2(Nginx):
    is_ready = accepts

    def __init__(self, root, origin, tls=None, grpc=False):
        super().__init__(root, origin, tls=tls)
        self.grpc = grpc

    def command(self):
        command = super().command()
        self.edit("nginx.conf", self.speak_http2)
        return command

    def speak_http2(self, text):
        text = text.replace("reuseport ", "reuseport http2 ")
        if not self.grpc:
            return text
        return (text.replace(f"127.0.0.1:{self.origin.port}", f"127.0.0.1:{self.origin.grpc_port}")
                .replace("proxy_pass http://origin; proxy_http_version 1.1; "
                         "proxy_max_temp_file_size 0;", "grpc_pass grpc://origin;")
                .replace('proxy_set_header Connection "";', "")
                .replace("proxy_set_header", "grpc_set_header"))


class HaproxyHttp2(Haproxy):
    is_ready = accepts

    def __init__(self, root, origin, tls=None, grpc=False):
        super().__init__(root, origin)
        self.tls = tls
        self.grpc = grpc

    def command(self):
        command = super().command()
        self.edit("haproxy.cfg", self.speak_http2)
        return command

    def speak_http2(self, text):
        if self.tls:
            both = self.write("both.pem", self.tls.read("cert.pem") + self.tls.read("key.pem"))
            text = text.replace("backlog 8192", f"backlog 8192 ssl crt {both} alpn h2 "
                                f"ssl-min-ver TLSv1.3 ciphersuites {CIPHER} curves X25519")
            text = text.replace("X-Forwarded-Proto http", "X-Forwarded-Proto https")
        if self.grpc:
            text = text.replace("backlog 8192", "backlog 8192 proto h2")
            text = text.replace(f"127.0.0.1:{self.origin.port}",
                                f"127.0.0.1:{self.origin.grpc_port} proto h2")
        return text


class Nghttpx(Server):
    name = "nghttpx"
    is_ready = accepts

    def __init__(self, root, origin, tls=None):
        super().__init__(root)
        self.origin = origin
        self.tls = tls

    def command(self):
        files = [os.path.join(self.tls.directory, name)
                 for name in ("key.pem", "cert.pem")] if self.tls else []
        return ["nghttpx", "--workers=1", "--single-process", "--no-via", "--add-x-forwarded-for",
                "--strip-incoming-x-forwarded-for", "--accesslog-file=/dev/null",
                "--errorlog-file=/dev/stderr", "--conf=/dev/null", "--log-level=WARN",
                f"--backend=127.0.0.1,{self.origin.port}", "--backend-keep-alive-timeout=300s",
                "--frontend-http2-read-timeout=300s", f"--tls13-ciphers={CIPHER}",
                f"--frontend=127.0.0.1,{self.port}{'' if self.tls else ';no-tls'}", *files]


class SluiceHttp2(Sluice):
    is_ready = accepts

    def __init__(self, root, origin, binary, tls=None, grpc=False):
        super().__init__(root, origin, binary, tls=tls)
        self.grpc = grpc

    def command(self):
        command = super().command()
        self.edit("sluice.yaml", self.speak_http2)
        return command

    def speak_http2(self, text):
        config = json.loads(text)
        config["gateway"]["listen"] = [
            {"address": f"127.0.0.1:{self.port}", "http2": True, "tls": self.tls is not None}]
        if self.grpc:
            config["upstreams"][0].update(
                scheme="grpc", nodes={f"127.0.0.1:{self.origin.grpc_port}": 1})
        return json.dumps(config, indent=1)


def make(name, root, origin, sluice):
    """`name`: as in the works of run.py, such as "nghttpx h2 tls" or "nginx grpc"."""
    kind, *how = name.split()
    settings = {}
    if "tls" in how:
        settings["tls"] = Tls.make(root, "TLSv1.3")
    if "grpc" in how:
        settings["grpc"] = True
    if kind == "sluice":
        return SluiceHttp2(root, origin, sluice, **settings)
    return {"nginx": NginxHttp2, "haproxy": HaproxyHttp2, "nghttpx": Nghttpx}[kind](
        root, origin, **settings)
