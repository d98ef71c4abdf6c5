"""The built site, read as files: links, pictures, exercises, sizes, and what search engines are told."""

import re
import struct
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from book import Project
from book.chapters import read_chapters
from book.editions import editions
from dl_course.exercises.checks import find_exercise

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Sphinx and ipywidgets
    pytest.mark.timeout(600),  # the first builds the site
]
ROOT = Path(__file__).resolve().parents[2]
PROJECT = Project.read()
CHAPTERS = read_chapters(ROOT)
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}


class Page(HTMLParser):
    """The tags of a page with their attributes, and every id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}

    def all(self, tag):
        return [found for name, found in self.tags if name == tag]


@cache
def read(path):
    return Page(path.read_text("utf-8"))


def pages(site):
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def text_of(site, name):
    return (site / name).read_text("utf-8")


def test_every_internal_link_and_every_anchor_leads_somewhere(site):
    lost = []
    for path in pages(site):
        base = site if path.name == "404.html" else path.parent  # 404.html has a <base>
        for link in [found["href"] for found in read(path).all("a") if found.get("href")]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (base / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchored = (
                not parts.fragment or unquote(parts.fragment) in read(target).ids
                if target.is_file()
                else False
            )
            lost += [] if anchored else [f"{path.relative_to(site)}: {link}"]
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(site):
    asked = [
        f"{path.name}: {found.get(LOADED.get(tag, 'href'))}"
        for path in pages(site)
        for tag, found in read(path).tags
        if (tag in LOADED or (tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon")))
        and re.match(r"(https?:)?//", found.get(LOADED.get(tag, "href")) or "")
    ]
    assert asked == []
    styles = [path for path in (site / "_static").rglob("*.css")]
    assert [
        path.name
        for path in styles
        if re.search(r"(@import|url\()[\s\"']*(https?:)?//", path.read_text("utf-8"))
    ] == []


def test_every_picture_has_words_and_a_size_and_waits_until_it_is_looked_at(site):
    pictures = [(path, found) for path in pages(site) for found in read(path).all("img")]
    assert len(pictures) > 100
    assert [(path.name, found) for path, found in pictures if not found.get("alt")] == []
    assert {found.get("loading") for _, found in pictures} == {"lazy"}
    for path, found in pictures:
        if found["src"].endswith(".png") and "width" in found:
            size = struct.unpack(">II", (path.parent / found["src"]).read_bytes()[16:24])
            assert int(found["width"]) * size[1] == pytest.approx(int(found["height"]) * size[0], rel=0.01)


def test_no_page_weighs_more_than_1_5_megabytes_before_its_pictures(site):
    assert {path.name: path.stat().st_size for path in pages(site) if path.stat().st_size > 1_500_000} == {}


def test_chapters_come_in_order_each_with_its_own_number_once(site):
    listed = re.findall(
        r'reference internal" href="chapters/(\w+)\.html">([^<]+)', text_of(site, "chapters.html")
    )
    in_order = list(dict.fromkeys(stem for stem, _ in listed))
    assert in_order == [chapter.stem for chapter in CHAPTERS]
    for chapter in CHAPTERS:
        title = re.search(r"<h1>(.*?)<a", text_of(site, f"chapters/{chapter.stem}.html"))[1]
        assert re.match(r"\d\d\w? · \D", title)


def test_each_exercise_shows_stub_hints_one_inside_the_other_and_solution_all_folded(site):
    for chapter in CHAPTERS:
        text = text_of(site, f"chapters/{chapter.stem}.html")
        boxes = dict(re.findall(r'aria-label="Exercise (\w+)">(.*?)</section>', text, re.DOTALL))
        assert list(boxes) == chapter.exercises
        for name, box in boxes.items():
            assert "<details open" not in box and box.count("<details>") == box.count("</details>")
            summaries = re.findall(r"<summary>(.*?)</summary>", box)
            hints = len(find_exercise(name).hints)
            ladder = [f"Hint {number} of {hints}" for number in range(1, hints + 1)]
            assert summaries == ["The stub: where you begin", *ladder, "The solution"]
            assert "Your turn" in box.partition("The solution")[0]
            assert "Your turn" not in box.partition("The solution")[2]
            assert len(re.findall(r"</p>\n<details><summary>Hint", box)) == max(
                0, hints - 1
            )  # each in the last


def test_links_from_chapters_to_code_go_to_the_hosting_repository_at_this_version(site):
    sources = [
        found["href"]
        for path in (site / "chapters").glob("*.html")
        for found in read(path).all("a")
        if "/dl_course/" in found.get("href", "") and found["href"].endswith(".py")
    ]
    assert sources and all(
        link.startswith(f"{PROJECT.repository}/blob/v{PROJECT.version}/") for link in sources
    )
    assert all((ROOT / link.partition(f"/v{PROJECT.version}/")[2]).is_file() for link in sources)


def test_formulas_are_mathml_and_need_no_script(site):
    text = text_of(site, "chapters/02_neural_basics.html")
    assert text.count("<math ") > 5 and "MathJax" not in text and "katex" not in text


def test_a_page_tells_other_sites_what_it_is_and_shows_a_card(site):
    for chapter in CHAPTERS:
        found = read(site / "chapters" / f"{chapter.stem}.html").all("meta")
        metas = {each.get("property"): each.get("content") for each in found}
        assert metas["og:image"] == f"{PROJECT.site}/stable/_static/cards/{chapter.stem}.png"
        card = site / "_static" / "cards" / f"{chapter.stem}.png"
        assert struct.unpack(">II", card.read_bytes()[16:24]) == (1200, 630)
        assert len(metas["og:description"]) > 40


def test_the_map_of_the_site_lists_its_pages_and_robots_are_told_where_it_is(site):
    listed = re.findall(r"<loc>(.*?)</loc>", text_of(site, "sitemap.xml"))
    assert all((site / url.removeprefix(f"{PROJECT.site}/stable/")).is_file() for url in listed)
    assert len(listed) >= len(CHAPTERS) + 20
    assert f"{PROJECT.site}/stable/sitemap.xml" in text_of(site, "robots.txt")


def test_the_page_for_wrong_addresses_finds_its_files_from_any_depth(site):
    base = urlsplit(PROJECT.site).path
    assert read(site / "404.html").all("base") == [{"href": f"{base}/stable/"}]


def test_the_reference_lists_parameters_one_by_one_and_leaves_no_markup_in_the_text(site):
    text = text_of(site, "api/explain.html")
    entry = text[text.index('id="dl_course.explain.gradcam"') :][:6000]
    assert re.search(r"<strong>images</strong> – \(N, C, H, W\)", entry)
    for path in (site / "api").glob("*.html"):
        assert "system-message" not in path.read_text("utf-8") and "``" not in path.read_text("utf-8")


TRANSLATED = {language: [each.stem for each in chapters] for language, chapters in editions().items()}


def test_a_translated_chapter_stands_beside_the_english_one_and_each_leads_to_the_other(site):
    assert TRANSLATED["zh_CN"]
    for stem in TRANSLATED["zh_CN"]:
        theirs = text_of(site, f"zh_CN/chapters/{stem}.html")
        assert '<html lang="zh-CN"' in theirs and f'href="../../chapters/{stem}.html">English' in theirs
        assert f'href="../zh_CN/chapters/{stem}.html">中文' in text_of(site, f"chapters/{stem}.html")
        outline = re.compile(r'<section class="exercise" id="([\w-]+)"')
        assert outline.findall(theirs) == outline.findall(text_of(site, f"chapters/{stem}.html"))


def test_the_chinese_search_knows_chinese_words_and_finds_its_stemmer(site):
    index = text_of(site, "zh_CN/searchindex.js")
    assert "张量" in index or "\\u5f20\\u91cf" in index
    assert "ChineseStemmer" not in text_of(site, "zh_CN/_static/language_data.js").split("window.")[-1]
