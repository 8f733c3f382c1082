"""`make site`: which networks the page has, what its folder holds, and what it refuses."""

import json
from pathlib import Path

import pytest
from static_site import for_digits, publish

from capsnet.networks.capsnet import AttentionConfig, ModelConfig
from pipeline.apps import site
from pipeline.apps.live_page import published_networks, writing
from pipeline.apps.live_page.published_networks import best_of_each_kind
from pipeline.apps.live_page.writing import SITE, site_files
from pipeline.runtime.command_line import run_stage
from pipeline.runtime.weights import PUBLISHED


def test_the_folder_holds_everything_and_nothing_of_an_earlier_page(
    project: Path, tiny_model: ModelConfig, tiny_attention: AttentionConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("first", for_digits(tiny_model), 40)
    publish("second", for_digits(tiny_attention), 60)
    (SITE / "old").mkdir(parents=True)
    site.main([])
    page = json.loads((SITE / "page.json").read_text())
    assert [network["name"] for network in page["networks"]] == ["second", "first"], "the best one comes first"
    assert [example["label"] for example in page["examples"]] == list(range(10))
    assert [len(sliders) for sliders in page["networks"][0]["sliders"]] == [4] * 10
    names = {str(path.relative_to(SITE)) for path in SITE.rglob("*") if path.is_file()}
    assert {"index.html", "kernel.wasm", "networks/first.bin", "networks/second.json"} <= names
    assert not [name for name in names if name.endswith(".wat")]
    assert not (SITE / "old").exists()
    assert "first: " in capsys.readouterr().out


def test_the_same_page_has_the_same_bytes(project: Path, tiny_model: ModelConfig) -> None:
    publish("first", for_digits(tiny_model), 40)
    contents = []
    for _ in range(2):
        site.main([])
        contents.append({path: path.read_bytes() for path in SITE.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


def test_the_best_network_of_each_kind_is_taken(project: Path, tiny_model: ModelConfig) -> None:
    for name, accuracy in (("a", 30), ("b", 50), ("c", 40)):
        publish(name, for_digits(tiny_model), accuracy)
    publish("without", for_digits(tiny_model, decoder="none"), 90)
    publish("elsewhere", for_digits(tiny_model), 95).with_suffix(".json").write_text(
        json.dumps({"run": "elsewhere", "seed": 0, "dataset": "other", "accuracy": 95})
    )
    assert [each.path.stem for each in best_of_each_kind()] == ["b"]


def test_a_network_that_rounding_harms_is_refused(
    project: Path, tiny_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("first", for_digits(tiny_model), 40)
    monkeypatch.setattr(published_networks, "_recognised", lambda model, images, labels: next(counts))
    counts = iter([10, 8])
    with pytest.raises(ValueError, match=r"first\.safetensors: with rounded weights 8 of 20 images are recognised"):
        site.main([])
    counts = iter([10, 9])
    site.main([])


def test_a_page_that_is_too_large_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LARGEST", 1000)
    with pytest.raises(ValueError, match="expected at most 1000"):
        site_files([], [])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "got no network of mnist"),
        ("{}", "first.json: got KeyError"),
        ("[", "first.json: got JSONDecodeError"),
        ('{"run": "first", "seed": 0}', "first.json: got KeyError('dataset')"),
    ],
)
def test_mistakes_are_one_line(
    project: Path, manifest: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if manifest is not None:
        (PUBLISHED / "first.json").write_text(manifest)
        (PUBLISHED / "first.safetensors").touch()
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda: site.main([]))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not SITE.exists()


def test_without_data_the_command_that_makes_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_stage(lambda: site.main([]))
    assert "dvc repro prepare@mnist" in capsys.readouterr().err


def test_a_network_for_other_images_is_refused(project: Path, tiny_model: ModelConfig) -> None:
    publish("first", for_digits(tiny_model, image_size=32), 40)
    with pytest.raises(ValueError, match=r"first\.safetensors: image_size: got 32, expected 28"):
        site.main([])
