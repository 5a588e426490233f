"""What every server of the tests does with its listening socket."""

import contextlib
import os
import socket


def accepted(listener):
    """The connections of `listener`, one after another, until it is closed."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def stop_listening(listener):
    try:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
    except OSError:
        pass
    listener.close()


def connections(pid):
    """(local port, remote port) of the established TCP connections that process `pid` has."""
    held = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table.readlines()[1:]]
    return [tuple(int(address.rpartition(":")[2], 16) for address in row[1:3])
            for row in rows if row[3] == "01" and f"socket:[{row[9]}]" in held]


def client_ports(pid, port):
    """Of the clients at `port` that process `pid` serves."""
    return {remote for local, remote in connections(pid) if local == port}


def accepts(port):
    """Does somebody listen on it? A server sees a connection that says nothing."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
