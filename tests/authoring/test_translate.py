"""Catalogues of a made-up chapter: begun, kept up to date, held to the English text, rendered."""

import json

import nbformat
import polib
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dl_course.authoring import translate
from dl_course.authoring.translation import faults, is_offered, path_of
from dl_course.cli import main
from dl_course.notebooks import read, stable_id, tags
from dl_course.workspace import prepare, reset

ENGLISH = "# 90 · Made up\n\nEvery picture has 3 channels.\n\nA sentence that says something else."
STUB = '''\
def standardize(x):
    """Return x, made smaller."""
    raise NotImplementedError("Your turn: standardize")'''


@pytest.fixture
def root(tmp_path, monkeypatch, home):
    """A course with a built chapter of two cells."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "chapters").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "en")
    built(tmp_path, ENGLISH)
    return tmp_path


def built(root, *texts):
    cells = [new_markdown_cell(text, id=stable_id("text", text, set())) for text in texts]
    cells.append(new_code_cell(STUB, id="exercise-standardize", metadata={"tags": ["exercise"]}))
    nbformat.write(new_notebook(cells=cells), root / "chapters" / "01_setup.ipynb")


def po(root):
    return polib.pofile(str(path_of(root, "zh_CN", "01_setup")))


def translated(root, change=None, state="complete"):
    """Translate every message into a made-up language: 「…」 around it."""
    translate.update(root, ["01"], "zh_CN")
    file = po(root)
    for entry in file:
        entry.msgstr = f"「{entry.msgid}」"
    file.metadata["X-State"] = state
    if change:
        change(file)
    file.save()


def test_a_catalogue_is_begun_as_a_draft_by_naming_its_chapter_and_not_otherwise(root, capsys):
    assert main(["translate", "--update"]) == 0
    assert "name something to begin" in capsys.readouterr().out
    assert main(["translate", "--update", "01"]) == 0
    assert "01_setup: draft: 0 translated, 0 fuzzy, 4 missing" in capsys.readouterr().out
    assert [entry.msgid for entry in po(root)][1] == "Every picture has 3 channels."
    assert main(["translate", "--check"]) == 0


def test_a_complete_catalogue_passes_and_a_second_update_changes_no_byte(root):
    translated(root)
    path = path_of(root, "zh_CN", "01_setup")
    before = path.read_bytes()
    translate.update(root, [], "zh_CN")
    assert path.read_bytes() == before
    assert translate.check(root, [], "zh_CN") == []


def test_a_changed_paragraph_is_fuzzy_with_its_old_text_and_its_neighbours_stay_translated(root):
    translated(root)
    built(root, ENGLISH.replace("3 channels", "3 channels, or 1"))
    assert len(translate.check(root, [], "zh_CN")) == 2  # missing, and no longer in the chapter
    assert "3 translated, 1 fuzzy, 0 missing" in translate.update(root, [], "zh_CN")[0]
    (entry,) = po(root).fuzzy_entries()
    assert entry.previous_msgid == "Every picture has 3 channels."
    assert entry.msgstr == "「Every picture has 3 channels.」"
    (wrong,) = translate.check(root, [], "zh_CN")
    assert "is fuzzy" in wrong


def test_what_is_new_is_missing_and_what_is_gone_leaves_the_catalogue(root):
    translated(root)
    built(root, "# 90 · Made up\n\nBrand new: nobody has ever seen this one before.")
    assert "2 translated, 0 fuzzy, 1 missing" in translate.update(root, [], "zh_CN")[0]
    assert len(po(root)) == 3
    (wrong,) = translate.check(root, [], "zh_CN")
    assert wrong.endswith("is missing")


@pytest.mark.parametrize(
    ("english", "text", "says"),
    [
        ("Call `f(x)`.", "调用 f(x)。", "another code"),
        ("See [this](a.md).", "见[这里](b.md)。", "another link"),
        ("So $x^2$.", "即 $x^3$。", "another mathematics"),
        ("{n} left", "还剩", "another placeholder"),
        ("3 of 10", "10 个里的", "another number"),
        ("All of it", "All of it", "is the English text"),
        ("| a word | b |", "| 词 |", "number of columns"),
        ("**Time:** now", "**时间：**现在", "asterisks"),
    ],
)
def test_what_a_translation_loses_is_named(english, text, says):
    (fault,) = faults(english, text)
    assert says in fault


@pytest.mark.parametrize(
    ("english", "text"),
    [
        ("**3** of `x * y` in [it](a)", "[它](a) 的 `x * y` 里有 **3** 个"),
        ("LeNet, ResNet-18 and Adam"[:15], "LeNet, ResNet-1"),
        ("n * share stays", "n * share 不变"),
        ("PyTorch", "PyTorch"),
    ],
)
def test_a_faithful_translation_has_no_faults_and_names_may_stay(english, text):
    assert list(faults(english, text)) == []


def test_a_docstring_that_would_break_its_cell_is_refused(root):
    def breaking(file):
        file[-1].msgstr = '"""'

    translated(root, breaking)
    assert any("breaks its cell's code" in each for each in translate.check(root, [], "zh_CN"))


