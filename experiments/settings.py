"""conf -> Job: plain, checked settings.

A job is what one composed config asks for. All problems of a config are told at once, each with its key.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.data.catalog import SOURCES
from experiments.data.spec import check_fit
from experiments.errors import SettingsError, unknown_name
from experiments.fingerprint import plain, tag_of
from experiments.interpolation import refused_interpolation
from experiments.job import Job
from experiments.task import DATASETS, NETWORKS, OPTIMIZERS, SCHEDULES, Task, keys
from experiments.task.search_space import Dimension

TASK_KEYS = tuple(field.name for field in dataclasses.fields(Task))
KINDS: dict[str, dict[str, type]] = {
    "data": dict(DATASETS),
    "network": dict(NETWORKS),
    "optimizer": dict(OPTIMIZERS),
    "schedule": dict(SCHEDULES),
}
LONGEST_NAME = 200  # characters; MLflow has room for 500
LABEL_GROUPS = ("data", "network", "optimizer", "schedule", "regularization", "framework")
_type_hints = functools.cache(typing.get_type_hints)
NOT_LABELS = (
    "experiment", "comparison", "tuning", "action", "sweep", "output", "figures", "seed", "executor", "tracking",
    "hydra", "tuned",
)  # fmt: skip


def labels_from(choices: Mapping[str, str | None], overrides: typing.Iterable[str]) -> dict[str, str]:
    """Names of a job's choices: the file chosen in each group, and each key with the value that was typed for it."""
    labels = {group: str(choices[group]) for group in LABEL_GROUPS if choices.get(group)}
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if re.split(r"[./@]", key)[0] not in NOT_LABELS:
            labels[key] = value
    return labels


def job_from(
    config: DictConfig,
    *,
    frameworks: tuple[str, ...],
    choices: Mapping[str, str | None] | None = None,
    overrides: tuple[str, ...] = (),
) -> Job:
    """Check a composed config and turn it into a Job.

    Args:
        config: The composed config, without Hydra's own node.
        frameworks: Names that `framework.name` may take.
        choices: The file that was chosen in each group.
        overrides: What was typed for this job, one "key=value" each.

    Raises:
        SettingsError: Names every key that is wrong, missing or unknown.
    """
    problems: list[str] = []
    content = _resolved(config)
    task = {key: content.pop(key) for key in TASK_KEYS if key in content}
    known = {*TASK_KEYS, *_fields(Job)} - {"task"}
    problems += [unknown_name(key, known) for key in content if key not in known]
    stated = {key: value for key, value in content.items() if key in known}
    job: Job | None = _build(Job, stated | {"task": task}, "", problems)
    if job is not None:
        problems += _check_names(job, frameworks)
    if problems or job is None:
        raise SettingsError("\n".join(problems))
    labels = labels_from(choices or {}, overrides)
    if job.task.as_shipped:
        labels["alignment"] = job.task.alignment  # also where nobody typed it
    return dataclasses.replace(job, labels=labels, overrides=overrides)


def text_keys(cls: type[Any] = Job, path: str = "") -> set[str]:
    """Keys that take any text, as they are typed: name, data.path, tracking.uri, ..."""
    found: set[str] = set()
    hints = _hints(cls)
    for name in _fields(cls):
        key = f"{path}.{name}".removeprefix(".").removeprefix("task.")
        hint = next(iter(typing.get_args(hints[name])), hints[name]) if _is_optional(hints[name]) else hints[name]
        kinds = KINDS.get(key, {}).values() if key in KINDS else [hint] if dataclasses.is_dataclass(hint) else []
        found |= {key} if hint is str else set()
        for kind in kinds:
            found |= text_keys(typing.cast(type, kind), key)
    return found


