"""The names of sliders: what each number of a capsule does to the shape."""

import pytest
import torch
from static_site import for_digits

from capsnet.explain.shape import MEASURES
from capsnet.networks.capsnet import CapsNet, ModelConfig
from pipeline.apps.live_page.slider_names import in_words, name_sliders
from pipeline.apps.shape_words import WORDS

PLACES = {name: place for place, name in enumerate(MEASURES)}


def test_every_measure_has_words_for_its_ends() -> None:
    assert list(WORDS) == list(MEASURES)


def test_a_slider_is_named_after_what_it_changes_most_and_the_ends_follow_the_sign() -> None:
    change, deviations = torch.zeros(4, len(MEASURES)), torch.zeros(4, len(MEASURES))
    slant, width = PLACES["slant"], PLACES["width"]
    change[0, slant], deviations[0, slant] = 12.0, 2.0
    change[1, slant], deviations[1, slant] = -30.0, -3.0
    change[1, width], deviations[1, width] = 4.0, 2.5  # nearly as strong: named, too
    change[2, width], deviations[2, width] = 1.0, 0.5  # too weak for a name
    change[3, slant], deviations[3, slant] = 40.0, 4.0
    change[3, width], deviations[3, width] = 3.0, 1.2  # much weaker than the first
    sliders = in_words(change, deviations)
    assert [slider["dimension"] for slider in sliders] == [3, 1, 0, 2]
    assert [slider["name"] for slider in sliders] == ["slant", "slant and width", "slant", ""]
    assert (sliders[0]["low"], sliders[0]["high"]) == ("leans left", "leans right")
    assert (sliders[1]["low"], sliders[1]["high"]) == ("leans right, narrower", "leans left, wider")
    assert (sliders[1]["change"], sliders[1]["unit"]) == (-30.0, "°")
    assert sliders[3]["low"] == sliders[3]["high"] == ""


def test_each_class_has_a_slider_for_each_number(tiny_model: ModelConfig) -> None:
    torch.manual_seed(0)
    model = CapsNet(for_digits(tiny_model)).eval()
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    named = name_sliders(model, images, torch.arange(20) % 10, 2, 0.25)
    assert [sorted(slider["dimension"] for slider in sliders) for sliders in named] == [[0, 1, 2, 3]] * 10


def test_a_class_without_images_is_refused(tiny_model: ModelConfig) -> None:
    model = CapsNet(for_digits(tiny_model)).eval()
    images = torch.zeros(9, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images: got none of class 9"):
        name_sliders(model, images, torch.arange(9), 2, 0.25)
