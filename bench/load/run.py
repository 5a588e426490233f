#!/usr/bin/python3
"""Measures Sluice against nginx and HAProxy; bench/README.md tells the method.

Every figure is CPU time of the proxy's processes per completed request, as a ratio to nginx in the
same round, because requests per second on one machine are those of the generator.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass

from measure import (Load, MallocCounter, exact_connections, exact_requests, memory_with_idle,
                     syscalls_per_request, under_load)
import http2_servers
import plugin_servers
from servers import Haproxy, Nginx, NginxLargeBuffers, Origin, Sluice, Tls

ROUTES = 10_000
PAIR = ("nginx", "sluice")
DEFAULT_WORKS = ("small", "10k", "1m", "close", "routes", "tls", "tls-1m", "tls-full", "tls-tickets",
                 "h2", "h2-tls", "grpc", "gateway", "idle", "tls-idle", "calls")
GRPC_REQUEST = b"\0" + (64).to_bytes(4, "big") + b"x" * 64
MAX_STEAL = 0.02
MAX_SPREAD = 0.05


@dataclass(frozen=True)
class Work:
    title: str
    load: Load
    target: float  # at most, Sluice's cost over the reference's
    servers: tuple = ("nginx", "haproxy", "sluice")  # the first one is the reference
    tls: str = ""  # the protocol to pin


def works(directory):
    script = os.path.join(directory, "routes.lua")
    with open(script, "w") as file:
        # Requests are formatted once: the generator's CPU is the busier one.
        file.write(f"""local all, next_one = {{}}, 0
function init(args)
  for i = 1, {ROUTES - 1} do all[i] = wrk.format("GET", "/service-" .. (i * 7919) % {ROUTES - 1} .. "/items") end
end
function request()
  next_one = next_one % #all + 1
  return all[next_one]
