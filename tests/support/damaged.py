"""Model files with something wrong in them: what, and what is said about it."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from capsnet.networks.capsnet import CapsNet
from capsnet.networks.saved import MODEL, save_model
from capsnet.tensors import HEADER

SETTINGS = {"dataset": "squares", "crop": 0}
Damage = Callable[[dict[str, Any]], object]


def _of(**changes: Any) -> Damage:
    return lambda header: header["config"].update(changes)


def _without(name: str) -> Damage:
    return lambda header: header["config"].pop(name)


# A change of the header as it was before there was a checksum, and what is said.
HEADERS: dict[str, tuple[Damage, str]] = {
    "a terabyte of weights": (
        _of(conv_channels=10**9),
        r"weights do not fit .*: got \(8,\) float32, expected \(1000000000,\)",
    ),
    "weights that no number counts": (_of(class_dim=2**31 - 1, primary_dim=2**31 - 1, classes=999), "cannot be built"),
    "more than a machine counts": (_of(conv_channels=10**40), "conv_channels: got 10+.*, expected a whole number"),
    "a thousand million iterations": (
        _of(routing_iterations=10**9),
        "routing_iterations: got 1000000000, expected 1 to",
    ),
    "no iterations": (_of(routing_iterations=0), "routing_iterations: got 0, expected a whole number from 1"),
    "stride of 0": (_of(primary_stride=0), "primary_stride: got 0, expected a whole number from 1"),
    "negative channels": (_of(conv_channels=-8), "conv_channels: got -8, expected a whole number from 1"),
    "five channels of an image": (_of(channels=5), "channels: got 5, expected 1 to 4"),
    "a scale of NaN": (_of(primary_scale=float("nan")), "primary_scale: got nan, expected a finite number"),
    "an endless scale": (_of(primary_scale=float("inf")), "primary_scale: got inf, expected a finite number"),
    "a scale of 0": (_of(primary_scale=0.0), "primary_scale: got 0.0, expected greater than 0"),
    "a negative scale": (_of(primary_scale=-1.0), "primary_scale: got -1.0, expected a finite number"),
    "words for a number": (_of(class_dim="4"), "class_dim: got '4', expected a whole number"),
    "half a number": (_of(class_dim=4.5), "class_dim: got 4.5, expected a whole number"),
    "true for a number": (_of(routing_iterations=True), "routing_iterations: got True, expected a whole number"),
    "a number for true": (_of(batch_norm=1), "batch_norm: got 1, expected true or false"),
    "a list for a word": (_of(decoder=["fc"]), r"decoder: got \['fc'\], expected a word"),
    "another decoder": (_of(decoder="conv"), "decoder: got 'conv', expected one of none, fc, deconv"),
    "endless padding": (_of(padding="x" * 10**6), "padding: got 'x+.*', expected a word"),
    "a number for a list": (_of(decoder_hidden=16), "decoder_hidden: got 16, expected whole numbers from 1"),
    "a million layers": (_of(decoder_hidden=[1] * 10**6), "decoder_hidden: .* no more of them than there are weights"),
    "layers of 0": (_of(decoder_hidden=[16, 0]), r"decoder_hidden: got \[16, 0\], expected whole numbers from 1"),
    "another image size": (_of(image_size=28), "weights do not fit the architecture"),
    "no classes": (_without("classes"), "'classes': missing"),
    "an unknown setting": (_of(setting_of_tomorrow=1), "'setting_of_tomorrow': unknown"),
    "no configuration": (lambda header: header.pop("config"), "config: got None, expected settings by name"),
    "a list of settings": (lambda header: header.update(config=[1, 2]), r"config: got \[1, 2\], expected settings"),
    "another kind": (lambda header: header.update(kind="cat"), "got 'cat', expected a capsnet model"),
    "a wrong checksum": (lambda header: header.update(sha256="0" * 64), "damaged: its content has another checksum"),
    "a checksum of NaN": (lambda header: header.update(sha256=float("nan")), "damaged: its content has another"),
}
TEXTS = {
    "nested JSON": ("[" * 10**5 + "]" * 10**5, "header damaged"),
    "nested settings": ('{"kind": ' + '{"a": ' * 10**5 + "1" + "}" * 10**5 + "}", "header damaged"),
    "half of its JSON": ('{"kind": "model", "config"', "header damaged"),
    "a number of many digits": ('{"kind": ' + "9" * 10**5 + "}", "header damaged"),
    "a list": ("[]", "expected a capsnet model"),
    "no text": ("", "header damaged"),
}


def header_of(model: CapsNet) -> dict[str, Any]:
    config = {**vars(model.config), "decoder_hidden": list(model.config.decoder_hidden)}
    return {"kind": MODEL, "config": config, "settings": SETTINGS}


def _header(path: Path, model: CapsNet, change: Damage) -> None:
    header = header_of(model)
    change(header)
    save_file(model.state_dict(), path, {HEADER: json.dumps(header)})


def _flipped(path: Path, model: CapsNet) -> None:
    save_model(path, model, {"settings": SETTINGS})
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)


def _weights(path: Path, model: CapsNet, **changes: torch.Tensor) -> None:
    save_file({**model.state_dict(), **changes}, path, {HEADER: json.dumps(header_of(model))})


def _endless_header(path: Path, model: CapsNet) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + save(model.state_dict())[8:])


def _huge_tensor(path: Path, model: CapsNet) -> None:
    """A tensor of a terabyte by its header, of no byte by the file."""
    text = json.dumps({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


FILES: dict[str, tuple[Callable[[Path, CapsNet], None], str]] = {
    **{
        name: (lambda path, model, change=change: _header(path, model, change), said)
        for name, (change, said) in HEADERS.items()
    },
    **{
        name: (lambda path, model, text=text: save_file(model.state_dict(), path, {HEADER: text}), said)
        for name, (text, said) in TEXTS.items()
    },
    "a flipped bit": (_flipped, "damaged: its content has another checksum"),
    "weights of NaN": (
        lambda path, model: _weights(path, model, **{"encoder.0.bias": torch.full((8,), float("nan"))}),
        "encoder.0.bias: got weights that are not finite",
    ),
    "whole numbers for weights": (
        lambda path, model: _weights(path, model, **{"encoder.0.bias": torch.zeros(8, dtype=torch.int32)}),
        r"'encoder.0.bias': got \(8,\) int32, expected \(8,\) float32",
    ),
    "weights too many": (
        lambda path, model: _weights(path, model, more=torch.zeros(1)),
        r"'more': got \(1,\) float32, expected none",
    ),
    "a header without end": (_endless_header, "not a safetensors file"),
    "a tensor that is not there": (_huge_tensor, "not a safetensors file"),
}
# What is not needed to build the network: `capsnet.load` reads it, a command that asks for the data does not.
FACTS: dict[str, tuple[Any, str]] = {
    "a list of settings": (["squares"], r"settings: got \['squares'\], expected those of a run"),
    "settings without a data set": ({"crop": 0}, "settings: got {'crop': 0}, expected those of a run"),
    "a data set elsewhere": ({"dataset": "../squares", "crop": 0}, "settings: got .*, expected those of a run"),
    "a data set of a number": ({"dataset": 3, "crop": 0}, "settings: got .*, expected those of a run"),
    "a negative crop": ({"dataset": "squares", "crop": -1}, "settings: got .*, expected those of a run"),
}
