"""Reading: YAML files and command lines become configurations, or an error that says where to look.

jsonargparse reads both by the dataclasses' own fields, types and defaults, and makes the options and their
help. Hydra and OmegaConf would want every field a second time to check types, and have no command's help.
"""

import re
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dl_course.experiments.config import ExperimentConfig
from dl_course.files import atomic
from dl_course.registry import nearest

FOLDER = Path(__file__).parent / "configs"


def configs() -> dict[str, Path]:
    """Return the files of the configurations that come with the course, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """Return a YAML file's experiment; or one of the course's own by its name, such as "digits_quick".

    changes: as ``changed`` takes them. ValueError with file, line and nearest valid name for an unknown key,
    a wrong type, an impossible value.
    """
    file = Path(path) if Path(path).is_file() else configs().get(str(path))
    if file is None:
        raise ValueError(
            f"no file '{path}', nor one of the course of that name{nearest(str(path), configs())}"
        )
    lines: dict[str, int] = {}
    try:
        config = _from_text(file.read_text("utf-8"), lines)
    except ValueError as error:
        key = re.match(r"[\w.]*", str(error))
        line = lines.get(key[0]) if key else None
        raise ValueError(f"{file}{f', line {line}' if line else ''}: {error}") from error
    return changed(config, changes) if changes else config


def _from_text(text: str, lines: dict[str, int]) -> ExperimentConfig:
    import yaml

    try:
        node = yaml.compose(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {error}") from error
    if node is None:
        return ExperimentConfig()
    _find_lines(node, ExperimentConfig, lines)
    return _made(lambda: _reader().parse_string(text), yaml.safe_load(text))


def _find_lines(node: Any, kind: Any, lines: dict[str, int], section: str = "") -> None:
    """Note the line of every key, from 1; ValueError for one that is unknown or stands twice."""
    known = {field.name: field.type for field in fields(kind)}
    if node.id != "mapping":
        raise ValueError(f"{section.rstrip('.') or 'the file'}: takes keys, such as {', '.join(known)}")
    for key, value in node.value:
        name = section + str(key.value)
        if name in lines:
            raise ValueError(f"{name}: stands here a second time")
        lines[name] = key.start_mark.line + 1
        if key.value not in known:
            raise ValueError(f"{name}: unknown key{_hint(name)}")
        if is_dataclass(known[key.value]):
            _find_lines(value, known[key.value], lines, f"{name}.")
        elif value.id == "mapping":
            lines |= {f"{name}.{inner.value}": inner.start_mark.line + 1 for inner, _ in value.value}


def _keys() -> dict[str, str]:
    """Return all keys with a value, such as "training.epochs", and their types' names."""
    flat: dict[str, Any] = {}
    for section in fields(ExperimentConfig):
        inner = fields(section.type) if is_dataclass(section.type) else ()
        names = {f"{section.name}.{field.name}": field.type for field in inner}
        flat |= names or {section.name: section.type}
    return {key: kind.__name__ if isinstance(kind, type) else str(kind) for key, kind in flat.items()}


def _hint(name: str) -> str:
    """The key of that name in another section, or the nearest one, in its own section if there is one."""
    section, _, leaf = name.rpartition(".")
    same = [key for key in _keys() if key.endswith(f".{leaf}")]
    near = [key for key in _keys() if section and key.startswith(f"{section}.")]
    return f"; did you mean '{same[-1]}'?" if same else nearest(name, near or _keys())


def changed(config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    """Return the experiment with other values, such as {"training.epochs": 3}; checked as a file's are."""
    values = asdict(config)
    for key, value in changes.items():
        if key not in _keys():
            raise ValueError(f"{key}: unknown key{_hint(key)}")
        section, _, name = key.rpartition(".")
        (values[section] if section else values)[name] = value
    return _made(lambda: _reader().parse_object(values), values)


def save_config(config: ExperimentConfig, path: str | Path) -> None:
    """Write the experiment with all its values, so that ``load_config`` gives an equal one."""
    import yaml

    with atomic(Path(path)) as part:
        part.write_text(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True), "utf-8")


def from_command_line(arguments: Sequence[str], **more: str) -> tuple[ExperimentConfig, dict[str, Any]]:
    """Return the experiment of --config with options such as --training.epochs 3, and the other options.

    more: those others, name to help; of them --resume RUN, too, says where a configuration is. Ends the
    process for --help. ValueError as of ``load_config``.
    """
    parser = _parser()
    others = {"config": "a YAML file, or one of the course's by its name", **more}
    for name, text in others.items():
        parser.add_argument(f"--{name}", help=text)
    given = _options(arguments)
    known = {*_keys(), *others, "help"}
    for name in given:
        if not name.startswith("model.options.") and name not in known:
            raise ValueError(f"--{name}: unknown option{_hint(name)}")
    found = _explained(lambda: parser.parse_args(list(arguments)), given)
    if file := found.config or (found.get("resume") and Path(found.resume, "config.yaml")):
        parser.set_defaults(asdict(load_config(file)))
        found = _explained(lambda: parser.parse_args(list(arguments)), given)
    rest = {name: found.pop(name) for name in others}
    return _made(lambda: found, {}), rest


def _parser() -> Any:
    try:
        import jsonargparse
    except ImportError as error:
        raise ImportError('configurations need jsonargparse: pip install "dl-course[experiments]"') from error
    parser = jsonargparse.ArgumentParser(prog="dl-course train", exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(ExperimentConfig)
    return parser


_reader = cache(_parser)  # for all but command lines, which add to it


def _made(parse: Callable[[], Any], given: Mapping[str, Any]) -> ExperimentConfig:
    values = _explained(parse, _flat(given)).as_dict()
    for key, kind in _keys().items():  # jsonargparse takes a null for anything
        section, _, leaf = key.rpartition(".")
        if (values[section] if section else values)[leaf] is None and "None" not in kind:
            raise ValueError(f"{key}: takes {kind}; given: nothing")
    kinds: dict[str, Any] = {field.name: field.type for field in fields(ExperimentConfig)}
    return ExperimentConfig(**{k: kinds[k](**v) if is_dataclass(kinds[k]) else v for k, v in values.items()})


def _explained(parse: Callable[[], Any], values: Mapping[str, Any]) -> Any:
    """Return what parse does; ValueError in place of jsonargparse's, beginning with the key.

    values: what is parsed, by key. Each is tried alone, because the parser's error says the key in prose.
    """
    try:
        return parse()
    except ArgumentError as error:
        for key in values.keys() & _keys().keys():
            if not _fits(key, values[key]):
                raise ValueError(f"{key}: takes {_keys()[key]}; given: {values[key]}") from error
        raise ValueError(str(error)) from error


def _fits(key: str, value: Any) -> bool:
    section, _, leaf = key.rpartition(".")
    try:
        _reader().parse_object({section: {leaf: value}} if section else {leaf: value})
    except ArgumentError:
        return False
    return True


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all sections by key, such as "training.epochs"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = value if isinstance(value, Mapping) else {}
        flat |= {f"{name}.{key}": each for key, each in inner.items()} or {name: value}
    return flat


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Return the values on a command line by their options' names."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            found[name] = value if has_value else following
    return found
