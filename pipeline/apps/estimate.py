"""Estimate how long the trainings of a study take: from steps measured here, to reports/estimate.csv.

    python -m pipeline.apps.estimate paper

It trains a few batches of random pixels with the network and the settings of each run, in minutes on two CPU cores.
Leave the machine alone meanwhile. Where costs.csv has trainings on a GPU, the file has a column for one GPU too: the
other runs are taken to gain as much from it as the run that gains least. Searches, scores and figures are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from capsnet.files import write_whole
from pipeline.reporting.scores import read_costs
from pipeline.runtime.advice import trained_on
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import Hardware, configure_torch, precision_here
from pipeline.runtime.paths import REPORTS, csv_text
from pipeline.runtime.prepared import DATA, read_manifest
from pipeline.settings.datasets import SIDES, SmallNORB
from pipeline.settings.params import Params, find, load_params
from pipeline.settings.runs import Run

OUT = REPORTS / "estimate.csv"
THREADS = "threads"  # the last word for a CPU
BATCHES = 3  # of an epoch; the first epoch warms up, the second one counts
OFFICIAL = {  # training images, channels and classes of the official data sets
    "digits": (1_347, 1, 10),
    "mnist": (60_000, 1, 10),
    "fashion": (60_000, 1, 10),
    "affnist": (60_000, 1, 10),
    "cifar10": (50_000, 3, 10),
    "smallnorb": (24_300, 2, 5),
}


class Images(NamedTuple):
    """The training images of a data set."""

    number: int
    size: int  # pixels a side
    channels: int
    classes: int


def images_of(name: str, params: Params) -> Images:
    """Return number and shape of a data set's training images, also before it is downloaded.

    Raises FileNotFoundError for the user's own data if they are not prepared.
    """
    entry = params.datasets[name]
    if entry.format not in OFFICIAL or (DATA / f"{name}.json").is_file():
        manifest = read_manifest(name)
        return Images(manifest.train, manifest.image_size, manifest.channels, manifest.classes)
    number, channels, classes = OFFICIAL[entry.format]
    if isinstance(entry, SmallNORB) and entry.views == "mono":
        number, channels = 2 * number, 1
    return Images(number, SIDES[entry.format], channels, classes)


def speed(name: str, run: Run, images: Images, hardware: Hardware) -> float:
    """Train a few batches of random pixels, and return images per second."""
    import torch

    from capsnet.training.loop import train

    device, number = hardware.device, BATCHES * run.batch_size
    shape = (number, images.channels, images.size, images.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8).to(device)
    labels = torch.arange(number, device=device) % images.classes
    precision = precision_here(name, run.precision, hardware, say=False)
    config = replace(run.training(), epochs=2, validation=0.0, precision=precision)
    measured: list[float] = []
    train(
        run.model(images.size, images.channels, images.classes),
        config,
        pixels,
        labels,
        seed=0,
        log=lambda epoch, values: measured.append(values["images_per_second"]),
    )
    return measured[-1]


class Estimate(NamedTuple):
    """What the training of a run would take on the hardware of this machine."""

    run: str
    seeds: int
    epochs: int
    images: int  # in an epoch
    images_per_second: float
    hardware: str

    @property
    def hours(self) -> float:
        """The time of all epochs of all seeds."""
        return self.seeds * self.epochs * self.images / self.images_per_second / 3600


def estimates(study: str, params: Params) -> Iterator[Estimate]:
    """Measure each run of a study."""
    for name in params.runs_of(study):
        run = params.base_of(name)
        images = images_of(run.dataset, params)
        hardware = configure_torch(run.device, run.threads)
        yield Estimate(
            name,
            len(params.seeds_of(run)),
            run.epochs,
            trained_on(images.number, run.validation),
            speed(name, run, images, hardware),
            hardware.words,
        )


def gpu_hours(measured: Sequence[Estimate], costs: pd.DataFrame | None) -> dict[str, float]:
    """Return the hours of each run on one GPU; nothing if no training on a GPU is recorded.

    A run without a recorded training is assumed to gain as much from a GPU as the run that gains least.
    """
    if costs is None:
        return {}
    seconds = costs[~costs["hardware"].str.endswith(THREADS)].groupby("run")["seconds_an_epoch"].mean()
    known = {each.run: each.seeds * each.epochs * seconds[each.run] / 3600 for each in measured if each.run in seconds}
    if not known:
        return {}
    gain = min(each.hours / known[each.run] for each in measured if each.run in known)
    return {each.run: known.get(each.run, each.hours / gain) for each in measured}


def rows_of(measured: Sequence[Estimate], gpu: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the rows of the file: one for each run, and their sum."""
    rows: list[dict[str, Any]] = [
        {
            "run": each.run,
            "seeds": each.seeds,
            "epochs": each.epochs,
            "images in an epoch": each.images,
            "images per second": round(each.images_per_second, 1),
            "hours": round(each.hours, 1),
        }
        for each in measured
    ]
    total = dict.fromkeys(rows[0], "") | {"run": "all", "hours": round(sum(each.hours for each in measured), 1)}
    rows.append(total)
    if gpu:
        hours = [*gpu.values(), sum(gpu.values())]
        rows = [{**row, "hours on one GPU": round(value, 2)} for row, value in zip(rows, hours, strict=True)]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--out", type=Path, default=OUT, help=f"the table [{OUT}]")
    arguments = made.parse_args(argv)
    params = load_params()
    find(arguments.study, params.studies, "study")
    measured = []
    for each in estimates(arguments.study, params):
        measured.append(each)
        print(f"{each.run}: {each.images_per_second:,.1f} images/s, {each.hours:,.1f} hours")
    on_cpu = all(each.hardware.endswith(THREADS) for each in measured)
    gpu = gpu_hours(measured, read_costs(arguments.study)) if on_cpu else {}
    write_whole(arguments.out, csv_text(rows_of(measured, gpu)))
    print(f"{arguments.out}: {len(measured)} runs on {', '.join(dict.fromkeys(each.hardware for each in measured))}")


if __name__ == "__main__":
    run_stage(main)
