"""The variables that installed libraries read: every name that could be one, found in their sources and binaries."""

from __future__ import annotations

import importlib.util
import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

PYTHON = (
    "keras", "tensorflow", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "torch",
    "numpy", "scipy", "sklearn", "mlflow", "optuna", "hydra", "omegaconf", "matplotlib", "rich",
)  # fmt: skip
BINARIES = {
    "tensorflow": ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"),
    "torch": ("lib/libtorch_cpu.so", "lib/libtorch_python.so", "lib/libc10.so"),
}
READS = re.compile(rb"environ|getenv|EnvironmentVariable")
IN_PYTHON = re.compile(rb"""["']([A-Za-z_][A-Za-z0-9_]+)["'=]""")  # also "NAME=value", as some files write it
IN_BINARY = re.compile(rb"\0([A-Z][A-Z0-9_]{2,60}|(?:https?|no)_proxy)(?=\0)")


def read_by(package: str) -> set[str]:
    """Every word that may name a variable: any string of a file that asks for one, any constant of a binary."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    words: set[bytes] = set()
    for path in folder.rglob("*.py"):
        text = path.read_bytes()
        if READS.search(text):
            words.update(IN_PYTHON.findall(text))
    for name in BINARIES.get(package, ()):
        for section in _constants(folder / name):
            words.update(IN_BINARY.findall(section))
    return {word.decode() for word in words}


def _constants(path: Path) -> Iterator[bytes]:
    """The sections of an ELF file of 64 bits that hold its constants."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        (table,) = struct.unpack_from("<Q", whole, 0x28)
        size, n, names_at = struct.unpack_from("<HHH", whole, 0x3A)
        sections = [struct.unpack_from("<IIQQQQ", whole, table + size * number) for number in range(n)]
        names = sections[names_at][4]
        for name, _, _, _, start, length in sections:
            if whole[names + name : names + name + 7] == b".rodata":
                yield whole[start : start + length]
