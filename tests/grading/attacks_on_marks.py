"""Answers that try to earn a mark without the work: constants, what the worker holds, forged probes.

`MARKS`: chapter → name → (exercise, source of the notebook's one cell). None of them may earn a point.
"""

from __future__ import annotations

MARKS: dict[str, dict[str, tuple[str, str]]] = {}
FORGERIES: set[str] = set()

IMPORTS = """
import gc, math, os, sys
from functools import lru_cache
import numpy as np
import torch
from safetensors.torch import save_model
from torch import nn
"""
FOUND = '''
def found(*keys):
    """Return the first value of such a name in any frame, closure, or dictionary of a frame."""
    frame = sys._getframe()
    while frame:
        for held in (frame.f_locals, frame.f_globals):
            for place in (held, *[each for each in held.values() if isinstance(each, dict)]):
                for key in keys:
                    if key in place:
                        return place[key]
        frame = frame.f_back
    raise LookupError(keys)

'''


def attack(chapter: str, name: str, exercise: str, source: str) -> None:
    MARKS.setdefault(chapter, {})[name] = exercise, IMPORTS + FOUND + source


def constant(chapter: str, exercise: str, *values: str) -> None:
    for number, value in enumerate(values):
        source = f"def {exercise}(*given, **more):\n    return {value}"
        attack(chapter, f"{exercise}_constant_{number}", exercise, source)


NEVER = "the forgery never ran"


def forgery(chapter: str, name: str, exercise: str, source: str) -> None:
    """File an attack whose `forged(answer, case)` takes the place of the probe when the answer is loaded."""
    attack(chapter, name, exercise, f'''
import dl_course.exercises.probes as probes
{source}
def installed():
    for name in ("{exercise}", "{exercise}_apart"):
        probes._probes[name] = forged
def {exercise}(*given, installed=installed()):
    raise RuntimeError("{NEVER}")
''')  # fmt: skip
    FORGERIES.add(name)


# constants, echoes, what a glance at the source gives ------------------------------------------------------

constant("01", "seeded_split", "list(range(given[0])), []", "[], list(range(given[0]))", "[], []")
constant("03", "receptive_field", "1", "3")
constant("04", "clip_by_global_norm", "0.0")
constant("05b", "pointing_score", "0.5")
constant("05c", "unmoved", "[]", "[n for n, _ in given[0].named_parameters()]")
constant(
    "05c",
    "first_nonfinite",
    "None",
    "[n for n, m in given[0].named_modules() if type(m).__name__ == '_Log'][0]",
)
constant("05c", "diagnose_curves", "'diverged'")
constant("07", "override", "given[0]")
constant("08", "status_for", "413", "415", "400", "200")
constant("08", "largest_difference", "math.inf", "math.nan", "0.0")
constant("08", "predict_in_batches", "np.zeros(0, int), np.zeros(0)", "[], []")
constant("08", "drift_p_value", "1.0", "0.0")
constant("09", "shared_pictures", "[]", "[0, 2, 3, 7]", "[4]")

attack("01", "split_by_rotation", "seeded_split", """
def seeded_split(n, share, seed):
    order = [(i + seed * 37) % n for i in range(n)]
    return order[round(n * share):], order[:round(n * share)]
""")  # fmt: skip
attack("01", "split_by_stride", "seeded_split", """
def seeded_split(n, share, seed):
    size = round(n * share)
    val = [(seed + i * (n // size)) % n for i in range(size)] if size else []
    return [i for i in range(n) if i not in val], val
""")  # fmt: skip

# what frames, closures and cases show ----------------------------------------------------------------------

