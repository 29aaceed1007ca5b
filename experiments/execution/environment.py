"""Facts about the machine and the code that a run is recorded with: an allow-list, never the environment itself."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import socket
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CPUINFO = Path("/proc/cpuinfo")
# What matrix products are computed with, as Linux flags it; a model's name alone ("AMD EPYC") does not tell.
INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "sve": "SVE",
}


def facts() -> dict[str, str]:
    """Machine, load and code version, as short strings."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "instruction_sets": instruction_sets(),
        "cores": str(os.cpu_count()),
        "load_average": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "git_commit": git_commit(),
    }


def _cpu_model() -> str:
    return _of_cpu("model name") or platform.processor() or platform.machine()


def instruction_sets() -> str:
    """Those of INSTRUCTION_SETS that the processor has, such as "AVX2, AVX-512, VNNI"; "" where nothing tells."""
    flags = {*_of_cpu("flags").split(), *_of_cpu("Features").split()}  # on x86 and on ARM
    return ", ".join(dict.fromkeys(name for flag, name in INSTRUCTION_SETS.items() if flag in flags))


def _of_cpu(key: str) -> str:
    """What Linux says of the first core."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def user() -> str:
    """The user's name, or the number of one that has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def make_up_for_no_account() -> None:
    """Set HOME and USER where this user has none, as under a bare number in a container: libraries ask for both."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.devnull  # nothing can be made there, whatever the user may otherwise
    os.environ.setdefault("USER", user())


@functools.cache
def git_commit() -> str:
    """Commit of the checkout when first asked, "+changes" where files differ from it, or "unknown"."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    """Asked in the project's folder, whatever repository GIT_DIR or the like names."""
    named = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    output = subprocess.run(["git", *arguments], cwd=PROJECT, env=named, capture_output=True, text=True, check=True)
    return output.stdout.strip()


def boot_id() -> str:
    """Changes with every boot, so that (host, boot, pid, start) names a process for good."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def process_namespace() -> str:
    """The namespace that process numbers count in (Linux): two containers may both have a process 7; "" if unknown."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """Start time of a process (Linux: clock ticks since boot), or "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]  # macOS has no /proc
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
