"""`ask` a question before a cell is run: a form in the notebook, plain words elsewhere; never graded."""

from __future__ import annotations

import html
import re
from typing import Any

import ipywidgets as widgets

from dl_course.exercises.progress_file import progress
from dl_course.exercises.questions import Choice, Question, find_question
from dl_course.exercises.results import Box, framed, shown
from dl_course.language import say

_HERE = object()


def ask(name: str, answer: Any = _HERE) -> Box | Asked:
    """Return a question as a form; with an answer, what there is to say about it.

    name: its id, "03-shape-after-pool" · answer: a choice or its letter, a number, or a shape; the latest
    one is kept in the progress file. Raises ValueError for an unknown id, and for an answer of another kind.
    """
    question = find_question(name)
    return Asked(question) if answer is _HERE else reply(question, answer)


def reply(question: Question, given: Any) -> Box:
    """Return what there is to say about an answer, and remember it; ValueError says what is accepted."""
    answer = question.read(given)
    right = question.is_right(answer)
    complaint = progress.record(question.id, "passed" if right else "not yet", answer=str(answer))
    lines = [("", question.explain(answer)), *([("progress", complaint)] if complaint else [])]
    says = f"{'Right' if right else 'Not quite'}: {shown(answer)}"
    return Box("passed" if right else "not yet", says, tuple(lines))


class Asked(widgets.VBox):
    """A question as a form: a button for each choice, or a line to type in; and what there is to say.

    Without a kernel it is a card with an explanation behind each choice; in a terminal, plain words.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self._given = ""
        self.explanation = widgets.HTML()
        self.status = widgets.Label()
        before = progress.answer_to(question.id)
        self.status.value = say(f"Your last answer: {before}") if before else ""
        self.entries = widgets.VBox(self._rows())
        super().__init__([widgets.HTML(_words(question.text)), self.entries, self.status, self.explanation])
        for part in ("entries", "explanation", "status"):
            getattr(self, part).add_class(f"ask-{part}")

    def _rows(self) -> list[widgets.HBox]:
        # Not RadioButtons: JupyterLab takes the arrow keys for itself, and only the first could be chosen.
        if not isinstance(self.question, Choice):
            line = widgets.Text(placeholder=say(self.question.accepts), continuous_update=False)
            line.observe(lambda change: self.answer(change.new), "value")
            line.layout.width = "30em"
            button = widgets.Button(description=say("Answer"), layout={"width": "auto"})
            button.on_click(lambda _: self.answer(line.value))
            return [widgets.HBox([line, button])]
        rows = []
        for letter, choice in self.question.options.items():
            button = widgets.Button(description=letter, tooltip=say(choice), layout={"width": "3em"})
            button.on_click(lambda pressed: self.answer(pressed.description))
            rows.append(widgets.HBox([button, widgets.HTML(_words(choice))]))
        return rows

    def answer(self, given: str) -> None:
        """Show what there is to say about an answer; the same one again, or none, changes nothing."""
        if given in ("", self._given):
            return
        self._given = given
        try:
            said = reply(self.question, given)
        except ValueError as error:
            said = Box("note", str(error))
        self.explanation.value = "<br>".join(_words(words) for _, words in said.lines)
        self.status.value = repr(Box(said.kind, said.headline))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**kwargs) | {
            "text/plain": repr(self),
            "text/html": card_html(self.question),
        }

    def __repr__(self) -> str:
        options = self.question.options if isinstance(self.question, Choice) else {}
        choices = "".join(f"\n  {letter}  {say(text)}" for letter, text in options.items())
        how = say(f"To answer: ask('{self.question.id}', answer)")
        return f"{say(self.question.text)}{choices}\n{how}"


def card_html(question: Question) -> str:
    """Return a question as HTML that needs no kernel: what there is to say, folded under each choice."""
    if isinstance(question, Choice):
        folded = {choice: question.explain(choice) for choice in question.options.values()}
    else:
        folded = {"Show the answer": f"{shown(question.answer)}. {question.why}"}
    sides = {
        choice: f"{'✗' if choice in question.mistakes else '✓'} {say(words)}"
        for choice, words in folded.items()
    }
    rows = [
        f"<details><summary>{_words(choice)}</summary><p>{_words(words)}</p></details>"
        for choice, words in sides.items()
    ]
    return framed(f"<p>{_words(question.text)}</p>{''.join(rows)}")


def _words(text: str) -> str:
    """Return words as HTML in the reader's language, with `code` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(say(text)))
