"""Classify pictures with a trained network: one line for each picture, as text or JSON. Or export the network.

    python -m pipeline.apps.predict digits-fc photo.jpg folder/ --save seen/
    python -m pipeline.apps.predict models/digits-fc/seed-1.safetensors *.png --json
    python -m pipeline.apps.predict digits-fc --export digits.onnx

The network is a .safetensors file, or that of a run's first seed: in models/, otherwise in published/. Pictures may
have any format that Pillow reads. Folders are searched; hidden files, and files that operating systems leave in
folders, are ignored.

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
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from capsnet.data.picture import Found, shown
from capsnet.files import whole_file
from capsnet.sources.folder import listing, open_picture, passed_over
from pipeline.apps.doubt import doubt, relative_error
from pipeline.apps.network import TREATMENTS, Network, find_model, open_network
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch

BATCH = 256
MOST_CLASSES = 10  # in a line of text
ENLARGED = 4  # factor on the size of the images of --save
MARGIN = 8  # pixels between them


class Answer(NamedTuple):
    """The network's answer to one image that was found in a picture."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture
    lengths: list[float]  # of the class capsules
    seen: np.ndarray  # (C, H, W), 0 to 1: what the network was given
    reconstruction: np.ndarray | None  # (C, H, W), 0 to 1
    doubt: str  # why the answer is unsure; empty if it is sure

    @property
    def best(self) -> int:
        """The class with the longest capsule."""
        return self.lengths.index(max(self.lengths))

    def ranked(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Return names and lengths of all classes, the longest first."""
        return sorted(zip(names, self.lengths, strict=True), key=lambda named: -named[1])


class Prediction(NamedTuple):
    """The answers to one picture: one for each digit that was found, from left to right."""

    path: Path
    answers: list[Answer]

    @property
    def doubt(self) -> str:
        """Why the picture has no sure answer; empty if it has one."""
        if not self.answers:
            return "no digit found"
        if len(self.answers) > 1:
            return f"{len(self.answers)} digits found, expected one"
        return self.answers[0].doubt


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
    for start in range(0, len(paths), BATCH):
        pictures: dict[Path, list[Found]] = {}
        for path in paths[start : start + BATCH]:
            try:
                picture, warnings = open_picture(path)
                pictures[path] = network.images(picture, treatment)
            except ValueError as error:
                say("error", path, str(error))
                continue
            for warning in warnings:
                say("warning", path, warning)
        answers = answer(network, [found for each in pictures.values() for found in each])
        for path, each in pictures.items():
            yield Prediction(path, list(islice(answers, len(each))))


def answer(network: Network, found: Sequence[Found]) -> Iterator[Answer]:
    """Yield the network's answer to each image."""
    import torch

    from capsnet.evaluation.recognition import recognise

    device = next(network.model.parameters()).device
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        images = torch.from_numpy(np.stack([each.image for each in batch])).to(device)
        pixels, output = recognise(network.model, images)
        if not output.lengths.isfinite().all():
            raise ValueError(f"{network.path}: got lengths that are not finite, expected 0 to 1")
        seen = pixels.cpu().numpy()
        decoded = None if output.reconstruction is None else output.reconstruction.cpu().numpy()
        for place, lengths in enumerate(output.lengths.tolist()):
            drawn = None if decoded is None else decoded[place]
            error = None if drawn is None else relative_error(seen[place], drawn)
            why = doubt(network.dataset, max(lengths), error)
            yield Answer(batch[place].box, lengths, seen[place], drawn, why)


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
    """Return a prediction as text: the class and its length, then the next classes; or why it is unsure.

    Of several digits, each class and length is followed by the box: left, top, right, bottom.
    """
    if len(prediction.answers) > 1:
        ranked = [(*each.ranked(names)[0], each.box) for each in prediction.answers]
        says = ", ".join(f"{name} {length:.3f} at {'-'.join(map(str, box))}" for name, length, box in ranked)
    else:
        says = "".join(_in_words(each, names) for each in prediction.answers)
    if not prediction.doubt:
        return f"{prediction.path}: {says}"
    would = f"; it would say {says}" if says else ""
    return f"{prediction.path}: unsure: {prediction.doubt}{would}"


def _in_words(answer: Answer, names: Sequence[str]) -> str:
    (best, length), *others = answer.ranked(names)[:MOST_CLASSES]
    return f"{best} {length:.3f} ({', '.join(f'{name} {length:.3f}' for name, length in others)})"


def json_line(prediction: Prediction, names: Sequence[str]) -> str:
    """Return a prediction as JSON.

    `unsure` is null or says why. `found` holds each digit with its box, and `lengths` in the order of the classes. The
    class, name and lengths of the picture are those of its only digit; they are null if there is not exactly one.
    """
    found = [_facts(each, names) for each in prediction.answers]
    only = found[0] if len(found) == 1 else {}
    facts: dict[str, Any] = {"path": str(prediction.path), "unsure": prediction.doubt or None}
    facts |= {key: only.get(key) for key in ("class", "name", "lengths")}
    return json.dumps(facts | {"found": found}, ensure_ascii=False)


def _facts(answer: Answer, names: Sequence[str]) -> dict[str, Any]:
    return {
        "box": answer.box,
        "class": answer.best,
        "name": names[answer.best],
        "lengths": [round(length, 6) for length in answer.lengths],
        "unsure": answer.doubt or None,
    }


def counts(read: Counter[str], unreadable: int, names: Sequence[str]) -> str:
    """Return in one line how many pictures were read as which class, and how many were not.

    Args:
        read: The number of pictures of each class; the empty name counts unsure ones.
        unreadable: The number of files that could not be read.
        names: The names of the classes.
    """
    number = read.total()
    parts = [f"{read[name]} as {name}" for name in names if read[name]]
    parts += [f"{read['']} unsure"] if read[""] else []
    parts += [f"{unreadable} could not be read"] if unreadable else []
    return f"{number} picture{'s' * (number != 1)}: {', '.join(parts)}"


def save_beside(prediction: Prediction, path: Path) -> None:
    """Write the images that the network was given, enlarged, each with its reconstruction beside it."""
    with whole_file(path) as temporary:
        both = [_beside(each) for each in prediction.answers]
        height = sum(each.height for each in both) + MARGIN * (len(both) - 1)
        column = Image.new(both[0].mode, (both[0].width, height), "white")
        for place, each in enumerate(both):
            column.paste(each, (0, place * (each.height + MARGIN)))
        column.save(temporary, "PNG")


def _beside(answer: Answer) -> Image.Image:
    assert answer.reconstruction is not None
    pictures = [shown(image) for image in (answer.seen, answer.reconstruction)]
    side = ENLARGED * pictures[0].width
    both = Image.new(pictures[0].mode, (2 * side + MARGIN, side), "white")
    for place, picture in enumerate(pictures):
        both.paste(picture.resize((side, side), Image.Resampling.NEAREST), (place * (side + MARGIN), 0))
    return both


def targets(folder: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the PNG file in `folder` for each picture. Its path there is the picture's path below their common folder.

    Two pictures that differ in their suffix alone keep it in the name.
    """
    whole = {path: path.resolve() for path in paths}
    shared = os.path.commonpath([each.parent for each in whole.values()])
    short = Counter(each.with_suffix("") for each in whole.values())
    names = {path: each if short[each.with_suffix("")] > 1 else each.with_suffix("") for path, each in whole.items()}
    return {path: folder / f"{name.relative_to(shared)}.png" for path, name in names.items()}


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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("RUN", "a run in models/, a folder of models, or a .safetensors file"))
    made.add_argument("images", metavar="IMAGE", type=Path, nargs="*", help="pictures, and folders of them")
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
    treatment = arguments.treatment or network.treatment
    counted = any(path.is_dir() for path in arguments.images)
    if not _print_all(network, paths, treatment, as_json=arguments.json, save=arguments.save, counted=counted):
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
