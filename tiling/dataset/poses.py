"""The poses of a place's tiles: the anchor as it is, positives turned and shifted at random."""

import numpy as np

from tiling.values import LonLat, Pose

MAX_SHIFT_M = 80.0  # at most how far a positive is shifted along each axis, metres on the ground
CLOSE_SHIFT_M = 15.0  # the same, of a close positive


def place_poses(place: LonLat, row: int, positives: int, seed: int, close: int = 0) -> list[Pose]:
    """Return the poses of place number `row`: the anchor's, then those of its positives.

    A positive is turned by any angle and shifted along each axis by up to `MAX_SHIFT_M`, both
    uniform, with a random sign. The first `close` positives are shifted by up to `CLOSE_SHIFT_M`.
    The generator depends on the seed and the place alone, so any worker makes the same tiles.
    """
    rng = np.random.default_rng([seed, row])
    angle = rng.uniform(0, 360, positives)
    shift = rng.uniform(0, MAX_SHIFT_M, (positives, 2)) * rng.choice([-1, 1], (positives, 2))
    shift[:close] *= CLOSE_SHIFT_M / MAX_SHIFT_M
    turned = [
        Pose(place.lat, place.lon, turn, x, y)
        for turn, (x, y) in zip(angle.tolist(), shift.tolist(), strict=True)
    ]
    return [Pose(place.lat, place.lon), *turned]
