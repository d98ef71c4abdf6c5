"""The ward: thirteen beds. Who reads on looks into the files of the house, and learns less."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torchvision.transforms import v2

from dl_course import data
from dl_course.clinic.patient import Batch, Patient
from dl_course.models import DigitNet, SimpleNet
from dl_course.runtime import preserved_rng

Parts = dict[str, Any]
BEDS: dict[int, tuple[str, Callable[[], Parts]]] = {}  # of each patient, the story, and what makes the rest


def patient(number: int) -> Patient:
    """Return a patient, 1 to 13, anew and always the same; ValueError for another number."""
    if number not in BEDS:
        raise ValueError(f"no patient {number}; there are patients {min(BEDS)} to {max(BEDS)}")
    story, admit = BEDS[number]
    with preserved_rng(number):
        return Patient(number, story, **admit())


def bed(number: int, story: str) -> Callable[[Callable[[], Parts]], None]:
    """Return a decorator: the function makes the parts of this patient."""
    return lambda admit: BEDS.update({number: (story, admit)})


def update(model: nn.Module, batch: Batch, optimizer: optim.Optimizer, loss_fn: Any) -> Tensor:
    """Make one update; return the logits before it."""
    optimizer.zero_grad()
    return learn(model, batch, optimizer, loss_fn)


def learn(model: nn.Module, batch: Batch, optimizer: optim.Optimizer, loss_fn: Any) -> Tensor:
    """Learn from a batch; return the logits before."""
    model.train()
    logits = model(batch[0])
    loss_fn(logits, batch[1]).backward()
    optimizer.step()
    return logits


@torch.no_grad()
def evaluate(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits of a batch."""
    model.eval()
    return model(batch[0])


def digits(split: str = "train") -> data.Pictures:
    """Return handwritten digits in chance order, normalised."""
    found = data.load("digits", split)
    found.transform = v2.Normalize(found.mean, found.std)
    return found.subset(torch.randperm(len(found), generator=torch.Generator().manual_seed(0)))


def usual(model: nn.Module, optimizer: optim.Optimizer, **other: Any) -> Parts:
    """Return the parts of a patient, usual ones but for those given; train and val are its pictures."""
    train = other.pop("train", None) or digits()
    val = other.pop("val", None) or digits("val")
    loaders = dict(train_loader=data.Loader(train, 64, shuffle=True), val_loader=data.Loader(val, 256))
    steps = dict(train_step=update, eval_step=evaluate, epochs=5)
    return dict(model=model, optimizer=optimizer, loss_fn=nn.CrossEntropyLoss(), **loaders, **steps) | other


def small() -> SimpleNet:
    """Return an MLP for pictures of half the side."""
    model = SimpleNet(in_features=14 * 14)
    model.flatten = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())  # type: ignore[assignment]
    return model


def sgd(model: nn.Module, rate: float = 0.05) -> optim.Optimizer:
    """Return SGD with momentum."""
    return optim.SGD(model.parameters(), rate, momentum=0.9)


def adam(model: nn.Module, rate: float = 2e-3) -> optim.Optimizer:
    """Return Adam."""
    return optim.Adam(model.parameters(), rate)


@bed(1, "It is to read handwritten digits. 'The loss falls every day', says the owner, 'so I am patient.'")
def _() -> Parts:
    model = small()
    return usual(model, adam(model, 1e-7))


@bed(2, "The same network, in another laboratory, which reads its pictures from files of its own.")
def _() -> Parts:
    model = small()
    train = digits()
    val = digits("val")
    train.transform = val.transform = v2.Normalize((0.0,), (1 / 255,))
    return usual(model, sgd(model), train=train, val=val)


@bed(3, "'We need probabilities, so we made some.' Since then it learns, but like an old dog.")
def _() -> Parts:
    model = small()
    model.add_module("head", nn.Softmax(dim=1))
    return usual(model, sgd(model), epochs=2)


@bed(4, "What it learns in the morning it has forgotten by noon.")
def _() -> Parts:
    model = small()
    train = digits()
    train = train.subset(train.labels.argsort(stable=True))
    return usual(model, sgd(model, 0.02), train_loader=data.Loader(train, 64))


@bed(5, "The owner has written the training by heart, in one evening. 'It is only a few lines.'")
def _() -> Parts:
    model = small()
    return usual(model, sgd(model), train_step=learn)


@bed(6, "It says the same of every picture, and no learning rate could change its mind.")
def _() -> Parts:
    model = small()
    with torch.no_grad():
        model.fc2.bias.sub_(20)
    return usual(model, adam(model))


@bed(7, "The owner is worried: 'The loss sticks above one half! And so many activations are zero!'")
def _() -> Parts:
    model = DigitNet(width=6)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    return usual(model, adam(model, 3e-3), loss_fn=loss_fn, epochs=3)


@bed(8, "Nearly perfect in training, and poor in validation. 'It overfits. We'll need more data.'")
def _() -> Parts:
    model = DigitNet(width=6)
    for stage in (model.stage1, model.stage2, model.stage3):
        stage[2].momentum = 0.0  # type: ignore[assignment]
    return usual(model, adam(model, 3e-3), epochs=3)


@bed(9, "It came from abroad, and its papers are lost. It was treated once. That did not help.")
def _() -> Parts:
    model = small()
    train = digits()
    val = digits("val")
    (mean,) = train.mean
    (std,) = train.std
    val.transform = v2.Normalize((1 - mean,), (-std,))
    return usual(model, sgd(model, 2.0), train=train, val=val)


@bed(10, "The network was examined from top to bottom: nothing. The labels were typed into a table, by hand.")
def _() -> Parts:
    model = small()
    train = digits()
    val = digits("val")
    for part in (train, val):
        part.labels = part.labels.roll(1)
    return usual(model, adam(model, 4e-3), train=train, val=val, epochs=6)


class Reader(nn.Module):
    """Reads a picture as a page, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.shrink = nn.AvgPool2d(2)
        self.rows = nn.GRU(14, 48)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, by what is known at the end of the page."""
        return self.fc(self.rows(self.shrink(x).squeeze(1))[0][:, -1])


@bed(11, "It reads from the first line to the last, as we do. In class it was the worst; alone, no better.")
def _() -> Parts:
    model = Reader()
    return usual(model, adam(model, 5e-3), epochs=6)


class SquaredError(nn.Module):
    """Of numbers."""

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of the squares."""
        return (outputs - labels).square().mean()


@bed(
    12,
    "It says not which digit it sees, but how large a number. 'On average', says the owner, 'it is right.'",
)
def _() -> Parts:
    model = DigitNet(width=6)
    model.fc = nn.Sequential(nn.Linear(216, 32), nn.ReLU(), nn.Linear(32, 1))  # type: ignore[assignment]
    return usual(model, adam(model, 5e-3), loss_fn=SquaredError(), epochs=8)


class Sparing(nn.Module):
    """Does with less."""

    def forward(self, x: Tensor) -> Tensor:
        """Return part of the numbers."""
        return F.dropout(x, 0.7)


@bed(13, "'On some days it reads well, on others it doesn't', says the owner. Nobody touches it in between.")
def _() -> Parts:
    model = small()
    model.relu1 = nn.Sequential(model.relu1, Sparing())  # type: ignore[assignment]
    model.relu2 = nn.Sequential(model.relu2, Sparing())  # type: ignore[assignment]
    return usual(model, adam(model, 3e-3), epochs=6)
