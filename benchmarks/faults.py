"""How often the check-up names what is wrong, and keeps silent where nothing is.

    python benchmarks/faults.py [--short | --tuning] [--only FAULT …] [--cases N] [--healthy N]

Plants every fault of the vocabulary in networks and data that no limit was chosen by (faulty.py), and
looks at healthy set-ups. Exits 1 where macro recall < 0.95, a fault's recall < 0.8, precision < 0.9, there is
any warning or error on a healthy one, or the median check-up takes more than 5 s. A finding is false unless
planted, a consequence of it (CONSEQUENCES beside the rules), or what was planted by another name.
"""

import argparse
import sys
import time
from statistics import median

from faulty import HISTORIES, PLANTS, curves, varied

from dl_course.diagnostics import checkup, diagnose_history
from dl_course.diagnostics.rules import CONSEQUENCES


def main() -> int:
    given = arguments()
    half = "tuning" if given.tuning else "reported"
    rows, seconds, start = {}, [], time.perf_counter()
    seeds = range(given.first, given.first + given.cases)
    for fault in [f for f in (*PLANTS, *HISTORIES) if not given.only or f in given.only]:
        rows[fault] = planted(fault, half, [quick(fault)] if given.short else seeds, seconds)
        print(row_text(fault, *rows[fault]), flush=True)
    alarms = [] if given.only else healthy(half, given.first, given.healthy, seconds)
    if "healthy" in (given.only or ()):
        alarms = healthy(half, given.first, given.healthy, seconds)
    return verdict(rows, alarms, given.healthy, seconds, time.perf_counter() - start)


def arguments():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--first", type=int, default=100, help="seed of the first case")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--healthy", type=int, default=300)
    given = parser.parse_args()
    if given.short:  # of the smaller half: to see that it still works, not how well
        given.tuning, given.first, given.healthy = True, 101, 5
    return given


def quick(fault):
    """Return the seed of a case with a small network: blobs are 24 numbers each."""
    seeds = range(101, 121) if fault in PLANTS else ()
    return next((seed for seed in seeds if PLANTS[fault]("tuning", seed).note.startswith("blobs")), 101)


def planted(fault, half, seeds, seconds):
    found, false, named = [], [], 0
    for seed in seeds:
        if fault in HISTORIES:
            report, also, note = (
                diagnose_history(curves(fault, seed + 500 * (half == "reported"))),
                {fault},
                f"seed {seed}",
            )
        else:
            parts = PLANTS[fault](half, seed)
            report, also, note = timed(parts, seconds), parts.also, parts.note
        found.append(fault in report.faults)
        alarms = {f.fault for f in report if f.severity != "info"}
        allowed = also | set(" ".join(CONSEQUENCES.get(each, "") for each in also).split())
        false += [(seed, name) for name in alarms - allowed]
        named += len(alarms & {fault})
        if not found[-1] or alarms - allowed:
            print(
                f"    {fault} {seed} ({note}): {sorted(report.faults)}",
                {f: report.skipped[f] for f in report.skipped if f == fault},
                flush=True,
            )
    return found, false, named


def timed(parts, seconds):
    (model, loader, loss), keywords = parts.arguments()
    start = time.perf_counter(), time.thread_time()
    report = checkup(model, loader, loss, **keywords)
    seconds.append((time.perf_counter() - start[0], time.thread_time() - start[1], parts.note))
    return report


def healthy(half, first, count, seconds):
    alarms = []
    for seed in range(first, first + count):
        parts = varied(half, seed)
        if seed % 50 == 49:
            print(f"    healthy: {seed + 1 - first} looked at, {len(alarms)} alarms", flush=True)
        report = timed(parts, seconds)
        if bad := [f for f in report if f.severity != "info"]:
            alarms.append((seed, parts.note, bad))
            print(f"    healthy {seed} ({parts.note}): {bad}", flush=True)
    for seed in range(first, first + count // 3):
        report = diagnose_history(curves("", seed + 500 * (half == "reported")))
        if report.faults:
            alarms.append((seed, "curves", list(report)))
            print(f"    healthy curves {seed}: {list(report)}", flush=True)
    return alarms


def row_text(fault, found, false, named):
    recall, others = sum(found) / len(found), sorted({name for _, name in false})
    return f"{fault:<24} recall {recall:>5.0%}  named {named:>3}  false beside it {len(false):>3}  {others}"


def verdict(rows, alarms, count, seconds, took):
    recalls = {fault: sum(found) / len(found) for fault, (found, *_) in rows.items()}
    right, wrong = sum(named for *_, named in rows.values()), sum(len(false) for _, false, _ in rows.values())
    macro, worst = sum(recalls.values()) / max(1, len(recalls)), sorted(recalls, key=recalls.get)[:3]
    precision = right / max(1, right + wrong + len(alarms))
    wall, cpu = ([s[i] for s in seconds] or [0] for i in (0, 1))
    least = min(recalls.values(), default=1)
    print(f"macro recall {macro:.3f} (≥ 0.95), least {least:.2f} (≥ 0.8), precision {precision:.3f} (≥ 0.9)")
    print(f"{len(alarms)} of {count} healthy set-ups and {count // 3} curves with a warning or error (0)")
    print(f"a check-up takes {median(wall):.2f} s, at most {max(wall):.1f} s (median ≤ 5)")
    print(f"of its thread's CPU time {median(cpu):.2f} s, at most {max(cpu):.1f} s")
    print(f"hardest: {', '.join(worst)} · {len(seconds)} check-ups in {took:.0f} s")
    lowest = 0.8 if min(map(len, (found for found, *_ in rows.values())), default=0) >= 10 else 0.0
    return int(macro < 0.95 or least < lowest or precision < 0.9 or bool(alarms) or median(wall) > 5)


if __name__ == "__main__":
    sys.exit(main())
