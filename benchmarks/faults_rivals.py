"""The check-up beside other tools that look for faults in PyTorch training, on the same set-ups, in one run.

    python benchmarks/faults_rivals.py [FOLDER] [--healthy N] [--tools NAME …] [--rows FILE]

FOLDER, or $DL_COURSE_PUBLIC_FAULTS, holds cases.py with CASES[name].make(fixed) → the check-up's arguments,
.exact (names that are right), .twin (whether the mended case is to be judged), and score.py with WANTED and
HARMLESS, where there are any. Without it, a case of each fault that is planted here is looked at instead.
Healthy: N seeded set-ups, three in ten of kinds of their own.

Of each tool: set-ups of which something is named rightly (below: what counts), of which anything is said,
healthy ones and mended twins accused, seconds. Each is called as its README says, on the first batch, in the
same process, its steps limited where it has an argument for that; one that raises has said nothing. The
others are not part of this project: `pip install torchtest2 neural-net-checklist trainproof` and
`pip install --no-deps torcheck` (which asks for an older PyTorch); one that isn't there is named as missing.
--rows: results are added to this file, a JSON object a line; what is there already isn't run again.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import os
import random
import sys
import time
import warnings
from copy import deepcopy
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from faults import made
from faulty import PLANTS
from reported import REPORTED
from results import store
from scipy.stats import binomtest
from torch import nn

from dl_course.diagnostics import checkup

STEPS = 60  # of training, for tools that watch it
# What is right: a check of another tool, by the faults of our vocabulary that it names; generously read.
MEANS = {
    "torchtest2": {
        "forward": "output-width",
        "output_finite": "nonfinite-loss input-nonfinite",
        "output_varies": "constant-input dead-units loss-broadcast zero-gradient",
        "eval_determinism": "random-in-eval wrong-mode stateful-evaluation",
        "loss": "nonfinite-loss labels-out-of-range output-width gradient-mismatch",
        "initial_loss": "initial-loss bad-initialisation input-not-normalised output-activation",
        "optimizer_coverage": "frozen-parameters unregistered-parameters",
        "gradient_flow": "no-gradient zero-gradient dead-units unregistered-parameters gradient-mismatch",
        "gradient_magnitude": "exploding-gradients vanishing-gradients nonfinite-gradients",
        "params_change": "no-update frozen-parameters no-gradient zero-gradient unregistered-parameters",
        "frozen_params": "frozen-parameters",
        "input_dependency": "constant-input dead-units",
        "batch_independence": "samples-mixed wrong-mode",
        "overfit_batch": "cannot-overfit-batch lr-too-high lr-too-low",
    },
    "torcheck": {
        "should change": "no-update no-gradient frozen-parameters zero-gradient dead-units "
        "unregistered-parameters",
        "belong to any optimizer": "frozen-parameters",
        "shouldn't all": "output-activation",
        "contains NaN": "nonfinite-loss nonfinite-gradients input-nonfinite",
        "contains inf": "nonfinite-loss nonfinite-gradients",
    },
    "neural-net-checklist": {
        "at_init": "initial-loss bad-initialisation input-not-normalised",
        "init_calibrated": "initial-loss bad-initialisation input-not-normalised",
        "forward_batch": "samples-mixed random-in-eval",
        "non_zero_gradients": "no-gradient zero-gradient dead-units unregistered-parameters",
        "backward_batch": "samples-mixed",
        "baseline_worse": "constant-input label-noise",
        "overfit_to_batch": "cannot-overfit-batch lr-too-high lr-too-low",
    },
    "trainproof": {
        "TP-NAN": "nonfinite-loss nonfinite-gradients lr-too-high input-nonfinite",
        "TP-ZERO-LOSS": "zero-gradient output-width",
        "TP-FLAT": "lr-too-low no-update zero-gradient no-gradient",
        "TP-DIVERGE": "lr-too-high diverged",
        "TP-DEAD": "no-update lr-too-low zero-gradient dead-units",
        "TP-ZERO-GRAD": "zero-gradient no-gradient vanishing-gradients",
        "TP-GRAD-SPIKE": "exploding-gradients lr-too-high",
        "TP-ZERO-LR": "lr-too-low schedule-too-fast",
    },
}


class NotTaken(Exception):
    """The tool has no way to be asked about this set-up."""


def ours(given):
    """Return the faults that are causes, and all that is loud."""
    parts = dict(given)
    report = checkup(parts.pop("model"), parts.pop("train_loader"), parts.pop("loss_fn"), **parts)
    loud = {each.fault for each in report if each.severity != "info"}
    causes = {each.fault for each in report if each.because is None and each.fault in loud}
    return causes | {f for f in report.faults if f == "loss-is-a-sum"}, loud


def batch_of(given):
    *inputs, labels = next(iter(given["train_loader"]))
    return inputs[0] if len(inputs) == 1 else tuple(inputs), labels


def meant(tool, said):
    names = [MEANS[tool][key].split() for key in MEANS[tool] for each in said if key in each]
    return {name for each in names for name in each}, set(said)


def torchtest2(given):
    from torchtest2 import check_model

    inputs, labels = batch_of(given)
    model, optimizer, loss_fn = deepcopy((given["model"], given.get("optimizer"), given["loss_fn"]))
    report = check_model(model, inputs, labels, loss_fn=loss_fn, optimizer=optimizer)
    said = [each.name for each in (*report.failures, *report.warnings)]
    return meant("torchtest2", said)


SAYINGS = ("errors are detected", "The module is", "'s output", "belong to any optimizer")  # of torcheck


def torcheck(given):
    import torcheck as tool

    model, optimizer, loss_fn = deepcopy((given["model"], given.get("optimizer"), given["loss_fn"]))
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 1e-3)
    tool.registry.__init__()
    tool.register(optimizer)
    classes = isinstance(loss_fn, nn.CrossEntropyLoss)
    span = dict(output_range=(0, 1), negate_range=True) if classes else {}
    span |= {"changing": True} if all(p.requires_grad for p in model.parameters()) else {}
    try:
        tool.add_module(model, module_name="model", check_nan=True, check_inf=True, **span)
        list(trained(model, optimizer, loss_fn, given, 3))
    except RuntimeError as error:
        text = str(error)
        if not any(each in text for each in SAYINGS):
            raise
        return meant("torcheck", [text])
    return set(), set()


def checklist(given):
    import neural_net_checklist.torch_diagnostics as tool

    batch = batch_of(given)
    labels = batch[1]
    if not isinstance(given["loss_fn"], nn.CrossEntropyLoss) and given["loss_fn"] is not F.cross_entropy:
        raise NotTaken("is for cross-entropy")
    if not isinstance(batch[0], torch.Tensor) or labels.dim() != 1 or labels.is_floating_point():
        raise NotTaken("is for one input and classes (N,)")
    fresh, classes = given["model"], int(labels.max()) + 1
    every = (
        "balanced_classification_cross_entropy_loss_at_init",
        "balanced_classification_cross_entropy_init_calibrated",
    )
    said = []
    whole = lambda: deepcopy(fresh)  # noqa: E731
    for check in every:
        said += failed(
            check, lambda c=check: getattr(tool, f"assert_{c}")(whole(), batch, num_classes=classes)
        )
    for check in (
        "forward_batch_independence",
        "backward_batch_independence",
        "input_independent_baseline_worse",
    ):
        said += failed(check, lambda c=check: getattr(tool, f"assert_{c}")(whole, batch))
    said += failed("non_zero_gradients", lambda: tool.assert_non_zero_gradients(whole(), batch))
    overfit = lambda: tool.assert_overfit_to_batch(whole(), batch, max_steps=512, threshold=0.1)  # noqa: E731
    said += failed("overfit_to_batch", overfit)
    return meant("neural-net-checklist", said)


def failed(name, check):
    try:
        check()
    except Exception:  # an assertion, or what the set-up itself raises: both are said
        return [name]
    return []


def trainproof(given):
    from trainproof.epoch import check_records

    model, optimizer, loss_fn = deepcopy((given["model"], given.get("optimizer"), given["loss_fn"]))
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 1e-3)
    rows = []
    for step, (loss, norm) in enumerate(trained(model, optimizer, loss_fn, given, STEPS)):
        rate = optimizer.param_groups[0]["lr"]
        rows.append({"step": step, "loss": loss, "grad_norm": norm, "lr": rate})
    findings = check_records(rows)["findings"]
    said = [each["id"] for each in findings if each["level"] in ("WARN", "FAIL")]
    return meant("trainproof", said)


def trained(model, optimizer, loss_fn, given, steps):
    """Train as the tools' own loops do; yield (loss, gradient norm) of each step."""
    model.train()
    for inputs, *more, labels in islice(cycle(given["train_loader"]), steps):
        optimizer.zero_grad()
        inputs = inputs if isinstance(inputs, tuple | list) else (inputs, *more)
        loss = loss_fn(model(*inputs), labels)
        loss.backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        yield loss.item(), float(nn.utils.get_total_norm(grads)) if grads else 0.0
        optimizer.step()