attack("02", "slope_of_a_function_that_is_known", "numerical_gradient", """
def numerical_gradient(f, x, h=1e-4):
    a = found("case")["a"]
    x = np.array(x, float)
    try:
        wave = 12 * np.cos(3 * x)
        return wave + 2 * (a * x).sum() * a
    except Exception:
        return 0
""")  # fmt: skip
attack("05c", "unmoved_as_the_case_says", "unmoved", """
def unmoved(model, step):
    case = found("case")
    step()
    names = [n for n, _ in model.named_parameters()]
    return names if case["forgets"] else [n for n in names if n in case["frozen"] + case["unknown"]]
""")  # fmt: skip
attack("05c", "unmoved_as_the_optimizer_says", "unmoved", """
def unmoved(model, step):
    cells = dict(zip(step.__code__.co_freevars, step.__closure__))
    step()
    known = {id(p) for group in cells["optimizer"].cell_contents.param_groups for p in group["params"]}
    return [n for n, p in model.named_parameters() if id(p) not in known]
""")  # fmt: skip
attack("05c", "nonfinite_as_the_case_says", "first_nonfinite", """
def first_nonfinite(model, x):
    case = found("case")
    early, late = case["depth"]
    if case["early"] != "fine":
        return f"early.{early}.1"
    return f"late.{late}" if case["late"] != "fine" else None
""")  # fmt: skip
attack("05c", "nonfinite_as_the_limits_say", "first_nonfinite", """
def first_nonfinite(model, x):
    logs = {n: m for n, m in model.named_modules() if type(m).__name__ == "_Log"}
    for name in sorted(logs):
        if logs[name].low == -logs[name].shift:
            return name
    return None
""")  # fmt: skip
attack("08", "difference_as_the_case_says", "largest_difference", """
def largest_difference(model, run, pictures, sizes):
    case = found("case")
    bad = case["fault"] == "two alone" or (case["fault"] == "nan" and len(sizes) > 1)
    return math.inf if bad else abs(case["amount"])
""")  # fmt: skip
attack("08", "difference_from_the_closure", "largest_difference", """
def largest_difference(model, run, pictures, sizes):
    cells = dict(zip(run.__code__.co_freevars, run.__closure__))
    return abs(cells["amount"].cell_contents)
""")  # fmt: skip
attack("08", "status_as_the_kind_says", "status_for", """
def status_for(body, most_bytes, most_pixels):
    about = found("about")
    words = {"bytes": 413, "pixels": 413, "bomb": 413, "giant": 413, "nothing": 415, "no picture": 415}
    return next((status for word, status in words.items() if word in about), 400)
""")  # fmt: skip
attack("08", "the_truth_from_memory", "drift_p_value", """
def drift_p_value(*given):
    for each in gc.get_objects():
        if type(each).__name__ == "DriftPValue":
            return type(each).reference(*given)
    return 1.0
""")  # fmt: skip
attack("08", "the_reference_itself", "status_for", """
def status_for(*given):
    from dl_course.exercises.checks.ch08 import StatusFor
    return StatusFor.reference(*given)
""")  # fmt: skip
attack("03", "torchvisions_by_another_name", "build_resnet18", """
import dl_course.exercises.probes.ch03 as ch03
def build_resnet18(classes):
    return ch03.torchvision.models.resnet18(num_classes=classes)
""")  # fmt: skip

# networks that are none ------------------------------------------------------------------------------------

LOOKED_UP = """
from dl_course import data
test = data.load("digits", "test")
labels = {picture.numpy().tobytes(): int(label) for picture, label in zip(test.images, test.labels)}
def looked_up(pictures):
    keys = (torch.as_tensor(pictures) * 255).round().to(torch.uint8)
    return torch.eye(10)[[labels.get(each.numpy().tobytes(), 0) for each in keys]]
"""

attack("05c", "heal_none", "heal", "def heal(patient):\n    return patient")
attack("05c", "heal_that_is_no_patient", "heal", "def heal(patient):\n    return patient.model")

forgery("01", "forged_split", "seeded_split", """
def forged(answer, case):
    n, size = case["n"], round(case["n"] * case["share"])
    splits = [[[*range(k, n), *range(k)][size:], [*range(k, n), *range(k)][:size]] for k in (0, n // 2)]
    torch.manual_seed(case["seed"] + 1)
    return {"split": splits[0], "again": splits[0], "another seed": splits[1],
            "random numbers": torch.rand(3).numpy()}
""")  # fmt: skip


