"""This process's own world: what it was started with, and must not go by.

`run.py` imports this before anything else, so that nothing in the current folder or in `PYTHONPATH` is taken for the
module of the same name of Python, of a library or of this project, and no warning of a library ends the command.
"""

from __future__ import annotations

import io
import os
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def _told_folders() -> list[str]:
    """The folders of `PYTHONPATH`, and the current one where Python put it first, but not this project's."""
    stated = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    told = [os.path.abspath(folder) for folder in [*stated, os.getcwd()]]  # noqa: PTH100, PTH109
    return [folder for folder in told if folder != PROJECT]


TOLD_FOLDERS = frozenset(_told_folders())  # workers do not look there at all, this process looks there last


def module_path() -> list[str]:
    """`sys.path` as workers get it: the project, Python's own folders and the environment's packages."""
    return [folder for folder in sys.path if os.path.abspath(folder) not in TOLD_FOLDERS]  # noqa: PTH100


def _look_there_last() -> None:
    """Put the project first, and behind everything what `PYTHONPATH` adds: another package, never another module."""
    own = [folder for folder in module_path() if folder != PROJECT]
    stated = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [PROJECT, *own, *(folder for folder in stated if folder in sys.path and folder not in own)]


def _forget_warning_options() -> None:
    """Warn as Python does by itself: `PYTHONWARNINGS=error` would end the command, and its workers, in a library."""
    if not sys.warnoptions:
        return
    import warnings

    told = {"default"} if sys.flags.dev_mode else set()
    if sys.flags.bytes_warning:
        told.add("error::BytesWarning" if sys.flags.bytes_warning > 1 else "default::BytesWarning")
    sys.warnoptions[:] = told  # `subprocess` takes those of -X dev and -b away again
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


_look_there_last()
_forget_warning_options()

import atexit  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from typing import NoReturn, TextIO  # noqa: E402

# What libraries of this process read: the report's look, the store's place and ways, the command's composition. Not
# all others are left out: drivers of stores have theirs.
READ_HERE = (
    "MPLBACKEND", "MATPLOTLIBRC", "MLFLOW_", "_MLFLOW_", "HYDRA_", "SELF_WARNING_AS_ERROR", "OPTUNA_", "NPY_",
    "NUMPY_MADVISE_HUGEPAGE", "JOBLIB_", "LOKY_", "FB_", "ARROW_", "FASTAPI_", "FONTTOOLS_", "MPL_", "OTEL_", "PANDAS_",
    "PILLOW_", "PROTOCOL_BUFFERS_", "PYARROW_", "PYDANTIC_",
    "REQUIRE_SQLALCHEMY_", "SCIPY_", "SKLEARN_", "SOURCE_DATE_EPOCH", "TEMPORARILY_DISABLE_PROTOBUF_", "TQDM_",
)  # fmt: skip
# Of these, how a store is reached: names, secrets, certificates and patience. `tracking.uri` says which store it is.
KEPT_HERE = (
    "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_BOTO_", "MLFLOW_GCS_",
    "MLFLOW_HTTP_", "MLFLOW_KERBEROS_", "MLFLOW_MULTIPART_", "MLFLOW_MYSQL_SSL_", "MLFLOW_S3_",
    "MLFLOW_SQLALCHEMYSTORE_", "MLFLOW_DISABLE_TELEMETRY", "HYDRA_FULL_ERROR",
)  # fmt: skip


def is_left_out(name: str) -> bool:
    """Whether this process goes on without the variable."""
    return name.startswith(READ_HERE) and not name.startswith(KEPT_HERE)


_inherited: dict[str, str] = {}


def inherited() -> Mapping[str, str]:
    """The variables that the command was started with; where it did not `settle`, as in tests, those that there are."""
    return _inherited or dict(os.environ)


def settle() -> None:
    """Make this process its own: open streams that bear their reader's end, and a made environment."""
    _inherited.update(os.environ)
    for name in _inherited:
        if is_left_out(name):
            del os.environ[name]
    _open_streams()
    sys.stdout = _Patient.around(sys.stdout, errors="replace")
    sys.stderr = _Patient.around(sys.stderr, errors="backslashreplace")


def leave_with(main: Callable[[], int]) -> NoReturn:
    """Do it and end with its exit code; under `PYTHONINSPECT` or -i Python makes a traceback and 1 of `sys.exit`."""
    if not sys.flags.inspect:
        sys.exit(main())
    try:
        exit_code = main()
    except SystemExit as left:
        exit_code = int(left.code or 0)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _open_streams() -> None:
    """Let nothing that is opened later get the number of a standard stream that was closed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003  # it gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: PTH123, SIM115


class _Patient(io.TextIOWrapper):
    """A stream whose end ends nothing: what is said there is lost, and the work goes on."""

    @classmethod
    def around(cls, stream: TextIO, *, errors: str) -> TextIO:
        """The same stream, with signs replaced that its encoding lacks."""
        if type(stream) is not io.TextIOWrapper:
            return stream
        is_line_buffered, encoding = stream.line_buffering, stream.encoding
        return cls(stream.detach(), encoding=encoding, errors=errors, line_buffering=is_line_buffered)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Send the rest nowhere; say so where the reader did not leave on purpose."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self is not sys.stderr:
            sys.stderr.write(f"What is said here is lost from now on, the work goes on: {error}\n")
