"""The origin and the proxies under comparison, with equal settings as far as they go.

Equal for all: one worker, keep-alive on both sides without a limit on requests, no access log, and
the same header edits (Host kept; X-Real-IP, X-Forwarded-For, -Proto, -Host, -Port replaced).
"""

import json
import os
import subprocess
from dataclasses import dataclass

from processes import LOAD_CPU, Server, free_port

SMALL_BODY = "ok " * 12  # with nginx's head some 200 bytes on the wire
MANY = 1_000_000_000
MANY_CONNECTIONS = 9500  # HAProxy wants two descriptors for each, of 20,000


@dataclass(frozen=True)
class Tls:
    """What is equal for all: an ECDSA P-256 certificate, one protocol, AES-128-GCM, X25519, one ticket."""

    directory: str
    protocol: str

    @staticmethod
    def make(root, protocol):
        directory = os.path.join(root, "tls")
        if not os.path.exists(directory):
            os.mkdir(directory)
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-subj", "/CN=bench", "-keyout", "key.pem", "-out",
                 "cert.pem"], cwd=directory, check=True, capture_output=True)
        return Tls(directory, protocol)

    def read(self, name):
        with open(os.path.join(self.directory, name)) as file:
            return file.read()

    def nginx(self):
        return f"""
    ssl_certificate {self.directory}/cert.pem; ssl_certificate_key {self.directory}/key.pem;
    ssl_protocols {self.protocol}; ssl_prefer_server_ciphers on;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519; ssl_session_cache off; ssl_session_tickets on;
    ssl_conf_command NumTickets 1;"""

    def sluice(self):
        ciphers = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"
        return {"ssls": [{"id": "bench", "sni": "*", "cert": self.read("cert.pem"),
                          "key": self.read("key.pem"), "ssl_protocols": [self.protocol]}]}, ciphers


class Origin(Server):
    """nginx with static replies, files in tmpfs; the same one behind every proxy. On `grpc_port` it
    answers as gRPC servers do, with a body and trailers; no proxy looks into the messages."""

    name = "origin"
    cpu = LOAD_CPU

    def __init__(self, root):
        super().__init__(root)
        self.grpc_port = free_port()

    def command(self):
        for size, file_name in ((10 * 1024, "10k"), (1024 * 1024, "1m")):
            with open(os.path.join(self.directory, file_name), "wb") as file:
                file.write(os.urandom(size))
            os.chmod(os.path.join(self.directory, file_name), 0o644)
        path = self.write("nginx.conf", f"""
worker_processes 1; daemon off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=16;
  keepalive_requests {MANY}; keepalive_timeout 300s;
  server {{
    listen 127.0.0.1:{self.port} backlog=8192;
    root {self.directory};
    location = /10k {{ }}
    location = /1m {{ }}
    location / {{ return 200 "{SMALL_BODY}"; }}
  }}
  server {{
    listen 127.0.0.1:{self.grpc_port} backlog=8192 http2;
    http2_max_concurrent_streams 1024;
    add_trailer grpc-status 0;
    location / {{ default_type application/grpc; return 200 "{SMALL_BODY}"; }}
  }}
}}
""")
        return ["nginx", "-p", self.directory, "-c", path, "-e", "stderr"]


class Nginx(Server):
    name = "nginx"

    def __init__(self, root, origin, connections=MANY_CONNECTIONS, proxy_buffers="", tls=None):
        super().__init__(root)
        self.tls = tls
        self.origin = origin
        self.connections = connections
        self.proxy_buffers = proxy_buffers

    def command(self):
        path = self.write("nginx.conf", f"""
worker_processes 1; daemon off; pid nginx.pid; error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections {self.connections}; }}
http {{
  access_log off; server_tokens off;
  keepalive_requests {MANY}; keepalive_timeout 300s;
  upstream origin {{
    server 127.0.0.1:{self.origin.port};
    keepalive 320; keepalive_requests {MANY};
  }}
  server {{
    listen 127.0.0.1:{self.port} backlog=8192 reuseport {'ssl' if self.tls else ''};
    {self.tls.nginx() if self.tls else ''}
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_max_temp_file_size 0;
      {self.proxy_buffers}
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
    }}
  }}
}}
""")
        return ["nginx", "-p", self.directory, "-c", path, "-e", "stderr"]


class NginxLargeBuffers(Nginx):
    """nginx as an operator would tune it for large replies only (its default is 8 x 4 KB)."""

    name = "nginx 64k"

    def __init__(self, root, origin):
        super().__init__(root, origin, proxy_buffers="proxy_buffer_size 64k; proxy_buffers 8 64k; "
                                                     "proxy_busy_buffers_size 128k;")


class Haproxy(Server):
    name = "haproxy"

    def __init__(self, root, origin, connections=MANY_CONNECTIONS):
        super().__init__(root)
        self.origin = origin
        self.connections = connections

    def command(self):
        path = self.write("haproxy.cfg", f"""
global
  nbthread 1
  maxconn {self.connections}
  ulimit-n 20000
  no strict-limits
defaults
  mode http
  maxconn {self.connections}
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  http-reuse always
frontend client
  bind 127.0.0.1:{self.port} backlog 8192
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  default_backend origin
backend origin
  server one 127.0.0.1:{self.origin.port}
""")
        return ["haproxy", "-db", "-f", path]


class Sluice(Server):
    """`routes` > 1 adds that many routes /service-N/* in front of the one that takes all."""

    name = "sluice"

    def __init__(self, root, origin, binary, connections=MANY_CONNECTIONS, routes=1,
                 tls=None):
        super().__init__(root)
        self.tls = tls
        self.origin = origin
        self.binary = binary
        self.connections = connections
        self.routes = routes

    def command(self):
        at = self.directory
        routes = [{"id": "all", "uri": "/*", "upstream_id": "origin"}]
        if self.routes > 1:
            routes += [{"id": f"s{number}", "uri": f"/service-{number}/*", "upstream_id": "origin"}
                       for number in range(self.routes - 1)]
        config = {
            "gateway": {
                "workers": 1,
                "listen": [f"127.0.0.1:{self.port}"],
                "control": f"{at}/control.sock",
                "state_dir": at,
                "pid": f"{at}/sluice.pid",
                "access_log": False,
                "error_log": {"path": "stderr", "level": "warn"},
                "metrics": False,  # they are counted all the same
                "timeouts": {"keepalive": "300s"},
                "limits": {"worker_connections": self.connections},
            },
            "routes": routes,
            "upstreams": [{
                "id": "origin", "type": "roundrobin",
                "nodes": {f"127.0.0.1:{self.origin.port}": 1},
                "keepalive_pool": {"size": 320, "idle_timeout": 300, "requests": MANY},
            }],
        }
        if self.tls:
            resources, ciphers = self.tls.sluice()
            config.update(resources)
            config["gateway"]["listen"] = [{"address": f"127.0.0.1:{self.port}", "tls": True}]
            config["gateway"]["tls"] = {"ssl_ciphers": ciphers}
        path = self.write("sluice.yaml", json.dumps(config, indent=1))
        return [self.binary, "run", "-c", path, "-p", at]
