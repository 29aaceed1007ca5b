"""The files of one's own that a config is composed of: YAML that holds settings, and nothing that acts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

from experiments.command_line import OF_HYDRA, refuse_hydra
from experiments.errors import SettingsError
from experiments.interpolation import refused_interpolation
from experiments.overrides import parse

MOST_BYTES = 1_000_000
MOST_VALUES = 10_000  # with every *alias written out: a few lines of aliases of aliases hold millions
DEEPEST = 30
AXES = ("hydra", "sweeper", "params")


def check(path: Path) -> None:
    """Check a file before anything is made of it.

    Raises:
        SettingsError: With file and line: what is no YAML, no settings, too much, endless, or would act.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= MOST_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: must be a file of settings in UTF-8, but: {error}") from error
    if not text and path.stat().st_size > MOST_BYTES:
        raise SettingsError(f"{path}: must be a file of settings, but has more than {MOST_BYTES} bytes")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise SettingsError(explain(error, path=path)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path}: must be YAML, but: {error}") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(f"{path}:{_line(root)}: must be settings, `KEY: value`, but is a list or one value")
    if problem := _problem_of_package(path, root, text):
        raise SettingsError(problem)
    if re.match(r"#\s*@package\s+hydra", text):
        raise SettingsError(f"{path}:1: must not be settings of Hydra's own; {refuse_hydra('@package hydra', 'hydra')}")
    for number, (keys, node) in enumerate(_values(root, ())):
        if number > MOST_VALUES or len(keys) > DEEPEST:
            raise SettingsError(
                f"{path}:{_line(node)}: must hold at most {MOST_VALUES} values, {DEEPEST} deep, with its aliases "
                "(*name) written out, but goes on; write the values themselves"
            )
        if problem := _problem(keys, node):
            raise SettingsError(f"{path}:{_line(node)}: {problem}")


def _values(node: yaml.Node, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Every value with the keys above it, those of aliases each time."""
    yield keys, node
    if len(keys) > DEEPEST:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _values(value, (*keys, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _values(value, (*keys, ""))


def _problem_of_package(path: Path, root: yaml.MappingNode, text: str) -> str:
    """Wrong is a file whose settings say from the top where they stand, and whose first line does not."""
    group, package = path.parent.name, re.match(r"(?:#.*\n|\s)*#\s*@package\s+(\S+)\s", text)
    line = "the line `# @package _global_`"
    if group == "experiment" and (package is None or package.group(1) != "_global_"):
        return f"{path}:1: an experiment must begin with {line}, or its settings would stand below `experiment`"
    inside = [key for key, _ in root.value if key.value == group]
    if inside and package is None:
        where = f"{path}:{_line(inside[0])}: `{group}` must not be stated again in a file that is read below it"
        return f"{where}; put its settings at the margin, or begin with {line}"
    return ""


def _problem(keys: tuple[str, ...], node: yaml.Node) -> str:
    """What is wrong with a value; empty where nothing is."""
    dotted = ".".join(keys)
    if "_target_" in keys:
        return f"{dotted}: a class to call cannot be stated; settings are data; leave it out"
    if keys[:1] == ("defaults",):
        return _problem_of_defaults(keys, node)
    if keys[:1] == ("hydra",) and (isinstance(node, yaml.ScalarNode) or keys[:3] == AXES):
        return _problem_of_hydra(keys, node)
    refused = refused_interpolation(node.value) if isinstance(node, yaml.ScalarNode) else ""
    return f"{dotted}: {refused}" if refused else ""


def _problem_of_defaults(keys: tuple[str, ...], node: yaml.Node) -> str:
    """Wrong are what is no list of names, and parts of Hydra's own."""
    name = keys[-1].removeprefix("override ").lstrip("/")
    if name.startswith("hydra/"):
        return refuse_hydra(f"{name}: {node.value}", name)
    is_list, is_entry = isinstance(node, yaml.SequenceNode), isinstance(node, yaml.MappingNode) or _is_text(node)
    if (len(keys) == 1 and not is_list) or (len(keys) == 2 and not is_entry):
        return "defaults: must be a list of names of files and of `GROUP: NAME`"
    return ""


def _problem_of_hydra(keys: tuple[str, ...], node: yaml.Node) -> str:
    """Wrong is what has no effect here, and an axis that cannot be read."""
    dotted = ".".join(keys)
    if keys[:3] == AXES and len(keys) > 3:
        is_read = isinstance(node, yaml.ScalarNode) and parse(f"{'.'.join(keys[3:])}={node.value}") is not None
        return "" if is_read else f"{dotted}: must be as it is typed after {keys[-1]}=, such as 0,1 or range(10)"
    works = dotted in OF_HYDRA or (keys[:3] == AXES and isinstance(node, yaml.MappingNode))
    return "" if works or dotted.startswith("hydra.searchpath.") else refuse_hydra(dotted, dotted)


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"


def explain(error: yaml.MarkedYAMLError, *, path: Path | str = "") -> str:
    """Where a file is no YAML, and why."""
    mark = error.problem_mark or error.context_mark
    where = f"{path or (mark and mark.name)}" + (f":{mark.line + 1}" if mark else "")
    return f"{where}: must be YAML, but: {error.problem or error.context}; a text with signs of its own is quoted"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def check_what_hydra_reads(*, conf: Path) -> None:
    """From here on, a file that is not the project's own is checked before Hydra reads it."""
    Plugins.instance()  # registers what reads files: a class of its own loading, not the one that an import gives
    source = SourcesRegistry.instance().resolve("file")
    read = getattr(source.load_config, "__wrapped__", source.load_config)

    def checked(self: ConfigSource, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if not path.exists() or (path.is_relative_to(conf) and path.parent.name != "local"):
            return read(self, config_path)
        check(path)
        try:
            return read(self, config_path)
        except Exception as error:  # what PyYAML composes, OmegaConf may yet refuse: dates, sets, keys given twice
            marked = explain(error, path=path) if isinstance(error, yaml.MarkedYAMLError) else ""
            raise SettingsError(marked or f"{path}: must hold settings, but: {error.__cause__ or error}") from error

    checked.__wrapped__ = read  # type: ignore[attr-defined]
    source.load_config = checked  # type: ignore[method-assign]
