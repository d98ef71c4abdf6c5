"""The check-up beside other tools that look for faults in PyTorch training, on the same set-ups, in one run.

    python benchmarks/faults_rivals.py [FOLDER] [--healthy N] [--tools NAME …]

FOLDER holds cases.py with CASES[name].make(fixed) → the check-up's arguments, .exact (names that are right),
.twin (whether the mended case is to be judged), and score.py with WANTED and HARMLESS, where there are any;
without FOLDER, a small case of each fault that faulty.py plants. Healthy: N seeded set-ups of faulty.py.

Of each tool: set-ups of which something is named rightly (below: what counts), of which anything is said,
healthy ones and mended twins accused, seconds. Each is called as its README says, on the first batch, in the
same process, its steps limited where it has an argument for that. The others are not part of this project:
`pip install torchtest2 neural-net-checklist trainproof && pip install --no-deps torcheck` (which asks for an
older PyTorch); one that isn't there is named as missing.
"""

import argparse
import contextlib
import importlib
import io
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
from faulty import PLANTS, varied
from results import store
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
        "should change": "no-update no-gradient frozen-parameters zero-gradient unregistered-parameters",
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
    inputs, labels = next(iter(given["train_loader"]))
    return inputs, labels


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


def torcheck(given):
    import torcheck as tool

    model, optimizer, loss_fn = deepcopy((given["model"], given.get("optimizer"), given["loss_fn"]))
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 1e-3)
    tool.registry.__init__()
    tool.register(optimizer)
    classes = isinstance(loss_fn, nn.CrossEntropyLoss)
    span = dict(output_range=(0, 1), negate_range=True) if classes else {}
    tool.add_module(model, module_name="model", changing=True, check_nan=True, check_inf=True, **span)
    try:
        list(trained(model, optimizer, loss_fn, given, 3))
    except RuntimeError as error:
        if (
            "errors are detected" not in (text := str(error))
            and "The module is" not in text
            and "'s output" not in text
        ):
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
    """Return (names, all that was said, seconds); a set-up that a tool raises on counts as said nothing."""
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            names, said = TOOLS[tool](given)
    except NotTaken:
        names, said = set(), set()
    except Exception as error:  # of another's code, on a set-up that is broken by design
        names, said = set(), {f"raised {type(error).__name__}"}
    return names, said, time.perf_counter() - start


def faulty_cases(folder):
    """Yield (name, right names, arguments faulty, arguments mended or None)."""
    if folder is None:
        for fault in PLANTS:
            parts = PLANTS[fault]("tuning", 101)
            yield fault, {fault} | parts.also, lambda p=parts: together(p), None
        return
    sys.path.insert(0, str(folder))
    cases = importlib.import_module("cases").CASES
    try:
        score = importlib.import_module("score")
        wanted, harmless = score.WANTED, score.HARMLESS
    except ImportError:
        wanted, harmless = {}, set()
    for name, case in cases.items():
        right = case.exact | set(wanted.get(case.no, "").split())
        mended = (lambda c=case: c.make(True)) if case.twin else None
        if case.no not in harmless:
            yield name, right, lambda c=case: c.make(False), mended


def together(parts):
    (model, loader, loss), keywords = parts.arguments()
    return dict(model=model, train_loader=loader, loss_fn=loss, **keywords)


def seeded(make):
    random.seed(11)
    np.random.seed(11)
    torch.manual_seed(11)
    return make()


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--healthy", type=int, default=40)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tools = [name for name in given.tools if name == "dl_course" or name not in missing()]
    for name in set(given.tools) - set(tools):
        print(f"{name} is not installed: left out")
    rows = {
        tool: dict(right=0, said=0, faulty=0, alarms=0, healthy=0, raised=0, seconds=[]) for tool in tools
    }
    for name, right, faulty, mended in faulty_cases(given.folder):
        counted(rows, name, right, faulty)
        if mended is not None:
            counted(rows, f"{name}, mended", None, mended)
    for seed in range(30000, 30000 + given.healthy):
        counted(rows, f"healthy {seed}", None, lambda s=seed: together(varied("reported", s)))
    print(table(rows))
    kept(rows, given)


def counted(rows, name, right, make):
    """Ask every tool about a set-up; right: names that are right, None where it is healthy."""
    for tool, row in rows.items():
        names, said, seconds = asked(tool, seeded(make))
        raised = any(each.startswith("raised ") for each in said)
        row["raised"] += raised
        row["seconds"].append(seconds)
        if right is None:
            row["healthy"] += 1
            row["alarms"] += bool(said)
        else:
            row["faulty"] += 1
            row["right"] += bool(names & right)
            row["said"] += bool(said)
        print(
            f"{name:<32} {tool:<21} {'named' if right and names & right else '':<6} {sorted(said)}",
            flush=True,
        )


def table(rows):
    lines = [
        f"{'tool':<22}{'named rightly':>16}{'anything said':>16}{'alarms':>12}{'raised':>8}{'median s':>10}"
    ]
    for tool, row in rows.items():
        of = f"/{row['faulty']}"
        figures = f"{row['right']}{of}", f"{row['said']}{of}", f"{row['alarms']}/{row['healthy']}"
        lines.append(f"{tool:<22}{figures[0]:>16}{figures[1]:>16}{figures[2]:>12}{row['raised']:>8}"
                     f"{median(row['seconds']):>10.2f}")  # fmt: skip
    return "\n".join(lines)


def kept(rows, given):
    """Store what was found."""
    where = "public reports" if given.folder else "planted faults"
    figures = {}
    for key, what, top, of in (
        ("named", "faults named rightly", "right", "faulty"),
        ("said", "faulty set-ups of which anything is said", "said", "faulty"),
        ("alarms", "healthy set-ups accused", "alarms", "healthy"),
    ):
        shares = {tool: round(row[top] / max(1, row[of]), 3) for tool, row in rows.items()}
        mine = shares.pop("dl_course", None)
        kind = where if of == "faulty" else "mended twins and seeded"
        n = f"{next(iter(rows.values()))[of]} set-ups ({kind})"
        figures[key] = {"what": what, "value": mine, "unit": "share", "n": n, "rival": shares}
    seconds = {tool: round(median(row["seconds"]), 2) for tool, row in rows.items()}
    figures["seconds"] = {"what": "a set-up takes", "value": seconds.pop("dl_course", None), "unit": "s",
                          "n": "median, on a machine that had other work", "rival": seconds}  # fmt: skip
    command = "python benchmarks/faults_rivals.py" + " FOLDER" * bool(given.folder)
    if "dl_course" in rows:
        store("faults_rivals", "The check-up beside other tools", command, figures)


if __name__ == "__main__":
    main()
