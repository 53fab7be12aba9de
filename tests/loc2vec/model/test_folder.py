import json
import os
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch

from loc2vec.encoders.registry import build
from loc2vec.errors import ModelError
from loc2vec.model.folder import ModelConfig, load_model, model_path, save_model, shipped_names
from tiling.files.atomic import sha256_of
from tiling.values import TileGeometry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = ModelConfig(
        name="small",
        encoder="loc2vec",
        options={"dim": 4},
        channels=tuple("abcdefghijkl"),
        geometry=TileGeometry(),
        fingerprint="0123456789abcdef",
        training={"step": 3},
    )
    torch.manual_seed(0)
    save_model(tmp_path / "models" / "small", build("loc2vec", dim=4), config)
    return tmp_path / "models" / "small"


def test_a_folder_rebuilds_the_model(folder: Path) -> None:
    loaded = load_model(folder)
    torch.manual_seed(0)
    expected = build("loc2vec", dim=4)
    assert loaded.config.options == {"dim": 4, "norm": "batch"}
    assert loaded.config.geometry == TileGeometry()
    assert loaded.config.channels == tuple("abcdefghijkl")
    assert loaded.config.training == {"step": 3}
    assert loaded.sha256 == sha256_of(folder / "model.safetensors")
    assert not loaded.network.training
    state = loaded.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in expected.state_dict().items())


def test_config_explains_itself(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert config["geometry"] == {"size": 128, "radius_m": 100.0}
    assert config["attribution"] == "(c) OpenStreetMap contributors, ODbL"
    assert "MIT" in config["licence"]


def test_saving_again_replaces_the_folder(folder: Path) -> None:
    before = load_model(folder)
    save_model(folder, build("loc2vec", dim=4), before.config)
    assert load_model(folder).sha256 != before.sha256
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_model(folder)


def test_altered_weights_are_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)
    with pytest.raises(ModelError, match="was altered"):
        load_model(folder)


def alter(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"encoder": "mamba"},
            "is of encoder 'mamba', which this version of loc2vec does not have "
            ".*rsan.*vit.*: use the version",
        ),
        ({"options": {"dim": 5}}, "does not hold the weights of encoder"),
        ({"options": {"dim": 10**12}}, "does not hold the weights of encoder|dim"),
        ({"name": 5}, "name: Input should be a valid string"),
        ({"sha256": 5}, "was altered"),
        ({"catalogue": []}, "catalogue"),
        ({"fingerprint": None}, "fingerprint"),
        ({"geometry": {"radius_m": "wide"}}, "geometry"),
        ({"options": {"dim": 4, "depth": 5}}, "depth"),
        ({"options": {}}, "config.json lacks 'dim'"),
        ({"options": 5}, "is no model folder"),
        ({"geometry": {"radius": 5}}, "is no model folder"),
        ({"channels": None}, "is no model folder"),
    ],
)
def test_a_wrong_config_is_an_error_of_one_line(
    folder: Path, values: dict[str, object], message: str
) -> None:
    alter(folder, **values)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"encoder": "loc2vec"}', "\x00"])
def test_a_config_that_is_none_is_an_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match="is no model folder"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_fifo_is_no_part_of_a_model(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=r"no regular file|is not a file"):
        load_model(folder)


def test_weights_that_are_no_safetensors_are_an_error(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"pickle")
    alter(folder, sha256=sha256_of(folder / "model.safetensors"))
    with pytest.raises(ModelError, match="cannot be rebuilt"):
        load_model(folder)


def test_a_name_stands_for_a_shipped_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder.parent.parent / "package"
    shutil.copytree(folder, package / "weights" / "small")
    monkeypatch.setattr(resources, "files", lambda name: package)
    assert shipped_names() == ["small"]
    assert model_path("small") == package / "weights" / "small"
    assert model_path("models/small") == Path("models/small")
    with pytest.raises(
        ModelError, match="no model folder at nothing: give a folder or one of small"
    ):
        load_model(model_path("nothing"))
    shutil.rmtree(package)
    assert shipped_names() == []


def test_weights_are_as_readable_as_other_files(folder: Path) -> None:
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
