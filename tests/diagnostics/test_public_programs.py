"""Five programs that the public asked about, written anew in PyTorch: the check-up names what mended them.

Two are from TrainCheck's reproductions (Jiang et al., OSDI 2025), three from DeepLocalize's benchmark
(Wardat, Le and Rajan, ICSE 2021): the stories are theirs, data and code are not.
"""

import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from dl_course.data import load
from dl_course.diagnostics import checkup

pytestmark = pytest.mark.timeout(120)  # it trains: more than a test has otherwise


def digits(count=640):
    pictures, y = load("digits").tensors(slice(count))
    return (pictures - pictures.mean()) / pictures.std(), y


def given(model, x, y, loss_fn, optimizer, batch=32, **more):
    batches = DataLoader(TensorDataset(x, y), batch, True, generator=torch.Generator().manual_seed(0))
    return dict(model=model, train_loader=batches, loss_fn=loss_fn, optimizer=optimizer, **more)


def fine_tuning(mended):
    """pytorch-forum-84911: all but the norms are frozen, and the optimizer has the last layer alone."""
    body = [nn.Conv2d(1, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.BatchNorm2d(16)]
    model = nn.Sequential(*body, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    if not mended:
        for layer in model:
            layer.requires_grad_(isinstance(layer, nn.BatchNorm2d))
    learning = model.parameters() if mended else model[-1].parameters()
    return given(model, *digits(), nn.CrossEntropyLoss(), optim.Adam(learning, 1e-3))


def gradients_that_pile_up(mended):
    """stackoverflow-60335387: digits and Adam, without zero_grad()."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    loss_fn = nn.CrossEntropyLoss()

    def step(model, batch, optimizer):
        if mended:
            optimizer.zero_grad()
        loss_fn(model(batch[0]), batch[1]).backward()
        optimizer.step()

    return given(model, *digits(), loss_fn, optim.Adam(model.parameters(), 1e-3), train_step=step)


def ones_from_zeros(mended):
    """stackoverflow-31880720: rows of ones and rows of zeros, told apart by a softmax of a single output."""
    y = torch.arange(400)[:, None] % 2
    x = y.float().repeat(1, 128)
    layers = [nn.Linear(128, 50), nn.ReLU(), nn.Dropout(0.2), nn.Linear(50, 50), nn.ReLU(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(50, 1), nn.Sigmoid() if mended else nn.Softmax(1))
    return given(model, x, y.float(), nn.BCELoss(), optim.RMSprop(model.parameters(), 1e-3))


def straight_layers(mended):
    """stackoverflow-48385830: two layers without an activation, normal weights of std 1, a rate of 3."""
    x, y = digits()
    between = [nn.ReLU()] if mended else []
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), *between, nn.Linear(30, 10))
    if mended:
        return given(model, x, y, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1), 10)
    for p in model.parameters():
        nn.init.normal_(p)
    classes = nn.functional.one_hot(y, 10).float()
    return given(model, x, classes, nn.MSELoss(), optim.SGD(model.parameters(), 3.0), 10)


def exclusive_or(mended):
    """stackoverflow-34311586: exclusive or, by sigmoids and a softmax of a single output, slowly."""
    x = torch.tensor([[1.0, 1], [0, 0], [1, 0], [0, 1]]).repeat(16, 1)
    y = (x.sum(1, keepdim=True) == 1).float()
    between = [nn.Tanh] * 2 if mended else [nn.Sigmoid] * 2
    model = nn.Sequential(nn.Linear(2, 8), between[0](), nn.Linear(8, 8), between[1](), nn.Linear(8, 1))
    model.append(nn.Sigmoid() if mended else nn.Softmax(1))
    rate = 0.1 if mended else 0.001
    return given(model, x, y, nn.MSELoss(), optim.SGD(model.parameters(), rate, 0.9), 4)


@pytest.mark.parametrize("program, faults", [
    (fine_tuning, {"frozen-parameters"}), (gradients_that_pile_up, {"no-zero-grad"}),
    (ones_from_zeros, {"output-range"}), (straight_layers, {"bad-initialisation", "missing-nonlinearity"}),
    (exclusive_or, {"output-range"}),
])  # fmt: skip
def test_a_program_that_people_asked_about_gets_the_cause_and_mended_none(program, faults):
    torch.manual_seed(0)
    found = checkup(**program(mended=False))
    causes = {each.fault for each in found if not each.because and each.severity != "info"}
    assert causes == faults, found
    torch.manual_seed(0)
    assert not checkup(**program(mended=True)).faults
