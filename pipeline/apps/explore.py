"""Explore a trained network in the browser: its capsules, reconstructions and couplings.

    python -m pipeline.apps.explore digits-deconv_bn

The page is served to this machine only.
"""

import os
from collections.abc import Sequence

from pipeline.apps.network import find_model, open_network
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.prepared import read_prepared


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("RUN", "a run in models/, a folder of models, or a .safetensors file"))
    made.add_argument("--seed", metavar="N", type=int, help="a seed of the run [the first]")
    made.add_argument("--port", type=int, help="the port to listen on [the first free one from 7860]")
    arguments = made.parse_args(argv)
    hardware = configure_torch("cpu", os.cpu_count() or 1)
    network = open_network(find_model(arguments.run, arguments.seed))
    if not network.dataset:
        raise ValueError(f"{network.path}: got a file that names no data set, expected one that pipeline.train wrote")
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
