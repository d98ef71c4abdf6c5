"""Chapter 06: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file, save_model
from sklearn import metrics
from sklearn.neighbors import NearestCentroid
from torch import nn

from dl_course import data
from dl_course.evaluation import Predictions
from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.judging import verdict
from dl_course.models import SimpleCNN, trained
from tests.exercises.suites import (
    Suite,
    assert_mistakes_are_named,
    both_tests,
    diagnosis,
    share_with_outputs_of,
)

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise

suite = Suite()
wrong, right = suite.wrong, suite.right

# nearest_mean --------------------------------------------------------------------------------------------


def means_of(pictures, labels):
    return {int(kind): pictures[labels == kind].mean(0) for kind in labels.unique()}


@wrong("nearest_mean", "return the labels that belong to them")
def _(pictures, labels, new):
    means = torch.stack(list(means_of(pictures, labels).values()))
    return ((new[:, None] - means) ** 2).flatten(2).sum(2).argmin(1)


@wrong("nearest_mean", "the farthest mean")
def _(pictures, labels, new):
    means = means_of(pictures, labels)
    return [max(means, key=lambda kind: (picture - means[kind]).norm()) for picture in new]


@wrong("nearest_mean", "a product isn't a distance")
def _(pictures, labels, new):
    means = means_of(pictures, labels)
    return [max(means, key=lambda kind: (picture * means[kind]).sum()) for picture in new]


@wrong("nearest_mean", "the nearest single picture")
def _(pictures, labels, new):
    return labels[((new[:, None] - pictures) ** 2).flatten(2).sum(2).argmin(1)]


@wrong("nearest_mean", "those are medians")
def _(pictures, labels, new):
    medians = {int(kind): pictures[labels == kind].median(0).values for kind in labels.unique()}
    return [min(medians, key=lambda kind: (picture - medians[kind]).norm()) for picture in new]


@wrong("nearest_mean", "changed your input in place")
def _(pictures, labels, new):
    means = means_of(pictures, labels)
    nearest = [min(means, key=lambda kind: (picture - means[kind]).norm()) for picture in new]
    new -= pictures.mean(0)
    return nearest


@wrong("nearest_mean", "without NearestCentroid")
def _(pictures, labels, new):
    return NearestCentroid().fit(pictures.flatten(1), labels).predict(new.flatten(1))


@right("nearest_mean")
def _(pictures, labels, new):
    means = means_of(pictures, labels)
    return [min(means, key=lambda kind: (picture - means[kind]).abs().pow(2).sum()) for picture in new]


@right("nearest_mean")
def _(pictures, labels, new):
    x, y, kinds = pictures.flatten(1).numpy(), labels.numpy(), np.unique(labels.numpy())
    means = np.stack([x[y == kind].mean(0) for kind in kinds])
    scores = new.flatten(1).numpy() @ means.T - 0.5 * (means**2).sum(1)
    return kinds[scores.argmax(1)].astype(np.int32)


# confusion -----------------------------------------------------------------------------------------------


def counted(pairs, classes):
    table = torch.zeros(classes, classes, dtype=torch.long)
    for row, column in pairs:
        table[row, column] += 1
    return table


@wrong("confusion", "rows are true classes")
def _(labels, predicted, classes):
    return counted(zip(predicted, labels, strict=True), classes)


@wrong("confusion", "counts a repeated pair only once")
def _(labels, predicted, classes):
    table = torch.zeros(classes, classes, dtype=torch.int32)
    table[labels, predicted] += 1
    return table


@wrong("confusion", "shares of each row")
def _(labels, predicted, classes):
    table = counted(zip(labels, predicted, strict=True), classes).double()
    return table / table.sum(1, keepdim=True)


@wrong("confusion", "correct answers belong in the table")
def _(labels, predicted, classes):
    pairs = zip(labels, predicted, strict=True)
    return counted([(a, b) for a, b in pairs if a != b], classes)


@wrong("confusion", "still gets its row and its column")
def _(labels, predicted, classes):
    return counted(zip(labels, predicted, strict=True), len(set(labels.tolist())))


@wrong("confusion", "without confusion_matrix")
def _(labels, predicted, classes):
    return metrics.confusion_matrix(labels, predicted, labels=range(classes))


@right("confusion")
def _(labels, predicted, classes):
    return F.one_hot(labels, classes).T @ F.one_hot(predicted, classes)


@right("confusion")
def _(labels, predicted, classes):
    table = [[0] * classes for _ in range(classes)]
    for row, column in zip(labels, predicted, strict=True):
        table[row][column] += 1
    return table


# worst_mistakes ------------------------------------------------------------------------------------------


@wrong("worst_mistakes", "correct ones included")
def _(logits, labels, k):
    return logits.softmax(1).amax(1).topk(min(k, len(logits))).indices


@wrong("worst_mistakes", "indices among the mistakes")
def _(logits, labels, k):
    confidence, predicted = logits.softmax(1).max(1)
    return confidence[predicted != labels].argsort(descending=True)[:k]


@wrong("worst_mistakes", "the least confident mistakes come first")
def _(logits, labels, k):
    confidence, predicted = logits.softmax(1).max(1)
    order = confidence.argsort()
    return order[(predicted != labels)[order]][:k]


@wrong("worst_mistakes", "take the softmax first")
def _(logits, labels, k):
    score, predicted = logits.max(1)
    order = score.argsort(descending=True)
    return order[(predicted != labels)[order]][:k]


@wrong("worst_mistakes", "how confident was it in its *answer*")
def _(logits, labels, k):
    order = F.cross_entropy(logits, labels, reduction="none").argsort(descending=True)
    return order[(logits.argmax(1) != labels)[order]][:k]


@wrong("worst_mistakes", "without worst")
def _(logits, labels, k):
    return Predictions(logits, labels).worst(k)["id"].tolist()


@right("worst_mistakes")
def _(logits, labels, k):
    confidence, predicted = logits.softmax(1).max(1)
    confidence[predicted == labels] = -1
    return confidence.argsort(descending=True)[: min(k, int((predicted != labels).sum()))].int()


@right("worst_mistakes")
def _(logits, labels, k):
    wrong = [i for i, row in enumerate(logits) if row.argmax() != labels[i]]
    margin = {i: (logits[i] - logits[i].max()).exp().sum().item() for i in wrong}
    return sorted(wrong, key=margin.get)[:k]


# calibration_error ---------------------------------------------------------------------------------------


def gaps_of(confidence, correct, bins, closed="right"):
    """Return each bin's gap and share, (bins,), as most write it."""
    edges = torch.arange(bins + 1).double() / bins
    gaps, shares = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if closed == "left":
            inside = (confidence >= low) & (confidence < high)
        gaps.append(confidence[inside].mean() - correct[inside].double().mean())
        shares.append(inside.double().mean())
    gaps, shares = torch.stack(gaps), torch.stack(shares)
    return gaps[shares > 0], shares[shares > 0]


