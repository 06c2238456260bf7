#!/usr/bin/env python3
"""Calls through tollbridge and through Kamailio, in turn, on this machine.

What is compared is the same job: find the session of the dialled number, check it, count a cap,
dial the buyer, follow the dialog, leave one call record. The bare proxy does none of it and shows
the floor. The server runs on core 0; SIPp, and Redis where the server needs it, on core 1. CPU is
what the kernel charges to the server's processes and its Redis.

All is loopback on fixed ports (25060 and up), every process is started here and ended by its id.
Results go to target/bench-sip/: one JSON line per run in runs.jsonl, the summary in summary.json.
"""

import argparse
import concurrent.futures
import contextlib
import csv
import datetime
import http.client
import json
import os
import platform
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "bench-sip"
BINARY = Path(os.environ.get("BENCH_BINARY", ROOT / "target" / "release" / "tollbridge")).resolve()

SIP, TARGET, CARRIER, PROBE, API, REDIS = 25060, 25070, 25100, 25120, 25080, 25379
SERVER_CORE, LOAD_CORE = "0", "1"
SESSIONS = 10_000
TICKS = os.sysconf("SC_CLK_TCK")

# Tuned as in spec/peers: TLSF for shared (-x) and private (-X) memory.
KAMAILIO = ["kamailio", "-DD", "-E", "-x", "tlsf", "-X", "tlsf", "-m", "1024", "-M", "16",
            "-w", str(WORK), "-Y", str(WORK)]
# Memory taken at start says nothing about memory per call, so that run goes without.
TUNED = ["-A", "TUNED"]


class Failure(Exception):
    """Told to the user without a traceback."""


# --- servers ---------------------------------------------------------------------------------


