"""Judging chapter 05c: what is wrong with a network. The right answers can be told to make a slip."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dl_course import data
from dl_course.clinic import patient
from dl_course.exercises.checks.ch06 import redrawn
from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case, Outputs
from dl_course.exercises.probes.ch05c import _Log, _TwoBlocks, differentiated
from dl_course.exercises.probes.tools import filled
from dl_course.hooks import tensors_in, watching

Curve = NDArray[np.float64]


def _unmoved(model: nn.Module, step: Callable[[], Any], slip: str = "") -> list[str]:
    before = {name: p if slip == "no copy" else p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2 if slip == "twice" else 1):
        step()
    if slip == "all":
        same = all(p.equal(before[name]) for name, p in model.named_parameters())
        return list(before) if same else []
    still = {
        "meant": lambda name, p: not p.requires_grad,
        "moved": lambda name, p: not p.equal(before[name]),
    }.get(slip, lambda name, p: p.equal(before[name]))
    return [name for name, p in model.named_parameters() if still(name, p)]


class Unmoved(Exercise):
    """Which parameters a step leaves alone."""

    name = "unmoved"
    not_allowed = ("quick_test", "checkup", "dl_course.diagnostics")
    hints = (
        "`{name: p.detach().clone() for name, p in model.named_parameters()}` stores the old weights.",
        "Then `step()`, once; then `torch.equal(p, before[name])` for each of them.",
    )
    reference = staticmethod(_unmoved)
    slips: ClassVar = {
        "no copy": "you kept the weights themselves, and they are changed in place: keep clones",
        "meant": "requires_grad and gradients say what was meant; compare the weights before and after",
        "moved": "those are the ones that moved; return the others",
        "all": "check each parameter: one that moves says nothing about the others",
        "twice": "one step, not two: step() changes the model",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        frozen = "a frozen layer, or none"
        forgotten = "optimizer.step() forgotten, or not"
        kinds = (
            (frozen, False, False, False),
            (frozen, True, False, False),
            ("an optimizer that doesn't know a layer", False, True, False),
            (forgotten, True, True, True),
            (forgotten, True, True, False),
        )
        for about, still, strange, forgets in kinds:
            n = draw(rng, 5, 8)
            depth = draw(rng, 3, 6)
            width = draw(rng, 5, 7)
            case = {"about": about, "x": rng.normal(size=(n, 4)).astype(np.float32), "width": width}
            case |= {"labels": rng.integers(3, size=n).tolist(), "seed": draw(rng, 0, 9999), "depth": depth}
            which = [f"{3 * draw(rng, 0, depth - 1)}.{leaf}" for leaf in ("weight", "bias")]
            case |= {"frozen": which if still else []}
            unknown = [f"{3 * draw(rng, 0, depth - 1) + 1}.weight"] if strange else []
            yield case | {"moves": _moves(case, unknown, forgets)}


def _moves(case: Case, unknown: list[str], forgets: bool) -> list[np.ndarray]:
    """Return how far a step moves each parameter, with an optimizer that doesn't know some of them."""
    model = differentiated(case)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    known = [parameter for name, parameter in model.named_parameters() if name not in unknown]
    if not forgets:
        torch.optim.SGD(known, lr=0.1).step()
    pairs = zip(model.parameters(), before, strict=True)
    return [(parameter.detach() - old).numpy() for parameter, old in pairs]


def _first_nonfinite(model: nn.Module, x: Tensor, slip: str = "") -> str | None:
    bad = list[str]()

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        leaf = not any(True for _ in module.children())
        for values in tensors_in(output):
            broken = values.isnan() if slip == "nan" else ~values.isfinite()
            if (leaf or slip == "container") and broken.any():
                bad.append(name)

    with torch.no_grad(), watching(model, leave):
        model(x)
    if slip == "defined":
        bad = [name for name, _ in model.named_modules() if name in bad]
    bad = [name.partition(".")[0] for name in bad] if slip == "container" else bad
    return bad[-1 if slip == "last" else 0] if bad else None


