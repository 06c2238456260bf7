#!/usr/bin/env python3
"""Tollbridge under what no day should bring: three times the calls it can take, junk, and an hour.

    stress.py --overload          goodput at three times the calls it can take, and that no BYE is lost
    stress.py --junk 50000        junk messages a second from a stranger: what they add to the set-up delay
    stress.py --soak 60           minutes of steady calls: whether memory grows, and what is left after

Several may be asked for at once. The server runs on core 0, the load on core 1, as in bench.py, whose
servers and load these are. Each prints a table and a verdict, appends one JSON line to
target/bench-sip/stress.jsonl, and the exit code is 1 if a bar was missed.
"""

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import random
import re
import socket
import sys
import time
from pathlib import Path

import bench
from bench import Failure, Load, Probe, Tollbridge, WORK, median, percentile, wait_for

# Shares of a core are given and taken in slices as short as the kernel allows to be useful.
PERIOD_US = 10_000
GROUPS = Path("/sys/fs/cgroup")

# --- overload --------------------------------------------------------------------------------

# Of the calls a second that the server can answer and end well.
OVERLOAD = 3
GOODPUT_BAR = 0.9
LOST = ("unended", "answers_without_record", "calls_without_record", "objects_left")


def overload(args):
    """Offers three times what is clean, which decides, and then three times the most that was
    answered. SIPp on one core makes about 8,000 calls a second, no more than the server takes on its
    own, so the server is given a share of its core."""
    server = Limited(args.share)
    search = argparse.Namespace(
        search_from=args.search_from, search_seconds=args.search_seconds,
        talk_ms=500, carriers=2)
    print(f"highest clean rate with {args.share} % of a core")
    clean = args.peak or bench.highest_clean_rate(server, search)
    if not clean:
        raise Failure("no rate was clean")
    of_clean = overload_runs(server, clean, args)
    # The busier, the cheaper is a call: more are answered under overload than is clean. What refusing
    # costs shows where that is taken for the peak: a refusal has three messages, a call twelve.
    most = max(clean, of_clean["goodput"])
    of_most = overload_runs(server, most, args)
    for title, peak, run in (("three times the clean rate", clean, of_clean),
                             ("three times the most that was answered", most, of_most)):
        print(f"\n{title}")
        table([("peak", f"{peak:.0f} calls/s"),
               ("offered", f"{run['offered']:.0f} calls/s"),
               ("answered and ended well", f"{run['goodput']:.0f} calls/s"),
               ("of the peak", f"{100 * run['goodput_share']:.0f} %"),
               ("answered calls whose BYE was lost", run["unended"]),
               ("answers and calls without their record",
                run["answers_without_record"] + run["calls_without_record"]),
               ("objects left", run["objects_left"])])
    lost = [run[key] for run in (of_clean, of_most) for key in LOST]
    is_met = of_clean["goodput_share"] >= GOODPUT_BAR and not any(lost)
    return verdict("overload", is_met, {
        "clean": clean, "most": most, "of_clean": of_clean, "of_most": of_most})


def overload_runs(server, peak, args):
    """The medians of several runs, and of what must not be lost the most."""
    runs = [overload_once(server, peak, args) for _ in range(args.repeats)]
    figures = {key: median([run[key] for run in runs])
               for key in ("goodput", "goodput_share", "offered", "cpu_share")}
    figures.update({key: max((run[key] for run in runs), key=abs) for key in LOST})
    return {**figures, "runs": runs}


