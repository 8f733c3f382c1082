"""Where the workers record: a sqlite file serves one machine only."""

from collections.abc import Iterable, Mapping

from pipeline.runtime.masking import masked

MACHINE = "machine"
# The variables that name a store, and what is used if they are not set.
STORES = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "CAPSNET_OPTUNA_STORAGE": ""}


def refuse_shared_files(workers: Iterable[Mapping[str, str]]) -> None:
    """Raise ValueError if workers are on several machines and one of them would record in a sqlite file.

    Args:
        workers: What each worker says of itself: its `machine`, and the variables that it has, by name.
    """
    said = sorted(workers, key=lambda worker: worker[MACHINE])
    machines = sorted({worker[MACHINE] for worker in said})
    if len(machines) < 2:
        return
    for worker in said:
        for name, usual in STORES.items():
            store = worker.get(name) or usual
            if store.startswith("sqlite"):
                raise ValueError(
                    f"{name}: got {masked(store)} on {worker[MACHINE]}, expected the URL of a server: the workers are "
                    f"on several machines ({', '.join(machines)}), which cannot share a sqlite file; docs/scale.md "
                    "says how to start a server"
                )
