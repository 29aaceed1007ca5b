"""What Hydra's composition refuses, said in our words; which files of conf/ a config may be composed of."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import config_files
from experiments.command_line import ENVIRONMENT, Line, refuse_hydra
from experiments.errors import SettingsError, unknown_name
from experiments.overrides import quoted
from experiments.synonyms import either, sentence_for, settings_meant

OUTPUT = "outputs"  # as conf/config.yaml has it
DEFAULTS = "defaults.yaml"  # what the frameworks do by default: a list to look up, and no setting
OPEN_KEYS = (ENVIRONMENT, "tuning.sampler.options", "tuning.pruner.options")  # any NAME can be added to


def groups_of(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The groups of conf/ and of one's own folders, each with the choices that there are."""
    names = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    choices = {name: _choices(folders, name) for name in sorted(names)}
    return {name: found for name, found in choices.items() if found}


def config_folders(line: Line, *, conf: Path) -> list[Path]:
    """Where the files of a command line may lie: the user's own --config-dir, what searches left behind, conf/.

    Raises:
        SettingsError: If the user's own is no folder, or the settings of this machine cannot be read.
    """
    own = line.config_dir
    if own is not None and not own.is_dir():
        raise SettingsError(f"--config-dir {own}: must be a folder, but there is none, seen from {Path.cwd()}")
    tuned = tuned_folder(line, conf=conf)
    try:
        return [folder for folder in (own, tuned, conf) if folder is not None and folder.is_dir()]
    except OSError as error:  # a name too long for a path, a folder that may not be looked into
        raise SettingsError(f"output: must be a folder that can be written, but: {error}; name another") from error


def tuned_folder(line: Line, *, conf: Path) -> Path:
    """Where searches of this `output` leave their best settings, one file tuned/NAME.yaml each."""
    output = OUTPUT
    for folder in (conf, line.config_dir or conf):
        local = folder / "local" / "default.yaml"
        if local.is_file():
            config_files.check(local)
            try:
                output = OmegaConf.select(OmegaConf.load(local), "output", default=output)
            except (OmegaConfBaseException, yaml.YAMLError) as error:
                raise SettingsError(f"{local}: {explain(error, line=line, folders=[])}") from error
            if not isinstance(output, str) or not output.strip():
                raise SettingsError(f"{local}: output: must name a folder, but is {output!r}")
    return Path(line.last("output") or output) / "tuned"


def with_search_path(line: Line, *, conf: Path) -> list[str]:
    """The overrides for Hydra, which is told where to look for +tuned=NAME.

    Raises:
        SettingsError: If nothing is there, nor in the user's own folders: Hydra would take `tuned` for a new key. Or if
            a folder that was named is not there.
    """
    words = list(line.words)
    named = [each for each in line.overrides if each.key_or_group == "hydra.searchpath"]
    places = [str(place) for each in named for place in each.value() or ()]  # type: ignore[union-attr]
    for place in places:
        if "://" not in place.removeprefix("file://") and not Path(place.removeprefix("file://")).is_dir():
            raise SettingsError(f"hydra.searchpath: {place!r} must be a folder, but there is none; name another")
    tuned = [each for each in line.overrides if each.key_or_group == "tuned" and not each.is_delete()]
    if not tuned:
        return words
    folder, own = tuned_folder(line, conf=conf), line.config_dir
    if folder.is_dir():
        path = ",".join(quoted(each) for each in (*places, f"file://{folder}"))
        words = [f"hydra.searchpath=[{path}]", *(word for word in words if not word.startswith("hydra.searchpath="))]
    elif not named and not (own and (own / "tuned").is_dir()):
        raise SettingsError(
            f"{tuned[-1].input_line}: `{folder}` must exist, but no search has left its best setting there; "
            "run one (tuning=lr_depth), or name its folder with output=FOLDER"
        )
    return words


def check_choices(choices: Mapping[str, str | None], *, folders: Sequence[Path]) -> None:
    """Check which files a config was composed of.

    Raises:
        SettingsError: If no experiment was chosen.
    """
    if choices.get("experiment") is None:
        raise SettingsError(
            f"`experiment` must be chosen: experiment=NAME, one of {', '.join(_choices(folders, 'experiment'))}; "
            "experiment=digits_mlp is a first try, and --help names what else can be typed"
        )


