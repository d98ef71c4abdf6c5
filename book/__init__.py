"""The book: the course as a web site, an e-book and a PDF, by Sphinx. It runs no lesson."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "book"
BUILD = ROOT / "build" / "book"


class BookError(Exception):
    """Something that the book needs is missing; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Project:
    """What pyproject.toml says: the one place that holds these."""

    version: str
    description: str
    repository: str
    site: str

    @classmethod
    def read(cls, root: Path = ROOT) -> Project:
        """Return it; BookError where an address is missing."""
        stated = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
        try:
            repository, site = (stated["urls"][name].rstrip("/") for name in ("Repository", "Documentation"))
        except KeyError as error:
            raise BookError(f"pyproject.toml has no address {error} in [project.urls]") from error
        return cls(stated["version"], stated["description"], repository, site)

    def source(self, path: str) -> str:
        """Return the address of a file in the hosting repository, at this version."""
        return f"{self.repository}/blob/v{self.version}/{path}"

    def openers(self, path: str) -> dict[str, str]:
        """Return, by name, the addresses that open a notebook where nothing need be installed."""
        hosted = self.repository.partition("github.com/")[2]
        if not hosted:
            return {}
        lab = path.replace("/", "%2F")
        return {
            "Colab": f"https://colab.research.google.com/github/{hosted}/blob/v{self.version}/{path}",
            "Codespaces": f"https://codespaces.new/{hosted}",
            "Binder": f"https://mybinder.org/v2/gh/{hosted}/v{self.version}?labpath={lab}",
        }
