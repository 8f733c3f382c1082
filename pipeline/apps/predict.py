"""Say what a trained network takes pictures for: a line a picture, or JSON, or the network itself as an ONNX file.

    python -m pipeline.apps.predict digits-fc photo.jpg folder/ --save seen/
    python -m pipeline.apps.predict models/digits-fc/seed-1.safetensors *.png --json
    python -m pipeline.apps.predict digits-fc --export digits.onnx

The network is that of a run's first seed, in models/ or else in published/, or a .safetensors file. Pictures are of any
format that Pillow reads; folders are searched; hidden files, and what systems leave in folders, are passed over. As a
`digit` a picture is searched for one in dark ink on brighter paper or the reverse, which is laid out as the network's
data does it; an image of exactly the data's size and mostly dark stays as it is. As a `picture` its middle square is
brought to the data's size and colours. Networks trained on mnist, affnist and digits see digits, all others pictures;
--as says otherwise. What cannot be read is named on standard error and left out, and the status is then 1.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from capsnet.files import whole_file
from pipeline.apps.network import TREATMENTS, Network, find_model, open_network
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch

if TYPE_CHECKING:
    import numpy as np

BATCH = 256
NAMED = 10  # classes in a line of text
ENLARGED = 4
MARGIN = 8


class Prediction(NamedTuple):
    """What the network makes of one picture; `seen` and `reconstruction` have values from 0 to 1."""

    path: Path
    lengths: list[float]
    seen: "np.ndarray"
    reconstruction: "np.ndarray | None"

    def ranked(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Return names and lengths of all classes, the longest first."""
        return sorted(zip(names, self.lengths, strict=True), key=lambda named: -named[1])


def predict(
    network: Network, paths: Sequence[Path], treatment: str, tell: Callable[[str, Path, str], None]
) -> Iterator[Prediction]:
    """Yield a prediction for each picture in turn; `tell` of an "error" where one cannot be read, and of warnings."""
    import numpy as np
    import torch

    from capsnet.evaluation.recognition import recognise
    from capsnet.sources.folder import open_picture

    for start in range(0, len(paths), BATCH):
        images: dict[Path, np.ndarray] = {}
        for path in paths[start : start + BATCH]:
            try:
                picture, warnings = open_picture(path)
                images[path] = network.image(picture, treatment)
            except ValueError as error:
                tell("error", path, str(error))
                continue
            for warning in warnings:
                tell("warning", path, warning)
        if not images:
            continue
        device = next(network.model.parameters()).device
        pixels, output = recognise(network.model, torch.from_numpy(np.stack([*images.values()])).to(device))
        if not output.lengths.isfinite().all():
            raise ValueError(f"{network.path}: got lengths that are not finite, expected 0 to 1")
        decoded = output.reconstruction
        reconstructions = [None] * len(images) if decoded is None else decoded.cpu().numpy()
        yield from map(Prediction, images, output.lengths.tolist(), pixels.cpu().numpy(), reconstructions)


class Listed(NamedTuple):
    """Files that are meant as pictures, each once, and files in folders that are not."""

    paths: list[Path]
    passed_over: list[str]


def listed(named: Sequence[Path]) -> Listed:
    """Return every file, those in folders sorted; what is named itself is meant, whatever its name."""
    from capsnet.sources.folder import passed_over

    paths: dict[Path, None] = {}
    passed: dict[str, None] = {}
    for path in named:
        inside = [each for each in sorted(path.rglob("*")) if not each.is_dir()] if path.is_dir() else [path]
        for each in inside:
            if any(map(passed_over, each.relative_to(path).parts)):
                passed[str(each)] = None
            else:
                paths[each] = None
    return Listed([*paths], [*passed])


def text_line(prediction: Prediction, names: Sequence[str]) -> str:
    """Return a prediction for reading: the class and its length, then the next ones."""
    (best, length), *others = prediction.ranked(names)[:NAMED]
    return f"{prediction.path}: {best} {length:.3f} ({', '.join(f'{name} {length:.3f}' for name, length in others)})"


