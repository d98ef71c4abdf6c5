"""The first difference between what an answer gave and what was expected, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Where outputs part from the expected ones; `diagnosis` is "" where the mistake is none we know."""

    where: str
    got: Any
    expected: Any
    diagnosis: str = ""


def first_difference(expected: Any, got: Any, rtol: float, atol: float, where: str = "") -> Difference | None:
    """Return None where the outputs agree: same structure and shapes, numbers within atol + rtol·|expected|.

    Number types don't matter (float32 equals float64 equals a list of numbers), NaN equals NaN.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        return _between_mappings(expected, got, rtol, atol, where)
    if isinstance(expected, list) and isinstance(got, list):
        return _between_lists(expected, got, rtol, atol, where)
    if _is_numeric(expected) and _is_numeric(got):
        return _between_numbers(expected, got, rtol, atol, where)
    same = type(expected) is type(got) and expected == got
    return None if same else Difference(where, got, expected, _wrong_type(expected, got, where))


def _between_mappings(
    expected: Mapping, got: Mapping, rtol: float, atol: float, where: str
) -> Difference | None:  # fmt: skip
    if "raised" in expected or "raised" in got:
        return _raised(expected, got, where)
    for key in expected:
        there = f"{where}, {key}" if where else str(key)
        if key not in got:
            return Difference(there, None, expected[key], f"'{key}' is missing")
        if found := first_difference(expected[key], got[key], rtol, atol, there):
            return found
    extra = sorted(str(key) for key in got.keys() - expected.keys())
    return Difference(where, extra, [], f"nobody asked for {', '.join(extra)}") if extra else None


def _between_lists(expected: list, got: list, rtol: float, atol: float, where: str) -> Difference | None:
    if len(expected) != len(got):
        return Difference(where, got, expected, f"{len(got)} came out where {len(expected)} are expected")
    pairs = enumerate(zip(expected, got, strict=True))
    found_ones = (first_difference(e, g, rtol, atol, f"{where}[{i}]") for i, (e, g) in pairs)
    return next((each for each in found_ones if each), None)


def _between_numbers(expected: Any, got: Any, rtol: float, atol: float, where: str) -> Difference | None:
    wanted = _array(expected)
    came = _array(got)
    if wanted is None or came is None or (came.dtype.kind == "c") != (wanted.dtype.kind == "c"):
        return Difference(where, got, expected, "these are not real numbers in a regular array")
    with np.errstate(all="ignore"):
        if wanted.shape == came.shape and np.allclose(came, wanted, rtol, atol, equal_nan=True):
            return None
        return Difference(where, got, expected, recognise(wanted, came, rtol, atol, where))


def recognise(expected: np.ndarray, got: np.ndarray, rtol: float, atol: float, where: str = "") -> str:
    """Return what a wrong array is to the right one, in a beginner's words; "" where it is nothing known."""

    def like(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and np.allclose(a, b, rtol, atol)

    if where.startswith("inputs afterwards"):
        return "you changed your input in place; work on a copy, or use operations that return a new tensor"
    if got.shape != expected.shape:
        return _of_another_shape(expected, got, like)
    expected, got = (
        a.astype(int) if a.dtype.kind == "b" else a for a in (expected, got)
    )  # bools have no minus
    if not np.isfinite(got).all() and np.isfinite(expected).all():
        return "your result has NaN or infinity in it: is something divided by zero, or too large for exp?"
    if expected.dtype.kind == "f" and like(np.trunc(expected), got):
        return "the digits after the point are lost: is an integer type in your way?"
    if like(got, -expected):
        return "the sign is the wrong way round"
    if got.ndim >= 2 and got.shape == got.T.shape and like(got.T, expected):
        return "your result is transposed"
    return _scaled_or_moved(expected, got, rtol, atol)


def _of_another_shape(expected: np.ndarray, got: np.ndarray, like: Callable[..., bool]) -> str:
    if got.size == expected.size and like(got.squeeze(), expected.squeeze()):
        return f"right numbers, but the shape is {got.shape} and should be {expected.shape}"
    if like(got.T, expected):
        return "your result is transposed"
    return f"the shape is {got.shape} and should be {expected.shape}"


def _scaled_or_moved(expected: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> str:
    if expected.size < 3 or not np.isfinite(expected).all() or np.ptp(expected) <= atol:
        return ""
    if np.allclose(np.sort(got, axis=None), np.sort(expected, axis=None), rtol, atol):
        return "right numbers in the wrong order"
    factor = float((got * expected).sum() / (expected * expected).sum())
    if factor != 0 and np.allclose(got, factor * expected, rtol, atol):
        return f"every number is {factor:.4g} times what it should be"
    offset = float(np.mean(got) - np.mean(expected))
    if np.allclose(got, expected + offset, rtol, atol):
        return f"every number is off by the same {offset:.4g}"
    return ""


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_numeric(each) for each in value)
    return isinstance(value, (np.ndarray, bool, int, float))


def _array(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # rows of different lengths
        return None
    return array if array.dtype.kind in "biufc" else None  # an integer beyond 64 bits has no such kind


def _wrong_type(expected: Any, got: Any, where: str) -> str:
    if got is None and where == "returned":
        return "your function returns None: is its `return` missing?"
    return (
        f"a {type(expected).__name__} is expected here, not a {type(got).__name__}"
        if type(expected) is not type(got)
        else ""
    )


def _raised(expected: Mapping[str, Any], got: Mapping[str, Any], where: str) -> Difference | None:
    wanted = expected.get("raised")
    came = got.get("raised")
    if wanted == came:
        return None
    if came is None:
        return Difference(where, "no error", wanted, f"this input must be refused: raise {wanted}")
    if came == "TimeUp":
        return Difference(where, "nothing in time", wanted or "an answer", str(got.get("message", "")))
    line = f" at {got['line']}" if got.get("line") else ""
    return Difference(
        where, f"{came}: {got.get('message', '')}", wanted or "no error", f"your code raised {came}{line}"
    )
