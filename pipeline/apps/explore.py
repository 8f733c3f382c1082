"""Explore a trained network in the browser: its capsules, reconstructions and couplings.

    python -m pipeline.apps.explore
    python -m pipeline.apps.explore digits-deconv_bn

Without a run it is the best network in published/ whose data set is prepared, otherwise a network trained here. A
network that separates pairs of images cannot be explored. The page is served to this machine only.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.apps.network import best_of_published, best_published, find_model, open_network, trained_runs
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.prepared import DATA, read_prepared
from pipeline.runtime.weights import PUBLISHED

LAST_PORT = 65535


def default_run() -> str:
    """Return the best published run whose data set is prepared, or else the first such run in models/.

    Runs that separate pairs are left out. Raises FileNotFoundError naming the command that prepares the data set of the
    best published run.
    """
    best = best_of_published()
    dataset = _settings(find_model(best, None))["dataset"]
    prepare = f"`dvc repro prepare@{dataset}` prepares the data set of {best}, the best network in {PUBLISHED}/"
    for run in (*best_published(), *trained_runs()):
        settings = _settings(find_model(run, None))
        if not _separates(settings) and (DATA / f"{settings['dataset']}.json").is_file():
            if run != best:
                print(f"note: exploring {run}; {prepare}")
            return run
    raise FileNotFoundError(f"RUN: missing, and no data set is prepared; {prepare}")


def _settings(path: Path) -> dict[str, Any]:
    from capsnet.networks.saved import read_settings

    return read_settings(path)


def _separates(settings: Mapping[str, Any]) -> bool:
    """Tell whether a network was trained to separate two overlapping images."""
    return settings.get("task") == "separate"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("run", metavar="RUN", nargs="?", help="a run, a folder of models, or a .safetensors file")
    made.add_argument("--seed", metavar="N", type=int, help="a seed of the run [the first]")
    made.add_argument("--port", type=int, help="the port to listen on [the first free one from 7860]")
    arguments = made.parse_args(argv)
    if arguments.port is not None and not 0 < arguments.port <= LAST_PORT:
        raise ValueError(f"--port: got {arguments.port}, expected 1 to {LAST_PORT}")
    hardware = configure_torch("cpu", os.cpu_count() or 1)
    network = open_network(find_model(arguments.run or default_run(), arguments.seed))
    if not network.dataset:
        raise ValueError(f"{network.path}: got a file that names no data set, expected one that pipeline.train wrote")
    if _separates(_settings(network.path)):
        raise ValueError(
            f"{network.path}: got a network that separates pairs of images, expected one that recognises single images"
        )
    test = read_prepared(network.dataset, "test", hardware.device)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        from pipeline.apps.explorer.answers import Explorer
        from pipeline.apps.explorer.gradio_page import serve
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install '.[explore]' does that") from error
    serve(Explorer(network, test), arguments.port)


if __name__ == "__main__":
    run_stage(main)
