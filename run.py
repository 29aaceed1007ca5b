"""The command: conf -> settings -> sweep -> report. Wiring only; importing it imports no framework.

Hydra's loader composes and expands; nothing is run by Hydra. Then the sweep starts.
"""

from __future__ import annotations

import gc
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # PYTHONSAFEPATH leaves it out

from experiments.execution import own_process

if __name__ == "__main__":
    own_process.settle()  # before anything is imported that reads a variable
    gc.disable()  # nothing that is imported is garbage, and to look for some takes a fifth of the time

import functools
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from experiments import command_line, composer, composition, config_files, ending, interruption, mistyped
from experiments.errors import ExitCode, SettingsError, is_no_room
from experiments.execution import environment
from experiments.uris import without_password

if TYPE_CHECKING:
    from experiments.job import Job
    from experiments.records import SweepRecord
    from experiments.tracking.store import Store

CONF = Path(__file__).resolve().parent / "conf"
PYPROJECT = CONF.parent / "pyproject.toml"
FOR_DOCTOR = "mnist_cnn"  # what is trained for a moment, on drawn images, where no experiment is named


def jobs_from(typed: Sequence[str]) -> list[Job]:
    """Compose and check the configs of a command line, each as it is composed: `typed` is as sys.argv has it.

    Raises:
        SettingsError: If anything is wrong with the line, or with a config: all that is wrong with the first such.
    """
    if "--version" in typed[1:]:
        from experiments import versions

        sys.stdout.write(f"{versions.told(PYPROJECT)}\n")
        sys.exit(ExitCode.ALL_GOOD)
    line = command_line.read(typed[1:], vocabulary=vocabulary())
    if line.last("action") == "doctor" and line.last("experiment") is None:
        line = command_line.read([*typed[1:], f"experiment={FOR_DOCTOR}"], vocabulary=vocabulary())
    folders = composition.config_folders(line, conf=CONF)
    jobs = [_job(each, folders=folders) for each in _composed(line, folders=folders)]
    if line.prints:
        sys.exit(ExitCode.ALL_GOOD)
    if not jobs:
        raise SettingsError(
            f"{' '.join(line.lists)}: matches nothing, so that there is nothing to run; --help names the choices"
        )
    return jobs


def vocabulary() -> mistyped.Vocabulary:
    """The words that can be typed: those of conf/."""

    def texts() -> Collection[str]:
        from experiments import settings  # what a job is made of, which neither help nor a wrong word needs

        return settings.text_keys()

    keys = functools.cache(lambda: composition.known_keys([CONF]).keys())
    return mistyped.Vocabulary(groups=composition.groups_of([CONF]), keys=keys, texts=texts)


def _job(composed: composer.Composed, *, folders: Sequence[Path]) -> Job:
    composition.check_choices(composed.choices, folders=folders)
    from experiments import settings
    from frameworks import FRAMEWORKS

    return settings.job_from(
        composed.config,
        frameworks=tuple(FRAMEWORKS),
        choices=composed.choices,
        overrides=tuple(without_password(word) for word in composed.overrides),
    )


def _composed(line: command_line.Line, *, folders: Sequence[Path]) -> Iterator[composer.Composed]:
    """Have Hydra compose what was typed, job by job, or print what is asked for; say its refusals in our words."""
    config_files.check_what_hydra_reads(conf=CONF)
    words = composition.with_search_path(line, conf=CONF)
    try:
        loader = composer.Loader(conf=CONF, config_dir=line.config_dir)
        if line.prints:
            composer.print_what_is_asked_for(line, words, loader=loader)
        else:
            yield from composer.jobs(line, words, loader=loader)
    except (SettingsError, MemoryError):
        raise
    except OSError as error:
        if isinstance(error, HydraException) or not is_no_room(error):
            raise _refusal(error, line=line, folders=folders) from error
        raise
    except Exception as error:  # what Hydra's parts, OmegaConf and PyYAML make of what was typed
        raise _refusal(error, line=line, folders=folders) from error
    except SystemExit as left:  # --cfg job --package with no such key, which Hydra has said
        sys.exit(ExitCode.BAD_INPUT if left.code else ExitCode.ALL_GOOD)


def _refusal(error: Exception, *, line: command_line.Line, folders: Sequence[Path]) -> SettingsError:
    from frameworks import FRAMEWORKS

    also = {word: name for name, known in FRAMEWORKS.items() for word in known.also_called}
    return SettingsError(composition.explain(error, line=line, folders=folders, also=also))


