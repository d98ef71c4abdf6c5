"""`dl-course build`: which lessons, where to, and what --check says and returns."""

import pytest

from dl_course.authoring import command
from dl_course.authoring.command import build_chapters
from dl_course.notebooks import read
from tests.authoring.cells import CHECK_DOUBLE, DOUBLE

PRINT = '# %%\nprint("ok")'
SKIPPED = '# %% tags=["skip-execution"]\nraise SystemExit'


@pytest.fixture
def built(course, monkeypatch):
    """Two lessons, built by an executor that only counts."""

    def execute(notebook, root):
        for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
            cell.execution_count = None if "skip-execution" in cell.metadata.get("tags", []) else number + 1
        return notebook

    monkeypatch.setattr(command, "execute", execute)
    course.write(PRINT, DOUBLE, CHECK_DOUBLE, name="90_a")
    course.write(PRINT, SKIPPED, name="91_b")
    assert build(course) == 0
    return course


def build(course, *names, check=False, run=True, solved=None):
    return build_chapters(course.root, names, check, run, solved)


def chapter_names(course):
    return sorted(path.name for path in (course.root / "chapters").iterdir())


def test_all_lessons_are_built_and_then_check_finds_nothing(built, capsys):
    assert chapter_names(built) == ["90_a.ipynb", "91_b.ipynb"]
    assert build(built, check=True) == 0
    assert "chapters/ is what solutions/ makes" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["91", "91_b"])
def test_a_named_lesson_is_built_alone(built, name):
    for path in (built.root / "chapters").iterdir():
        path.unlink()
    build(built, name)
    assert chapter_names(built) == ["91_b.ipynb"]


def test_an_unknown_name_suggests_the_nearest(built):
    with pytest.raises(ValueError, match="no lesson is named '91_c'; did you mean '91_b'"):
        build(built, "91_c")


def test_check_writes_nothing_and_names_what_differs(built, capsys):
    path = built.root / "chapters" / "90_a.ipynb"
    path.write_text(path.read_text("utf-8").replace("Made up", "Made down", 1), "utf-8")
    before = path.read_bytes()
    assert build(built, check=True) == 1
    assert path.read_bytes() == before
    said = capsys.readouterr().out
    assert "90_a.ipynb: cell 0" in said and "91_b" not in said and "run: dl-course build" in said
    assert build(built, "91", check=True) == 0


def test_check_notices_a_chapter_that_is_not_built_and_one_that_has_no_lesson(built, capsys):
    (built.root / "chapters" / "90_a.ipynb").rename(built.root / "chapters" / "92_stray.ipynb")
    assert build(built, check=True) == 1
    said = capsys.readouterr().out
    assert "90_a.ipynb is not built" in said and "92_stray.ipynb: no lesson in solutions/ makes it" in said


def test_check_notices_cells_that_have_not_been_run(built, capsys):
    built.write('# %%\nprint("new")', DOUBLE, CHECK_DOUBLE, name="90_a")
    assert build(built, run=False) == 0
    assert build(built, check=True) == 1
    assert "90_a.ipynb: 1 cells have not been run" in capsys.readouterr().out


def test_without_execution_the_outputs_of_unchanged_cells_stay(built):
    before = read(built.root / "chapters" / "91_b.ipynb")
    build(built, run=False)
    assert read(built.root / "chapters" / "91_b.ipynb") == before


def test_solved_notebooks_go_to_their_own_folder(built, tmp_path):
    before = read(built.root / "chapters" / "90_a.ipynb")
    assert build(built, solved=tmp_path / "for instructors") == 0
    solved = read(tmp_path / "for instructors" / "90_a.ipynb")
    assert "return x + x" in next(cell.source for cell in solved.cells if cell.id == "exercise-double")
    assert read(built.root / "chapters" / "90_a.ipynb") == before
