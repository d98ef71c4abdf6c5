"""What the book makes of a chapter, and what it refuses in one sentence."""

import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest

from book import BookError, Project, build, live
from book.browser import serving
from book.chapters import Chapter, read_chapters, shown

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Sphinx and ipywidgets
    pytest.mark.timeout(600),  # the first builds the site
]
ROOT = Path(__file__).resolve().parents[2]
SETUP = read_chapters(ROOT)[0]


@pytest.fixture
def repository(tmp_path):
    """A repository with one chapter; it can be spoiled."""
    (tmp_path / "chapters").mkdir()

    def spoiled(change):
        notebook = deepcopy(SETUP.notebook)
        change(notebook)
        nbformat.write(notebook, tmp_path / "chapters" / "01_setup.ipynb")
        return tmp_path

    return spoiled


def drawing(notebook):
    return next(cell for cell in notebook.cells if "alt" in cell.metadata)


def test_a_chapter_that_was_not_run_is_refused_with_the_command_that_runs_it(repository):
    with pytest.raises(BookError, match=r"01_setup.ipynb, cell \S+: not run yet; run: dl-course build 01$"):
        read_chapters(repository(lambda notebook: drawing(notebook).update(execution_count=None)))


def test_a_picture_without_words_is_refused(repository):
    with pytest.raises(BookError, match="a picture without alt text; give the cell alt"):
        read_chapters(repository(lambda notebook: drawing(notebook).outputs[0].metadata.clear()))


def test_a_repository_without_chapters_is_refused(tmp_path):
    with pytest.raises(BookError, match=r"^chapters/ is empty; run: dl-course build$"):
        read_chapters(tmp_path)


def test_a_missing_file_of_npm_is_named_and_so_is_a_missing_npm(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "HERE", tmp_path / "book")
    monkeypatch.setattr(live, "ROOT", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        BookError, match="onnxruntime-web is missing and npm isn't installed: install Node.js"
    ):
        live.vendored("onnxruntime-web")
    (tmp_path / "book" / "node_modules" / "onnxruntime-web").mkdir(parents=True)
    with pytest.raises(BookError, match=r"book/node_modules/onnxruntime-web/dist/\S+ is missing; remove"):
        live.put_runtime(tmp_path / "ort")


def test_a_dead_link_to_elsewhere_is_named_and_a_living_one_is_not(tmp_path, monkeypatch):
    (tmp_path / "there.txt").write_text("here")
    source = tmp_path / "source-paper"
    source.mkdir()
    monkeypatch.setattr(build, "_paper", lambda folder: source)
    with serving(tmp_path) as address:
        text = f"# Links\n\n[there]({address}there.txt) [gone]({address}gone.txt)\n"
        (source / "index.md").write_text(text)
        with pytest.raises(BookError, match=r"has 1 warnings.* broken link: .*gone\.txt"):
            build.links(tmp_path)


def test_a_failed_build_says_one_sentence_and_leaves_the_old_site_as_it_was(tmp_path):
    for folder in ("html", "static"):
        (tmp_path / folder).mkdir()
    (tmp_path / "html" / "index.html").write_text("old")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.md").write_text("# Title\n\n[nowhere](missing.md)\n")
    with pytest.raises(BookError, match=r"^Sphinx has \d+ warnings?, the first of them: .*missing.md"):
        build._put(build._sphinx("html", tmp_path / "source", tmp_path), tmp_path / "html")
    assert (tmp_path / "html" / "index.html").read_text() == "old"
    assert not list(tmp_path.glob("unfinished*"))


def test_the_command_ends_with_one_line_and_no_traceback(tmp_path):
    shutil.copytree(
        ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("node_modules", "__pycache__")
    )
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    code = "import shutil, sys; shutil.which = lambda name: None; sys.argv = ['book', 'html']; "
    code += (
        f"sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from book.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("book: onnxruntime-web is missing")
    assert not (tmp_path / "build" / "book" / "html").exists()


def test_on_paper_nothing_folds_and_every_solution_stands_at_the_end(tmp_path):
    notebook = shown(SETUP, Project.read(), paper=True)
    text = "\n".join(cell.source for cell in notebook.cells)
    body, _, end = text.partition("## Solutions")
    assert "<details>" not in text and "@solution" not in text
    for name in SETUP.exercises:
        assert f"def {name}" in body and f"### `{name}`" in end and f"def {name}" in end
        assert f'raise NotImplementedError("Your turn: {name}' in body
    assert "NotImplementedError" not in end


def test_paper_has_neither_attributes_of_old_html_nor_drawings_that_name_a_file_elsewhere():
    project = Project.read()
    papers = [shown(chapter, project, paper=True) for chapter in read_chapters(ROOT)]
    outputs = [
        each.data
        for paper in papers
        for cell in paper.cells
        for each in cell.get("outputs", [])
        if "data" in each
    ]
    drawings = [each["image/svg+xml"] for each in outputs if "image/svg+xml" in each]
    tables = [each["text/html"] for each in outputs if "text/html" in each]
    assert drawings and not [each for each in drawings if "<!DOCTYPE" in each or "<svg" not in each]
    assert tables and not [each for each in tables if " valign=" in each or " border=" in each]


def test_the_badge_of_another_site_becomes_links_of_ours():
    first = shown(SETUP, Project.read()).cells[0].source
    assert "colab-badge.svg" not in first
    assert first.count("<a href=") == 3 and "Open in Colab" in first


def test_a_question_is_a_card_without_the_call_that_asked_it():
    questions = [
        cell for cell in shown(SETUP, Project.read()).cells if cell.source.strip().startswith("ask(")
    ]
    assert questions and all("remove-input" in cell.metadata["tags"] for cell in questions)


def test_a_chapter_knows_its_title_and_its_first_words():
    assert SETUP.title.startswith("01 · ") and "\n" not in SETUP.opening and not SETUP.opening.startswith("[")
    assert isinstance(SETUP, Chapter)