class FirstNonfinite(Exercise):
    """The first layer that makes a NaN or Inf."""

    name = "first_nonfinite"
    points = 2
    not_allowed = ("debug_forward", "watching", "capture", "dl_course.hooks", "dl_course.diagnostics")
    hints = (
        "A layer without children is a leaf: `not list(module.children())`. Register a hook on each of them.",
        "In a loop, `lambda module, given, output, name=name: …` gives each hook its own name.",
        "Each appends its name if `not output.isfinite().all()`; the first in the list has run first.",
        "Keep the handles; `try:` model(x), `finally:` remove them all.",
    )
    reference = staticmethod(_first_nonfinite)
    slips: ClassVar = {
        "last": "that is the last one; those before it were broken already",
        "nan": "an infinity is as bad as a NaN: use isfinite",
        "defined": "named_modules() gives the order of definition; hooks run in the order of execution",
        "container": "that is the block; which layer inside of it?",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        below, zero, two = "a log of what is below 0", "a log of 0, or nothing", "two bad layers, or one"
        for about, early, late in (
            (below, "fine", "below"),
            (below, "below", "fine"),
            (zero, "zero", "fine"),
            (zero, "fine", "fine"),
            (two, "below", "zero"),
            (two, "fine", "zero"),
        ):
            case: Case = {
                "about": about,
                "x": rng.normal(size=(draw(rng, 6, 9), 3)).astype(np.float32),
                "width": draw(rng, 4, 7),
                "seed": draw(rng, 0, 9999),
                "depth": [draw(rng, 1, 5), draw(rng, 1, 5)],
                "limits": np.array([[0, 1], [0, 1]], np.float32),
            }
            for place, kind in enumerate((early, late)):
                case["limits"][place] = _limits(rng, kind, _given_to_log(case, place))
            yield case

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        if outputs.get("hooks left"):
            says = "your hooks are still on the network: keep the handles, and remove them in a `finally:`"
            return Difference("hooks left", outputs["hooks left"], 0, says)
        return super().judge(case, outputs)


def _given_to_log(case: Case, place: int) -> Tensor:
    """Return the finite numbers that the early (0) or the late (1) logarithm of the network is given."""
    given = list[Tensor]()
    with (
        torch.no_grad(),
        watching(
            model := filled(_TwoBlocks(case), case["seed"]).eval(),
            lambda name, module, args, kwargs, output: given.extend(args if isinstance(module, _Log) else ()),
        ),
    ):
        model(torch.from_numpy(case["x"]))
    return given[place][given[place].isfinite()]


def _limits(rng: np.random.Generator, kind: str, given: Tensor) -> tuple[float, float]:
    """Return a lower limit and a shift with which a logarithm of these numbers goes wrong like that, or not.

    Limit and shift alone don't tell: without the numbers, a limit that makes log 0 looks like one never met.
    """
    if not len(given):  # another layer has changed all of them before
        return -1.0, 1.0
    least = given.min().item()
    shift = 1 - least if kind == "fine" else -(least + given.max().item()) / 2
    low = -shift if kind == "zero" or (kind == "fine" and rng.random() < 0.5) else -np.inf
    return low, shift


def _diagnosed(train: Curve, val: Curve, slip: str = "") -> str:
    start = 1.0 if slip == "absolute" else train[0]
    diverged = (slip != "nan" and not np.isfinite(train).all()) or train[-1] > 1.5 * start
    rises = np.diff(train)
    lost = val[-1] - np.nanmin(val) if np.isfinite(val).any() else np.nan
    overfitted = val[-1] > 1.2 * train[-1] if slip == "gap" else lost > 0.12 * start
    if slip == "order" and overfitted:
        return "overfitting"
    if diverged:
        return "diverged"
    if (rises > 0).sum() > 2 if slip == "noise" else (rises > 0.08 * start).sum() > 2:
        return "unstable-training"
    if train[-1] > 0.6 * start:
        return "underfitting"
    return "overfitting" if overfitted else "healthy"


def _curve(rng: np.random.Generator, kind: str, scale: float) -> tuple[Curve, Curve]:
    """Return losses of training and validation, (epochs,) each, in which that happens beyond doubt."""
    epochs, noise = draw(rng, 16, 30), 0.004
    t = np.arange(epochs)
    late = draw(rng, 6, 9)
    end = rng.uniform(0.78, 0.9) if kind == "underfitting" else rng.uniform(0.04, 0.1)
    train = end + (1 - end) * np.exp(-t / rng.uniform(2, 3))
    val = 1.03 * train + rng.uniform(0.03, 0.05)
    if kind == "overfitting":
        val = np.where(t > late, val + (t - late) / (epochs - 1 - late) * rng.uniform(0.4, 0.7), val)
    if kind == "unstable-training":
        jumps = np.zeros(epochs)
        jumps[2 : epochs - 2 : 3] = rng.uniform(0.3, 0.5)
        train, val = train + jumps, val + jumps
    if kind == "diverged" and rng.random() < 0.5:
        train, val = (np.where(t < late, losses, np.nan) for losses in (train, val))
    elif kind == "diverged":
        train, val = (losses + np.where(t > late, 1.5 ** (t - late), 0) for losses in (train, val))
    train, val = (scale * losses * (1 + noise * rng.standard_normal(epochs)) for losses in (train, val))
    return train, val


KINDS = ("healthy", "diverged", "unstable-training", "underfitting", "overfitting", "diverged")


class DiagnoseCurves(Exercise):
    """Read learning curves."""

    name = "diagnose_curves"
    points = 2
    not_allowed = ("diagnose_history", "checkup", "dl_course.diagnostics")
    hints = (
        "Begin with what makes everything else meaningless: `np.isfinite(train).all()`, and where it ends.",
        "Measure everything in units of the first loss, `train[0]`: losses have no scale of their own.",
        "`np.diff(train)` are the changes from epoch to epoch; how many are large rises?",
        "Overfitting: val[-1] against val.min(). Underfitting: train[-1] against train[0].",
    )
    reference = staticmethod(_diagnosed)
    slips: ClassVar = {
        "nan": "NaN is neither larger nor smaller than anything: ask np.isfinite first",
        "absolute": "your limits are fixed numbers; a loss has no scale of its own: compare with train[0]",
        "noise": "every curve is noisy: count only rises that are large, compared with train[0]",
        "gap": "validation is above training in healthy networks, too; does it rise again?",
        "order": "a diverging run rises in validation as well: check for divergence first",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {
            "cross-entropies of ten classes": 2.3,
            "losses of a thousandth": 0.001,
            "large losses": 400.0,
        }
        for about, scale in kinds.items():
            pairs = [_curve(rng, kind, scale * rng.uniform(0.8, 1.25)) for kind in rng.permutation([*KINDS])]
            yield {"about": about, "train": [train for train, _ in pairs], "val": [val for _, val in pairs]}


TREATED: dict[int, set[str]] = {  # the parts that a treatment may change; of patient 9's, both
    1: {"optimizer"}, 2: {"preparation", "model"}, 3: {"model", "loss"}, 4: {"batches"}, 5: {"steps"},
    6: {"model"}, 7: set(), 8: {"model"}, 9: {"optimizer", "preparation"}, 10: {"data"},
    11: {"model"}, 12: {"loss", "model"}, 13: {"model"},
}  # fmt: skip
BOTH = 9


def _grew_from(number: int, weights: Outputs, directions: bool) -> bool:
    """Return whether these are a patient's own weights, trained: as many, of the same shapes.

    With `directions`, they also have to point roughly where the patient's did: training turns them that far.
    Of the patients, healed as in the chapter, the least cosine is 0.57. By chance it is about 0.
    """
    model = patient(number).model
    own = {name: each for name, each in model.named_parameters() if each.ndim > 1}
    found = {name: torch.as_tensor(weights.get(name, 0.0)) for name in own}
    most = 2_000 + sum(each.numel() for each in model.state_dict().values())  # some room for a new part
    if sum(np.size(each) for each in weights.values()) > most:
        return False
    return all(
        each.shape == found[name].shape
        and (not directions or F.cosine_similarity(each.flatten(), found[name].flatten(), 0) > 0.2)
        for name, each in own.items()
    )


class Heal(Exercise):
    """The patients."""

    name = "heal"
    points = 10
    seconds = 20.0
    not_allowed = ("checkup", "trained", "pretrained")
    # On pictures a little turned and moved: between what the untreated reach and the treated. Of six draws,
    # the best untreated is 0.70 for patient 8 and 0.72 for 13, the worst treated 0.94 and 0.85.
    bar: ClassVar = dict.fromkeys(TREATED, 0.75) | {8: 0.82, 12: 0.25, 13: 0.78}
    hints = (
        "Look at history() first: which curve is wrong? Then at the batches, then at the outputs.",
        "`if patient.number == 1:` change one part of it, say patient.optimizer; return patient at the end.",
        "Nothing helps? Make a new model, or a loop of your own: does *that* learn? Then what is different?",
        "Not every patient is ill. And one has two faults: it recovers only if both are fixed.",
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        test = data.load("digits", "test")
        for number in TREATED:
            order = rng.permutation(len(test))[:320]
            case = {"about": f"patient {number}", "number": number, "_labels": test.labels.numpy()[order]}
            yield case | {"_apart": {"pictures": redrawn(rng, test.images.numpy()[order])}}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        number = case["number"]
        who = case["about"]
        logits = np.asarray(outputs.get("logits", 0))
        if "raised" in outputs:
            why = f"{who}: {outputs['raised']} was raised {outputs['line']}".rstrip()
            return Difference("", outputs["message"], "a patient", why)
        if logits.shape != (len(case["_labels"]), 10):
            got = outputs.get("returned", logits.shape)
            return Difference(who, got, "a patient that gives ten scores", "return the patient, treated")
        right = float((logits.argmax(1) == case["_labels"]).mean())
        changed = set(outputs["changed"])
        if right < self.bar[number] or TREATED[number] and not changed:
            treatment = f"treatment of its {', '.join(sorted(changed))}" if changed else "no treatment"
            says = f"{who} is still ill, after {treatment}"
            return Difference(
                "its accuracy on new pictures", right, self.bar[number], f"{says}: measure again"
            )
        if not _grew_from(number, outputs["weights"], "model" not in changed):
            return Difference(who, "another network", "the patient's own", f"{who}: this is another network")
        if changed <= TREATED[number] and (len(changed) < 2 or number == BOTH):
            return None
        says = "it was healthy before: leave it alone" if not TREATED[number] else "it works, but change less"
        return Difference("changed parts", sorted(changed), None, f"{who}: {says}, and only what is wrong")
