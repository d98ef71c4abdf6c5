"""Questions to answer before running a cell: text, right answer, and why each wrong one is wrong.

Each chapter's module, ``chNN.py``, has a tuple ``QUESTIONS``. Nothing here is graded.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from dl_course.exercises.results import shown
from dl_course.registry import nearest


@dataclass(frozen=True)
class Question:
    """A question; its id begins with its chapter's number: "03-shape-after-pool".

    text: plain words, `code` in backticks · right: the right answer, or a function that computes it ·
    why: what explains it · mistakes: wrong answers that people give, each with its own explanation.
    """

    id: str
    text: str
    right: Any | Callable[[], Any]
    why: str
    mistakes: Mapping[Any, str] = field(default_factory=dict)

    accepts: ClassVar[str]

    @property
    def chapter(self) -> str:
        """The chapter's number, "03"."""
        return self.id.partition("-")[0]

    @cached_property
    def answer(self) -> Any:
        """The right answer, computed where it is a function."""
        return self.read(self.right() if callable(self.right) else self.right)

    def read(self, given: Any) -> Any:
        """Return an answer in its plain form, from what was typed; ValueError says what is accepted."""
        raise NotImplementedError

    def is_right(self, answer: Any) -> bool:
        """True where an answer, as `read` returns it, is right."""
        return answer == self.answer

    def explain(self, answer: Any) -> str:
        """Return what there is to say about an answer, as `read` returns it."""
        if self.is_right(answer):
            return self.why
        known = {self.read(wrong): words for wrong, words in self.mistakes.items()}
        return known.get(answer) or f"The answer is {shown(self.answer)}. {self.why}"

    def _refused(self, given: Any) -> ValueError:
        return ValueError(f"'{self.id}' asks for {self.accepts}; given: {given!r}")


@dataclass(frozen=True)
class Choice(Question):
    """A question with choices: the right one, and the mistakes."""

    @cached_property
    def options(self) -> dict[str, str]:
        """The choices by letter. In a chapter, the right one stands equally often in each place."""
        choices = list(self.mistakes)
        alike = [
            each.id
            for each in all_questions().values()
            if (each.chapter, type(each), len(each.mistakes)) == (self.chapter, Choice, len(choices))
        ]
        deal = random.Random(f"{self.chapter}, {len(choices)}")
        rounds = [deal.sample(range(len(choices) + 1), len(choices) + 1) for _ in alike]
        places = dict(zip(alike, sum(rounds, []), strict=False))
        choices.insert(places.get(self.id, 0), self.right() if callable(self.right) else self.right)
        return dict(zip("abcdefgh", choices, strict=False))

    @property
    def accepts(self) -> str:  # type: ignore[override]
        """The choices, each with its letter."""
        return "one of " + ", ".join(f"'{letter}' ({text})" for letter, text in self.options.items())

    def read(self, given: Any) -> str:
        """Return the choice that was meant: by its words or by its letter."""
        words = " ".join(str(given).split()).lower()
        meant = self.options | {text.lower(): text for text in self.options.values()}
        if words not in meant:
            raise self._refused(given)
        return meant[words]


@dataclass(frozen=True)
class Number(Question):
    """A question for a number; right within `tolerance` of the right one."""

    tolerance: float = 1e-9
    accepts: ClassVar[str] = "a number, such as 3, 0.25 or '1e-3'"

    def read(self, given: Any) -> int | float:
        """Return the number, whole ones as int; it is finite, and no bool."""
        try:
            number = float(given.replace(",", "") if isinstance(given, str) else given)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise self._refused(given) from error
        if isinstance(given, bool) or not math.isfinite(number):
            raise self._refused(given)
        return int(number) if number.is_integer() else number

    def is_right(self, answer: float) -> bool:
        """True within the tolerance."""
        return abs(answer - self.answer) <= self.tolerance


@dataclass(frozen=True)
class Shape(Question):
    """A question for a shape."""

    accepts: ClassVar[str] = "a shape, such as (8, 16, 28, 28) or '8, 16, 28, 28'"

    def read(self, given: Any) -> tuple[int, ...]:
        """Return the shape as a tuple of whole numbers."""
        if isinstance(given, str):
            plain = re.fullmatch(r"[\s\d,x×()\[\]]*|torch\.Size\([\s\d,\[\]]*\)", given)
            given = [int(number) for number in re.findall(r"\d+", given)] if plain else given
        if not isinstance(given, Sequence) or any(type(length) is not int for length in given):
            raise self._refused(given)
        return tuple(given)


def all_questions() -> dict[str, Question]:
    """Return every question of the course by its id, in the order of the chapters."""
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    return {question.id: question for module in modules for question in module.QUESTIONS}


def find_question(name: str) -> Question:
    """Return the question with that id; ValueError names the nearest one."""
    questions = all_questions()
    if name not in questions:
        raise ValueError(f"no question is named '{name}'{nearest(name, questions)}")
    return questions[name]
