"""Where MLflow shows what a report is about."""

from __future__ import annotations

import re

from experiments.uris import without_password

OWN_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` answers
VIEW = "workflowType=machine_learning"  # without it MLflow's pages open on those for language models
ACCOUNT = re.compile(r"(?<=://)[^/\s]*@")


def is_server(store_uri: str) -> bool:
    """Whether the store is a server, which shows its pages itself; of another one `mlflow ui` shows them."""
    return store_uri.startswith("http")


def in_mlflow(page: str, *, store_uri: str) -> str:
    """The address of "experiments/ID/runs/ID", without the name and password that a server may ask for."""
    server = without_password(ACCOUNT.sub("", store_uri)).rstrip("/") if is_server(store_uri) else OWN_SERVER
    return f"{server}/#/{page}?{VIEW}"