def _is_optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _resolved(config: DictConfig) -> dict[str, Any]:
    """The config with its interpolations resolved.

    Raises:
        SettingsError: If one cannot be, or would copy what stands nowhere in the config; if a value is missing.
    """
    stated = keys.leaves(OmegaConf.to_container(config, resolve=False))
    problems = [
        f"{key}: {found}"
        for key, value in stated.items()
        if isinstance(value, str) and (found := refused_interpolation(value))
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        content = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise SettingsError(explain_interpolation(error)) from error
    problems = [
        f"{key}: must be stated, but is '???', which says that it is missing; give a value"
        for key, value in keys.leaves(content).items()
        if value == "???"
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return typing.cast(dict[str, Any], content)


def explain_interpolation(error: OmegaConfBaseException) -> str:
    """What is wrong with an interpolation, with the key that holds it."""
    what = str(error.msg or error).splitlines()[0]
    return f"{error.full_key or 'config'}: {what}; give the value itself, or ${{KEY}} of a key that `--cfg job` prints"


def task_from(config: DictConfig) -> Task:
    """The task of a composed config alone, as a program uses it that brings its own data.

    Raises:
        SettingsError: As `job_from`, but nothing is checked against a data source.
    """
    problems: list[str] = []
    content = _resolved(config)
    task: Task | None = _build(Task, {key: content[key] for key in TASK_KEYS if key in content}, "task", problems)
    if problems or task is None:
        raise SettingsError("\n".join(problems))
    return task


def with_values(task: Task, values: Mapping[str, Any]) -> Task:
    """The task with other values under dotted keys, checked as if they stood in conf/.

    Raises:
        SettingsError: If there is no such key, or a value cannot be.
    """
    content = plain(task)
    problems: list[str] = []
    for key, value in values.items():
        *path, leaf = key.split(".")
        place = content
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf not in place:
            problems.append(f"{key}: there is no such setting of the task")
            continue
        is_count = type(place[leaf]) is int and isinstance(value, float) and value.is_integer()
        place[leaf] = int(value) if is_count else value
    changed: Task | None = None if problems else _build(Task, content, "task", problems)
    if problems or changed is None:
        raise SettingsError("\n".join(problems))
    return changed


def _check_names(job: Job, frameworks: tuple[str, ...]) -> list[str]:
    problems = []
    source = SOURCES[job.task.data.source]
    if source.spec is not None:
        problems += check_fit(job.task, source.spec(job.task.data), title=source.title)
    if job.framework.name not in frameworks:
        problems.append(f"framework.name: {unknown_name(job.framework.name, frameworks)}")
    if not job.task.name.strip() or len(job.task.name) > LONGEST_NAME:
        problems.append(
            f"name: must have 1 to {LONGEST_NAME} characters, not all of them spaces, but has {len(job.task.name)}"
        )
    factors = {*LABEL_GROUPS, "seed", "loop", "setting", "alignment", *keys.flatten(plain(job.task))}
    if job.comparison.factor not in factors:
        problems.append(f"comparison.factor: {unknown_name(job.comparison.factor, factors)}")
    problems += job.problems_with_bare_loop
    if not 0 <= job.seed < 2**32:
        problems.append(f"`0 <= seed < 2**32` must hold, but got {job.seed}")
    return problems


def _build(cls: type[Any], content: Any, path: str, problems: list[str]) -> Any:
    """An instance of dataclass `cls` from nested dicts, or None and at least one more problem."""
    if not isinstance(content, dict):
        problems.append(f"{path}: must be a group of settings, but got {content!r}")
        return None
    tag = tag_of(cls)
    content = {key: value for key, value in content.items() if key != tag}
    hints = _hints(cls)
    names = _fields(cls)
    before = len(problems)
    prefix = "" if path in ("", "task") else f"{path}."
    of = f"{tag} {getattr(cls, tag)}" if tag else ""
    problems += [f"{prefix}{key}: {unknown_name(key, names, of=of)}" for key in content if key not in names]
    problems += [f"{prefix}{name}: is missing; state it in conf/" for name in _required(cls) if name not in content]
    values = {
        name: _value(hints[name], content[name], f"{prefix}{name}", problems) for name in names if name in content
    }
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None


def _hints(cls: Any) -> dict[str, Any]:
    """The types of a class's fields, found once: each of many jobs has the same."""
    found: dict[str, Any] = _type_hints(cls)
    return found


def _fields(cls: type[Any]) -> list[str]:
    """Fields that conf/ may state."""
    return [each.name for each in dataclasses.fields(cls) if each.metadata.get("in_conf", True)]


def _required(cls: type[Any]) -> list[str]:
    """Fields that conf/ must state: all that have no default."""
    missing = dataclasses.MISSING
    return [each.name for each in dataclasses.fields(cls) if each.default is missing is each.default_factory]


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """`value` as `hint` wants it; no string is taken for a number, no fraction for a count."""
    if path in KINDS:
        kinds = KINDS[path]
        tag = tag_of(next(iter(kinds.values())))
        kind = value.get(tag) if isinstance(value, dict) else value
        if not isinstance(kind, str) or kind not in kinds:
            problems.append(f"{path}.{tag}: {unknown_name(kind, kinds)}")
            return None
        return _build(kinds[kind], value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path, problems)
    if typing.get_origin(hint) is Literal:
        known = typing.get_args(hint)
        if not any(value == each and type(value) is type(each) for each in known):  # 1 is not true
            names = [str(each).lower() if isinstance(each, bool) else str(each) for each in known]
            problems.append(f"{path}: {unknown_name(value, names)}{_as_runs(path, value)}")
        return value
    if hint is Any:
        return value
    if typing.get_origin(hint) is collections.abc.Mapping:
        if not isinstance(value, dict):
            problems.append(f"{path}: must be a group of settings, but got {value!r}")
            return None
        inner = typing.get_args(hint)[1]
        items = _until_kind(value) if inner is Dimension else value
        return {str(key): _value(inner, item, f"{path}.{key}", problems) for key, item in items.items()}
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        return _value(typing.get_args(hint)[0], value, path, problems)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            problems.append(f"{path}: must be a list, but got {value!r}")
            return None
        return tuple(_value(typing.get_args(hint)[0], item, f"{path}[{at}]", problems) for at, item in enumerate(value))
    return _scalar(hint, value, path, problems)


def _until_kind(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A space, nested as the task is or dotted, as {"network.depth": {kind: int, ...}}."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        is_group = isinstance(value, dict) and "kind" not in value
        found |= _until_kind(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
    return found


def _scalar(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.copysign(math.inf, 1 if value > 0 else -1)
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{path}: must be a finite number, but got {value!r}")
        return None
    if not fits:
        is_scalar = hint is str and isinstance(value, (bool, int, float))
        fix = f'; in quotes it is text: "{value}"' if is_scalar else _as_runs(path, value)
        problems.append(f"{path}: must be {names[hint]}, but got {value!r}{fix}")
        return None
    return value


def _as_runs(path: str, value: Any) -> str:
    """How several values are typed of which each is to be run; empty where they are not several."""
    if isinstance(value, list) and len(value) > 1:
        return f"; a list of runs has no brackets: {path}={','.join(map(str, value))}"
    ends = re.fullmatch(r"(\d{1,9})(?:-|:|\.\.)(\d{1,9})", value) if isinstance(value, str) else None
    return f"; a run of each number is {path}=range({ends[1]},{int(ends[2]) + 1})" if ends else ""
