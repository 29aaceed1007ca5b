"""The jobs of a command line, composed by Hydra's loader: each file read once, each combination of choices once.

Hydra's own command composes every job anew, which takes 0.1 s each: it reads two dozen files and merges them, whatever
one number differs. What depends on a job alone is applied here to a copy, by Hydra's parser and Hydra's merge.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal import defaults_list as hydras_defaults
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import Overrides, create_defaults_list
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import configure_log
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.command_line import Line

CONFIG = "config"  # the file of conf/ that everything starts from
map_of_choices = hydras_defaults._create_interpolation_map


def _map_where_asked(overrides: Overrides, defaults_list: list[InputDefault], self_added: bool) -> DictConfig:  # noqa: FBT001
    """The choices for a `${...}` in a file's list of defaults; Hydra makes this for every file, a fifth of its time."""
    is_asked = any(each.is_interpolation() for each in defaults_list)
    return map_of_choices(overrides, defaults_list, self_added) if is_asked else OmegaConf.create()


hydras_defaults._create_interpolation_map = _map_where_asked


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

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        """A file's settings for a composition, which changes them; Hydra copies those that have a package itself."""
        loaded = super()._load_single_config(default, repo)
        return copy.deepcopy(loaded) if loaded is repo.load_config(str(default.config_path)) else loaded

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
    """The files of one composition, as they were read for any."""

    def __init__(self, delegate: IConfigRepository, *, files: dict[tuple[str, ...], ConfigResult | None]) -> None:
        super().__init__(delegate)
        self._files = files

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            place = (*map(repr, self.get_sources()), config_path)
            if place not in self._files:
                self._files[place] = self.delegate.load_config(config_path)
            self.cache[config_path] = self._files[place]
        return self.cache[config_path]


class _Hydra(Hydra):
    """Hydra's command, whose lists of choices fit a terminal of 80 columns."""

    def format_config_groups(self, predicate: Callable[[str], bool], compact: bool = True) -> str:  # noqa: FBT001, FBT002
        listed = super().format_config_groups(predicate, compact)
        return "".join(f"{textwrap.fill(line, 80, subsequent_indent='  ')}\n" for line in listed.splitlines())


def print_what_is_asked_for(line: Line, words: Sequence[str], *, loader: Loader) -> None:
    """What --help, --hydra-help, --cfg, --info and --shell-completion print; `words` are the overrides."""
    hydra, options, overrides = _Hydra("run", loader), line.options, list(words)
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


def jobs(line: Line, words: Sequence[str], *, loader: Loader) -> Iterator[Composed]:
    """The jobs that a command line asks for, each as it is composed, in the order of Hydra's sweeper.

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
        yield _taken_apart(whole)
        return
    typed: Any = OmegaConf.to_container(whole.hydra.overrides.task, resolve=False)  # `name=${KEY}` is a text here
    axes = [f"{key}={value}" for key, value in (whole.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*axes, *typed])
    (sweep,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    composer = _JobComposer(loader, whole)
    yield from map(composer.compose, sweep)


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What the files of a job's choices make: pickled, since to load it takes a fifth of a deep copy's time."""

    config: bytes
    choices: dict[str, str | None]


class _JobComposer:
    """Composes the jobs of a sweep, whose common config is `whole`: all that was typed but for lists."""

    def __init__(self, loader: Loader, whole: DictConfig) -> None:
        self._loader = loader
        of_hydra: Any = OmegaConf.to_container(whole.hydra.overrides.hydra, resolve=False)
        self._of_hydra: list[str] = of_hydra
        self._master = OmegaConf.create({"hydra": {"overrides": {"hydra": of_hydra}, "job": {"config_name": CONFIG}}})
        _, self._repository = loader._parse_overrides_and_create_caching_repo(CONFIG, of_hydra)
        self._parsed: dict[str, Override] = {}
        self._common = _taken_apart(whole)
        self._common_files = _Files(config=pickle.dumps(self._common.config), choices=self._common.choices)
        self._chosen: dict[tuple[str, ...], _Files] = {}

    def compose(self, words: list[str]) -> Composed:
        """What Hydra's `load_sweep_config` makes of a job's overrides."""
        with contextlib.suppress(Exception):  # Hydra says what is wrong, below
            return self._from_same_choices([self._parse(word) for word in words])
        return _taken_apart(self._loader.load_sweep_config(self._master, words))

    def _parse(self, word: str) -> Override:
        if word not in self._parsed:
            self._parsed[word] = OverridesParser.create().parse_override(word)
        return self._parsed[word]

    def _from_same_choices(self, parsed: Sequence[Override]) -> Composed:
        """A copy of what was composed for the job's choices, with its other overrides applied."""
        of_job = Overrides(self._repository, list(parsed)).config_overrides  # those that choose no file
        settings = [each for each in of_job if not each.is_hydra_override()]
        chosen = [each for each in parsed if not any(each is other for other in settings)]
        choices = tuple(str(each.input_line) for each in chosen)
        new = [each for each in settings if str(each.input_line) not in self._common.overrides]
        if self._is_common(chosen) and not _roots(new) & _roots(each for each in settings if each not in new):
            files, settings = self._common_files, new
        else:
            if choices not in self._chosen:
                self._chosen[choices] = self._compose_files(choices)
            files = self._chosen[choices]
        config: DictConfig = pickle.loads(files.config)
        ConfigLoaderImpl._apply_overrides_to_config(settings, config)
        typed = tuple(str(each.input_line) for each in parsed if not each.is_hydra_override())
        return Composed(config=config, choices=dict(files.choices), overrides=typed)

    def _is_common(self, chosen: Sequence[Override]) -> bool:
        """Whether a job is composed of the files that the common config is."""
        known, typed = self._common.choices, self._common.overrides
        return "???" not in known.values() and all(
            str(each.input_line) in typed or f"{each.key_or_group}={known.get(each.key_or_group)}" == each.input_line
            for each in chosen
        )

    def _compose_files(self, choices: Sequence[str]) -> _Files:
        """What Hydra's `load_sweep_config` makes of choices of files, but for its own node, which no job keeps."""
        parsed, repository = self._loader._parse_overrides_and_create_caching_repo(CONFIG, [*self._of_hydra, *choices])
        found = create_defaults_list(
            repo=repository, config_name=CONFIG, overrides_list=parsed, prepend_hydra=True, skip_missing=False
        )
        files = [each for each in found.defaults if not str(each.config_path).startswith("hydra/")]
        config = self._loader._compose_config_from_defaults_list(files, repository)
        config.pop("hydra", None)
        OmegaConf.set_struct(config, value=True)
        return _Files(config=pickle.dumps(config), choices=dict(found.overrides.known_choices))


def _roots(overrides: Iterable[Override]) -> set[str]:
    """The first name of each override's key; where they differ, the order of two overrides does not matter."""
    return {each.key_or_group.partition(".")[0] for each in overrides}


def _taken_apart(config: DictConfig) -> Composed:
    """Take Hydra's node out of a config."""
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return Composed(config=config, choices=choices, overrides=tuple(map(str, typed)))
