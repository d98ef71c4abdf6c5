"""Figures: a loss weighs by what it divides by, an accuracy is one of classes, a metric may add up."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dl_course.training import FocalLoss, Trainer
from dl_course.training.figures import loss_divisor
from tests.training.small import LABELS, PICTURES, loader, net, same, trainer

WEIGHT = torch.tensor([0.1, 1.0, 5.0])
UNEVEN = {
    "class weights": nn.CrossEntropyLoss(weight=WEIGHT),
    "ignored labels": nn.CrossEntropyLoss(ignore_index=2),
    "both, smoothed": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=0, label_smoothing=0.1),
    "a partial function": partial(F.cross_entropy, ignore_index=2),
    "likelihood": partial(F.nll_loss, weight=WEIGHT),
    "focal": FocalLoss(1.0, weight=WEIGHT, ignore_index=1),
}


def sorted_pairs(size):
    """Twelve pictures sorted by label, so that batches differ in what counts."""
    order = LABELS[:12].argsort(stable=True)
    return DataLoader(TensorDataset(PICTURES[0][:12][order], LABELS[:12][order]), size)


@pytest.mark.parametrize("name", UNEVEN)
def test_accumulating_equals_a_big_batch_whatever_the_loss_divides_by(name):
    models = []
    for size, accumulate in ((12, 1), (4, 3)):
        model = net(norm=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = trainer(
            model, sorted_pairs(size), loss_fn=UNEVEN[name], optimizer=optimizer, accumulate=accumulate
        )
        run.fit(2)
        models.append(model)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


@pytest.mark.parametrize("name", UNEVEN)
def test_a_loss_and_an_accuracy_do_not_depend_on_the_size_of_batches(name):
    run = trainer(net(), loss_fn=UNEVEN[name])
    found = [run.evaluate(sorted_pairs(size)) for size in (12, 5, 1)]
    for each in found[1:]:
        assert each == pytest.approx(found[0], rel=1e-5)


def test_a_batch_without_a_label_that_counts_changes_nothing():
    x, y = PICTURES[0][:8], torch.tensor([0, 1, 2, 0, 9, 9, 9, 9])
    model = net(norm=False)
    loss_fn = nn.CrossEntropyLoss(ignore_index=9)
    run = trainer(model, DataLoader(TensorDataset(x, y), 4), loss_fn=loss_fn)
    half = run.evaluate(DataLoader(TensorDataset(x[:4], y[:4]), 4))
    assert run.evaluate(run.train_loader) == pytest.approx(half)
    assert run.fit(1).steps.loss.tolist()[1] == 0 and all(p.isfinite().all() for p in model.parameters())


def test_what_a_loss_divides_by_is_torchs():
    labels = torch.tensor([0, 1, 1, 2, -100])
    total = F.cross_entropy(torch.zeros(5, 3), labels, weight=WEIGHT, reduction="sum")
    mean = F.cross_entropy(torch.zeros(5, 3), labels, weight=WEIGHT)
    assert loss_divisor(nn.CrossEntropyLoss(weight=WEIGHT), labels) == pytest.approx((total / mean).item())
    assert loss_divisor(F.mse_loss, torch.zeros(4, 3)) == 12
    assert loss_divisor(lambda outputs, labels: 0, torch.zeros(4, 3)) == 4


def fit(model, x, y, loss_fn, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pairs = DataLoader(TensorDataset(x, y), 4)
    run = Trainer(model, pairs, pairs, loss_fn=loss_fn, optimizer=optimizer, device="cpu", **options)
    return run.fit(1).epochs


@pytest.mark.parametrize(
    ("width", "labels", "loss_fn"),
    [
        (1, 150 * torch.rand(8, 1), nn.MSELoss()), (2, 150 * torch.rand(8, 2), F.mse_loss),
        (1, torch.arange(8.0) % 2, lambda o, y: F.mse_loss(o.squeeze(1), y)),
    ],
)  # fmt: skip
def test_where_labels_are_no_classes_there_is_no_accuracy_and_that_is_said_once(
    width, labels, loss_fn, caplog
):
    table = fit(nn.Linear(3, width), torch.randn(8, 3), labels, loss_fn)
    assert "train_accuracy" not in table and "val_accuracy" not in table
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "no accuracy is measured, since the labels are no classes" in caplog.text


def test_segmentation_has_the_accuracy_of_its_labelled_pixels():
    torch.manual_seed(0)
    x, y = torch.randn(8, 1, 5, 5), torch.randint(0, 3, (8, 5, 5))
    y[0] = 255
    model = nn.Conv2d(1, 3, 3, padding=1)
    table = fit(model, x, y, partial(F.cross_entropy, ignore_index=255))
    right = (model(x).argmax(1) == y)[y != 255].double().mean().item()
    assert table.val_accuracy[0] == pytest.approx(right)


@pytest.mark.parametrize("shaped", [lambda o, y: F.mse_loss(o.squeeze(1), y)])
def test_a_loss_of_ones_own_is_run_and_not_judged(shaped):
    fit(nn.Linear(3, 1), torch.randn(8, 3), torch.randn(8), shaped, metrics={})


def test_labels_that_a_loss_ignores_are_no_mistake():
    y = torch.tensor([0, 1, 255, 2, 255, 1, 0, 2])
    fit(net(), PICTURES[0][:8], y, partial(F.cross_entropy, ignore_index=255))
    fit(net(), PICTURES[0][:8], y, lambda o, labels: F.cross_entropy(o, labels, ignore_index=255))


def test_an_error_inside_a_loss_of_ones_own_comes_as_it_is_with_a_note():
    def mine(outputs, labels):
        raise IndexError("my own mistake")

    with pytest.raises(IndexError, match="^my own mistake") as seen:
        fit(net(), PICTURES[0][:8], LABELS[:8], mine)
    assert "outputs (4, 3) torch.float32 with labels (4,) torch.int64" in seen.value.__notes__[0]


def test_torchmetrics_are_taken_as_they_are_in_training_in_validation_and_across_a_resume(tmp_path):
    from torchmetrics.classification import MulticlassF1Score

    def run(folder, epochs, stop=None):
        class Stop:
            def on_step_end(self, trainer):
                if trainer.step == stop:
                    raise KeyboardInterrupt

        made = trainer(
            net(), val=loader(13, 4), metrics={"f1": MulticlassF1Score(3)}, output_dir=folder,
            callbacks=[Stop()],
        )  # fmt: skip
        made.resume()
        made.fit(epochs)
        return made

    whole = run(tmp_path / "whole", 2)
    x, y = loader(13).dataset[:]
    expected = MulticlassF1Score(3)(whole.model.eval()(x), y).item()
    assert whole.history.last["val_f1"] == pytest.approx(expected)
    run(tmp_path / "parts", 2, stop=6)
    resumed = run(tmp_path / "parts", 2)
    assert resumed.history.epochs.train_f1.tolist() == whole.history.epochs.train_f1.tolist()


@pytest.mark.parametrize("name", ["loss", "epoch", "samples", "f1_weight"])
def test_a_metric_does_not_take_the_place_of_the_trainers_own_figures(name):
    with pytest.raises(ValueError, match=f"figures of its own called {name}"):
        trainer(net(), metrics={name: F.l1_loss})


def test_a_loss_with_parameters_is_clipped_and_checkpointed(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, outputs, labels):
            return F.cross_entropy(outputs * self.scale, labels)

    def build():
        model, loss_fn = net(), Scaled()
        optimizer = torch.optim.SGD([*model.parameters(), *loss_fn.parameters()], lr=1.0)
        return trainer(model, loss_fn=loss_fn, optimizer=optimizer, max_grad_norm=1e-3, output_dir=tmp_path)

    run = build()
    run.fit(1)
    assert 0 < abs(run.loss_fn.scale.item() - 1) <= 4e-3  # four steps of at most 0.001
    again = build()
    again.resume()
    assert torch.equal(again.loss_fn.scale, run.loss_fn.scale)


def test_the_norm_is_that_of_what_the_optimizer_moves():
    model = net(norm=False)
    whole = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model[-1].parameters(), lr=1e-30)
    norms = trainer(model, optimizer=optimizer).fit(2).steps.gradient_norm.tolist()
    last = whole[-1].parameters()
    x, y = next(iter(loader()))
    F.cross_entropy(whole(x), y).backward()
    norm = torch.cat([p.grad.flatten() for p in last]).norm().item()
    assert norms[0] == pytest.approx(norm, rel=1e-5)
    assert norms[4:] == pytest.approx(norms[:4])  # gradients of the others don't pile up in it
    assert same(model[0].state_dict(), whole[0].state_dict())
