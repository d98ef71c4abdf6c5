"""Plain values to bytes and back through nothing that can execute: JSON for structure, raw bytes for arrays.

What the grader's worker sends to the judge travels this way, never as a pickle. A message is the length of
a JSON text, that text (the value, and the dtype and shape of each array in it), and the arrays' bytes, in
the order in which the value names them. Reading it takes time and memory linear in its bytes.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MAX_BYTES = 64 * 2**20
MOST_TEXT = 2 * 2**20  # bytes of JSON
MOST_ARRAYS = 4_096
MOST_ITEMS = 100_000  # in lists and dicts, all together
MOST_DEPTH = 64
MOST_EMPTY = 2**16  # the sizes of empty arrays, but for their zeros, together
_SPREAD = 48  # bytes of memory that a byte of JSON can become: {"": in a dict
_ARRAY = "__array__"
_RESERVED = re.compile("__array_*")  # keys of a learner's own that look like ours get one more underscore
_NUMERIC = re.compile("[<>|=]?(b1|[iu][1248]|f[248]|c(8|16))")
_LENGTH = struct.Struct(">I")
_INTEGERS = range(-(2**63), 2**64)


def dump(value: Any) -> bytes:
    """Return the bytes of a value made of dicts with string keys, lists, arrays, numbers, strings, None.

    Tuples come back as lists. Raises TypeError, naming where it stands, for anything else; ValueError beyond
    the bounds of `load`, such as for an integer of more than 64 bits.
    """
    return b"".join(parts(value))


def parts(value: Any) -> list[Any]:
    """Return the bytes of a value in pieces, arrays' own memory where it can be, to be sent one by one."""
    outgoing = _Outgoing()
    structure = outgoing.plain(value, "value", 0)
    about = [[each.dtype.str, list(each.shape)] for each in outgoing.arrays]
    text = json.dumps({"value": structure, "arrays": about}).encode()
    if len(text) > MOST_TEXT:
        raise ValueError(f"{len(text):,} bytes of text and numbers; at most {MOST_TEXT:,} can travel")
    memory = (np.ascontiguousarray(each).reshape(-1).view(np.uint8).data for each in outgoing.arrays)
    return [_LENGTH.pack(len(text)) + text, *memory]


class _Outgoing:
    """Makes a value JSON, and keeps the arrays in it, in their order."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.left = MOST_ITEMS

    def plain(self, item: Any, path: str, depth: int) -> Any:
        """Return the item as JSON has it; `path` says where it stands."""
        self._count(item, path, depth)
        if item is None or type(item) in (bool, int, float, str):
            return item
        if isinstance(item, (np.ndarray, np.generic)):
            self.arrays.append(_numeric(np.asarray(item), path))
            return {_ARRAY: None}
        if isinstance(item, (list, tuple)):
            return [self.plain(each, f"{path}[{i}]", depth + 1) for i, each in enumerate(item)]
        if isinstance(item, Mapping) and all(type(key) is str for key in item):
            return {
                _escaped(key): self.plain(each, f"{path}[{key[:80]!r}]", depth + 1)
                for key, each in item.items()
            }
        raise TypeError(
            f"{path}: a {type(item).__name__} can't travel; make it an array, a number, a string or a list"
        )

    def _count(self, item: Any, path: str, depth: int) -> None:
        self.left -= 1
        if depth > MOST_DEPTH or self.left < 0 or len(self.arrays) > MOST_ARRAYS:
            raise ValueError(f"{path[:200]}: too much to travel, or too deep")
        if type(item) is int and item not in _INTEGERS:
            raise ValueError(f"{path[:200]}: an integer beyond 64 bits can't travel")


def _numeric(array: np.ndarray, path: str) -> np.ndarray:
    if not _NUMERIC.fullmatch(array.dtype.str):
        raise TypeError(f"{path}: an array of dtype {array.dtype} can't travel; numbers and booleans can")
    return array


def _escaped(key: str) -> str:
    return f"{key}_" if _RESERVED.fullmatch(key) else key


def load(data: bytes | bytearray | memoryview, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value that `dump` made bytes of; ValueError for anything else, whatever it holds.

    The bytes may come from an untrusted process: texts, items, depth, arrays and their shapes are bounded,
    and every byte belongs to one thing only.
    """
    try:
        if len(data) > max_bytes:
            raise ValueError(f"{len(data)} bytes, at most {max_bytes} are read")
        view = memoryview(data)
        (length,) = _LENGTH.unpack(view[: _LENGTH.size])
        if length > MOST_TEXT:
            raise ValueError(f"a structure of {length} bytes, at most {MOST_TEXT} are read")
        text = bytes(view[_LENGTH.size : _LENGTH.size + length]).decode("ascii")
        found = json.loads(text, parse_int=_integer, parse_float=_real, parse_constant=float)
        if not isinstance(found, dict) or found.keys() != {"value", "arrays"}:
            raise ValueError("no value and arrays")
        arrays = _arrays(found["arrays"], view[_LENGTH.size + length :])
        value = _restored(found["value"], arrays)
        if next(arrays, None) is not None:
            raise ValueError("arrays that nothing names")
        return value
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, struct.error) as error:
        raise ValueError(f"not a value sent by dump: {str(error)[:200]}") from error


