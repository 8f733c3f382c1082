"""Write a trained network's weights for git, with the scores of that very file beside them.

    python -m pipeline.publish mnist-deconv_bn

It makes published/<name>.safetensors and published/<name>.json; names are the keys of `published_weights` in
params.yaml. In bfloat16 a file is half as long, and loads into float32 like any other. Where rounding moves the test
accuracy by more than 0.02 points the weights stay in float32, and the manifest says so.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capsnet.files import md5, write_whole
from pipeline.evaluate import SCORES, facts_of, score
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import MODELS, model_files
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.weights import PUBLISHED
from pipeline.settings.params import Pairing, PublishedWeights, find, load_params, recorded_run

TOLERANCE = 0.02  # points of accuracy
FLOAT32 = "float32"


def published(entry: PublishedWeights, pairing: Pairing) -> tuple[bytes, dict[str, Any]]:
    """Return what the file holds, and its manifest. Raises ValueError for a seed that is not trained."""
    files = model_files(MODELS / entry.run)
    if entry.seed not in files:
        raise ValueError(
            f"seed: got {entry.seed}, expected one of {', '.join(map(str, files))}, trained of {entry.run}"
        )
    trained = files[entry.seed]

    from capsnet.networks.saved import load, read_settings

    run = recorded_run(read_settings(trained), str(trained))
    hardware = configure_torch(run.device, run.threads)
    data = read_prepared(run.dataset, "test", hardware.device)
    contents: dict[str, bytes] = {}
    scores: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        for dtype in dict.fromkeys((FLOAT32, entry.dtype)):
            path = trained if dtype == FLOAT32 else rounded(trained, Path(folder) / trained.name)
            contents[dtype] = path.read_bytes()
            scored = score({entry.seed: load(path).to(hardware.device)}, run, data, pairing).seeds[entry.seed]
            scores[dtype] = {key: getattr(scored, key) for key in SCORES if getattr(scored, key) is not None}
    moved = abs(scores[entry.dtype]["accuracy"] - scores[FLOAT32]["accuracy"])
    dtype = entry.dtype if moved <= TOLERANCE else FLOAT32
    content = contents[dtype]
    about = facts_of(entry.run, run, data, load(trained))
    del about["settings"]  # they are in the file itself
    environment = json.loads((trained.parent / "environment.json").read_text(encoding="utf-8"))
    return content, {
        **about,
        "seed": entry.seed,
        "dtype": dtype,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
        **scores[dtype],
        "scores": scores,
        "trained": {"md5": md5(trained), **environment},
    }


def rounded(trained: Path, path: Path) -> Path:
    """Write a model file with its weights in bfloat16 and the same header to `path`, and return that."""
    import torch

    from capsnet.networks.saved import MODEL
    from capsnet.tensors import read_tensors, write_tensors

    header, tensors = read_tensors(trained, MODEL)
    short = {name: each.to(torch.bfloat16) if each.is_floating_point() else each for name, each in tensors.items()}
    write_tensors(path, short, header)
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "NAME", "a key of `published_weights` in params.yaml", argv)
    params = load_params()
    content, manifest = published(find(name, params.published_weights, "published_weights"), params.test_pairs)
    write_whole(PUBLISHED / f"{name}.safetensors", content)
    write_whole(PUBLISHED / f"{name}.json", json.dumps(manifest, indent=2) + "\n")
    print(f"{PUBLISHED / name}.safetensors: {manifest['dtype']}, {len(content):,} bytes, {manifest['accuracy']:.4g} %")


if __name__ == "__main__":
    run_stage(main)