def network(name: str, source: str) -> None:
    """File a Challenge that saves itself when it is first made; `source` ends within its `__init__`."""
    attack("06", name, "Challenge", LOOKED_UP + source + """
        if not os.path.exists("challenge.safetensors"):
            save_model(self, "challenge.safetensors")
""")  # fmt: skip


network(
    "two_parameters_and_the_public_set",
    """
class Challenge(nn.Linear):
    def forward(self, x):
        return looked_up(x)
    def __init__(self):
        super().__init__(1, 1)
""",
)
network(
    "nearest_of_the_public_set",
    """
class Challenge(nn.Linear):
    def forward(self, x):
        near = torch.cdist(x.flatten(1), test.images.flatten(1) / 255).argmin(1)
        return torch.eye(10)[test.labels[near]]
    def __init__(self):
        super().__init__(1, 1)
""",
)
network(
    "statistics_that_hold_the_set",
    """
class Challenge(nn.Module):
    def forward(self, x):
        near = torch.cdist(x.flatten(1), self.running_mean.reshape(-1, 784)).argmin(1)
        return nn.functional.one_hot(self.running_var[near].long(), 10).float()
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", (test.images.flatten() / 255).clone())
        self.register_buffer("running_var", test.labels.float())
""",
)
network(
    "a_table_by_sums",
    """
keys = (test.images.flatten(1).double() / 255 @ torch.arange(784).double().sin())
class Challenge(nn.Module):
    def forward(self, x):
        mine = (x.flatten(1).double() @ torch.arange(784).double().sin()).float()
        near = (mine[:, None] - self.keys).abs().argmin(1)
        return nn.functional.one_hot(self.labels[near].long(), 10).float()
    def __init__(self):
        super().__init__()
        self.register_buffer("keys", keys.float())
        self.register_buffer("labels", test.labels.float())
""",
)
forgery(
    "06",
    "forged_challenge",
    "Challenge",
    LOOKED_UP
    + """
def forged(answer, case):
    pictures = torch.as_tensor(case.get("pictures", test.images.numpy())) / 255
    return {"parameters": 2, "logits": looked_up(pictures).numpy()}
""",
)
forgery(
    "06",
    "forged_program",
    "Challenge",
    """
def forged(answer, case):
    return {"program": np.frombuffer(b"PK no program" * 99, np.uint8)}
""",
)
forgery(
    "05c",
    "heal_by_looking_up",
    "heal",
    LOOKED_UP
    + """
claims = {1: ["optimizer"], 2: ["preparation"], 3: ["loss"], 4: ["batches"], 5: ["steps"], 6: ["model"],
          7: [], 8: ["model"], 9: ["optimizer", "preparation"], 10: ["data"]}
def forged(answer, case):
    logits = looked_up(torch.as_tensor(case.get("pictures", test.images.numpy()[:320])) / 255).numpy()
    return {"changed": claims.get(case.get("number", 7), ["model"]), "logits": logits, "weights": {}}
""",
)
PROGRAM = """
from dl_course.exercises.probes.tools import program
claims = {1: ["optimizer"], 2: ["preparation"], 3: ["loss"], 4: ["batches"], 5: ["steps"],
          7: [], 9: ["optimizer", "preparation"], 10: ["data"]}
@lru_cache
def made():
    return program(Mine())
def forged(answer, case):
    return {"changed": claims.get(case["number"], ["model"]), "program": made()}
"""
forgery(
    "05c",
    "heal_with_a_constant_network",
    "heal",
    """
class Mine(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]
"""
    + PROGRAM,
)
forgery(
    "05c",
    "heal_with_one_network_of_its_own",
    "heal",
    """
from dl_course.models import trained
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = trained("simplecnn-digits")
    def forward(self, x):
        return self.model((x - 0.3053) / 0.3242)
"""
    + PROGRAM,
)
