"""What several tests of datasets need: a job, what it makes, an object store."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.tiling.dataset.processes import contents
from tiling.dataset.job import TileJob, run_job
from tiling.store.store import Store


@pytest.fixture(scope="module")
def job(request: pytest.FixtureRequest, monaco_store: Path) -> TileJob:
    """The job of a module, which names its options `JOB`."""
    return TileJob((Store.at(monaco_store),), **request.module.JOB)


@pytest.fixture(scope="module")
def undisturbed(job: TileJob, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The dataset of a module's job as a run makes it that nothing stops."""
    out = tmp_path_factory.mktemp("undisturbed") / "tiles"
    run_job(job, out)
    return contents(out)


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """An S3 bucket on this machine; the environment leads there, as it would to another service."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="places")
        yield "s3://places"
    server.stop()
