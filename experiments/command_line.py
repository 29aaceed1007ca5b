"""What was typed, word by word: quoted where Hydra would not read it, refused where it would make nothing happen.

A key that takes text takes what was typed: `data.path=~/a (1).npz` needs no quotes beside the shell's own. A line that
Hydra reads keeps its meaning.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString

from experiments.errors import SettingsError, unknown_name
from experiments.mistyped import Vocabulary, refuse_commas, refuse_dashes, refuse_repeats, refuse_strays
from experiments.overrides import parse, quoted

MOST_RUNS = 10_000
# Groups of which all runs of a command have the same: a comma in a text of theirs is a comma.
ONE_VALUE = ("name", "description", "output", "figures", "tracking", "tuning", "comparison")
ENVIRONMENT = "executor.environment"  # holds any NAME
PRINTED = ("cfg", "info", "shell_completion", "run", "multirun")  # options of Hydra's of which it takes one
REFUSED = {
    "config_path": "conf/ of the project is always there; name a folder of your own with --config-dir FOLDER",
    "config_name": "a config of your own is an experiment: --config-dir FOLDER experiment=NAME",
    "experimental_rerun": "it would open a pickle, which may hold anything; type the command again",
}
OF_HYDRA = ("hydra.mode", "hydra.verbose", "hydra.searchpath", "hydra.sweeper.params")  # what has an effect here
DEFAULTS_OF_HYDRA = ("hydra/launcher=basic", "hydra/sweeper=basic")
WORKERS = "workers of our own train: set executor.workers=N to train N at a time"
FOLDER = "what a command leaves goes to output=FOLDER"
LOGS = "each run has a log below `output`, and TANDEM_DEBUG=1 shows a traceback"
INSTEAD = {
    "hydra/sweeper": "a search is asked for with tuning=NAME, such as tuning=lr_depth",
    "hydra.sweeper.": "a search is asked for with tuning=NAME, and tuning.trials=N says how long",
    "hydra/launcher": WORKERS,
    "hydra.launcher": WORKERS,
    "hydra.run.": FOLDER,
    "hydra.sweep.": FOLDER,
    "hydra.output_subdir": FOLDER,
    "hydra.job.chdir": FOLDER,
    "hydra.job.name": "name=NAME names what is trained",
    "hydra.job.env": f"{ENVIRONMENT}={{NAME: value}} gives workers a variable",
    "hydra/job_logging": LOGS,
    "hydra/hydra_logging": LOGS,
    "hydra.job_logging": LOGS,
    "hydra.hydra_logging": LOGS,
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A command line that Hydra can read.

    `options` are Hydra's, `words` the overrides as it reads them, `overrides` the same, parsed, and `lists` those of
    them that hold several values.
    """

    options: argparse.Namespace
    words: tuple[str, ...]
    overrides: tuple[Override, ...]

    @property
    def lists(self) -> list[str]:
        """The overrides that are lists, as they were typed."""
        return [str(each.input_line) for each in self.overrides if each.is_sweep_override()]

    @property
    def prints(self) -> bool:
        """Whether Hydra prints something, and no run is asked for."""
        return any(getattr(self.options, name) for name in ("help", "hydra_help", "cfg", "info", "shell_completion"))

    @property
    def config_dir(self) -> Path | None:
        """The folder of one's own."""
        return Path(self.options.config_dir) if self.options.config_dir is not None else None

    def last(self, key: str) -> str | None:
        """The value that was typed last for a key, as text; None where none was."""
        values = [str(each.value()) for each in self.overrides if each.key_or_group == key and not each.is_delete()]
        return values[-1] if values else None


def read(arguments: Sequence[str], *, vocabulary: Vocabulary) -> Line:
    """Read what follows the program's name.

    Args:
        arguments: As the shell gave them.
        vocabulary: The groups of conf/, their choices, and the keys that there are.

    Raises:
        SettingsError: If an option or a word cannot be read, or would make nothing happen.
    """
    options = _options(arguments, vocabulary)
    if options.shell_completion:  # install=bash and the like: no overrides
        return Line(options=options, words=tuple(options.overrides), overrides=())
    mode = {"run": "hydra.mode=RUN", "multirun": "hydra.mode=MULTIRUN"}
    refuse_strays(options.overrides, vocabulary=vocabulary)
    refuse_repeats(options.overrides, one_value=ONE_VALUE)
    typed = [*options.overrides, *(word for option, word in mode.items() if getattr(options, option))]
    options.run = options.multirun = False
    parsed = [_read_word(word, vocabulary) for word in typed]
    line = Line(options=options, words=tuple(str(each.input_line) for each in parsed), overrides=tuple(parsed))
    _check_lists(line)
    return line


