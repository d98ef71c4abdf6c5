import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from torch.utils.data import DataLoader, TensorDataset

from dl_course.diagnostics import check_loader, check_outputs


def facts(table):
    return table["value"].to_dict()


@pytest.fixture
def pictures():
    x = torch.rand(50, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 4 - 1
    x[7] = x[31]
    x[11] = 0.25
    return x, torch.arange(50) * 3 // 50


def test_facts_about_inputs_are_those_of_all_of_them_whatever_the_batches(pictures):
    x, y = pictures
    for size in (1, 16, 50):
        found = facts(check_loader(DataLoader(TensorDataset(x, y), size)))
        assert (found["inputs"], found["batches"], found["last batch"]) == (
            50,
            math.ceil(50 / size),
            50 % size or size,
        )
        assert (found["min"], found["max"]) == pytest.approx((x.min().item(), x.max().item()))
        np.testing.assert_allclose(found["mean by channel"], x.double().mean((0, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(
            found["std by channel"], x.double().std((0, 2, 3), correction=0), rtol=1e-6
        )
        assert (found["constant"], found["repeated"], found["not finite"]) == (1, 1, 0)
        assert found["shapes"] == "(3, 6, 5) float32"


def test_inputs_that_are_not_finite_are_counted(pictures):
    x, y = pictures
    x[3, 0, 0, 0], x[4] = torch.nan, torch.inf
    assert facts(check_loader([(x, y)]))["not finite"] == 2


def test_facts_about_classes(pictures):
    x, y = pictures
    found = facts(check_loader([(x[:30], y[:30]), (x[30:], y[30:])]))
    counts = np.bincount(y)
    assert (found["classes"], found["rarest"], found["most frequent"]) == (3, counts.min(), counts.max())
    assert (found["least label"], found["greatest label"]) == (0, 2)
    assert found["entropy"] == pytest.approx(entropy(counts))
    within = [entropy(np.bincount(y[:30])), entropy(np.bincount(y[30:]))]
    assert found["entropy within batches"] == pytest.approx(np.mean(within))


def test_labels_in_order_show_in_their_entropy_within_batches(pictures):
    x, y = pictures
    shuffled = facts(check_loader(DataLoader(TensorDataset(x, y), 16, shuffle=True)))
    ordered = facts(check_loader(DataLoader(TensorDataset(x, y), 16)))
    assert ordered["entropy within batches"] < 0.5 * shuffled["entropy within batches"]
    assert ordered["entropy"] == pytest.approx(shuffled["entropy"])


def test_numbers_tokens_and_labels_that_are_not_classes_are_taken_as_they_are():
    found = facts(
        check_loader([(torch.randint(0, 9, (4, 7)), torch.rand(4, 2)), (torch.zeros(2, 7), torch.rand(2, 2))])
    )
    assert "classes" not in found and found["labels"] == "(6, 2) float32"
    assert found["shapes"] == "(7,) int64, (7,) float32" and len(found["mean by channel"]) == 1
    assert "labels" not in facts(check_loader([torch.rand(3, 2)]))


def test_only_the_first_batches_are_looked_at_and_the_random_numbers_stay():
    def endless():
        while True:
            yield torch.rand(2, 3), torch.zeros(2, dtype=torch.long)

    state = torch.get_rng_state()
    assert facts(check_loader(endless(), limit=5))["inputs"] == 10
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loader_without_batches_is_refused():
    with pytest.raises(ValueError, match="no batch: is its data set empty"):
        check_loader([])


def test_facts_about_outputs_tell_logits_from_shares():
    logits, labels = 3 * torch.randn(8, 5), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    found, shares = facts(check_outputs(logits, labels)), facts(check_outputs(logits.softmax(1), labels))
    assert found["cross-entropy"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found["ln C"] == pytest.approx(math.log(5))
    assert shares["least row sum"] == pytest.approx(1) == shares["greatest row sum"]
    assert shares["min"] >= 0 and found["least row sum"] == pytest.approx(
        logits.sum(1).min().item(), rel=1e-5
    )
    assert found["std over inputs"] == pytest.approx(logits.std(0, correction=0).mean().item(), rel=1e-5)
    assert found["classes predicted"] == len(set(logits.argmax(1).tolist()))


def test_outputs_that_ignore_the_input_do_not_vary():
    assert facts(check_outputs(torch.randn(1, 4).repeat(6, 1)))["std over inputs"] == pytest.approx(
        0, abs=1e-9
    )


def test_labels_beyond_the_outputs_have_no_cross_entropy():
    for label in (4, -1):
        found = facts(check_outputs(torch.randn(1, 4), torch.tensor([label])))
        assert "cross-entropy" not in found and found["greatest label"] == label


def test_outputs_of_another_shape_are_refused():
    for shape in [(4,), (0, 3), (2, 3, 4)]:
        with pytest.raises(ValueError, match=r"outputs are \(N, C\)"):
            check_outputs(torch.zeros(shape))
