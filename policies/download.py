"""From where MLflow keeps a version's files to this machine, within bounds."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from policies.folder import LARGEST, BundleError, check_size

STORES = ("mlflow-artifacts", "s3", "gs", "wasbs", "abfss", "r2", "oss")
"""Stores whose word on a file's size can be taken: the tracking server's own, and the object stores of MLflow."""


def bundle_folder(source: str, aside: Path, tracking_uri: str) -> Path:
    """A folder with the files of a bundle: where they lie, if that is on this machine, else downloaded.

    Whoever registers a version chooses its source. Hence no web server's or other machine's is asked, which could send
    without end, nothing is downloaded before its size is known, and nothing beside the files of a bundle.

    Args:
        source: URI of the version's artifacts.
        aside: Where to download to.
        tracking_uri: The tracking server.

    Raises:
        BundleError: If the source is none that is read, or lacks a file, or has a larger one than a bundle may.
        mlflow.exceptions.MlflowException: If the store does not answer.
    """
    from mlflow.artifacts import download_artifacts, list_artifacts
    from mlflow.utils.file_utils import local_file_uri_to_path

    parts = urlsplit(source)
    if parts.scheme in ("", "file"):
        return Path(local_file_uri_to_path(source))
    ours = parts.netloc in ("", urlsplit(tracking_uri).netloc) or parts.scheme != "mlflow-artifacts"
    if parts.scheme not in STORES or not ours:
        raise BundleError(
            f"bundle: got the source {source[:200]!r}, allowed are folders, and stores of {', '.join(STORES)}"
        )
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # two files need none
    there = {
        PurePosixPath(entry.path).name: entry.file_size
        for entry in list_artifacts(artifact_uri=source, tracking_uri=tracking_uri)
        if not entry.is_dir
    }
    for name in LARGEST:
        size = there.get(name)
        if size is None:
            raise BundleError(f"bundle: cannot read {source[:200]}/{name} (it is not there)")
        check_size(PurePosixPath(source) / name, int(size))
        download_artifacts(artifact_uri=f"{source.rstrip('/')}/{name}", dst_path=str(aside), tracking_uri=tracking_uri)
    return aside
