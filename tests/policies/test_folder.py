"""The folder of a bundle: what is read of it, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.bundle import BundleError, load_bundle
from tests.policies.forging import GRAPH


def test_what_is_no_plain_file_is_not_read(plain: Path) -> None:
    """A pipe that nobody writes to, a device that never ends, and a folder are refused at once, also behind a link."""
    for make in (os.mkfifo, os.mkdir, lambda file: os.symlink("/dev/zero", file)):
        if (plain / GRAPH).is_dir():
            (plain / GRAPH).rmdir()
        else:
            (plain / GRAPH).unlink()
        make(plain / GRAPH)
        with pytest.raises(BundleError, match=r"policy.onnx (is not a plain file|\(Is a directory\))"):
            load_bundle(plain)


def test_links_to_files_are_followed(plain: Path) -> None:
    """Mounted volumes are full of links; what they lead to is held to size and hash like any file."""
    (plain / GRAPH).rename(plain / "elsewhere")
    (plain / GRAPH).symlink_to("elsewhere")
    assert load_bundle(plain, verify=True).name == "plain"
    (plain / GRAPH).unlink()
    (plain / GRAPH).symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(plain)
    with (plain / "elsewhere").open("wb") as stream:
        stream.truncate(10**12)
    (plain / GRAPH).unlink()
    (plain / GRAPH).symlink_to("elsewhere")
    with pytest.raises(BundleError, match=r"has 1000000000000 bytes, allowed are at most 536870912"):
        load_bundle(plain)