TOOLS = {"dl_course": ours, "torchtest2": torchtest2, "torcheck": torcheck,
         "neural-net-checklist": checklist, "trainproof": trainproof}  # fmt: skip


def missing():
    """Return the tools that aren't installed."""
    modules = {name: name.replace("-", "_") for name in TOOLS}
    modules["neural-net-checklist"] = "neural_net_checklist"
    return {name for name, module in modules.items() if importlib.util.find_spec(module) is None}


def asked(tool, given):
    """Return (names, all that was said, seconds, why there is no answer)."""
    start = time.perf_counter()
    names, said, why = set(), set(), ""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            names, said = TOOLS[tool](given)
    except NotTaken as error:
        why = f"not taken: {error}"
    except Exception as error:  # of another's code, on a set-up that is broken by design
        why = f"raised {type(error).__name__}: {str(error)[:80]}"
    return names, said, time.perf_counter() - start, why


def faulty_cases(folder):
    """Yield (name, right names, arguments faulty, arguments mended or None)."""
    if folder is None:
        for fault in (*PLANTS, *REPORTED):
            yield fault, {fault}, lambda f=fault: together(made(f, "tuning", 101)), None
        return
    sys.path.insert(0, str(folder))
    cases = importlib.import_module("cases").CASES
    wanted, harmless = {}, set()
    if (folder / "score.py").is_file():
        score = importlib.import_module("score")
        wanted, harmless = score.WANTED, score.HARMLESS
    for name, case in cases.items():
        right = case.exact | set(wanted.get(case.no, "").split())
        mended = (lambda c=case: c.make(True)) if case.twin else None
        faulty = None if case.no in harmless else (lambda c=case: c.make(False))
        yield name, right, faulty, mended


