"""`loc2vec explore filters`."""

import json
from typing import TYPE_CHECKING

import click
import numpy as np

from loc2vec.model.options import model_option
from service.explore.options import Output, count_option, output_options, seed_option
from tiling.cli.progress import progress_bar

if TYPE_CHECKING:
    from torch import nn


@click.command(
    "filters", epilog="Example: loc2vec explore filters --model loc2vec-16 --layer features.3"
)
@model_option
@click.option("--layer", help="Name of a convolution; without one, the names are listed.")
@count_option(64)
@seed_option
@output_options
def filters_command(model: str, layer: str | None, count: int, seed: int, output: Output) -> None:
    """Seek the input that most excites each filter of a layer, and count the dead filters."""
    from loc2vec.explore.filters import STEPS, excite
    from loc2vec.model.folder import load_model, model_path

    loaded = load_model(model_path(model))
    network, channels = loaded.network, loaded.config.channels
    if layer is None:
        _list_layers(network, output.as_json)
        return
    with progress_bar("ascend", "steps", STEPS) as bar:
        found = excite(network, layer, channels, count, STEPS, seed, bar.update)
    facts = {
        "layer": layer, "filters": len(found.alive), "dead": np.flatnonzero(~found.alive).tolist(),
        "before": found.before.tolist(), "after": found.after.tolist(),
    }  # fmt: skip
    line = f"{len(found.alive)} filters of {layer}, {found.dead} dead"
    output.finish(found, facts, [line])


def _list_layers(network: "nn.Module", as_json: bool) -> None:
    from loc2vec.explore.filters import layers_of

    layers = {name: layer.out_channels for name, (layer, _) in layers_of(network).items()}
    lines = "\n".join(f"{count:5}  {name}" for name, count in layers.items())
    click.echo(json.dumps(layers) if as_json else lines)
