"""What pictures state in numbers: calibration, R^2, principal components, neighbours, spread of coupling."""

import math

import pytest
import torch

from capsnet.explain.attributes import explained
from capsnet.explain.calibration import accuracy_of_surest, equal_bins
from capsnet.explain.coupling import ReceptiveField, at_centres, effective_number, foreground
from capsnet.explain.embedding import nearest_other, principal_components

LENGTHS = torch.tensor([0.9, 0.2, 0.8, 0.4, 0.6])
HITS = torch.tensor([True, False, True, True, False])


def test_bins_of_equal_counts_by_hand() -> None:
    bins = equal_bins(LENGTHS, HITS, 2)  # 0.2 wrong, 0.4 right, 0.6 wrong | 0.8 right, 0.9 right
    assert bins.images.tolist() == [3, 2]
    assert bins.length.tolist() == pytest.approx([0.4, 0.85])
    assert bins.accuracy.tolist() == pytest.approx([1 / 3, 1])
    assert bins.error == pytest.approx((3 * (0.4 - 1 / 3) + 2 * 0.15) / 5)


def test_there_are_never_more_bins_than_images() -> None:
    assert equal_bins(LENGTHS, HITS, 10).images.tolist() == [1] * 5


def test_the_shortest_winners_are_rejected_first() -> None:
    assert accuracy_of_surest(LENGTHS, HITS, 0.0) == pytest.approx(60)
    assert accuracy_of_surest(LENGTHS, HITS, 0.2) == pytest.approx(75)
    assert accuracy_of_surest(LENGTHS, HITS, 0.6) == pytest.approx(100)


def test_a_fit_explains_what_is_linear_and_of_the_rest_its_share() -> None:
    known = torch.tensor([[0.0], [1.0], [2.0]])
    poses = torch.tensor([[1.0, 0.0, 7.0], [3.0, 1.0, 7.0], [5.0, 0.0, 7.0]])
    assert explained(poses, known).tolist() == pytest.approx([1, 0, 0])
    # (0, 0, 1) on (0, 1, 2): slope 1/2, residuals 1/6, -1/3, 1/6, of a total of 2/3.
    assert explained(torch.tensor([[0.0], [0.0], [1.0]]), known).item() == pytest.approx(1 - (1 / 6) / (2 / 3))


def test_a_circle_is_explained_by_cosine_and_sine_whatever_the_phase() -> None:
    angles = torch.arange(18) * 2 * math.pi / 18
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    poses = torch.stack([(angles + 1).cos(), (2 * angles).cos(), 3 + angles.sin()], 1)
    assert explained(poses, circle).tolist() == pytest.approx([1, 0, 1], abs=1e-6)


def test_the_first_principal_component_is_the_axis_of_largest_variance() -> None:
    along = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    across = torch.tensor([0.1, -0.2, 0.2, -0.2, 0.1])
    projection = principal_components(torch.stack([3 + across, 1 - along], 1), 2)
    assert projection.points[:, 0].tolist() == pytest.approx([2, 1, 0, -1, -2], abs=1e-6)
    assert projection.shares.tolist() == pytest.approx([10 / 10.14, 0.14 / 10.14])


def test_no_image_of_an_object_is_a_neighbour_of_another_however_the_rows_are_cut() -> None:
    points = torch.tensor([[0.0], [1.0], [1.1], [5.0], [5.5]])
    labels = torch.tensor([0, 1, 2, 3, 4])
    for rows in (1, 2, 5):
        assert nearest_other(points, labels, torch.arange(5), rows).tolist() == [1, 2, 1, 4, 3]
        assert nearest_other(points, labels, torch.tensor([0, 1, 1, 2, 2]), rows).tolist() == [1, 0, 0, 2, 2]


def test_the_effective_number_counts_capsules_of_equal_coupling() -> None:
    coupling = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.3, 0.0, 0.3, 0.0], [0.0, 0.9, 0.0, 0.0]])
    assert effective_number(coupling).tolist() == pytest.approx([4, 2, 1])


def test_the_figure_is_what_differs_from_the_median_and_is_looked_up_at_the_centres() -> None:
    image = torch.full((1, 2, 5, 5), 0.8)
    image[0, :, 3, 2] = 0.3
    figure = foreground(image, 0.25)
    assert figure.nonzero().tolist() == [[0, 3, 2]]
    looked_up = at_centres(figure.unsqueeze(1).float(), ReceptiveField(0, 1, 3), 3)  # centres at 1, 2, 3
    assert looked_up[0, 0].nonzero().tolist() == [[2, 1]]
