"""`loc2vec train`."""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from loc2vec.encoders.registry import ENCODERS, options_of
from loc2vec.evaluation.intrinsic import Scores
from loc2vec.model.folder import load_model, model_path
from loc2vec.train.board import TensorBoard
from loc2vec.train.distributed import World
from loc2vec.train.loop import train
from loc2vec.train.objectives.contrastive import LOSSES, NO_LOSS
from loc2vec.train.objectives.registry import HEADS
from loc2vec.train.run import Run, TrainConfig, TrainResult
from loc2vec.train.run_page import table, write_report
from tiling.cli.group import INTERRUPTED
from tiling.cli.options import NumberRange, WholeRange
from tiling.dataset.dataset import TileDataset

DEFAULTS = TrainConfig()


def _pairs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE, NAME=VALUE, ..."""
    for each in given:
        if "=" not in each:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", ctx, param)
    return dict(each.split("=", 1) for each in given)


def _weights(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, float]:
    """Read NAME, NAME=WEIGHT, ...; the weight is 1 where it is not given."""
    weights = {}
    for each in given:
        name, _, weight = each.partition("=")
        if name not in HEADS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(HEADS)}", ctx, param)
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise click.BadParameter(f"{each!r}: the weight is no number above 0", ctx, param)
    return weights


@click.command(
    "train", epilog="Example: loc2vec train --tiles tiles --validation others --out runs/first"
)
@click.option(
    "--tiles",
    required=True,
    help="Tile dataset to learn from: a folder, or a URL such as s3://bucket/tiles.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder to write.")
@click.option("--validation", help="Tile dataset of other places.")
@click.option(
    "--encoder", type=click.Choice(sorted(ENCODERS)), default=DEFAULTS.encoder, show_default=True
)
@click.option(
    "--dim",
    type=WholeRange(min=1),
    default=DEFAULTS.dim,
    show_default=True,
    help="Numbers of a vector.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", callback=_pairs,
    help="Option of the encoder, such as norm=layer; may be given several times.",
)  # fmt: skip
@click.option(
    "--places",
    type=WholeRange(min=2),
    default=DEFAULTS.places,
    show_default=True,
    help="In a batch.",
)
@click.option(
    "--pairs",
    type=WholeRange(min=1),
    default=DEFAULTS.pairs,
    show_default=True,
    help="Of each place.",
)
@click.option("--steps", type=WholeRange(min=1), default=DEFAULTS.steps, show_default=True)
@click.option(
    "--loss",
    type=click.Choice([*sorted(LOSSES), NO_LOSS]),
    default=DEFAULTS.loss,
    show_default=True,
    help="SoftPN over triplets, or the cross-entropy of finding a place in its batch; or none.",
)
@click.option(
    "--projector", is_flag=True, help="Take the loss mostly of a projection, which is thrown away."
)
@click.option(
    "--head", "heads", multiple=True, metavar="NAME[=WEIGHT]", callback=_weights,
    help="Also learn: geocell, the H3 cells of a place; tags, counts of tags around it "
    "(`loc2vec tile --targets`); cover, the shares of its channels. Repeat for more.",
)  # fmt: skip
@click.option(
    "--nested",
    type=WholeRange(min=1),
    multiple=True,
    help="So many first numbers of a vector also learn by themselves; may be given several times.",
)
@click.option(
    "--channel-dropout",
    type=NumberRange(0, 0.5),
    default=DEFAULTS.channel_dropout,
    show_default=True,
    help="Mean share of the channels of a positive that are switched off.",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Also turn each tile by quarter turns and mirror it, at random.",
)
@click.option("--init", help="Start from the weights of a shipped model or a model folder.")
@click.option("--seed", type=WholeRange(min=0), default=DEFAULTS.seed, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--resume", is_flag=True, help="Resume the run in --out; --steps may be more than before."
)
@click.option(
    "--tensorboard", is_flag=True, help="Also write OUT/tensorboard (extra `tensorboard`)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train_command(
    tiles: str,
    out: Path,
    validation: str | None,
    encoder: str,
    dim: int,
    options: dict[str, str],
    places: int,
    pairs: int,
    steps: int,
    loss: str,
    projector: bool,
    heads: dict[str, float],
    nested: tuple[int, ...],
    channel_dropout: float,
    mirrored: bool,
    init: str | None,
    seed: int,
    device: str,
    resume: bool,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Train an encoder on a tile dataset.

    Writes OUT/best (the model folder), OUT/checkpoints (the last three), OUT/log.jsonl and, at the
    end, OUT/report.html. Ctrl-C saves a checkpoint; --resume continues from it.

    With --validation, the best model is the one with the highest recall@1; with --loss none, the
    one that names most cells. Without --validation, it is the one with the lowest loss.
    """
    # complains about wrong options before any tiles are read
    options_of(encoder, {"dim": dim, **options})
    config = TrainConfig(
        encoder=encoder,
        dim=dim,
        options=options,
        places=places,
        pairs=pairs,
        steps=steps,
        loss=loss,
        projector=projector,
        heads=heads,
        nested=nested,
        channel_dropout=channel_dropout,
        mirrored=mirrored,
        seed=seed,
    )
    data = TileDataset.open(tiles)
    other = None if validation is None else TileDataset.open(validation)
    board = TensorBoard(out / "tensorboard") if tensorboard else None
    model = None if init is None else load_model(model_path(init))
    with _stop_on_interrupt() as stop:
        result = train(Run(config, data, out, other, model), device, resume, stop, board)
    if World.of_environment().leads:
        scores = (
            write_report(out, other or data, other is not None, device) if result.finished else None
        )
        click.echo(_as_json(result, scores) if as_json else _summary(result, scores))
    if not result.finished:
        sys.exit(INTERRUPTED)


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C (or SIGTERM) sets.

    A second one ends the program at once.
    """
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        for other in signals:
            signal.signal(other, before[other])
        if World.of_environment().leads:
            click.echo("\nstopping: saving a checkpoint first", err=True)

    for number in signals:
        signal.signal(number, set_stop)
    try:
        yield stop
    finally:
        for number in signals:
            signal.signal(number, before[number])


def _as_json(result: TrainResult, scores: Scores | None) -> str:
    return json.dumps(asdict(result) | {"retrieval": scores}, default=str)


def _summary(result: TrainResult, scores: Scores | None) -> str:
    best = (
        ""
        if result.best is None
        else f", best {result.score} {result.best:.4f} at step {result.best_step}"
    )
    if scores is None:
        return (
            f"stopped at step {result.step} of {result.steps}{best}: "
            "the same command with --resume goes on"
        )
    return (
        f"trained {result.steps} steps{best}: the model is in {result.out / 'best'}\n"
        f"{table(scores)}\nsee {result.out / 'report.html'}"
    )
