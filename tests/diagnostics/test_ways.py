"""The check-up meets people where they are: dicts, losses inside models, Lightning, steps of one's own."""

from collections import UserDict
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from dl_course.diagnostics import checkup
from tests.diagnostics.networks import same, state_of
from tests.diagnostics.test_checkup import loader, network, samples, train_step

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise


def texts(count=256, length=12):
    """Token ids (N, length) padded with 0, masks and classes: one of eight words a class is among them."""
    dice = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (count,), generator=dice)
    ids = torch.randint(30, 60, (count, length), generator=dice)
    ids[torch.arange(count), torch.randint(0, 6, (count,), generator=dice)] = 1 + y
    mask = torch.arange(length) < torch.randint(6, length + 1, (count, 1), generator=dice)
    return [
        {"input_ids": i, "attention_mask": m, "labels": label}
        for i, m, label in zip(ids * mask, mask.long(), y, strict=True)
    ]


@dataclass
class Output:
    """As transformers' ModelOutput."""

    loss: torch.Tensor | None
    logits: torch.Tensor
    hidden_states: torch.Tensor | None = None


class Classifier(nn.Module):
    """As transformers' models for classes of sequences."""

    def __init__(self, weigh=1.0, reverse=False, detach=False):
        super().__init__()
        self.embed, self.block = (
            nn.Embedding(60, 16, 0),
            nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True),
        )
        self.out, self.weigh, self.detach = nn.Linear(16, 3), weigh, detach

    def forward(self, input_ids=None, attention_mask=None, labels=None, output_hidden_states=None):
        states = self.block(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)
        states = states.detach() if self.detach else states
        weights = attention_mask[..., None] / attention_mask.sum(1)[:, None, None]
        logits = self.out((states * weights).sum(1))
        loss = None if labels is None else self.weigh * F.cross_entropy(logits, labels)
        return Output(loss, logits)


def encoded(rows):
    """As BatchEncoding, which is a UserDict."""
    return UserDict({name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def examined(collate=None, rate=1e-3, rows=None, **kinds):
    torch.manual_seed(0)
    model = Classifier(**kinds)
    batches = DataLoader(rows or texts(), 32, shuffle=True, collate_fn=collate)
    before = state_of(model)
    report = checkup(model, batches, optimizer=torch.optim.AdamW(model.parameters(), rate))
    assert same(before, state_of(model)) and type(model) is Classifier
    return report


@pytest.mark.parametrize("collate", [None, encoded])
def test_a_batch_by_name_and_a_loss_inside_the_model_are_looked_at_like_others(collate):
    report = examined(collate)
    assert not report.faults and report.notes == (
        "the loss is not given; it is cross-entropy of what 'the model' puts out",
    )
    assert {"initial-loss", "cannot-overfit-batch", "lr-too-high", "samples-mixed"}.isdisjoint(report.skipped)


def test_faults_are_found_there():
    assert "no-gradient" in examined(detach=True).faults
    assert "lr-too-high" in examined(rate=10.0).faults
    shifted = [row | {"labels": row["labels"] + 1} for row in texts()]
    assert "raised IndexError: Target 3 is out of bounds" in examined(rows=shifted).notes[0]


def test_a_loss_like_no_other_is_tried_and_the_report_says_what_was_not_held_against_labels():
    report = examined(weigh=0.37)
    assert not report.faults and "none of the usual ones" in report.notes[0]
    assert report.skipped["cannot-overfit-batch"] == "needs a loss that is not made inside the model"
    assert "lr-too-high" in examined(weigh=0.37, rate=10.0).faults


class Lit(nn.Module):
    """As a LightningModule, of which no trainer has taken hold."""

    def __init__(self, rate=1e-3, scale=1.0, end=()):
        super().__init__()
        self.net, self.rate, self.scale = nn.Sequential(network(), *end), rate, scale

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.scale * F.cross_entropy(self(x), y)
        self.log("loss", loss)
        return {"loss": loss}

    def log(self, name, value):
        pass

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), self.rate)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}


def test_a_lightning_module_brings_its_optimizer_its_step_and_its_loss():
    report = checkup(Lit(), loader(*samples()))
    assert not report.faults and "it is cross-entropy of what 'the model' puts out" in report.notes[0]
    assert {"no-zero-grad", "no-update", "lr-too-high", "cannot-overfit-batch"}.isdisjoint(report.skipped)
    assert "lr-too-high" in checkup(Lit(rate=30.0), loader(*samples())).faults
    assert "output-activation" in checkup(Lit(end=[nn.Softmax(1)]), loader(*samples())).faults
    assert "lr-too-high" in checkup(Lit(rate=30.0, scale=0.37), loader(*samples())).faults


def test_a_loss_is_recognised_in_a_step_of_ones_own():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before = state_of(model)
    report = checkup(model, loader(*samples()), optimizer=optimizer, train_step=train_step)
    assert not report.faults and "it is cross-entropy of what" in report.notes[0]
    assert same(before, state_of(model)) and "initial-loss" not in report.skipped
    strange = lambda model, batch, optimizer: model(batch[0]).square().mean().backward()  # noqa: E731
    report = checkup(model, loader(*samples()), optimizer=optimizer, train_step=strange)
    assert report.skipped["loss-is-a-sum"] == "needs loss_fn="


def test_a_model_that_raises_is_said_to_and_the_data_are_looked_at_all_the_same():
    class Broken(Lit):
        def training_step(self, batch, batch_idx):
            raise KeyError("masks")

    x, y = samples()
    report = checkup(Broken(), loader(200 * x, y))
    assert "raised KeyError: 'masks'" in report.notes[0] and "input-not-normalised" in report.faults


def test_a_dict_goes_to_a_model_of_one_argument_as_it_is():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, features):
            return self.net(torch.cat([features["left"], features["right"]], 1))

    x, y = samples()
    rows = [{"left": a[:5], "right": a[5:], "target": b, "name": "one"} for a, b in zip(x, y, strict=True)]
    model = Whole()
    given = dict(optimizer=torch.optim.Adam(model.parameters(), 1e-3))
    report = checkup(model, DataLoader(rows, 32, shuffle=True), nn.CrossEntropyLoss(), **given)
    assert not report.faults and "initial-loss" not in report.skipped
