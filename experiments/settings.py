"""conf -> Job: plain, checked settings. The only module that imports omegaconf.

A job is what one composed config asks for. All problems of a config are told at once, each with its key.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from experiments import task as words
from experiments.data.catalog import SOURCES, Form
from experiments.fingerprint import plain
from experiments.task import Task
from experiments.task.checks import require
from experiments.task.search_space import Dimension, TuningSettings

TUNED = Path("outputs/tuned")  # where a search leaves its best settings; +tuned=NAME takes one
NOT_IN_CONF = {"in_conf": False}  # metadata of a field that no file of conf/ states
Action = Literal["train", "parity", "report"]


class SettingsError(ValueError):
    """What a person asked for cannot be done; the message says the rule, the value and the fix."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where and how runs are executed: `workers` at a time, each on `devices` devices of `threads` threads."""

    workers: int
    threads: int
    device: Literal["auto", "cpu", "gpu"]
    start_method: Literal["auto", "forkserver", "spawn"]
    time_limit_seconds: float
    devices: int = 1

    def __post_init__(self) -> None:
        """Check the counts."""
        require(self.workers >= 1, "workers >= 1", self.workers)
        require(self.threads >= 1, "threads >= 1", self.threads)
        require(self.devices >= 1, "devices >= 1", self.devices, "1 gives each run one device")
        require(self.time_limit_seconds > 0, "time_limit_seconds > 0", self.time_limit_seconds)


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where runs are kept."""

    uri: str
    reuse: bool
    tensorboard: bool


@dataclass(frozen=True, kw_only=True)
class FrameworkSettings:
    """Who trains: a name in frameworks.MODULES."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What a report compares: the values of `factor`, each with `baseline` (null: each with each).

    `factor` is a key as it is typed: framework, optimizer, regularization.dropout, ...; "seed" is the control of a
    framework against itself.
    """

    name: str
    factor: str
    baseline: str | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one composed config asks for: a task, who does it, with which seed, and where.

    `labels` name the choices as they were typed (optimizer: nesterov, regularization.dropout: 0.3), `overrides` is
    the command line of this job alone; both come from Hydra, not from conf/.
    """

    task: Task
    description: str
    framework: FrameworkSettings
    seed: int
    action: Action
    sweep: str
    output: str
    comparison: ComparisonSettings
    tuning: TuningSettings | None
    executor: ExecutorSettings
    tracking: TrackingSettings
    labels: Mapping[str, str] = field(default_factory=dict, metadata=NOT_IN_CONF)
    overrides: tuple[str, ...] = field(default=(), metadata=NOT_IN_CONF)


DATA_OPTIONS = ("length", "vocabulary", "image_size")
TASK_KEYS = tuple(field.name for field in dataclasses.fields(Task))
KINDS: dict[str, dict[str, type]] = {
    "network": dict(words.NETWORKS),
    "optimizer": dict(words.OPTIMIZERS),
    "schedule": dict(words.SCHEDULES),
}


LABEL_GROUPS = ("data", "network", "optimizer", "schedule", "regularization", "framework")
NOT_LABELS = (
    "experiment", "comparison", "tuning", "action", "sweep", "output", "seed", "executor", "tracking", "hydra", "tuned",
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
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    problems: list[str] = []
    task = {key: content.pop(key) for key in TASK_KEYS if key in content}
    known = {*TASK_KEYS, *_fields(Job)} - {"task"}
    problems += [unknown(key, known) for key in content if key not in known]
    settled = {key: value for key, value in content.items() if key in known}
    job: Job | None = _build(Job, settled | {"task": task}, "", problems)
    if job is not None:
        problems += _check_names(job, frameworks)
    if problems or job is None:
        raise SettingsError("\n".join(problems))
    return dataclasses.replace(job, labels=labels_from(choices or {}, overrides), overrides=overrides)


def task_from(config: DictConfig) -> Task:
    """The task of a composed config alone, as a program uses it that brings its own data.

    Raises:
        SettingsError: As `job_from`, but nothing is checked against a data source.
    """
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    problems: list[str] = []
    task: Task | None = _build(Task, {key: content[key] for key in TASK_KEYS if key in content}, "task", problems)
    if problems or task is None:
        raise SettingsError("\n".join(problems))
    return task


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"optimizer.learning_rate": 0.001, ...}."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def written(value: Any) -> str:
    """A value as it is typed: 0.0001, 3, relu; another value is never written alike."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def choice(key: str, value: str) -> str:
    """A choice as a person says it: the file of a group by its name, a key with its value."""
    group, _, leaf = key.rpartition(".")
    return f"{group if leaf == 'kind' else leaf} {value}" if "." in key else value


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
    source = SOURCES.get(job.task.data.source)
    if source is None:
        problems.append(f"data.source: {unknown(job.task.data.source, SOURCES)}")
    else:
        options = {name: getattr(job.task.data, name) for name in DATA_OPTIONS}
        problems += [
            f"data.{name}: {source.title} needs one, but got null"
            if value is None
            else f"data.{name}: {source.title} takes none, but got {value!r}; set data.{name}=null"
            for name, value in options.items()
            if (value is None) == (name in source.options) and not (value is None and name == "image_size")
        ]
        if source.form is not None and not problems:
            problems += check_fit(job.task, source.form(job.task.data), title=source.title)
    if job.framework.name not in frameworks:
        problems.append(f"framework.name: {unknown(job.framework.name, frameworks)}")
    if not 0 <= job.seed < 2**32:
        problems.append(f"`0 <= seed < 2**32` must hold, but got {job.seed}")
    return problems


def check_fit(task: Task, form: Form, *, title: str) -> list[str]:
    """Whether network, loss and class weights fit the examples; what does not, in words."""
    problems = []
    try:
        task.network.check_input(form.input_shape, vocabulary=form.vocabulary)
    except ValueError as error:
        problems.append(str(error))
    if task.regularization.augmentation.is_on and len(form.input_shape) != 3:
        problems.append(f"regularization.augmentation: changes images, but {title} has none")
    wants = "classes" if task.training.loss == "cross_entropy" else "values"
    if form.targets != wants:
        fixes = {"classes": "training.loss=mean_squared_error takes values", "values": "cross_entropy takes classes"}
        problems.append(
            f"training.loss: {task.training.loss} needs {wants}, but {title} has {form.targets}; {fixes[wants]}"
        )
    weights = task.training.class_weights
    if weights is not None and len(weights) != form.n_outputs:
        problems.append(f"training.class_weights: {len(weights)} for {form.n_outputs} classes of {title}")
    return problems


def unknown(name: Any, known: typing.Iterable[str]) -> str:
    """Say that a name is unknown, which one may have been meant, and which there are."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"unknown {name!r}" + (f"; did you mean {near[0]}?" if near else "") + f" Available: {', '.join(known)}"


