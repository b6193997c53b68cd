"""An object store on this machine, for what is kept in storage behind a URI."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator

import pytest

# Set before any Ray is started, whose workers inherit them; whatever the machine has must not be used.
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
for variable in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of an S3 server that forgets everything when it ends."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def new_bucket(object_store: str) -> Callable[[], str]:
    """Makes a bucket; returns the URI of a folder in it."""
    from pyarrow.fs import S3FileSystem

    files = S3FileSystem(endpoint_override=object_store, scheme="http", allow_bucket_creation=True)

    def make() -> str:
        bucket = f"bucket-{secrets.token_hex(4)}"
        files.create_dir(bucket)
        return f"s3://{bucket}/runs?endpoint_override={object_store}&scheme=http"

    return make