end
""")
    return {
        "small": Work("small GET, keep-alive, 64 connections", Load("/small"), 0.85),
        "10k": Work("10 KB reply", Load("/10k"), 0.80),
        "1m": Work("1 MB reply", Load("/1m"), 0.40),
        "close": Work("new connection for each request",
                      Load("/small", headers=("Connection: close",)), 0.95),
        "routes": Work("10,000 routes against 1 route", Load("/", script=script), 1.03,
                       ("sluice", "sluice 10k")),
        "tls": Work("TLS 1.3, keep-alive small GET", Load("/small"), 0.85, PAIR, "TLSv1.3"),
        "tls-1m": Work("TLS 1.3, 1 MB reply", Load("/1m"), 0.90, PAIR, "TLSv1.3"),
        "tls-full": Work("TLS 1.3, full handshake for each request",
                         Load("/small", handshakes="new"), 1.05, PAIR, "TLSv1.3"),
        "tls-tickets": Work("TLS 1.2, ticket resumption for each request",
                            Load("/small", handshakes="reuse"), 1.05, PAIR, "TLSv1.2"),
        "1m-buffers": Work("1 MB reply, nginx with 64 KB buffers", Load("/1m"), None,
                           ("nginx 64k", "haproxy", "sluice")),
        "h2": Work("h2c to HTTP/1, 16 streams on each of 16 connections",
                   Load("/small", connections=16, streams=16), 0.60,
                   ("nginx h2", "haproxy h2", "nghttpx h2", "sluice h2")),
        "h2-tls": Work("h2 over TLS 1.3 to HTTP/1, 16 streams on each of 16 connections",
                       Load("/small", connections=16, streams=16, tls=True), 0.60,
                       ("nginx h2 tls", "haproxy h2 tls", "nghttpx h2 tls", "sluice h2 tls")),
        "grpc": Work("gRPC unary, h2c to h2c, 16 streams on each of 16 connections",
                     Load("/bench.Echo/Say", connections=16, streams=16, body=GRPC_REQUEST,
                          headers=("content-type: application/grpc", "te: trailers")), 0.60,
                     ("nginx grpc", "haproxy grpc", "sluice grpc")),
        # Sluice without plugins beside it: what the plugins cost is the difference.
        "gateway": Work("small GET with a JWT (HS256), a shared counter and metrics",
                        Load("/small", headers=plugin_servers.headers()), 0.50,
                        ("nginx lua", "sluice", "sluice gateway")),
    }


def start_server(name, root, origin, sluice, environment=None, **settings):
    made = {
        "nginx": lambda: Nginx(root, origin, **settings),
        "nginx 64k": lambda: NginxLargeBuffers(root, origin),
        "haproxy": lambda: Haproxy(root, origin, **settings),
        "sluice": lambda: Sluice(root, origin, sluice, **settings),
        "sluice 10k": lambda: Sluice(root, origin, sluice, routes=ROUTES),
        "nginx lua": lambda: plugin_servers.NginxLua(root, origin),
        "sluice gateway": lambda: plugin_servers.SluiceGateway(root, origin, sluice),
    }.get(name, lambda: http2_servers.make(name, root, origin, sluice))()
    try:
        return made.start(environment)
    except BaseException:
        made.stop()
        raise


def quantile(values, q):
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interleave(servers, work, rounds, seconds):
    """A B C A B C …, warmed up before. A round with steal is measured again, at most as often as
    there are rounds."""
    samples, repeats = [], rounds
    for server in servers.values():
        under_load(server, work.load, 1)
    while len(samples) < rounds:
        taken = {name: under_load(server, work.load, seconds) for name, server in servers.items()}
        if max(sample.steal for sample in taken.values()) > MAX_STEAL and repeats > 0:
            repeats -= 1
            continue
        samples.append(taken)
    return samples


def summarise(work, samples):
    names = list(samples[0])
    result = {"title": work.title, "target": work.target, "reference": names[0], "servers": {},
              "remarks": []}
    for name in names:
        taken = [one[name] for one in samples]
        ratios = [one[name].cpu_us / one[names[0]].cpu_us for one in samples]
        result["servers"][name] = {
            "ratio": statistics.median(ratios),
            "low": quantile(ratios, 0.2), "high": quantile(ratios, 0.8),
            "cpu_us": statistics.median(sample.cpu_us for sample in taken),
            "utilisation": statistics.median(sample.utilisation for sample in taken),
            "rate": statistics.median(sample.rate for sample in taken),
            "samples": [asdict(sample) for sample in taken],
        }
        errors = sum(sample.errors for sample in taken)
        if errors:
            result["remarks"].append(f"{name}: {errors} failed requests")
        spread = quantile(ratios, 0.8) - quantile(ratios, 0.2)
        if spread > MAX_SPREAD * statistics.median(ratios):
            result["remarks"].append(f"{name}: 20-80 % range above 5 %, repeat the run")
        if max(sample.steal for sample in taken) > MAX_STEAL:
            result["remarks"].append(f"{name}: steal above 2 %, repeat the run")
        if max(sample.softirq_leak for sample in taken) > 0.02:
            result["remarks"].append(f"{name}: ksoftirqd/0 ran: some cost is not counted")
    return result


def measure_work(work, root, origin, options):
    names = [name for name in work.servers if options.sluice or not name.startswith("sluice")]
    if len(names) < 2:
        return None
    # Where the memory of a process lies changes what it costs by up to a tenth.
    samples = []
    for start in range(options.starts):
        rounds = options.rounds * (start + 1) // options.starts - len(samples)
        servers = {}
        try:
            for name in names:
                settings = {"tls": Tls.make(root, work.tls)} if work.tls else {}
                servers[name] = start_server(name, root, origin, options.sluice, **settings)
            samples += interleave(servers, work, rounds, options.seconds)
        finally:
            for server in servers.values():
                server.stop()
    return summarise(work, samples)


def for_each_proxy(root, origin, options, measure, environment=None,
                   names=("nginx", "haproxy", "sluice"), **settings):
    result = {}
    for name in names:
        if name == "sluice" and not options.sluice:
            continue
        server = start_server(name, root, origin, options.sluice, environment, **settings)
        try:
            result[name] = measure(server)
        finally:
            server.stop()
    return result


def ratio_text(entry):
    return f"{entry['ratio']:.2f} ({entry['low']:.2f}-{entry['high']:.2f})"


def print_work(result):
    servers = result["servers"]
    ours = next((name for name in reversed(servers) if name.startswith("sluice")), None)
    haproxy = next((name for name in servers if name.startswith("haproxy")), None)
    target = "-" if result["target"] is None else f"{result['target']:.2f}"
    verdict = ""
    if ours and result["target"] is not None:
        over = servers[ours]["ratio"] / result["target"] - 1
        verdict = "met" if over <= 0 else f"missed by {over:.0%}"
    print(f"| {result['title']} | {target} "
          f"| {ratio_text(servers[ours]) if ours else '-'} "
          f"| {ratio_text(servers[haproxy]) if haproxy else '-'} "
          f"| {' / '.join(f'''{entry['cpu_us']:.2f}''' for entry in servers.values())} "
          f"| {' / '.join(f'''{entry['utilisation']:.0%}''' for entry in servers.values())} "
          f"| {verdict} |", flush=True)
    nghttpx = next((name for name in servers if name.startswith("nghttpx")), None)
    if ours and nghttpx:
        over = servers[ours]["cpu_us"] / servers[nghttpx]["cpu_us"]
        print(f"    nghttpx / nginx {ratio_text(servers[nghttpx])}, Sluice / nghttpx {over:.2f}")
    for remark in result["remarks"]:
        print(f"    {remark}", flush=True)


def print_idle(idle, kind="keep-alive", target=1.0):
    ratio = {name: value / idle["nginx"] for name, value in idle.items()}
    ours = f"{ratio['sluice']:.2f}" if "sluice" in ratio else "-"
    verdict = "" if "sluice" not in ratio else (
        "met" if ratio["sluice"] <= target else f"missed by {ratio['sluice'] / target - 1:.0%}")
    haproxy = f"{ratio['haproxy']:.2f}" if "haproxy" in ratio else "-"
    print(f"| one idle {kind} connection, user memory | {target:.2f} | {ours} | {haproxy} "
          f"| {' / '.join(f'{value:.0f} B' for value in idle.values())} | - | {verdict} |", flush=True)


def print_calls(calls):
    print("\nCalls per request, small GET (data: read, write and their kin)\n")
    print("| proxy | data | of these failed | epoll_ctl | epoll_wait | others | mallocs |")
    print("|---|---|---|---|---|---|---|")
    for name, entry in calls.items():
        others = ", ".join(f"{call} {rate:.2f}" for call, rate in entry["other"].items()) or "0"
        print(f"| {name} | {entry['data']:.2f} | {entry['data errors']:.2f} "
              f"| {entry['epoll_ctl']:.3f} | {entry['epoll_wait']:.2f} | {others} "
              f"| {format(entry['mallocs'], '.3f') if 'mallocs' in entry else '-'} |", flush=True)


def measure_idle(root, origin, options, **settings):
    """Bytes per connection: a proxy that is set up for `--idle` connections and holds them, against
    one that is set up for 512 and holds none. So what is allocated in advance counts too. (nginx
    begins to close idle connections when fewer than a sixteenth of its slots are free.)"""
    few = for_each_proxy(root, origin, options,
                         lambda server: memory_with_idle(server, "/small", 0), connections=512,
                         **settings)
    many = for_each_proxy(root, origin, options,
                          lambda server: memory_with_idle(server, "/small", options.idle),
                          connections=options.idle * 9 // 8, **settings)
    return {name: (many[name] - few[name]) / options.idle for name in few}


def measure_calls(root, origin, options):
    calls = {}
    for work, send in (("keep-alive", exact_requests), ("new connection", exact_connections)):
        counted = for_each_proxy(root, origin, options,
                                 lambda server: syscalls_per_request(server, "/small", send))
        calls.update({f"{name}, {work}": entry for name, entry in counted.items()})
    counter = MallocCounter(root)
    mallocs = for_each_proxy(root, origin, options,
                             lambda server: counter.per_request(server, "/small"),
                             counter.environment)
    for name, count in mallocs.items():
        calls[f"{name}, keep-alive"]["mallocs"] = count
    return calls


def parse_options():
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", default=",".join(DEFAULT_WORKS),
                        help="comma-separated; also: 1m-buffers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="of all starts together")
    parser.add_argument("--starts", type=int, default=3, help="of all processes anew")
    parser.add_argument("--seconds", type=int, default=3, help="of load for a proxy and round")
    parser.add_argument("--idle", type=int, default=9_000, help="idle connections")
    parser.add_argument("--json", help="write every sample to this file")
    parser.add_argument("--sluice", default=os.path.join(top, "build/release/sluice"),
                        help="binary; empty: nginx and HAProxy only (default: %(default)s)")
    options = parser.parse_args()
    if options.sluice and not os.access(options.sluice, os.X_OK):
        parser.error(f"{options.sluice} is not there: run './dev build release' first")
    if options.sluice:
        options.sluice = os.path.abspath(options.sluice)
    if options.rounds < 1 or options.seconds < 1 or not 1 <= options.starts <= options.rounds:
        parser.error("--rounds and --seconds expect at least 1, --starts 1 to --rounds")
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("needs two CPUs: one for the proxy, one for the generator and the origin")
    return parser, options


def isolate():
    """Goes on in a network namespace of its own, where loopback uses the congestion control that
    Linux and Debian come with. BBR paces large replies by timers, whose cost hides the proxies'."""
    if os.geteuid() != 0 or os.environ.get("SLUICE_BENCH_NETNS"):
        return
    commands = ["ip link set lo up"]
    for prefix in ("127.0.0.0/8", "127.0.0.1"):
        commands.append(f"ip route change local {prefix} dev lo table local src 127.0.0.1 congctl cubic")
    script = " && ".join(commands) + ' && exec "$@"'
    os.environ["SLUICE_BENCH_NETNS"] = "1"
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", script, "bench", sys.executable, *sys.argv])


