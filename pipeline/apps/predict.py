"""Classify pictures with a trained network: one line for each picture, as text or JSON. Or export the network.

    python -m pipeline.apps.predict photo.jpg
    python -m pipeline.apps.predict digits-fc photo.jpg folder/ --save seen/
    python -m pipeline.apps.predict models/digits-fc/seed-1.safetensors *.png --json
    python -m pipeline.apps.predict digits-fc --export digits.onnx

The network is a .safetensors file, or that of a run's first seed: in models/, otherwise in published/. If the first
word names no network but a picture or a folder, the best network in published/ reads it. Pictures may have any format
that Pillow reads. Folders are searched; hidden files, and files that operating systems leave in folders, are ignored.

A picture is treated in one of two ways. As a `digit`: the command looks for digits in ink on paper, or in chalk on a
board, and centres and scales each like the network's data; an image of exactly the data's size that is mostly dark
stays as it is. As a `picture`: its middle square is scaled to the data's size and converted to its colours. Networks
trained on mnist, affnist and digits take digits, all others pictures; --as overrides that.

An answer is `unsure` if there is no digit or more than one, if the longest capsule is short, or if the reconstruction
differs much from the picture. The line then says why, and what the network would say.

A file that cannot be read is named on standard error and left out; the exit status is then 1. After a folder, a line on
standard error counts the pictures.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from capsnet.sources.folder import listing, passed_over
from pipeline.apps.network import (
    TREATMENTS,
    Network,
    best_of_published,
    find_model,
    like_a_network,
    names_network,
    open_network,
)
from pipeline.apps.predicting.prediction import predict
from pipeline.apps.predicting.prediction_output import counts, json_line, save_beside, targets, text_line
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.weights import PUBLISHED


class PictureFiles(NamedTuple):
    """The files to classify, each once, and the files in folders that are ignored."""

    paths: list[Path]
    ignored: list[str]


def picture_files(named: Sequence[Path]) -> PictureFiles:
    """Return the named files, and the files in the named folders, sorted. A named file is never ignored."""
    paths: dict[Path, None] = {}
    ignored: dict[str, None] = {}
    for path in named:
        inside = [each for each in sorted(path.rglob("*")) if not each.is_dir()] if path.is_dir() else [path]
        for each in inside:
            if any(map(passed_over, each.relative_to(path).parts)):
                ignored[str(each)] = None
            else:
                paths[each] = None
    return PictureFiles([*paths], [*ignored])


def export(network: Network, path: Path) -> None:
    """Write the network as ONNX, and compare the outputs of both. Raises ValueError if a library is not installed."""
    from capsnet.networks.export import export_onnx

    try:
        difference = export_onnx(network.model, path)
    except ImportError as error:
        raise ValueError(f"--export: {error.name} is not installed; pip install '.[onnx]' does that") from error
    print(f"{path}: its outputs differ from those of the network by at most {difference:.1g}")


def _print_all(
    network: Network, paths: Sequence[Path], treatment: str, *, as_json: bool, save: Path | None, counted: bool
) -> bool:
    """Print a line for each picture that can be read, and the counts of a folder; return whether all could be read."""
    unreadable: list[Path] = []

    def say(kind: str, path: Path, message: str) -> None:
        if kind == "error":
            unreadable.append(path)
        tqdm.write(f"{kind}: {path}: {message}", file=sys.stderr)

    line = json_line if as_json else text_line
    places = targets(save, paths) if save else {}
    done: Counter[str] = Counter()
    with tqdm(total=len(paths), disable=None, unit=" pictures") as bar:
        for prediction in predict(network, paths, treatment, say):
            tqdm.write(line(prediction, network.class_names))
            if save and prediction.answers:
                save_beside(prediction, places[prediction.path])
            done["" if prediction.doubt else network.class_names[prediction.answers[0].best]] += 1
            bar.update()
    if counted:
        print(counts(done, len(unreadable), network.class_names), file=sys.stderr)
    return not unreadable


def _run_and_images(first: str | None, others: Sequence[str]) -> tuple[str, list[Path]]:
    """Return the run and the pictures that the words on the command line name; without a run, the best published.

    Raises ValueError if the first word is neither a network nor a file.
    """
    images = [*map(Path, others)]
    if first is not None and names_network(first):
        return first, images
    if first is not None and not Path(first).exists():
        networks = ", ".join(like_a_network(first)) or "none yet"
        raise ValueError(
            f"RUN: got {first!r}, no such file or network; expected pictures, or a network like {networks}"
        )
    run = best_of_published()
    print(f"note: read by {run}, the best network in {PUBLISHED}/", file=sys.stderr)
    return run, [Path(first), *images] if first else images


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help="a run, a folder of models, or a .safetensors file [the best in published/]",
    )
    made.add_argument("images", metavar="IMAGE", nargs="*", help="pictures, and folders of them")
    made.add_argument("--seed", metavar="N", type=int, help="a seed of the run [the first]")
    made.add_argument(
        "--as", dest="treatment", choices=TREATMENTS, help="how pictures are treated [by the network's data]"
    )
    made.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object for each picture: path, unsure, class, name, lengths, and each digit found",
    )
    made.add_argument(
        "--save", metavar="FOLDER", type=Path, help="write each picture beside its reconstruction, as PNG"
    )
    made.add_argument("--export", metavar="FILE", type=Path, help="write the network as ONNX (float32 images, 0 to 1)")
    made.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="the device that computes [auto]"
    )
    arguments = made.parse_intermixed_args(argv)
    run, images = _run_and_images(arguments.run, arguments.images)
    if not images and not arguments.export:
        raise ValueError("IMAGE: missing; expected pictures, or --export")
    hardware = configure_torch(arguments.device, os.cpu_count() or 1)
    network = open_network(find_model(run, arguments.seed))
    if arguments.export:
        export(network, arguments.export)
        if not images:
            return
    if arguments.save and network.model.decoder is None:
        raise ValueError(f"--save: {network.path} has no decoder, so it reconstructs nothing")
    network.model.to(hardware.device)
    paths, ignored = picture_files(images)
    if ignored:
        print(f"note: ignored: {listing(ignored, 'file')}", file=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
    if images and not paths:
        raise ValueError(f"IMAGE: got no file in {', '.join(map(str, images))}, expected pictures")
    treatment = arguments.treatment or network.treatment
    counted = any(path.is_dir() for path in images)
    if not _print_all(network, paths, treatment, as_json=arguments.json, save=arguments.save, counted=counted):
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