def overload_once(server, peak, args):
    rate = OVERLOAD * peak
    server.start()
    try:
        with Load("overload") as load:
            at_start = objects(server)
            warm, _ = load.call(peak / 2, int(peak * 2), 500, 2)
            (own, _), steal = server.cpu(), bench.stolen()
            began = time.monotonic()
            load.call(rate, int(rate * args.seconds), 500, args.carriers,
                      scenario="uac-refused.xml", grace_s=60)
            took = time.monotonic() - began
            own, steal = server.cpu()[0] - own, bench.stolen() - steal
            rows = [bench.Outcome.rows(WORK / f"overload.uac{n}.csv") for n in range(args.carriers)]
            final = [row[-1] for row in rows]
            total = {name: sum(int(row[column]) for row in final) for name, column in (
                ("made", "OutgoingCall(C)"), ("failed", "FailedCall(C)"), ("answered", "answered(C)"),
                ("ended", "ended(C)"), ("refused", "refused(C)"),
                ("repeated", "Retransmissions(C)"))}
            wait_for("the end of the calls", lambda: is_quiet(server), seconds=60)
            after = counts(server)
            left = wait_for_rest(server, at_start, args.rest_s)
    finally:
        server.stop()
    goodput = steady([[int(line["ended(C)"]) for line in row] for row in rows], args.seconds)
    made = steady([[int(line["OutgoingCall(C)"]) for line in row] for row in rows], args.seconds)
    run = {
        **total, "offered": made, "goodput": goodput, "goodput_share": round(goodput / peak, 3),
        "unended": total["answered"] - total["ended"],
        "answers_without_record": warm.ok + total["answered"] - after["answered"],
        "calls_without_record": after["calls"] - after["records"],
        "objects_left": sum(left.values()), "left": left, "cpu_share": round(own / took, 3), "steal_s": round(steal, 2),
        "refusals": after["refusals"],
    }
    print(f"  {run}", flush=True)
    return run


class Limited(Tollbridge):
    """Has `percent` of its core, from when it is ready."""

    def __init__(self, percent):
        self.percent = percent

    def start(self, memory=False):
        # First: where no group can be had, nothing is started.
        self.group = Share(self.percent)
        super().start(memory)

    def launch(self, memory):
        super().launch(memory)
        self.group.add(self.process.pid)

    def stop(self):
        try:
            super().stop()
        finally:
            self.group.close()


class Share:
    """A control group with a share of the processor, version 1 or 2."""

    def __init__(self, percent):
        quota = PERIOD_US * percent // 100
        one, two = GROUPS / "cpu", GROUPS
        if (one / "cpu.cfs_quota_us").exists() or (one / "tasks").exists():
            self.path = one / "tollbridge-bench"
            limits = {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota}"}
        else:
            self.path = two / "tollbridge-bench"
            limits = {"cpu.max": f"{quota} {PERIOD_US}"}
        try:
            self.path.mkdir(exist_ok=True)
            for name, limit in limits.items():
                self.write(name, limit)
        except OSError as error:
            self.close()
            raise Failure(f"a share of a core needs a control group of one's own: {error}") from None

    def add(self, pid):
        try:
            self.write("cgroup.procs", f"{pid}")
        except OSError as error:
            raise Failure(f"the server cannot be given its share of a core: {error}") from None

    def write(self, name, text):
        (self.path / name).write_text(text)

    def close(self):
        with contextlib.suppress(OSError):
            self.path.rmdir()


def counts(server):
    """Of the server, so far."""
    metrics = read_metrics(server)
    return {
        "calls": total_of(metrics, "tollbridge_calls_total"),
        "refusals": {key: value for key, value in metrics.items()
                     if key.startswith(("tollbridge_sip_refused", "tollbridge_sip_dropped")) and value},
        "records": server.records(), "answered": server.records("talk_ms IS NOT NULL"),
    }


def is_quiet(server):
    """No call is up, and each that was has its record."""
    is_up = read_metrics(server)["tollbridge_calls_active"] > 0
    found = counts(server)
    return not is_up and found["calls"] == found["records"]


def steady(cumulative, seconds):
    """A second, from the fifth second of the load to its last, all carriers together. SIPp writes a
    line a second."""
    first, last = 5, int(seconds) - 1
    grown = sum(line[min(last, len(line) - 1)] - line[first] for line in cumulative)
    return round(grown / (last - first), 1)


# --- junk ------------------------------------------------------------------------------------

