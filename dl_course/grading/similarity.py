"""Answers that read alike: pairs to look at, never a verdict.

An answer's syntax tree, with its own names, comments and texts left out, becomes a row of tokens; its
fingerprints are chosen from the hashes of all short runs by winnowing (Schleimer, Wilkerson and Aiken,
*Winnowing: local algorithms for document fingerprinting*, SIGMOD 2003). What everybody has from the course
itself, the stub, the reference and the mistakes that the check knows, counts for nothing.
"""

from __future__ import annotations

import ast
import html
import inspect
import textwrap
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from dl_course.exercises.judging import Exercise
from dl_course.grading.command import chosen
from dl_course.grading.desk import opened
from dl_course.grading.feedback import page, safe
from dl_course.grading.reading import read_answers
from dl_course.grading.results import write_whole
from dl_course.grading.submissions import find_submissions, usual_chapter

RUN = 8  # tokens in a row that are hashed together
WINDOW = 6  # hashes of which the least is kept: no run of RUN + WINDOW - 1 equal tokens goes unseen
LEAST = 16  # fingerprints that two answers must share: fewer is what two short answers do
SHARE = 0.6  # of the shorter answer's own fingerprints
USUAL = 0.3  # what so many of a class have, with no fewer than five of them, is common knowledge


@dataclass(frozen=True)
class Pair:
    """Two students whose answers to an exercise read alike. share: of the shorter one's fingerprints."""

    exercise: str
    students: tuple[str, str]
    share: float
    shared: int
    texts: tuple[str, str]


def compare(
    submissions: Path,
    out: Path,
    chapter: str | None = None,
    private: Path | None = None,
    share: float = SHARE,
) -> tuple[int, dict[str, str]]:
    """Write the page of answers that read alike; return how many pairs, and who wasn't compared and why."""
    with opened(submissions) as (folder, _, _known):
        found = find_submissions(folder)
        number = chapter or usual_chapter(found)
        exercises = chosen(number, private)
        answers, unread = read_answers(found, number, [each.name for each in exercises])
    pairs = similar(answers, exercises, share)
    write_whole(out, page("Answers that read alike", body(pairs)))
    return len(pairs), unread


def similar(
    answers: Mapping[str, Mapping[str, str]], exercises: Sequence[Exercise], share: float = SHARE
) -> list[Pair]:
    """Return the pairs of students whose answers read alike, the most alike first.

    answers: by student, the source of each answer by the exercise's name · share: least, in (0, 1].
    ValueError for another share. A source that Python can't parse is compared with none.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share lies above 0 and is at most 1; given: {share}")
    return sorted(
        (pair for each in exercises for pair in _pairs(each, answers, share)),
        key=lambda pair: (-pair.share, -pair.shared, pair.exercise, pair.students),
    )


def _pairs(exercise: Exercise, answers: Mapping[str, Mapping[str, str]], share: float) -> Iterator[Pair]:
    name = exercise.name
    texts = {student: given[name] for student, given in answers.items() if given.get(name)}
    prints = {student: fingerprints(text) for student, text in texts.items()}
    usual = _known(exercise) | _common(list(prints.values()))
    own = {student: found - usual for student, found in prints.items()}
    for one, other in combinations(sorted(own), 2):
        both = own[one] & own[other]
        least = min(len(own[one]), len(own[other]))
        if len(both) >= LEAST and len(both) >= share * least:
            yield Pair(name, (one, other), len(both) / least, len(both), (texts[one], texts[other]))


def _common(prints: Sequence[frozenset[int]]) -> frozenset[int]:
    counts = Counter(each for found in prints for each in found)
    limit = max(5, USUAL * len(prints))
    return frozenset(each for each, count in counts.items() if count >= limit)


def _known(exercise: Exercise) -> frozenset[int]:
    """Return the fingerprints of the check itself, in which the reference and the known mistakes stand."""
    sources = [type(exercise), exercise.reference, *exercise.mistakes.values()]
    found: frozenset[int] = frozenset()
    for source in sources:
        try:
            found |= fingerprints(inspect.getsource(source))
        except (OSError, TypeError):  # made by a class or a partial, which has no text
            continue
    return found


def fingerprints(source: str) -> frozenset[int]:
    """Return the fingerprints of Python source; none of what is no Python or too short."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    words = list(_tokens(tree))
    hashes = [zlib.crc32(" ".join(words[i : i + RUN]).encode()) for i in range(len(words) - RUN + 1)]
    windows = range(max(1, len(hashes) - WINDOW + 1))
    return frozenset(min(hashes[i : i + WINDOW]) for i in windows if hashes[i : i + WINDOW])


def _tokens(tree: ast.AST) -> Iterator[str]:
    """Yield what stays when names, texts, comments, docstrings and annotations change."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield _word(node)
        pending += reversed(
            [child for child in ast.iter_child_nodes(node) if not _is_decoration(node, child)]
        )


def _word(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"  # of a library: no student has chosen it
    if isinstance(node, ast.keyword):
        return f"{node.arg}="
    if isinstance(node, ast.Constant):
        return repr(node.value) if isinstance(node.value, int | float) else "text"
    return type(node).__name__


def _is_decoration(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(child, ast.expr_context):
        return True
    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
        return True  # a docstring
    return child in (getattr(parent, "annotation", None), getattr(parent, "returns", None))


def body(pairs: Sequence[Pair]) -> str:
    """Return the HTML of a page that shows both texts of each pair."""
    if not pairs:
        return "<h1>Answers that read alike</h1><p>No two answers read alike.</p>"
    said = (
        "<p>A list of pairs to look at. It doesn't say who wrote what, nor that anybody copied: short "
        "answers have few forms, and pupils of one table think alike. Talk before you judge.</p>"
    )
    sections = []
    for pair in pairs:
        columns = "".join(
            f"<div><h3>{safe(student)}</h3><pre><code>{html.escape(text[:20_000])}</code></pre></div>"
            for student, text in zip(pair.students, pair.texts, strict=True)
        )
        head = f"<h2>{safe(pair.exercise)}: {pair.share:.0%} of the shorter answer</h2>"
        sections.append(f'<section>{head}<div class="beside">{columns}</div></section>')
    return f"<h1>Answers that read alike: {len(pairs)}</h1>{said}{''.join(sections)}"