@wrong("calibration_error", "weight each by its share")
def _(confidence, correct, bins):
    return gaps_of(confidence, correct, bins)[0].abs().mean()


@wrong("calibration_error", "gaps of opposite sign cancel")
def _(confidence, correct, bins):
    gaps, shares = gaps_of(confidence, correct, bins)
    return (gaps * shares).sum()


@wrong("calibration_error", "the gap over all pictures at once")
def _(confidence, correct, bins):
    return abs(confidence.mean() - correct.double().mean())


@wrong("calibration_error", "the largest gap")
def _(confidence, correct, bins):
    return gaps_of(confidence, correct, bins)[0].abs().max().item()


@wrong("calibration_error", "not the squared one")
def _(confidence, correct, bins):
    gaps, shares = gaps_of(confidence, correct, bins)
    return (gaps**2 * shares).sum()


@wrong("calibration_error", "an empty bin has no mean")
def _(confidence, correct, bins):
    total, place = 0.0, (confidence * bins).ceil().clamp(min=1)
    for number in range(1, bins + 1):
        inside = place == number
        gap = confidence[inside].mean() - correct[inside].double().mean()
        total += abs(gap) * inside.sum() / len(confidence)
    return total


@wrong("calibration_error", "bins include their upper edge")
def _(confidence, correct, bins):
    gaps, shares = gaps_of(confidence, correct, bins, closed="left")
    return (gaps.abs() * shares).sum()


