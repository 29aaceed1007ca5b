"""A worker's world is made, not inherited: which variables it gets, and which of the user's are left out.

Frameworks and the libraries below them read variables that change what they compute, on one side only and without a
word: `KERAS_MAX_EPOCHS=1` lets one train one epoch of ten. So workers get a short list and what is stated in
`executor.environment`, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from experiments.execution import own_process
from experiments.execution.environment import PROJECT
from experiments.records import STATED_VARIABLE

KEPT_BYTES = str(2**30)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
# The last bits of what NumPy computes depend on these as on the processor: where OpenBLAS' own choice of kernels fails
# on one, its machine says another.
RECORDED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "TERM", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
    "LANG", "LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "TANDEM_CACHE", "TANDEM_DEBUG", *RECORDED,
})  # fmt: skip
# What begins like this, or as a framework says (`FrameworkSpec.variables`), can change numbers, or how many processes
# take part: that it was left out is said and recorded.
TOLD_PREFIXES = (
    "MKL_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_", "NPY_", "NUMBA_", "ONEDNN_",
    "DNNL_", "CUDA_", "NVIDIA_", "CUBLAS_", "CUDNN_", "NCCL_", "GLOO_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "LSB_",
    "KUBEFLOW_", "TPU_", "MASTER_", "WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "LD_PRELOAD",
    "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONHASHSEED",
)  # fmt: skip
# Stated here, or of no consequence: a container's images have some of these.
UNTOLD = {
    *THREAD_VARIABLES, "TF_NUM_INTEROP_THREADS", "TF_CPP_MIN_LOG_LEVEL", "CUDA_VERSION", "NCCL_VERSION",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA", "NVIDIA_PRODUCT_NAME",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment:
    """All variables of a worker, and the names of those that could have changed its numbers, or the report's."""

    variables: Mapping[str, str]
    left_out: tuple[str, ...]
    stated: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """What a run, or a certificate, is recorded with: what was stated or may matter, and what was left out."""
        inherited = {f"inherited.{name}": self.variables[name] for name in RECORDED if name in self.variables}
        stated = {f"{STATED_VARIABLE}{name}": value for name, value in self.stated.items()}
        return inherited | stated | ({"environment_left_out": " ".join(self.left_out)} if self.left_out else {})

    @contextlib.contextmanager
    def in_force(self, **more: str) -> Iterator[None]:
        """Make this process's environment and module path the workers', for as long as one is being started.

        What was started is not: multiprocessing has every worker run `__main__` again, of which none needs anything.
        """
        own, own_path, own_main = dict(os.environ), list(sys.path), sys.modules["__main__"]
        try:
            os.environ.clear()
            os.environ.update(self.variables, **more)
            stated = self.variables["PYTHONPATH"].split(os.pathsep)[1:]
            sys.path[:] = [*own_process.module_path(), *stated]
            sys.modules["__main__"] = ModuleType("__main__")
            yield
        finally:
            sys.modules["__main__"] = own_main
            sys.path[:] = own_path
            os.environ.clear()
            os.environ.update(own)


def worker_environment(
    inherited: Mapping[str, str],
    *,
    threads: int,
    device: str,
    stated: Mapping[str, str],
    told: Sequence[str] = (),
) -> WorkerEnvironment:
    """Make it.

    Args:
        inherited: The variables of the parent.
        threads: For every library that counts its own.
        device: "cpu" or "gpu"; on a CPU no GPU is visible.
        stated: `executor.environment`: what the user wants workers to have; it wins, but the project is found first.
        told: How the variables begin that the frameworks at hand read.
    """
    kept = {name: value for name, value in inherited.items() if name in KEPT}
    made = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {
        "TF_NUM_INTEROP_THREADS": "1",
        # Freed memory stays with the process: the C library would give it back and map it anew in every step.
        "MALLOC_TRIM_THRESHOLD_": KEPT_BYTES,
        "MALLOC_MMAP_THRESHOLD_": KEPT_BYTES,
        "PYTHONSAFEPATH": "1",  # no module is found in the folder that the command happens to run in
    }
    # Before Python 3.13 a forkserver does not take over sys.path.
    found = {"PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), stated.get("PYTHONPATH"))))}
    if device == "cpu":
        made["CUDA_VISIBLE_DEVICES"] = ""
    left_out = [
        name
        for name in sorted(inherited.keys() - kept.keys() - UNTOLD - stated.keys())
        if name.startswith((*TOLD_PREFIXES, *told)) or own_process.is_left_out(name)
    ]
    return WorkerEnvironment(variables=kept | made | dict(stated) | found, left_out=tuple(left_out), stated=stated)
