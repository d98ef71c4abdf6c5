"""The built notebook: its cells as specified, the same on every build, compared in everything but outputs."""

import copy
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from dl_course.authoring.build import chapter, differences, stored_outputs
from dl_course.authoring.lesson import read_lesson
from dl_course.authoring.stubs import LessonError
from dl_course.notebooks import read, write
from tests.authoring.cells import CHECK_DOUBLE, CHECK_TALLY, DOUBLE, TALLY

TEXT = "# %% [markdown]\n# Look at *this*: größer ≥ kleiner."
PRINT = '# %% tags=["nbval-ignore-output"]\nprint("ok")'
PICTURE = '# %% alt="A line" editable=false\ndraw()'


@pytest.fixture
def lesson(course):
    return read_lesson(
        course.write(TEXT, DOUBLE, CHECK_DOUBLE, PRINT, PICTURE, TEXT, TALLY, CHECK_TALLY, PRINT)
    )


@pytest.fixture
def built(lesson, course):
    return chapter(lesson, course.root)


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


def test_an_exercise_becomes_stub_check_and_collapsed_solution(built):
    stub, check, solution = built.cells[3:6]
    assert [stub.id, check.id, solution.id] == ["exercise-double", "check-double", "solution-double"]
    assert stub.source == (
        'def double(x):\n    """Return 2x."""\n    raise NotImplementedError("Your turn: double")'
    )
    assert stub.metadata == {"tags": ["exercise"]}
    assert (check.source, check.metadata) == ("check(double)", {"tags": ["check"]})
    assert solution.source == (
        '# @title Solution: double\n@solution\ndef double(x):\n    """Return 2x."""\n    return x + x'
    )
    assert solution.metadata == {
        "jupyter": {"source_hidden": True},
        "cellView": "form",
        "tags": ["solution", "hide-input"],
    }


def test_text_and_code_travel_unchanged_with_their_tags_and_alt_and_nothing_else(built):
    text, code, picture = built.cells[2], built.cells[6], built.cells[7]
    assert (text.cell_type, text.source) == ("markdown", "Look at *this*: größer ≥ kleiner.")
    assert (code.source, code.metadata) == ('print("ok")', {"tags": ["nbval-ignore-output"]})
    assert (picture.source, picture.metadata) == ("draw()", {"alt": "A line"})


def test_the_title_carries_a_badge_that_opens_this_version_of_this_chapter_in_colab(course, lesson):
    toml = course.root / "pyproject.toml"
    toml.write_text(
        '[project]\nversion = "7.8.9"\nurls = {Repository = "https://github.com/some/place"}\n', "utf-8"
    )
    title, bootstrap = chapter(lesson, course.root).cells[:2]
    address = "https://colab.research.google.com/github/some/place/blob/v7.8.9/chapters/90_made_up.ipynb"
    assert title.source.startswith("# 90 · Made up\n\n[![Open in Colab](")
    assert f"({address})" in title.source
    assert 'source = "git+https://github.com/some/place@v7.8.9"' in bootstrap.source
    assert bootstrap.source.startswith("# @title ")
    assert bootstrap.metadata.jupyter.source_hidden and bootstrap.metadata.cellView == "form"


def test_a_lesson_without_a_title_is_refused(course):
    path = course.write(TEXT)
    path.write_text("# %% [markdown]\n# just words\n", encoding="utf-8")
    with pytest.raises(LessonError, match=r"90_made_up\.py, line 2: .*title"):
        chapter(read_lesson(path), course.root)


def test_the_notebook_is_valid_with_unique_ids_also_for_repeated_cells(built):
    nbformat.validate(built)
    ids = [cell.id for cell in built.cells]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if each.endswith("-2")] == [
        f"{built.cells[2].id}-2",
        f"{built.cells[6].id}-2",
    ]


def test_building_again_gives_the_same_notebook_to_the_last_id(lesson, course, built):
    assert chapter(lesson, course.root) == built


def test_an_id_changes_with_its_own_text_only(course, lesson, built):
    text = lesson.path.read_text("utf-8").replace("größer ≥ kleiner", "another", 1)
    lesson.path.write_text(text.replace("x + x", "2 * x"), "utf-8")
    again = chapter(read_lesson(lesson.path), course.root)
    changed = [
        (old.id, new.id) for old, new in zip(built.cells, again.cells, strict=True) if old.id != new.id
    ]
    assert changed == [(built.cells[2].id, again.cells[2].id), (built.cells[8].id, built.cells[2].id)]


