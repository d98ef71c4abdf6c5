"""The patients are always the same, keep their secret, and have what the check-up says they have."""

import inspect

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

import dl_course.clinic as clinic
from dl_course.clinic import BEDS, patient, second_opinion
from dl_course.data import Loader
from dl_course.diagnostics import checkup
from dl_course.diagnostics.rules.finding import CHECKS

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

PLANTED = {
    1: {"lr-too-low"}, 2: {"input-not-normalised"}, 3: {"output-activation"}, 4: {"unshuffled-training"},
    5: {"no-zero-grad"}, 6: {"dead-units"}, 7: set(), 8: {"wrong-mode"},
    9: {"lr-too-high", "train-val-mismatch"}, 10: {"label-noise"}, 11: {"samples-mixed"},
    12: {"loss-broadcast"}, 13: {"random-in-eval"},
}  # fmt: skip
FAULTS = {rule.fault for rule in CHECKS}


@pytest.mark.parametrize("number", BEDS)
def test_the_checkup_names_what_is_wrong_as_the_cause_and_nothing_on_the_healthy_one(number):
    report = checkup(**patient(number).arguments())
    assert {each.fault for each in report if not each.because and each.severity != "info"} == PLANTED[number]
    late = {"cannot-overfit-batch"} if number == 3 else set()  # crawls to a softmax's least; time may end
    classes = {"label-noise", "class-imbalance", "unshuffled-training", "output-width"}
    scores = {"output-activation", "initial-loss"}
    assert set(report.skipped) <= (classes | scores if number == 12 else late)  # it says a number


def test_there_are_thirteen_patients_and_no_other():
    assert list(BEDS) == list(PLANTED) == list(range(1, 14))
    with pytest.raises(ValueError, match="no patient 14; there are patients 1 to 13"):
        patient(14)


@pytest.mark.parametrize("number", [1, 4, 8])
def test_a_patient_is_always_the_same_and_leaves_the_random_numbers_alone(number):
    torch.manual_seed(number)
    expected = torch.rand(1)
    torch.manual_seed(number)
    first = patient(number).train()
    torch.testing.assert_close(torch.rand(1), expected)
    pd.testing.assert_frame_equal(first, patient(number).train())


def test_the_history_is_that_of_a_training_and_leaves_the_patient_as_it_came():
    one = patient(3)
    before, history = one.parts(), one.history()
    assert one.parts() == before
    assert list(history) == ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(one.train(), history)
    assert {name for name, text in one.parts().items() if text != before[name]} == {"model"}


@pytest.mark.parametrize("options", [{"shuffle": True}, {"batch_size": 32}, {"weights": torch.ones(2)}])
def test_another_loader_of_the_same_pictures_is_another_part(options):
    one = patient(4)
    before = one.parts()
    train = one.train_loader.dataset
    if "weights" in options:
        options = {"weights": torch.ones(len(train))}
    for loader in (Loader(train, 64), DataLoader(train, 64)):
        one.train_loader = loader
        unchanged = one.parts()
        one.train_loader = Loader(train, **{"batch_size": 64, **options})
        changed = one.parts()
        assert {name for name in before if changed[name] != unchanged[name]} == {"batches"}
    one.train_loader = Loader(train, 64)
    assert one.parts() == before


def test_predictions_are_those_that_validation_makes():
    one = patient(9)
    pictures, labels = one.val_loader.dataset.tensors()
    (inputs, given), *_ = one.val_loader
    torch.testing.assert_close(one.predict(pictures), one.eval_step(one.model, (inputs, given)))
    assert len(labels) == len(given) and one.predict(pictures[:0]).shape == (0, 10)


def spoken(text):
    """Return the faults that a text names, however they are spelled."""
    plain = "".join(letter for letter in text.lower() if letter.isalpha())
    return {fault for fault in FAULTS if fault.replace("-", "") in plain}


@pytest.mark.parametrize("number", BEDS)
def test_nothing_that_a_learner_looks_at_tells_the_fault(number):
    one = patient(number)
    texts = [repr(one), one.story, repr(one.model), *vars(one), str(one.parts())]
    texts += [repr(one.arguments()), one.train_step.__name__, inspect.getsource(one.train_step)]
    assert [spoken(text) for text in texts if spoken(text)] == []
    assert one.story in repr(one)


@pytest.mark.parametrize("module", [clinic.ward, clinic.patient, clinic.opinion], ids=lambda m: m.__name__)
def test_the_source_names_no_fault_either(module):
    assert spoken(inspect.getsource(module)) == set()


def test_the_second_opinion_knows_right_from_wrong_and_half_from_whole():
    right = {number: names or "healthy" for number, names in PLANTED.items()}
    assert set(second_opinion(right)["opinion"]) == {"right"}
    half = second_opinion({9: "train-val-mismatch", 1: {"lr-too-low", "dead-units"}, 7: None})
    assert half["opinion"].tolist() == [
        "no",
        *["not named yet"] * 7,
        "right, but not all",
        *["not named yet"] * 4,
    ]
    assert "With dead-units, this would not hold: " in half["remark"].iloc[0]
    assert "lr-too-low" not in half["remark"].iloc[0]


@pytest.mark.parametrize("number", BEDS)
def test_no_wrong_name_is_called_right(number):
    for fault in (FAULTS | {"healthy"}) - (PLANTED[number] or {"healthy"}):
        assert second_opinion({number: fault})["opinion"].iloc[number - 1] == "no"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no fault is named 'lr-to-low'; did you mean 'lr-too-low'"):
        second_opinion({1: "lr-to-low"})