def json_line(prediction: Prediction, names: Sequence[str]) -> str:
    """Return a prediction for machines; `lengths` are in the order of the classes."""
    lengths = [round(length, 6) for length in prediction.lengths]
    best = lengths.index(max(lengths))
    facts: dict[str, Any] = {"path": str(prediction.path), "class": best, "name": names[best], "lengths": lengths}
    return json.dumps(facts, ensure_ascii=False)


def save_beside(prediction: Prediction, path: Path) -> None:
    """Write what the network saw, enlarged, and beside it what it made of it."""
    from PIL import Image

    from capsnet.data.picture import shown

    assert prediction.reconstruction is not None
    pictures = [shown(image) for image in (prediction.seen, prediction.reconstruction)]
    side = ENLARGED * pictures[0].width
    both = Image.new(pictures[0].mode, (2 * side + MARGIN, side), "white")
    for place, picture in enumerate(pictures):
        both.paste(picture.resize((side, side), Image.Resampling.NEAREST), (place * (side + MARGIN), 0))
    with whole_file(path) as temporary:
        both.save(temporary, "PNG")


def targets(folder: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    """Return where each picture's reconstruction goes: below `folder` as the pictures lie below what they share."""
    whole = {path: path.resolve() for path in paths}
    shared = os.path.commonpath([each.parent for each in whole.values()])
    return {path: folder / f"{each.relative_to(shared)}.png" for path, each in whole.items()}


def export(network: Network, path: Path) -> None:
    """Write the network as ONNX, compared with itself. Raises ValueError naming what is not installed."""
    try:
        from capsnet.networks.export import export_onnx

        difference = export_onnx(network.model, path)
    except ImportError as error:
        raise ValueError(f"--export: {error.name} is not installed; pip install '.[onnx]' does that") from error
    print(f"{path}: differs from the network by {difference:.1g} at most")


def _print_all(network: Network, paths: Sequence[Path], treatment: str, as_json: bool, save: Path | None) -> int:
    """Print a line for every picture that can be read; return the number of the others."""
    from tqdm import tqdm

    refused: list[Path] = []

    def tell(kind: str, path: Path, what: str) -> None:
        refused.extend([path] * (kind == "error"))
        tqdm.write(f"{kind}: {path}: {what}", file=sys.stderr)

    line = json_line if as_json else text_line
    places = targets(save, paths) if save else {}
    with tqdm(total=len(paths), disable=None, unit=" pictures") as bar:
        for prediction in predict(network, paths, treatment, tell):
            tqdm.write(line(prediction, network.class_names))
            if save:
                save_beside(prediction, places[prediction.path])
            bar.update()
    return len(refused)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("RUN", "a run in models/, a folder of models, or a .safetensors file"))
    made.add_argument("images", metavar="IMAGE", type=Path, nargs="*", help="pictures, and folders of them")
    made.add_argument("--seed", metavar="N", type=int, help="another seed of the run than the first")
    made.add_argument("--as", dest="treatment", choices=TREATMENTS, help="what pictures are taken for")
    made.add_argument("--json", action="store_true", help="print a JSON object a picture: path, class, name, lengths")
    made.add_argument("--save", metavar="FOLDER", type=Path, help="write picture and reconstruction side by side, PNG")
    made.add_argument("--export", metavar="FILE", type=Path, help="write the network as ONNX (float32 images, 0 to 1)")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it computes [auto]")
    arguments = made.parse_intermixed_args(argv)
    if not arguments.images and not arguments.export:
        raise ValueError("IMAGE: missing; expected pictures, or --export")
    hardware = configure_torch(arguments.device, os.cpu_count() or 1)
    network = open_network(find_model(arguments.run, arguments.seed))
    if arguments.export:
        export(network, arguments.export)
    if arguments.save and network.model.decoder is None:
        raise ValueError(f"--save: {network.path} has no decoder, so nothing to reconstruct with")
    network.model.to(hardware.device)
    paths, passed = listed(arguments.images)
    if passed:
        from capsnet.sources.folder import listing

        print(f"note: passed over: {listing(passed, 'file')}", file=sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    if arguments.images and not paths:
        raise ValueError(f"IMAGE: got no file in {', '.join(map(str, arguments.images))}, expected pictures")
    refused = _print_all(network, paths, arguments.treatment or network.treatment, arguments.json, arguments.save)
    if refused:
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
