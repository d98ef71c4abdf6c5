"""Versions beside each other: /0.1/, /stable/, and the list that the version switch reads."""

import json
from dataclasses import replace

import pytest

from book import BookError, Project
from book.publish import publish

PROJECT = Project.read()


@pytest.fixture
def built(tmp_path):
    """A site of one page, whose words can be chosen."""

    def make(words):
        folder = tmp_path / "html"
        folder.mkdir(exist_ok=True)
        for name in ("index.html", "404.html", "robots.txt"):
            (folder / name).write_text(words)
        return folder

    return make


def test_a_newer_version_becomes_stable_and_the_older_one_stays(built, tmp_path):
    site = tmp_path / "site"
    publish(built("old"), site, replace(PROJECT, version="0.9.0"))
    assert publish(built("new"), site, replace(PROJECT, version="0.10.0")) == ["stable", "0.10", "0.9"]
    assert (site / "stable" / "index.html").read_text() == "new" == (site / "404.html").read_text()
    assert (site / "0.9" / "index.html").read_text() == "old"
    assert json.loads((site / "versions.json").read_text()) == ["stable", "0.10", "0.9"]
    assert "url=stable/" in (site / "index.html").read_text()


def test_a_patch_of_an_older_version_takes_its_place_and_leaves_stable_alone(built, tmp_path):
    site = tmp_path / "site"
    publish(built("old"), site, replace(PROJECT, version="0.1.0"))
    publish(built("new"), site, replace(PROJECT, version="0.2.0"))
    publish(built("patched"), site, replace(PROJECT, version="0.1.1"))
    assert (site / "stable" / "index.html").read_text() == "new"
    assert (site / "0.1" / "index.html").read_text() == "patched"


def test_a_site_that_is_not_built_is_refused(tmp_path):
    with pytest.raises(BookError, match="holds no site; run: make book"):
        publish(tmp_path / "html", tmp_path / "site", PROJECT)
    assert not (tmp_path / "site").exists()
