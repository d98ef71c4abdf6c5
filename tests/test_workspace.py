"""The learner's copies in work/: made when missing, never overwritten, brought back on request."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dl_course.exercises.progress_file import progress
from dl_course.notebooks import read
from dl_course.workspace import course_root, prepare, reset

STUB = 'def {0}(x):\n    raise NotImplementedError("Your turn: {0}")'


@pytest.fixture
def root(tmp_path, monkeypatch, home):
    """A course with two built chapters."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "chapters").mkdir()
    cells = [exercise(name) for name in ("standardize", "seeded_split")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "chapters" / "01_setup.ipynb")
    nbformat.write(new_notebook(), tmp_path / "chapters" / "02_basics.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exercise(name):
    return new_code_cell(STUB.format(name), id=f"exercise-{name}", metadata={"tags": ["exercise"]})


def answered(root, *sources):
    """Put the learner's cells into work/01_setup.ipynb; return its text."""
    prepare(root)
    path = root / "work" / "01_setup.ipynb"
    cells = [
        new_code_cell(source, execution_count=1, metadata={"tags": [tag] if tag else []})
        for source, tag in sources
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path.read_text("utf-8")


def mine(root):
    return [cell.source for cell in read(root / "work" / "01_setup.ipynb").cells]


def kept(root):
    return [path.read_text("utf-8") for path in sorted((root / "work" / "before_reset").iterdir())]


def test_prepare_copies_what_is_missing_and_overwrites_nothing(root):
    assert prepare(root) == ["new: work/01_setup.ipynb", "new: work/02_basics.ipynb"]
    (root / "work" / "01_setup.ipynb").write_text("my work", "utf-8")
    (root / "work" / "02_basics.ipynb").unlink()
    assert prepare(root) == ["new: work/02_basics.ipynb"]
    assert (root / "work" / "01_setup.ipynb").read_text("utf-8") == "my work"
    assert prepare(root) == []


def test_the_course_is_found_from_any_folder_inside_it_and_a_folder_without_chapters_is_named(
    root, monkeypatch
):
    (root / "work" / "deep").mkdir(parents=True)
    monkeypatch.chdir(root / "work" / "deep")
    assert course_root() == root
    monkeypatch.setattr("dl_course.workspace.repository_root", lambda: None)
    with pytest.raises(FileNotFoundError, match="inside a clone"):
        course_root()


def test_resetting_an_exercise_brings_its_stub_back_and_leaves_the_rest(root):
    before = answered(
        root, ("mine = 1", ""), ("def standardize(x):\n    return x", "exercise"), ("y = 2", "")
    )
    done = reset(root, "standardize")
    assert mine(root) == ["mine = 1", STUB.format("standardize"), "y = 2"]
    assert kept(root) == [before]
    assert "before_reset" in done[0] and "standardize in work/01_setup.ipynb is the stub again" in done[1]
    cell = read(root / "work" / "01_setup.ipynb").cells[1]
    assert (cell.outputs, cell.execution_count) == ([], None)


def test_of_several_cells_with_the_answer_the_last_is_reset_and_never_the_solution(root):
    first, last = "def standardize(x):\n    return 1", "# again\ndef standardize(x):\n    return 2"
    solution = "@solution\ndef standardize(x):\n    return 3"
    answered(root, (first, "exercise"), (last, ""), (solution, "solution"))
    reset(root, "standardize")
    assert mine(root) == [first, STUB.format("standardize"), solution]


def test_an_exercise_whose_cell_was_deleted_is_appended(root):
    answered(root, ("mine = 1", ""))
    assert "at the end of the notebook" in reset(root, "seeded_split")[-1]
    assert mine(root) == ["mine = 1", STUB.format("seeded_split")]


@pytest.mark.parametrize("name", ["01", "01_setup", "01_setup.ipynb"])
def test_resetting_a_chapter_brings_all_of_it_back_and_keeps_the_old_version(root, name):
    before = answered(root, ("mine = 1", ""))
    reset(root, name)
    assert (root / "work" / "01_setup.ipynb").read_bytes() == (
        root / "chapters" / "01_setup.ipynb"
    ).read_bytes()
    assert kept(root) == [before]


def test_every_reset_keeps_a_version_of_its_own_also_within_a_second(root):
    before = answered(
        root, ("def standardize(x):\n    return x", ""), ("def seeded_split(x):\n    return x", "")
    )
    reset(root, "standardize")
    between = (root / "work" / "01_setup.ipynb").read_text("utf-8")
    reset(root, "seeded_split")
    assert sorted(kept(root)) == sorted([before, between])


def test_a_reset_where_there_is_no_copy_yet_makes_one_and_keeps_nothing(root):
    assert reset(root, "standardize") == ["work/01_setup.ipynb is as it was built"]
    assert not (root / "work" / "before_reset").exists()


def test_a_damaged_notebook_is_kept_and_its_chapter_can_be_brought_back(root):
    prepare(root)
    (root / "work" / "01_setup.ipynb").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="is not a notebook"):
        reset(root, "standardize")
    reset(root, "01")
    assert set(kept(root)) == {"{"}
    assert mine(root) == [STUB.format("standardize"), STUB.format("seeded_split")]


def test_a_reset_forgets_the_progress_of_what_it_resets_alone(root):
    def passed():
        return set(json.loads(progress.path.read_text("utf-8"))["exercises"])

    names = {"standardize", "seeded_split", "pairwise_distances"}
    for name in names | {"of another chapter"}:
        progress.record(name, "passed")
    reset(root, "standardize")
    assert passed() == names - {"standardize"} | {"of another chapter"}
    reset(root, "01")
    assert passed() == {"of another chapter"}


@pytest.mark.parametrize(("name", "suggested"), [("standardise", "standardize"), ("02_basic", "02_basics")])
def test_an_unknown_name_suggests_the_nearest_and_changes_nothing(root, name, suggested):
    before = answered(root, ("mine = 1", ""))
    with pytest.raises(ValueError, match=f"named '{name}'; did you mean '{suggested}'"):
        reset(root, name)
    assert (root / "work" / "01_setup.ipynb").read_text("utf-8") == before
    assert not (root / "work" / "before_reset").exists()
