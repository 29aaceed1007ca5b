"""A worker's world is made, not inherited: which variables it gets, and which of the user's are left out.

Frameworks and the libraries below them read variables that change what they compute, on one side only and without a
word: `KERAS_MAX_EPOCHS=1` lets one train one epoch of ten. So workers get a short list and
what is stated in `executor.environment`, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.execution.environment import PROJECT

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CC", "CXX",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_VERSION", "NCCL_VERSION",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
    # where OpenBLAS' own choice of kernels fails on a processor, its machine says another; it is recorded with the run
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE",
})  # fmt: skip
KEPT_PREFIXES = ("LC_", "TANDEM_", "NVIDIA_")
# What begins like this, or as a framework says (`FrameworkSpec.variables`), can change numbers, or how many processes
# take part: that it was left out is said and recorded.
TOLD_PREFIXES = (
    "MKL_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_", "NPY_", "NUMBA_", "ONEDNN_",
    "DNNL_", "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "GLOO_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "LSB_", "KUBEFLOW_",
    "TPU_", "MASTER_", "WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "MPL",
)  # fmt: skip
UNTOLD = {*THREAD_VARIABLES, "TF_NUM_INTEROP_THREADS", "TF_CPP_MIN_LOG_LEVEL"}  # stated here, or of no consequence


@dataclass(frozen=True, kw_only=True)
class WorkerEnvironment:
    """All variables of a worker, and the names of those that could have changed its numbers and were left out."""

    variables: Mapping[str, str]
    left_out: tuple[str, ...]

    @contextlib.contextmanager
    def in_force(self, **more: str) -> Iterator[None]:
        """Make this process's environment the workers', for as long as one is being started."""
        own = dict(os.environ)
        try:
            os.environ.clear()
            os.environ.update(self.variables, **more)
            yield
        finally:
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
        stated: `executor.environment`: what the user wants workers to have; it wins.
        told: How the variables begin that the frameworks at hand read.
    """
    kept = {name: value for name, value in inherited.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    made = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {
        "TF_NUM_INTEROP_THREADS": "1",
        "PYTHONPATH": str(PROJECT),  # before Python 3.13 a forkserver does not take over sys.path
        "PYTHONSAFEPATH": "1",  # nor may it find modules in the folder that the command happens to run in
    }
    if device == "cpu":
        made["CUDA_VISIBLE_DEVICES"] = ""
    left_out = [
        name
        for name in sorted(inherited)
        if name.startswith((*TOLD_PREFIXES, *told)) and name not in kept and name not in UNTOLD and name not in stated
    ]
    return WorkerEnvironment(variables=kept | made | dict(stated), left_out=tuple(left_out))
