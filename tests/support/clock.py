"""A gateway with a clock of its own."""

import os
import struct
import subprocess
import tempfile

from .gateway import BINARY, SANITIZED, TOP


class Clock:
    """`offset` is in seconds from the real time; with `of_all_kinds` what only counts on jumps too."""

    def __init__(self, of_all_kinds=False):
        self.options = ["-DALL_CLOCKS"] if of_all_kinds else []

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="sluice-clock-")
        os.chmod(self.directory.name, 0o755)  # the workers may be another user
        library = os.path.join(self.directory.name, "wall_clock.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *self.options, "-o", library,
                        os.path.join(TOP, "tests/support/wall_clock.c")], check=True)
        self.path = os.path.join(self.directory.name, "offset")
        self.jump(0)
        linked = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
        # The runtime of a sanitizer has to come first.
        first = [line.split()[2] for line in linked.splitlines() if SANITIZED and "libasan" in line]
        self.environment = {"LD_PRELOAD": " ".join([*first, library]), "WALL_CLOCK": self.path}
        return self

    def __exit__(self, *unused):
        self.directory.cleanup()

    def jump(self, offset):
        self.offset = offset
        descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(descriptor, struct.pack("q", offset))
        os.close(descriptor)
