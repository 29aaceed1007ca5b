"""`action=doctor`: look, judge, show one page and leave it beside the reports as doctor.json."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.contract import FrameworkSpec, Load
from experiments.doctor import findings, machine, packages, probes, stores
from experiments.doctor.check import Check, State, has_wrong, judged
from experiments.doctor.probes import Brief
from experiments.errors import SettingsError, StoreUnavailable, notice
from experiments.execution import environment, own_process
from experiments.execution.devices import choose_device, visible_gpus
from experiments.execution.executor import Failed, LocalExecutor, WorkItem
from experiments.fingerprint import plain
from experiments.folders import require_folders
from experiments.job import Job
from experiments.phases import phase

FILE = "doctor.json"
STYLES: dict[State, str] = {"ok": "green", "worth knowing": "yellow", "wrong": "bold red"}
ABSOLUTE = re.compile(r"(?<![\w.])/+\w")  # /home/me, sqlite:////home/me, http://host; not GFLOP/s
ELSEWHERE = f"outputs/{FILE} of that machine has it, with its paths"
SECONDS = 60.0  # after which a worker hangs


def carry_out(
    jobs: Sequence[Job],
    *,
    frameworks: Mapping[str, FrameworkSpec],
    load: Load,
    cache: Path,
    project: Path,
    console: Console,
) -> bool:
    """Look at everything; return whether nothing is wrong.

    Args:
        jobs: What was asked for: their frameworks are looked at, with the first one's task and executor.
        frameworks: Name -> what is known of it.
        load: `frameworks.load`, called in workers.
        cache: Where data are kept.
        project: pyproject.toml.
        console: Where the page is shown.
    """
    began = time.monotonic()
    job, names = jobs[0], list(dict.fromkeys(each.framework.name for each in jobs))
    with tempfile.TemporaryDirectory() as folder:
        executor = _executor(job, {name: frameworks[name] for name in names}, folder=Path(folder))
        executor.warm_up()
        with phase("Looking at the machine and what is installed", console=console):
            checks = of_machine(job, cache=cache, project=project)
            checks += machine.variables(executor.environment)
            checks += machine.cached(cache)
        found = _asked(job, executor, frameworks={name: frameworks[name] for name in names}, load=load, console=console)
        checks += findings.judge(
            found, frameworks=executor.frameworks, n_gpus=len(visible_gpus()), device=executor.device
        )
        checks += findings.of_trainings(found)
    show(checks, console=console)
    content = {"found": found, "checks": plain(checks), "seconds": round(time.monotonic() - began, 1)}
    kept = _keep(content, output=Path(job.output))
    console.print(f"{content['seconds']:.0f} s; {kept}", style="dim", highlight=False, markup=False, soft_wrap=True)
    return not has_wrong(checks)


def of_machine(job: Job, *, cache: Path, project: Path) -> list[Check]:
    """All that is told without a framework."""
    pins = packages.Pins.of(project)
    every = packages.installed()
    checks = packages.in_range(pins, packages.versions(pins)) + packages.conflicts(pins, every)
    needed = {each.name.lower().replace("_", "-") for each in pins.needed}
    modules = {module for each in every if each.name in needed for module in each.modules}
    stated = own_process.inherited().get("PYTHONPATH", "").split(os.pathsep)
    folders = [Path.cwd(), *(Path(folder) for folder in stated if folder)]
    checks += packages.shadows(modules, folders=[each.resolve() for each in folders], project=project.parent)
    output = Path(job.output)
    seen, where = machine.look(output=output, cache=cache), machine.places(output, cache)
    checks += machine.checks(seen, executor=job.executor, where=where)
    checks += stores.checks(job.tracking.uri)
    try:
        require_folders(job, cache=cache)
    except StoreUnavailable:
        return checks  # as was found above
    except SettingsError as error:
        checks += [judged("Memory and disk", line, wrong=True, fix="name another") for line in str(error).splitlines()]
    return checks


def _executor(job: Job, frameworks: Mapping[str, FrameworkSpec], *, folder: Path) -> LocalExecutor:
    settings = dataclasses.replace(job.executor, workers=1, devices=1, time_limit_seconds=SECONDS)
    return LocalExecutor(
        settings=settings,
        device=choose_device(job.executor.device),
        frameworks=frameworks,
        folder=folder,
        inherited=own_process.inherited(),
    )


def _asked(
    job: Job, executor: LocalExecutor, *, frameworks: Mapping[str, FrameworkSpec], load: Load, console: Console
) -> dict[str, Any]:
    """What workers found: one process at a time, so that none slows another down."""
    found: dict[str, Any] = {"machine": environment.facts(), "frameworks": {}}
    with phase("Starting the frameworks", console=console):
        found["fetch"] = _one(executor, "", probes.fetch, job.task.training.batch_size)
    for name, spec in frameworks.items():
        with phase(f"Asking {name}", console=console):
            found["frameworks"][name] = _one(executor, name, probes.look, name, spec.probe, load)
    for name, spec in frameworks.items():
        brief = findings.brief(job, name, spec=spec, device=executor.device)
        if isinstance(brief, Brief):
            with phase(f"Training twice with {name}", console=console):
                twice = [_one(executor, name, probes.train_briefly, brief, load) for _ in range(2)]
        else:
            twice = [brief]
        found["frameworks"][name]["trained"] = twice
    return found


def _one(executor: LocalExecutor, framework: str, target: Any, *arguments: Any) -> Any:
    """What a fresh process emitted that may load `framework`, or {"failed": why}."""
    item = WorkItem(
        target=target,
        arguments=arguments,
        log=executor.folder / f"{framework}-{target.__name__}.log",
        framework=framework,
    )
    events = [event for _, event in executor.run([item])]
    failure = next((event for event in events if isinstance(event, Failed)), None)
    return events[0] if failure is None else {"failed": failure.reason}


def show(checks: Sequence[Check], *, console: Console) -> None:
    """The page: a line for each check, what is wrong with its fix."""
    table = Table(show_header=False, box=None, padding=(0, 1), pad_edge=False)
    part = ""
    for check in checks:
        fix = f"\n-> {check.fix}" if check.fix else ""
        title = check.part if check.part != part else ""
        style = STYLES[check.state]
        table.add_row(title, f"[{style}]{check.state}[/]", escape(f"{check.told}{fix}"))
        part = check.part
    console.print(table, highlight=False)
    counts = {state: sum(check.state == state for check in checks) for state in STYLES}
    told = ", ".join(f"{number} {state}" for state, number in counts.items())
    console.print(told, style=STYLES["wrong" if has_wrong(checks) else "ok"], highlight=False)


def _keep(content: Mapping[str, Any], *, output: Path) -> str:
    """Write doctor.json; say where, or why not."""
    path = output / FILE
    stamped = {"made": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **content}
    try:
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stamped, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        return f"{path} cannot be written ({error.strerror})"
    return f"kept in {path}"


def beside_report(folder: Path, *, output: Path, cache: Path, project: Path) -> None:
    """Leave doctor.json with a sweep's report: what an earlier doctor found on this machine, and what is so now.

    Costs some hundredths of a second; nothing is started. It goes where others read it: no path of this machine is in
    it. Where it cannot be made, a line says so.

    Args:
        folder: Of the report.
        output: Where `action=doctor` leaves its own.
        cache: Where data are kept.
        project: pyproject.toml.
    """
    try:
        pins = packages.Pins.of(project)
        now = {"versions": packages.versions(pins), "machine": plain(machine.look(output=output, cache=cache))}
        content = {"of_this_sweep": now, "doctor": _earlier(output) or "action=doctor was not run here"}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(without_paths(content), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        notice(f"The report goes without {FILE}, which cannot be made: {error.strerror or error}.")
        with contextlib.suppress(OSError):
            (folder / FILE).unlink(missing_ok=True)  # half of it, or an earlier sweep's


def _earlier(output: Path) -> Any:
    """What `action=doctor` left here, if it was on this machine."""
    try:
        earlier = json.loads((output / FILE).read_text(encoding="utf-8"))
        return earlier if earlier["found"]["machine"]["host"] == environment.facts()["host"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def without_paths(content: Any) -> Any:
    """The same, but for each text that holds an absolute path or an address, which name users and hosts."""
    if isinstance(content, Mapping):
        return {key: without_paths(each) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [without_paths(each) for each in content]
    return ELSEWHERE if isinstance(content, str) and ABSOLUTE.search(content) else content
