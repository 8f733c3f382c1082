"""A fault in params.yaml is named with its place, what is there, and what is expected."""

from pathlib import Path
from typing import Any

import pytest
from tiny_project import TINY, changed_params, tiny_params, write_params

from pipeline.settings.params import find, load_params


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("runs/toy-fc/lr", "fast", "runs.toy-fc.lr: got 'fast', expected a valid number"),
        ("runs/toy-fc/lr", 0, "runs.toy-fc.lr: got 0, expected greater than 0"),
        ("runs/toy-fc/lr", None, "runs.toy-fc.lr: missing"),
        ("runs/toy-fc/learning", 1, "runs.toy-fc.learning: unknown key"),
        ("runs/toy-fc/epoch", 1, "runs.toy-fc.epoch: unknown key, did you mean 'epochs'?"),
        ("runs/toy-fc/epochs", 2.5, "runs.toy-fc.epochs: got 2.5, expected a valid integer"),
        ("runs/toy-fc/batch_norm", "yes", "runs.toy-fc.batch_norm: got 'yes', expected a valid boolean"),
        ("runs/toy-fc/decoder", "conv", "runs.toy-fc.decoder: got 'conv', expected 'none', 'fc', 'deconv' or"),
        ("runs/toy-fc/network", None, "runs.toy-fc.network: missing"),
        ("runs/toy-fc/network", "em", "runs.toy-fc.network: got 'em', expected one of dynamic, attention"),
        ("runs/toy-fc/network", "attention", "runs.toy-fc.encoder_channels: missing"),
        ("runs/toy-fc/encoder_norm", "batch", "runs.toy-fc.encoder_norm: unknown key, a setting of network attention"),
        ("runs/toy-attention/padding", "same", "runs.toy-attention.padding: unknown key, a setting of network dynamic"),
        ("runs/toy-attention/encoder_norm", "layer", "runs.toy-attention.encoder_norm: got 'layer', expected 'batch'"),
        ("runs/toy-attention/batch_size", 1, "runs.toy-attention.batch_size: got 1, expected at least 2 with encoder_"),
        ("runs/toy-fc/dataset", "cubes", "runs.toy-fc.dataset: got 'cubes', expected one of squares"),
        ("runs/toy-fc/study", "other", "runs.toy-fc.study: got 'other', expected one of toy"),
        ("runs/toy-fc_bn/batch_size", 1, "runs.toy-fc_bn.batch_size: got 1, expected at least 2 with batch_norm"),
        ("runs/toy-fc/task", "count", "runs.toy-fc.task: got 'count', expected 'classify' or 'separate'"),
        ("runs/toy-pairs/crop", 18, "runs.toy-pairs.crop: got 18, expected 0 with task separate"),
        ("test_pairs/per_image", 0, "test_pairs.per_image: got 0, expected greater than 0"),
        ("test_pairs/seed", None, "test_pairs.seed: missing"),
        ("figures/squares/run", "toy-pairs", "figures.squares.run: task: got 'separate', expected one of classify"),
        (
            "pairs/toy-fc",
            {"study": "toy", "dataset": "squares"},
            "pairs.toy-fc: task: got 'classify', expected one of separate",
        ),
        ("pairs/toy-pairs/dataset", "cubes", "pairs.toy-pairs.dataset: got 'cubes', expected one of squares"),
        (
            "compare/toy-decoders/runs/3",
            "toy-pairs",
            "compare.toy-decoders.runs: toy-pairs: task: got 'separate', expected one of classify",
        ),
        ("compare/toy-decoders/runs/3", "toy-fc", "compare.toy-decoders.runs: got 'toy-fc' twice, expected each once"),
        ("tune/toy/run", "nobody", "tune.toy.run: got 'nobody', expected one of toy-"),
        ("tune/toy/alpha", [0.05, 0.00005], "tune.toy.alpha: got [0.05, 5e-05], expected the lower bound first"),
        ("tune/toy/lr", [0.1, 0.1], "tune.toy.lr: got [0.1, 0.1], expected the lower bound first"),
        ("runs/toy-fc/alpha", 0, "tune.toy.run: alpha: got 0, expected greater than 0 on a logarithmic scale"),
        ("tables/toy-decoders/runs", ["nobody"], "tables.toy-decoders.runs: got 'nobody', expected one of toy-"),
        ("datasets/squares/raw", None, "datasets.squares.raw: missing"),
        ("datasets/squares/format", None, "datasets.squares.format: missing"),
        ("datasets/squares/format", "jpeg", "datasets.squares.format: got 'jpeg', expected one of digits, mnist, "),
        ("datasets/squares/seed", 1, "datasets.squares.seed: unknown key, this format takes duplicates, format, raw"),
        ("datasets/squares/duplicate", "allow", "datasets.squares.duplicate: unknown key, did you mean 'duplicates'?"),
        (
            "datasets/squares/duplicates",
            "keep",
            "datasets.squares.duplicates: got 'keep', expected 'refuse' or 'allow'",
        ),
        ("datasets/squares", 3, "datasets.squares: got 3, expected a valid dictionary"),
        ("presets/reference", 3, "presets.reference: got 3, expected a valid dictionary"),
        ("seeds", [], "seeds: got [], "),
        ("seeds", [0, 0, 2], "params.yaml: seeds: got 0 twice, expected each once"),
        ("runs/toy-fc/seeds", [3, 1, 3], "runs.toy-fc.seeds: got 3 twice, expected each once"),
        ("runs/toy-fc-tuned", TINY, "runs: got 'toy-fc-tuned', expected no name that ends in -tuned, as those of tra"),
        ("runs/toy-primary", TINY, "runs: got 'toy-primary', expected no name that ends in -primary, as those of dec"),
        ("speed", 1, "speed: unknown key"),
    ],
)
def test_a_fault_in_params_is_named_with_its_path(project: Path, path: str, value: Any, said: str) -> None:
    write_params(project, changed_params(path, value))
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"format": "mnist", "raw": "x", "views": "mono"}, "views: unknown key, this format takes format, raw"),
        ({"format": "smallnorb", "raw": "x"}, "views: missing"),
        ({"format": "smallnorb", "raw": "x", "views": "both"}, "views: got 'both', expected 'stereo' or 'mono'"),
        ({"format": "affnist", "raw": "x"}, "seed: missing"),
        ({"format": "affnist", "raw": "x", "seed": -1}, "seed: got -1, expected greater than or equal to 0"),
        ({"format": "folder", "raw": "x", "channels": 3}, "size: missing"),
        ({"format": "folder", "raw": "x", "size": 32, "channels": 2}, "channels: got 2, expected 1 or 3"),
        ({"format": "folder", "raw": "x", "size": "32", "channels": 1}, "size: got '32', expected a valid integer"),
        (
            {"format": "folder", "raw": "x", "size": 8, "channels": 1},
            "size: got 8, expected greater than or equal to 20",
        ),
        (
            {"format": "folder", "raw": "x", "size": 200, "channels": 1},
            "size: got 200, expected less than or equal to 64",
        ),
    ],
)
def test_an_option_is_checked_by_the_format_it_belongs_to(project: Path, entry: dict[str, Any], said: str) -> None:
    params = tiny_params()
    params["datasets"]["own"] = entry
    write_params(project, params)
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert str(caught.value) == f"params.yaml: datasets.own.{said}"