def test_a_learner_gets_a_complete_chapter_in_the_language_and_a_draft_in_english(root, capsys):
    translated(root, state="draft")
    assert not is_offered(path_of(root, "zh_CN", "01_setup"))
    assert main(["lab", "--prepare-only", "--language", "zh_CN"]) == 0
    assert "in English: not translated into zh_CN yet" in capsys.readouterr().out
    translated(root)
    assert prepare(root, "zh_CN") == ["new: work/01_setup.ipynb"]  # the English copy was untouched
    text, stub = read(root / "work" / "01_setup.ipynb").cells
    assert text.source.splitlines()[:3] == ["# 「90 · Made up」", "", "「Every picture has 3 channels.」"]
    assert stub.source == STUB.replace("Return x, made smaller.", "「Return x, made smaller.」")
    assert (stub.id, tags(stub)) == ("exercise-standardize", {"exercise"})
    assert prepare(root, "zh_CN") == []


def test_a_copy_that_a_learner_has_worked_in_is_never_replaced_by_a_translation(root):
    prepare(root)
    mine = root / "work" / "01_setup.ipynb"
    notebook = json.loads(mine.read_text("utf-8"))
    notebook["cells"][-1]["source"] = "my answer"
    mine.write_text(json.dumps(notebook), "utf-8")
    translated(root)
    assert prepare(root, "zh_CN") == []
    assert "my answer" in mine.read_text("utf-8")


def test_a_reset_brings_an_exercise_back_in_the_readers_language(root, monkeypatch):
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "zh_CN")
    translated(root)
    reset(root, "standardize")
    reset(root, "standardize")
    assert "「Return x, made smaller.」" in read(root / "work" / "01_setup.ipynb").cells[-1].source
    assert [path.name for path in (root / "work").glob("*.built")] == []


def test_a_draft_can_be_looked_at_and_an_unknown_language_is_refused(root, capsys):
    translated(root, state="draft")
    assert main(["translate", "01", "--out", "seen"]) == 0
    assert "「Made up" not in (root / "seen" / "01_setup.ipynb").read_text("utf-8")
    assert read(root / "seen" / "01_setup.ipynb").metadata["dl_course"] == {"language": "zh_CN"}
    assert main(["translate", "--language", "xx"]) == 1
    assert "there is no translation into 'xx'; there are: en, zh_CN" in capsys.readouterr().err


def test_a_document_is_written_once_its_catalogue_is_complete_and_held_to_it(root):
    (root / "README.md").write_text("# A title\n\nSome words\nof text.\n\n```sh\nmake lab\n```\n", "utf-8")
    translate.update(root, ["README"], "zh_CN")
    assert not (root / "README.zh-CN.md").exists()
    path = path_of(root, "zh_CN", "README")
    file = polib.pofile(str(path))
    for entry in file:
        entry.msgstr = f"「{entry.msgid}」"
    file.metadata["X-State"] = "complete"
    file.save()
    translate.update(root, [], "zh_CN")
    written = root / "README.zh-CN.md"
    assert written.read_text("utf-8") == "# 「A title」\n\n「Some words of text.」\n\n```sh\nmake lab\n```\n"
    assert translate.check(root, [], "zh_CN") == []
    written.write_text("by hand", "utf-8")
    (wrong,) = translate.check(root, [], "zh_CN")
    assert "is not what its catalogue makes" in wrong
