"""What Hydra's composition refuses, said in our words; which files of conf/ a config may be composed of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from experiments.errors import SettingsError
from experiments.task.checks import unknown_name


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
        return f"{group}: {unknown_name(choice, _choices(conf, group))}" if group else message
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