@right("calibration_error")
def _(confidence, correct, bins):
    gaps, shares = gaps_of(confidence, correct, bins)
    return gaps.abs() @ shares


@right("calibration_error")
def _(confidence, correct, bins):
    place = np.ceil(confidence.numpy() * bins)
    gap = [abs((confidence[place == i].numpy() - correct[place == i].numpy()).sum()) for i in set(place)]
    return np.float32(sum(gap) / len(place))


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_the_course_and_of_sklearn(seed):
    def ours(name):
        exercise = find_exercise(name)
        for case in exercise.seeded_cases(seed):
            yield case, exercise.outputs_of(type(exercise).reference, case)["returned"]

    for case, table in ours("confusion"):
        theirs = metrics.confusion_matrix(case["labels"], case["predicted"], labels=range(case["classes"]))
        np.testing.assert_array_equal(table, theirs)
    for case, places in ours("worst_mistakes"):
        logits, labels = torch.from_numpy(case["logits"]), torch.from_numpy(case["labels"])
        assert places.tolist() == Predictions(logits, labels).worst(case["k"])["id"].tolist()
    for case, error in ours("calibration_error"):
        p, correct = torch.from_numpy(case["confidence"]), torch.from_numpy(case["correct"])
        rest = ((1 - p) / 30)[:, None].expand(-1, 30)  # so many that the first class wins
        logits = torch.cat([p[:, None], rest], 1).clamp(min=1e-300).log()
        assert (logits.argmax(1) == 0).all()
        theirs = Predictions(logits, (~correct).long()).calibration(case["bins"])
        if case["about"] != "edges of bins":  # where the softmax's last digit decides
            assert float(error) == pytest.approx(theirs.ece)


# Challenge -----------------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = SimpleCNN(width=24)

    def forward(self, x):
        return self.body((x - 0.3053) / 0.3242)  # as the course's own network for digits was trained


@pytest.fixture(scope="module")
def weights():
    return {f"body.{name}": tensor for name, tensor in trained("simplecnn-digits").state_dict().items()}


@pytest.fixture
def beside(home, tmp_path, monkeypatch):
    """A notebook's folder, on a machine without MNIST."""
    monkeypatch.setenv("DL_COURSE_DATA", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "challenge.safetensors"


def named(network):
    return type("Challenge", (network,), {})


def test_a_trained_network_passes_however_it_was_saved(beside, weights):
    save_file(weights, beside)
    assert check(named(Small)).passed
    model = Small()
    model.load_state_dict(weights)
    save_model(model, beside)
    assert check(named(Small)).passed


def test_a_network_of_other_names_that_gives_probabilities_passes_too(beside, weights):
    class Probable(nn.Sequential):
        def __init__(self):
            super().__init__(nn.BatchNorm2d(1, affine=False), SimpleCNN(width=24), nn.Softmax(dim=1))

    model = Probable()
    model[1].load_state_dict({name.removeprefix("body."): tensor for name, tensor in weights.items()})
    model[0].running_mean, model[0].running_var = torch.tensor([0.3053]), torch.tensor([0.3242**2])
    save_file(model.state_dict(), beside)
    assert check(named(Probable)).passed


def test_without_a_file_the_learner_is_told_to_train_first(beside):
    result = check(named(Small))
    assert result.status == "not yet" and "train and save your network first" in diagnosis(result)


def test_untrained_weights_are_no_better_than_guessing(beside):
    save_file(Small().state_dict(), beside)
    result = check(named(Small))
    assert "no better than guessing" in diagnosis(result)
    assert "MNIST isn't here" in str(result)  # it says on which pictures


def test_it_is_tried_in_eval_mode_whatever_mode_it_was_made_in(beside, weights):
    class Forgetful(Small):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.9, self.training))

    save_file(weights, beside)
    assert check(named(Forgetful)).passed


