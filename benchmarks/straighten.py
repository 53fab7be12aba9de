"""Whether the spatial transformer of `stn` undoes how a tile is turned and shifted.

    python benchmarks/straighten.py --store newport_gb.gpkg --tiles DIR [--model RUN/best]
        [--out build/stn.npz]

With --out, some views are written too; docs/make/stn_picture.py makes docs/stn.png of them.

Draws places of the dataset DIR from the store, each turned and shifted at random. A transformer
alone is then fitted for nothing but this: that what it reads of a turned tile is what stands in the
upright one. It is measured on views that it was not fitted on, of the same places and of others.
With --model, so is that of a trained `stn`.

What is measured is by how much the views of one place still differ when they are read. That is the
standard deviation of their turn about its mean. It is also the distance of the middle of what is
read from its mean on the ground. Which way up a transformer turns a place is its own affair, only
that it is the same way counts.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from loc2vec.encoders.registry import build
from loc2vec.encoders.stn import SpatialTransformer
from loc2vec.evaluation.report.table import markdown
from loc2vec.model.folder import load_model
from tiling.cli.options import StoreType
from tiling.dataset.dataset import TileDataset
from tiling.render.renderer import Renderer
from tiling.store.store import Store
from tiling.values import TILE_RADIUS_M, LonLat, Pose

FITTED, OTHERS = 32, 16  # places
SEEN, NEW = 64, 16  # views of each: to fit on, to measure on
BATCH, COARSE = 64, 4  # views in a step; pixels a side that are compared as one, and as one again
LEARNING_RATE = 1e-3
SHOWN_PLACES, SHOWN_VIEWS = 3, 5  # written for docs/make/stn_picture.py


@dataclass(frozen=True, eq=False)
class Views:
    """Views of places: `upright` uint8 [P, 12, 128, 128], `turned` [P, V, 12, 128, 128].

    `pose` float64 [P, V, 3]: the map is turned counter-clockwise by degrees, then shifted by metres
    east and north.
    """

    upright: Tensor
    turned: Tensor
    pose: NDArray[np.float64]

    @classmethod
    def draw(
        cls, renderer: Renderer, places: list[LonLat], turn_deg: float, shift_m: float
    ) -> "Views":
        """Draw each place upright, and `SEEN` + `NEW` times turned and shifted at random."""
        most = np.array([turn_deg, shift_m, shift_m])
        pose = np.random.default_rng(0).uniform(-most, most, (len(places), SEEN + NEW, 3))
        drawn = [
            renderer.tiles(
                place,
                [Pose(place.lat, place.lon, *one) for one in [(0.0, 0.0, 0.0), *each.tolist()]],
            )
            for place, each in zip(places, pose, strict=True)
        ]
        tiles = torch.from_numpy(np.stack(drawn))
        return cls(tiles[:, 0], tiles[:, 1:], pose)


def coarse(tiles: Tensor) -> Tensor:
    """Return tiles uint8 [..., 12, 128, 128] at a quarter of their size: float32 [..., 12, 32, 32].

    This is what the localisation network sees.
    """
    return torch.stack([F.avg_pool2d(each.float() / 255, COARSE) for each in tiles])


def fit(network: SpatialTransformer, views: Views, steps: int) -> None:
    """Fit the transformer to turn the first `SEEN` views of `FITTED` places upright.

    The pictures are compared at two sizes, 32 and 8 pixels a side: the smaller one sees what is far
    off.
    """
    upright, turned = coarse(views.upright[None, :FITTED])[0], coarse(views.turned[:FITTED, :SEEN])
    locate, affine = network.localisation[1:], network.affine  # its first layer is `coarse`
    optimizer = torch.optim.Adam([*locate.parameters(), *affine.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        place, view = torch.randint(FITTED, (BATCH,)), torch.randint(SEEN, (BATCH,))
        seen, wanted = turned[place, view], upright[place]
        grid = F.affine_grid(
            affine(locate(seen)).unflatten(1, (2, 3)), list(seen.shape), align_corners=False
        )
        read = F.grid_sample(seen, grid, align_corners=False)
        loss = F.mse_loss(read, wanted) + F.mse_loss(
            F.avg_pool2d(read, COARSE), F.avg_pool2d(wanted, COARSE)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def maps_of(network: SpatialTransformer, turned: Tensor) -> NDArray[np.float64]:
    """Return the six numbers for each view uint8 [P, V, 12, 128, 128]: float64 [P, V, 2, 3]."""
    found = [network.affine(network.localisation(views.float() / 255)) for views in turned]
    maps: NDArray[np.float64] = torch.stack(found).view(*turned.shape[:2], 2, 3).double().numpy()
    return maps


def left(maps: NDArray[np.float64], pose: NDArray[np.float64]) -> tuple[float, float]:
    """Return by how much the views of a place differ when they are read: degrees, metres.

    The mean over the places.

    A map says where in the tile a point of what is read is taken from, x to the right and y down
    from -1 to 1. In the tile, a point of the ground lies where turning and shifting puts it.
    """
    found = np.arctan2(maps[..., 1, 0] - maps[..., 0, 1], maps[..., 0, 0] + maps[..., 1, 1])
    turn = np.exp(1j * (np.radians(pose[..., 0]) + found))  # of the ground, as it is read
    off = np.angle(turn / turn.mean(1, keepdims=True))
    middle = (maps[..., 0, 2] - 1j * maps[..., 1, 2]) * TILE_RADIUS_M - (
        pose[..., 1] + 1j * pose[..., 2]
    )
    ground = middle * np.exp(-1j * np.radians(pose[..., 0]))
    away = np.abs(ground - ground.mean(1, keepdims=True))
    return math.degrees(np.sqrt((off**2).mean(1)).mean()), float(np.sqrt((away**2).mean(1)).mean())


def write_views(path: Path, network: SpatialTransformer, views: Views) -> None:
    """Write some views as npz, uint8: `upright` [P, 12, H, W], `turned`, `read` [P, V, 12, H, W].

    The transformer was not fitted on these views; `read` is what it makes of `turned`.
    """
    turned = views.turned[:SHOWN_PLACES, SEEN : SEEN + SHOWN_VIEWS]
    with torch.inference_mode():
        read = [(network.transform(each.float() / 255) * 255).round().byte() for each in turned]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        upright=views.upright[:SHOWN_PLACES].numpy(),
        turned=turned.numpy(),
        read=torch.stack(read).numpy(),
    )


@click.command()
@click.option(
    "--store", type=StoreType(), required=True, help="Feature store that the tiles are drawn from."
)
@click.option(
    "--tiles",
    type=click.Path(path_type=Path),
    required=True,
    help="Tile dataset with places of the store.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Model folder of an `stn` to measure beside it.",
)
@click.option("--turn", default=45.0, show_default=True, help="Degrees, at most, to either side.")
@click.option("--shift", default=20.0, show_default=True, help="Metres, at most, along each axis.")
@click.option("--steps", default=800, show_default=True, help="Of fitting.")
@click.option("--out", type=click.Path(path_type=Path), help="npz of some views to write.")
def main(
    store: Store,
    tiles: Path,
    model: Path | None,
    turn: float,
    shift: float,
    steps: int,
    out: Path | None,
) -> None:
    """Fit and measure."""
    torch.manual_seed(0)
    dataset = TileDataset.open(tiles)
    chosen = np.random.default_rng(0).permutation(dataset.n_places)[: FITTED + OTHERS]
    places = [
        LonLat(lon, lat) for lon, lat in zip(dataset.lon[chosen], dataset.lat[chosen], strict=True)
    ]
    views = Views.draw(Renderer(store.open()), places, turn, shift)
    network = cast(SpatialTransformer, build("stn"))
    table = [["", "turn, degrees", "middle, m"]]

    def add(name: str, which: slice, network: SpatialTransformer) -> None:
        maps = maps_of(network, views.turned[which, SEEN:])
        table.append([name, *(f"{value:.1f}" for value in left(maps, views.pose[which, SEEN:]))])

    add("as drawn", slice(None), network)  # it begins with the identity
    if model is not None:
        trained = load_model(model)
        add(
            f"{trained.config.name}, of the triplets",
            slice(None),
            cast(SpatialTransformer, trained.network),
        )
    fit(network, views, steps)
    add(f"fitted to undo it: new views of the {FITTED} places", slice(FITTED), network)
    add(f"fitted to undo it: {OTHERS} other places", slice(FITTED, None), network)
    print(markdown(table))
    if out is not None:
        write_views(out, network, views)


if __name__ == "__main__":
    main()