class Server:
    """A process tree that takes calls at SIP and dials TARGET."""

    name = ""
    uses_redis = False

    def command(self, memory):
        raise NotImplementedError

    def records(self):
        """How many call records there are, or None if the server keeps none."""
        return None

    def start(self, memory=False):
        """Returns when it is ready; one that does not get there is ended."""
        self.redis = self.process = None
        try:
            self.launch(memory)
        except BaseException:
            self.stop()
            raise

    def launch(self, memory):
        shutil.rmtree(WORK / "data", ignore_errors=True)
        shutil.rmtree(WORK / "kamailio-cdr", ignore_errors=True)
        (WORK / "kamailio-cdr").mkdir()
        if self.uses_redis:
            self.redis = spawn("redis", LOAD_CORE, [
                "redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(WORK)])
            wait_for("redis", lambda: connects(REDIS))
            fill_redis()
        self.process = spawn(self.name, SERVER_CORE, self.command(memory))
        wait_for(self.name, lambda: is_bound(SIP), self.process)
        self.prepare()

    def prepare(self):
        """Whatever must be there before the first call."""

    def stop(self):
        for process in (self.process, self.redis):
            if process:
                end(process)

    def cpu(self):
        """CPU seconds so far: of the server, of its Redis."""
        own = sum(cpu_of(pid) for pid in tree(self.process.pid))
        return own, cpu_of(self.redis.pid) if self.redis else 0.0

    def memory(self):
        pids = tree(self.process.pid) + ([self.redis.pid] if self.redis else [])
        return sum(pss_of(pid) for pid in pids)


class Tollbridge(Server):
    name = "tollbridge"
    settings = ()

    def command(self, memory):
        if not BINARY.exists():
            raise Failure(f"{BINARY} is missing: make release, or cargo build --release")
        sets = [word for item in self.settings for word in ("--set", item)]
        return [str(BINARY), "serve", "--config", str(HERE / "tollbridge.toml"),
                "--set", f"store.dir={WORK / 'data'}", *sets]

    def prepare(self):
        wait_for("the API", lambda: connects(API) and self.is_ready())
        with concurrent.futures.ThreadPoolExecutor(8) as publishers:
            list(publishers.map(self.ping, [range(n, SESSIONS, 8) for n in range(8)]))

    def is_ready(self):
        return self.ask("/readyz").status == 200

    def ask(self, path):
        """The answer of the API, to be read."""
        api = http.client.HTTPConnection("127.0.0.1", API, timeout=5)
        api.request("GET", path, headers={"Authorization": "Bearer dev"})
        return api.getresponse()

    def ping(self, numbers):
        """A session for each caller, on one connection."""
        api = http.client.HTTPConnection("127.0.0.1", API, timeout=10)
        for n in numbers:
            body = {"campaign": "auto", "publisher": "leadwell", "caller_id": f"+{caller(n)}",
                    "sub_id": f"sub-{n % 50}", "zip": f"{10000 + n}", "state": "OH",
                    "ttl_s": 86400, "request_id": f"bench-{n}", "lead": {"insured": "yes"}}
            api.request("POST", "/v1/pings", json.dumps(body), {
                "Authorization": "Bearer dev", "Content-Type": "application/json"})
            reply = api.getresponse()
            text = reply.read()
            if reply.status != 202:
                raise Failure(f"a ping was refused: {reply.status} {text.decode()}")

    def records(self, which="1"):
        """Records of the book for which `which` is true, in SQL."""
        database = next(file for file in (WORK / "data").rglob("*") if is_sqlite(file))
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
            return store.execute(f"SELECT count(*) FROM cdr WHERE {which}").fetchone()[0]


class KamailioPayPerCall(Server):
    name = "kamailio-ppc"
    uses_redis = True
    config = "pay-per-call.cfg"

    def command(self, memory):
        text = (HERE / "kamailio" / self.config).read_text().replace("@WORK@", str(WORK))
        rendered = WORK / self.config
        rendered.write_text(text)
        return [*KAMAILIO, *([] if memory else TUNED), "-f", str(rendered)]

    def records(self):
        files = (WORK / "kamailio-cdr").glob("*")
        return sum(file.read_bytes().count(b"\n") for file in files)


class KamailioProxy(KamailioPayPerCall):
    name = "kamailio-proxy"
    uses_redis = False
    config = "proxy.cfg"

    def records(self):
        return None


SERVERS = {server.name: server for server in (Tollbridge, KamailioPayPerCall, KamailioProxy)}


def is_sqlite(file):
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(15) == b"SQLite format 3"


def fill_redis():
    """One session per number, 12 fields, none longer than 64 bytes."""
    def command(*words):
        out = b"*%d\r\n" % len(words)
        for word in map(str, words):
            out += b"$%d\r\n%s\r\n" % (len(word), word.encode())
        return out

    out = b"".join(
        command("HSET", f"session:{number(n)}", "id", f"ses_{n:028x}", "publisher", f"pub_{n % 50}",
                "campaign", f"cmp_{n % 200}", "buyer", f"buy_{n % 100}", "price", f"{10 + n % 90}.50",
                "target", f"1877555{n:04d}", "caller", caller(n), "zip", f"{10000 + n}",
                "state", "OH", "expires", "2000000000", "limit", "1000000000", "status", "open")
        for n in range(SESSIONS))
    with socket.create_connection(("127.0.0.1", REDIS)) as connection:
        connection.sendall(out)
        replies = connection.makefile("rb")
        for _ in range(SESSIONS):
            if not replies.readline().startswith(b":"):
                raise Failure("redis refused a session")


def number(n):
    return f"1888555{n:04d}"


def caller(n):
    return f"1614555{n:04d}"


# --- load ------------------------------------------------------------------------------------


class Load:
    """SIPp as advertiser and as one or more carriers, on the load core."""

    def __init__(self, tag):
        self.tag = tag
        self.processes = []

    def __enter__(self):
        self.target = self.sipp("uas", ["-sf", str(HERE / "uas.xml"), "-p", str(TARGET)])
        wait_for("sipp", lambda: is_bound(TARGET), self.target)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            end(process)

    def sipp(self, name, arguments):
        stem = WORK / f"{self.tag}.{name}"
        for old in WORK.glob(f"{stem.name}*"):
            old.unlink()
        port = 26000 + 20 * len(self.processes)
        process = spawn(stem.name, LOAD_CORE, [
            "sipp", *arguments, "-i", "127.0.0.1", "-mp", str(port), "-cp", str(port + 10),
            "-l", "1000000", "-nostdin", "-buff_size", "4194304", "-watchdog_interval", "0",
            "-trace_stat", "-fd", "1", "-stf", f"{stem}.csv"])
        self.processes.append(process)
        return process

    def call(self, rate, calls, talk_ms, carriers, while_up=None, scenario="uac.xml", grace_s=40):
        """Makes `calls` calls at `rate` a second and waits for their end, `grace_s` at most."""
        started = time.monotonic()
        running = []
        for n in range(carriers):
            share = calls // carriers
            running.append(self.sipp(f"uac{n}", [
                f"127.0.0.1:{SIP}", "-sf", str(HERE / scenario), "-p", str(CARRIER + n),
                "-inf", str(WORK / "numbers.csv"), "-r", str(max(1, round(rate / carriers))),
                "-m", str(share), "-d", str(talk_ms)]))
        limit = started + calls / rate + talk_ms / 1000 + grace_s
        seen = None
        while any(process.poll() is None for process in running):
            if time.monotonic() > limit:
                break
            if while_up and seen is None:
                seen = while_up(time.monotonic() - started)
            time.sleep(0.1)
        return Outcome(self.tag, carriers), seen


class Probe(threading.Thread):
    """A few calls beside the load, one after the other, to time INVITE to 180: the clock SIPp reads
    only advances with the kernel's tick."""

    def __init__(self):
        super().__init__(daemon=True)
        self.delays = []
        self.running = True
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", PROBE))
        self.socket.settimeout(1)

    def run(self):
        count = 0
        while self.running:
            try:
                self.call(count)
            except TimeoutError:
                pass
            count += 1

    def stop(self):
        self.running = False
        self.join()
        self.socket.close()
        return sorted(self.delays)

    def call(self, count):
        did, call_id = number(count % SESSIONS), f"probe-{time.monotonic_ns()}"
        uri = f"sip:{did}@127.0.0.1:{SIP}"
        sdp = ("v=0\r\no=probe 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
               "m=audio 30000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"
               "a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n")
        began = time.perf_counter()
        self.send("INVITE", uri, f"<{uri}>", call_id, 1, [], sdp)
        self.await_status(b"180", call_id)
        delay = 1000 * (time.perf_counter() - began)
        answer = self.await_status(b"200", call_id)
        header = {}
        for line in answer.split("\r\n\r\n")[0].split("\r\n")[1:]:
            name, _, value = line.partition(":")
            header.setdefault(name.strip().lower(), []).append(value.strip())
        target = header["contact"][0].split("<")[-1].split(">")[0]
        routes = list(reversed(header.get("record-route", [])))
        self.send("ACK", target, header["to"][0], call_id, 1, routes)
        self.send("BYE", target, header["to"][0], call_id, 2, routes)
        self.await_status(b"200", call_id)
        self.delays.append(delay)

    def send(self, method, uri, to, call_id, cseq, routes, sdp=""):
        lines = [f"{method} {uri} SIP/2.0",
                 f"Via: SIP/2.0/UDP 127.0.0.1:{PROBE};branch=z9hG4bK{call_id}{method}",
                 "Max-Forwards: 70", *(f"Route: {route}" for route in routes),
                 f"From: <sip:+16145559999@127.0.0.1:{PROBE}>;tag=probe", f"To: {to}",
                 f"Call-ID: {call_id}", f"CSeq: {cseq} {method}",
                 f"Contact: <sip:probe@127.0.0.1:{PROBE}>"]
        if sdp:
            lines.append("Content-Type: application/sdp")
        text = "\r\n".join([*lines, f"Content-Length: {len(sdp)}", "", sdp])
        self.socket.sendto(text.encode(), ("127.0.0.1", SIP))

    def await_status(self, status, call_id):
        while True:
            message = self.socket.recv(65535)
            if message.startswith(b"SIP/2.0 " + status) and call_id.encode() in message:
                return message.decode()


class Outcome:
    """What SIPp counted."""

    def __init__(self, tag, carriers):
        rows = [self.last_row(WORK / f"{tag}.uac{n}.csv") for n in range(carriers)]
        self.ok = sum(int(row["SuccessfulCall(C)"]) for row in rows)
        self.failed = sum(int(row["FailedCall(C)"]) for row in rows)
        self.made = sum(int(row["OutgoingCall(C)"]) for row in rows)
        rows.append(self.last_row(WORK / f"{tag}.uas.csv"))
        self.repeated = sum(int(row["Retransmissions(C)"]) for row in rows)

    @classmethod
    def last_row(cls, path):
        rows = cls.rows(path)
        if not rows:
            raise Failure(f"sipp left no statistics in {path}")
        return rows[-1]

    @staticmethod
    def rows(path):
        """One for each second."""
        try:
            with path.open() as lines:
                names, *rows = csv.reader(lines, delimiter=";")
            return [dict(zip(names, row)) for row in rows]
        except (OSError, ValueError):
            raise Failure(f"sipp left no statistics in {path}") from None


# --- measurements ----------------------------------------------------------------------------


def run_at(server, rate, seconds, args, tag, warm_up=0):
    """One server, one rate. The figures of one run.

    Transactions linger for 32 seconds (RFC 3261 timer J). Until the first of them end a server only
    takes new memory; with a `warm_up` beyond that it is measured in the state it lives in.
    """
    server.start()
    try:
        with Load(tag) as load:
            warm, _ = load.call(min(rate, 200), min(rate, 200), 100, 1)
            if warm.ok == 0:
                raise Failure(f"{server.name} takes no calls; see {WORK}/{server.name}.log")
            if warm_up:
                load.call(rate, int(rate * warm_up), args.talk_ms, args.carriers)
            records, (own, redis), steal = server.records(), server.cpu(), stolen()
            probe = Probe()
            probe.start()
            outcome, _ = load.call(rate, int(rate * seconds), args.talk_ms, args.carriers)
            delays = probe.stop()
            calls = outcome.ok + len(delays)
            own_after, redis_after = server.cpu()
            steal = stolen() - steal
            if outcome.failed == 0:
                # A call that found no room at all left no record either, and says so by failing.
                wait_for_records(server, records, calls)
    finally:
        server.stop()
    own, redis = own_after - own, redis_after - redis
    result = {
        "server": server.name, "rate": rate, "seconds": seconds,
        "ok": outcome.ok, "failed": outcome.failed, "made": outcome.made,
        "repeated": outcome.repeated, "cpu_s": round(own, 3), "redis_cpu_s": round(redis, 3),
        "cpu_ms_per_call": ratio(1000 * (own + redis), calls),
        "probes": len(delays), "p50_ms": percentile(delays, 0.50), "p99_ms": percentile(delays, 0.99),
        "steal_s": round(steal, 2), "at": datetime.datetime.now().isoformat(timespec="seconds"),
    }
    with (WORK / "runs.jsonl").open("a") as out:
        out.write(json.dumps(result) + "\n")
    print(f"  {server.name:15} {rate:6.0f}/s  {result['ok']:6} ok {result['failed']:4} failed "
          f"{result['repeated']:4} repeated  {show(result['cpu_ms_per_call'])} ms CPU/call  "
          f"INVITE to 180 p50 {show(result['p50_ms'])} p99 {show(result['p99_ms'])} ms", flush=True)
    return result


def wait_for_records(server, before, calls):
    """Every call must have left its record; otherwise it was not the same job."""
    if before is None:
        return
    give_up = time.monotonic() + 10
    while server.records() - before < calls:
        if time.monotonic() > give_up:
            raise Failure(f"{server.name}: {server.records() - before} records of {calls} calls")
        time.sleep(0.2)


def is_clean(result):
    """No call failed, hardly a message had to be repeated, and SIPp kept the rate."""
    wanted = result["rate"] * result["seconds"]
    return (result["failed"] == 0 and result["ok"] >= 0.99 * wanted
            and result["repeated"] <= 0.001 * result["ok"])


def highest_clean_rate(server, args):
    """Climbs by a quarter, then halves the gap down to 7 %, then confirms with a longer run."""
    def clean(rate, seconds=args.search_seconds):
        return is_clean(run_at(server, rate, seconds, args, f"{server.name}.search"))

    low, high, rate = 0, None, args.search_from
    while high is None and rate < 20_000:
        if clean(rate):
            low, rate = rate, round(rate * 1.25, -1)
        elif low:
            high = rate
        else:
            rate = round(rate / 1.5, -1)
            if rate < 50:
                return 0
    while high and high - low > 0.07 * low:
        middle = round((low + high) / 2, -1)
        if clean(middle):
            low = middle
        else:
            high = middle
    while low >= 50 and not clean(low, 2 * args.search_seconds):
        low = round(low * 0.94, -1)
    return low


def train(seconds, args):
    """Load for a binary that writes a profile of it when it ends (scripts/release.sh)."""
    server = Tollbridge()
    server.start()
    try:
        with Load("train") as load:
            outcome, _ = load.call(300, int(300 * seconds), args.talk_ms, 1)
    finally:
        server.stop()
    if outcome.failed:
        raise Failure(f"{outcome.failed} of {outcome.made} calls failed; see {WORK}/tollbridge.log")


def memory_per_call(server, args):
    """PSS with args.hold calls up, less PSS before, in bytes per call."""
    calls, rate = args.hold, 500
    server.start(memory=True)
    try:
        with Load(f"{server.name}.hold") as load:
            load.call(200, 400, 100, 1)
            time.sleep(1)
            before = server.memory()
            up_after = calls / rate + 2
            talk_ms = int((up_after + 6) * 1000)
            outcome, held = load.call(
                rate, calls, talk_ms, 1,
                lambda passed: server.memory() if passed > up_after else None)
    finally:
        server.stop()
    if held is None or outcome.failed:
        raise Failure(f"{server.name}: {outcome.failed} of {calls} held calls failed")
    per_call = round((held - before) / calls)
    print(f"  {server.name:15} {calls} calls up: {per_call} bytes per call", flush=True)
    return per_call


def ratio(part, whole):
    return round(part / whole, 4) if whole else None


def percentile(ordered, share):
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3) if ordered else None


def median(values):
    values = [value for value in values if value is not None]
    return round(statistics.median(values), 4) if values else None


def show(value):
    return "    –" if value is None else f"{value:5.2f}"


# --- processes and the kernel's figures ------------------------------------------------------


def spawn(name, core, command):
    log = (WORK / f"{name}.log").open("wb")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    try:
        return subprocess.Popen(["taskset", "-c", core, *command], cwd=WORK, stdout=log,
                                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env={**os.environ, "PATH": path})
    except FileNotFoundError:
        raise Failure("taskset is missing: scripts/install-test-deps.sh --bench") from None


def end(process):
    """SIGTERM, and SIGKILL to what is left of its tree after eight seconds."""
    if process.poll() is not None:
        return
    pids = tree(process.pid)
    process.terminate()
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        process.wait()


def tree(pid):
    pids = [pid]
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in tasks.read_text().split():
            pids += tree(int(child))
    return pids


def cpu_of(pid):
    """CPU seconds of the process, ended threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_of(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def stolen():
    """Seconds the hypervisor kept from this machine."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / TICKS


def is_bound(port):
    return f":{port:04X} " in Path("/proc/net/udp").read_text()


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_for(what, is_so, process=None, seconds=20):
    give_up = time.monotonic() + seconds
    while not is_so():
        if process and process.poll() is not None:
            raise Failure(f"{what} ended with {process.returncode}; see its log in {WORK}")
        if time.monotonic() > give_up:
            raise Failure(f"{what} did not start; see its log in {WORK}")
        time.sleep(0.05)


def settle_in():
    """This process and the load on their core, ports free, files there."""
    if os.cpu_count() < 2:
        raise Failure("two cores are needed: one for the server, one for the load")
    for port in (SIP, TARGET, CARRIER, PROBE):
        if is_bound(port):
            raise Failure(f"UDP port {port} is in use")
    own_scheduling_group()
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "numbers.csv").write_text(
        "SEQUENTIAL\n" + "".join(f"{number(n)};{caller(n)}\n" for n in range(SESSIONS)))