def test_a_weak_network_is_not_accurate_enough(beside):
    class NearestMean(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(784, 10))

    pictures, labels = data.load("digits").tensors()
    means = torch.stack([pictures[labels == digit].mean(0).flatten() for digit in range(10)])
    save_file({"1.weight": means, "1.bias": -0.5 * means.square().sum(1)}, beside)
    assert "not accurate enough" in diagnosis(check(named(NearestMean)))


class Wide(SimpleCNN):
    def __init__(self):
        super().__init__(width=27)


def test_too_many_parameters_are_refused_also_where_they_are_kept_as_buffers(beside):
    class Hidden(Wide):
        name = "weight"

        def __init__(self):
            super().__init__()
            weight = self.stage3[0].weight.detach().clone()
            del self.stage3[0].weight
            self.stage3[0].register_buffer(self.name, weight)

        def forward(self, x):
            self.stage3[0].weight = getattr(self.stage3[0], self.name)
            return super().forward(x)

    class AsStatistic(Hidden):
        name = "running_mean"

    for network in (Wide, Hidden, AsStatistic):
        assert sum(p.numel() for p in Wide().parameters()) > 60_000
        save_file(network().state_dict(), beside)
        assert "too many parameters" in diagnosis(check(named(network)))


def test_weights_of_another_network_are_named_as_such(beside, weights):
    save_file(weights, beside)
    assert "has the network changed since" in diagnosis(check(named(Wide)))


def test_a_network_without_ten_scores_is_refused(beside):
    class Nine(SimpleCNN):
        def __init__(self):
            super().__init__(num_classes=9)

    save_file(Nine().state_dict(), beside)
    assert "ten scores" in diagnosis(check(named(Nine)))


def test_the_courses_own_network_is_no_answer(beside, weights):
    def Challenge():  # noqa: N802
        model = Small()
        model.body = trained("simplecnn-digits")
        return model

    save_file(weights, beside)
    assert "without trained" in diagnosis(check(Challenge))


def test_a_network_that_torch_export_cannot_follow_is_told_why(beside, weights):
    class Branching(Small):
        def forward(self, x):
            return super().forward(x / 255 if x.max() > 1 else x)

    save_file(weights, beside)
    assert "torch.export can't follow its forward" in str(check(named(Branching)))


def test_outputs_recorded_for_one_seed_are_worth_nothing_for_another(beside, weights):
    save_file(weights, beside)
    exercise = find_exercise("Challenge")
    outputs = [exercise.outputs_of(Small, case) for case in exercise.seeded_cases(0)]
    assert verdict(exercise, exercise.seeded_cases(0), outputs).passed
    assert verdict(exercise, exercise.seeded_cases(1), outputs).share == 0


def test_mnist_is_taken_where_it_is_with_its_own_bar(beside, monkeypatch):
    pictures = data.load("digits", "test")
    loaded = []
    monkeypatch.setattr(data, "load", lambda *name, **how: loaded.append((name, how)) or pictures)
    case = find_exercise("Challenge").seeded_cases(0)[0]
    assert loaded == [(("mnist", "test"), {"download": False})]
    assert (case["about"], case["_bar"]) == ("MNIST's test pictures", 0.99)


# all -----------------------------------------------------------------------------------------------------

NAMES = ("nearest_mean", "confusion", "worst_mistakes", "calibration_error")


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_refused_and_named_for_other_seeds_too(name):
    assert_mistakes_are_named(name, range(10))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_for_one_seed_is_wrong_for_another(name):
    assert share_with_outputs_of(name, known=0, asked=1) == 0


test_wrong, test_right = both_tests(suite)
