"""The wire: what goes in comes out, and nothing that could execute comes through."""

from __future__ import annotations

import io
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl_course.exercises import wire
from dl_course.exercises.wire import dump, load

DTYPES = st.sampled_from(["bool", "int8", "uint8", "int64", "float16", "float32", "float64", "complex64"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | ARRAYS
)
KEYS = st.text() | st.sampled_from(["__array__", "__array___"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        )
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@given(VALUES)
def test_what_goes_in_comes_out(value):
    assert same(value, load(dump(value)))


def test_tuples_come_back_as_lists_numpy_numbers_as_arrays_and_nan_as_nan():
    assert load(dump((1, (2,)))) == [1, [2]]
    assert load(dump(np.float32(2))) == np.array(2, np.float32)
    assert np.isnan(load(dump(float("nan"))))


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, {"a": [print]}, np.array([object()]), np.array(["text"]), b"bytes"]
)
def test_what_is_not_plain_is_refused_by_name(value):
    with pytest.raises(TypeError, match="value"):
        dump(value)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, [[]] * wire.MOST_ITEMS, "x" * wire.MOST_TEXT, [np.zeros(1)] * 5_000]
)
def test_what_is_beyond_the_bounds_is_refused_before_it_travels(value):
    with pytest.raises(ValueError, match="travel"):
        dump(value)


def forged(structure, arrays=(), data=b"") -> bytes:
    text = structure if isinstance(structure, bytes) else json.dumps(structure).encode()
    if not isinstance(structure, bytes):
        text = json.dumps({"value": structure, "arrays": list(arrays)}).encode()
    return struct.pack(">I", len(text)) + text + data


def archive(*arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *arrays)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


ONE = {"__array__": None}
F8 = ["<f8", [1]]
EIGHT = bytes(8)
FOREIGN = {
    "nothing": b"",
    "no length": b"no",
    "a pickle": pickle.dumps(Bomb()),
    "an npz": archive(np.zeros(10**5)),
    "an npz of objects": archive(np.array([Bomb()], dtype=object)),
    "no JSON": forged(b"not json"),
    "no UTF-8": forged(b'{"value": "\xff", "arrays": []}'),
    "another structure": forged(b'{"value": 1}'),
    "a list": forged(b"[]"),
    "deep": forged(b"[" * 100_000),
    "deeper than allowed": forged(eval("[" * 80 + "]" * 80)),
    "many items": forged([[]] * (wire.MOST_ITEMS + 1)),
    "long": forged(b" " * (wire.MOST_TEXT + 1)),
    "digits": forged(b'{"value": ' + b"1" * 100_000 + b', "arrays": []}'),
    "decimals": forged(b'{"value": 0.' + b"1" * 100_000 + b', "arrays": []}'),
    "beyond 64 bits": forged(2**64),
    "an array that isn't there": forged(ONE),
    "one array named twice": forged([ONE, ONE], [F8], EIGHT),
    "an array that nothing names": forged(1, [F8], EIGHT),
    "an array by another name": forged({"__array__": "a0"}, [F8], EIGHT),
    "an array that is a list": forged({"__array__": [1]}, [F8], EIGHT),
    "an array with company": forged({"__array__": None, "x": 1}, [F8], EIGHT),
    "too few bytes": forged(ONE, [F8], EIGHT[:-1]),
    "too many bytes": forged(ONE, [F8], EIGHT * 2),
    "objects": forged(ONE, [["|O", [1]]], EIGHT),
    "texts": forged(ONE, [["<U2", [1]]], EIGHT),
    "records": forged(ONE, [[[["a", "<f8"]], [1]]], EIGHT),
    "a negative shape": forged(ONE, [["<f8", [-1, -1]]], EIGHT),
    "a shape of truths": forged(ONE, [["<f8", [True]]], EIGHT),
    "no shape": forged(ONE, [["<f8", 1]], EIGHT),
    "no array's pair": forged(ONE, [7], EIGHT),
    "many axes": forged(ONE, [["<f8", [1] * 40]], EIGHT),
    "empty and giant": forged(ONE, [["<f8", [2**25, 0]]]),
    "a thousand empty giants": forged([ONE] * 1000, [["<f8", [1000, 0]]] * 1000),
    "too many arrays": forged([ONE] * 5000, [["<f8", [0]]] * 5000),
    "cut": dump([np.zeros(3)])[:-3],
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_foreign_bytes_are_refused_and_nothing_in_them_runs(data):
    with pytest.raises(ValueError, match="not a value sent by dump"):
        load(data)


def test_too_many_bytes_are_refused_unread():
    with pytest.raises(ValueError, match="at most 1000"):
        load(dump(np.zeros(10_000)), max_bytes=1000)


def test_a_saved_network_may_be_larger_than_a_reply():
    weights = np.zeros(wire.MAX_BYTES + 1, np.uint8)
    assert load(dump(weights), 2 * wire.MAX_BYTES).shape == weights.shape
