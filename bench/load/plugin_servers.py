"""nginx with its Lua module, and Sluice, doing the work of a gateway for each request: who asks is told
by a signed token, and how often by a counter that workers share."""

import base64
import hashlib
import hmac
import json
import time

from http2_servers import accepts
from servers import Nginx, Sluice

SECRET = "only-for-the-bench-32-characters"
LIMIT = 100_000_000
MODULES = "/usr/lib/nginx/modules"


def token(algorithm, digest):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"key": "bench", "exp": int(time.time()) + 86_400}
    signed = part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()) + b"." + \
        part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(SECRET.encode(), signed, digest).digest())).decode()


def headers():
    """A token for each: the Lua module itself can make HMACs with SHA-1 only, which is cheaper."""
    return ("Authorization: Bearer " + token("HS256", hashlib.sha256),
            "X-Token: " + token("HS1", hashlib.sha1))


class NginxLua(Nginx):
    name = "nginx lua"
    is_ready = accepts

    def command(self):
        command = super().command()
        self.edit("nginx.conf", self.add_lua)
        return command

    def add_lua(self, text):
        text = text.replace("daemon off;", f"daemon off; load_module {MODULES}/ndk_http_module.so; "
                            f"load_module {MODULES}/ngx_http_lua_module.so;")
        text = text.replace("access_log off;", "access_log off; lua_shared_dict counts 10m;")
        return text.replace("location / {", """location / {
      access_by_lua_block {
        local token = ngx.var.http_x_token
        if not token then return ngx.exit(401) end
        local signed, mac = token:match("^(.+)%%.([^.]+)$")
        local wanted = ngx.encode_base64(ngx.hmac_sha1("%s", signed), true)
        if wanted:gsub("%%+", "-"):gsub("/", "_") ~= mac then return ngx.exit(401) end
        local claims = signed:match("%%.(.+)$"):gsub("-", "+"):gsub("_", "/")
        claims = ngx.decode_base64(claims .. ("="):rep(-#claims %% 4))
        if tonumber(claims:match('"exp": (%%d+)')) < ngx.time() then return ngx.exit(401) end
        local key = claims:match('"key": "([^"]+)"')
        local count = ngx.shared.counts:incr(key, 1, 0, 3600)
        ngx.header["X-RateLimit-Limit"] = %d
        ngx.header["X-RateLimit-Remaining"] = %d - count
        if count > %d then return ngx.exit(429) end
      }""" % (SECRET, LIMIT, LIMIT, LIMIT), 1)


class SluiceGateway(Sluice):
    name = "sluice gateway"
    is_ready = accepts

    def command(self):
        command = super().command()
        self.edit("sluice.yaml", self.add_plugins)
        return command

    @staticmethod
    def add_plugins(text):
        config = json.loads(text)
        config["consumers"] = [{"username": "bench",
                                "plugins": {"jwt-auth": {"key": "bench", "secret": SECRET}}}]
        config["routes"][0]["plugins"] = {
            "jwt-auth": {}, "prometheus": {},
            "limit-count": {"count": LIMIT, "time_window": 3600, "key": "consumer_name"}}
        return json.dumps(config, indent=1)
