"""gRPC through the gateway: a real client and a real server (grpcio), all four kinds of calls."""
# ctest: timeout=180

import concurrent.futures
import contextlib
import threading

import grpc
import pytest

from support.gateway import Gateway, example, free_port, upstream
from support.tls import Authority

# Without generated code: messages are bytes.
UNARY = "/test.Echo/Unary"
CLIENT_STREAM = "/test.Echo/ClientStream"
SERVER_STREAM = "/test.Echo/ServerStream"
BOTH_STREAM = "/test.Echo/BothStream"
FAIL = "/test.Echo/Fail"  # b"UNAVAILABLE 2": with that status behind two messages


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = threading.Event()
        self.started = threading.Event()
        self.release = threading.Event()
        self.failed = 0

    def service(self, call):
        handlers = {
            UNARY: grpc.unary_unary_rpc_method_handler(self.unary),
            CLIENT_STREAM: grpc.stream_unary_rpc_method_handler(self.client_stream),
            SERVER_STREAM: grpc.unary_stream_rpc_method_handler(self.server_stream),
            BOTH_STREAM: grpc.stream_stream_rpc_method_handler(self.both_stream),
            FAIL: grpc.unary_stream_rpc_method_handler(self.fail),
        }
        return handlers.get(call.method)

    def unary(self, request, context):
        metadata = dict(context.invocation_metadata())
        if request == b"fail":
            context.set_trailing_metadata((("x-why", "asked for"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "Grüße, 50%")
        if request == b"hang":
            context.add_callback(self.cancelled.set)
            self.started.set()
            self.release.wait(30)
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-seen", metadata.get("x-sent", "-"))))
        return request

    def client_stream(self, requests, _):
        return b"".join(requests)

    def server_stream(self, request, _):
        for number in range(int(request)):
            yield str(number).encode()

    def both_stream(self, requests, _):
        for request in requests:
            yield request.upper()


    def fail(self, request, context):
        self.failed += 1
        status, messages = request.decode().split()
        for _ in range(int(messages)):
            yield b"message"
        context.abort(grpc.StatusCode[status], "asked for")


@contextlib.contextmanager
def grpc_server(credentials=None):
    port = free_port()
    echo = Echo()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), handlers=(echo,), options=(
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)))
    address = f"127.0.0.1:{port}"
    assert port == (server.add_secure_port(address, credentials) if credentials
                    else server.add_insecure_port(address))
    server.start()
    try:
        yield port, echo
    finally:
        echo.release.set()
        server.stop(0).wait()


def config(*ports, **fields):
    return {
        "gateway": {"listen": [{"address": "127.0.0.1:$PORT", "http2": True}]},
        "routes": [{"id": "grpc", "uri": "/test.Echo/*",
                    "upstream": upstream(*ports, **{"scheme": "grpc", **fields})}],
    }


@contextlib.contextmanager
def channel_to(gateway):
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}", options=(
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0))) as channel:
        yield channel


@pytest.fixture(scope="module")
def stage():
    with grpc_server() as (port, echo), Gateway(config(port)) as gateway:
        with channel_to(gateway) as channel:
            yield channel, echo, gateway


def test_unary_call_carries_metadata_both_ways(stage):
    channel, _, _ = stage
    answer, call = channel.unary_unary(UNARY).with_call(b"hello", metadata=(("x-sent", "7"),))
    assert answer == b"hello"
    assert ("x-first", "1") in call.initial_metadata()
    assert ("x-last", "2") in call.trailing_metadata()
    assert ("x-seen", "7") in call.trailing_metadata()


def test_client_streams(stage):
    channel, _, _ = stage
    parts = [bytes([65 + i % 26]) * 1000 for i in range(300)]
    assert channel.stream_unary(CLIENT_STREAM)(iter(parts)) == b"".join(parts)


def test_server_streams(stage):
    channel, _, _ = stage
    assert list(channel.unary_stream(SERVER_STREAM)(b"500")) == [b"%d" % i for i in range(500)]


def test_both_stream_message_by_message(stage):
    """Each answer arrives before the next question is asked: nothing is held back."""
    channel, _, _ = stage
    answers = []
    asked = threading.Semaphore(1)

    def questions():
        for number in range(20):
            assert asked.acquire(timeout=30)
            yield b"question %d" % number

    for answer in channel.stream_stream(BOTH_STREAM)(questions()):
        answers.append(answer)
        asked.release()
    assert answers == [b"QUESTION %d" % number for number in range(20)]