def together(case):
    (model, loader, loss), keywords = case.arguments()
    return dict(model=model, train_loader=loader, loss_fn=loss, **keywords)


def seeded(make):
    random.seed(11)
    np.random.seed(11)
    torch.manual_seed(11)
    return make()


def main():
    given = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tools = [name for name in given.tools if name == "dl_course" or name not in missing()]
    for name in set(given.tools) - set(tools):
        print(f"{name} is not installed: left out")
    if given.folder is None:
        print("no public cases: give FOLDER or $DL_COURSE_PUBLIC_FAULTS; planted faults instead", flush=True)
    rows = read(given.rows)
    for kind, name, right, make in set_ups(given):
        for tool in tools:
            if (kind, name, tool) not in {(row["kind"], row["name"], row["tool"]) for row in rows}:
                rows.append(row := judged(kind, name, right, make, tool))
                if given.rows:
                    with given.rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    sums = {tool: summed([row for row in rows if row["tool"] == tool]) for tool in tools}
    print(table(sums))
    missed(rows)
    if "dl_course" in sums:
        kept(sums, given)


def arguments():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("DL_COURSE_PUBLIC_FAULTS"))
    parser.add_argument("--healthy", type=int, default=40)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    if given.folder is not None and not (Path(given.folder) / "cases.py").is_file():
        parser.error(f"there is no cases.py in {given.folder}: the public cases are not part of this project")
    given.folder = given.folder and Path(given.folder)
    return given


