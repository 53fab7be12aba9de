import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import InputError
from loc2vec.paper.colours import Colours, Components

PAPER, NIGHT = 1.0, 0.0144  # relative luminance of white, and of #202020


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    """Vectors whose variance lies along three known axes that are no axes of the coordinates."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(16, 16)))[0][:3]
    return np.asarray(rng.normal(size=(500, 3)) * [5, 3, 1] @ axes + 7, np.float32)


def luminance(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the relative luminance of sRGB colours (WCAG 2.2)."""
    shown = rgb / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


def test_the_components_are_those_of_the_covariance(vectors: NDArray[np.float32]) -> None:
    found = Components.fit(vectors)
    projected = found.project(vectors)
    centred = vectors - vectors.mean(0, dtype=np.float64)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(found.shares, (values / values.sum())[:3], atol=1e-6)
    np.testing.assert_allclose(
        np.cov(projected.T), np.diag(values[:3] / (len(vectors) - 1)), atol=1e-4
    )
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(3), atol=1e-9)
    assert (found.axes.max(1) >= -found.axes.min(1)).all()  # which way an axis points is no chance


def test_colours_do_not_hang_on_the_order_or_the_batch(vectors: NDArray[np.float32]) -> None:
    colours = Colours.fit(vectors)
    assert np.array_equal(colours.rgb(vectors)[7:9], colours.rgb(vectors[7:9]))
    assert np.array_equal(Colours.fit(vectors[::-1]).rgb(vectors), colours.rgb(vectors))


def test_far_vectors_get_other_colours_and_equal_ones_the_same(
    vectors: NDArray[np.float32],
) -> None:
    colours = Colours.fit(vectors)
    reach = colours.components.axes * np.array([8, 5, 2])[:, None]
    ends = np.concatenate([colours.components.mean - reach, colours.components.mean + reach])
    found = colours.rgb(ends).astype(int)
    apart = np.abs(found[:, None] - found[None]).sum(-1)
    assert (apart[~np.eye(6, dtype=bool)] > 60).all()
    assert (np.ptp(colours.rgb(np.repeat(ends[:1], 3, axis=0)), axis=0) == 0).all()


def test_every_colour_shows_on_white_and_on_black(vectors: NDArray[np.float32]) -> None:
    corners = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    colours = Colours.fit(vectors)
    found = luminance(colours.rgb(colours.components.mean + 50 * corners @ colours.components.axes))
    assert ((PAPER + 0.05) / (found + 0.05)).min() > 1.4
    assert ((found + 0.05) / (NIGHT + 0.05)).min() > 2.5


def test_who_sees_no_green_and_red_sees_the_first_two_components(
    vectors: NDArray[np.float32],
) -> None:
    """Machado et al. 2009, deuteranopia: the third component all but goes, the others stay."""
    simulated = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                          [-0.011820, 0.042940, 0.968881]])  # fmt: skip
    colours = Colours.fit(vectors)
    axes, mean = colours.components.axes, colours.components.mean
    apart = [
        np.abs(
            np.diff(
                colours.rgb(np.stack([mean - 20 * axis, mean + 20 * axis])) @ simulated.T, axis=0
            )
        ).sum()
        for axis in axes
    ]
    assert apart[0] > 120
    assert apart[1] > 120
    assert apart[2] < apart[0] / 2


@pytest.mark.parametrize(
    "vectors", [np.full((4, 16), 3.0), np.ones((1, 16)), np.array([[1.0], [2.0]])]
)
def test_vectors_that_hardly_differ_have_colours_too(vectors: NDArray[np.float64]) -> None:
    colours = Colours.fit(vectors)
    assert colours.rgb(vectors).shape == (len(vectors), 3)
    assert np.isfinite(colours.components.shares).all()


def test_rows_without_a_vector_are_left_out_of_the_fit(vectors: NDArray[np.float32]) -> None:
    with_gaps = np.concatenate([vectors, np.full((5, 16), np.nan, np.float32)])
    assert np.array_equal(Colours.fit(with_gaps).rgb(vectors), Colours.fit(vectors).rgb(vectors))
    with pytest.raises(InputError, match="nothing to colour"):
        Colours.fit(with_gaps[-5:])


def test_a_large_map_is_fitted_on_a_part_of_it() -> None:
    many = np.random.default_rng(1).normal(size=(250_000, 4)) * [4, 3, 2, 1]
    found = Components.fit(many)
    assert np.abs(np.diag(found.axes)).min() > 0.99
