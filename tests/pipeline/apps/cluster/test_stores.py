"""Workers on several machines do not record in a file that one machine can write."""

import sys

import pytest
from errands import Errands, ended
from servers import free_port

from pipeline.apps.workers.stores import MACHINE, refuse_shared_files

SERVER = {"MLFLOW_TRACKING_URI": "http://head:5000"}
ONE, TWO = {MACHINE: "node1"}, {MACHINE: "node2"}


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([ONE | SERVER, TWO], "MLFLOW_TRACKING_URI: got sqlite:///mlflow.db on node2, expected the URL of a server: "),
        (
            [ONE | SERVER, TWO | SERVER | {"CAPSNET_OPTUNA_STORAGE": "sqlite:///optuna.db"}],
            "CAPSNET_OPTUNA_STORAGE: got sqlite:///optuna.db on node2, expected the URL of a server: ",
        ),
    ],
)
def test_a_sqlite_file_is_refused_where_workers_are_on_several_machines(
    workers: list[dict[str, str]], said: str
) -> None:
    with pytest.raises(ValueError, match=r"the workers are on several machines \(node1, node2\)") as caught:
        refuse_shared_files(workers)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("workers", [[], [ONE], [ONE, ONE], [ONE | SERVER, TWO | SERVER]])
def test_what_one_machine_writes_or_a_server_keeps_is_allowed(workers: list[dict[str, str]]) -> None:
    refuse_shared_files(workers)


@pytest.mark.slow
def test_the_command_refuses_workers_on_two_machines_without_a_server(errands: Errands) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--dashboard-address", "127.0.0.1:0"]
    errands.start(sys.executable, "-m", "distributed.cli.dask_scheduler", *scheduler)
    for machine in ("node1", "node2"):
        elsewhere = (
            f"import socket; socket.gethostname = lambda: {machine!r}; from distributed.cli.dask_worker import main; "
            f"main({[address, '--no-nanny', '--no-dashboard', '--nthreads', '1', '--resources', 'core=1']!r})"
        )
        errands.start(sys.executable, "-c", elsewhere, PYTHONPATH="")
    wait = (
        "import sys; from distributed import Client\n"
        f"with Client({address!r}, timeout=100) as client: client.wait_for_workers(2, timeout=100)"
    )
    errands.call(sys.executable, "-c", wait)
    said = errands.call(*errands.command, "--scheduler", address, status=2)
    assert "error: MLFLOW_TRACKING_URI: got sqlite:///mlflow.db on node1, expected the URL of a server" in said
    assert not errands.tries("prepare")
    server = errands.start(*errands.command, "--scheduler", address, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert "on several machines" in ended(server, 2)  # the variable has to be set where the workers are started