def _options(arguments: Sequence[str], vocabulary: Vocabulary) -> argparse.Namespace:
    parser = get_args_parser()
    parser.error = _refuse_option  # type: ignore[method-assign]
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{word!r}: what is typed must be UTF-8, as it is kept with the runs") from None
    refuse_dashes(arguments, options=parser._option_string_actions, vocabulary=vocabulary)
    options = parser.parse_intermixed_args(list(arguments))
    for name, why in REFUSED.items():
        if getattr(options, name) is not None:
            raise SettingsError(f"--{name.replace('_', '-')}: cannot be given, as {why}")
    given = [f"--{name.replace('_', '-')}" for name in PRINTED if getattr(options, name)]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} cannot be given together; give one of them")
    for name in ("resolve", "package"):
        if getattr(options, name) and not (options.cfg or options.help):
            raise SettingsError(f"--{name} belongs to --cfg, as in --cfg job --{name}; add it, or leave --{name} out")
    if options.shell_completion and not {"install", "uninstall", "query"} & {
        word.partition("=")[0] for word in options.overrides
    }:
        raise SettingsError("--shell-completion needs what to do, as in --shell-completion install=bash")
    return options


def _refuse_option(message: str) -> NoReturn:
    raise SettingsError(f"{message}; --help names what can be typed")


def _read_word(word: str, vocabulary: Vocabulary) -> Override:
    """One override as Hydra reads it, its value quoted where the key takes text and the value is none as it stands."""
    head, _, value = word.partition("=")
    key, groups = head.lstrip("+~"), vocabulary.groups
    if not key or parse(f"{head}=") is None:
        raise SettingsError(f"{word!r} must be KEY=VALUE, but {head!r} cannot be a key; --cfg job prints all there are")
    _check_hydra_key(word, key)
    if key == "tuned" and not head.startswith("+"):
        raise SettingsError(f"{word}: a setting that a search found is added with a plus: +{key}={value}")
    takes_text = key in groups or key.startswith(f"{ENVIRONMENT}.") or key in vocabulary.texts()
    read = parse(word)
    if read is None and (key in groups or not takes_text):
        refuse_commas(word)
    if key == ENVIRONMENT or key.startswith(f"{ENVIRONMENT}."):
        head = head if head.startswith(("+", "~")) else f"++{head}"
        read = parse(f"{head}={value}")
    if takes_text and (read is None or not _is_text(read, is_group=key in groups)):
        read = parse(f"{head}={quoted(value)}")
    if read is not None and key in groups and head.startswith("+") and not isinstance(read.value(), dict):
        raise SettingsError(f"{head}: is chosen already; leave the plus out to choose another: {key}={value}")
    if read is None:
        form = f"{head}={quoted(value)}"
        raise SettingsError(
            f"{key}: {value!r} cannot be read: lists are [1,2], groups {{key: value}}; "
            f"text with other signs is quoted, once for the shell: {shlex.quote(form)}"
        )
    _check_values(read, value, is_text=takes_text, choices=groups.get(key, ()))
    return read


def _is_text(read: Override, *, is_group: bool) -> bool:
    """Whether a value can stand where text is due: text, null, a list of values; for a group its own settings too."""
    value = read.value()
    allowed = (str, dict, list) if is_group else (str,)
    return read.is_delete() or read.is_sweep_override() or value is None or isinstance(value, allowed)


