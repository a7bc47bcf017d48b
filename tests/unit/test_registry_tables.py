"""MLflow makes a file's tables when first opened, and breaks if two do so at once."""

import threading
from typing import ClassVar

from monitoring.registry.client import Registry


def test_one_at_a_time_opens_a_file(tmp_path, monkeypatch):
    import mlflow  # takes seconds, of each worker that collects this file

    inside, most, never = 0, 0, threading.Event()

    class Client:
        def __init__(self, *_):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            never.wait(0.05)  # time for another one to come in
            inside -= 1

        def get_registered_model(self, name):
            return self

        aliases: ClassVar[dict[str, int]] = {}

    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    (tmp_path / "mlflow.db").touch()  # one that is not there is not opened to be looked at
    registries = [Registry(f"sqlite:///{tmp_path}/mlflow.db", "m") for _ in range(4)]
    threads = [threading.Thread(target=registry.aliases) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
