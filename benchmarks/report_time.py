"""How long the report of 200 runs takes, and where: analysis, page, files. No store: records are made up.

python benchmarks/report_time.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]

import test_report  # noqa: E402

from experiments.report import files  # noqa: E402
from experiments.report.analysis import analyse  # noqa: E402


def main() -> None:
    """Print seconds and kilobytes."""
    runs = [
        test_report.run(framework, seed, accuracy=0.9 + 0.001 * ((seed * 7 + dose) % 11), dropout=str(dose / 10))
        for framework in ("keras", "lightning")
        for seed in range(20)
        for dose in range(5)
    ]
    began = time.perf_counter()
    analysis = analyse(test_report.sweep(*runs))
    analysed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = files.write(analysis, Path(folder))
        size = path.stat().st_size
    written = time.perf_counter()
    print(
        f"{len(runs)} runs: analysed in {analysed - began:.2f} s, "
        f"written in {written - analysed:.2f} s, {size / 1000:.0f} kB"
    )


if __name__ == "__main__":
    main()