def test_the_solved_notebook_differs_from_the_learners_in_the_exercise_cells_alone(lesson, course, built):
    solved = chapter(lesson, course.root, solved=True)
    changed = [new.id for new, old in zip(solved.cells, built.cells, strict=True) if new != old]
    assert changed == ["exercise-double", "exercise-Tally"]
    text = "\n".join(cell.source for cell in solved.cells)
    assert "SOLUTION" not in text and "NotImplementedError" not in text


def changed_source(notebook):
    notebook.cells[6].source += "\n"


def changed_prose(notebook):
    notebook.cells[2].source = notebook.cells[2].source.replace("größer", "kleiner")


def changed_tags(notebook):
    notebook.cells[6].metadata.tags = ["other"]


def changed_alt(notebook):
    notebook.cells[7].metadata.alt = "A curve"


def opened_solution(notebook):
    notebook.cells[5].metadata.jupyter.source_hidden = False


def changed_id(notebook):
    notebook.cells[6].id = "code-1"


def changed_type(notebook):
    notebook.cells[2].cell_type = "raw"


def missing_last_cell(notebook):
    notebook.cells.pop()


def missing_first_cell(notebook):
    notebook.cells.pop(0)


def extra_cell(notebook):
    notebook.cells.append(new_code_cell("1"))


def swapped_cells(notebook):
    notebook.cells[6], notebook.cells[7] = notebook.cells[7], notebook.cells[6]


def widget_state(notebook):
    notebook.metadata["widgets"] = {}


def another_kernel(notebook):
    notebook.metadata.kernelspec.name = "python2"


@pytest.mark.parametrize(
    "change",
    [
        changed_source,
        changed_prose,
        changed_tags,
        changed_alt,
        opened_solution,
        changed_id,
        changed_type,
        missing_last_cell,
        missing_first_cell,
        extra_cell,
        swapped_cells,
        widget_state,
        another_kernel,
    ],
    ids=lambda change: change.__name__,
)
def test_every_change_but_of_outputs_is_noticed(built, change):
    stored = copy.deepcopy(built)
    change(stored)
    assert list(differences(built, stored))


def test_outputs_and_execution_counts_are_no_difference_also_from_disk(built, tmp_path):
    stored = copy.deepcopy(built)
    stored.cells[6].outputs, stored.cells[6].execution_count = [new_output("stream", text="ok\n")], 3
    write(stored, tmp_path / "deep" / "x.ipynb")
    assert not list(differences(built, read(tmp_path / "deep" / "x.ipynb")))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.ipynb"]


def test_a_difference_names_the_cell_and_what_differs(built):
    stored = copy.deepcopy(built)
    changed_tags(stored)
    assert list(differences(built, stored)) == [f"cell 6 ({built.cells[6].id}): metadata differ"]


def test_outputs_are_kept_for_cells_whose_source_and_alt_text_are_unchanged(lesson, course, built, tmp_path):
    for number, cell in enumerate(cell for cell in built.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [new_output("stream", text=cell.id)], number + 1
    write(built, tmp_path / "old.ipynb")
    text = lesson.path.read_text("utf-8")
    text = re.sub("x [+] x", "x * 2", text.replace("A line", "A curve")).replace("größer", "etwas")
    lesson.path.write_text(text, "utf-8")
    again = by_id(stored_outputs(chapter(read_lesson(lesson.path), course.root), tmp_path / "old.ipynb"))
    kept = {name for name, cell in again.items() if cell.get("outputs")}
    code = {name for name, cell in again.items() if cell.cell_type == "code"}
    assert kept == code - {"solution-double", built.cells[7].id}
    assert all(again[name].outputs == [new_output("stream", text=name)] for name in kept)
    assert again["check-double"].execution_count == by_id(built)["check-double"].execution_count


def test_without_an_earlier_build_there_are_no_outputs_to_keep(built, tmp_path):
    assert stored_outputs(built, tmp_path / "none.ipynb") == built
