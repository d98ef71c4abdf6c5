"""Steps of one's own: the documented examples run, and equal the loop by hand."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import dl_course.training
from dl_course.training import Trainer, load
from tests.training.small import PICTURES, loader, net, same, trainer

TEXT = (Path(dl_course.training.__file__).parent / "steps.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
EXAMPLES = dict(zip(("segmentation", "autoencoder", "gan"), BLOCKS, strict=True))


def example(name, **names):
    """Run an example of steps.md with these names; return what it has defined."""
    space = {"F": F, "torch": torch, "Trainer": Trainer, **names}
    exec(EXAMPLES[name], space)
    return space


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def test_segmentation_in_parts_is_the_big_batch_however_many_pixels_count():
    torch.manual_seed(0)
    images, masks = torch.randn(8, 1, 5, 5), torch.randint(0, 3, (8, 5, 5))
    masks[:3] = 255
    masks[3, 1:] = 255
    samples = [{"image": image, "mask": mask} for image, mask in zip(images, masks, strict=True)]
    model = nn.Conv2d(1, 3, 3, padding=1)
    big = copy.deepcopy(model)
    run = example("segmentation", model=model, loader=DataLoader(samples, 4), optimizer=sgd(model))["trainer"]
    row = run.fit(1).epochs.iloc[0]
    loss = F.cross_entropy(big(images), masks, ignore_index=255)
    loss.backward()
    sgd(big).step()
    torch.testing.assert_close(model.state_dict(), big.state_dict())
    assert row.train_loss == pytest.approx(loss.item()) and 0 <= row.train_pixel_accuracy <= 1
    expected = F.cross_entropy(model(images), masks, ignore_index=255).item()
    assert row.val_loss == pytest.approx(expected, rel=1e-5)


def test_an_autoencoder_learns_without_labels():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Unflatten(1, (1, 6, 6)))
    table = (
        example("autoencoder", model=model, loader=loader(), optimizer=sgd(model))["trainer"].fit(3).epochs
    )
    assert table.train_loss.is_monotonic_decreasing and "train_accuracy" not in table


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 1))
        self.generator = nn.Sequential(nn.Linear(8, 36), nn.Unflatten(1, (1, 6, 6)))


def test_a_gan_moves_each_network_by_its_own_loss_alone_and_keeps_both_optimizers(tmp_path):
    torch.manual_seed(0)
    model = Both()
    by_hand = copy.deepcopy(model)
    made = example("gan", model=model, loader=loader(6))
    step, run = made["gan_step"], made["trainer"]
    torch.manual_seed(1)
    run.fit(1)
    torch.manual_seed(1)
    next(iter(loader(6)))  # a DataLoader draws a number
    optimizers = [
        torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for part in (by_hand.critic, by_hand.generator)
    ]
    losses = step(by_hand, (PICTURES[0][:6], None))["loss"]
    gradients = [
        torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        for loss, part in zip(losses, (by_hand.critic, by_hand.generator), strict=True)
    ]
    for optimizer, found in zip(optimizers, gradients, strict=True):
        for p, gradient in zip(optimizer.param_groups[0]["params"], found, strict=True):
            p.grad = gradient
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), by_hand.state_dict())
    other = example("gan", model=Both(), loader=loader(6))["trainer"]
    other.load_state_dict(run.state_dict())
    assert same(other.state_dict()["optimizers"], run.state_dict()["optimizers"])


@pytest.mark.parametrize("found", ["0.5", torch.ones(2), {"accuracy": 1.0}, [torch.tensor(1.0)] * 2])
def test_a_step_that_returns_something_else_is_told_what_it_should(found):
    run = trainer(net(), loss_fn=None, step=lambda model, batch: found)
    with pytest.raises(ValueError, match="a step returns a loss, or a dict with it under 'loss'"):
        run.fit(1)


def test_a_step_or_a_loss_and_not_both_and_a_loss_for_each_optimizer():
    model = net()
    step = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    with pytest.raises(ValueError, match="loss_fn=, or step=, and not both"):
        trainer(model, step=step)
    with pytest.raises(ValueError, match="loss_fn=, or step=, and not both"):
        trainer(model, loss_fn=None)
    with pytest.raises(ValueError, match="several optimizers need step="):
        trainer(model, optimizer=[sgd(model), sgd(model)])
    with pytest.raises(ValueError, match="a step returns a list of 2 losses"):
        trainer(model, loss_fn=None, step=step, optimizer=[sgd(model), sgd(model)]).fit(1)
    with pytest.raises(ValueError, match="a step returns its figures itself"):
        trainer(model, loss_fn=None, step=step, metrics={"error": F.l1_loss})


def test_a_step_is_the_trainers_own_and_goes_through_checkpoints(tmp_path):
    step = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    one, other = net(), net()
    trainer(one, val=loader(8), metrics={}).fit(2)
    run = trainer(other, val=loader(8), loss_fn=None, step=step, output_dir=tmp_path, accumulate=1)
    run.fit(1)
    again = trainer(net(), val=loader(8), loss_fn=None, step=step, output_dir=tmp_path)
    again.resume()
    again.fit(2)
    assert same(one.state_dict(), again.model.state_dict())
    assert set(load(tmp_path / "best.pt")) >= {"model", "optimizers", "order"}


def test_batches_without_a_tensor_are_refused():
    run = trainer(net(), [{"name": "a"}], loss_fn=None, step=lambda model, batch: 0)
    with pytest.raises(ValueError, match="a batch holds a tensor"):
        run.fit(1)
