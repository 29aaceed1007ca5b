"""Every variable that an installed library reads is kept out of the workers, or stands here with the reason.

A new version that reads one more of those that workers get makes the first test red: say here why it may.
"""

import pytest
from read_variables import PYTHON, read_by

import frameworks
from experiments.execution import own_process
from experiments.execution.worker_environment import KEPT, RECORDED, worker_environment

PLACE = "a folder or a list of them: where files and programs are found, not what is computed"
LOCALE = "the language of messages; no library here calls setlocale, so numbers are written in the C locale"
NETWORK = "how the network is reached; nothing is fetched in a worker"
COMPILER = "which compiler builds the kernels of training.jit=true; their arithmetic is the source's"
DEVICE = "which GPUs are seen; on a CPU it is set, on a GPU the device is recorded with the run"
HARMLESS = {
    "PATH": (PLACE, "mlflow numpy tensorflow torch"),
    "HOME": (PLACE + "; Keras' own, where keras.json would be, is an empty one", "mlflow numpy tensorflow torch"),
    "TMPDIR": (PLACE, "tensorflow torch"),
    "TEMP": (PLACE, "tensorflow torch"),
    "TMP": (PLACE, "tensorflow torch"),
    "XDG_CACHE_HOME": (PLACE, "matplotlib tensorflow torch"),
    "XDG_CONFIG_HOME": (PLACE + "; a matplotlibrc there changes no number", "matplotlib mlflow tensorflow torch"),
    "LD_LIBRARY_PATH": (PLACE + ", CUDA's among them", "numpy tensorflow torch"),
    "DYLD_LIBRARY_PATH": (PLACE, "torch"),
    "CUDA_HOME": (PLACE, "tensorflow torch"),
    "CUDA_PATH": (PLACE, "torch"),
    "USER": ("part of the name of TorchInductor's folder, for a user without an entry in passwd", "mlflow torch"),
    "TERM": ("whether a terminal shows colours; a worker's streams are files", "rich tensorflow"),
    "LANG": (LOCALE, "tensorflow torch"),
    "LC_ALL": (LOCALE, "tensorflow torch"),
    "LC_MESSAGES": (LOCALE, "tensorflow"),
    "HTTP_PROXY": (NETWORK, "mlflow"),
    "HTTPS_PROXY": (NETWORK, "mlflow tensorflow"),
    "NO_PROXY": (NETWORK, "mlflow tensorflow"),
    "http_proxy": (NETWORK, "mlflow tensorflow"),
    "https_proxy": (NETWORK, "mlflow tensorflow"),
    "no_proxy": (NETWORK, "mlflow tensorflow"),
    "SSL_CERT_FILE": (NETWORK, "mlflow tensorflow"),
    "SSL_CERT_DIR": (NETWORK, "tensorflow"),
    "CC": (COMPILER, "numpy torch"),
    "CXX": (COMPILER, "numpy torch"),
    "CUDA_VISIBLE_DEVICES": (DEVICE, "pytorch_lightning tensorflow torch"),
    "CUDA_DEVICE_ORDER": (DEVICE, "pytorch_lightning"),
}
# Found by hand in the documentation: that the search below finds them shows that it searches.
KNOWN = {
    "keras": {"KERAS_HOME", "KERAS_BACKEND", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"},
    "tensorflow": {"TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "TF_USE_LEGACY_KERAS"},
    "pytorch_lightning": {"CUDA_DEVICE_ORDER"},
    "lightning_fabric": {"SLURM_NTASKS", "SLURM_JOB_NAME", "WORLD_SIZE", "PL_GLOBAL_SEED"},
    "torch": {"TORCHINDUCTOR_CACHE_DIR", "TORCH_LOGS"},
    "numpy": {"NPY_PROMOTION_STATE", "NUMPY_MADVISE_HUGEPAGE"},
    "mlflow": {"MLFLOW_RUN_ID", "MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_TRACKING_URI"},
    "matplotlib": {"MATPLOTLIBRC", "MPLBACKEND"},
}


@pytest.fixture(scope="module")
def read():
    """Library -> every word in it that may name a variable."""
    return {name: read_by(name) for name in PYTHON}


@pytest.mark.parametrize("name", KNOWN)
def test_the_search_finds_what_is_known_to_be_read(read, name):
    assert KNOWN[name] - read[name] == set()


def test_a_variable_that_a_library_reads_is_kept_out_or_harmless_for_a_reason(read):
    words = set().union(*read.values())
    hostile = dict.fromkeys(words, "hostile")
    given = worker_environment(hostile, threads=1, device="gpu", stated={}, told=()).variables
    let_through = {name for name in words if given.get(name) == "hostile"}
    found = {name: {library for library in PYTHON if name in read[library]} for name in let_through - set(RECORDED)}
    assert {name: libraries - set(HARMLESS.get(name, ("", ""))[1].split()) for name, libraries in found.items()} == {
        name: set() for name in found
    }
    assert found.keys() <= HARMLESS.keys() <= KEPT


def test_what_changes_numbers_is_told(read):
    """Silence is for what has no meaning here: it is not to cover the variables that this is about."""
    told = [prefix for spec in frameworks.FRAMEWORKS.values() for prefix in spec.variables]
    hostile = {
        name: "hostile"
        for name in set().union(*read.values())
        if name.startswith(
            ("KERAS_", "TF_", "XLA_", "ONEDNN_", "DNNL_", "PL_", "SLURM_", "TORCH", "NVIDIA_TF32", "OMP_")
        )
    }
    made = worker_environment(hostile, threads=1, device="gpu", stated={}, told=told)
    silent = hostile.keys() - set(made.left_out)
    assert silent <= {"TF_CPP_MIN_LOG_LEVEL", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"}


def test_this_process_keeps_only_how_a_store_is_reached(read):
    kept = {
        name
        for library in ("mlflow", "matplotlib", "hydra")
        for name in read[library]
        if name.startswith(own_process.READ_HERE) and not own_process.is_left_out(name)
    }
    assert kept >= {"MLFLOW_TRACKING_TOKEN", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_HTTP_REQUEST_TIMEOUT"}
    changing = ("TRACKING_URI", "_RUN", "ASYNC", "TRUNCATE", "REGISTRY", "EXPERIMENT", "WORKSPACE", "BACKEND", "MPL")
    assert [name for name in kept if any(word in name for word in changing)] == []
