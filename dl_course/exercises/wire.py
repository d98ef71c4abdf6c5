"""Plain values to bytes and back through nothing that can execute: JSON for structure, .npy for arrays.

What the grader's worker sends to the judge travels this way, never as a pickle.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

_ARRAY = "__array__"
_NUMERIC = "biufc"
MAX_BYTES = 64 * 2**20


def dump(value: Any) -> bytes:
    """Return the bytes of a value made of dicts with string keys, lists, arrays, numbers, strings, None.

    Tuples come back as lists. Raises TypeError, naming where it stands, for anything else.
    """
    arrays: dict[str, np.ndarray] = {}

    def plain(item: Any, path: str) -> Any:
        if item is None or type(item) in (bool, int, float, str):
            return item
        if isinstance(item, (np.ndarray, np.generic)):
            if item.dtype.kind not in _NUMERIC:
                raise TypeError(
                    f"{path}: an array of dtype {item.dtype} can't travel; numbers and booleans can"
                )
            arrays[key := f"a{len(arrays)}"] = np.asarray(item)
            return {_ARRAY: key}
        if isinstance(item, (list, tuple)):
            return [plain(each, f"{path}[{i}]") for i, each in enumerate(item)]
        if isinstance(item, Mapping) and _ARRAY not in item and all(type(key) is str for key in item):
            return {key: plain(each, f"{path}[{key!r}]") for key, each in item.items()}
        raise TypeError(
            f"{path}: a {type(item).__name__} can't travel; make it an array, a number, a string or a list"
        )

    structure = json.dumps(plain(value, "value"))
    with io.BytesIO() as buffer:
        np.savez(buffer, structure=np.frombuffer(structure.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


def load(data: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value that `dump` made bytes of; ValueError for anything else, whatever it holds.

    The bytes may come from an untrusted process: compressed members (zip bombs) and objects are refused.
    """
    try:
        if len(data) > max_bytes:
            raise ValueError(f"{len(data)} bytes, at most {max_bytes} are read")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(data) for m in members):
                raise ValueError("compressed members")
            if sum(m.file_size for m in members) > len(data):
                raise ValueError("members that overlap")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            structure = json.loads(arrays["structure"].tobytes().decode())
            stored = {key: arrays[key] for key in arrays.files}  # each read once, however often it is named
            return _restored(structure, stored)
    except (ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"not a value sent by dump: {error}") from error


def _restored(item: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(item, list):
        return [_restored(each, arrays) for each in item]
    if isinstance(item, dict) and _ARRAY in item:
        array = arrays[item[_ARRAY]]
        if array.dtype.kind not in _NUMERIC:
            raise ValueError(f"an array of dtype {array.dtype}")
        return array
    if isinstance(item, dict):
        return {key: _restored(each, arrays) for key, each in item.items()}
    return item
