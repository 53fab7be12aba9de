import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from service.errors import SearchIndexError
from service.index.index import NeighborIndex
from service.index.kinds import build, few, read, vectors_of, write
from tests.threads import threads_come_to, threads_of_this_process
from tiling.values import Box, LonLat

Floats = NDArray[np.float32]


def make_vectors(embedding: Floats, model: str = "m@0", north: float = 0.0) -> Vectors:
    n = len(embedding)
    return Vectors(
        lat=np.linspace(43, 44, n) + north,
        lon=np.linspace(7, 8, n),
        embedding=embedding,
        table=None,
        model=model,
        fingerprint="0123456789abcdef",
    )


def brute_force(
    embedding: Floats, query: Floats, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows in the order of (distance, row), rows of NaN left out."""
    distance = np.sqrt(((embedding.astype(np.float64) - query) ** 2).sum(axis=1))
    order = np.lexsort((np.arange(len(embedding)), distance))
    order = order[np.isfinite(distance[order])][:k]
    return order, distance[order]


@pytest.fixture
def embedding() -> Floats:
    """300 rows: some null, some equal to each other."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((300, 16)).astype(np.float32)
    values[rng.choice(300, 60, replace=False)] = values[0]
    values[[5, 17, 200]] = np.nan
    return values


@pytest.fixture
def folder(tmp_path: Path, embedding: Floats) -> Path:
    NeighborIndex.build(make_vectors(embedding), tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("k", [1, 2, 10, 45, 59, 60, 61, 100, 297])
def test_order_is_that_of_brute_force(folder: Path, embedding: Floats, k: int) -> None:
    index = NeighborIndex.open(folder)
    for query in (embedding[1], embedding[0], embedding[0] + 0.25, embedding[3] * 0.5):
        ids, distances = index.search(query, k)
        expected_ids, expected = brute_force(embedding, query, k)
        assert ids.tolist() == expected_ids.tolist()
        np.testing.assert_allclose(distances, expected, atol=1e-9)


def test_distances_that_float32_cannot_tell_apart_are_told_apart(tmp_path: Path) -> None:
    embedding = np.zeros((100, 16), np.float32)
    embedding[:, 0] = 1000
    # 1e6 + 1e-6 is 1e6 in float32; the last row is the nearest
    embedding[:, 1] = np.linspace(2e-3, 1e-3, 100)
    index = NeighborIndex.build(make_vectors(embedding), tmp_path / "index")
    ids, _ = index.search(np.zeros(16, np.float32), 5)
    assert ids.tolist() == [99, 98, 97, 96, 95]


def test_nearest_is_itself_at_distance_zero(folder: Path, embedding: Floats) -> None:
    ids, distances = NeighborIndex.open(folder).search(embedding[42], 2)
    assert ids[0] == brute_force(embedding, embedding[42], 1)[0][0]
    assert distances[0] == 0 < distances[1] or (embedding[ids[1]] == embedding[42]).all()


def test_several_queries_give_a_row_each(folder: Path, embedding: Floats) -> None:
    index = NeighborIndex.open(folder)
    ids, distances = index.search(embedding[[1, 2, 3]], 4)
    assert ids.shape == distances.shape == (3, 4)
    assert ids[2].tolist() == index.search(embedding[3], 4)[0].tolist()


def test_more_neighbours_than_there_are_gives_all(folder: Path, embedding: Floats) -> None:
    index = NeighborIndex.open(folder)
    assert len(index) == 297
    ids, _ = index.search(embedding[1], 1000)
    assert sorted(ids) == sorted(set(range(300)) - {5, 17, 200})


def test_ids_find_the_places(folder: Path, embedding: Floats) -> None:
    index = NeighborIndex.open(folder)
    (row,), _ = index.search(embedding[299], 1)
    assert index.lat[row] == pytest.approx(np.linspace(43, 44, 300)[row])


@pytest.mark.parametrize(
    ("query", "k"), [(np.zeros(15, np.float32), 1), (np.zeros(16, np.float32), 0)]
)
def test_a_question_that_makes_no_sense_is_refused(folder: Path, query: Floats, k: int) -> None:
    with pytest.raises(SearchIndexError):
        NeighborIndex.open(folder).search(query, k)


@pytest.mark.parametrize("damage", ["missing", "altered", "foreign"])
def test_cache_is_made_again(folder: Path, embedding: Floats, damage: str) -> None:
    cache = folder / "index.faiss"
    whole = cache.read_bytes()
    if damage == "missing":
        cache.unlink()
    elif damage == "altered":
        cache.write_bytes(whole[:-4] + b"\0\0\0\0")
    else:
        faiss.write_index(faiss.IndexFlatL2(3), str(cache))
    ids, _ = NeighborIndex.open(folder).search(embedding[1], 10)
    assert ids.tolist() == brute_force(embedding, embedding[1], 10)[0].tolist()
    assert cache.read_bytes() == whole
    assert {path.name for path in folder.iterdir()} == {
        "vectors.parquet",
        "index.json",
        "index.faiss",
        "rows.arrow",
    }


def test_an_index_that_cannot_keep_its_cache_still_answers(
    folder: Path, embedding: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / "index.faiss").unlink()
    monkeypatch.setattr("service.index.index.faiss.write_index", full)
    ids, _ = NeighborIndex.open(folder).search(embedding[1], 3)
    assert ids.tolist() == brute_force(embedding, embedding[1], 3)[0].tolist()


def test_altered_vectors_are_refused(folder: Path, embedding: Floats) -> None:
    other = NeighborIndex.build(make_vectors(embedding * 2), folder.parent / "other")
    assert len(other) == 297
    (folder.parent / "other" / "vectors.parquet").replace(folder / "vectors.parquet")
    with pytest.raises(
        SearchIndexError, match=r"vectors\.parquet .* not as `loc2vec index` wrote it"
    ):
        NeighborIndex.open(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 99, "vectors_sha256": "", "x": 1}']
)
def test_damaged_facts_are_refused(folder: Path, text: str) -> None:
    (folder / "index.json").write_text(text)
    with pytest.raises(SearchIndexError):
        NeighborIndex.open(folder)


@pytest.mark.parametrize(
    "pairs", [None, 3, [], [0.0] * 1000, [1.0, *[0.5] * 1000], ["a"] * 1001, [float("nan")] * 1001]
)
def test_a_scale_that_is_none_is_refused(folder: Path, pairs: object) -> None:
    facts = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(facts | {"pair_distances": pairs}))
    with pytest.raises(SearchIndexError, match="make the index again"):
        NeighborIndex.open(folder)