def _check_values(read: Override, value: str, *, is_text: bool, choices: Collection[str]) -> None:
    """Refuse a list where one value is due.

    Args:
        read: The override.
        value: What was typed after "=".
        is_text: Whether the key takes text, so that the comma may have been meant as one.
        choices: Those of a group of conf/; empty where the key is none.
    """
    key = read.key_or_group
    if key == "output" and not value.strip("'\" "):
        raise SettingsError("output: must name a folder, but is empty; output=. is the current one")
    stated = read.value()
    values = stated.list if isinstance(stated, ChoiceSweep) else [stated]
    if choices and not read.is_delete() and not all(_is_name(each) for each in values):
        names = [str(each) for each in stated] if isinstance(stated, list) else []
        fix = f"a list of runs has no brackets: {key}={','.join(names)}" if names else f"one of {', '.join(choices)}"
        raise SettingsError(f"{key}={value}: takes the name of one choice; {fix}")
    if not read.is_sweep_override() or not is_text or choices:
        return
    if key.partition(".")[0] in ONE_VALUE or _is_there(value):
        form = f"{key}={quoted(value)}"
        raise SettingsError(f"{key}={value}: a comma makes a list of it; as one text it is quoted: {shlex.quote(form)}")


def _is_name(value: object) -> bool:
    """Whether it can name a choice of a group, or is a group's own settings, or a list that Hydra makes."""
    if isinstance(value, QuotedString):
        value = value.text
    return not isinstance(value, (list, int, float, NoneType)) and "${" not in str(value)


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a path, a user who is not there
        return False


def _check_hydra_key(word: str, key: str) -> None:
    is_hydra = key.partition("@")[0].partition("/")[0].partition(".")[0] == "hydra"
    works = key in OF_HYDRA or key.startswith("hydra.sweeper.params.") or word in DEFAULTS_OF_HYDRA
    if is_hydra and not works:
        raise SettingsError(refuse_hydra(word, key))


def refuse_hydra(word: str, key: str) -> str:
    """Why a setting of Hydra's own cannot be given, and what does what it is given for."""
    instead = next((fix for start, fix in INSTEAD.items() if key.startswith(start)), "leave it out")
    return f"{word}: Hydra only composes configs here, so that this has no effect; {instead}"


def _check_lists(line: Line) -> None:
    """Refuse lists where one config is asked for, and lists of no or of too many values."""
    mode = line.last("hydra.mode")
    if mode not in (None, "RUN", "MULTIRUN"):
        raise SettingsError(f"hydra.mode: {unknown_name(mode, ('RUN', 'MULTIRUN'))}")
    if line.last("hydra.verbose") not in (None, "True", "False"):
        raise SettingsError(f"hydra.verbose: must be true or false, but got {line.last('hydra.verbose')!r}")
    told = {"--cfg": line.options.cfg, "--info": line.options.info, "--help": line.options.help}
    wants_one = next((name for name, is_given in {**told, "hydra.mode=RUN": mode == "RUN"}.items() if is_given), "")
    if wants_one and line.lists:
        word = line.lists[0]
        raise SettingsError(
            f"{word}: {wants_one} takes one config, and this is a list; give one of its values, "
            f"{word.partition('=')[0]}={next(iter(_values(line, word)), 'VALUE')}, or leave {wants_one} out"
        )
    n_runs = 1
    for word in line.lists:
        n_values = len(_values(line, word))
        if not n_values:
            raise SettingsError(f"{word}: is a list of no values, so that there is nothing to run; give at least one")
        n_runs *= n_values
    if n_runs > MOST_RUNS:
        raise SettingsError(
            f"{' '.join(line.lists)}: ask for more than {MOST_RUNS} runs; give shorter lists, or several commands"
        )


def _values(line: Line, word: str) -> list[str]:
    """The first values of a list; of glob(...), which the folders of conf/ decide, the pattern alone."""
    (read, *_) = [each for each in line.overrides if each.input_line == word]
    if isinstance(read._value, Glob):
        return [word]
    if read.is_hydra_override():
        raise SettingsError(f"{word}: must be one value; an axis is typed as it is, such as seed=0,1")
    if not read.is_discrete_sweep():
        raise SettingsError(f"{word}: an interval has no values to go through; a search is asked for with tuning=NAME")
    try:
        return list(itertools.islice(read.sweep_string_iterator(), MOST_RUNS + 1))
    except Exception as error:  # a step of 0
        raise SettingsError(f"{word}: is no list: {error}") from error
