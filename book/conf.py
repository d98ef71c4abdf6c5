"""Sphinx's settings; the pages that it reads are made by book.pages."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from book import BUILD, HERE, Project, docstrings, mathml, sharing

_project = Project.read()
project = "dl_course"
version = release = _project.version
author = "the founders of dl_course"
project_copyright = f"{author}; MIT licence"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
templates_path = [str(HERE / "templates")]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
default_role = "code"
toc_object_entries = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "sphinx_book_theme"
html_title = "dl_course"
html_baseurl = f"{_project.site}/stable/"
html_static_path = [str(HERE / "static"), str(BUILD / "static")]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_last_updated_fmt = None
html_sidebars = {
    "**": ["navbar-logo.html", "search-button-field.html", "sbt-sidebar-nav.html", "version.html"]
}
html_theme_options = {
    "repository_url": _project.repository,
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "home_page_in_toc": False,
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "article_header_end": ["article-header-buttons.html"],
}

linkcheck_anchors = False  # most are made by scripts that a link checker doesn't run
linkcheck_timeout = 30
linkcheck_retries = 2
linkcheck_report_timeouts_as_broken = True
linkcheck_allow_unauthorized = True
linkcheck_ignore = [re.escape(_project.site)]

epub_show_urls = "no"
epub_basename = "dl_course"
epub_description = _project.description
epub_identifier = epub_uid = "dl_course"
epub_scheme = "title"
epub_tocdup = False
epub_css_files = ["paper.css"]


def setup(app):
    """Connect what is ours."""
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("html-page-context", sharing.describe)
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
