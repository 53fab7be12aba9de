"""`python -m loc2vec train`: training alone, for `torchrun`, which starts Python modules."""

import click

from loc2vec.train.cli import train_command
from tiling.cli.group import CommandGroup


@click.group(
    cls=CommandGroup,
    epilog="Example: torchrun --nproc-per-node 4 -m loc2vec train --tiles tiles --out runs/first",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Train encoders, also with several processes; all other commands are those of `loc2vec`."""


main.add_command(train_command)

if __name__ == "__main__":
    main(prog_name="python -m loc2vec")
