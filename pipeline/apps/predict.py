"""Classify pictures with a trained network: one line for each picture, as text or JSON. Or export the network.

    python -m pipeline.apps.predict digits-fc photo.jpg folder/ --save seen/
    python -m pipeline.apps.predict models/digits-fc/seed-1.safetensors *.png --json
    python -m pipeline.apps.predict digits-fc --export digits.onnx

The network is a .safetensors file, or that of a run's first seed: in models/, otherwise in published/. Pictures may
have any format that Pillow reads. Folders are searched; hidden files, and files that operating systems leave in
folders, are ignored.

A picture is treated in one of two ways. As a `digit`: the command looks for one digit in dark ink on brighter paper, or
the reverse, and centres and scales it like the network's data; an image of exactly the data's size that is mostly dark
stays as it is. As a `picture`: its middle square is scaled to the data's size and converted to its colours. Networks
trained on mnist, affnist and digits take digits, all others pictures; --as overrides that.

A file that cannot be read is named on standard error and left out; the exit status is then 1.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from capsnet.data.picture import shown
from capsnet.files import whole_file
from capsnet.sources.folder import listing, open_picture, passed_over
from pipeline.apps.network import TREATMENTS, Network, find_model, open_network
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch

BATCH = 256
MOST_CLASSES = 10  # in a line of text
ENLARGED = 4  # factor on the size of the images of --save
MARGIN = 8  # pixels between them


class Prediction(NamedTuple):
    """The network's answer to one picture."""

    path: Path
    lengths: list[float]  # of the class capsules
    seen: np.ndarray  # (C, H, W), 0 to 1: what the network was given
    reconstruction: np.ndarray | None  # (C, H, W), 0 to 1

    def ranked(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Return names and lengths of all classes, the longest first."""
        return sorted(zip(names, self.lengths, strict=True), key=lambda named: -named[1])


def predict(
    network: Network, paths: Sequence[Path], treatment: str, say: Callable[[str, Path, str], None]
) -> Iterator[Prediction]:
    """Yield a prediction for each picture in turn.

    Args:
        network: The network.
        paths: The files of the pictures.
        treatment: One of TREATMENTS.
        say: Called with "error" or "warning", the file and a message: of an error for a file that cannot be read.
    """
    import torch

    from capsnet.evaluation.recognition import recognise

    for start in range(0, len(paths), BATCH):
        images: dict[Path, np.ndarray] = {}
        for path in paths[start : start + BATCH]:
            try:
                picture, warnings = open_picture(path)
                images[path] = network.image(picture, treatment)
            except ValueError as error:
                say("error", path, str(error))
                continue
            for warning in warnings:
                say("warning", path, warning)
        if not images:
            continue
        device = next(network.model.parameters()).device
        pixels, output = recognise(network.model, torch.from_numpy(np.stack([*images.values()])).to(device))
        if not output.lengths.isfinite().all():
            raise ValueError(f"{network.path}: got lengths that are not finite, expected 0 to 1")
        decoded = output.reconstruction
        reconstructions = [None] * len(images) if decoded is None else decoded.cpu().numpy()
        yield from map(Prediction, images, output.lengths.tolist(), pixels.cpu().numpy(), reconstructions)


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


def text_line(prediction: Prediction, names: Sequence[str]) -> str:
    """Return a prediction as text: the class and its length, then the next classes."""
    (best, length), *others = prediction.ranked(names)[:MOST_CLASSES]
    return f"{prediction.path}: {best} {length:.3f} ({', '.join(f'{name} {length:.3f}' for name, length in others)})"


def json_line(prediction: Prediction, names: Sequence[str]) -> str:
    """Return a prediction as JSON; `lengths` are in the order of the classes."""
    lengths = [round(length, 6) for length in prediction.lengths]
    best = lengths.index(max(lengths))
    facts: dict[str, Any] = {"path": str(prediction.path), "class": best, "name": names[best], "lengths": lengths}
    return json.dumps(facts, ensure_ascii=False)


def save_beside(prediction: Prediction, path: Path) -> None:
    """Write the image that the network was given, enlarged, with its reconstruction beside it."""
    assert prediction.reconstruction is not None
    pictures = [shown(image) for image in (prediction.seen, prediction.reconstruction)]
    side = ENLARGED * pictures[0].width
    both = Image.new(pictures[0].mode, (2 * side + MARGIN, side), "white")
    for place, picture in enumerate(pictures):
        both.paste(picture.resize((side, side), Image.Resampling.NEAREST), (place * (side + MARGIN), 0))
    with whole_file(path) as temporary:
        both.save(temporary, "PNG")


def targets(folder: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the file in `folder` for each picture. Its path there is the picture's path below their common folder."""
    whole = {path: path.resolve() for path in paths}
    shared = os.path.commonpath([each.parent for each in whole.values()])
    return {path: folder / f"{each.relative_to(shared)}.png" for path, each in whole.items()}


def export(network: Network, path: Path) -> None:
    """Write the network as ONNX, and compare the outputs of both. Raises ValueError if a library is not installed."""
    from capsnet.networks.export import export_onnx

    try:
        difference = export_onnx(network.model, path)
    except ImportError as error:
        raise ValueError(f"--export: {error.name} is not installed; pip install '.[onnx]' does that") from error
    print(f"{path}: its outputs differ from those of the network by at most {difference:.1g}")


def _print_all(network: Network, paths: Sequence[Path], treatment: str, as_json: bool, save: Path | None) -> int:
    """Print a line for each picture that can be read; return the number of the others."""
    unreadable: list[Path] = []

    def say(kind: str, path: Path, message: str) -> None:
        if kind == "error":
            unreadable.append(path)
        tqdm.write(f"{kind}: {path}: {message}", file=sys.stderr)

    line = json_line if as_json else text_line
    places = targets(save, paths) if save else {}
    with tqdm(total=len(paths), disable=None, unit=" pictures") as bar:
        for prediction in predict(network, paths, treatment, say):
            tqdm.write(line(prediction, network.class_names))
            if save:
                save_beside(prediction, places[prediction.path])
            bar.update()
    return len(unreadable)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("RUN", "a run in models/, a folder of models, or a .safetensors file"))
    made.add_argument("images", metavar="IMAGE", type=Path, nargs="*", help="pictures, and folders of them")
    made.add_argument("--seed", metavar="N", type=int, help="a seed of the run [the first]")
    made.add_argument(
        "--as", dest="treatment", choices=TREATMENTS, help="how pictures are treated [by the network's data]"
    )
    made.add_argument("--json", action="store_true", help="print a JSON object per picture: path, class, name, lengths")
    made.add_argument(
        "--save", metavar="FOLDER", type=Path, help="write each picture beside its reconstruction, as PNG"
    )
    made.add_argument("--export", metavar="FILE", type=Path, help="write the network as ONNX (float32 images, 0 to 1)")
    made.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="the device that computes [auto]"
    )
    arguments = made.parse_intermixed_args(argv)
    if not arguments.images and not arguments.export:
        raise ValueError("IMAGE: missing; expected pictures, or --export")
    hardware = configure_torch(arguments.device, os.cpu_count() or 1)
    network = open_network(find_model(arguments.run, arguments.seed))
    if arguments.export:
        export(network, arguments.export)
    if arguments.save and network.model.decoder is None:
        raise ValueError(f"--save: {network.path} has no decoder, so it reconstructs nothing")
    network.model.to(hardware.device)
    paths, ignored = picture_files(arguments.images)
    if ignored:
        print(f"note: ignored: {listing(ignored, 'file')}", file=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
    if arguments.images and not paths:
        raise ValueError(f"IMAGE: got no file in {', '.join(map(str, arguments.images))}, expected pictures")
    if _print_all(network, paths, arguments.treatment or network.treatment, arguments.json, arguments.save):
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
