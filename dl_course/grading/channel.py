"""Plain values over a socket, with limits on time and size; neither end runs what the other sends."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from dl_course.exercises.wire import load, parts

_LENGTH = struct.Struct(">Q")
REPLY_BYTES = 8 * 2**20


class Lost(Exception):
    """The other end can't be talked to any more; the message says why."""


class Ended(Lost):
    """The other end is there no more: who watches it may know why."""


def send(end: socket.socket, value: Any, seconds: float | None = None) -> None:
    """Send a value of arrays, numbers, strings, lists, dicts; Lost where the other end doesn't take it."""
    pieces = parts(value)
    until = _until(seconds)
    try:
        for each in (_LENGTH.pack(sum(memoryview(each).nbytes for each in pieces)), *pieces):
            end.settimeout(_left(until))
            end.sendall(each)
    except OSError as error:
        raise Ended("it takes no more questions") from error


def receive(end: socket.socket, seconds: float | None = None, most: int = 2**32) -> Any:
    """Return the next value; Lost after the seconds, beyond the bytes, or where it is no value at all."""
    return received(receive_bytes(end, seconds, most))


def receive_bytes(end: socket.socket, seconds: float | None, most: int) -> bytearray:
    """Return the bytes of the next value; Lost after the seconds, or where there are more than `most`."""
    until = _until(seconds)
    (length,) = _LENGTH.unpack(_exactly(end, _LENGTH.size, until))
    if length > most:
        raise Lost(f"its reply is too large: {length:,} bytes, and at most {most:,} are read")
    return _exactly(end, length, until)


def received(data: bytearray) -> Any:
    """Return the value of these bytes; Lost where they are none."""
    try:
        return load(data, len(data))
    except Exception as error:  # untrusted bytes: whatever a decoder raises, they are no value
        raise Lost("its reply can't be read") from error


def _until(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _left(until: float | None) -> float | None:
    left = None if until is None else until - time.monotonic()
    if left is not None and left <= 0:
        raise Lost("no reply in time")
    return left


def _exactly(end: socket.socket, count: int, until: float | None) -> bytearray:
    data = bytearray()
    while len(data) < count:
        end.settimeout(_left(until))
        try:
            part = end.recv(min(count - len(data), 2**20))
        except TimeoutError:
            continue
        except OSError as error:
            raise Ended("it ended") from error
        if not part:
            raise Ended("it ended")
        data += part
    return data
