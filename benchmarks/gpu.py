"""The first run on a GPU, in under 8 minutes and without a network; writes docs/gpu.md.

    python -m benchmarks.gpu pack FOLDER [--python 3.12]    beforehand, with a network: wheels, Fashion-MNIST's files
    pip install --no-index --no-deps FOLDER/wheels/*.whl    there, beside PyTorch, JAX and Lightning
    python -m benchmarks.gpu run FOLDER [--device cpu]      doctor, certificates, trainings, times; again: goes on

Each part is a process, and is stopped at its time limit; what fails is recorded. --device cpu tries all of it, small.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_pack, gpu_page
from benchmarks.gpu_page import RESULTS
from experiments.data import download
from experiments.errors import ExitCode
from experiments.execution import environment
from experiments.execution.environment import PROJECT

LEAST_SECONDS = 5.0
ON_A_CPU = 3.0  # times as long may a part take, and all of them
PART = "from benchmarks import gpu_parts; gpu_parts.main()"


def run(folder: Path, *, device: str, page: Path) -> dict[str, Any]:
    """Do the parts that are not done yet; write FOLDER/gpu.json and the page after each.

    Args:
        folder: Of `pack`, or any: what is kept goes there.
        device: "gpu" or "cpu".
        page: docs/gpu.md, or another file.
    """
    results: dict[str, Any] = {"device": device, "facts": environment.facts(), "parts": {}}
    kept = folder / RESULTS
    if kept.is_file():
        earlier = json.loads(kept.read_text())
        if earlier["device"] == device:
            results["parts"] = earlier["parts"]  # each until it is done again
    factor = ON_A_CPU if device == "cpu" else 1.0
    ends = time.monotonic() + gpu_page.MOST_SECONDS * factor
    for name, limit in gpu_page.LIMITS.items():
        part, seconds = results["parts"].get(name), min(limit * factor, ends - time.monotonic())
        if part and (is_over(part) or seconds < LEAST_SECONDS):
            continue
        print(f"{name} (at most {seconds:.0f} s) ...", flush=True)
        results["parts"][name] = part = _part(name, folder=folder, device=device, seconds=seconds)
        print(f"{name}: {part['status']}, {part['seconds']:.0f} s", flush=True)
        kept.write_text(json.dumps(results, indent=1) + "\n")
        page.write_text(gpu_page.page(results))
    return results


def is_over(part: Mapping[str, Any]) -> bool:
    """Whether it has not to be done again here."""
    return str(part["status"]).startswith(("done", "skipped"))


def _part(name: str, *, folder: Path, device: str, seconds: float) -> dict[str, Any]:
    """Do a part in a process of its own, with all that it starts; what it wrote counts however it ended."""
    found, log = folder / f"{name}.json", folder / f"{name}.log"
    found.unlink(missing_ok=True)
    if seconds < LEAST_SECONDS:
        return {"status": "not run: no time was left", "seconds": 0.0, "found": None}
    began = time.monotonic()
    words = [sys.executable, "-c", PART, name, str(folder.resolve()), device]
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(timeout=seconds)
            status = "done" if code == 0 and found.is_file() else f"failed with {code}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {seconds:.0f} s"
        finally:
            _end_all(process)
    said = log.read_text(errors="replace").strip().splitlines()[-15:] if status != "done" else []
    content = json.loads(found.read_text()) if found.is_file() else None
    if content and "skipped" in content:
        status, content = f"skipped: {content['skipped']}", None
    return {"status": status, "seconds": time.monotonic() - began, "found": content, "said": said}


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End the part's process and its own: they have a session of theirs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def main(typed: Sequence[str]) -> ExitCode:
    """Pack, or run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["pack", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--page", type=Path, help="instead of docs/gpu.md, which only a GPU writes")
    asked = parser.parse_args(typed)
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if asked.what == "pack":
        print(gpu_pack.pack(folder, python=asked.python, cache=download.cache_folder(otherwise=folder / "cache")))
        return ExitCode.ALL_GOOD
    page = asked.page or (PROJECT / "docs" / "gpu.md" if asked.device == "gpu" else folder / "gpu.md")
    results = run(folder, device=asked.device, page=page)
    print(f"written: {page} and {folder / RESULTS}")
    return ExitCode.ALL_GOOD if all(map(is_over, results["parts"].values())) else ExitCode.SOME_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