def weight(data: bytes | bytearray) -> int:
    """Return about how many bytes of memory a message takes once it is loaded, from its own bytes."""
    text = _LENGTH.unpack(data[: _LENGTH.size])[0] if len(data) >= _LENGTH.size else 0
    return len(data) + _SPREAD * text


def _integer(text: str) -> int:
    if len(text) > 20 or int(text) not in _INTEGERS:
        raise ValueError("an integer of more than 64 bits")
    return int(text)


def _real(text: str) -> float:
    if len(text) > 32:
        raise ValueError("a number of too many digits")
    return float(text)


def _arrays(abouts: Any, rest: memoryview) -> Iterator[np.ndarray]:
    """Check that the arrays' sizes are those of the bytes, to the last one; then yield one after another."""
    if not isinstance(abouts, list) or len(abouts) > MOST_ARRAYS:
        raise ValueError(f"more than {MOST_ARRAYS} arrays")
    sizes = [_size(*each) for each in abouts]
    if sum(sizes) != len(rest):
        raise ValueError("arrays of another size than their bytes")
    if sum(math.prod(max(n, 1) for n in shape) for _, shape in abouts if 0 in shape) > MOST_EMPTY:
        raise ValueError("empty arrays of too large an outline")
    starts = np.cumsum([0, *sizes])
    return (
        np.frombuffer(rest[start : start + size], dtype).reshape(shape).copy()
        for (dtype, shape), size, start in zip(abouts, sizes, starts[:-1].tolist(), strict=True)
    )


def _size(dtype: Any, shape: Any) -> int:
    if not isinstance(dtype, str) or not _NUMERIC.fullmatch(dtype) or not isinstance(shape, list):
        raise ValueError("an array that isn't of numbers")
    if len(shape) > 16 or not all(type(each) is int and 0 <= each < 2**62 for each in shape):
        raise ValueError("a shape that isn't one")
    return math.prod(shape) * np.dtype(dtype).itemsize


def _restored(value: Any, arrays: Iterator[np.ndarray]) -> Any:
    """Put the arrays into their places, in the order in which they stand; ValueError beyond the bounds."""
    left = MOST_ITEMS

    def put(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MOST_DEPTH:
            raise ValueError("too many items, or too deep")
        if isinstance(item, list):
            return [put(each, depth + 1) for each in item]
        if not isinstance(item, dict):
            return item
        if _ARRAY not in item:
            return {_unescaped(key): put(each, depth + 1) for key, each in item.items()}
        if len(item) > 1 or item[_ARRAY] is not None or (array := next(arrays, None)) is None:
            raise ValueError("a name of an array that isn't there")
        return array

    return put(value, 0)


def _unescaped(key: str) -> str:
    return key[:-1] if _RESERVED.fullmatch(key) else key
