"""How often the check-up names what is wrong, and keeps silent where nothing is.

    python benchmarks/faults.py [--short | --tuning] [--only FAULT …] [--first SEED] [--cases N]
                                [--healthy N] [--rows FILE] [--store]

Plants every fault of the vocabulary by seeds (faulty.py, reported.py), and looks at healthy set-ups: three
in ten of kinds of their own (kinds.py). Exits 1 where macro recall < 0.95, a fault's recall < 0.8,
precision < 0.95, there is any warning or error on a healthy one, or the median check-up takes more than
5 s. A finding is false unless planted, a consequence of it (CONSEQUENCES beside the rules), or what was
planted by another name.

--rows: every result is added to this file, a JSON object a line; what is there already isn't run again,
and counts. --store: keep the figures in benchmarks/results for the book and the README.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from faulty import HISTORIES, PLANTS, curves, varied
from kinds import KINDS, of_kind
from reported import REPORTED, reported
from results import store
from scipy.stats import binomtest

from dl_course.diagnostics import checkup, diagnose_history
from dl_course.diagnostics.rules import CONSEQUENCES

Row = dict[str, Any]
FAULTS = (*PLANTS, *REPORTED, *HISTORIES)
WELL = ("healthy", "healthy curves")


def main() -> int:
    given = arguments()
    torch.set_num_threads(1)
    rows = read(given.rows)
    known = {(row["name"], row["seed"]) for row in rows}
    for name, seed in tasks(given):
        if (name, seed) not in known:
            rows.append(row := looked_at(name, "tuning" if given.tuning else "reported", seed))
            said(row)
            if given.rows:
                with given.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    sums = summed(rows)
    failed = verdict(sums)
    if given.store:
        keep(sums, given)
    return failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--only", nargs="*", default=(), choices=(*FAULTS, *WELL))
    parser.add_argument("--first", type=int, default=20000, help="seed of the first case")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--healthy", type=int, default=500)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    if given.short:  # of the smaller half: to see that it still works, not how well
        given.tuning, given.first, given.cases, given.healthy = True, 101, 1, 5
    return given


def tasks(given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield what is to be looked at: a case of each fault, then the next of each; then what is healthy."""
    half = (*PLANTS, *list(REPORTED)[::2], *HISTORIES)  # each has a test of its own, too
    for case in range(given.cases):
        for fault in half if given.short else FAULTS:
            if not given.only or fault in given.only:
                yield fault, quick(fault) if given.short else given.first + case
    for number in range(given.healthy):
        for name in WELL:
            if (not given.only or name in given.only) and (name == "healthy" or number % 3 == 0):
                yield name, given.first + number


def quick(fault: str) -> int:
    """Return the seed of a case that takes little time: blobs are 24 numbers each."""
    if fault in REPORTED:
        return 20000
    seeds = range(101, 121) if fault in PLANTS else ()
    return next((seed for seed in seeds if PLANTS[fault]("tuning", seed).note.startswith("blobs")), 101)


def looked_at(name: str, half: str, seed: int) -> Row:
    """Return what the check-up, or the diagnosis of curves, says of a case."""
    row: Row = {"name": name, "seed": seed, "note": f"seed {seed}"}
    if name in (*HISTORIES, "healthy curves"):
        kind = name if name in HISTORIES else ""
        report, right = diagnose_history(curves(kind, seed + 500 * (half == "reported"))), {name}
    else:
        case = made(name, half, seed)
        right = {name} | case.also if name in FAULTS else set()
        (model, loader, loss), keywords = case.arguments()
        start = time.perf_counter(), time.thread_time()
        report = checkup(model, loader, loss, **keywords)
        row |= {"note": case.note, "s": time.perf_counter() - start[0], "cpu": time.thread_time() - start[1]}
    allowed = right | set(" ".join(CONSEQUENCES.get(each, "") for each in right).split())
    loud = {each.fault for each in report if each.severity != "info"}
    row |= {"found": sorted(report.faults), "false": sorted(loud - allowed), "loud": name in loud}
    row["first"] = bool(right & {each.fault for each in report if each.because is None})
    why = [f"{each.fault}: {each.evidence}" for each in report if each.fault in loud - allowed]
    return row | {"why": why, "skipped": report.skipped.get(name, "")}


def made(name: str, half: str, seed: int) -> Any:
    if name in REPORTED:
        return reported(name, seed)
    if name in PLANTS:
        return PLANTS[name](half, seed)
    return of_kind(seed) if half == "reported" and seed % 10 < 3 else varied(half, seed)


def said(row: Row) -> None:
    missed = row["name"] not in (*WELL, *row["found"])
    if missed or row["false"]:
        what = "MISSED" if missed else "false"
        text = f"{what} {row['name']} {row['seed']} ({row['note']}): found {row['found']}"
        print(text, *row["why"], row["skipped"], flush=True)


def read(path: Path | None) -> list[Row]:
    lines = path.read_text("utf-8").splitlines() if path and path.exists() else []
    return [json.loads(line) for line in lines]