def congestion_control():
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            socket.create_connection(listener.getsockname()) as client:
        name = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    return name.split(b"\0")[0].decode()


def run(options, wanted, known, root, results):
    origin = Origin(root)
    try:
        origin.start()
        print(f"TCP congestion control: {results['congestion control']}\n")
        print("| work | target | Sluice / nginx | HAProxy / nginx | CPU µs per request "
              "| utilisation | |\n|---|---|---|---|---|---|---|", flush=True)
        for name in wanted:
            if name in known:
                result = measure_work(known[name], root, origin, options)
                if result:
                    results["works"][name] = result
                    print_work(result)
        if "idle" in wanted:
            results["idle"] = measure_idle(root, origin, options)
            print_idle(results["idle"])
        if "tls-idle" in wanted:
            results["tls-idle"] = measure_idle(root, origin, options, names=PAIR,
                                               tls=Tls.make(root, "TLSv1.3"))
            print_idle(results["tls-idle"], "TLS 1.3", 1.1)
        if "calls" in wanted:
            results["calls"] = measure_calls(root, origin, options)
            print_calls(results["calls"])
    finally:
        origin.stop()


def main():
    parser, options = parse_options()
    isolate()
    root = tempfile.mkdtemp(prefix="sluice-bench-", dir="/dev/shm")
    os.chmod(root, 0o755)
    results = {"rounds": options.rounds, "seconds": options.seconds, "kernel": os.uname().release,
               "congestion control": congestion_control(), "works": {}}
    try:
        known = works(root)
        wanted = [name for name in options.works.split(",") if name]
        unknown = [name for name in wanted if name not in known and name not in ("idle", "tls-idle", "calls")]
        if unknown:
            parser.error(f"unknown work {unknown[0]!r}: expected one of {', '.join(known)}, idle, tls-idle, calls")
        run(options, wanted, known, root, results)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(results, file, indent=1)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
