"""The jobs of a command line, composed by Hydra's loader: each file read once, each combination of choices once.

Hydra's own command composes every job anew, which takes 0.1 s each: it reads two dozen files and merges them, whatever
one number differs. What depends on a job alone is applied here to a copy, by Hydra's parser and Hydra's merge.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import Overrides
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import configure_log
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.command_line import Line

CONFIG = "config"  # the file of conf/ that everything starts from


@dataclass(frozen=True, kw_only=True)
class Composed:
    """One job: its config without Hydra's own node, the choice in each group, and what was typed for it."""

    config: DictConfig
    choices: dict[str, str | None]
    overrides: tuple[str, ...]


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which reads a file once and lists a group once."""

    def __init__(self, *, conf: Path, config_dir: Path | None) -> None:
        """Look into `conf`, and for what is not there into the user's own folder."""
        version.setbase("1.3")
        search_path = create_config_search_path(str(conf))
        if config_dir is not None:
            before_schema = SearchPathQuery(provider="schema")
            search_path.prepend("command-line", f"file://{config_dir.absolute()}", anchor=before_schema)
        super().__init__(search_path)
        self._files: dict[tuple[str, ...], ConfigResult | None] = {}
        self._options: dict[tuple[str, ObjectType | None], list[str]] = {}

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = OverridesParser.create().parse_overrides(overrides=overrides)
        repository = _Repository(self.repository, files=self._files)
        self._process_config_searchpath(config_name, parsed, repository)
        return parsed, repository

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """The choices of a group; Hydra's copies all that it has read for each."""
        if config_name is not None or overrides:
            return super().get_group_options(group_name, results_filter, config_name, overrides)
        asked = (group_name, results_filter)
        if asked not in self._options:
            self._options[asked] = self.repository.get_group_options(group_name, results_filter)
        return list(self._options[asked])


class _Repository(CachingConfigRepository):
    """The files of one composition, which merges them into each other: copies of what was read for any."""

    def __init__(self, delegate: IConfigRepository, *, files: dict[tuple[str, ...], ConfigResult | None]) -> None:
        super().__init__(delegate)
        self._files = files

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            place = (*map(repr, self.get_sources()), config_path)
            if place not in self._files:
                self._files[place] = self.delegate.load_config(config_path)
            self.cache[config_path] = copy.deepcopy(self._files[place])
        return self.cache[config_path]


def print_what_is_asked_for(line: Line, words: Sequence[str], *, loader: Loader) -> None:
    """What --help, --hydra-help, --cfg, --info and --shell-completion print; `words` are the overrides."""
    hydra, options, overrides = Hydra("run", loader), line.options, list(words)
    options.overrides = overrides
    if options.help:
        hydra.app_help(config_name=CONFIG, args_parser=get_args_parser(), args=options)
    elif options.hydra_help:
        hydra.hydra_help(config_name=CONFIG, args_parser=get_args_parser(), args=options)
    elif options.cfg:
        hydra.show_cfg(CONFIG, overrides, options.cfg, options.package, resolve=options.resolve)
    elif options.info:
        hydra.show_info(options.info, config_name=CONFIG, overrides=overrides)
    else:
        hydra.shell_completion(CONFIG, overrides)


def jobs(line: Line, words: Sequence[str], *, loader: Loader) -> list[Composed]:
    """The jobs that a command line asks for, in the order of Hydra's sweeper, the last axis fastest.

    Args:
        line: As it was read.
        words: The overrides for Hydra.
        loader: What composes them.

    Raises:
        HydraException: And what OmegaConf and PyYAML raise, as Hydra does.
    """
    Hydra("run", loader)  # registers its resolvers
    modes = [RunMode.RUN] if line.last("hydra.mode") == "RUN" else [RunMode.MULTIRUN, RunMode.RUN]
    for mode in modes:  # as it is typed, or as a file says
        whole = loader.load_configuration(CONFIG, list(words), mode)
        if whole.hydra.mode is mode:
            break
    configure_log(whole.hydra.job_logging, whole.hydra.verbose)
    if mode is RunMode.RUN:
        return [_taken_apart(whole)]
    typed: Any = OmegaConf.to_container(whole.hydra.overrides.task, resolve=False)  # `name=${KEY}` is a text here
    axes = [f"{key}={value}" for key, value in (whole.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*axes, *typed])
    (sweep,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    composer = _JobComposer(loader, whole)
    return [composer.compose(each) for each in sweep]


class _JobComposer:
    """Composes the jobs of a sweep, whose common config is `whole`."""

    def __init__(self, loader: Loader, whole: DictConfig) -> None:
        self._loader, self._whole = loader, whole
        of_hydra: Any = OmegaConf.to_container(whole.hydra.overrides.hydra, resolve=False)
        _, self._repository = loader._parse_overrides_and_create_caching_repo(CONFIG, of_hydra)
        self._chosen: dict[tuple[str, ...], Composed] = {}

    def compose(self, words: list[str]) -> Composed:
        """What Hydra's `load_sweep_config` makes of a job's overrides."""
        with contextlib.suppress(Exception):  # Hydra says what is wrong, below
            return self._from_same_choices(OverridesParser.create().parse_overrides(words))
        return _taken_apart(self._loader.load_sweep_config(self._whole, words))

    def _from_same_choices(self, parsed: Sequence[Override]) -> Composed:
        """A copy of what was composed for the job's choices, with its other overrides applied."""
        of_job = Overrides(self._repository, list(parsed)).config_overrides  # those that choose no file
        settings = [each for each in of_job if not each.is_hydra_override()]
        choices = tuple(str(each.input_line) for each in parsed if not any(each is other for other in settings))
        if choices not in self._chosen:
            self._chosen[choices] = _taken_apart(self._loader.load_sweep_config(self._whole, list(choices)))
        chosen = self._chosen[choices]
        config = copy.deepcopy(chosen.config)
        ConfigLoaderImpl._apply_overrides_to_config(settings, config)
        typed = tuple(str(each.input_line) for each in parsed if not each.is_hydra_override())
        return Composed(config=config, choices=dict(chosen.choices), overrides=typed)


def _taken_apart(config: DictConfig) -> Composed:
    """Take Hydra's node out of a config."""
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return Composed(config=config, choices=choices, overrides=tuple(map(str, typed)))
