"""The option `--model`, shared by several commands."""

import click

from loc2vec.model.names import DEFAULT_MODEL

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name of a shipped model, or a model folder.",
)