STRANGER = "127.0.9.9"
JUNK_CALLS_PER_S = 200
ADDED_P99_BAR_MS = 10


def junk(args):
    """The same calls with and without junk, in turn."""
    server = Tollbridge()
    # The loopback carrier would take the stranger for one of its own.
    server.settings = ('trunks.loopback.inbound.cidrs=["127.0.0.1/32"]',)
    runs = {rate: [] for rate in (0, args.junk)}
    for _ in range(args.repeats):
        for rate in runs:
            runs[rate].append(junk_once(server, rate, args))
    without, within = (
        {key: median([run[key] for run in of_rate])
         for key in ("p50_ms", "p99_ms", "cpu_share", "junk_per_s")}
        for of_rate in runs.values())
    added = round(within["p99_ms"] - without["p99_ms"], 3)
    every = [run for of_rate in runs.values() for run in of_rate]
    answered = sum(run["answers"] for run in every)
    failed = sum(run["failed"] for run in every)
    is_met = (added < ADDED_P99_BAR_MS and answered == 0 and failed == 0
              and within["junk_per_s"] >= 0.98 * args.junk)
    table([("", "without", "with junk"),
           ("junk messages/s", 0, f"{within['junk_per_s']:.0f}"),
           ("INVITE to 180, p50 / p99", *(f"{it['p50_ms']:.2f} / {it['p99_ms']:.2f} ms"
                                          for it in (without, within))),
           ("share of the server's core", *(f"{100 * it['cpu_share']:.0f} %"
                                            for it in (without, within))),
           ("calls that failed", sum(it["failed"] for it in runs[0]),
            sum(it["failed"] for it in runs[args.junk])),
           ("datagrams to the stranger", "–", answered)])
    return verdict("junk", is_met, {
        "added_p99_ms": added, "without": without, "with": within, "answers": answered, "runs": every})


def junk_once(server, rate, args):
    server.start()
    try:
        with Load("junk") as load:
            load.call(JUNK_CALLS_PER_S, JUNK_CALLS_PER_S, 100, 1)
            sender = Junk(rate)
            probe = Probe()
            probe.start()
            (own, _), began = server.cpu(), time.monotonic()
            outcome, _ = load.call(JUNK_CALLS_PER_S, int(JUNK_CALLS_PER_S * args.seconds), 500, 1)
            own, took = server.cpu()[0] - own, time.monotonic() - began
            delays = probe.stop()
            sent, took_to_send, answers = sender.stop()
            refusals, unread = counts(server)["refusals"], kernel_drops(bench.SIP)
    finally:
        server.stop()
    run = {
        "junk": sent, "junk_per_s": round(sent / took_to_send), "unread": unread, "answers": answers, "ok": outcome.ok, "failed": outcome.failed,
        "repeated": outcome.repeated, "probes": len(delays), "p50_ms": percentile(delays, 0.5),
        "p99_ms": percentile(delays, 0.99), "cpu_share": round(own / took, 3), "dropped": refusals,
    }
    print(f"  {run}", flush=True)
    return run


class Junk:
    """A process that sends, and hears what it is answered."""

    def __init__(self, rate):
        self.ended, (self.result, theirs) = multiprocessing.Event(), multiprocessing.Pipe(False)
        self.process = multiprocessing.Process(target=self.run, args=(rate, theirs), daemon=True)
        self.process.start()

    def stop(self):
        """Messages that were sent, in how many seconds, and datagrams that came back."""
        self.ended.set()
        found = self.result.recv()
        self.process.join()
        return found

    def run(self, rate, result):
        messages, answers, sent = junk_messages(), 0, 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind((STRANGER, 0))
            out.setblocking(False)
            began = time.monotonic()
            while not self.ended.is_set():
                due = int(rate * (time.monotonic() - began)) - sent
                for n in range(sent, sent + due):
                    # Sent as a stranger sends: connected, an ICMP error would stop us.
                    out.sendto(messages[n % len(messages)], ("127.0.0.1", bench.SIP))
                sent += max(0, due)
                time.sleep(0.001)
            took = time.monotonic() - began
            # What is answered late is heard as well.
            time.sleep(2 if rate else 0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    out.recv(65535)
                    answers += 1
        result.send((sent, took, answers))


def kernel_drops(port):
    """Datagrams that came to this port and found its buffer full."""
    sockets = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(of[-1]) for of in sockets if of[1].endswith(f":{port:04X}"))


