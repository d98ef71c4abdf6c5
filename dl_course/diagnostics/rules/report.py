"""What a rule says, and what a report says: to a reader, to a program, to a pipeline."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import pandas as pd

from dl_course.language import place, placed, say, titled, with_name

SEVERITIES = ("error", "warning", "info")
LEVELS = {"error": "error", "warning": "warning", "info": "note"}  # SARIF's words for them
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class Finding:
    """A fault of the vocabulary, how bad, where, the number measured and its limit, and what to do.

    severity: "error", "warning" or "info" · where: a layer, parameter, class or epoch, or None · because: the
    fault in the same report that brings this one with it; None for a cause.
    """

    fault: str
    severity: str
    where: str | None
    evidence: str
    advice: str
    because: str | None = None

    @property
    def head(self) -> str:
        """Severity, name and place in one line, in the reader's language as all that shows a finding."""
        head = titled(self.severity, with_name(self.fault))
        return placed(head, self.where) if self.where else head

    def result(self, path: str = "") -> dict[str, Any]:
        """Return it as a result of SARIF, at the file."""
        text = f"{self.evidence}. " + (f"Because of {self.because}." if self.because else self.advice)
        place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": path}}} if path else {}
        place |= {"logicalLocations": [{"fullyQualifiedName": self.where}]} if self.where else {}
        level = LEVELS[self.severity]
        return {"ruleId": self.fault, "level": level, "message": {"text": text}, "locations": [place]}

    def __repr__(self) -> str:
        if self.because:
            return say(f"{self.head}, because of {with_name(self.because)}: ") + say(self.evidence)
        return f"{self.head}\n    {titled('found', self.evidence)}\n    {titled('to do', self.advice)}"


@dataclass(frozen=True, repr=False)
class Report:
    """What was found: causes before their consequences, the worst first; goes round in that order.

    skipped: {fault: why its rule could not run} · notes: what happened to the loaders · measured: what the
    rules looked at, for ``plot``. It shows each cause with what it brings along below it: mend the cause.
    """

    findings: tuple[Finding, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def faults(self) -> set[str]:
        """The names of all that was found, consequences and "info" too."""
        return {finding.fault for finding in self.findings}

    @property
    def healthy(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(each.severity == "info" for each in self.findings)

    @property
    def unread(self) -> str:
        """Which loader raised, and what; "" for none. A report without findings says nothing then."""
        return "; ".join(note for note in self.notes if " raised " in note)

    def to_frame(self) -> pd.DataFrame:
        """Return a row a finding."""
        return pd.DataFrame([vars(each) for each in self.findings], columns=[*Finding.__dataclass_fields__])

    def to_json(self) -> str:
        """Return findings, what could not be looked for, and notes as JSON."""
        said = {"healthy": self.healthy, "findings": [asdict(each) for each in self.findings]}
        return json.dumps(said | {"skipped": self.skipped, "notes": self.notes}, indent=2, ensure_ascii=False)

    def to_sarif(self, path: str = "") -> str:
        """Return the findings as SARIF 2.1.0, which code hosts show beside a change.

        path: of the file to show them at, relative to the repository; "" for none.
        """
        results = [each.result(path) for each in self.findings]
        driver = {"name": "dl-course checkup", "rules": [{"id": fault} for fault in sorted(self.faults)]}
        runs = [{"tool": {"driver": driver}, "results": results}]
        return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, indent=2)

    def plot(self) -> Any:
        """Draw the measurements behind the findings, at most three; return the axes, a panel each.

        Raises ValueError where none of the findings rests on a measurement that can be drawn.
        """
        from dl_course.diagnostics.rules.drawn import draw

        return draw(self)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def _tree(self, because: str | None = None, depth: int = 0) -> Iterator[tuple[int, Finding]]:
        """Yield (depth, finding): each cause, then all that follows from it, one deeper."""
        shown = set[str]()
        for each in self.findings:
            if each.because == because:
                yield depth, each
                yield from self._tree(each.fault, depth + 1) if each.fault not in shown else ()
                shown.add(each.fault)

    def _rest(self) -> list[str]:
        whys = dict.fromkeys(self.skipped.values())
        names = [", ".join(with_name(f) for f in self.skipped if self.skipped[f] == why) for why in whys]
        missed = [f"{name}: {why}" for name, why in zip(names, whys, strict=True)]
        found = [] if self.findings else ["nothing found"]
        lines = [*found, *self.notes, *(f"not looked for: {each}" for each in missed)]
        return [say(line) for line in lines]

    def __repr__(self) -> str:
        lines = [
            f"{'    ' * depth}→ {titled(each.head, each.evidence)}" if depth else repr(each)
            for depth, each in self._tree()
        ]
        return "\n".join([*lines, *self._rest()])

    def _repr_html_(self) -> str:
        rows = []
        for depth, each in self._tree():
            cells = (
                say(each.severity),
                place(each.where or ""),
                say(each.evidence),
                "" if depth else say(each.advice),
            )
            style = f' style="padding-left: {1.5 * depth}em"' if depth else ""
            name = f"<td{style}>{'→ ' * bool(depth)}{escape(with_name(each.fault))}</td>"
            rows.append(f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
        heads = "".join(f"<th>{say(head)}</th>" for head in ("fault", "severity", "where", "found", "to do"))
        table = f"<table><tr>{heads}</tr>{''.join(rows)}</table>" if rows else ""
        return table + "".join(f"<p>{escape(line)}</p>" for line in self._rest())
