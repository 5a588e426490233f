"""What every server of the tests does with its listening socket."""

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


def accepts(port):
    """Does somebody listen on it? A server sees a connection that says nothing."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
