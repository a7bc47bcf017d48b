"""A model version as MLflow's plain Python flavour: data beside the name of this module.

``mlflow.pyfunc.load_model`` imports this module where Clicktide is installed and calls
:func:`_load_pyfunc`; nothing is pickled, so loading a version runs no code that came with it.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.counters.names import COLUMN_PREFIX
from learning.click_learner import ClickLearner
from learning.snapshot import load_snapshot

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SNAPSHOT", "ClickModel", "code_version", "input_columns", "write_model"]

SNAPSHOT = "data/snapshot"
"""Where a model's folder has the snapshot."""


class ClickModel:
    """Scores frames by a loaded version.

    Parameters
    ----------
    learner
        Of the version; it learns no more.
    """

    def __init__(self, learner: ClickLearner) -> None:
        self.learner = learner

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float64]:
        """Click probabilities, one a row, the same bits as :class:`ClickLearner`'s."""
        known = self.learner.predict_proba_many(model_input)
        return known[True].to_numpy(np.float64)


def _load_pyfunc(path: str) -> ClickModel:
    """Called by MLflow with the folder of the model's data."""
    return ClickModel(load_snapshot(path).learner)


def input_columns(learner: ClickLearner) -> tuple[str, ...]:
    """Columns that a frame may have: the fields', then the counters' as served."""
    assert learner.vectoriser is not None
    counters = learner.vectoriser.counters
    served = () if counters is None else counters.value_names
    return (*learner.vectoriser.columns, *(COLUMN_PREFIX + name for name in served))


def code_version() -> str:
    """Version of the program that runs."""
    try:
        return importlib.metadata.version("clicktide")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "source"


def write_model(snapshot: Path, target: Path, columns: tuple[str, ...]) -> None:
    """Write the folder that MLflow loads.

    Parameters
    ----------
    snapshot
        Folder of the snapshot; copied.
    target
        Made, in a folder of its own; must not exist.
    columns
        As :func:`input_columns` gives them. Every one may be absent, and hold any kind of value:
        MLflow must not convert what the vectoriser reads.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    inputs = Schema([ColSpec(AnyType(), name, required=False) for name in columns])
    outputs = Schema([TensorSpec(np.dtype(np.float64), (-1,))])
    version = code_version()
    package = "clicktide" if version == "source" else f"clicktide=={version}"
    named = target.with_name(Path(SNAPSHOT).name)  # MLflow keeps the name of what it copies
    named.symlink_to(snapshot.resolve())
    with warnings.catch_warnings():
        # an example of an input would be data of users
        warnings.filterwarnings("ignore", "(?s).*An input example was not provided")
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=__name__,
            data_path=str(named),
            signature=ModelSignature(inputs, outputs),
            pip_requirements=[package],  # stated: else MLflow loads the model to guess them
        )
