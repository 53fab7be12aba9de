"""The ten nearest of made-up vectors: in a table of PostgreSQL and in FAISS, in one thread each.

The vectors are those of benchmarks/search.py: 1,000 clusters, 16 numbers. `exact` is the share of
queries whose answer is that of FAISS. The server must run on this machine; the table is dropped.
Where pgvector is installed in the database, the column is a `vector`, else a `cube`.

    python benchmarks/sql.py --database postgresql://loc2vec@localhost/bench [--rows 100000]
    [--queries 50]
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from search import made_up

from loc2vec.embed.files import Vectors
from loc2vec.embed.table import VectorTable
from tiling.store.postgis.database import Database
from tiling.store.postgis.extensions import has_extension
from tiling.store.postgis.statements import execute, rows

K, AT_ONCE, NAME = 10, 8192, "loc2vec_bench"
QUERY = f"SELECT place FROM {NAME} ORDER BY embedding <-> %s::{{}} LIMIT {K}"  # noqa: S608
INDEXES = {"cube": "GiST", "vector": "HNSW"}
Answers = NDArray[np.int64]


def fill(table: VectorTable, vectors: Vectors) -> Mapping[str, float]:
    """Write and index the table; returns the seconds of both."""
    plan = {"plan": "", "model": "", "store": "", "dim": vectors.embedding.shape[1],
            "places_per_part": AT_ONCE}  # fmt: skip
    with table.opened() as open_table:
        open_table.claim(plan, pa.schema([]))
        start = time.perf_counter()
        for first in range(0, len(vectors), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            open_table.put(
                first,
                Vectors(
                    vectors.lat[part], vectors.lon[part], vectors.embedding[part], None, "", ""
                ),
            )
        written = time.perf_counter()
        open_table.finish(plan)
        return {"COPY": written - start, "indexes": time.perf_counter() - written}


def asked(connection: Any, kind: str, queries: NDArray[np.float32]) -> Iterator[list[int]]:
    """Yield the answers of the table, whose column is of this kind."""
    for query in queries.astype(np.float64).tolist():
        text = str(query if kind == "vector" else tuple(query))
        found = rows(connection, QUERY.format(kind), (text,))
        yield [place for (place,) in found]


def timed(task: Callable[[], Answers], count: int) -> tuple[Answers, float]:
    """Return the answers, int64 [n, K], and the milliseconds of one."""
    start = time.perf_counter()
    answers = task()
    return answers, 1000 * (time.perf_counter() - start) / count


@click.command()
@click.option("--database", required=True, metavar="postgresql://...")
@click.option("--rows", "count", default=100_000, show_default=True)
@click.option("--queries", "asking", default=50, show_default=True)
def main(database: str, count: int, asking: int) -> None:
    """Print the table."""
    vectors = made_up(count + asking)
    queries, embedding = vectors.embedding[count:], vectors.embedding[:count]
    kept = Vectors(vectors.lat[:count], vectors.lon[:count], embedding, None, "", "")
    connection = Database(database).connect()
    connection.autocommit = True
    execute(connection, f"DROP TABLE IF EXISTS {NAME}, {NAME}_loading")
    kind = "vector" if has_extension(connection, "vector") else "cube"
    cost = fill(VectorTable(f"{database}/{NAME}"), kept)
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(embedding.shape[1])
    index.add(embedding)
    wanted, ms = timed(lambda: np.asarray(index.search(queries, K)[1]), asking)
    print(f"{count:,} rows: COPY {cost['COPY']:.0f} s, indexes {cost['indexes']:.0f} s")
    print(f"{'':<34}{'ms a query':>12}{'exact':>8}\n{'FAISS, flat':<34}{ms:>12.1f}{1:>8.0%}")
    execute(connection, "SET max_parallel_workers_per_gather = 0; SET jit = off")
    for way, setting in ((f"{INDEXES[kind]} index", "on"), ("every row", "off")):
        execute(connection, f"SET enable_indexscan = {setting}")
        found, ms = timed(lambda: np.array(list(asked(connection, kind, queries))), asking)
        exact = float((np.sort(found) == np.sort(wanted)).all(axis=1).mean())
        print(f"{f'{kind}, {way}':<34}{ms:>12.1f}{exact:>8.0%}")
    execute(connection, f"DROP TABLE {NAME}")


if __name__ == "__main__":
    main()
