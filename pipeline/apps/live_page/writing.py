"""The files of the page: its sources, the kernel, the networks and the examples, in a folder that any server serves."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Int64, UInt8
from torch import Tensor

from capsnet.files import write_whole
from pipeline.apps.live_page.assembler import assemble
from pipeline.apps.live_page.published_networks import PageNetwork

SITE = Path("site")
SOURCES = Path(__file__).with_name("templates")
KERNEL = "kernel.wat"
LARGEST = 15_000_000  # bytes of all files together


def examples(images: UInt8[Tensor, "N 1 H H"], labels: Int64[Tensor, " N"], classes: int) -> list[dict[str, Any]]:
    """Return the first image of each class as JSON values."""
    first = [int((labels == label).nonzero()[0, 0]) for label in range(classes)]
    return [
        {"label": label, "place": place, "pixels": images[place, 0].flatten().tolist()}
        for label, place in enumerate(first)
    ]


def site_files(networks: list[PageNetwork], shown: list[dict[str, Any]]) -> Mapping[str, bytes]:
    """Return the content of each file by its path. Raises ValueError if all together are too large."""
    files = {path.name: path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.name != KERNEL}
    files["kernel.wasm"] = assemble((SOURCES / KERNEL).read_text(encoding="utf-8"))
    files["page.json"] = as_json({"networks": [each.facts for each in networks], "examples": shown})
    for each in networks:
        files[f"networks/{each.facts['name']}.json"] = as_json(each.program)
        files[f"networks/{each.facts['name']}.bin"] = each.weights
    if (total := sum(map(len, files.values()))) > LARGEST:
        raise ValueError(f"{SITE}: got {total} bytes, expected at most {LARGEST}")
    return files


def as_json(content: Any) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_site(files: Mapping[str, bytes]) -> None:
    """Replace the folder of the page."""
    shutil.rmtree(SITE, ignore_errors=True)
    for name, content in files.items():
        write_whole(SITE / name, content)
