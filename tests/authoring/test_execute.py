"""A made-up chapter in one real kernel: what Run All does with answers, and which outputs are kept."""

import json
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from dl_course.authoring import execute as module
from dl_course.authoring.build import chapter
from dl_course.authoring.execute import execute
from dl_course.authoring.lesson import read_lesson
from dl_course.authoring.stubs import LessonError
from tests.authoring.cells import CHECK_DOUBLE, CHECK_SQUARE, CHECK_TRIPLE, DOUBLE, SQUARE, TRIPLE
from tests.authoring.conftest import ROOT, made_up

BEGIN = """\
# %%
import json, os
from pathlib import Path
import tests.authoring.ch90
from dl_course import check, solution
facts = {}"""
FOLDERS = (
    f"# %%\nprint(os.getcwd(), Path.home() / 'x', {str(ROOT)!r} + '/y', os.environ['DL_COURSE_OFFLINE'])"
)
NESTED = "# %%\ndisplay({'application/json': {'where': [os.getcwd()]}, 'text/plain': 'x'}, raw=True)"
PICTURE = """\
# %% alt="One dark point"
import base64
from IPython.display import Image
dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
Image(base64.b64decode(dot))"""
WIDGET = "# %%\nimport ipywidgets\nipywidgets.IntSlider(3)"
FOLLOWING = {  # what a learner, and this test, do after the solution cell of each exercise
    "double": ["facts['untouched'] = double(4)", "check(double)"],
    "triple": [
        "facts['right is kept'] = triple is mine",
        "SOLUTION",
        "facts['kept again'] = triple is mine",
        "check(triple)",
    ],
    "square": [
        "facts['wrong'] = square(3)",
        "def square(x):\n    return x ** 2\nlater = square",
        "facts['checked later'] = check(square).passed",
        "SOLUTION",
        "facts['later is kept'] = square is later",
        "def square(x):\n    return 2 * x",
        "SOLUTION",
        "facts['spoilt without a check'] = [square(3), square is later]",
    ],
}
ANSWERS = {
    "triple": "def triple(x):\n    return x + x + x\nmine = triple",
    "square": "def square(x):\n    return 2 * x",
}
END = """\
entries = json.loads(Path(os.environ["DL_COURSE_HOME"], "progress.json").read_text())["exercises"]
facts["progress"] = {name: entry["status"] for name, entry in entries.items()}
print(json.dumps(facts))"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The chapter, answered and run from top to bottom."""
    answers = DOUBLE, CHECK_DOUBLE, TRIPLE, CHECK_TRIPLE, SQUARE, CHECK_SQUARE
    with made_up(tmp_path_factory.mktemp("course")) as course:
        path = course.write(BEGIN, *answers, FOLDERS, NESTED, PICTURE, WIDGET)
        notebook = chapter(read_lesson(path), course.root)
    cells = []
    for cell in notebook.cells:
        kind, _, name = cell.id.partition("-")
        if kind == "exercise" and name in ANSWERS:
            cell.source = ANSWERS[name]
        cells.append(cell)
        if kind == "solution":
            cells += [new_code_cell(each.replace("SOLUTION", cell.source)) for each in FOLLOWING[name]]
    notebook.cells = [*cells, new_code_cell(END, id="end")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        return execute(notebook, ROOT)


@pytest.fixture(scope="module")
def facts(ran):
    return json.loads(ran.cells[-1].outputs[0].text)


def outputs_after(notebook, text):
    return next(cell.outputs for cell in notebook.cells if cell.cell_type == "code" and text in cell.source)


def shown(outputs):
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


def test_run_all_uses_the_reference_where_nothing_was_written(facts, ran):
    assert facts["untouched"] == 8
    assert "not attempted yet" in shown(outputs_after(ran, "check(double)"))
    assert "the reference solution is used" in shown(outputs_after(ran, "# @title Solution: double"))


def test_run_all_keeps_the_very_object_that_passed_however_often(facts, ran):
    assert facts["right is kept"] and facts["kept again"]
    assert "your own answer is used" in shown(outputs_after(ran, "# @title Solution: triple"))


def test_a_wrong_answer_stops_no_later_cell_and_is_replaced_by_the_reference(facts, ran):
    assert facts["wrong"] == 9
    assert "not yet" in shown(outputs_after(ran, "check(square)"))


def test_an_answer_that_passes_later_is_kept_by_rerunning_the_solution_alone(facts):
    assert facts["checked later"] and facts["later is kept"]


def test_an_object_that_has_not_passed_itself_is_replaced_though_its_exercise_has(facts):
    assert facts["spoilt without a check"] == [9, False]


def test_checking_the_reference_does_not_count(facts, ran):
    checks = [cell.outputs for cell in ran.cells if cell.source == "check(double)"]
    assert "this is the reference solution" in shown(checks[1])
    assert facts["progress"] == {"triple": "passed", "square": "passed"}


def test_no_stored_output_names_a_folder_of_this_machine(ran):
    assert shown(outputs_after(ran, "print(os.getcwd()")) == "work ~/x dl-course/y 1\n"
    assert outputs_after(ran, "application/json")[0].data["application/json"] == {"where": ["work"]}


def test_a_picture_is_stored_with_its_words(ran):
    (output,) = outputs_after(ran, "Image(")
    assert "image/png" in output.data and output.metadata["image/png"] == {"alt": "One dark point"}


@pytest.mark.parametrize("alpha, mode", [(255, "RGB"), (254, "RGBA")])
def test_a_stored_picture_has_the_same_pixels_in_fewer_bytes(alpha, mode):
    drawn = np.full((60, 80, 4), 255, np.uint8)
    drawn[20:40, 10:70, :3] = np.random.default_rng(0).integers(0, 255, (20, 60, 3))
    drawn[0, 0, 3] = alpha
    Image.fromarray(drawn).save(file := BytesIO(), "PNG", compress_level=1)
    output = new_output("display_data", {"image/png": b64encode(file.getvalue()).decode()})
    png = b64decode(module._fit(output, new_code_cell("", metadata={"alt": "Dots"})).data["image/png"])
    assert len(png) < len(file.getvalue())
    stored = Image.open(BytesIO(png))
    assert stored.mode == mode and np.array_equal(np.array(stored.convert("RGBA")), drawn)


def test_a_smooth_plot_is_stored_with_a_palette_that_nobody_sees_and_a_photograph_as_it_is():
    ramp = np.add.outer(np.arange(120), np.arange(160)).astype(np.uint8)
    plot = np.stack([ramp, ramp // 2 * 2, 255 - ramp], 2)
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    for drawn, mode, most in ((plot, "P", 1.5), (noise, "RGB", 0)):
        Image.fromarray(drawn).save(file := BytesIO(), "PNG")
        stored = Image.open(BytesIO(b64decode(module._smaller(b64encode(file.getvalue()).decode()))))
        assert stored.mode == mode
        apart = np.array(stored.convert("RGB")).astype(float) - drawn
        assert np.sqrt((apart**2).mean((0, 1))).max() <= most


def test_a_widget_leaves_its_text_and_no_view_or_state(ran):
    (output,) = outputs_after(ran, "IntSlider")
    assert output.data == {"text/plain": "IntSlider(value=3)"}
    assert set(ran.metadata) == {"kernelspec", "language_info"}
    assert all("execution" not in cell.metadata for cell in ran.cells)


def test_a_chapter_runs_offline_in_an_empty_folder_that_is_gone_afterwards(monkeypatch):
    seen = {}

    class Client:
        def __init__(self, notebook, resources, **options):
            self.folder = resources["metadata"]["path"]

        def execute(self, env):
            seen.update(env, folder=self.folder, files=list(Path(self.folder).iterdir()))

    monkeypatch.setattr(module, "NotebookClient", Client)
    execute(new_notebook(), ROOT)
    assert (seen["DL_COURSE_OFFLINE"], seen["PYTHONHASHSEED"], seen["files"]) == ("1", "0", [])
    assert seen["DL_COURSE_HOME"] == seen["folder"] and not Path(seen["folder"]).exists()


def test_a_picture_without_words_is_refused_with_its_cell(monkeypatch):
    class Client:
        def __init__(self, notebook, **options):
            self.notebook = notebook

        def execute(self, env):
            self.notebook.cells[0].outputs = [new_output("display_data", {"image/png": "iVBORw0KGgo="})]

    monkeypatch.setattr(module, "NotebookClient", Client)
    with pytest.raises(LessonError, match=r'no alt="…"(.|\n)*plot_something'):
        execute(new_notebook(cells=[new_code_cell("plot_something()")]), ROOT)
