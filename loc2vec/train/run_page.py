"""The page of a run: RUN/report.html, by which a person can judge it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from loc2vec.evaluation.baselines import without_labels
from loc2vec.evaluation.intrinsic import Scores, measure_alike, told
from loc2vec.model.compute import Encode, encode_tiles, pick_device
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, load_model
from loc2vec.paper.chart import Chart, histogram_chart, line_chart
from loc2vec.paper.template import exact_data_url, fill
from loc2vec.train.objectives.geocell import METRICS
from loc2vec.train.runlog import read_log
from loc2vec.train.triplets import Sample, Triplet, distances, hardest, sample
from tiling.files.atomic import replacing

PLACES = 1000  # searched, and looked at
TRIPLETS = 8
FIT_PLACES = 256  # whose tiles the baselines are fitted on
CURVES = (  # title, names in the log, where the axis ends if not at the greatest value
    ("loss", ("loss",), None),
    ("distances", ("positive_distance", "nearest_negative_distance"), None),
    ("share of triplets that are easy", ("easy_share",), 1.0),
    ("retrieval", ("recall@1", "recall@10"), 1.0),
    ("effective rank of a batch's anchors", ("effective_rank",), None),
    ("norm of the gradient", ("gradient_norm",), None),
    ("learning rate", ("learning_rate",), None),
    ("tiles a second", ("tiles_per_s",), None),
    ("share of the time spent waiting for tiles", ("data_wait",), 1.0),
)


def write_report(run: Path, dataset: Dataset, validated: bool, device: str = "auto") -> Scores:
    """Write RUN/report.html about the best model of a run, measured on a dataset.

    `validated`: the model was not trained on these places. Returns the scores by method.
    """
    model = load_model(run / "best")
    scores = _scores(model, dataset, device)
    seen = sample(_encode(model, device), dataset, PLACES)
    log = read_log(run / "log.jsonl")
    text = fill(
        "run.html.j2",
        name=run.resolve().name,
        facts=model.config.training,
        pace=_pace(log),
        first=next(iter(scores.values())),
        scores=told(scores),
        cells=_cells(scores),
        validated=validated,
        curves=_curves(log),
        dimensions=[
            histogram_chart(f"dimension {n}", [("", values)])
            for n, values in enumerate(seen.anchors.T)
        ],
        spectrum=_spectrum(seen),
        spread=_spread(seen),
        triplets=[_shown(triplet) for triplet in hardest(seen, dataset, TRIPLETS)],
    )
    with replacing(run / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return scores


def table(scores: Scores) -> str:
    """Return the scores as text."""
    first = next(iter(scores.values()))
    head, *rows = told(scores)
    lines = [f"{first['queries']} queries in a gallery of {first['gallery']}"]
    lines += [f"{row[0]:<24}" + "".join(f"{cell:>22}" for cell in row[1:]) for row in (head, *rows)]
    lines += [f"naming the cell, {name:<16}{value:>10}" for name, value in _cells(scores).items()]
    return "\n".join(lines)


def _encode(model: Model, device: str) -> Encode:
    network = model.network.to(pick_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda tiles: encode_tiles(network, tiles)


def _scores(model: Model, dataset: Dataset, device: str) -> Scores:
    """Measure the model, and what needs no training."""
    fit = np.random.default_rng(1).permutation(dataset.n_places)[:FIT_PLACES]
    anchors = dataset.tiles(fit, np.zeros_like(fit))
    methods = {model.config.name: _encode(model, device)} | without_labels(
        [model.config.encoder], anchors, anchors
    )
    named = {
        metric: model.config.training[metric]
        for metric in METRICS
        if metric in model.config.training
    }
    scores = measure_alike(methods, dataset, PLACES)
    return {**scores, model.config.name: {**scores[model.config.name], **named}}


def _cells(scores: Scores) -> dict[str, str]:
    """Return how well the model names the cells of the validation places, if it has a head."""
    first = next(iter(scores.values()))
    return {
        name: f"{first[name]:,.1f}" if name == "median km" else f"{first[name]:.3f}"
        for name in METRICS
        if name in first
    }


def _pace(log: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the pace of the whole run: tiles a second, share of waiting, skipped steps."""
    lines = [line for line in log if "tiles_per_s" in line]
    steps = np.diff([0, *(line["step"] for line in lines)])
    # of a tile a step
    seconds = sum(n / line["tiles_per_s"] for n, line in zip(steps, lines, strict=True))
    waited = sum(
        n / line["tiles_per_s"] * line["data_wait"] for n, line in zip(steps, lines, strict=True)
    )
    return {
        "tiles_per_s": steps.sum() / seconds if seconds else 0.0,
        "data_wait": waited / seconds if seconds else 0.0,
        "skipped": sum(line["skipped"] for line in lines),
    }


def _curves(log: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Plot what the log has: lines of training, and of evaluation, which have a gallery."""
    charts = []
    for title, names, top in CURVES:
        rows = [line for line in log if ("gallery" in line) == (title == "retrieval")]
        lines = [
            (name, [(line["step"], line[name]) for line in rows if name in line]) for name in names
        ]
        if any(points for _, points in lines):
            charts.append(line_chart(title, lines, top))
    return charts


def _spectrum(seen: Sample) -> list[float]:
    """Return the singular values of the centred vectors as shares of the greatest."""
    values = np.linalg.svd(seen.anchors - seen.anchors.mean(0), compute_uv=False)
    return [float(value) for value in values / max(values[0], 1e-12)]


def _spread(seen: Sample) -> Chart:
    """Plot how far apart two tiles of one place lie, and two of different places."""
    same = np.sqrt(np.square(seen.anchors - seen.positives).sum(1))
    apart = distances(seen.anchors, seen.anchors)[np.triu_indices(len(seen.anchors), 1)]
    return histogram_chart(
        "distance of two tiles", [("of one place", same), ("of different places", apart)]
    )


def _shown(triplet: Triplet) -> dict[str, object]:
    """Return the pictures of a triplet as data URLs, and its distances."""
    return {
        "pictures": [exact_data_url(triplet.palette.composite(tile)) for tile in triplet[:3]],
        "positive": triplet.positive_distance,
        "negative": triplet.negative_distance,
    }
