"""What the docs ask a service is answered."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from loc2vec.client import Client
from loc2vec.encoder import LocationEncoder
from tests.commands import Block, blocks

LOCAL = "127.0.0.1:8000"
PYTHON = [block for block in blocks("python") if "loc2vec.client" in block.text]
ASKED = [
    (f"{block.page.name}: {words[-1]}", words[-1])
    for block in blocks("console")
    for line in block.text.splitlines()
    if (words := shlex.split(line.removeprefix("$ "), comments=True))[:1] == ["curl"]
]


@pytest.mark.parametrize("url", [url for _, url in ASKED], ids=[name for name, _ in ASKED])
def test_an_url_of_the_docs_is_answered(client: TestClient, url: str) -> None:
    assert url.startswith(LOCAL)
    answer = client.get(url.removeprefix(LOCAL))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_of_the_docs_asks_a_service(
    client: TestClient, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.client.Client", lambda url: Client(url, http=client))
    exec(compile(block.text, str(block), "exec"), {})  # noqa: S102 - our own page


def test_the_vector_of_the_readme_is_that_of_the_default_model(monaco_store: Path) -> None:
    block = next(block for block in blocks("console") if block.page.name == "README.md")
    _, shown, *_ = block.text.split("\n", 1)
    answer = json.loads(shown.partition("\n$")[0])
    with LocationEncoder.load(store=str(monaco_store)) as encoder:
        vector = encoder.encode([(answer["lat"], answer["lon"])])[0]
        assert answer["model"] == encoder.model_id
    np.testing.assert_allclose(answer["embedding"], vector, atol=1e-3)
