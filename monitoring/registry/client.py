"""The registry: a registered model in MLflow, as plain records. MLflow is imported when asked.

Artifacts lie under the run that made them, in ``versions/ID``; a version's source is that folder.
So a version's files can be deleted by any store of artifacts, and nothing else is left of it.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from features.public_url import public_text, public_url
from monitoring.registry.pyfunc import SNAPSHOT
from monitoring.registry.versions import (
    RECORD,
    NoVersionError,
    RegistryError,
    Version,
    tags_of,
    version_of,
)

__all__ = ["Registry", "open_registry", "quiet_mlflow"]

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # by default it tries for minutes, and we would rather say that it is away
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else its pages expect LLMs
_FILE = "sqlite:///"
_POINTS = 1_000
"""MLflow takes so many metrics in one call."""


def quiet_mlflow() -> None:
    """Set up what MLflow reads from the environment, where the user has not."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Where no pip is installed it warns of each version; nothing of ours is installed by it.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """No other process or thread inside: two that make a file's tables at once break both."""
    if not url.startswith(_FILE):
        yield
        return
    with open(f"{url.removeprefix(_FILE)}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when the file closes
        yield


class Registry:
    """Versions of one registered model.

    Parameters
    ----------
    url
        MLflow's tracking URI; its registry is there too.
    model
        Name of the registered model, and of the experiment.
    artifacts
        Where a new experiment keeps artifacts; ``None``: where the server says.

    Attributes
    ----------
    where
        The URL without secrets, for messages.
    """

    def __init__(self, url: str, model: str, artifacts: str | None = None) -> None:
        self.url, self.model, self.artifacts = url, model, artifacts
        self.where = public_url(url)

    @cached_property
    def _client(self) -> Any:
        quiet_mlflow()
        from mlflow import MlflowClient

        with _alone(self.url):
            return MlflowClient(self.url, self.url)

    @contextmanager
    def _asking(self, what: str) -> Iterator[Any]:
        """The client, whose many errors become one of ours."""
        quiet_mlflow()
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        asked = f"MLflow at {self.where}: {what}"
        try:
            yield self._client
        except MlflowException as error:
            absent = error.error_code == "RESOURCE_DOES_NOT_EXIST"
            kind = NoVersionError if absent else RegistryError
            failure = kind(f"{asked}: {public_text(str(error).splitlines()[0])[:300]}")
        except (SQLAlchemyError, requests.RequestException, OSError) as error:
            text = public_text(str(error))[:300]
            failure = RegistryError(f"{asked}: {text}. Fix: start it, or give another --mlflow")
        else:
            return
        raise failure from None  # MLflow's error has the URL in it, with its password

    # --- reading ---------------------------------------------------------------------------

    def _is_to_be_made(self) -> bool:
        """Whether it is a file that is not there: to make one only to look takes MLflow seconds."""
        file = self.url.removeprefix(_FILE)
        return file != self.url and "?" not in file and not Path(file).exists()

    def aliases(self) -> dict[str, int]:
        """Version number by alias; none of a model that is not there yet."""
        if self._is_to_be_made():
            return {}
        try:
            with self._asking("aliases") as client:
                aliases = client.get_registered_model(self.model).aliases
                return {name: int(number) for name, number in aliases.items()}
        except NoVersionError:
            return {}

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        aliases = self.aliases()
        versions: list[Version] = []
        token = None
        with self._asking("versions") as client:
            while True:
                page = client.search_model_versions(
                    f"name = '{self.model}'", max_results=200, page_token=token
                )
                versions += [version_of(one, aliases) for one in page]
                token = page.token
                if not token:
                    return sorted(versions, key=lambda version: version.number)

    def version(self, number: int) -> Version:
        """One version.

        Raises
        ------
        NoVersionError
            There is none of this number.
        """
        with self._asking(f"version {number}") as client:
            return version_of(client.get_model_version(self.model, str(number)), self.aliases())

    def download(self, version: Version, target: Path) -> Path:
        """Copy a version's folder into ``target``, which must be there; give the copy."""
        from mlflow.artifacts import download_artifacts

        with self._asking(f"files of version {version.number}"):
            got = download_artifacts(
                artifact_uri=version.source, dst_path=str(target), tracking_uri=self.url
            )
        if not (Path(got) / SNAPSHOT).is_dir():
            raise NoVersionError(
                f"MLflow at {self.where}: version {version.number} has no {SNAPSHOT}. "
                "Fix: promote another version"
            )
        return Path(got)

    # --- runs ------------------------------------------------------------------------------

    def begin_run(self, name: str, params: Mapping[str, str], texts: Mapping[str, str]) -> str:
        """Make a run of the experiment; its id.

        Parameters
        ----------
        name
            For people.
        params
            Spec, settings and so on.
        texts
            Text artifacts by file name.
        """
        with self._asking("a run") as client:
            experiment = client.get_experiment_by_name(self.model)
            if experiment is None:
                made = client.create_experiment(self.model, self.artifacts, tags=_KIND)
            else:
                made = experiment.experiment_id
            run = client.create_run(made, run_name=name)
            for key, value in params.items():
                client.log_param(run.info.run_id, key, value[:500])
            for file, text in texts.items():
                client.log_text(run.info.run_id, text, file)
            return str(run.info.run_id)

    def has_run(self, run: str) -> bool:
        """Whether a run is there to go on with."""
        try:
            with self._asking("a run") as client:
                return bool(client.get_run(run).info.lifecycle_stage == "active")
        except NoVersionError:
            return False

    def log_points(self, run: str, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Add (name, value, time in ms, step) to a run's metric series, in few calls."""
        from mlflow.entities import Metric

        with self._asking("metrics") as client:
            for at in range(0, len(points), _POINTS):
                client.log_batch(run, [Metric(*point) for point in points[at : at + _POINTS]])

    def log_file(self, run: str, file: Path) -> None:
        """Add a file to a run's artifacts, such as a report, in place of the one before."""
        with self._asking("artifacts") as client:
            client.log_artifact(run, str(file))

    # --- versions --------------------------------------------------------------------------

    def publish(self, run: str, folder: Path, path: str, record: Version, text: str) -> int:
        """Upload a version's folder and register it; doing it twice leaves no second copy.

        Parameters
        ----------
        run
            That it belongs to.
        folder
            What :func:`monitoring.registry.pyfunc.write_model` wrote.
        path
            Where it goes among the run's artifacts.
        record
            What is kept about it as tags.
        text
            Description, in Markdown.
        """
        with self._asking("publish") as client:
            source = f"{client.get_run(run).info.artifact_uri}/{path}"
            for known in self.versions():
                if known.source == source:  # it was made, and the answer got lost
                    return known.number
            client.log_artifacts(run, str(folder), path)
            self._make_model(client)
            made = client.create_model_version(
                self.model,
                source,
                run_id=run,
                tags=tags_of(record),
                description=text,
                await_creation_for=None,
            )
            return int(made.version)

    def _make_model(self, client: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def update(self, version: Version, **changes: Any) -> Version:
        """Change the record of a version; the record as it is now."""
        changed = msgspec.structs.replace(version, **changes)
        before = tags_of(version)
        with self._asking(f"record of version {version.number}") as client:
            for key, text in tags_of(changed).items():
                if text != before[key]:
                    client.set_model_version_tag(self.model, str(version.number), key, text)
        return changed

    def set_alias(self, alias: str, number: int) -> None:
        """Point an alias at a version."""
        with self._asking(f"alias {alias}") as client:
            client.set_registered_model_alias(self.model, alias, str(number))

    def delete_alias(self, alias: str) -> None:
        """Remove an alias, if it is there."""
        if alias in self.aliases():
            with self._asking(f"alias {alias}") as client:
                client.delete_registered_model_alias(self.model, alias)

    def sweep(self, run: str, path: str, versions: Sequence[Version]) -> None:
        """Delete folders under ``path`` that no version names: a publication that was broken off.

        Parameters
        ----------
        run
            Whose artifacts.
        path
            Where versions lie.
        versions
            All there are.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        named = {Path(version.source).name for version in versions}
        with self._asking("broken off publications") as client:
            root = f"{client.get_run(run).info.artifact_uri}/{path}"
            for found in client.list_artifacts(run, path):
                name = Path(found.path).name
                if name not in named:
                    get_artifact_repository(f"{root}/{name}", self.url).delete_artifacts()

    def delete(self, version: Version) -> None:
        """Delete a version: its files first, so that none is left that nothing names."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._asking(f"deletion of version {version.number}") as client:
            get_artifact_repository(version.source, tracking_uri=self.url).delete_artifacts()
            client.delete_model_version_tag(self.model, str(version.number), RECORD)  # else kept
            client.delete_model_version(self.model, str(version.number))


def open_registry(url: str | None, folder: Path, model: str = "clicktide") -> Registry:
    """The registry of a stream; nothing is asked of it yet.

    Parameters
    ----------
    url
        MLflow's tracking URI; ``None``: files in the folder.
    folder
        The stream's.
    model
        Name of the registered model.

    Examples
    --------
    >>> open_registry("http://mlflow:5000", Path("run")).artifacts is None
    True
    >>> registry = open_registry(None, Path("/srv/run"))
    >>> registry.url, registry.artifacts
    ('sqlite:////srv/run/mlflow.db', 'file:///srv/run/mlartifacts')
    """
    if url:
        return Registry(url, model)
    home = folder.resolve()
    return Registry(f"sqlite:///{home / 'mlflow.db'}", model, (home / "mlartifacts").as_uri())
