"""Predictions as lines of text or JSON, as a line of counts, and as images beside their reconstructions."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from capsnet.data.picture import shown
from capsnet.files import whole_file
from pipeline.apps.predicting.prediction import Answer, Prediction

MOST_CLASSES = 10  # in a line of text
ENLARGED = 4  # factor on the size of the images of --save
MARGIN = 8  # pixels between them


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
