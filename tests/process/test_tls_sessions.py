"""Session tickets in a running gateway: any worker, rotation of keys, death of processes, a new start."""
# ctest: timeout=240

import os
import signal
import ssl

import pytest

from support.gateway import Gateway, wait_for
from support.raw import ConnectionEnded
from support.tls import Authority, TlsClient, config, fetch

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def ca():
    with Authority() as authority:
        authority.issue("a.test").issue("b.test")
        yield authority


class Visitor:
    """A client that comes again and again, with a port of its own each time: the kernel spreads these
    over the workers."""

    def __init__(self, gateway, context):
        self.gateway = gateway
        self.context = context

    def come(self, session=None):
        """Whether `session` was resumed, and the session to come again with."""
        with TlsClient(self.gateway.port, self.context, "a.test", session) as client:
            assert fetch(client, "a.test").status == 200
            return client.socket.session_reused, client.socket.session

    def new_session(self):
        reused, session = self.come()
        assert not reused
        return session

    def resumes_everywhere(self, session):
        """With the same one each time, so that no renewed ticket hides what has become of it."""
        return all(self.come(session)[0] for _ in range(20))


def rotating(origin, ca, period):
    return config(origin, ca.ssl("a.test"), tls={"ticket_rotation": period},
                  error_log={"path": "stderr", "level": "debug"})


def rotations(gateway):
    return gateway.log.count("session ticket keys rotated")


def wait_for_rotations(gateway, count):
    before = rotations(gateway)
    wait_for(lambda: rotations(gateway) >= before + count, f"{count} rotations")


def session_of_the_key_before(gateway, visitor):
    """One that was made under the key before the present one, as late as possible: it is still to
    live when that key seals no more."""
    before = rotations(gateway)
    session = None
    while True:
        newer = visitor.new_session()
        if rotations(gateway) > before:
            if session is not None:
                return session
            before = rotations(gateway)
        session = newer


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_rotate_while_sessions_go_on(origin, ca, version):
    with Gateway(rotating(origin, ca, "6s"), workers=2) as gateway:
        visitor = Visitor(gateway, ca.client(version=version))
        session = session_of_the_key_before(gateway, visitor)
        assert visitor.resumes_everywhere(session)
        # Two more keys later nobody can open it: that is no error, but a full handshake.
        wait_for_rotations(gateway, 2)
        reused, fresh = visitor.come(session)
        assert not reused


# In TLS 1.2 a renewed ticket is of the same session, which gets no older than its first one.
def test_a_client_that_comes_often_needs_no_further_handshake(origin, ca):
    with Gateway(rotating(origin, ca, "4s"), workers=2) as gateway:
        visitor = Visitor(gateway, ca.client(version=ssl.TLSVersion.TLSv1_3))
        session = visitor.new_session()
        while rotations(gateway) < 3:
            reused, session = visitor.come(session)
            assert reused


def test_a_ticket_lives_as_long_as_its_key_seals(origin, ca):
    with Gateway(rotating(origin, ca, "90s")) as gateway:
        assert Visitor(gateway, ca.client()).new_session().ticket_lifetime_hint == 90


def test_a_reload_changes_the_rotation(origin, ca):
    with Gateway(rotating(origin, ca, "24h"), workers=2) as gateway:
        visitor = Visitor(gateway, ca.client())
        session = visitor.new_session()
        assert rotations(gateway) == 0
        assert gateway.reload(rotating(origin, ca, "1s")).returncode == 0
        wait_for_rotations(gateway, 3)
        assert not visitor.come(session)[0]
        assert gateway.reload(rotating(origin, ca, "1h")).returncode == 0
        session = visitor.new_session()
        assert visitor.resumes_everywhere(session)


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_outlive_every_process_but_master(origin, ca, version):
    with Gateway(config(origin, ca.ssl("a.test")), workers=2) as gateway:
        gateway.may_lose_workers = True
        visitor = Visitor(gateway, ca.client(version=version))
        session = visitor.new_session()

        def replace(victim):
            before = gateway.log.count(" back ")
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: gateway.log.count(" back ") > before, "another process")
        replace(gateway.worker_pids()[0])
        assert visitor.resumes_everywhere(session)
        replace(gateway.controller_pid())
        assert visitor.resumes_everywhere(session)
        second = config(origin, ca.ssl("a.test"), ca.ssl("b.test"))
        assert gateway.reload(second).returncode == 0
        assert visitor.resumes_everywhere(session)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_of_an_earlier_gateway_is_no_error(origin, ca, version):
    with Gateway(config(origin, ca.ssl("a.test"))) as gateway:
        visitor = Visitor(gateway, ca.client(version=version))
        session = visitor.new_session()
        gateway.stop()
        os.unlink(gateway.path("notify.sock"))
        gateway.start()
        reused, fresh = visitor.come(session)
        assert not reused
        assert visitor.come(fresh)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_does_not_outlive_the_trust_in_its_client(origin, ca, version):
    def demanding(authority):
        return config(origin, ca.ssl("a.test", client={"ca": authority.read("ca.pem")}))
    ca.issue("client")
    with Authority("Another CA") as other, Gateway(demanding(ca), workers=2) as gateway:
        visitor = Visitor(gateway, ca.client("client", version=version))
        session = visitor.new_session()
        assert visitor.resumes_everywhere(session)
        # The certificate came with the first handshake; who trusts it has not changed.
        changed = demanding(ca)
        changed["routes"][0]["desc"] = "changed"
        assert gateway.reload(changed).returncode == 0
        assert visitor.resumes_everywhere(session)
        assert gateway.reload(demanding(other)).returncode == 0
        for _ in range(5):
            with pytest.raises((ssl.SSLError, ConnectionResetError, ConnectionEnded)):
                visitor.come(session)
