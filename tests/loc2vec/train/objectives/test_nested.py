"""First numbers that learn by themselves, and models cut to them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from first_numbers import main

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import RunError
from loc2vec.model.compute import encode_tiles
from loc2vec.model.folder import load_model
from loc2vec.train.batches import Batches
from loc2vec.train.loop import train
from loc2vec.train.objectives.nested import Nested
from loc2vec.train.objectives.registry import objectives_of
from loc2vec.train.run import Run, TrainConfig
from tests.loc2vec.memory import MemoryDataset

CONFIG = TrainConfig(
    encoder="multiscale", dim=6, options={"hidden": 32}, places=6, pairs=1, steps=3, loss="nce",
    projector=True, heads={"cover": 2.0}, nested=(4, 2),
)  # fmt: skip


def test_first_numbers_have_objectives_of_their_own(tmp_path: Path) -> None:
    run = Run(CONFIG, MemoryDataset(), tmp_path / "run")
    objectives = objectives_of(run)
    names = ["contrastive", "cover", "contrastive_4", "cover_4", "contrastive_2", "cover_2"]
    assert [each.name for each in objectives] == names
    assert [each.weight for each in objectives] == [1, 2, 1, 2, 1, 2]
    vectors = torch.randn(6, 2, 6)
    batch = Batches(run.tiles, CONFIG).batch(0)
    nested = objectives[3]
    assert isinstance(nested, Nested)
    loss = nested(vectors, batch).loss
    changed = torch.cat([vectors[..., :4], torch.randn(6, 2, 2)], -1)
    assert nested(changed, batch).loss == loss
    assert nested(vectors + 1, batch).loss != loss
    assert nested.objective(vectors[..., :4], batch).loss == loss


@pytest.mark.parametrize("size", [6, 7])
def test_as_many_as_all_numbers_are_refused(tmp_path: Path, size: int) -> None:
    run = Run(replace(CONFIG, nested=(size,)), MemoryDataset(), tmp_path / "run")
    with pytest.raises(RunError, match=f"--nested {size} needs vectors of more numbers"):
        train(run, "cpu")
    assert not run.out.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nested") / "run"
    train(Run(CONFIG, MemoryDataset(), out), "cpu")
    return out


def test_a_run_goes_on(trained: Path) -> None:
    longer = replace(CONFIG, steps=4)
    result = train(Run(longer, MemoryDataset(), trained), "cpu", resume=True)
    assert result.finished


def test_a_model_is_cut_to_its_first_numbers(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "short"
    arguments = ["--model", str(trained / "best"), "--numbers", "4", "--out", str(out)]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    whole, short = load_model(trained / "best"), load_model(out)
    tiles = MemoryDataset().tile(0, 1)[None]
    expected = encode_tiles(whole.network, tiles)[:, :4]
    torch.testing.assert_close(
        torch.from_numpy(encode_tiles(short.network, tiles)), torch.from_numpy(expected)
    )
    assert (short.config.name, short.config.options["dim"]) == ("short", 4)
    assert short.config.training["first"] == {"of": whole.model_id, "numbers": 4}
    assert LocationEncoder.load(out, device="cpu").dim == 4