def junk_messages():
    """Noise, scanners, calls cut off somewhere, and what pretends to belong to a call of ours."""
    draw = random.Random(9)
    uri = f"sip:{bench.number(7)}@127.0.0.1:{bench.SIP}"

    def request(method, call_id, agent):
        return "\r\n".join([
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {STRANGER}:5060;branch=z9hG4bK{draw.getrandbits(64):x};rport",
            "Max-Forwards: 70", f"From: \"{agent}\" <sip:100@{STRANGER}>;tag={draw.getrandbits(32):x}",
            f"To: <{uri}>", f"Call-ID: {call_id}", f"CSeq: 1 {method}",
            f"Contact: <sip:100@{STRANGER}:5060>", f"User-Agent: {agent}", "Accept: application/sdp",
            "Content-Length: 0", "", ""]).encode()

    kinds = [
        lambda: draw.randbytes(draw.randrange(1, 1200)),
        lambda: request("OPTIONS", draw.getrandbits(64), "friendly-scanner"),
        lambda: (whole := request("INVITE", draw.getrandbits(64), "pplsip"))[:draw.randrange(len(whole))],
        lambda: request("INVITE", draw.getrandbits(64), "pplsip"),
        lambda: request("BYE", f"tb00-{draw.getrandbits(64):x}", "VaxSIPUserAgent"),
    ]
    # An odd number, so that no kind always comes at the same instant of a burst.
    return [draw.choice(kinds)() for _ in range(997)]


# --- soak ------------------------------------------------------------------------------------

SOAK_CALLS_PER_S = 200
SAMPLE_EVERY_S = 10
# Of the memory in the second half, in an hour.
GROWTH_BAR = 0.02


def soak(args):
    """Steady calls; memory and objects every ten seconds."""
    server = Tollbridge()
    seconds = args.soak * 60
    # What is kept up to a number (ended holds, pages of the book) has filled up by then.
    warm_up = seconds / 2
    samples = []
    server.start()
    try:
        with Load("soak") as load:
            at_start = objects(server)
            began = time.monotonic()

            def sample(passed):
                if passed >= SAMPLE_EVERY_S * (len(samples) + 1):
                    samples.append({"at": round(passed, 1), "rss": rss_of(server.process.pid),
                                    **objects(server)})

            outcome, _ = load.call(
                SOAK_CALLS_PER_S, int(SOAK_CALLS_PER_S * seconds), 500, 1, sample)
            took = time.monotonic() - began
            left = wait_for_rest(server, at_start, args.rest_s)
            at_end = {"rss": rss_of(server.process.pid), **objects(server)}
            records = server.records()
    finally:
        server.stop()
    steady_state = [it for it in samples if it["at"] >= warm_up and it["at"] <= seconds]
    slopes = {}
    for key in steady_state[0]:
        if key != "at":
            slope, error = least_squares([(it["at"], it[key]) for it in steady_state])
            mean = sum(it[key] for it in steady_state) / len(steady_state)
            slopes[key] = {"mean": round(mean, 1), "per_hour": round(3600 * slope, 1),
                           "error": round(3600 * error, 1)}
    memory = slopes["rss"]
    # What two standard errors cannot tell from nothing is nothing.
    grows = memory["per_hour"] - 2 * memory["error"] > 0
    is_met = (outcome.failed == 0 and not left and records >= outcome.ok
              and not (grows and memory["per_hour"] > GROWTH_BAR * memory["mean"]))
    table([("calls", f"{outcome.ok} in {took / 60:.1f} min, {outcome.failed} failed"),
           ("memory in the second half", f"{memory['mean'] / 1048576:.1f} MiB"),
           ("its slope", f"{memory['per_hour'] / 1048576:+.2f} ± {memory['error'] / 1048576:.2f} MiB an hour"),
           *((f"{key}: at the start, mean, slope an hour, left",
              f"{at_start[key]:.0f}, {it['mean']:.0f}, {it['per_hour']:+.0f} ± {it['error']:.0f}, "
              f"{at_end[key]:.0f}") for key, it in slopes.items() if key != "rss")])
    return verdict("soak", is_met, {
        "minutes": args.soak, "ok": outcome.ok, "failed": outcome.failed, "records": records,
        "slopes": slopes, "start": at_start, "end": at_end, "objects_left": left,
        "samples": samples})


