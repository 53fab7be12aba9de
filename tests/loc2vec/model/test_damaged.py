"""Model folders that are not whole, or hold more than they should: what is said of each."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from loc2vec.encoders.registry import build
from loc2vec.errors import ModelError
from loc2vec.model.folder import ModelConfig, load_model, model_path, save_model
from loc2vec.model.names import DEFAULT_MODEL
from loc2vec.model.options import model_option
from tiling.files.atomic import sha256_of
from tiling.values import TileGeometry

Alter = Callable[[Path], object]


def config(**values: Any) -> ModelConfig:
    known: dict[str, Any] = {
        "name": "klein-ß",
        "encoder": "loc2vec",
        "options": {"dim": 3},
        "channels": tuple("abcdefghijkl"),
        "geometry": TileGeometry(),
        "fingerprint": "f" * 16,
    }
    return ModelConfig(**known | values)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("loc2vec", dim=3).eval()


@pytest.fixture
def folder(tmp_path: Path, network: torch.nn.Module) -> Path:
    save_model(tmp_path / "klein", network, config())
    return tmp_path / "klein"


def without(key: str) -> Alter:
    def alter(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        del values[key]
        (folder / "config.json").write_text(json.dumps(values))

    return alter


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Alter:
    """Change the tensors of a folder, and write what sum they have."""

    def alter(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors")
        values = json.loads((folder / "config.json").read_text())
        values["sha256"] = sha256_of(folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(values))

    return alter


def first_of(held: dict[str, torch.Tensor]) -> str:
    return next(name for name in held if name.endswith("weight"))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def as_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        *(
            (without(key), f"is no model folder: config.json lacks '{key}'")
            for key in ("options", "geometry", "sha256")
        ),
        *(
            (without(key), f"is no model folder: config.json: {key}: Field required")
            for key in ("name", "encoder", "channels", "fingerprint")
        ),
        (cut, r"model\.safetensors was altered \(SHA-256 [0-9a-f]{12}, expected [0-9a-f]{12}\)"),
        (as_folder, r"model\.safetensors is not a file"),
        (tensors(lambda held: held.pop(first_of(held))), "does not hold the weights of encoder"),
        (tensors(lambda held: held.update(extra=torch.ones(1))), "does not hold the weights"),
        (
            tensors(lambda held: held.update({first_of(held): torch.ones(2, 2)})),
            "does not hold the weights of encoder",
        ),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "is no model folder"),
        (lambda folder: (folder / "config.json").write_text("{"), "is no model folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_told_in_a_line(
    folder: Path, alter: Alter, message: str
) -> None:
    alter(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("x")
    with pytest.raises(ModelError, match=r"no model folder at .*model: give a folder or one of"):
        load_model(tmp_path / "model")


def test_other_files_in_a_folder_are_no_matter(folder: Path) -> None:
    (folder / "README.md").write_text("about")
    assert load_model(folder).config.name == "klein-ß"


def test_a_model_is_known_by_its_name_and_its_weights(folder: Path) -> None:
    model = load_model(folder)
    assert model.model_id == f"klein-ß@{sha256_of(folder / 'model.safetensors')[:12]}"


def test_a_pickled_model_gives_the_same_vectors(folder: Path) -> None:
    model = load_model(folder)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own
    tiles = torch.randint(0, 256, (2, 12, 128, 128), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(model.network(tiles), again.network(tiles))
    assert (again.config, again.sha256) == (model.config, model.sha256)
    assert not again.network.training


def test_the_configuration_is_read_as_it_was_written(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    wide = TileGeometry(wider_m=(200.0,))
    known = config(geometry=wide, training={"steps": 3, "town": "Köln"}, catalogue="[a]\n")
    torch.manual_seed(0)
    save_model(tmp_path / "m", build("loc2vec", 2, dim=3), known)
    read = load_model(tmp_path / "m").config
    assert read.geometry == wide
    assert (read.training, read.catalogue) == (known.training, "[a]\n")
    save_model(tmp_path / "m", network, config())
    assert "catalogue" not in json.loads((tmp_path / "m" / "config.json").read_text())
    assert load_model(tmp_path / "m").config.catalogue is None


def test_more_files_are_saved_with_a_model(tmp_path: Path, network: torch.nn.Module) -> None:
    save_model(tmp_path / "m", network, config(), lambda at: (at / "note.txt").write_text("x"))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
        "note.txt",
    ]


def test_a_model_that_cannot_be_saved_leaves_the_older_one(
    folder: Path, network: torch.nn.Module
) -> None:
    def fail(at: Path) -> None:
        raise OSError("no space")

    before = (folder / "config.json").read_bytes()
    with pytest.raises(OSError, match="no space"):
        save_model(folder, network, config(name="newer"), fail)
    assert (folder / "config.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["klein"]


def test_a_path_is_no_name(tmp_path: Path) -> None:
    assert model_path(Path(DEFAULT_MODEL)) == Path(DEFAULT_MODEL)
    assert model_path(DEFAULT_MODEL).is_dir()
    assert model_path(tmp_path) == tmp_path


def test_commands_take_the_shipped_model_unless_told() -> None:
    @click.command()
    @model_option
    def tell(model: str) -> None:
        click.echo(model)

    assert CliRunner().invoke(tell).output.strip() == DEFAULT_MODEL
    assert CliRunner().invoke(tell, ["--model", "my/own"]).output.strip() == "my/own"
    assert DEFAULT_MODEL in CliRunner().invoke(tell, ["--help"]).output
