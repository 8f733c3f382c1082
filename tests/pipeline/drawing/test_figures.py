"""The findings and the content of pictures, on numbers that can be checked by hand.

Axes: A angles, D pose size, J classes, M measures, R seeds.
"""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from capsnet.explain.shape import MEASURES
from pipeline.drawing.confusion import describe as describe_confusion
from pipeline.drawing.curves import describe as describe_curves
from pipeline.drawing.curves import draw_curves
from pipeline.drawing.embedding import draw_embedding
from pipeline.drawing.figure import write_below
from pipeline.drawing.outputs import labels_of, reported_and_ours
from pipeline.drawing.perturbation import Moved, agreement, tiled
from pipeline.drawing.primary import describe as describe_primary
from pipeline.drawing.reconstructions import ReconstructionRow, draw_reconstructions
from pipeline.drawing.reconstructions import describe as describe_reconstructions
from pipeline.drawing.rotation import DEGREES, describe, pieces, trained_on
from pipeline.drawing.rotation_accuracy import accuracies, as_counts, most_frequent_mistakes, percent
from pipeline.drawing.rotation_accuracy import describe as describe_accuracy
from pipeline.drawing.style import COLUMN, PHONE, class_look, each_class, example, first_of_each_class
from pipeline.drawing.subject import Subject, with_decoder
from pipeline.drawing.words import stretches
from pipeline.settings.tables import PublishedValues


def test_the_image_shown_alone_is_the_first_2_of_ten_classes_and_else_the_first_of_the_first_class() -> None:
    assert example(np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 2])) == 7
    assert example(np.array([2, 1, 0, 2, 1, 0])) == 2


def subject(**changes: Any) -> Subject:
    facts: dict[str, Any] = {"run": "toy-fc", "label": "FC", "study": "toy", "test": None, "labels": np.arange(3)}
    return Subject(**{**facts, "models": {}, "network": SimpleNamespace(decoder=None), "settings": {}, **changes})


def test_a_picture_of_reconstructions_of_a_network_without_a_decoder_is_refused_by_the_name_of_the_run() -> None:
    with pytest.raises(ValueError, match="rotation: toy-fc: got a network without a decoder, expected one with"):
        with_decoder(subject(), "rotation")


def test_a_rotation_finds_how_often_an_image_is_recognised_and_its_most_frequent_mistake() -> None:
    lengths = np.full((len(DEGREES), 3), 0.1)
    lengths[:, 1] = 0.5
    lengths[10:37, 2] = 0.6
    assert describe(lengths, 1, ("a", "b", "c")) == (
        "The image of class b is recognised at 62 % of the angles and most often mistaken for c (38 %); upside down it "
        "is read as c."
    )
    assert describe(lengths[:, :2], 1, ("a", "b")) == "The image of class b is recognised at every angle."
    assert "class a is recognised at 0 % of the angles" in describe(lengths, 0, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("counts", "errors", "few"),
    [
        (
            [0, 1, 2, 4, 16, 64, 100],
            [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0],
            "the 16 strongest of its 100 primary capsules",
        ),
        ([0, 1, 2, 4, 16], [9.0, 8.0, 7.0, 5.0, 3.0], "the 4 strongest of its 16 primary capsules"),
    ],
)
def test_few_primary_capsules_are_fewer_than_all(counts: list[int], errors: list[float], few: str) -> None:
    assert describe_primary(counts, errors) == (
        f"Decoded from {few}, an image has a squared error of 5.0; decoded from all of them it has 3.0, from none 9.0."
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"rotation": 20.0}, "trained on images rotated by up to 20°"), ({}, "trained on upright images")],
)
def test_a_caption_says_whether_training_images_were_rotated(settings: dict[str, float], words: str) -> None:
    assert trained_on(subject(settings=settings)) == words


def test_all_angles_have_a_place_on_the_axis_once() -> None:
    predicted = [1] * 10 + [2] * 60 + [1, 1]
    drawn = sorted(piece for stretch in stretches(predicted) for piece in pieces(stretch))
    assert drawn == [(0, 47.5), (47.5, 347.5), (347.5, 360)]
    assert pieces(stretches([3] * len(DEGREES))[0]) == [(0, 360)]


