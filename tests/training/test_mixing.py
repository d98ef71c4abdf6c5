"""Mixup and cutmix over loaders: what they do to a batch, and that seed and epoch alone decide it."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from dl_course import data
from dl_course.training.mixing import cutmix, mixup

BOTH = pytest.mark.parametrize("mixed", [mixup, cutmix])


def pictures(size=10):
    images = torch.randint(
        256, (size, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return data.Pictures("few", images, torch.arange(size) % 4, "abcd", [0.0] * 3, [1.0] * 3)


def batches(loader):
    return [tensor for batch in loader for tensor in batch]


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_mixup_blends_each_picture_with_its_neighbour_and_the_labels_alike():
    plain = list(data.loader(pictures(), 4, shuffle=True))
    for (x, y), (mixed_x, mixed_y) in zip(
        plain, mixup(data.loader(pictures(), 4, shuffle=True), 4), strict=True
    ):
        first, second = F.one_hot(y, 4).float(), F.one_hot(y.roll(1), 4).float()
        moved = (first != second).any(1)
        assert moved.any()
        shares = ((mixed_y - second) / (first - second))[first != second]
        share = shares[0].item()
        torch.testing.assert_close(shares, torch.full_like(shares, share))
        torch.testing.assert_close(mixed_x, share * x + (1 - share) * x.roll(1, 0))
        torch.testing.assert_close(mixed_y, share * first + (1 - share) * second)


def test_cutmix_puts_a_box_of_the_neighbour_in_and_labels_by_its_area():
    plain = list(data.loader(pictures(), 4))
    boxes = 0
    for (x, y), (mixed_x, mixed_y) in zip(plain, cutmix(data.loader(pictures(), 4), 4), strict=True):
        changed = (mixed_x != x).any(1).any(0)  # (H, W)
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        box = torch.zeros_like(changed)
        if changed.any():
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert torch.equal(changed, box)
        torch.testing.assert_close(mixed_x, torch.where(box, x.roll(1, 0), x))
        share = 1 - box.float().mean()
        expected = share * F.one_hot(y, 4) + (1 - share) * F.one_hot(y.roll(1), 4)
        torch.testing.assert_close(mixed_y, expected)
        boxes += bool(changed.any())
    assert boxes


@BOTH
@pytest.mark.parametrize("transformed", [False, True])
def test_an_epoch_can_be_repeated_and_every_epoch_differs(mixed, transformed):
    def fresh():
        options = {"transform": torch.nn.Identity()} if transformed else {}
        return mixed(data.loader(data.Pictures(**(vars(pictures()) | options)), 4, shuffle=True), 4, seed=3)

    loader = fresh()
    first, second = batches(loader), batches(loader)
    torch.rand(5)
    again = fresh()
    assert again.epoch == 0
    again.epoch = 1
    assert same(batches(again), second) and not same(first, second)
    assert again.loader.epoch == again.epoch == 2


@BOTH
def test_another_seed_mixes_otherwise_and_batches_differ(mixed):
    def shares(seed):
        return [y.max(1).values.min().item() for _, y in mixed(data.loader(pictures(40), 4), 4, seed=seed)]

    assert shares(0) == shares(0) != shares(1) and len(set(shares(0))) > 3


@BOTH
def test_the_worlds_random_numbers_stay_where_they_were(mixed):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    batches(mixed(data.loader(pictures(), 4), 4))
    assert torch.equal(torch.get_rng_state(), before)


@BOTH
def test_torchs_loader_is_mixed_too_and_repeats_with_the_worlds_seed(mixed):
    loader = mixed(DataLoader(TensorDataset(torch.rand(10, 3, 8, 6), torch.arange(10) % 4), 4), 4)
    torch.manual_seed(0)
    first, second = batches(loader), batches(loader)
    torch.manual_seed(0)
    assert same(batches(loader), first) and not same(first, second)
    assert not hasattr(loader, "epoch")


@BOTH
def test_length_and_data_set_are_the_loaders_and_losses_take_the_labels(mixed):
    loader = mixed(data.loader(pictures(), 4), 4)
    assert len(loader) == 3 and loader.dataset is loader.loader.dataset
    for x, y in loader:
        assert x.dtype == y.dtype == torch.float32 and y.shape == (len(x), 4)
        torch.testing.assert_close(y.sum(1), torch.ones(len(x)))
        assert F.cross_entropy(torch.zeros(len(x), 4), y).item() == pytest.approx(
            torch.tensor(4.0).log().item()
        )


def test_a_batch_of_one_is_its_own_neighbour():
    for mixed in (mixup, cutmix):
        (x, y), *_ = mixed(data.loader(pictures(1), 4), 4)
        torch.testing.assert_close((x, y), (pictures(1).tensors()[0], torch.tensor([[1.0, 0, 0, 0]])))
