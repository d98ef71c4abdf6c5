"""The wire: what goes in comes out, and nothing that could execute comes through."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dl_course.exercises.wire import dump, load

DTYPES = st.sampled_from(["bool", "int8", "uint8", "int64", "float16", "float32", "float64", "complex64"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | ARRAYS
KEYS = st.text().filter(lambda key: key != "__array__")
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


def test_a_dict_that_looks_like_an_array_reference_is_refused():
    with pytest.raises(TypeError):
        dump({"__array__": "a0"})


def forged(structure: bytes, compress=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        with io.BytesIO() as array:
            np.save(array, np.frombuffer(structure, np.uint8))
            archive.writestr("structure.npy", array.getvalue())
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def object_array() -> bytes:
    with io.BytesIO() as array:
        np.save(array, np.array([Bomb()], dtype=object), allow_pickle=True)
        return array.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        pickle.dumps(Bomb()),
        forged(b"not json"),
        forged(b'{"__array__": "a0"}'),
        forged(b'{"__array__": ["a0"]}'),
        forged(b'{"__array__": "a0"}', a0=object_array()),
        forged(b'{"__array__": "a0"}', a0=b"\x93NUMPY\x01\x00nonsense"),
        forged(b"1" * 10_000),
        forged(b"[" * 100_000),
        forged(b'"' + b"x" * 100_000 + b'"', compress=zipfile.ZIP_DEFLATED),
        forged(b"1", compress=zipfile.ZIP_DEFLATED, **{f"a{k}": bytes(5_000) for k in range(99)}),
        dump([np.zeros(3)])[:-30],
    ],
    ids=lambda data: repr(data[:10]),
)
def test_foreign_bytes_are_refused_and_nothing_in_them_runs(data):
    with pytest.raises(ValueError, match="not a value sent by dump"):
        load(data)


def test_too_many_bytes_are_refused_unread():
    with pytest.raises(ValueError, match="at most 1000"):
        load(dump(np.zeros(10_000)), max_bytes=1000)


def test_an_array_that_is_named_a_thousand_times_is_read_once():
    array = io.BytesIO()
    np.save(array, np.zeros(10))
    names = b",".join([b'{"__array__": "a0"}'] * 1000)
    found = load(forged(b"[" + names + b"]", a0=array.getvalue()))
    assert len(found) == 1000 and all(each is found[0] for each in found)
