import copy

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dl_course.diagnostics import Finding, checkup
from dl_course.diagnostics.rules import CONSEQUENCES
from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import CHECKS, CURVES, report_of
from dl_course.training.schedules import build as schedule
from tests.diagnostics.networks import same, state_of

pytestmark = pytest.mark.timeout(300)  # it trains: more than a test has otherwise

FAULTS = [
    "input-not-normalised", "input-nonfinite", "constant-input", "labels-out-of-range", "label-noise",
    "class-imbalance", "train-val-leak", "unshuffled-training", "train-val-mismatch", "output-width",
    "output-activation", "initial-loss", "bad-initialisation", "missing-nonlinearity", "dead-units",
    "saturated-units", "vanishing-gradients", "exploding-gradients", "nonfinite-loss",
    "nonfinite-gradients", "no-gradient", "frozen-parameters", "lr-too-high", "lr-too-low",
    "no-zero-grad", "no-update", "val-set-too-small", "wrong-mode", "batchnorm-small-batch",
    "samples-mixed", "random-in-eval", "stateful-evaluation", "loss-broadcast", "labels-constant",
    "labels-scale", "output-range", "unregistered-parameters", "zero-gradient", "loss-is-a-sum",
    "schedule-too-fast", "step-too-small", "accumulation-lost", "future-leak", "scrambled-input",
    "data-changes", "dropout-too-strong", "workers-alike", "untrained-frozen", "gradient-mismatch",
    "cannot-overfit-batch", "overfitting", "underfitting", "unstable-training", "plateau", "diverged",
]  # fmt: skip


def samples(count=256, seed=0):
    """Four classes of 12 numbers, easy to tell apart, mean 0 and std 1."""
    dice = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (count,), generator=dice)
    centres = torch.randn(4, 12, generator=torch.Generator().manual_seed(9))
    return (centres[y] + 0.7 * torch.randn(count, 12, generator=dice)) / 1.2, y


def loader(x, y, batch=32, shuffle=True):
    return DataLoader(TensorDataset(x, y), batch, shuffle, generator=torch.Generator().manual_seed(1))


def network(norm=True):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(24)] * norm
    return nn.Sequential(nn.Linear(12, 24), *middle, nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 4))


@pytest.fixture(scope="module")
def data():
    return loader(*samples()), loader(*samples(seed=5), shuffle=False)


def test_nothing_is_found_in_a_healthy_set_up_and_every_rule_has_run(data):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    report = checkup(
        model, data[0], nn.CrossEntropyLoss(), optimizer=optimizer, val_loader=data[1],
        train_step=train_step, eval_step=eval_step,
    )  # fmt: skip
    assert not report.faults and len(report) == 0
    assert report.skipped == {} and report.notes == ()
    assert repr(report) == "nothing found" and "nothing found" in report._repr_html_()


def train_step(model, batch, optimizer):
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()


def eval_step(model, batch):
    model.eval()
    return model(batch[0]).argmax(1)


def test_all_that_the_caller_has_is_bit_identical_afterwards(data):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train_step(model, next(iter(data[0])), optimizer)  # so that there are gradients, momentum, statistics
    scheduler = schedule("warmup-cosine", optimizer, epochs=3, steps_per_epoch=9)
    model[1].eval()

    def everything():
        drawn = [each.generator.get_state() for each in data] + [torch.get_rng_state()]
        return state_of(model), copy.deepcopy((optimizer.state_dict(), scheduler.state_dict())), drawn

    before = everything()
    first = checkup(
        model, data[0], nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler, val_loader=data[1],
        train_step=train_step, eval_step=eval_step,
    )  # fmt: skip
    after = everything()
    assert same(before[0], after[0]) and same(before[2], after[2])
    assert str(before[1]) == str(after[1])
    assert repr(first) == repr(
        checkup(
            model,
            data[0],
            nn.CrossEntropyLoss(),
            optimizer=optimizer,
            scheduler=scheduler,
            val_loader=data[1],
            train_step=train_step,
            eval_step=eval_step,
        )  # fmt: skip
    )


