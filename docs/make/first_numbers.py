"""Cut a `multiscale` model to the first numbers of its vectors.

Run it as follows. `loc2vec train --nested` makes these numbers of use by themselves.

    python docs/make/first_numbers.py --model runs/place-64/best --numbers 16 --out runs/place-16
"""

from dataclasses import replace
from pathlib import Path

import click
from torch import Tensor, nn

from loc2vec.encoders.registry import build
from loc2vec.model.folder import Model, load_model, model_path, save_model

OF_NUMBERS = ("embedding.", "whitening.")  # beginnings of what has a row for each number


def first_numbers(model: Model, numbers: int) -> nn.Module:
    """Return a network of the first `numbers` of the vectors; the whitening is triangular."""

    def cut(name: str, value: Tensor) -> Tensor:
        if not name.startswith(OF_NUMBERS):
            return value
        square = name in ("whitening.covariance", "whitening.matrix")
        return value[:numbers, :numbers] if square else value[:numbers]

    config = model.config
    options = config.options | {"dim": numbers}
    network = build(config.encoder, config.geometry.scales, **options)
    weights = model.network.state_dict()
    network.load_state_dict({name: cut(name, value) for name, value in weights.items()})
    return network.eval()


@click.command()
@click.option("--model", "of", required=True)
@click.option("--numbers", type=click.IntRange(min=1), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(of: str, numbers: int, out: Path) -> None:
    """Write the model."""
    model = load_model(model_path(of))
    first = {"of": model.model_id, "numbers": numbers}
    config = model.config
    about = replace(
        config,
        name=out.name,
        options=config.options | {"dim": numbers},
        training=config.training | {"first": first},
    )
    save_model(out, first_numbers(model, numbers), about)
    click.echo(out)


if __name__ == "__main__":
    main()
