"""The public names of the library: listed, completed, and each the object of its module."""

import importlib
import rlcompleter
import subprocess
import sys

import pytest

import capsnet


def test_the_public_names_are_listed() -> None:
    assert set(capsnet.__all__) <= set(dir(capsnet))
    assert dir(capsnet) == sorted(dir(capsnet))
    assert capsnet.__all__ == sorted(capsnet.__all__)


@pytest.mark.parametrize("name", capsnet.__all__)
def test_a_public_name_is_completed_and_is_the_object_of_its_module(name: str) -> None:
    completer = rlcompleter.Completer({"capsnet": capsnet})
    offered = [match.rstrip("()") for match in completer.attr_matches(f"capsnet.{name[:-1]}")]
    assert f"capsnet.{name}" in offered
    home = importlib.import_module(f"capsnet.{capsnet._MODULES[name]}")
    assert getattr(capsnet, name) is getattr(home, name)


@pytest.mark.parametrize("name", capsnet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(capsnet, name).__name__ == name


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'capsnet' has no attribute 'Capsule'"):
        capsnet.Capsule  # noqa: B018


def test_listing_the_names_does_not_import_torch() -> None:
    code = "import capsnet, sys; print('CapsNet' in dir(capsnet), 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True False\n"