def test_the_distances_of_pairs_are_kept(folder: Path, embedding: Floats) -> None:
    kept = NeighborIndex.open(folder).scale.steps
    NeighborIndex.build(make_vectors(embedding), folder)
    assert NeighborIndex.open(folder).scale.steps.tolist() == kept.tolist()
    NeighborIndex.add(make_vectors(embedding * 9, north=2.0), folder)
    assert NeighborIndex.open(folder).scale.steps[500] > 2 * kept[500]


@pytest.mark.parametrize("name", ["index.json", "vectors.parquet"])
def test_missing_parts_are_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SearchIndexError):
        NeighborIndex.open(folder)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for path in (tmp_path, tmp_path / "nothing", file):
        with pytest.raises(SearchIndexError, match="is not an index folder"):
            NeighborIndex.open(path)


def test_building_replaces_an_index_and_nothing_else(
    folder: Path, embedding: Floats, tmp_path: Path
) -> None:
    NeighborIndex.build(make_vectors(embedding[:10], model="m@1"), folder)
    assert NeighborIndex.open(folder).model == "m@1"
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_text("meow")
    with pytest.raises(SearchIndexError, match="is not an index folder: choose another name"):
        NeighborIndex.build(make_vectors(embedding), photos)
    assert (photos / "cat.jpg").read_text() == "meow"


def test_a_failed_build_leaves_the_old_index(
    folder: Path, embedding: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = json.loads((folder / "index.json").read_text())
    monkeypatch.setattr("service.index.index.faiss.write_index", full)
    with pytest.raises(OSError, match="No space"):
        NeighborIndex.build(make_vectors(embedding[:10]), folder)
    assert json.loads((folder / "index.json").read_text()) == before
    assert len(NeighborIndex.open(folder)) == 297
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def test_vectors_without_an_embedding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="no row"):
        NeighborIndex.build(make_vectors(np.full((3, 16), np.nan, np.float32)), tmp_path / "index")
    assert not any(tmp_path.iterdir())


