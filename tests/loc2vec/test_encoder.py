import copy
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.errors import DeviceError, ExtraError, InputError, ModelError
from loc2vec.model.compute import pick_device
from loc2vec.model.folder import ModelConfig, load_model, save_model
from tests.threads import threads_come_to, threads_of_this_process
from tiling.errors import FingerprintError, OutsideError, PlaceError
from tiling.values import LonLat, TileGeometry

FINGERPRINT = "0123456789abcdef"


class Renderer:
    """Renders tiles that only the place decides."""

    fingerprint = FINGERPRINT

    def require(self, place: LonLat) -> None:
        pass

    def north_up(self, places: Sequence[LonLat]) -> NDArray[np.uint8]:
        seeds = [(round((p.lat + 90) * 1e6), round((p.lon + 180) * 1e6)) for p in places]
        return np.stack(
            [np.random.default_rng(s).integers(0, 256, (12, 128, 128), np.uint8) for s in seeds]
        )

    def close(self) -> None:
        pass


class North(Renderer):
    """Covers the northern half of the world."""

    def require(self, place: LonLat) -> None:
        if place.lat < 0:
            raise OutsideError(f"{place} is south of the map data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "test-16"
    torch.manual_seed(0)
    network = build("loc2vec")
    tiles = torch.randint(0, 256, (8, 12, 128, 128), dtype=torch.uint8)
    network(tiles)  # so that the running statistics are not the first ones
    config = ModelConfig(
        "test-16", "loc2vec", {"dim": 16}, tuple("abcdefghijkl"), TileGeometry(), FINGERPRINT
    )
    save_model(path, network, config)
    return path


@pytest.fixture
def encoder(folder: Path) -> LocationEncoder:
    return LocationEncoder(load_model(folder), Renderer(), "cpu")


@pytest.fixture
def tiles() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 12, 128, 128), np.uint8)


def test_facts(encoder: LocationEncoder, folder: Path) -> None:
    assert (encoder.dim, encoder.name, encoder.fingerprint) == (16, "test-16", FINGERPRINT)
    name, _, digest = encoder.model_id.partition("@")
    assert name == "test-16"
    assert len(digest) == 12
    assert LocationEncoder.load(str(folder), device="cpu").model_id == encoder.model_id


