"""Tests of what Ray's workers are given; how they use it is tested in `tests/test_packaging.py`."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.runtime_env.packaging import create_package

import tune.runtime as runtime
from tune.runtime import JOB_VARIABLE, ROOT, add_working_folder, runtime_env

MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def _outside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)


def test_a_checkout_is_the_working_dir() -> None:
    """Outside a job the repository itself is shipped, wherever the run was started."""
    assert runtime_env() == {"working_dir": str(ROOT)}
    assert (ROOT / "envs" / "base.py").is_file()


def test_a_job_has_a_working_dir_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the variable that Ray itself sets in jobs nothing is asked for, modules or not."""
    assert JOB_VARIABLE == RAY_JOB_CONFIG_JSON_ENV_VAR
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    assert runtime_env("no_such_module") == {}


def test_an_install_without_a_checkout_ships_no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed from a wheel, the packages lie among all others, which are not shipped."""
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    assert runtime_env() == {}


@pytest.fixture
def hers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a package, a single module, and a package called like one of ours."""
    for file in ("her_package/__init__.py", "her_package/inner.py", "her_module.py", "tune/__init__.py"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "her_namespace").mkdir()
    (tmp_path / "her_namespace" / "part.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    add_working_folder()
    return tmp_path


@pytest.mark.parametrize(
    ("module", "shipped"),
    [
        ("her_package", "her_package"),
        ("her_package.inner:DOMAIN", "her_package"),
        ("her_module:make", "her_module.py"),
        ("her_namespace.part", "her_namespace"),
    ],
)
def test_a_users_module_is_shipped_by_its_top_level_package(hers: Path, module: str, shipped: str) -> None:
    """A package goes as a folder, a single module as a file."""
    assert runtime_env(module) == {"working_dir": str(ROOT), "py_modules": [str(hers / shipped)]}


def test_what_workers_have_is_not_shipped(hers: Path) -> None:
    """Our own modules, the standard library and installed packages are found anyway; nothing is shipped twice."""
    env = runtime_env("envs.cue:DOMAIN", "json", "numpy.linalg", "sys", "her_module", "her_module:again")
    assert env["py_modules"] == [str(hers / "her_module.py")]


def test_what_a_module_imports_from_its_folder_goes_with_it(hers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An env that is made of several modules in the current folder trains as one in a single file does."""
    (hers / "her_trio.py").write_text("import her_module, her_package.inner")
    __import__("her_trio")
    try:
        shipped = runtime_env("her_trio:DOMAIN")["py_modules"]
    finally:
        for name in ("her_trio", "her_module", "her_package", "her_package.inner"):
            sys.modules.pop(name)
    assert shipped == [str(hers / name) for name in ("her_trio.py", "her_module.py", "her_package")]


def test_a_missing_module_is_named(hers: Path) -> None:
    """A module that cannot be imported from here is one line that says where was looked."""
    with pytest.raises(ValueError, match=rf"^module: got 'nowhere\.env:X', allowed .* from {hers}$"):
        runtime_env("nowhere.env:X")


def test_a_module_called_like_ours_is_refused(hers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Her package would hide ours on the workers if it had our name."""
    ours = hers / "ours"
    (ours / "her_package").mkdir(parents=True)
    monkeypatch.setattr(runtime, "ROOT", ours)
    with pytest.raises(ValueError, match=r"^module: got 'her_package' in .*, allowed is any name but 'her_package'"):
        runtime_env("her_package")


def test_her_folder_comes_last(hers: Path) -> None:
    """The folder a run starts in is searched last and once: its `tune/` does not hide ours."""
    add_working_folder()
    assert sys.path[-1] == str(hers)
    assert sys.path.count(str(hers)) == 1


def test_what_is_large_is_left_behind(tmp_path: Path) -> None:
    """Ray's own packager leaves out everything that `.rayignore` should keep from being uploaded."""
    tree = tmp_path / "tree"
    large = {
        *(
            ".venv/lib.so",
            ".venv-other/lib.so",
            ".git/objects/pack",
            "results/run/weights.pt",
            "mlflow.db",
            "mlflow.db-wal",
            "mlruns/0/m",
        ),
        *("envs/__pycache__/a.pyc", ".mypy_cache/x", "build/lib/envs/a.py", "dist/a.whl", "entrepot.egg-info/PKG-INFO"),
    }
    kept = {"envs/base.py", "rllib_configs/trading_ppo.yaml", "entrepot.py", "envs/results/notes.py", "her_data.csv"}
    for name in large | kept:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    shutil.copy(ROOT / ".rayignore", tree)
    create_package(str(tree), tmp_path / "package.zip", include_gitignore=False)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        files = {name for name in package.namelist() if not name.endswith("/")}
    assert files == kept | {".rayignore"}


def test_the_repository_is_small_once_packed(tmp_path: Path) -> None:
    """The package of this very checkout, virtual environment and results beside it, is less than 10 MiB."""
    create_package(str(ROOT), tmp_path / "package.zip", include_gitignore=True)
    assert (tmp_path / "package.zip").stat().st_size < 10 * MEBIBYTE
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        names = set(package.namelist())
    assert {"envs/base.py", "entrepot.py", "pyproject.toml"} <= names
    assert any(name.startswith("rllib_configs/") and name.endswith(".yaml") for name in names)
    assert not any(name.startswith((".venv/", ".git/", "results/")) for name in names)
