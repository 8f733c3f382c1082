"""A picture with no digit, with several, or with one that the network does not know has no sure answer."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.apps import predict
from pipeline.apps.doubt import BOUNDS, doubt, relative_error
from pipeline.apps.explorer.answers import Explorer
from pipeline.apps.explorer.view import ChosenImage
from pipeline.apps.network import find_model, open_network

pytestmark = pytest.mark.usefixtures("project", "one_thread")


def written(columns: int, strokes: list[tuple[int, int, int, int]]) -> Image.Image:
    """White paper with black bars."""
    page = np.full((200, columns), 255, np.uint8)
    for left, top, right, bottom in strokes:
        page[top:bottom, left:right] = 0
    return Image.fromarray(page)


def test_pictures_with_no_digit_or_several_are_unsure_and_each_digit_is_read_with_its_box(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = [(40, 50, 60, 150), (140, 50, 160, 150), (260, 50, 280, 150)]
    for name, strokes in {"none": [], "one": bars[:1], "three": bars}.items():
        written(320, strokes).save(f"{name}.png")
    predict.main([run, "none.png", "one.png", "three.png", "--as", "digit", "--json"])
    none, one, three = map(json.loads, capsys.readouterr().out.splitlines())
    assert (none["unsure"], none["class"], none["found"]) == ("no digit found", None, [])
    assert (one["class"], one["lengths"]) == (one["found"][0]["class"], one["found"][0]["lengths"])
    assert three["unsure"] == "3 digits found, expected one"
    assert (three["class"], three["name"], three["lengths"]) == (None, None, None)
    boxes = np.array([each["box"] for each in three["found"]])
    assert np.abs(boxes - bars).max() <= 3

    predict.main([run, "none.png", "three.png", "--as", "digit", "--save", "seen"])
    none, three = capsys.readouterr().out.splitlines()
    assert none == "none.png: unsure: no digit found"
    assert re.fullmatch(
        r"three.png: unsure: 3 digits found, expected one; it would say (\d \d\.\d+ at [\d-]+(, )?){3}", three
    )
    assert [path.name for path in Path("seen").iterdir()] == ["three.png"]


def test_the_explorer_is_unsure_of_no_digit_and_of_several_and_says_what_it_would_say(run: str) -> None:
    network = open_network(find_model(run, None))._replace(dataset="mnist")  # whose pictures are digits
    size = network.model.config.image_size
    tests = SimpleNamespace(images=torch.zeros(2, 1, size, size, dtype=torch.uint8), labels=torch.tensor([0, 1]))
    explorer = Explorer(network, tests)
    assert explorer.own(written(320, [])) == "Unsure: no digit found."
    several = explorer.own(written(320, [(40, 70, 60, 130), (140, 50, 160, 150)]))
    assert isinstance(several, ChosenImage)
    _, verdict, *_ = explorer.view(several, 0, [0.0] * network.model.config.class_dim)
    assert "Unsure: 2 digits found, expected one; this is the largest. It would say <b>" in verdict


def test_an_answer_is_unsure_beyond_the_bounds_of_its_data() -> None:
    bounds = BOUNDS["mnist"]
    assert doubt("mnist", bounds.length, bounds.error) == ""
    assert "its capsule has length 0.30" in doubt("mnist", 0.3, 0.0)
    assert "its reconstruction has an error of 90 %" in doubt("mnist", 0.9, 0.9)
    assert doubt("mnist", 0.9, None) == ""
    assert doubt("photos", 0.6, 9.0) == ""
    image = np.ones((1, 2, 2))
    assert relative_error(image, image / 2) == 0.25
    assert relative_error(0 * image, 0 * image) == 0
