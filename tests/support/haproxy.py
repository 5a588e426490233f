"""A real HAProxy in front of the gateway: one listener that forwards connections as TCP."""

import os
import shutil
import signal
import subprocess
import tempfile

from .gateway import PATIENCE, free_port, wait_for
from .sockets import accepts


class Haproxy:
    """`server`: more words of its server line, such as "send-proxy-v2"."""

    def __init__(self, target_port, server=""):
        self.port = free_port()
        self.directory = tempfile.mkdtemp(prefix="sluice-haproxy-")
        config = os.path.join(self.directory, "haproxy.cfg")
        with open(config, "w") as file:
            file.write(f"""
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen front
  bind 127.0.0.1:{self.port}
  unique-id-format %ci-%cp
  server gateway 127.0.0.1:{target_port} {server}
""")
        self.log = open(os.path.join(self.directory, "output.log"), "w+")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", config], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        wait_for(self._answers, "haproxy to listen")

    def _answers(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError(f"haproxy ended at its start: {self.log.read()}")
        return accepts(self.port)  # what is forwarded of this is a connection without a request

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
