"""What Hydra's composition refuses, said in our words; which files of conf/ a config may be composed of."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from experiments.errors import SettingsError
from experiments.task.checks import unknown_name

OUTPUT = "outputs"  # as conf/config.yaml has it


def config_folders(arguments: Sequence[str], *, conf: Path) -> list[Path]:
    """Where the files of a command line may lie: the user's own --config-dir, what searches left behind, conf/."""
    own = _config_dir(arguments)
    folders = (own, tuned_folder(arguments, conf=conf), conf)
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def _config_dir(arguments: Sequence[str]) -> Path | None:
    for word, following in itertools.pairwise([*arguments, ""]):
        option, has_value, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            return Path(value if has_value else following)
    return None


def tuned_folder(arguments: Sequence[str], *, conf: Path) -> Path:
    """Where searches of this `output` leave their best settings, one file tuned/NAME.yaml each."""
    output = OUTPUT
    for folder in (conf, _config_dir(arguments) or conf):
        local = folder / "local" / "default.yaml"
        if local.is_file():
            output = OmegaConf.select(OmegaConf.load(local), "output", default=output)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+") == "output":
            output = value.strip("'\"")
    return Path(output) / "tuned"


def with_search_path(arguments: Sequence[str], *, conf: Path) -> list[str]:
    """The arguments, and before +tuned=NAME where Hydra is to look for it.

    Raises:
        SettingsError: If nothing is there, nor in the user's own folders: Hydra would take `tuned` for a new key.
    """
    folder = tuned_folder(arguments, conf=conf)
    own = _config_dir(arguments)
    has_own = any(word.startswith("hydra.searchpath=") for word in arguments) or (own and (own / "tuned").is_dir())
    words: list[str] = []
    for argument in arguments:
        if argument.startswith("+tuned=") and folder.is_dir():
            words.append(f"hydra.searchpath=['file://{folder}']")
        elif argument.startswith("+tuned=") and not has_own:
            raise SettingsError(
                f"{argument}: `{folder}` must exist, but no search has left its best setting there; "
                "run one (tuning=lr_depth), or name its folder with output=FOLDER"
            )
        words.append(argument)
    return words


def check_choices(choices: Mapping[str, str | None], *, folders: Sequence[Path]) -> None:
    """Check which files a config was composed of.

    Raises:
        SettingsError: If no experiment was chosen, or a launcher of Hydra's was.
    """
    if choices["experiment"] is None:
        raise SettingsError(
            f"`experiment` must be chosen: experiment=NAME, one of {', '.join(_choices(folders, 'experiment'))}"
        )
    if choices["hydra/launcher"] != "basic":
        raise SettingsError(_refuse_launcher(str(choices["hydra/launcher"])))


def _refuse_launcher(name: str) -> str:
    return (
        f"hydra/launcher={name}: Hydra's jobs only collect configs here, workers of our own train them; "
        "leave the launcher alone and set executor.workers=N to train N at a time"
    )


def explain(error: Exception, *, folders: Sequence[Path]) -> str:
    """A composition error of Hydra's in our words: the rule, the value, the fix, and what may have been meant."""
    message = str(error)
    if "hydra/launcher" in message:
        return _refuse_launcher(_first(r"hydra/launcher/(\w+)", message))
    if name := _first(r"Could not find '([^']+)'", message):
        group, _, choice = name.rpartition("/")
        return f"{group}: {unknown_name(choice, _choices(folders, group))}" if group else message
    if key := _first(r"Could not override '([^']+)'", message):
        known = _known_keys(folders)
        if key in known:
            return f"{key}: is no setting of what was chosen, but of {', '.join(sorted(known[key]))}; see --cfg job"
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
        return f"{key}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "; see --cfg job")
    return message.splitlines()[0] if message else type(error).__name__


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _choices(folders: Sequence[Path], group: str) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _known_keys(folders: Sequence[Path]) -> dict[str, set[str]]:
    """Every key that some file states, dotted, with the choices that state it: {"data.length": {"data=imdb"}}."""
    keys: dict[str, set[str]] = {}
    stated = [(path, path.parent.relative_to(folder).parts) for folder in folders for path in folder.rglob("*.yaml")]
    for path, group in stated:
        prefix = ".".join(group) + "." if group and group[0] != "experiment" else ""
        content = OmegaConf.to_container(OmegaConf.load(path))
        for key, value in content.items() if isinstance(content, dict) else ():
            leaves = [f"{key!s}.{leaf!s}" for leaf in value] if isinstance(value, dict) else []
            for dotted in (f"{key!s}", *leaves):
                keys.setdefault(prefix + dotted, set()).add(f"{'/'.join(group)}={path.stem}")
    return keys