def test_accuracies_and_shares_are_those_counted_by_hand() -> None:
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert accuracies(np.stack([confusion, confusion.T])[:, None]).tolist() == [[87.5], [87.5]]
    assert percent(confusion).tolist() == [[75, 25, 0], [0, 100, 0], [0, 0, 0]]
    assert most_frequent_mistakes(percent(confusion)) == {0: 1}


def test_rows_of_rotated_counts_are_arranged_by_seed_and_angle() -> None:
    columns = ["seed", "degrees", "actual", "predicted", "count"]
    rows = [(0, 0, 0, 0, 4), (0, 0, 1, 1, 6), (0, 180, 0, 1, 4), (0, 180, 1, 1, 6), (2, 0, 0, 0, 4), (2, 0, 1, 1, 6)]
    counts = as_counts(pd.DataFrame([*rows, (2, 180, 0, 0, 4), (2, 180, 1, 0, 6)], columns=columns), 2)
    assert (counts.seeds, counts.degrees, counts.upside_down) == ([0, 2], [0, 180], 1)
    assert counts.confusion[0, 1].tolist() == [[0, 4], [0, 6]]
    assert accuracies(counts.confusion).tolist() == [[100, 60], [100, 40]]
    assert describe_accuracy("FC", counts) == (
        "FC recognises 100.0 % of the upright test images, 50.0 % at 180°, and fewest at 180° (50.0 %)."
    )


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


@pytest.mark.parametrize("width", [2.0, COLUMN, PHONE])
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


