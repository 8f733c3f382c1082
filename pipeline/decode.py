"""Train a decoder on the primary capsules of a run's first network, which stays frozen: models/<dataset>-primary/.

    python -m pipeline.decode digits

The network is that of models/, else the published one. Training takes minutes at most, so an interrupted one starts
again from the beginning.
"""

from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import DECODER, MODELS, PRIMARY, csv_text
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.scratch import fingerprint
from pipeline.runtime.weights import models_of
from pipeline.settings.figures import Figures
from pipeline.settings.params import Params, find, load_params
from pipeline.tracking.mlflow_run import record_run


def train_primary(name: str, entry: Figures, params: Params) -> Path:
    """Train the decoder on the training images; return the folder with its file and history.csv."""
    from capsnet.explain.primary import save_decoder, train_decoder
    from capsnet.networks.saved import load

    run = params.runs[entry.run]
    seed, path = next(iter(models_of(entry.run).items()))
    hardware = configure_torch(run.device, run.threads)
    data = read_prepared(run.dataset, "train", hardware.device)
    folder = MODELS / (name + PRIMARY)
    settings = {"run": entry.run, **entry.primary.model_dump()}
    tags = {
        "kind": "run",
        "stage": "decode",
        "run": entry.run,
        "output": folder.resolve(),
        "fingerprint": fingerprint(settings, seed, data.source.digest),
        "seed": seed,
        "device": hardware.words,
    }
    experiment = params.tracking.experiment
    with record_run(experiment, folder.name, tags=tags, settings=settings, data=data.source) as recorder:
        network = load(path).to(hardware.device)
        training = entry.primary.training()
        decoder, history = train_decoder(network, training, data.images, data.labels, seed, log=recorder.log)
        save_decoder(folder / DECODER, decoder, {"run": entry.run, "seed": seed, "settings": settings})
        write_whole(folder / "history.csv", csv_text(history))
        recorder.attach(folder / DECODER, folder="model")
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    print(train_primary(name, find(name, params.figures, "figures"), params))


if __name__ == "__main__":
    run_stage(main)
