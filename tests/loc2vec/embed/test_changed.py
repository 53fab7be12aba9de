"""Vectors brought up to date after an update of their store."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from loc2vec.embed.files import read_vectors
from service.cli.main import main
from tiling.geo.geodesy import ground_distance_m


def run(*arguments: str | Path | int) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_only_the_places_whose_tiles_changed_get_new_vectors(
    slim: str, change_file: Path, model_folder: Path, tmp_path: Path
) -> None:
    before, after, fresh = (tmp_path / f"{name}.parquet" for name in ("before", "after", "fresh"))
    embed = ("embed", "--store", slim, "--model", model_folder, "--workers", 0, "--json")
    box = ("--grid", 100, "--bbox", "7.414,43.728,7.428,43.741")
    run(*embed, *box, "--out", before)
    told = json.loads(run("update", change_file, "--store", slim, "--json"))
    assert (told["went"], told["came"]) == (3, 2)
    facts = json.loads(run(*embed, "--only-changed", before, "--out", after))
    run(*embed, *box, "--out", fresh)
    old, new, anew = read_vectors(before), read_vectors(after), read_vectors(fresh)
    changed = (old.embedding != new.embedding).any(axis=1)
    assert 0 < changed.sum() <= facts["embedded"] < len(old) / 2
    added = ground_distance_m(43.7301, 7.4191, old.lat, old.lon)
    assert changed[added < 90].all(), "around the added building"
    # another batch, other roundings
    np.testing.assert_allclose(new.embedding, anew.embedding, atol=1e-3)
    assert new.embedding[~changed].tobytes() == old.embedding[~changed].tobytes()
    assert (new.store, new.model) == (anew.store, old.model)
    again = json.loads(run(*embed, "--only-changed", after, "--out", after))
    assert again["embedded"] == 0
    assert read_vectors(after).embedding.tobytes() == new.embedding.tobytes()


def test_vectors_of_another_store_or_model_are_refused(
    slim: str, monaco_store: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    point = tmp_path / "point.csv"
    point.write_text("lat,lon\n43.7384,7.4246\n")
    run("embed", "--store", monaco_store, "--model", model_folder, "--points", point, "--out", out)
    for arguments, message in (
        (("--store", slim, "--model", model_folder), "embed all places again"),
        (("--store", monaco_store, "--model", "loc2vec-16"), "are of model fresh-0"),
    ):
        result = CliRunner().invoke(
            main, ["embed", *map(str, arguments), "--only-changed", str(out), "--out", str(out)]
        )
        assert result.exit_code == 2
        assert message in result.stderr
