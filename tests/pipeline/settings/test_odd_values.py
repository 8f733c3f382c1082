"""params.yaml and manifests with odd values: one line with the place, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_project import changed_params, tiny_params, write_params

from pipeline.runtime.prepared import read_manifest, read_prepared
from pipeline.settings.params import load_params
from pipeline.settings.reading import MOST_FAULTS, parse_yaml, read_yaml


@pytest.mark.parametrize("name", ["-h", "--out", "x" * 300, "a" * 101])
def test_a_name_that_is_an_option_or_too_long_for_a_file_is_refused(name: str, project: Path) -> None:
    params = tiny_params()
    params["runs"][name] = params["runs"]["toy-fc"]
    write_params(project, params)
    with pytest.raises(ValueError, match=r"runs: got .*, expected (letters|at most 100)") as refused:
        load_params()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("path", "value"),
    [("seeds", [10**30]), ("runs/toy-fc/seeds", [2**31]), ("test_pairs/seed", 10**30), ("runs/toy-fc/epochs", 10**30)],
)
def test_numbers_that_no_generator_takes_are_refused(path: str, value: Any, project: Path) -> None:
    write_params(project, changed_params(path, value))
    with pytest.raises(
        ValueError, match=rf"params.yaml: {path.replace('/', '.')}.*expected less than or equal to 2147"
    ):
        load_params()


def test_a_missing_file_is_named_and_the_top_folder_is_advised_only_elsewhere(project: Path) -> None:
    for advice in ("", "; stages run in the project's top folder"):
        with pytest.raises(FileNotFoundError) as missing:
            read_yaml(Path("other.yaml"))
        assert str(missing.value) == f"other.yaml: no such file in {project}{advice}"
        Path("params.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["[" * 10_000, "a: " + "{b: " * 10_000, "- " * 10_000 + "x"])
def test_deeply_nested_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml.*not YAML") as refused:
        parse_yaml(text, "params.yaml")
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize("text", ["a: 2001-99-99", "a: " + "9" * 5000, "a: !!timestamp x", "a: !!int x"])
def test_values_that_do_not_exist_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml.*not YAML") as refused:
        parse_yaml(text, "params.yaml")
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1\nb: &x 2\nc: *x\n", "params.yaml:2: got another anchor &x, expected a name that line 1 has not"),
        ("a: &x 1\nb: &x 2\nc: &x 3\n", "params.yaml:2: got another anchor &x, expected a name that line 1 has not"),
        ('"a\\nb": 1\n"a\\nb": 2\n', 'params.yaml:2: not YAML: found duplicate key "a'),
        ("a: 1\na: 2\n", 'params.yaml:2: not YAML: found duplicate key "a" with value "2" (original value: "1")'),
        ("a: *x\n", "params.yaml:1: not YAML: found undefined alias 'x'"),
    ],
)
def test_names_that_yaml_has_twice_or_not_at_all_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="params") as refused:
        parse_yaml(text, "params.yaml")
    assert str(refused.value) == said


def test_a_file_of_thousands_of_faults_lists_the_first_hundred(project: Path) -> None:
    params = tiny_params()
    params["datasets"] |= {f"d{number}": {"format": "npz"} for number in range(3000)}
    write_params(project, params)
    with pytest.raises(ValueError, match="and 2900 more") as refused:
        load_params()
    assert str(refused.value).count("\n") == MOST_FAULTS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": "3"}, "classes: got '3', expected a whole number"),
        ({"classes": 2}, "class_names: got 3, expected 2, one for each class"),
        ({"classes": True}, "classes: got True, expected a whole number"),
        ({"class_names": "abc"}, "class_names: got 'abc', expected a list of texts"),
        ({"class_names": [1, 2, 3]}, r"class_names: got \[1, 2, 3\], expected a list of texts"),
        ({"image_size": 0}, "image_size: got 0, expected a whole number from 1"),
        ({"note": None}, "note: got None, expected text"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_command_that_makes_it(
    changes: dict[str, Any], said: str, prepared: Path
) -> None:
    path = Path("data/squares.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"squares\.json: damaged.*{said}.*dvc repro prepare@squares"):
        read_manifest("squares")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": 2, "class_names": ["a", "b"]}, "label 2, expected .* 2 classes"),
        ({"train": 47}, "48 images of .* expected 47 images"),
        ({"image_size": 28}, ".* 20 pixels, .* 28 pixels"),
        ({"channels": 3}, ".* 1 channels .* 3 channels"),
    ],
)
def test_a_manifest_of_other_arrays_is_refused(changes: dict[str, Any], said: str, prepared: Path) -> None:
    path = Path("data/squares.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"squares\.npz: train: got {said}.*dvc repro -f prepare@squares"):
        read_prepared("squares", "train", torch.device("cpu"))


def test_a_manifest_that_is_nested_without_end_is_refused(prepared: Path) -> None:
    Path("data/squares.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"squares\.json: damaged"):
        read_manifest("squares")