def test_errors_of_the_server_pass_through(stage):
    channel, _, _ = stage
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary(UNARY)(b"fail")
    assert failure.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert failure.value.details() == "Grüße, 50%"
    assert ("x-why", "asked for") in failure.value.trailing_metadata()


def test_large_messages(stage):
    channel, _, _ = stage
    message = bytes(range(256)) * (64 * 1024)  # 16 MB
    assert channel.unary_unary(UNARY)(message) == message


def test_many_calls_at_once_share_connections(stage):
    channel, _, _ = stage
    calls = [channel.unary_unary(UNARY).future(b"call %d" % i) for i in range(500)]
    assert [call.result(30) for call in calls] == [b"call %d" % i for i in range(500)]


def test_unknown_method_of_the_server(stage):
    channel, _, _ = stage
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/test.Echo/Nothing")(b"")
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_no_route_is_unimplemented(stage):
    channel, _, _ = stage
    with pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/other.Service/Call")(b"")
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert failure.value.details() == "no_route"


def test_cancel_reaches_the_server():
    with grpc_server() as (port, echo), Gateway(config(port)) as gateway:
        with channel_to(gateway) as channel:
            call = channel.unary_unary(UNARY).future(b"hang")
            assert echo.started.wait(30)
            call.cancel()
            assert echo.cancelled.wait(30)


def test_deadline_of_the_client_ends_the_call_at_the_server():
    """The client itself gives up later than it says, so that it is the gateway that ends the call."""
    with grpc_server() as (port, echo), Gateway(config(port)) as gateway:
        with channel_to(gateway) as channel, pytest.raises(grpc.RpcError) as failure:
            channel.unary_unary(UNARY)(b"hang", metadata=(("grpc-timeout", "300m"),))
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert echo.cancelled.wait(30)


def test_dead_server_is_unavailable():
    with Gateway(config(free_port())) as gateway, channel_to(gateway) as channel:
        with pytest.raises(grpc.RpcError) as failure:
            channel.unary_unary(UNARY)(b"x")
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert failure.value.details() == "connect_refused"


def test_silent_server_is_deadline_exceeded():
    with grpc_server() as (port, _), Gateway(config(port, timeout={
            "connect": 1, "send": 1, "read": 0.5})) as gateway:
        with channel_to(gateway) as channel, pytest.raises(grpc.RpcError) as failure:
            channel.unary_unary(UNARY)(b"hang")
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert failure.value.details() == "upstream_read_timeout"


def test_server_that_goes_away_gracefully_loses_no_call():
    """GOAWAY: what is under way ends on the old connection, what comes goes to another server."""
    with contextlib.ExitStack() as stack:
        first, _ = stack.enter_context(grpc_server())
        second = free_port()
        gateway = stack.enter_context(Gateway(config(first, second, retries=1)))
        channel = stack.enter_context(channel_to(gateway))
        for number in range(20):
            assert channel.unary_unary(UNARY)(b"%d" % number) == b"%d" % number


def test_reload_leaves_streams_open(stage):
    channel, _, gateway = stage
    go_on = threading.Semaphore(1)

    def questions():
        for number in range(10):
            assert go_on.acquire(timeout=30)
            yield b"q%d" % number

    answers = []
    for answer in channel.stream_stream(BOTH_STREAM)(questions()):
        answers.append(answer)
        assert gateway.reload().returncode == 0
        go_on.release()
    assert answers == [b"Q%d" % number for number in range(10)]


def fail(channel, status, messages):
    """A call that ends with that status. grpcio sends trailers only when there was no message."""
    with pytest.raises(grpc.RpcError) as failure:
        list(channel.unary_stream(FAIL)(f"{status} {messages}".encode()))
    return failure.value.code().name


@contextlib.contextmanager
def watched_pair():
    """Two servers, the second asked when the first is left out; by what, is counted in all ways there are."""
    never = {"interval": 86400}
    with grpc_server() as (first, echo), grpc_server() as (second, other):
        nodes = [{"host": "127.0.0.1", "port": port, "weight": 1, "priority": -at}
                 for at, port in enumerate((first, second))]
        long = {"base_ejection_time": 3600, "max_ejection_time": 3600, "max_ejection_percent": 100}
        running = config(
            nodes=nodes, outlier_detection={"consecutive_errors": 3, **long},
            checks={"active": {"type": "tcp", "healthy": never, "unhealthy": never},
                    "passive": {"unhealthy": {"http_failures": 3, "http_statuses": [500, 503, 504]}}},
            circuit_breaker={"scope": "endpoint", "failure_percentage": 0, "consecutive_failures": 3,
                             "open_time": 3600, "max_open_time": 3600})
        with Gateway(running) as gateway, channel_to(gateway) as channel:
            yield gateway, channel, echo, other