def test_facts_say_what_the_index_is(folder: Path) -> None:
    facts = json.loads((folder / "index.json").read_text())
    assert (facts["model"], facts["dim"], facts["count"], facts["fingerprint"]) == (
        "m@0",
        16,
        297,
        "0123456789abcdef",
    )
    assert "OpenStreetMap contributors" in facts["attribution"]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes lists of what is otherwise searched one and all."""
    monkeypatch.setattr("service.index.kinds.LISTS_ABOVE", 1000)


@pytest.mark.parametrize(("lists", "most_rows"), [(False, 1000), (True, 1000), (True, 20)])
def test_allowed_rows_alone_are_found_and_all_that_are_asked(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    lists: bool,
    most_rows: int,
) -> None:
    monkeypatch.setattr("service.index.kinds.MOST_ROWS", most_rows)
    if lists:
        request.getfixturevalue("large")
    rng = np.random.default_rng(1)
    values = rng.standard_normal((20_000, 16)).astype(np.float32)
    values[::7] = np.nan
    index = NeighborIndex.build(make_vectors(values), tmp_path / "index")
    assert few(index._faiss) == min(most_rows, len(index) // 50)
    for share in (1.0, 0.5, 0.15, 0.01, 0.0003, 0.0):
        allowed = rng.random(len(values)) < share
        hits = total = 0
        for query in rng.standard_normal((10, 16)).astype(np.float32):
            ids, distances = index.search(query, 10, allowed)
            expected, _ = brute_force(np.where(allowed[:, None], values, np.nan), query, 10)
            assert len(ids) == len(expected)
            assert allowed[ids].all()
            assert (np.diff(distances) >= 0).all()
            hits, total = hits + len(set(ids) & set(expected)), total + len(expected)
        assert hits >= (0.99 if lists else 1) * total


@pytest.mark.usefixtures("large")
def test_vectors_are_read_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float32)
    write(build(lambda: [values], len(values)), tmp_path / "lists")
    lists = read(tmp_path / "lists", mapped=True)
    asked: list[NDArray[np.int64]] = []
    really = faiss.IndexIVFFlat.reconstruct_batch

    def noted(found: faiss.Index, numbers: NDArray[np.int64]) -> Floats:
        asked.append(numbers)
        vectors: Floats = really(found, numbers)
        return vectors

    monkeypatch.setattr(faiss.IndexIVFFlat, "reconstruct_batch", noted)
    numbers = np.random.default_rng(1).permutation(len(values))[:700]
    assert np.array_equal(vectors_of(lists, numbers), values[numbers])
    (read_in,) = asked
    lie_at = faiss.vector_to_array(lists.direct_map.array)[read_in]  # the list, the place in it
    assert (np.diff(lie_at) > 0).all()
    assert len(np.unique(lie_at >> 32)) > 10


def test_vectors_are_added_behind_those_that_are_there(folder: Path, embedding: Floats) -> None:
    before = NeighborIndex.open(folder)
    longer = NeighborIndex.add(make_vectors(embedding[:50] + 9, north=2), folder)
    again = NeighborIndex.open(folder)
    assert (len(longer), len(again)) == (297 + 48, 297 + 48)
    assert longer.name == again.name != before.name
    both = np.concatenate([embedding, embedding[:50] + 9])
    for query in (embedding[1], embedding[1] + 9):
        expected, _ = brute_force(both, query, 20)
        assert (
            longer.search(query, 20)[0].tolist()
            == again.search(query, 20)[0].tolist()
            == expected.tolist()
        )


def test_places_that_are_there_are_not_added_again(folder: Path, embedding: Floats) -> None:
    with pytest.raises(SearchIndexError, match="holds all of these places already"):
        NeighborIndex.add(make_vectors(embedding), folder)
    more = make_vectors(embedding + 9)
    more.lat[:10] += 2
    longer = NeighborIndex.add(more, folder)
    assert (longer.known, len(longer.lat)) == (290, 310)


def test_the_columns_of_an_index_lie_in_one_piece(tmp_path: Path, embedding: Floats) -> None:
    few = replace(make_vectors(embedding), table=pa.table({"kind": ["a", "b", "c"] * 100}))
    NeighborIndex.build(few, tmp_path / "index")
    longer = replace(few, lat=few.lat + 2)
    for index in (
        NeighborIndex.add(longer, tmp_path / "index"),
        NeighborIndex.open(tmp_path / "index"),
    ):
        assert index.table is not None
        assert (index.table["kind"].num_chunks, len(index.table)) == (1, 600)


def test_vectors_of_another_length_are_not_added(folder: Path, embedding: Floats) -> None:
    with pytest.raises(SearchIndexError, match=r"cannot add to .*do not go together"):
        NeighborIndex.add(make_vectors(embedding[:, :8], north=2), folder)


def test_an_index_that_grows_large_becomes_lists(
    folder: Path, embedding: Floats, large: None
) -> None:
    more = np.random.default_rng(2).standard_normal((1500, 16)).astype(np.float32)
    index = NeighborIndex.add(make_vectors(more, north=2), folder)
    assert isinstance(index._faiss, faiss.IndexIVF)
    lists = index._faiss.nlist
    index = NeighborIndex.add(make_vectors(more[:100] + 5, north=4), folder)
    assert index._faiss.nlist == lists
    assert index.search(more[7] + 5, 1)[0] == [300 + 1500 + 7]
    again = NeighborIndex.open(folder)
    assert (
        again.vector_of(1807).tolist() == index.vector_of(1807).tolist() == (more[7] + 5).tolist()
    )
    longer = NeighborIndex.add(make_vectors(np.tile(more, (5, 1)), north=6), folder)
    assert longer._faiss.nlist > 2 * lists


def test_vectors_of_another_model_are_not_added(folder: Path, embedding: Floats) -> None:
    with pytest.raises(SearchIndexError, match=r"m@0 and of m@1"):
        NeighborIndex.add(make_vectors(embedding, model="m@1"), folder)
    with pytest.raises(SearchIndexError, match="cannot add"):
        NeighborIndex.add(make_vectors(embedding), folder / "nothing")
    assert len(NeighborIndex.open(folder)) == 297


def test_the_vector_of_an_indexed_place_is_known(folder: Path, embedding: Floats) -> None:
    index = NeighborIndex.open(folder)
    for row in (0, 1, 4, 150, 299):
        vector = index.vector(LonLat(index.lon[row], index.lat[row]))
        assert vector is not None
        assert (vector == embedding[row]).all()
        assert (index.vector_of(row) == embedding[row]).all()
    assert index.vector(LonLat(index.lon[5], index.lat[5])) is None  # in no index: it is null
    assert index.vector(LonLat(7.5, 43.7384)) is None
    assert index.vector(LonLat(180.0, 90.0)) is None


def test_the_places_in_a_box(index_folder: Path, vectors: Vectors) -> None:
    index = NeighborIndex.open(index_folder)
    for box in (Box(7.41, 43.73, 7.425, 43.74), Box(7.43, -90, 7.41, 90), Box(0, 0, 1, 1)):
        inside = [
            box.contains(LonLat(*place)) for place in zip(vectors.lon, vectors.lat, strict=True)
        ]
        expected = np.flatnonzero(vectors.inside & inside)
        found = index.ids_in(box)
        assert sorted(found.tolist()) == expected.tolist()
        assert (np.diff(vectors.lat[found]) >= 0).all()
    np.testing.assert_array_equal(index.vectors_of(index.ids), vectors.embedding[vectors.inside])


@pytest.mark.parametrize("lists", [False, True])
def test_searching_keeps_no_threads(
    tmp_path: Path, request: pytest.FixtureRequest, lists: bool
) -> None:
    if lists:
        request.getfixturevalue("large")
    values = np.random.default_rng(3).standard_normal((10_000, 16)).astype(np.float32)
    index = NeighborIndex.build(make_vectors(values), tmp_path / "index")
    with ThreadPoolExecutor(1) as asking:
        # the thread is there
        asking.submit(index.search, values[0], 10, np.zeros(10_000, np.bool_)).result()
        before = threads_of_this_process()
        used = asking.submit(faiss.omp_get_max_threads).result()
        asking.submit(index.search, values[0], 10).result()
        assert threads_come_to(before)
        assert asking.submit(faiss.omp_get_max_threads).result() == used