def explain(error: Exception, *, line: Line, folders: Sequence[Path], also: Mapping[str, str] | None = None) -> str:
    """A composition error of Hydra's in our words: the rule, the value, the fix, and what may have been meant.

    Args:
        error: What was raised.
        line: What was typed.
        folders: Where the files lie that a config may be composed of.
        also: What else the choices of conf/ are called, beside synonyms.py.
    """
    message = str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        return config_files.explain(error)
    if isinstance(error, RecursionError):
        return (
            "defaults: the files that were chosen lead back to themselves; look for one that names itself (an "
            "experiment that starts from another names its file: `- /experiment/NAME`)"
        )
    if group := _first(r"hydra/(launcher|sweeper)", message):
        return refuse_hydra(f"hydra/{group}", f"hydra/{group}")
    if told := _explain_defaults(message):
        return told
    if name := _first(r"Could not find '([^']+)'", message):
        group, _, choice = name.rpartition("/")
        return f"{group}: {unknown_name(choice, _offered(folders, group, line=line), also=also)}" if group else message
    if key := _first(r"Could not override '([^']+)'", message):
        whole = _first(r"full_key: (\S+)", f"{message} {error.__cause__}")  # of network={a: 1} it is network.a
        return _explain_key(whole if whole.startswith(f"{key}.") else key, folders=folders)
    if key := _first(r"Could not append to config. An item is already at '([^']+)'", message):
        return f"+{key}: is there already; leave the plus out to change it: {key}=VALUE"
    if key := _first(r"Could not delete from config. '([^']+)' does not exist", message):
        near = _nearest(key, known_keys(folders), groups_of(folders))
        return f"~{key}: cannot be taken out, as it is not there{near}"
    if isinstance(error.__cause__, OmegaConfBaseException) and message.startswith("Error merging override"):
        return f"{message.removeprefix('Error merging override ')}: {_one_line(str(error.__cause__))}"
    return _one_line(message) or type(error).__name__


def _explain_defaults(message: str) -> str:
    """What is wrong where a file's list of defaults chooses in a group in which conf/config.yaml has chosen already."""
    place = _first(r"In '([^']+)'", message)
    where = f"{place}.yaml: defaults" if place else "defaults"
    below = re.escape(place.rpartition("/")[0] or ".")  # where a group is looked for that has no slash before it
    group = (
        _first(r"Multiple values for ([\w/]+)", message)
        or _first(r"([\w/]+) appears more than once in the final", message)
        or _first(rf"Could not override '{below}/(\w+)[@']", message)
        or _first(rf"Could not find '{below}/(\w+)/", message)
    )
    if not group:
        return ""
    return f"{where}: `{group}` is chosen in conf/config.yaml already; another choice is `- override /{group}: NAME`"


def _explain_key(key: str, *, folders: Sequence[Path]) -> str:
    known = known_keys(folders)
    if key in known:
        return f"{key}: is no setting of what was chosen, but of {', '.join(sorted(known[key]))}; see --cfg job"
    if key.rpartition(".")[0] in OPEN_KEYS:
        return f"{key}: is not there yet; a plus adds it: +{key}=VALUE"
    return f"{key}: there is no such setting{_nearest(key, known, groups_of(folders))}"


def _nearest(key: str, known: Collection[str], groups: Collection[str]) -> str:
    """What may have been meant by a key that is none, as the end of a sentence."""
    if told := sentence_for(key):
        return f"; {told}"
    if meant := settings_meant(key, {*known, *groups}):
        return f"; did you mean {either(meant)}?"
    group = key.partition(".")[0]
    return f"; see --cfg job --package {group}" if group in groups else "; see --cfg job"


def _one_line(message: str) -> str:
    """The first lines of a message that say what is wrong, as one."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = itertools.takewhile(lambda line: not line.startswith(("full_key:", "object_type=", "Search path:")), lines)
    return " ".join(told)


def _offered(folders: Sequence[Path], group: str, *, line: Line) -> list[str]:
    """The choices of a group; of tuned settings those of the experiment, where there are any."""
    choices = _choices(folders, group)
    experiment = line.last("name") or line.last("experiment")
    return [name for name in choices if group == "tuned" and name.startswith(f"{experiment}-")] or choices


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _choices(folders: Sequence[Path], group: str) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def known_keys(folders: Sequence[Path]) -> dict[str, set[str]]:
    """Every key that some file states, dotted, with the choices that state it: {"data.length": {"data=imdb"}}."""
    keys: dict[str, set[str]] = {}
    stated = [
        (path, path.parent.relative_to(folder).parts)
        for folder in folders
        for pattern in ("*.yaml", "*/*.yaml")
        for path in folder.glob(pattern)
        if path.name != DEFAULTS
    ]
    for path, group in stated:
        is_global = "@package _global_" in path.read_text(encoding="utf-8", errors="replace")
        prefix = ".".join(group) + "." if group and not is_global else ""
        try:
            if not path.is_relative_to(folders[-1]):  # which is conf/
                config_files.check(path)
        except SettingsError:
            continue  # a file that was not chosen
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for key, value in content.items() if isinstance(content, dict) else ():
            if key in ("defaults", "hydra"):
                continue  # no settings of ours
            leaves = [f"{key!s}.{leaf!s}" for leaf in value] if isinstance(value, dict) else []
            for dotted in (f"{key!s}", *leaves):
                keys.setdefault(prefix + dotted, set()).add(f"{'/'.join(group)}={path.stem}")
    return keys
