"""Every chapter: its frame, its size, its pictures' words; and its exercises, solved and as stubs."""

import itertools
import json
import linecache
import re
import sys
import types
from pathlib import Path

import pytest
from nbval.plugin import get_sanitize_patterns

from dl_course.authoring.build import chapter
from dl_course.authoring.lesson import read_lesson
from dl_course.exercises import checking
from dl_course.exercises.checking import check, hint
from dl_course.exercises.checks import all_exercises
from dl_course.notebooks import needed_by, read, tags

pytestmark = pytest.mark.timeout(300)  # it trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parent.parent
LESSONS = {path.stem: read_lesson(path) for path in sorted((ROOT / "solutions").glob("[0-9][0-9]*_*.py"))}
STORED = {path.stem: read(path) for path in sorted((ROOT / "chapters").glob("*.ipynb"))}


def number(stem):
    """Return a chapter's number, "05", or "05b" of a second part."""
    return stem.partition("_")[0]


EXERCISES = [
    pytest.param(stem, each.name, id=f"{number(stem)} {each.name}")
    for stem, lesson in LESSONS.items()
    for each in lesson.exercises.values()
]
KNOWN_TAGS = {"exercise", "check", "solution", "hide-input", "bootstrap"}
KNOWN_TAGS |= {"nbval-ignore-output", "nbval-skip", "skip-execution", "raises-exception"}
LONG_ALLOWED = {"exercise", "solution", "bootstrap"}
MACHINE = re.compile(r"(?<![\w.~/-])/(?:work|root|home|tmp|Users|private|opt)/[\w.]")

every_chapter = pytest.mark.parametrize("notebook", STORED.values(), ids=STORED.keys())
count = itertools.count()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def loaded(stem, name, solved):
    """Return an exercise of a lesson, loaded with what it needs alone, as from a cell."""
    cells = code_cells(chapter(LESSONS[stem], ROOT, solved=solved))
    source = needed_by([cell.source for cell in cells if "solution" not in tags(cell)], name)
    assert not {"check", "solution"} & set(re.findall(r"\w+", source.partition("def ")[0]))
    module = types.ModuleType(f"lesson_{next(count)}")
    file = f"<{module.__name__}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module  # where dataclasses and type hints look names up
    exec(compile(source, file, "exec"), module.__dict__)
    return vars(module)[name]


@pytest.mark.parametrize(("stem", "name"), EXERCISES)
def test_the_solution_of_a_lesson_passes_its_check(stem, name, home, monkeypatch, patient):
    monkeypatch.chdir(ROOT / "dl_course/models/trained")  # there lies what chapter 06's challenge hands in
    outcome = check(loaded(stem, name, solved=True))
    assert outcome.passed, outcome


@pytest.mark.parametrize(("stem", "name"), EXERCISES)
def test_the_stub_can_be_defined_and_counts_as_not_attempted(stem, name, home):
    outcome = check(loaded(stem, name, solved=False))
    assert outcome.status == "not attempted", outcome
    assert "not attempted yet" in outcome.headline


@pytest.mark.parametrize(("stem", "name"), EXERCISES)
def test_a_prompt_for_an_assistant_holds_no_line_of_the_solution_but_what_stub_and_hint_quote(
    stem, name, home
):
    answer = next(each for each in LESSONS[stem].exercises.values() if each.name == name)
    lines = {line.strip().partition("  #")[0] for line in answer.solved().splitlines()}
    told = answer.stub() + all_exercises()[name].hints[0]
    telling = {line for line in lines if len(line) > 15 and line[0] != "#" and line not in told}
    checking._rungs.clear()
    prompt = hint.prompt(loaded(stem, name, solved=False))
    assert telling and "raise NotImplementedError" in prompt
    assert [line for line in telling if line in prompt] == []


def test_every_lesson_is_a_chapter_and_every_exercise_with_a_check_stands_in_its_lesson():
    assert list(STORED) == list(LESSONS)
    chapters = {number(stem) for stem in LESSONS}
    known = {(each.chapter, name) for name, each in all_exercises().items() if each.chapter in chapters}
    assert known == {(number(parameter.values[0]), parameter.values[1]) for parameter in EXERCISES}


@pytest.mark.parametrize("stem", LESSONS)
def test_a_chapter_has_four_to_eight_exercises(stem):
    assert 4 <= len(LESSONS[stem].exercises) <= 8


