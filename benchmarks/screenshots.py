"""Make docs/img/: the report and MLflow's dashboard as a person sees them, from a finished sweep in this folder.

    python run.py experiment=mnist_cnn seed=range(10) && python -m benchmarks.screenshots mnist_cnn

Needs `pip install .[dev]` and chromium (Debian: apt install chromium).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

import mlflow
from playwright.sync_api import Browser, sync_playwright

from benchmarks import dashboard
from experiments.report.addresses import VIEW

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "img"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def shoot_report(browser: Browser, path: Path, *, name: str) -> None:
    """First page at 1400 pixels, and the whole page at 400 pixels, light and dark."""
    schemes: tuple[tuple[str, int, int, Literal["light", "dark"]], ...]
    schemes = (("", 1400, 1000, "light"), ("-narrow", 400, 900, "dark"))
    for suffix, width, height, scheme in schemes:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(path.as_uri())
        page.screenshot(path=IMAGES / f"{name}{suffix}.png")
        page.close()


def shoot_dashboard(browser: Browser, address: str, *, experiment: str) -> None:
    """The sweep's report, as MLflow shows it."""
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"no sweep of {experiment} is kept here"
    sweep = client.search_runs([found.experiment_id], "tags.`tandem.kind` = 'sweep'")[0]
    run = f"{address}/#/experiments/{found.experiment_id}/runs/{sweep.info.run_id}"
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{run}/artifacts/report/report.html?{VIEW}")
    page.wait_for_timeout(8000)  # it never stops asking, so there is no end to wait for
    page.get_by_role("button", name="Close").first.click()  # MLflow's assistant, which is there at the first visit
    page.wait_for_timeout(1000)
    page.screenshot(path=IMAGES / "mlflow-report.png")
    page.close()


def main(experiment: str) -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    IMAGES.mkdir(parents=True, exist_ok=True)
    found = [
        *Path("outputs").glob(f"{experiment.replace('_', '-')}/*/report/*.html"),
        *Path("outputs/reports").glob("*/*.html"),
    ]
    reports = sorted(found, key=lambda path: path.stat().st_mtime)
    with dashboard.running(Path.cwd()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        shoot_report(browser, reports[-1].resolve(), name=f"report-{experiment}")
        shoot_dashboard(browser, address, experiment=experiment)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
