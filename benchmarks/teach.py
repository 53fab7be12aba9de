"""How long a click takes: CPU seconds to learn from examples and to score all indexed vectors.

The vectors are those of `search.py`. Run:

    python benchmarks/teach.py [--vectors 1000000] [--examples 5] [--kinds 1] [--json]
"""

import json
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from search import made_up

from service.index.index import NeighborIndex
from service.index.teach import Lesson, Scores

REPEATS = 5


@click.command()
@click.option("--vectors", "count", default=1_000_000, show_default=True)
@click.option("--examples", default=5, show_default=True)
@click.option("--kinds", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(count: int, examples: int, kinds: int, as_json: bool) -> None:
    """Print the medians of some repeats."""
    vectors = made_up(count)
    labels = [str(number % kinds) for number in range(examples)]
    learned, scored, chosen = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as parent:
        index = NeighborIndex.build(vectors, Path(parent) / "index")
        every = np.ones(count, np.bool_)
        for seed in range(REPEATS):
            rows = np.random.default_rng(seed).integers(count, size=examples)
            ends = [time.process_time()]
            lesson = Lesson.of(vectors.embedding[rows], labels, index)
            ends.append(time.process_time())
            scores = Scores.of(lesson, index, str(seed))
            ends.append(time.process_time())
            scores.best(index, 0, 8, every, 150)
            scores.asked(index, 4, every, 150)
            ends.append(time.process_time())
            for times, spent in zip((learned, scored, chosen), np.diff(ends), strict=True):
                times.append(float(spent))
    names = ("learn", "score", "choose")
    facts = {
        name: round(float(np.median(times)), 3)
        for name, times in zip(names, (learned, scored, chosen), strict=True)
    }
    print(json.dumps({"vectors": count, **facts}) if as_json else f"{count:,} vectors: {facts}")


if __name__ == "__main__":
    main()