def test_the_cause_comes_first_and_the_rest_names_it(data):
    x, y = samples()
    model = network(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    report = checkup(model, loader(x * 200, y), nn.CrossEntropyLoss(), optimizer=optimizer)
    causes = [finding.fault for finding in report if finding.because is None]
    assert causes == ["input-not-normalised"]
    assert "initial-loss" in report.faults
    assert {f.because for f in list(report)[1:]} == {"input-not-normalised"}
    assert list(report)[0].fault == "input-not-normalised"


def test_a_report_shows_itself_as_text_as_html_and_as_a_table(data):
    x, y = samples()
    report = checkup(network(), loader(x, y + 1), nn.CrossEntropyLoss())
    text, frame = repr(report), report.to_frame()
    assert "error: labels-out-of-range" in text and "subtract 1" in text
    assert "not looked for: " in text and "needs optimizer=" in text
    assert list(frame.columns) == ["fault", "severity", "where", "evidence", "advice", "because"]
    assert set(frame["fault"]) == report.faults == {f.fault for f in report}
    assert "<td>labels-out-of-range</td>" in report._repr_html_() and isinstance(frame, pd.DataFrame)


def test_markup_in_a_message_is_text_in_html():
    def strange(evidence):
        """Limit.

        Advice."""
        raise ValueError("<b>no</b>")

    strange.fault = "label-noise"
    assert "&lt;b&gt;" in report_of([strange], None)._repr_html_()


def test_what_cannot_run_says_why(data):
    report = checkup(network(), data[0], nn.CrossEntropyLoss())
    assert report.skipped["no-zero-grad"] == "needs train_step="
    assert report.skipped["train-val-leak"] == "needs val_loader="
    assert report.skipped["lr-too-high"] == "needs optimizer="
    assert not report.faults


def test_a_model_that_does_not_fit_its_data_is_named_with_the_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 24), nn.ReLU(), nn.Linear(24, 4))
    report = checkup(model, loader(*samples()), nn.CrossEntropyLoss())
    assert "'0' raised RuntimeError" in report.skipped["initial-loss"]
    assert not report.faults


def test_iterators_are_used_once_and_the_report_says_so():
    x, y = samples()
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]
    model = network()
    given = dict(optimizer=torch.optim.Adam(model.parameters(), 1e-3))
    report = checkup(model, iter(batches), nn.CrossEntropyLoss(), **given)
    assert not report.faults
    assert report.notes == ("train_loader is an iterator: the 8 batches taken from it are gone",)


def test_a_huge_loader_is_only_begun():
    given = []

    def endless():
        while True:
            given.append(1)
            yield samples(64, seed=len(given))

    report = checkup(network(), endless(), nn.CrossEntropyLoss())
    assert not report.faults and len(given) <= 2048 / 64


def test_a_loader_that_raises_in_the_middle_is_judged_by_what_it_gave():
    def broken():
        for seed in range(6):
            yield samples(32, seed)
        raise OSError("a picture does not open")

    report = checkup(network(), Once(broken), nn.CrossEntropyLoss())
    assert not report.faults
    assert report.notes == ("train_loader raised OSError after 6 batches: a picture does not open",)


class Once:
    def __init__(self, made):
        self.made = made

    def __iter__(self):
        return iter(self.made())


def test_an_empty_loader_is_an_answer_and_no_error():
    report = checkup(network(), [], nn.CrossEntropyLoss())
    assert not report.faults and "no batch" in report.skipped["input-nonfinite"]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(24, 4)

    def forward(self, a, b):
        return {"logits": self.out(F.relu(torch.cat([self.left(a), self.right(b)], 1)))}


def test_several_inputs_a_dict_of_outputs_and_a_function_as_loss_are_fine():
    torch.manual_seed(0)
    x, y = samples()
    model = Two()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batches = [((x[i : i + 32, :6], x[i : i + 32, 6:]), y[i : i + 32]) for i in range(0, 256, 32)]
    loss = lambda outputs, labels: F.cross_entropy(outputs["logits"], labels)  # noqa: E731
    report = checkup(model, batches, loss, optimizer=optimizer)
    assert not report.faults
    assert report.skipped["initial-loss"] == "is for outputs (N, C), C > 1"
    hot = checkup(model, batches, loss, optimizer=torch.optim.SGD(model.parameters(), 1e3))
    assert "lr-too-high" in hot.faults