def test_a_legend_below_a_picture_is_not_drawn_over_the_note() -> None:
    notes = []
    for legend in (False, True):
        figure = Figure(figsize=(COLUMN, 2.0), layout="constrained")
        figure.subplots().plot([0, 1], label="one")
        if legend:
            figure.legend(loc="outside lower center")
        area = write_below(figure, "a note")
        figure.savefig(buffer := BytesIO(), format="png", dpi=100, bbox_inches=area)
        notes.append(np.asarray(Image.open(buffer))[200:])
    assert (notes[0] < 128).any()
    np.testing.assert_array_equal(*notes)


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
        axes.get_title(loc="left"): [
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


def test_a_run_has_what_others_report_for_single_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = tmp_path / "reports/toy/metrics/a.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"accuracy_mean": 99.25, "rloss_mean": 10.5}')
    others = {"accuracy": 99.5, "source": "Somebody 2001"}
    for entry, expected in (
        (PublishedValues(**others), {"accuracy": (99.5, 99.25)}),
        (PublishedValues(**others, rloss=9.5), {"rloss": (9.5, 10.5), "accuracy": (99.5, 99.25)}),
        (PublishedValues(**others, ensemble=True), {}),
    ):
        params = SimpleNamespace(runs={"a": SimpleNamespace(study="toy")}, published={"a": entry})
        assert reported_and_ours("a", params) == expected


def test_of_names_of_classes_on_one_place_one_is_drawn_and_the_legend_has_them_all() -> None:
    places = {"pixels_first": [0.0, 0.0, 5.0], "pixels_second": [0.0, 0.1, 5.0]}
    capsules = {"class_capsules_first": [0.0, 3.0, 5.0], "class_capsules_second": [0.0, 3.0, 5.0]}
    points = pd.DataFrame({"actual": [0, 1, 2], "predicted": [0, 1, 0], **places, **capsules})
    *spaces, names = draw_embedding(points, ["airplane", "automobile", "ship"]).axes
    drawn = [[text.get_text() for text in axes.texts] for axes in spaces]
    assert drawn == [["airplane", "ship"], ["airplane", "automobile", "ship"]]
    assert [text.get_text() for text in names.get_legend().get_texts()] == ["airplane", "automobile", "ship"]


@pytest.mark.parametrize("names", [[*"0123456789"], [f"a rather long class {number}" for number in range(10)]])
def test_every_name_of_the_legend_is_inside_the_picture_and_ten_classes_look_different(names: list[str]) -> None:
    columns = [f"{space}_{axis}" for space in ("pixels", "class_capsules") for axis in ("first", "second")]
    labels = list(range(10))
    points = pd.DataFrame({"actual": labels, "predicted": labels, **dict.fromkeys(columns, labels)})
    figure = draw_embedding(points, names)
    figure.draw_without_rendering()
    legend = figure.axes[-1].get_legend()
    shown = [text.get_window_extent() for text in legend.get_texts()]
    assert [text.get_text() for text in legend.get_texts()] == names
    assert min(box.x0 for box in shown) >= 0
    assert max(box.x1 for box in shown) <= figure.bbox.x1
    looks = [class_look(label) for label in labels]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 10


def test_of_many_classes_the_first_are_shown_and_captions_say_so() -> None:
    labels = np.arange(26).repeat(3)
    assert first_of_each_class(labels) == list(range(0, 30, 3))
    assert each_class(labels) == "each of the first 10 classes"
    assert each_class(labels[:30]) == "each class"


def test_other_images_of_a_class_agree_as_often_as_they_do() -> None:
    words = agreement([1.0, 0.5, float("nan")])
    assert words == "On average, 75 % of other test images of the class change in the same direction."
    assert agreement([float("nan")]) == "There are no other test images of the class to compare with."


def test_runs_with_equal_labels_go_by_their_names() -> None:
    runs = {name: SimpleNamespace(label=label) for name, label in (("a", "FC"), ("b", "FC"), ("c", "DeConv"))}
    params = SimpleNamespace(runs=runs)
    assert labels_of(["a", "c"], params) == {"a": "FC", "c": "DeConv"}
    assert labels_of(["a", "b", "c"], params) == {"a": "a", "b": "b", "c": "c"}


def test_the_highest_and_the_lowest_training_accuracy_after_the_last_epoch_are_found() -> None:
    histories = {
        name: pd.DataFrame({"epoch": [1, 2], "train_accuracy": [50.0, last]})
        for name, last in (("a", 90.0), ("b", 95.0))
    }
    assert describe_curves(histories) == (
        "After the last epoch the training accuracy is highest for b (95.00 %) and lowest for a (90.00 %)."
    )
    alone = describe_curves({"a": histories["a"]})
    assert alone == "After the last epoch the training accuracy is 90.00 %."


@pytest.mark.parametrize(
    ("counts", "finding"),
    [
        ([[2, 0], [0, 3]], "All 5 answers are right."),
        (
            [[2, 0], [1, 2]],
            "1 of 5 answers (20.00 %) is wrong; the most frequent mistake is 7 read as 3 (1 of 3).",
        ),
    ],
)
def test_the_most_frequent_mistake_is_found(counts: list[list[int]], finding: str) -> None:
    assert describe_confusion(np.array(counts), ["3", "7"]) == finding


def test_recognised_reconstructions_are_counted_and_a_mistake_is_named() -> None:
    rows = [
        ReconstructionRow("FC", np.zeros((2, 1, 1, 1)), [0, 1]),
        ReconstructionRow("DeConv", np.zeros((2, 1, 1, 1)), [0, 0]),
    ]
    assert describe_reconstructions([0, 1], rows[:1], ["a", "b"]) == "The network recognises all 2 images."
    assert describe_reconstructions([0, 1], rows, ["a", "b"]) == "1 of 4 answers is wrong: DeConv predicts a for b."


@pytest.mark.parametrize("names", [[*"0123456789"], [f"class {number}" for number in range(10)]])
def test_a_long_name_of_a_run_leaves_the_images_as_far_apart_as_without(names: list[str]) -> None:
    images = np.zeros((10, 1, 4, 4))
    row = ReconstructionRow("a run with a rather long name", images, [1, *range(1, 10)])
    figure = draw_reconstructions(images, list(range(10)), [row], names)
    figure.draw_without_rendering()
    across = 10 if len(names[0]) == 1 else 5
    lefts = [axes.get_position().x0 for axes in figure.axes[:across]]
    assert np.ptp(np.diff(lefts)) < 0.01
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()] == [names[1]]
