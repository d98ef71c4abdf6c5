"""Chapter 07's commands for versions of data, as they stand in the lesson, run by git and DVC themselves."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

LESSON = Path(__file__).parents[2] / "solutions" / "07_experiments.py"


@pytest.mark.skipif(not (shutil.which("dvc") and shutil.which("git")), reason="needs git and DVC")
def test_the_lessons_commands_bring_the_pictures_of_march_back(tmp_path):
    text = LESSON.read_text().partition("### Data have versions")[2]
    keep, go_back = (
        re.sub("^# ?", "", block, flags=re.MULTILINE)
        for block in re.findall(r"```sh\n(.*?)# ```", text, re.S)[:2]
    )
    assert "dvc push" in keep and "dvc pull" in go_back
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    work = tmp_path / "project"
    picture = work / "pictures" / "1.png"
    picture.parent.mkdir(parents=True)

    def run(commands, where=work):
        told = commands.replace("/mnt/store", str(tmp_path / "store"))
        env = {**os.environ, **who, "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            ["bash", "-ec", told], cwd=where, env=env, capture_output=True, text=True, timeout=120
        )
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    picture.write_bytes(b"of March")
    run(keep)
    march = run("git rev-parse HEAD")
    picture.write_bytes(b"of April")
    run("dvc add pictures && git commit -qam 'Pictures of April' && dvc push")
    run(f"git clone -q {work} {tmp_path}/elsewhere")
    for place in (work, tmp_path / "elsewhere"):
        run(go_back.replace("<commit>", march), place)
        assert (place / "pictures" / "1.png").read_bytes() == b"of March"