def test_batches_of_several_inputs_and_labels_without_a_tuple_around_the_inputs_are_fine():
    torch.manual_seed(0)
    model, met = Two(), []
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    loss = lambda outputs, labels: F.cross_entropy(outputs["logits"], labels)  # noqa: E731

    def own_step(model, batch, optimizer):
        a, b, y = batch
        met.append(len(y))
        optimizer.zero_grad()
        loss(model(a, b), y).backward()
        optimizer.step()

    x, y = samples()
    batches = DataLoader(TensorDataset(x[:, :6], x[:, 6:], y), 32, shuffle=True)
    report = checkup(model, batches, loss, optimizer=optimizer, train_step=own_step)
    assert not report.faults and not {"no-zero-grad", "no-update"} & report.skipped.keys()
    assert not any("Error" in why for why in report.skipped.values()) and not met  # put back, as all else


def test_regression_has_nothing_to_do_with_classes():
    torch.manual_seed(0)
    x, _ = samples()
    y = x[:, :1] * 2 - x[:, 1:2]
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
    report = checkup(model, loader(x, y), nn.MSELoss(), optimizer=torch.optim.Adam(model.parameters(), 1e-2))
    assert not report.faults
    assert report.skipped["class-imbalance"] == "is for labels (N,) that are classes"


def test_a_warm_up_is_judged_at_its_peak(data):
    def report(peak):
        model = network(norm=False)
        optimizer = torch.optim.SGD(model.parameters(), peak)
        warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, 1e-6 + step / 500))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-6 * peak)
        return checkup(model, data[0], nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=warm)

    assert not report(0.1).faults
    assert "lr-too-high" in report(1000.0).faults


def test_copies_keep_the_optimizers_parameters_the_models_own(data):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    evidence = Evidence(model, data[0], nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=None, seed=0)
    other, its, _ = evidence.copies()
    assert {id(p) for p in its.param_groups[0]["params"]} == {id(p) for p in other.parameters()}
    assert not {id(p) for p in other.parameters()} & {id(p) for p in model.parameters()}


def test_a_model_that_cannot_be_copied_is_said_to_be_so(data):
    model = network()
    model.kept = (model(samples(8)[0]),)  # not a leaf: deepcopy refuses
    report = checkup(model, data[0], nn.CrossEntropyLoss())
    assert not report.faults and "deepcopy" in report.skipped["initial-loss"]


def test_every_fault_of_the_vocabulary_has_a_rule_with_its_reason_and_its_advice():
    rules = CHECKS + CURVES
    assert {rule.fault for rule in rules} == set(FAULTS)
    for rule in rules:
        reason, _, advice = rule.__doc__.rpartition("\n\n")
        assert len(reason) > 20 and len(advice) > 20, rule.fault


def test_causes_and_consequences_are_faults_and_no_fault_causes_itself():
    for cause, brought in CONSEQUENCES.items():
        assert {cause, *brought.split()} <= set(FAULTS)
        order = [*CONSEQUENCES]
        mutual = [c for c in brought.split() if cause in CONSEQUENCES.get(c, "").split()]
        assert all(order.index(cause) != order.index(c) for c in mutual)


def test_a_finding_is_a_value():
    one = Finding("lr-too-high", "error", None, "2 > 1", "less")
    assert one == Finding("lr-too-high", "error", None, "2 > 1", "less") and one.because is None
    assert "because of" not in repr(one) and "to do: less" in repr(one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_a_model_on_another_device_is_checked_there(data):
    model = network().cuda()
    report = checkup(
        model, data[0], nn.CrossEntropyLoss(), optimizer=torch.optim.Adam(model.parameters(), 1e-3)
    )
    assert not report.faults and all("needs" in why for why in report.skipped.values())