@pytest.mark.parametrize("messages", [0, 2])
@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED"])
def test_a_server_that_fails_calls_is_left_out(status, messages):
    """HTTP's status is 200 all the time: grpc-status counts, in trailers and in trailers-only answers."""
    with watched_pair() as (gateway, channel, echo, other):
        for number in range(3):
            assert "node=" not in gateway.log, f"after {number} failures"
            assert fail(channel, status, messages) == status
        for text in ("node is ejected", "node is unhealthy", "circuit opened"):
            assert gateway.log.count(text) == 1, gateway.log
        assert fail(channel, status, messages) == status
        assert (echo.failed, other.failed) == (3, 1)


@pytest.mark.parametrize("messages", [0, 2])
@pytest.mark.parametrize("status", ["NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED", "CANCELLED", "ABORTED"])
def test_a_server_is_not_blamed_for_its_callers(status, messages):
    with watched_pair() as (gateway, channel, echo, other):
        for _ in range(6):
            assert fail(channel, status, messages) == status
        assert "node=" not in gateway.log
        assert (echo.failed, other.failed) == (6, 0)


def test_a_breaker_of_the_upstream_hears_of_failed_calls():
    breaker = {"failure_percentage": 0, "consecutive_failures": 3, "open_time": 3600, "max_open_time": 3600}
    with grpc_server() as (port, echo), Gateway(config(port, circuit_breaker=breaker)) as gateway:
        with channel_to(gateway) as channel:
            assert [fail(channel, "INTERNAL", messages) for messages in (0, 1, 0)] == ["INTERNAL"] * 3
            with pytest.raises(grpc.RpcError) as failure:
                channel.unary_unary(UNARY)(b"x")
    assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.UNAVAILABLE, "circuit_open")
    assert echo.failed == 3


def test_tls_on_both_sides():
    """HTTP/2 is agreed on by ALPN with the client and with the server, whose name is verified."""
    with Authority() as authority:
        authority.issue("gateway.test").issue("server.test")
        credentials = grpc.ssl_server_credentials(
            [(authority.read("server.test.key").encode(), authority.read("server.test.pem").encode())])
        with grpc_server(credentials) as (port, _):
            secure = config(port, scheme="grpcs", pass_host="rewrite", upstream_host="server.test",
                            tls={"ca": authority.read("ca.pem")})
            secure["gateway"]["listen"][0]["tls"] = True
            secure["ssls"] = [authority.ssl("gateway.test")]
            roots = grpc.ssl_channel_credentials(authority.read("ca.pem").encode())
            options = (("grpc.ssl_target_name_override", "gateway.test"),)
            with Gateway(secure) as gateway, grpc.secure_channel(
                    f"127.0.0.1:{gateway.port}", roots, options) as channel:
                assert channel.unary_unary(UNARY)(b"hello") == b"hello"
                assert len(list(channel.unary_stream(SERVER_STREAM)(b"500"))) == 500


def test_server_that_is_not_who_it_should_be_is_unavailable():
    with Authority() as authority:
        authority.issue("other.test")
        credentials = grpc.ssl_server_credentials(
            [(authority.read("other.test.key").encode(), authority.read("other.test.pem").encode())])
        with grpc_server(credentials) as (port, _):
            secure = config(port, scheme="grpcs", pass_host="rewrite", upstream_host="server.test",
                            tls={"ca": authority.read("ca.pem")})
            with Gateway(secure) as gateway, channel_to(gateway) as channel:
                with pytest.raises(grpc.RpcError) as failure:
                    channel.unary_unary(UNARY)(b"x")
            assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
            assert failure.value.details() == "upstream_tls_failed"


def test_shipped_example():
    with grpc_server() as (port, _):
        shipped = example("grpc", {50051: port})
        shipped["gateway"]["listen"][0]["address"] = "127.0.0.1:$PORT"
        shipped["routes"][0]["uri"] = "/test.Echo/*"
        with Gateway(shipped) as gateway, channel_to(gateway) as channel:
            assert channel.unary_unary(UNARY)(b"x") == b"x"
