"""MLflow tracker: a folder beside the results, or the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgecnn.core.store import write_atomically
from edgecnn.core.third_party import quiet
from edgecnn.train.settings import Epoch
from edgecnn.train.trackers import flat, metrics, require

EXPERIMENT = "edgecnn"
FOLDER = "mlruns"
# MLflow's own limits for one call and one value.
_PER_CALL = 100
_LONGEST = 500
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """One MLflow run; its id lies in `folder/.store`, so that training that goes on goes on in the same run."""

    def __init__(self, folder: Path, name: str) -> None:
        require("mlflow", "mlflow")
        self._name = name
        self._id_file = folder / ".store" / "mlflow-run"
        self._local = (folder / FOLDER).resolve()
        self._uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._client: Any = None
        self._run = ""

    @property
    def where(self) -> str:
        if self._uri:
            return f"{self._uri}, run {self._run}"
        return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(str(self._local))}"

    def begin(self, settings: Mapping[str, Any]) -> None:
        with self._speaking():
            from mlflow.entities import Param
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(self._uri or self._local.as_uri())
            before = self._before()
            if before:
                self._run = before
                self._client.update_run(before, status="RUNNING")
                return
            known = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = known.experiment_id if known is not None else self._client.create_experiment(EXPERIMENT)
            self._run = self._client.create_run(experiment, run_name=self._name).info.run_id
            parameters = [Param(name, str(value)[:_LONGEST]) for name, value in flat(settings)]
            for start in range(0, len(parameters), _PER_CALL):
                self._client.log_batch(self._run, params=parameters[start : start + _PER_CALL])
        write_atomically(self._id_file, self._run)

    def epoch(self, number: int, epoch: Epoch) -> None:
        with self._speaking():
            from mlflow.entities import Metric

            now = round(time.time() * 1000)
            values = [Metric(name, value, now, number) for name, value in metrics(epoch).items()]
            self._client.log_batch(self._run, metrics=values)

    def picture(self, name: str, path: Path) -> None:
        self._store(path, "pictures")

    def artifact(self, path: Path) -> None:
        self._store(path, None)

    def end(self, status: str) -> None:
        if self._run:
            with self._speaking():
                self._client.set_terminated(self._run, _STATUS.get(status, "FAILED"))

    def _store(self, path: Path, folder: str | None) -> None:
        with self._speaking():
            self._client.log_artifact(self._run, str(path), folder)

    def _before(self) -> str:
        """The id of the run this one goes on with, if it is still there."""
        from mlflow.exceptions import MlflowException

        try:
            before = self._id_file.read_text()
            self._client.get_run(before)
        except (OSError, MlflowException):
            return ""
        return before

    def _speaking(self) -> AbstractContextManager[None]:
        """Its warnings are for its developers; a folder as the store has to be allowed since MLflow 3."""
        if not self._uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return quiet("mlflow")