@pytest.mark.parametrize(
    "part",
    ["datasets", "runs", "tune", "figures", "compare", "pairs", "robustness", "studies", "tables"],
)
def test_no_name_has_a_dot_which_dvc_would_read_as_nesting(project: Path, part: str) -> None:
    params = tiny_params()
    params[part]["v1.5"] = next(iter(params[part].values()))
    write_params(project, params)
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert str(caught.value) == f"params.yaml: {part}: got 'v1.5', expected letters, digits, _ and - only"


def test_every_fault_is_named_at_once(project: Path) -> None:
    params = changed_params("runs/toy-fc/lr", "fast")
    params["runs"]["toy-deconv"]["alpha"] = -1
    write_params(project, params)
    with pytest.raises(ValueError, match=r"runs\.toy-deconv\.alpha.*\n.*runs\.toy-fc\.lr"):
        load_params()


def test_a_number_in_scientific_notation_is_a_number(project: Path) -> None:
    text = Path("params.yaml").read_text().replace("lr: 0.01", "lr: 1e-2")
    Path("params.yaml").write_text(text)
    assert load_params().runs["toy-fc"].lr == 0.01


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("figures/squares/primary", None, "figures.squares.primary: missing"),
        ("figures/squares/primary/epoch", 1, "figures.squares.primary.epoch: unknown key"),
        ("figures/squares/primary/epochs", 0, "figures.squares.primary.epochs: got 0, expected greater than 0"),
        ("figures/squares/run", "x", "figures.squares.run: got 'x', expected one of toy-"),
        ("figures/squares/dataset", "x", "figures.squares.dataset: got 'x', expected one of squares"),
        ("figures/squares/study", "x", "figures.squares.study: got 'x', expected one of toy"),
        (
            "figures/toy-pairs",
            tiny_params()["figures"]["squares"],
            "figures.toy-pairs: got 'toy-pairs', expected one of",
        ),
        ("tune/toy/study", "x", "tune.toy.study: got 'x', expected one of toy"),
        ("tune/toy/dataset", "x", "tune.toy.dataset: got 'x', expected one of squares"),
        ("tune/toy/lr", [0.05, 0.1], "tune.toy.lr: got [0.05, 0.1], expected bounds that hold 0.01, the lr of toy-fc"),
        ("compare/toy-decoders/study", "x", "compare.toy-decoders.study: got 'x', expected one of toy"),
        ("compare/toy-decoders/dataset", "x", "compare.toy-decoders.dataset: got 'x', expected one of squares"),
        ("compare/toy-decoders/runs/0", "x", "compare.toy-decoders.runs: got 'x', expected one of toy-"),
        (
            "compare/toy-pairs",
            tiny_params()["compare"]["toy-decoders"],
            "pairs.toy-pairs: got 'toy-pairs', expected a name that is not in compare",
        ),
        ("pairs/toy-pairs/study", "x", "pairs.toy-pairs.study: got 'x', expected one of toy"),
        ("pairs/x", {"study": "toy", "dataset": "squares"}, "pairs.x: got 'x', expected one of toy-"),
        ("published/x", {"accuracy": 1.0, "source": "x"}, "published.x: got 'x', expected one of toy-"),
        ("published_weights/toy-deconv_bn/study", "x", "published_weights.toy-deconv_bn.study: got 'x', expected one "),
    ],
)
def test_an_entry_fits_the_runs_that_it_names(project: Path, path: str, value: Any, said: str) -> None:
    write_params(project, changed_params(path, value))
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert str(caught.value).startswith(f"params.yaml: {said}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one-6", r"run: got 'one-6', expected one of 9 names; did you mean one-5, one-4, one-3\?"),
        ("x", r"run: got 'x', expected one of one-0, one-1, .*, two, three, four"),
    ],
)
def test_of_many_names_those_that_are_similar_to_a_wrong_one_are_listed(name: str, said: str) -> None:
    known = dict.fromkeys([*(f"one-{number}" for number in range(6)), "two", "three", "four"])
    with pytest.raises(ValueError, match=f"^{said}$"):
        find(name, known, "run")
