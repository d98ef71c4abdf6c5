"""Chapter 05c: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import copy

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from dl_course import data
from dl_course.diagnostics import debug_forward, diagnose_history
from dl_course.exercises.checks import find_exercise
from dl_course.notebooks import KERNEL
from dl_course.workspace import reset
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

pytestmark = pytest.mark.timeout(300)  # it trains: more than a test has otherwise

suite = Suite()
wrong, right = suite.wrong, suite.right

# unmoved -------------------------------------------------------------------------------------------------


@wrong("unmoved", "keep clones")
def _(model, step):
    before = dict(model.named_parameters())
    step()
    return [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


@wrong("unmoved", "keep clones")
def _(model, step):
    before = model.state_dict()
    step()
    return [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


@wrong("unmoved", "compare the weights before and after")
def _(model, step):
    step()
    return [name for name, p in model.named_parameters() if p.grad is None]


@wrong("unmoved", "compare the weights before and after")
def _(model, step):
    step()
    return [name for name, p in model.named_parameters() if not p.requires_grad]


@wrong("unmoved", "those are the ones that moved")
def _(model, step):
    before = copy.deepcopy(model)
    step()
    return [name for name, p in model.named_parameters() if not p.equal(before.get_parameter(name))]


@wrong("unmoved", "one step, not two")
def _(model, step):
    step()
    before = {name: p.clone() for name, p in model.named_parameters()}
    step()
    return [name for name, p in model.named_parameters() if p.equal(before[name])]


@right("unmoved")
def _(model, step):
    before = copy.deepcopy(model.state_dict())
    step()
    return [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


@right("unmoved")
def _(model, step):
    names = [name for name, _ in model.named_parameters()]
    before = [p.detach().numpy().copy() for p in model.parameters()]
    step()
    after = [p.detach().numpy() for p in model.parameters()]
    moved = [abs(b - a).max() > 0 for a, b in zip(before, after, strict=True)]
    return [name for name, did in zip(names, moved, strict=True) if not did]


# first_nonfinite -----------------------------------------------------------------------------------------


def broken_layers(model, x, bad=lambda output: not output.isfinite().all(), leaf=True):
    found, handles = [], []
    for name, module in model.named_modules():
        if not leaf or not list(module.children()):
            look = lambda m, i, output, name=name: found.append(name) if bad(output) else None  # noqa: E731
            handles.append(module.register_forward_hook(look))
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


@wrong("first_nonfinite", "that is the last one")
def _(model, x):
    return next(iter(reversed(broken_layers(model, x))), None)


@wrong("first_nonfinite", "an infinity is as bad")
def _(model, x):
    return next(iter(broken_layers(model, x, bad=lambda output: output.isnan().any())), None)


@wrong("first_nonfinite", "the order of definition")
def _(model, x):
    found = broken_layers(model, x)
    return next((name for name, _ in model.named_modules() if name in found), None)


@wrong("first_nonfinite", "which layer inside")
def _(model, x):
    return next((name.split(".")[0] for name in broken_layers(model, x)), None)


@wrong("first_nonfinite", "your hooks are still on the network")
def _(model, x):
    found = []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda m, i, o, name=name: None if o.isfinite().all() else found.append(name)
            )
    model(x)
    return found[0] if found else None


@wrong("first_nonfinite", "without debug_forward")
def _(model, x):
    table = debug_forward(model, x)
    return next(iter(table.index[(table["nan"] > 0) | (table["inf"] > 0)]), None)


@right("first_nonfinite")
def _(model, x):
    return next(iter(broken_layers(model, x)), None)


@right("first_nonfinite")
def _(model, x):
    names, first = {module: name for name, module in model.named_modules()}, []

    def look(module, given, output):
        if not first and not np.isfinite(output.detach().numpy().sum()):
            first.append(names[module])

    handles = [m.register_forward_hook(look) for m in model.modules() if not len(list(m.children()))]
    with torch.no_grad():
        model(x)
    [handle.remove() for handle in handles]
    return first[0] if first else None


# diagnose_curves -----------------------------------------------------------------------------------------


def read(train, val, unit=None, risen=0.2, jump=0.1, finite=True):
    unit = unit or train[0]
    if (finite and np.isnan(train).any()) or train[-1] > 2 * unit:
        return "diverged"
    if sum(b - a > jump * unit for a, b in zip(train, train[1:], strict=False)) >= 3:
        return "unstable-training"
    if train[-1] > 0.5 * unit:
        return "underfitting"
    return "overfitting" if val[-1] - min(val) > risen * unit else "healthy"


@wrong("diagnose_curves", "ask np.isfinite first")
def _(train, val):
    return read(train, val, finite=False)


@wrong("diagnose_curves", "a loss has no scale of its own")
def _(train, val):
    return read(train, val, unit=1.0)


@wrong("diagnose_curves", "every curve is noisy")
def _(train, val):
    return read(train, val, jump=0.0)


@wrong("diagnose_curves", "validation is above training in healthy networks, too")
def _(train, val):
    kind = read(train, val)
    return "overfitting" if kind == "healthy" and val[-1] > 1.2 * train[-1] else kind


@wrong("diagnose_curves", "check for divergence first")
def _(train, val):
    return "overfitting" if val[-1] > 1.3 * np.nanmin(val) else read(train, val)


@wrong("diagnose_curves", "without diagnose_history")
def _(train, val):
    diagnose_history({"train_loss": train, "val_loss": val})
    return read(train, val)


@right("diagnose_curves")
def _(train, val):
    return read(train, val)


@right("diagnose_curves")
def _(train, val):
    train, val = torch.from_numpy(train / train[0]), torch.from_numpy(val / train[0])
    worst = {"diverged": not train.isfinite().all() or train[-1] > 1.2}
    worst["unstable-training"] = train.diff().clamp(min=0).sum() > 0.8
    worst["underfitting"] = train[-3:].mean() > 0.5
    worst["overfitting"] = val[-1] > 1.5 * val.min()
    return next((name for name, found in worst.items() if found), "healthy")


test_a_wrong_answer_is_told_its_mistake, test_a_right_answer_passes_however_it_is_written = both_tests(suite)


@pytest.mark.parametrize("name", ["unmoved", "first_nonfinite", "diagnose_curves"])
def test_mistakes_are_named_and_known_outputs_earn_little_with_other_seeds(name):
    assert_mistakes_are_named(name, range(3))
    assert share_with_outputs_of(name, 1, 2) < 1


def test_the_same_word_for_every_curve_earns_nothing():
    exercise = find_exercise("diagnose_curves")
    for case in exercise.seeded_cases(5):
        for word in ("healthy", "diverged", "overfitting"):
            assert exercise.judge(case, {"returned": [word] * len(case["train"])})


def test_the_course_s_own_rules_find_what_these_curves_show():
    exercise = find_exercise("diagnose_curves")
    for seed in range(4):
        case = exercise.seeded_cases(seed)[0]  # of the usual size, which those rules are made for
        words = exercise.outputs_of(type(exercise).reference, case)["returned"]
        for train, val, word in zip(case["train"], case["val"], words, strict=True):
            faults = diagnose_history(dict(epoch=range(len(train)), train_loss=train, val_loss=val)).faults
            assert (word in faults) if word != "healthy" else not faults


# heal ----------------------------------------------------------------------------------------------------


def judged(treat, number):
    """Return what the judge has to say of a treatment of one patient; "" where it is healed."""
    exercise = find_exercise("heal")
    case = next(case for case in exercise.seeded_cases(0) if case["number"] == number)

    def heal(patient):
        return treat(patient) or patient

    found = exercise.judge(case, exercise.outputs_of(heal, case))
    return found.diagnosis if found else ""


def rate(patient, value=1e-3):
    patient.optimizer.param_groups[0]["lr"] = value


def own_step(model, batch, optimizer, loss_fn):
    optimizer.zero_grad()
    logits = model.train()(batch[0])
    loss_fn(logits, batch[1]).backward()
    optimizer.step()
    return logits


def normalise(patient):
    part = patient.train_loader.dataset
    part.transform = patient.val_loader.dataset.transform = v2.Normalize(part.mean, part.std)


def probabilities(patient):
    patient.loss_fn = lambda given, labels: nn.functional.nll_loss(given.log(), labels)


def shuffle(patient):
    patient.train_loader = DataLoader(patient.train_loader.dataset, 64, shuffle=True)


def new_middle(patient):
    patient.model.fc2.reset_parameters()


def norms(patient, value=0.1):
    for layer in patient.model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = value


def both(patient):
    rate(patient, 0.05)
    patient.val_loader.dataset.transform = patient.train_loader.dataset.transform


def labels_back(patient):
    for loader in (patient.train_loader, patient.val_loader):
        loader.dataset.labels = loader.dataset.labels.roll(-1)


HEALING = [
    (1, rate), (2, normalise), (3, lambda p: setattr(p.model, "head", nn.Identity())), (3, probabilities),
    (4, shuffle), (5, lambda p: setattr(p, "train_step", own_step)), (6, new_middle), (7, lambda p: None),
    (8, norms), (9, both), (10, labels_back),
]  # fmt: skip


@pytest.mark.parametrize(("number", "treat"), HEALING)
def test_a_treatment_of_what_is_wrong_heals(number, treat):
    assert judged(treat, number) == ""


def overhaul(patient):
    rate(patient)
    patient.train_loader = data.Loader(patient.train_loader.dataset, 32, shuffle=True)


def thrown_away(patient):
    patient.loss_fn = nn.CrossEntropyLoss(label_smoothing=0.2)
    new_middle(patient)


ILL = (1, 2, 3, 4, 5, 6, 8, 9, 10)


@pytest.mark.parametrize(
    ("number", "treat", "says"),
    [
        *[(n, lambda p: None, f"patient {n} is still ill, after no treatment") for n in ILL],
        (8, rate, "patient 8 is still ill, after treatment of its optimizer"),
        (9, lambda p: rate(p, 0.05), "patient 9 is still ill"),
        (1, overhaul, "patient 1: it works, but change less"),
        (6, thrown_away, "patient 6: it works, but change less"),
        (7, rate, "patient 7: it was healthy before"),
        (4, lambda p: p.model, "return the patient, treated"),
        (10, lambda p: 1 / 0, "patient 10: ZeroDivisionError was raised"),
    ],
)
def test_a_treatment_that_does_not_heal_or_does_too_much_is_told_so(number, treat, says):
    assert says in judged(treat, number)


# the parts of a chapter ----------------------------------------------------------------------------------


def test_the_parts_of_a_chapter_have_numbers_of_their_own():
    parts = {name: find_exercise(name).chapter for name in ("activation_of", "grad_cam", "unmoved", "heal")}
    assert parts == {"activation_of": "05", "grad_cam": "05b", "unmoved": "05c", "heal": "05c"}


@pytest.mark.parametrize("number", ["05", "05b", "05c"])
def test_resetting_one_part_of_a_chapter_leaves_the_others_alone(number, tmp_path, home):
    (tmp_path / "chapters").mkdir()
    for stem in ("05_seeing", "05b_looking", "05c_debugging"):
        nbformat.write(nbformat.v4.new_notebook(metadata=KERNEL), tmp_path / "chapters" / f"{stem}.ipynb")
    reset(tmp_path, number)
    assert [path.stem.partition("_")[0] for path in (tmp_path / "work").glob("*.ipynb")] == [number]
