"""What others need of a store, each no more than it uses. A store of one's own has these methods and no base class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray


class CertificateReader(Protocol):
    """Where certificates are looked up."""

    def certificate(self, experiment_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest certificate under that fingerprint, or None."""


class ReportStore(CertificateReader, Protocol):
    """Where a report finds what no record holds, and where it is kept."""

    @property
    def uri(self) -> str:
        """Where it is, as `mlflow ui --backend-store-uri` takes it."""

    def experiment(self, name: str, *, description: str) -> str:
        """Identifier of the experiment of that name, made if need be."""

    def logits(self, run_id: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Test logits (n, n_outputs) and targets of a finished run; None where it left none."""

    def log_pictures(self, sweep_id: str, pictures: Mapping[int, NDArray[Any]]) -> None:
        """Keep pictures of the test set, example -> (h, w, channels), so that the next report needs no data."""

    def log_report(self, sweep_id: str, folder: Path, *, note: str, tags: Mapping[str, str]) -> None:
        """The report's files under `report/`, its first page as the sweep's note, its verdicts as tags."""
