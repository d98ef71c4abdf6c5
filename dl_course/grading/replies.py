"""What a worker's reply may look like: checked before anything looks at it."""

from __future__ import annotations

from typing import Any

from dl_course.grading.channel import Lost
from dl_course.grading.names import printable

MOST_TEXTS = 5_000
_FIELDS = {
    "problem": str,
    "found": bool,
    "again": bool,
    "untouched": bool,
    "cells": int,
    "used": list,
    "skipped": list,
    "raised": str,
    "message": str,
    "line": str,
    "outputs": dict,
}


def checked(reply: Any, number: str) -> dict[str, Any]:
    """Return the reply's fields, each of its own type; Lost, in words, for anything else.

    `number` is the question's. What `wire.load` bounds (bytes, items, depth, arrays) is bounded already.
    """
    if type(reply) is not dict or type(reply.get("number")) is not str or reply.pop("number") != number:
        raise Lost("its reply belongs to no question")
    for key, value in reply.items():
        if type(value) is not _FIELDS.get(key):
            raise Lost(
                f"its reply has no such field as '{printable(key, 40)}', of type {type(value).__name__}"
            )
        if type(value) is list and (len(value) > MOST_TEXTS or any(type(each) is not str for each in value)):
            raise Lost(f"'{key}' in its reply isn't a list of texts")
    for fields in (reply, reply.get("outputs", {})):
        if "raised" in fields and any(
            type(fields.get(key)) is not str for key in ("raised", "message", "line")
        ):
            raise Lost("its reply says what was raised, but not in words")
    return reply