def least_squares(points):
    """Slope, and its standard error."""
    count = len(points)
    if count < 3:
        raise Failure("too few samples for a slope: soak for longer")
    x_mean, y_mean = (sum(values) / count for values in zip(*points))
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    rest = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in points)
    return slope, (rest / (count - 2) / spread) ** 0.5


def rss_of(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- the server's own counts -----------------------------------------------------------------

# Deadlines lie in a queue until they have passed, and so do conversions that will not come: 90 s in
# this configuration.
OBJECTS = re.compile(r"tollbridge_(objects_active|sip_transactions_active|calls_active"
                     r"|calls_half_open|holds_active|cdr_open)\b")


def objects(server):
    return {re.sub(r'.*kind="(\w+)".*', r"\1", key.removeprefix("tollbridge_")): value
            for key, value in read_metrics(server).items() if OBJECTS.match(key)}


def wait_for_rest(server, at_start, seconds):
    """Objects above those at the start, by kind, once they are gone or `seconds` have passed."""
    give_up = time.monotonic() + seconds
    while True:
        found = {key: value - at_start.get(key, 0) for key, value in objects(server).items()}
        left = {key: int(more) for key, more in found.items() if more > 0}
        if not left or time.monotonic() > give_up:
            return left
        time.sleep(1)


def read_metrics(server):
    answer = server.ask("/metrics")
    text = answer.read().decode()
    if answer.status != 200:
        raise Failure(f"no metrics: {answer.status} {text}")
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {key: float(value) for key, value in lines}


def total_of(metrics, name):
    return sum(value for key, value in metrics.items() if key.split("{")[0] == name)


# --- the whole -------------------------------------------------------------------------------


def table(rows):
    width = max(len(row) for row in rows)
    head, *rest = rows if rows[0][0] == "" else [("", *[""] * (width - 1)), *rows]
    print()
    for row in (head, ["---"] * width, *rest):
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def verdict(mode, is_met, figures):
    line = {"mode": mode, "met": is_met,
            "at": datetime.datetime.now().isoformat(timespec="seconds"), **figures}
    with (WORK / "stress.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(f"{mode}: {'met' if is_met else 'NOT MET'}", flush=True)
    return is_met


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--junk", type=int, metavar="PER_S", help="50000, say")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--repeats", type=int, default=3, help="of overload and junk")
    parser.add_argument("--seconds", type=float, default=20, help="of load per run of these")
    parser.add_argument("--share", type=int, default=25, help="overload: percent of a core")
    parser.add_argument("--peak", type=float, help="overload: calls a second that it can take, if known")
    parser.add_argument("--search-from", type=float, default=800)
    parser.add_argument("--search-seconds", type=float, default=6)
    parser.add_argument("--carriers", type=int, default=2, help="overload: SIPp processes that call")
    parser.add_argument("--rest-s", type=float, default=150, help="the longest wait for objects to go")
    args = parser.parse_args()
    modes = [mode for mode, wanted in (
        (overload, args.overload), (junk, args.junk), (soak, args.soak)) if wanted]
    if not modes:
        parser.error("one of --overload, --junk, --soak is needed")
    bench.settle_in()
    return all([mode(args) for mode in modes])


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except Failure as failure:
        sys.exit(f"stress: {failure}")