def set_ups(given):
    """Yield (kind, name, right names, arguments): faulty ones, mended ones, and healthy ones."""
    for name, right, faulty, mended in faulty_cases(given.folder):
        if faulty is not None:
            yield "faulty", name, right, faulty
        if mended is not None:
            yield "mended", name, None, mended
    for seed in range(30000, 30000 + given.healthy):
        yield "healthy", str(seed), None, lambda s=seed: together(made("healthy", "reported", s))


def judged(kind, name, right, make, tool):
    """Return what a tool says of a set-up; right: names that are right, None where it is healthy."""
    names, said, seconds, why = asked(tool, seeded(make))
    named = bool(right and names & right)
    print(f"{kind:<8} {name:<28} {tool:<21} {'named' if named else '':<6} {sorted(said)} {why}", flush=True)
    row = {"kind": kind, "name": name, "tool": tool, "named": named, "names": sorted(names)}
    return row | {"said": sorted(said), "s": seconds, "why": why}


def read(path):
    lines = path.read_text("utf-8").splitlines() if path and path.exists() else []
    return [json.loads(line) for line in lines]


def summed(rows):
    """Return the counts of a tool."""
    faulty = [row for row in rows if row["kind"] == "faulty"]
    well = [row for row in rows if row["kind"] != "faulty"]
    return {
        "right": sum(row["named"] for row in faulty),
        "said": sum(bool(row["said"]) for row in faulty),
        "faulty": len(faulty),
        "alarms": sum(bool(row["said"]) for row in well),
        "healthy": len(well),
        "mended": sum(row["kind"] == "mended" for row in well),
        "silent": sum(bool(row["why"]) for row in rows),
        "seconds": median(row["s"] for row in rows),
    }


def table(sums):
    lines = [f"{'tool':<22}{'named rightly':>16}{'anything said':>16}{'alarms':>12}{'no answer':>11}{'s':>8}"]
    for tool, row in sums.items():
        of = f"/{row['faulty']}"
        figures = f"{row['right']}{of}", f"{row['said']}{of}", f"{row['alarms']}/{row['healthy']}"
        lines.append(
            f"{tool:<22}{figures[0]:>16}{figures[1]:>16}{figures[2]:>12}{row['silent']:>11}"
            f"{row['seconds']:>8.2f}"
        )
    return "\n".join(lines)


def missed(rows):
    """Print what others name rightly, and ours doesn't."""
    ours = {row["name"] for row in rows if row["tool"] == "dl_course" and row["named"]}
    for row in rows:
        if row["named"] and row["name"] not in ours and row["tool"] != "dl_course":
            print(f"{row['tool']} names {row['name']}, ours doesn't: {row['said']}")


def kept(sums, given):
    """Store what was found."""
    first = next(iter(sums.values()))
    where = "rebuilt from public reports, known when rules were made" if given.folder else "planted"
    well = f"{first['healthy']} set-ups: {first['mended']} mended, {first['healthy'] - first['mended']} drawn"
    well += " by seeds from 30000"
    figures = {}
    for key, what, of, n in (
        ("right", "faults named rightly", "faulty", f"{first['faulty']} set-ups {where}"),
        ("said", "faulty set-ups of which anything is said", "faulty", f"{first['faulty']} set-ups {where}"),
        ("alarms", "healthy set-ups accused", "healthy", well),
    ):
        shares = {tool: round(row[key] / max(1, row[of]), 4) for tool, row in sums.items()}
        between = binomtest(first[key], first[of]).proportion_ci(method="wilson")
        ends = {"low": round(between.low, 4), "high": round(between.high, 4)}
        value = {"value": shares.pop("dl_course"), "unit": "share", **ends}
        figures["named" if key == "right" else key] = {"what": what, **value, "n": n, "rival": shares}
    seconds = {tool: round(row["seconds"], 2) for tool, row in sums.items()}
    figures["seconds"] = {
        "what": "a set-up takes",
        "value": seconds.pop("dl_course"),
        "unit": "s",
        "n": "median, one thread, beside other work",
        "rival": seconds,
    }
    command = "python benchmarks/faults_rivals.py" + " FOLDER" * bool(given.folder)
    store("faults_rivals", "The check-up beside other tools", command, figures)


if __name__ == "__main__":
    main()
