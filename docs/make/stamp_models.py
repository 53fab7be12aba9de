"""Give model folders the fingerprint of the shipped catalogue; by default the shipped models.

    python docs/make/stamp_models.py [FOLDER ...]

For a change of the catalogue's rules that leaves most tiles as they were: the models go on until
others are trained. `training.fingerprint` stays that of the tiles that a model was trained on. So
do the weights and the model's identity. docs/models.md says what the change means for a model.
"""

from pathlib import Path

import click

from loc2vec.model.folder import load_model, model_path, shipped_names
from tiling.catalogue.catalogue import load_catalogue
from tiling.files.atomic import read_json, write_json


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True))
def main(folders: tuple[Path, ...]) -> None:
    """Write the fingerprint into the config.json of each folder."""
    for folder in folders or [model_path(name) for name in shipped_names()]:
        stamp(folder)


def stamp(folder: Path) -> None:
    """Write the fingerprint of the shipped catalogue into the config.json of a model.

    `ClickException` for a model of other channels; `ModelError` for a damaged one.
    """
    config, catalogue = load_model(folder).config, load_catalogue()
    if config.catalogue is not None or config.channels != catalogue.channels_of(config.geometry):
        raise click.ClickException(f"{folder} is of other channels: only training can change that")
    path, fingerprint = folder / "config.json", catalogue.fingerprint(config.geometry)
    write_json(path, read_json(path) | {"fingerprint": fingerprint})
    click.echo(f"{folder}: {config.fingerprint} -> {fingerprint}")


if __name__ == "__main__":
    main()
