"""A registry: names to builders, so that a configuration file can say what to build."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
Builder = TypeVar("Builder", bound=Callable[..., Any])


def nearest(given: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" when a known name is close to the given one, else the names there are."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names) or 'none'}"


class Registry:
    """Builders by name. Register with the decorator, build from a name or a configuration.

    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register("square")
    ... def square(side=1): return side * side
    >>> SHAPES.build({"name": "square", "side": 3})
    9
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Return a decorator that files a builder under the name; ValueError where the name is taken."""
        if name in self._builders:
            raise ValueError(f"{self.kind} '{name}' is registered already, as {self._builders[name]!r}")

        def remember(builder: Builder) -> Builder:
            self._builders[name] = builder
            return builder

        return remember

    def get(self, name: str) -> Callable[..., Any]:
        """Return the builder of that name; ValueError names the nearest one that exists."""
        if not isinstance(name, str) or name not in self._builders:
            raise ValueError(f"unknown {self.kind} '{name}'{nearest(str(name), self._builders)}")
        return self._builders[name]

    def build(self, config: str | Mapping[str, Any], **extra: Any) -> Any:
        """Build from a name, or from a mapping with the key "name" and the builder's own arguments."""
        arguments = {"name": config} if isinstance(config, str) else dict(config)
        if "name" not in arguments:
            raise ValueError(f"a {self.kind} configuration needs the key 'name'; given: {sorted(arguments)}")
        builder = self.get(arguments.pop("name"))
        arguments |= extra
        accepted = inspect.signature(builder).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            for key in arguments.keys() - accepted.keys():
                raise ValueError(
                    f"{self.kind} '{_name(self, builder)}' takes no '{key}'{nearest(key, accepted)}"
                )
        for key, parameter in accepted.items():
            if parameter.default is parameter.empty and parameter.kind in NAMED and key not in arguments:
                raise ValueError(f"{self.kind} '{_name(self, builder)}' needs '{key}'")
        return builder(**arguments)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._builders))

    def __contains__(self, name: object) -> bool:
        return name in self._builders

    def __len__(self) -> int:
        return len(self._builders)

    def __repr__(self) -> str:
        return f"{len(self)} {self.kind}s: {', '.join(self)}"


def _name(registry: Registry, builder: Callable[..., Any]) -> str:
    return next(name for name in registry if registry.get(name) is builder)
