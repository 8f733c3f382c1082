"""Write the weights of a trained network to published/, for git, with the scores of exactly that file.

    python -m pipeline.publish mnist-deconv_bn

It writes published/<name>.safetensors and published/<name>.json; the names are the keys of `published_weights` in
params.yaml. Weights rounded to bfloat16 take half the space, and load into float32 like any others. If rounding
changes the test accuracy by more than 0.02 points the weights stay in float32, and the manifest says so.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capsnet.files import md5, write_whole
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import MODELS, model_files
from pipeline.runtime.weights import PUBLISHED
from pipeline.settings.params import find, load_params
from pipeline.settings.sections import Pairing, PublishedWeights

TOLERANCE = 0.02  # points of accuracy
FLOAT32 = "float32"


def trained_model(entry: PublishedWeights) -> Path:
    """Return the model file of the entry's seed. Raises ValueError if that seed is not trained."""
    files = model_files(MODELS / entry.run)
    if entry.seed not in files:
        seeds = ", ".join(map(str, files))
        raise ValueError(f"seed: got {entry.seed}, expected one of the trained seeds of {entry.run}: {seeds}")
    return files[entry.seed]


def publication(entry: PublishedWeights, trained: Path, pairing: Pairing) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of the published file, and its manifest."""
    from capsnet.networks.saved import load
    from pipeline.scoring.metrics import describe, present_scores
    from pipeline.scoring.networks import load_networks, open_run, score

    opened = open_run(trained)
    contents: dict[str, bytes] = {}
    scores: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        for dtype in dict.fromkeys((FLOAT32, entry.dtype)):
            path = trained if dtype == FLOAT32 else round_weights(trained, Path(folder) / trained.name)
            contents[dtype] = path.read_bytes()
            networks = load_networks({entry.seed: path}, opened.data)
            scores[dtype] = present_scores(score(networks, opened, pairing).seeds[entry.seed])
    change = abs(scores[entry.dtype]["accuracy"] - scores[FLOAT32]["accuracy"])
    dtype = entry.dtype if change <= TOLERANCE else FLOAT32
    content = contents[dtype]
    facts = describe(entry.run, opened, load(trained))
    del facts["settings"]  # they are in the file itself
    environment = json.loads((trained.parent / "environment.json").read_text(encoding="utf-8"))
    return content, {
        **facts,
        "seed": entry.seed,
        "dtype": dtype,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
        **scores[dtype],
        "scores": scores,
        "trained": {"md5": md5(trained), **environment},
    }


def round_weights(trained: Path, path: Path) -> Path:
    """Write a model file with its weights in bfloat16 and the same header to `path`, and return `path`."""
    import torch

    from capsnet.networks.saved import MODEL
    from capsnet.tensors import read_tensors, write_tensors

    header, tensors = read_tensors(trained, MODEL)
    rounded = {name: each.to(torch.bfloat16) if each.is_floating_point() else each for name, each in tensors.items()}
    write_tensors(path, rounded, header)
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "NAME", "a key of `published_weights` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.published_weights, "published_weights")
    content, manifest = publication(entry, trained_model(entry), params.test_pairs)
    write_whole(PUBLISHED / f"{name}.safetensors", content)
    write_whole(PUBLISHED / f"{name}.json", json.dumps(manifest, indent=2) + "\n")
    print(f"{PUBLISHED / name}.safetensors: {manifest['dtype']}, {len(content):,} bytes, {manifest['accuracy']:.4g} %")


if __name__ == "__main__":
    run_stage(main)
