"""Each picture gets one line; a file that cannot be read is named, and the others are still answered."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged import FACTS, FILES
from PIL import Image
from tiny_project import ROOT, squares

import capsnet
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.apps import predict
from pipeline.apps.network import find_model, open_network
from pipeline.apps.predicting import prediction, prediction_output
from pipeline.runtime.command_line import run_stage

pytestmark = pytest.mark.usefixtures("project", "one_thread")


@pytest.fixture
def pictures() -> Path:
    """Five pictures of the network's size in a folder, and two files that are none."""
    for number, image in enumerate(squares(5, 0)[0]):
        Path("in/deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"in/{'deep/' * (number > 2)}{number}.png")
    Path("in/text.png").write_text("no picture")
    for name in (".hidden", "deep/Thumbs.db", "deep/._3.png", "__MACOSX/0.png"):
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_text("not looked at")
    return Path("in")


def test_every_picture_is_answered_as_the_network_answers_and_what_is_none_is_named(
    run: str, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "BATCH", 2)
    with pytest.raises(SystemExit) as ended:
        predict.main([run, str(pictures), "missing.png", "--json", "--seed", "1", "--as", "picture"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "note: ignored: 4 files: in/.hidden; in/__MACOSX/0.png; in/deep/._3.png; in/deep/Thumbs.db",
        "error: in/text.png: cannot identify image file",
        "error: missing.png: No such file or directory",
        "5 pictures: 5 unsure, 2 could not be read",
    ]
    got = [json.loads(line) for line in said.out.splitlines()]
    assert [each["path"] for each in got] == ["in/0.png", "in/1.png", "in/2.png", "in/deep/3.png", "in/deep/4.png"]
    model = capsnet.load("models/toy/seed-1.safetensors")
    with torch.no_grad():
        lengths = model(torch.from_numpy(squares(5, 0)[0][:, None]) / 255).lengths
    np.testing.assert_allclose([each["lengths"] for each in got], lengths, atol=1e-6)
    assert [each["class"] for each in got] == lengths.argmax(1).tolist()


def test_a_line_of_text_names_the_classes_the_longest_first(
    run: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import prepare

    prepare.main(["squares"])
    manifest = json.loads(Path("data/squares.json").read_text())
    Path("data/squares.json").write_text(json.dumps(manifest | {"class_names": ["high", "middle", "low"]}))
    capsys.readouterr()
    predict.main([run, "in/0.png"])
    line = capsys.readouterr().out
    assert line.startswith("in/0.png: unsure: its capsule has length ")
    line = "in/0.png: " + line.split("it would say ")[1]
    lengths = [float(word.strip("(),")) for word in line.split() if word.strip("(),")[0].isdigit()]
    assert line.startswith("in/0.png: ")
    assert {"high", "middle", "low"} <= {word.strip("()") for word in line.split()}
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 3


def test_reconstructions_are_saved_beside_their_pictures_under_names_of_their_own(run: str, pictures: Path) -> None:
    predict.main([run, "in/0.png", "in/deep", "--save", "seen"])
    assert sorted(map(str, Path("seen").rglob("*.png"))) == [
        "seen/0.png",
        "seen/deep/3.png",
        "seen/deep/4.png",
    ]
    with Image.open("seen/0.png") as both:
        side = prediction_output.ENLARGED * 20
        assert both.size == (2 * side + prediction_output.MARGIN, side)
        left = np.asarray(both)[:: prediction_output.ENLARGED, : side : prediction_output.ENLARGED]
    assert np.array_equal(left, squares(1, 0)[0][0])


def test_pictures_that_differ_in_their_suffix_alone_are_saved_under_two_names(run: str, pictures: Path) -> None:
    with Image.open("in/0.png") as picture:
        picture.save("in/0.gif")
    assert [*predict.targets(Path("seen"), [Path("in/0.gif"), Path("in/0.png"), Path("in/1.png")]).values()] == [
        Path("seen/0.gif.png"),
        Path("seen/0.png.png"),
        Path("seen/1.png"),
    ]


@pytest.mark.parametrize(
    ("dataset", "channels", "treatment"), [("mnist", 1, "digit"), ("squares", 1, "picture"), ("", 3, "picture")]
)
def test_what_pictures_are_taken_for_follows_from_the_data_set(
    tiny_model: ModelConfig, dataset: str, channels: int, treatment: str
) -> None:
    path = Path("a.safetensors")
    facts = {"settings": {"dataset": dataset, "crop": 0}} if dataset else {}
    save_model(path, CapsNet(replace(tiny_model, channels=channels)), facts)
    network = open_network(path)
    assert network.treatment == treatment
    ring = Image.eval(Image.radial_gradient("L"), lambda level: 255 * (90 < level < 120))
    assert [found.image.shape for found in network.images(ring, treatment)] == [(channels, 20, 20)]


def test_a_network_that_saw_crops_sees_pictures_of_its_datas_size(
    tiny_model: ModelConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import prepare

    path = Path("a.safetensors")
    save_model(path, CapsNet(tiny_model), {"settings": {"dataset": "squares", "crop": 20}})
    assert open_network(path).size == 20
    assert "data/squares.json" in capsys.readouterr().err
    prepare.main(["squares"])
    manifest = json.loads(Path("data/squares.json").read_text())
    Path("data/squares.json").write_text(json.dumps(manifest | {"image_size": 26}))
    network = open_network(path)
    assert network.images(Image.radial_gradient("L"), "picture")[0].image.shape == (1, 26, 26)


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_model_ends_in_one_line(
    kind: str, tiny_model: ModelConfig, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, said = FILES[kind]
    write(Path("a.safetensors"), CapsNet(tiny_model))
    assert re.match(rf"error: a\.safetensors: .*{said}", refused(["a.safetensors", "in/0.png"], capsys))


@pytest.mark.parametrize("kind", FACTS)
def test_a_model_that_does_not_say_what_it_was_trained_on_ends_in_one_line(
    kind: str, tiny_model: ModelConfig, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, said = FACTS[kind]
    save_model(Path("a.safetensors"), CapsNet(tiny_model), {"settings": settings})
    assert re.match(rf"error: a\.safetensors: {said}", refused(["a.safetensors", "in/0.png"], capsys))


def test_lengths_that_are_no_numbers_are_no_answer(
    tiny_model: ModelConfig, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = CapsNet(replace(tiny_model, primary_scale=1e38))
    save_model(Path("a.safetensors"), model, {})
    assert "lengths that are not finite" in refused(["a.safetensors", "in/0.png"], capsys)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which has to end with status 2 and one line; return the line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(predict.main, arguments))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    return said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "a.png"], "RUN: got 'nobody', no such file or network; expected pictures, or a network like toy$"),
        (["nothere.png"], "RUN: got 'nothere.png', no such file or network; expected pictures, or a network like toy$"),
        (["toy-deconv_b"], "RUN: got 'toy-deconv_b', .* or a network like toy-deconv_bn, toy-deconv"),
        (["toy-tuned", "a.png"], "models/toy-tuned: no trained models; `dvc repro train-tuned@toy` makes them"),
        (["toy"], "IMAGE: missing; expected pictures, or --export"),
        (["toy", "a.png", "--seed", "7"], "--seed: got 7, expected one of 0, 1 for toy"),
        (["models/toy/seed-0.safetensors", "a.png", "--seed", "0"], "--seed: models/toy/seed-0.safetensors is a file"),
        (["toy", "empty"], "IMAGE: got no file in empty"),
        (["bare.safetensors", "in", "--save", "seen"], "--save: bare.safetensors has no decoder"),
        (["squares.npz.safetensors", "in"], "squares.npz.safetensors: no such file"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_so(
    run: str, pictures: Path, tiny_model: ModelConfig, arguments: list[str], said: str
) -> None:
    Path("empty").mkdir()
    save_model(Path("bare.safetensors"), CapsNet(replace(tiny_model, decoder="none")), {})
    with pytest.raises((ValueError, OSError), match=said.replace("(", r"\(")):
        predict.main(arguments)


def test_a_run_may_be_named_by_its_folder(run: str, tmp_path: Path) -> None:
    assert find_model("models/toy", 1) == find_model("toy", 1) == Path("models/toy/seed-1.safetensors")
    Path("models/toy").rename(tmp_path / "tried")
    assert find_model(str(tmp_path / "tried"), None) == tmp_path / "tried/seed-0.safetensors"
    Path("params.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"RUN: got 'toy', expected .* or a run in models/: none yet"):
        find_model("toy", None)


def test_an_export_without_its_libraries_says_what_to_install(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"--export: onnxruntime is not installed; pip install '\.\[onnx\]'"):
        predict.main([run, "--export", "toy.onnx"])


def test_an_export_without_pictures_is_all_that_is_done(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[Path] = []
    monkeypatch.setattr(predict, "export", lambda network, path: exported.append(path))
    predict.main([run, "--export", "toy.onnx", "--save", "seen"])
    assert exported == [Path("toy.onnx")]
    assert not Path("seen").exists()


@pytest.mark.slow
def test_an_export_is_written_and_named(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    predict.main([run, "--export", "toy.onnx"])
    assert capsys.readouterr().out.startswith("toy.onnx: its outputs differ from those of the network by at most")
    assert Path("toy.onnx").stat().st_size > 1000


def test_options_may_stand_anywhere(run: str, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.main([run, "--as", "picture", "--json", str(pictures / "0.png")])
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.filterwarnings("default")  # Pillow's are to become lines of ours
def test_what_is_odd_about_a_picture_is_a_line_and_the_picture_is_answered(
    run: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    Image.radial_gradient("L").resize((80, 80)).save("large.png")
    predict.main([run, "large.png", "--as", "picture"])
    said = capsys.readouterr()
    assert said.out.startswith("large.png: ")
    assert said.err.startswith("warning: large.png: Image size (6400 pixels)")
    assert said.err.count("\n") == 1


def test_names_of_files_need_not_be_utf8(run: str, pictures: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (pictures / "0.png").rename(name)
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.apps.predict", run, name, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout)["path"] == name


def test_a_folder_ends_with_one_line_of_counts(
    run: str, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "text.png").unlink()
    monkeypatch.setattr(prediction, "doubt", lambda *_: "")
    predict.main([run, "in"])
    said = capsys.readouterr()
    answers = sorted(line.split(": ")[1].split()[0] for line in said.out.splitlines())
    counted = ", ".join(f"{answers.count(name)} as {name}" for name in sorted(set(answers)))
    assert said.err.splitlines()[-1] == f"5 pictures: {counted}"
    predict.main([run, "in/0.png"])
    assert capsys.readouterr().err == ""
