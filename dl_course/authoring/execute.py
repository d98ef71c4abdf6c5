"""Running a chapter as a learner would find it, and keeping only outputs that are fit to commit."""

from __future__ import annotations

import os
import tempfile
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageChops, ImageStat

from dl_course.authoring.stubs import LessonError
from dl_course.notebooks import KERNEL, Cell, Notebook


def execute(notebook: Notebook, root: Path, timeout: int = 300) -> Notebook:
    """Run the notebook in an empty folder, offline, without progress; keep outputs fit to commit."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"DL_COURSE_HOME": folder, "TMPDIR": folder}
        env |= {"DL_COURSE_OFFLINE": "1", "PYTHONHASHSEED": "0", "DL_COURSE_LANGUAGE": "en"}
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=timeout, resources=where, kernel_name="python3")
        client.store_widget_state = client.record_timing = False
        client.execute(env=env)
        paths = {folder: "work", str(root): "dl-course", str(Path.home()): "~"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_without_paths(_fit(output, cell), paths) for output in cell.outputs]
    notebook.metadata = nbformat.from_dict(KERNEL)
    return notebook


def _fit(output: Any, cell: Cell) -> Any:
    """Drop widget views, which show as broken without their state; give a picture words and few bytes."""
    data = output.get("data", {})
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if "image/png" in data:
        if "alt" not in cell.metadata:
            raise LessonError(
                f'this cell draws a picture and has no alt="…" that says what is on it:\n{cell.source[:200]}'
            )
        output.metadata["image/png"] = {"alt": cell.metadata["alt"]}
        data["image/png"] = _smaller(data["image/png"])
    return output


def _smaller(png: str) -> str:
    """Return the same picture in fewer bytes: without opacity where it is opaque, packed well.

    With a palette where nobody sees the difference: a root mean square of at most 1.5 of 255 levels, as plots
    have and photographs don't.
    """
    picture: Image.Image = Image.open(BytesIO(b64decode(png)))
    opaque = picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255)
    picture = picture.convert("RGB") if opaque else picture
    if picture.mode == "RGB":
        few = picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
        apart = ImageStat.Stat(ImageChops.difference(picture, few.convert("RGB")))
        picture = few if max(apart.rms) <= 1.5 else picture
    packed = BytesIO()
    picture.save(packed, "PNG", optimize=True)
    return b64encode(packed.getvalue()).decode()


def _without_paths(item: Any, paths: dict[str, str]) -> Any:
    """Return the output with folders of this machine replaced, wherever a text names them."""
    if isinstance(item, str):
        for path, shown in paths.items():
            item = item.replace(path, shown)
        return item
    if isinstance(item, list):
        return [_without_paths(each, paths) for each in item]
    if isinstance(item, dict):
        return nbformat.from_dict({key: _without_paths(each, paths) for key, each in item.items()})
    return item