def own_scheduling_group():
    """A session of its own and a better share, so that other work disturbs less."""
    try:
        os.setsid()
    except OSError:
        pass
    try:
        Path("/proc/self/autogroup").write_text("-10")
    except OSError:
        pass


# --- the whole -------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--servers", default=",".join(SERVERS), help="names, in order")
    parser.add_argument("--rates", default="1000", help="calls a second, compared at each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15, help="of load per run")
    parser.add_argument("--warm-up", type=float, default=35, help="seconds of load before that")
    parser.add_argument("--talk-ms", type=int, default=500)
    parser.add_argument("--carriers", type=int, default=2, help="SIPp processes that call")
    parser.add_argument("--hold", type=int, default=5000, help="calls for memory; 0 leaves it out")
    parser.add_argument("--search", action=argparse.BooleanOptionalAction, default=True,
                        help="look for the highest clean rate")
    parser.add_argument("--search-from", type=float, default=1000)
    parser.add_argument("--search-seconds", type=float, default=10)
    parser.add_argument("--train", type=float, metavar="SECONDS",
                        help="only make calls, for the profile of scripts/release.sh")
    args = parser.parse_args()

    settle_in()
    if args.train:
        train(args.train, args)
        return
    servers = [SERVERS[name]() for name in args.servers.split(",")]
    summary = {server.name: {"at": {}} for server in servers}

    for rate in map(float, args.rates.split(",")):
        print(f"{rate:.0f} calls a second, {args.repeats} times in turn")
        runs = {server.name: [] for server in servers}
        for _ in range(args.repeats):
            for server in servers:
                tag = f"{server.name}.{rate:.0f}"
                runs[server.name].append(
                    run_at(server, rate, args.seconds, args, tag, args.warm_up))
        for name, results in runs.items():
            summary[name]["at"][f"{rate:.0f}"] = {
                key: median([result[key] for result in results])
                for key in ("cpu_ms_per_call", "p50_ms", "p99_ms", "failed", "repeated")}
    if args.search:
        print("highest rate without a failed call")
        for server in servers:
            summary[server.name]["clean_rate"] = highest_clean_rate(server, args)
    if args.hold:
        print("memory")
        for server in servers:
            summary[server.name]["bytes_per_call"] = memory_per_call(server, args)

    report(summary)
    (WORK / "summary.json").write_text(json.dumps(
        {"machine": f"{platform.machine()} {platform.release()}, {os.cpu_count()} cores",
         "at": datetime.datetime.now().isoformat(timespec="seconds"),
         "arguments": vars(args), "servers": summary}, indent=2) + "\n")
    print(f"\nwritten to {WORK.relative_to(ROOT)}/summary.json")


def report(summary):
    print("\nmedians")
    ours = summary.get("tollbridge")
    for name, figures in summary.items():
        for rate, at in figures["at"].items():
            line = (f"  {name:15} {rate:>6}/s  {show(at['cpu_ms_per_call'])} ms CPU/call  "
                    f"p50 {show(at['p50_ms'])}  p99 {show(at['p99_ms'])} ms")
            if ours and name != "tollbridge":
                mine = ours["at"][rate]["cpu_ms_per_call"]
                line += f"   tollbridge costs {show(ratio(mine or 0, at['cpu_ms_per_call']))} of it"
            print(line)
        if figures.get("clean_rate"):
            line = f"  {name:15} up to {figures['clean_rate']:.0f} calls a second"
            if ours and name != "tollbridge":
                times = ratio(ours["clean_rate"], figures["clean_rate"])
                line += f"   tollbridge takes {show(times)} times as many"
            print(line)
        if "bytes_per_call" in figures:
            print(f"  {name:15} {figures['bytes_per_call']} bytes per call")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"bench-sip: {failure}")
