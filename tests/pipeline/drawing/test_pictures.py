"""What pictures find and show, on numbers that can be looked through.

Axes: A angles, D pose size, J classes, M measures, R seeds.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from capsnet.explain.shape import MEASURES
from pipeline.drawing import outputs
from pipeline.drawing.curves import draw_curves
from pipeline.drawing.embedding import draw_embedding
from pipeline.drawing.figure import write_below
from pipeline.drawing.perturbation import Moved, tiled, told_agreeing
from pipeline.drawing.rotation import DEGREES, describe, pieces
from pipeline.drawing.rotation_accuracy import accuracies, most_taken, percent
from pipeline.drawing.style import COLUMN, PAGE, each_class, example, first_of_each_class
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import stretches
from pipeline.settings.tables import Published

RUN = {"device": "cpu", "threads": 1, "dataset": "squares", "study": "toy"}


def test_the_image_shown_alone_is_the_first_2_of_ten_classes_and_else_the_first_of_the_first_class() -> None:
    assert example(np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 2])) == 7
    assert example(np.array([2, 1, 0, 2, 1, 0])) == 2


def test_a_picture_of_reconstructions_of_a_network_without_a_decoder_is_refused_by_the_name_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Subject, "model", SimpleNamespace(decoder=None))
    with pytest.raises(ValueError, match="rotation: toy-fc: got a network without a decoder, expected one with"):
        Subject("toy-fc", "FC", "toy", None).model_with_decoder("rotation")


def test_a_turn_is_told_by_where_each_class_wins() -> None:
    lengths = np.full((len(DEGREES), 3), 0.1)
    lengths[:, 1] = 0.5
    lengths[10:37, 1], lengths[10:37, 2], lengths[20, 2] = 0.2, 0.6, 0.75
    told = describe(lengths, 1, ("a", "b", "c"))
    assert told.startswith("It is recognised from 185° through 0° to 45° (at most 0.50, at 0°); ")
    assert "; it is taken for c from 50° to 180° (at most 0.75, at 100°)." in told
    assert told.endswith("Upside down it is taken for c (0.60).")
    assert describe(lengths, 0, ("a", "b", "c")).startswith("It is recognised at no angle; it is taken for b ")


def test_all_angles_have_a_place_on_the_axis_once() -> None:
    predicted = [1] * 10 + [2] * 60 + [1, 1]
    drawn = sorted(piece for stretch in stretches(predicted) for piece in pieces(stretch))
    assert drawn == [(0, 47.5), (47.5, 347.5), (347.5, 360)]
    assert pieces(stretches([3] * len(DEGREES))[0]) == [(0, 360)]


def test_accuracies_and_shares_are_those_counted_by_hand() -> None:
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert accuracies(np.stack([confusion, confusion.T])[:, None]).tolist() == [[87.5], [87.5]]
    assert percent(confusion).tolist() == [[75, 25, 0], [0, 100, 0], [0, 0, 0]]
    assert most_taken(percent(confusion)) == {0: 1}


def test_a_dimension_is_named_after_what_it_changes_most_against_the_spread_and_else_changes_little() -> None:
    changes = np.zeros((3, len(MEASURES)))
    deviations = np.zeros_like(changes)
    slant, height = list(MEASURES).index("slant"), list(MEASURES).index("height")
    changes[0, [slant, height]], deviations[0, [slant, height]] = (-12.34, 5.0), (-3.0, 2.0)
    changes[1, slant], deviations[1, slant] = 16.0, 4.0
    changes[2, height], deviations[2, height] = 9.0, 0.9
    moved = Moved(0, np.zeros((3, 2, 1, 4, 4)), changes, deviations, np.ones_like(changes))
    assert [moved.name(dimension) for dimension in range(3)] == ["slant −12.3°", "slant +16.0°", "little"]
    assert moved.strongest == [1, 2]
    assert moved.name(moved.strongest[1]) == "little"


def test_pictures_lie_row_by_row_and_column_by_column_with_white_between() -> None:
    images = np.arange(2 * 3 * 1 * 4 * 5).reshape(2, 3, 1, 4, 5)
    mosaic = tiled(images)
    assert mosaic.shape == (1, 2 * 5, 3 * 6)
    assert (mosaic[:, 5:9, 12:17] == images[1, 2]).all()
    assert (mosaic[0, 4] == 1).all()
    assert (mosaic[0, :, 5] == 1).all()


@pytest.mark.parametrize("width", [2.0, COLUMN, PAGE])
@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_note_lies_below_its_picture_whatever_its_length_and_no_wider(width: float, layout: str | None) -> None:
    figure = Figure(figsize=(width, 2.0), layout=layout)
    figure.subplots().set_xlabel("x")
    area = write_below(figure, "MUCH: wider than a picture, " * 8)
    figure.draw_without_rendering()
    (text,) = figure.texts
    box = text.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert area.x0 == 0 <= box.x0 < box.x1 <= width == area.x1
    assert area.y0 <= box.y0 < box.y1 <= 0 < 2.0 == area.y1


def test_a_curve_of_one_epoch_can_be_seen() -> None:
    history = pd.DataFrame({"seed": [0, 1], "epoch": [1, 1], "train_loss": [0.5, 0.4]})
    panel, *_ = draw_curves({"one": history}, {"one": {}}).axes
    assert panel.lines[0].get_marker() == "o"
    longer = pd.concat([history, history.assign(epoch=2)])
    assert draw_curves({"two": longer}, {"two": {}}).axes[0].lines[0].get_marker() in ("", "None")


def test_scores_of_the_test_images_stand_at_the_end_of_their_curves() -> None:
    epochs = {"seed": [0, 0], "epoch": [1, 2], "train_loss": [2.0, 1.0], "train_rloss": [30.0, 20.0]}
    history = pd.DataFrame(epochs | {"train_accuracy": [90.0, 95.0]})
    scores = {"one": {"rloss": (9.5, 10.5), "accuracy": (99.5, 99.25)}, "two": {}}
    panels = draw_curves({"one": history, "two": history}, scores).axes
    marked = {
        axes.get_ylabel(): [
            (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0])
            for line in axes.lines
            if len(line.get_xdata()) == 1
        ]
        for axes in panels
    }
    assert marked == {
        "total loss, training": [],
        "RLoss per image, training": [("D", 2, 9.5), ("o", 2, 10.5)],
        "accuracy (%), training": [("D", 2, 99.5), ("o", 2, 99.25)],
    }


def test_a_run_stands_beside_what_others_report_for_single_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, "read_prepared", lambda *_: None)
    metrics = tmp_path / "reports/toy/metrics/a.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"accuracy_mean": 99.25, "rloss_mean": 10.5}')
    others = {"accuracy": 99.5, "source": "Somebody 2001"}
    for entry, expected in (
        (Published(**others), {"accuracy": (99.5, 99.25)}),
        (Published(**others, rloss=9.5), {"rloss": (9.5, 10.5), "accuracy": (99.5, 99.25)}),
        (Published(**others, ensemble=True), {}),
    ):
        params = SimpleNamespace(runs={"a": SimpleNamespace(**RUN, label="FC")}, published={"a": entry})
        (subject,) = outputs.subjects(["a"], params)
        assert subject.reported_and_ours == expected


def test_of_names_of_classes_on_one_place_one_is_drawn_and_the_legend_has_them_all() -> None:
    places = {"pixels_first": [0.0, 0.0, 5.0], "pixels_second": [0.0, 0.1, 5.0]}
    capsules = {"class_capsules_first": [0.0, 3.0, 5.0], "class_capsules_second": [0.0, 3.0, 5.0]}
    points = pd.DataFrame({"actual": [0, 1, 2], "predicted": [0, 1, 0], **places, **capsules})
    *spaces, names = draw_embedding(points, ["airplane", "automobile", "ship"]).axes
    drawn = [[text.get_text() for text in axes.texts] for axes in spaces]
    assert drawn == [["airplane", "ship"], ["airplane", "automobile", "ship"]]
    assert [text.get_text() for text in names.get_legend().get_texts()] == ["airplane", "automobile", "ship"]


def test_of_many_classes_the_first_are_shown_and_captions_say_so() -> None:
    labels = np.arange(26).repeat(3)
    assert first_of_each_class(labels) == list(range(0, 30, 3))
    assert each_class(labels) == "each of the first 10 classes"
    assert each_class(labels[:30]) == "each class"


def test_other_images_of_a_class_agree_with_the_first_as_often_as_they_do() -> None:
    told = told_agreeing([1.0, 0.5, float("nan")])
    assert told == "On up to 20 other test images of the class, 75 % of the named changes have the same direction."
    assert told_agreeing([float("nan")]) == "There are no other test images of the class to compare with."


def test_runs_that_are_called_alike_go_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "read_prepared", lambda *_: None)
    runs = {name: SimpleNamespace(**RUN, label=label) for name, label in (("a", "FC"), ("b", "FC"), ("c", "DeConv"))}
    params = SimpleNamespace(runs=runs, published={})
    assert [subject.label for subject in outputs.subjects(["a", "c"], params)] == ["FC", "DeConv"]
    assert [subject.label for subject in outputs.subjects(["a", "b", "c"], params)] == ["a", "b", "c"]