@pytest.mark.parametrize("stem", STORED)
def test_a_stored_chapter_takes_at_most_one_and_a_half_megabytes(stem):
    assert (ROOT / "chapters" / f"{stem}.ipynb").stat().st_size <= 1.5e6


@pytest.mark.parametrize("stem", STORED)
def test_a_chapter_opens_with_badge_outcomes_time_and_needs(stem):
    opening = STORED[stem].cells[0].source
    assert opening.startswith(f"# {number(stem)} · ")
    assert f"/chapters/{stem}.ipynb)" in opening.splitlines()[2]
    for heading in ("**You will be able to**", "**Time:**", "**You need:**"):
        assert heading in opening
    assert len(re.findall("^- ", opening, re.MULTILINE)) >= 2


@pytest.mark.parametrize("stem", STORED)
def test_a_chapter_closes_with_summary_progress_and_further_reading(stem):
    summary, shown, reading = STORED[stem].cells[-3:]
    assert "## Summary" in summary.source and "## Check yourself" in summary.source
    assert shown.source == f'progress("{number(stem)}")'
    assert reading.source.startswith("## Further reading") and reading.source.count("\n- ") >= 2


@every_chapter
def test_a_chapter_stores_neither_widgets_nor_errors_nor_the_chance_order_of_runs(notebook):
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    errors = [
        cell.source for cell in code_cells(notebook) for out in cell.outputs if out.output_type == "error"
    ]
    assert errors == []
    run = [cell.execution_count for cell in code_cells(notebook) if cell.execution_count is not None]
    assert run == list(range(1, len(run) + 1))


@every_chapter
def test_every_picture_has_the_words_of_its_cell(notebook):
    for cell in code_cells(notebook):
        pictures = [out for out in cell.outputs if "image/png" in out.get("data", {})]
        assert all(out.metadata["image/png"] == {"alt": cell.metadata.get("alt")} for out in pictures), (
            cell.source
        )
        assert len(cell.metadata.get("alt", "x" * 20)) >= 20, cell.source


@every_chapter
def test_code_fits_the_page(notebook):
    wide = [line for cell in code_cells(notebook) for line in cell.source.splitlines() if len(line) > 96]
    assert wide == []
    plain = [cell.source for cell in code_cells(notebook) if not tags(cell) & LONG_ALLOWED]
    assert [source for source in plain if len(source.splitlines()) > 15] == []


def machine_paths(text):
    """Return what looks like a folder of one machine, in JSON."""
    return MACHINE.findall(text.replace("\\n", "\n"))


@every_chapter
def test_no_stored_output_names_a_folder_of_the_machine_that_built_it(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [found for output in outputs for found in machine_paths(json.dumps(output))] == []


@every_chapter
def test_tags_are_known_and_a_cell_that_is_not_run_is_not_compared_either(notebook):
    for cell in notebook.cells:
        assert tags(cell) <= KNOWN_TAGS, cell.source
        assert ("nbval-skip" in tags(cell)) == ("skip-execution" in tags(cell)), cell.source


def test_a_made_up_path_would_be_found():
    tops = ("work", "root", "home", "tmp", "Users", "private", "opt")
    ways = ("at /{}/course/.venv", '"/{}/tmpab/x"', "'/{}/.cache'", "a\n/{}/me", "(/{}/me)")
    for text in (way.format(top) for top in tops for way in ways):
        assert machine_paths(json.dumps({"text": text})), text
    for text in ("dl-course/tmp/x", "~/home/x", "a share of 1/2", "work/x", "/lab/tree"):
        assert not machine_paths(json.dumps({"text": text})), text


def test_nbvals_patterns_blank_what_varies_and_nothing_else():
    patterns = get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text("utf-8"))

    def blanked(text):
        for regex, shown in patterns:
            text = re.sub(regex, shown, text)
        return text

    assert (
        blanked("<A at 0x7f3a12345678>")
        == blanked("<A at 0x55d9deadbeef>")
        != blanked("<B at 0x55d9deadbeef>")
    )
    assert blanked("/tmp/ipykernel_12/34.py:1: W") == blanked("/tmp/ipykernel_999/1.py:1: W")
    assert blanked("<Figure size 640x480 with 1 Axes>") == blanked("<Figure size 800x260 with 16 Axes>")
    assert blanked("took 1.2 s, 3 ms") == blanked("took 17 s, 40.5 ms")
    for text in ("accuracy 0.98, 12 pictures", "torch.Size([2, 3])", "0.12 seconds", "18 samples"):
        assert blanked(text) == text