def summed(rows: list[Row]) -> Row:
    """Return what the rows come to."""
    of = {fault: [row for row in rows if row["name"] == fault] for fault in FAULTS}
    of = {fault: mine for fault, mine in of.items() if mine}
    named = {fault: sum(fault in row["found"] for row in mine) for fault, mine in of.items()}
    first = sum(row["first"] for mine in of.values() for row in mine)
    wrong = {fault: [name for row in mine for name in row["false"]] for fault, mine in of.items()}
    well = {name: [row for row in rows if row["name"] == name] for name in WELL}
    alarms = [row for mine in well.values() for row in mine if row["false"]]
    loud = sum(row["loud"] for mine in of.values() for row in mine)
    false = sum(map(len, wrong.values())) + len(alarms)
    kinds = [row for row in well["healthy"] if row["note"] in KINDS]
    return {
        "named": named,
        "of": {fault: len(mine) for fault, mine in of.items()},
        "wrong": wrong,
        "first": first,
        "well": well,
        "kinds": kinds,
        "alarms": alarms,
        "loud": loud,
        "false": false,
        "s": [row["s"] for row in rows if "s" in row] or [0],
        "cpu": [row["cpu"] for row in rows if "s" in row] or [0],
    }


def recalls(sums: Row, names: Any = FAULTS) -> dict[str, float]:
    return {fault: sums["named"][fault] / n for fault, n in sums["of"].items() if fault in names}


def verdict(sums: Row) -> int:
    every = recalls(sums)
    for fault, share in every.items():
        wrong = sums["wrong"][fault]
        others = f"false beside it {len(wrong):>3}  {sorted(set(wrong))}"
        print(f"{fault:<24} recall {share:>5.0%} of {sums['of'][fault]:>3}  {others}")
    macro = sum(every.values()) / max(1, len(every))
    precision = sums["loud"] / max(1, sums["loud"] + sums["false"])
    count = sum(sums["of"].values())
    least = min(every.values(), default=1.0)
    print(f"macro recall {macro:.3f} (≥ 0.95), least {least:.2f} (≥ 0.8), precision {precision:.3f} (≥ 0.95)")
    print(f"of {count} planted, {sums['first']} are named as a cause")
    well, curved = (len(sums["well"][name]) for name in WELL)
    print(
        f"{len(sums['alarms'])} of {well} healthy set-ups ({len(sums['kinds'])} of kinds of their own) "
        f"and {curved} curves with a warning or error (0)"
    )
    print(f"a check-up takes {median(sums['s']):.2f} s, at most {max(sums['s']):.1f} s (median ≤ 5)")
    print(f"of its thread's CPU time {median(sums['cpu']):.2f} s, at most {max(sums['cpu']):.1f} s")
    print(f"hardest: {', '.join(sorted(every, key=every.__getitem__)[:3])} · {len(sums['s'])} check-ups")
    lowest = 0.8 if min(sums["of"].values(), default=0) >= 5 else 0.0
    bad = macro < 0.95 or least < lowest or precision < 0.95 or sums["alarms"] or median(sums["s"]) > 5
    return int(bool(bad))


def keep(sums: Row, given: argparse.Namespace) -> None:
    """Store the figures, with 95 % intervals (Wilson's) of shares."""
    seeds = f"seeds from {given.first}"
    figures = {}
    for key, names, what in (
        ("recall", FAULTS, "all names"),
        ("reported", REPORTED, "the twenty names added after public reports"),
    ):
        shares = recalls(sums, names)
        n = sum(sums["of"][fault] for fault in shares)
        good = sum(sums["named"][fault] for fault in shares)
        text = f"{n} set-ups, {len(shares)} names, {seeds}"
        figures[key] = {"what": f"planted faults named: {what}", **share(good, n, text)}
        figures[f"{key}-mean"] = {
            "what": f"the same, mean over names: {what}",
            "value": round(sum(shares.values()) / len(shares), 4),
            "unit": "share",
            "limit": ">= 95 %",
        }
        worst = min(shares, key=shares.__getitem__)
        figures[f"{key}-least"] = {
            "what": f"the least often named: {worst}",
            **share(sums["named"][worst], sums["of"][worst], f"{sums['of'][worst]} set-ups"),
            "limit": ">= 80 %",
        }
    n = sums["loud"] + sums["false"]
    figures["precision"] = {
        "what": "warnings and errors that are right",
        **share(sums["loud"], n, f"{n} findings"),
        "limit": ">= 95 %",
    }
    well = len(sums["well"]["healthy"])
    bad = sum(row["name"] == "healthy" for row in sums["alarms"])
    kinds = len({row["note"] for row in sums["kinds"]})
    text = f"{well} set-ups, {len(sums['kinds'])} of {kinds} kinds of their own, {seeds}"
    figures["alarms"] = {"what": "healthy set-ups accused", **share(bad, well, text), "limit": "0 %"}
    figures["seconds"] = {
        "what": "a check-up takes, median of its thread's CPU time",
        "value": round(median(sums["cpu"]), 2),
        "unit": "s",
        "n": f"{len(sums['s'])} check-ups; at most {max(sums['cpu']):.0f} s",
        "limit": "<= 5 s",
    }
    for fault in (name for name in REPORTED if name in sums["of"]):
        k, n = sums["named"][fault], sums["of"][fault]
        figures[fault] = {"what": f"named: {fault}", **share(k, n, f"{n} set-ups")}
    command = f"python benchmarks/faults.py --first {given.first} --store"
    store("faults", "The check-up on planted faults and on healthy set-ups", command, figures)


def share(good: int, n: int, text: str) -> Row:
    between = binomtest(good, n).proportion_ci(method="wilson")
    ends = {"low": round(between.low, 4), "high": round(between.high, 4)}
    return {"value": round(good / n, 4), "unit": "share", **ends, "n": text}


if __name__ == "__main__":
    sys.exit(main())
