"""Comparing outputs: what counts as equal, and the words for what doesn't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl_course.exercises.compare import first_difference, recognise

FLOATS = hnp.arrays("float64", hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e6, 1e6))


def differs(expected, got, where="returned"):
    return first_difference(expected, got, rtol=1e-4, atol=1e-5, where=where)


@given(FLOATS)
def test_the_same_numbers_agree_in_any_numeric_type_and_as_a_list(array):
    assert differs(array, array.copy()) is None
    assert differs(array, array.astype("float32")) is None
    assert differs(array, array.tolist()) is None


@given(FLOATS, st.data())
def test_one_changed_number_is_found_with_numpys_own_tolerance(array, data):
    index = tuple(data.draw(st.integers(0, side - 1)) for side in array.shape)
    other = array.copy()
    other[index] += data.draw(st.floats(-1, 1))
    assert (differs(array, other) is None) == np.allclose(other, array, rtol=1e-4, atol=1e-5)


def test_nan_where_nan_is_expected_is_right():
    assert differs(np.array([1, np.nan]), np.array([1, np.nan])) is None
    assert differs(np.array([1.0, 2.0]), np.array([1, np.nan]))


X = np.arange(1.0, 13).reshape(3, 4) ** 1.5
SQUARE = np.arange(1.0, 10).reshape(3, 3) ** 1.5


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        (X, X.T, "your result is transposed"),
        (SQUARE, SQUARE.T, "your result is transposed"),
        (X, X[None], "right numbers, but the shape is (1, 3, 4) and should be (3, 4)"),
        (X, X[:2], "the shape is (2, 4) and should be (3, 4)"),
        (X, -X, "the sign is the wrong way round"),
        (X, 3 * X, "every number is 3 times what it should be"),
        (X, X + 2, "every number is off by the same 2"),
        (X, X[::-1], "right numbers in the wrong order"),
        (X, X * [1, 1, 1, np.nan], "your result has NaN or infinity in it"),
        (X, np.trunc(X), "the digits after the point are lost"),
        (X, X**2, ""),
        (np.zeros((0, 3)), np.zeros((3, 0)), "your result is transposed"),
    ],
    ids=str,
)
def test_a_mistake_that_is_known_is_named(expected, got, says):
    assert recognise(expected, got, 1e-4, 1e-5).startswith(says) and bool(says) == bool(
        recognise(expected, got, 1e-4, 1e-5)
    )


@pytest.mark.parametrize(
    "got",
    [
        None,
        "text",
        "<an object of type Evil>",
        [[1.0, 2.0], [3.0]],
        10**400,
        [10**400],
        X + 1j,
        {},
        [],
        True,
        {"raised": "E"},
    ],
    ids=str,
)
def test_whatever_comes_out_is_compared_and_never_raises(got):
    assert differs(X, got) is not None
    assert differs({"returned": X}, {"returned": got}) is not None
    assert differs({"returned": X}, got) is not None


def test_none_reminds_of_the_return():
    assert "`return` missing" in differs({"returned": X}, {"returned": None}, where="").diagnosis


def test_missing_and_extra_outputs_differ():
    assert differs({"a": 1, "b": 2}, {"a": 1}).diagnosis == "'b' is missing"
    assert "c" in differs({"a": 1}, {"a": 1, "c": 2}).diagnosis
    assert "1 came out where 2" in differs(["x", "y"], ["x"]).diagnosis


def test_an_expected_error_must_come_and_an_unexpected_one_must_not():
    refused, fine = {"raised": "ValueError", "message": "a"}, {"returned": 1}
    assert differs(refused, {"raised": "ValueError", "message": "other words"}) is None
    assert "must be refused" in differs(refused, fine).diagnosis
    assert "raised KeyError" in differs(refused, {"raised": "KeyError"}).diagnosis
    assert "raised ValueError" in differs(fine, refused).diagnosis


@pytest.mark.parametrize(
    ("expected", "got"), [(True, False), (np.array([True, False]), np.array([False, False]))]
)
def test_a_wrong_boolean_is_a_difference_like_any_other(expected, got):
    assert first_difference({"done": expected}, {"done": got}, 1e-4, 1e-5).where == "done"