def carry_out(jobs: list[Job], *, command: str) -> ExitCode:
    """Do what the jobs of `command`, as it was typed, ask for."""
    import frameworks
    from experiments import abilities
    from experiments.data import download
    from experiments.folders import require_folders

    if jobs[0].action == "doctor":
        return examine(jobs)
    require_folders(jobs[0], cache=None)
    if jobs[0].action == "report":
        return report_again(jobs)
    cache = download.cache_folder(otherwise=Path(jobs[0].output) / ".cache")  # in a folder that is known by now
    require_folders(jobs[0], cache=cache)
    abilities.check(jobs, frameworks=frameworks.FRAMEWORKS)  # before what reads, trains and keeps is imported

    from rich.console import Console

    from experiments.phases import phase

    console = Console()
    with phase("Reading the data", console=console):
        from experiments import ladder, preparation, training

        sweep = preparation.prepare(
            jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command=command, console=console
        )
    uri = jobs[0].tracking.uri
    if jobs[0].action == "parity":
        sweep.executor.warm_up()
        with phase("Opening the store", console=console):
            from experiments.parity import action

            store = open_store(uri, cache=cache)
        certificates = action.carry_out(
            sweep, frameworks=frameworks.FRAMEWORKS, store=store, load=frameworks.load, console=console
        )
        all_passed = all(certificate.passed for certificate in certificates)
        return ExitCode.ALL_GOOD if all_passed else ExitCode.SOME_FAILED
    if ladder.is_asked_for(sweep.comparison):
        sweep = ladder.expanded(sweep, load=frameworks.load, console=console)
    if not training.seems_done(sweep, uri=uri):
        sweep.executor.warm_up()
    with phase("Opening the store", console=console):
        from experiments import report

        store = open_store(uri, cache=cache)
    record = training.carry_out(sweep, store=store, load=frameworks.load, console=console)
    inputs = {fingerprint: dataset.x_test for fingerprint, dataset in sweep.datasets.items()}
    folder, look = sweep.folder / "report", _look(jobs[0])
    from experiments.doctor import action as doctor

    doctor.beside_report(folder, output=sweep.output, cache=cache, project=PYPROJECT)
    report.publish(record, store=store, folder=folder, console=console, inputs=inputs, **look)
    return exit_code_of(record)


def examine(jobs: Sequence[Job]) -> ExitCode:
    """Look at this machine and what is installed on it."""
    import frameworks
    from experiments.data import download

    cache = download.cache_folder(otherwise=Path(jobs[0].output) / ".cache")
    from rich.console import Console

    from experiments.doctor import action

    console = Console()
    is_well = action.carry_out(
        jobs, frameworks=frameworks.FRAMEWORKS, load=frameworks.load, cache=cache, project=PYPROJECT, console=console
    )
    return ExitCode.ALL_GOOD if is_well else ExitCode.SOME_FAILED


def open_store(uri: str, *, cache: Path | None) -> Store:
    """Open the tracking store, which is the last that takes long to import."""
    from experiments.contract import optional_packages

    with optional_packages.hidden():
        from experiments.tracking.store import Store
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return Store(uri, cache=cache)


def report_again(jobs: list[Job]) -> ExitCode:
    """Make the report of a sweep that is kept, or of several together."""
    from rich.console import Console

    from experiments.phases import phase

    console, job = Console(), jobs[0]
    with phase("Opening the store", console=console):
        from experiments import records, report

        store = open_store(job.tracking.uri, cache=None)
    experiment_id = store.experiment(job.task.name, description=job.description)
    with phase("Reading the runs", console=console):
        sweep_ids = list(dict.fromkeys(store.reader.find_sweep(experiment_id, each.sweep) for each in jobs))
        record = store.reader.read_sweep(sweep_ids[0])
        if len(sweep_ids) > 1:
            together = store.open_report(experiment_id, sweep_ids)
            record = records.merged([store.reader.read_sweep(each) for each in sweep_ids], sweep_id=together)
    folder = Path(job.output) / "reports" / record.sweep_id
    report.publish(record, store=store, folder=folder, console=console, **_look(job))
    return exit_code_of(record)


def _look(job: Job) -> dict[str, Any]:
    """How a job's report looks: the colours of the frameworks, and the form of its pictures."""
    from frameworks import FRAMEWORKS

    return {"colours": {name: known.colour for name, known in FRAMEWORKS.items()}, "as_png": job.figures == "png"}


def exit_code_of(record: SweepRecord) -> ExitCode:
    """Whether all went well: a run that diverged did not."""
    from experiments import divergence

    return ExitCode.ALL_GOOD if divergence.judged(record).is_clean else ExitCode.SOME_FAILED


def wants_debugging(typed: Sequence[str]) -> bool:
    """Whether tracebacks are to be shown: TANDEM_DEBUG=1, or hydra.verbose=true."""
    verbose = [word.partition("=")[2] for word in typed if word.lstrip("+").startswith("hydra.verbose=")]
    return os.environ.get("TANDEM_DEBUG", "0") not in ("", "0") or verbose[-1:] not in ([], ["false"])


def main() -> ExitCode:
    """Run the command; whatever ends it is told in a sentence."""
    interruption.heed_signals()
    environment.make_up_for_no_account()
    typed = tuple(sys.argv)
    jobs: list[Job] = []
    try:
        jobs = jobs_from(typed)
        return carry_out(jobs, command=without_password(shlex.join(["python", *typed])))
    except (Exception, KeyboardInterrupt, interruption.Terminated) as error:
        return ending.end(error, output=Path(jobs[0].output) if jobs else None, debug=wants_debugging(typed))


if __name__ == "__main__":
    from experiments.execution import temporary

    temporary.use_own_folder()
    interruption.send_lost_signals_again()
    try:
        own_process.leave_with(main)
    finally:
        if not gc.isenabled():  # it ended before the store was opened
            gc.freeze()  # and to look for garbage at the end takes time as well