def _build(cls: type[Any], content: Any, path: str, problems: list[str]) -> Any:
    """An instance of dataclass `cls` from nested dicts, or None and at least one more problem."""
    if not isinstance(content, dict):
        problems.append(f"{path}: must be a group of settings, but got {content!r}")
        return None
    content = {key: value for key, value in content.items() if not (key == "kind" and hasattr(cls, "kind"))}
    hints = typing.get_type_hints(cls)
    names = _fields(cls)
    before = len(problems)
    prefix = f"{path}." if path else ""
    problems += [f"{prefix}{unknown(key, names)}" for key in content if key not in names]
    problems += [f"{prefix}{name}: is missing; state it in conf/" for name in _required(cls) if name not in content]
    values = {
        name: _value(hints[name], content[name], f"{prefix}{name}".removeprefix("task."), problems)
        for name in names
        if name in content
    }
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None


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
        kind = value.get("kind") if isinstance(value, dict) else value
        if kind not in KINDS[path]:
            problems.append(f"{path}.kind: {unknown(kind, KINDS[path])}")
            return None
        return _build(KINDS[path][kind], value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path, problems)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            problems.append(f"{path}: {unknown(value, map(str, typing.get_args(hint)))}")
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
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        problems.append(f"{path}: must be a finite number, but got {value!r}")
        return None
    if not fits:
        problems.append(f"{path}: must be {names[hint]}, but got {value!r}")
        return None
    return value


def cache_folder() -> Path:
    """Where downloads and prepared arrays are kept: $TANDEM_CACHE, else the user's cache folder."""
    stated = os.environ.get("TANDEM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(stated) if stated else Path(base).expanduser() / "tandem"


def check_choices(choices: Mapping[str, str | None], *, conf: Path) -> None:
    """Check which files of conf/ a config was composed of.

    Raises:
        SettingsError: If no experiment was chosen, or a launcher of Hydra's was.
    """
    if choices["experiment"] is None:
        raise SettingsError(
            f"`experiment` must be chosen: experiment=NAME, one of {', '.join(_choices(conf, 'experiment'))}"
        )
    if choices["hydra/launcher"] != "basic":
        raise SettingsError(_refuse_launcher(str(choices["hydra/launcher"])))


def _refuse_launcher(name: str) -> str:
    return (
        f"hydra/launcher={name}: Hydra's jobs only collect configs here, workers of our own train them; "
        "leave the launcher alone and set executor.workers=N to train N at a time"
    )


def explain(error: Exception, *, conf: Path) -> str:
    """A composition error of Hydra's in our words: the rule, the value, the fix, and what may have been meant."""
    message = str(error)
    if "hydra/launcher" in message:
        return _refuse_launcher(_first(r"hydra/launcher/(\w+)", message))
    if name := _first(r"Could not find '([^']+)'", message):
        group, _, choice = name.rpartition("/")
        return f"{group}: {unknown(choice, _choices(conf, group))}" if group else message
    if key := _first(r"Could not override '([^']+)'", message):
        group, _, leaf = key.rpartition(".")
        near = difflib.get_close_matches(key, _known_keys(conf), n=1, cutoff=0.5)
        return f"{key}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "; see --cfg job")
    return message.splitlines()[0] if message else type(error).__name__


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _choices(conf: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def _known_keys(conf: Path) -> list[str]:
    """Every key that some file of conf/ states, dotted."""
    keys = set()
    for path in sorted(conf.rglob("*.yaml")):
        group = path.parent.relative_to(conf).parts
        prefix = ".".join(group) + "." if group and group[0] != "experiment" else ""
        content = OmegaConf.to_container(OmegaConf.load(path))
        for key, value in content.items() if isinstance(content, dict) else ():
            keys.add(f"{prefix}{key!s}")
            keys |= {f"{prefix}{key!s}.{leaf}" for leaf in value} if isinstance(value, dict) else set()
    return sorted(keys)