def test_one_gives_a_vector_and_many_a_matrix_in_order(
    encoder: LocationEncoder, tiles: NDArray[np.uint8]
) -> None:
    matrix = encoder.encode(tiles)
    assert matrix.shape == (5, 16)
    assert matrix.dtype == np.float32
    one = encoder.encode(tiles[3])
    assert one.shape == (16,)
    np.testing.assert_allclose(one, matrix[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(tiles[::-1]), matrix[::-1], rtol=1e-4, atol=1e-5)


def test_read_only_tiles(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> None:
    tiles.flags.writeable = False
    assert encoder.encode(tiles[0]).shape == (16,)


def test_same_input_same_bits(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> None:
    assert np.array_equal(encoder.encode(tiles), encoder.encode(tiles))


def test_batches_do_not_matter(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(
        encoder.encode(tiles, batch_size=2), encoder.encode(tiles), rtol=1e-4, atol=1e-5
    )


def test_the_cpu_encodes_few_tiles_at_once(
    encoder: LocationEncoder, tiles: NDArray[np.uint8]
) -> None:
    sizes = []
    encoder._network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    encoder.encode(np.repeat(tiles, 8, axis=0))
    encoder.encode([(43.7, 7.4)] * 20)
    assert sizes == [16, 16, 8, 16, 4]


def test_places_are_drawn_and_encoded_in_order(encoder: LocationEncoder) -> None:
    pairs = [(43.7, 7.4), (60.1, 24.9), (-33.8, 151.2)]
    matrix = encoder.encode(pairs, batch_size=2)
    drawn = Renderer().north_up([LonLat(*pair[::-1]) for pair in pairs])
    np.testing.assert_allclose(matrix, encoder.encode(drawn), rtol=1e-4, atol=1e-5)
    assert encoder.encode((43.7, 7.4)).shape == (16,)
    np.testing.assert_allclose(encoder.encode((60.1, 24.9)), matrix[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "same", [LonLat(7.4, 43.7), [43.7, 7.4], np.array([43.7, 7.4]), np.array([43.7, 7.4]).tolist()]
)
def test_a_place_may_be_written_in_several_ways(encoder: LocationEncoder, same: Any) -> None:
    assert np.array_equal(encoder.encode(same), encoder.encode((43.7, 7.4)))


def test_an_array_of_places(encoder: LocationEncoder) -> None:
    pairs = np.array([[43.7, 7.4], [60.1, 24.9]])
    assert np.array_equal(encoder.encode(pairs), encoder.encode([(43.7, 7.4), (60.1, 24.9)]))


def test_nothing_gives_an_empty_matrix(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> None:
    assert encoder.encode([]).shape == encoder.encode(tiles[:0]).shape == (0, 16)


def test_coordinates_are_checked(encoder: LocationEncoder) -> None:
    with pytest.raises(PlaceError, match="swapped"):
        encoder.encode((151.2, -33.8))
    with pytest.raises(PlaceError, match="finite"):
        encoder.encode([(43.7, 7.4), (float("nan"), 7.4)])


def test_coordinates_need_a_renderer(folder: Path) -> None:
    with pytest.raises(InputError, match="renderer"):
        LocationEncoder.load(folder, device="cpu").encode((43.7, 7.4))


def test_places_outside_the_source_are_refused(folder: Path) -> None:
    encoder = LocationEncoder(load_model(folder), North(), "cpu")
    assert encoder.encode((43.7, 7.4)).shape == (16,)
    with pytest.raises(OutsideError, match="south"):
        encoder.encode([(43.7, 7.4), (-33.8, 151.2)])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((12, 64, 64), np.uint8),
        np.zeros((2, 3, 128, 128), np.uint8),
        np.zeros((12, 128, 128), np.float32),
        np.zeros((1, 1, 12, 128, 128), np.uint8),
        [(1.0, 2.0, 3.0)],
        [43.7],
        [None],
    ],
)
def test_anything_else_is_refused(encoder: LocationEncoder, wrong: Any) -> None:
    with pytest.raises(
        InputError, match=r"tiles must be uint8 \[n, 12, 128, 128\]|neither a \(lat, lon\) pair"
    ):
        encoder.encode(wrong)


def test_a_renderer_of_other_tiles_is_refused(folder: Path) -> None:
    other = Renderer()
    other.fingerprint = "other"
    with pytest.raises(FingerprintError, match="model test-16"):
        LocationEncoder(load_model(folder), other)


def test_a_missing_model_is_an_error() -> None:
    with pytest.raises(ModelError, match="no model folder at nowhere"):
        LocationEncoder.load("nowhere")


def test_similarity_is_minus_the_distance(encoder: LocationEncoder) -> None:
    a, b = np.eye(3, 4, dtype=np.float32) * 3, np.array([[3, 4, 0, 0]], np.float32)
    expected = np.array([[-4], [-(10**0.5)], [-(34**0.5)]])
    assert encoder.similarity(a, b).dtype == np.float32
    np.testing.assert_allclose(encoder.similarity(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(encoder.similarity(a[0], b[0]), [[-4]])
    near = np.array([[1000, 0, 0, 0.01]], np.float32)
    np.testing.assert_allclose(
        encoder.similarity(near, near * np.array([1, 1, 1, 2], np.float32)), [[-0.01]], rtol=1e-4
    )
    with pytest.raises(InputError, match="4 and of 3 numbers"):
        encoder.similarity(a, b[:, :3])


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(DeviceError, match="'tpu3' is not usable here"):
        pick_device("tpu3")
    with pytest.raises(DeviceError, match="try cpu"):
        pick_device("cuda:99")


def test_fast_encoding_is_one_percent_off(folder: Path, tiles: NDArray[np.uint8]) -> None:
    exact, fast = (LocationEncoder.load(folder, device="cpu", fast=way) for way in (False, True))
    expected, vectors = exact.encode(tiles), fast.encode(tiles)
    off = np.linalg.norm(vectors - expected) / np.linalg.norm(expected)
    assert 0 < off < 0.02
    assert (fast.encode(tiles[0]) == copy.copy(fast).encode(tiles[0])).all()
    with ThreadPoolExecutor(2) as threads:
        for several in threads.map(fast.encode, [tiles] * 4):
            np.testing.assert_array_equal(several, vectors)


def test_openvino_tells_nobody_and_closes_nothing() -> None:
    """Also where its user has put something in the place of the standard error, as pytest does."""
    code = (
        "import io, logging, sys; from loc2vec.model.fast import load_openvino\n"
        "held = sys.stderr = io.StringIO(); load_openvino()\n"
        "sys.stderr = sys.__stderr__; logging.shutdown()\n"
        "from openvino.tools.ovc import telemetry; print(type(telemetry).__module__, held.closed)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub False"


def test_fast_encoding_names_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"openvino: pip install 'loc2vec\[fast\]'"):
        LocationEncoder.load(folder, device="cpu", fast=True)


@pytest.mark.gpu
def test_gpu_agrees_with_the_cpu(folder: Path, tiles: NDArray[np.uint8]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_cpu, on_gpu = (
        LocationEncoder.load(folder, device=name).encode(tiles) for name in ("cpu", "cuda")
    )
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)


def test_a_cell_is_its_middle(encoder: LocationEncoder) -> None:
    cell = "8a3969a41d37fff"
    middle = encoder.encode((43.738373201300114, 7.424489829673448))
    assert (encoder.encode(cell) == middle).all()
    two = encoder.encode([cell, (43.738373201300114, 7.424489829673448)])
    assert (two[0] == two[1]).all()
    for wrong in ("8a3969a41d37ff0", "43.7,7.4", [cell, ""]):
        with pytest.raises(PlaceError, match="no H3 cell"):
            encoder.encode(wrong)


def test_loading_keeps_no_threads(folder: Path) -> None:
    with ThreadPoolExecutor(1) as loading:
        loading.submit(int).result()  # the thread is there
        before = threads_of_this_process()
        loading.submit(LocationEncoder.load, folder).result()
        assert threads_come_to(before)
