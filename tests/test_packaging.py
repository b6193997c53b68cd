"""Tests of the six ways in which packages at the top level of a repository can break.

They are numbered in the repository's `docs/ARCHITECTURE.md`, and each test here fails without the cure it names.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

# What the console script does, less the command line: our packages are on the path because they are installed, the
# folder a run is started in is not, until `add_working_folder` puts it last.
DRIVER = """
import json, sys
import ray
from tune.runtime import ROOT, add_working_folder, runtime_env

address, env = sys.argv[1], sys.argv[2]
add_working_folder()
given = {
    "cured": lambda: runtime_env("her_package.env:NUMBER"),
    "bare": lambda: None,
    "second": lambda: {"working_dir": str(ROOT)},
}
try:
    ray.init(address=address, runtime_env=given[env](), logging_level="ERROR", log_to_driver=False)
except ValueError as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit

@ray.remote(num_cpus=0)
def imported():
    found = {}
    try:
        import envs
        found["envs"] = "ours" if hasattr(__import__("envs.base").base, "BatchedEnv") else "hers"
    except ImportError:
        found["envs"] = "hers"
    try:
        from her_package.env import NUMBER
        found["number"] = NUMBER
    except ImportError:
        found["number"] = None
    return found

import envs.base
print(json.dumps(ray.get(imported.remote()) | {"driver": "ours" if hasattr(envs.base, "BatchedEnv") else "hers"}))
"""


@pytest.fixture
def hers(tmp_path: Path) -> Path:
    """A user's folder with a package of hers and an `envs/` of hers."""
    folder = tmp_path / "her_project"
    for name, text in {
        "envs/__init__.py": "",
        "her_package/__init__.py": "",
        "her_package/env.py": "NUMBER = 41",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def address(ray_local: None) -> str:
    """Address of the session's Ray, which other processes can join."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _drive(folder: Path, address: str, env: str, **variables: str) -> dict[str, str]:
    """Runs a driver, installed elsewhere, from a user's folder; what it printed."""
    script = folder.parent / "bin" / "driver.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(DRIVER)
    environment = (
        os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "")} | variables
    )
    run = subprocess.run(
        [sys.executable, script, address, env],
        cwd=folder,
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer: dict[str, str] = json.loads(run.stdout.splitlines()[-1])
    return answer


def test_1_workers_import_our_packages_from_a_folder_that_has_its_own(hers: Path, address: str) -> None:
    """Ray ships the driver's folder, and her `envs/` hides ours; with our runtime environment it does not.

    Where `make` installed the repository, in editable mode, workers find ours even without it.
    """
    installed = any(name.startswith("__editable___entrepot") for name in sys.modules)  # what finds an editable install
    assert _drive(hers, address, "bare") == {
        "driver": "ours",
        "envs": "ours" if installed else "hers",
        "number": 41,
    }
    assert _drive(hers, address, "cured") == {"driver": "ours", "envs": "ours", "number": 41}


def test_2_a_job_does_not_get_a_second_working_dir(hers: Path, address: str) -> None:
    """Ray refuses two working dirs, so under `ray job submit` none is asked for, and the job's is used."""
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": str(ROOT)}, "metadata": {}})}
    assert _drive(hers, address, "cured", **job)["envs"] == "ours"
    assert "working_dir" in _drive(hers, address, "second", **job)["error"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel that setuptools makes of a copy of the repository."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "tests", "docs", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "entrepot.py", "requirements.txt", "LICENSE", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy)
    (copy / "README.md").touch()
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    out = tmp_path_factory.mktemp("wheel")
    run = subprocess.run(
        [sys.executable, "-c", build, out], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        yield archive


def test_3_the_script_alone_finds_the_packages_where_they_are_installed(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """`ray submit` puts `entrepot.py` alone into the home folder: it runs there if the node has installed the repo."""
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    shutil.copy(ROOT / "entrepot.py", home)
    wheel.extractall(site)
    run = subprocess.run(
        [sys.executable, str(home / "entrepot.py"), "envs"],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "trading" in run.stdout


def test_4_every_package_is_in_the_wheel_with_its_data(wheel: zipfile.ZipFile) -> None:
    """Setuptools does not discover several packages by itself: all that are listed are there, and nothing else."""
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "entrepot.py"}
    for package in PACKAGES:
        files = {p.relative_to(ROOT).as_posix() for p in (ROOT / package).rglob("*") if p.suffix in (".py", ".yaml")}
        assert files <= set(names), f"{package}: {sorted(files - set(names))} are not in the wheel"


def test_4_the_script_is_installed_as_a_command(wheel: zipfile.ZipFile) -> None:
    """The wheel installs `entrepot`."""
    points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "entrepot = entrepot:main" in wheel.read(points).decode()


def test_5_test_folders_do_not_hide_packages() -> None:
    """A `tests/tune/__init__.py` would be `tune`: there is none, and pytest imports by path."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
    options = PROJECT["tool"]["pytest"]["ini_options"]
    assert "--import-mode=importlib" in options["addopts"]
    assert options["pythonpath"] == ["."]


@pytest.mark.parametrize("package", PACKAGES)
def test_5_packages_are_ours_while_tests_run(package: str) -> None:
    """Inside pytest every top-level name leads to the repository's package, whatever folders the tests have."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


def _imported(file: Path) -> set[str]:
    """Top-level names that a file imports absolutely."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_6_no_module_hides_a_library_from_its_folder(package: str) -> None:
    """A `tune/mlflow.py` beside a file that imports mlflow hides it from whatever is run in that folder."""
    for file in (ROOT / package).rglob("*.py"):
        beside = {path.stem for path in file.parent.glob("*.py")} | {
            path.parent.name for path in file.parent.glob("*/*.py")
        }
        hidden = beside & _imported(file) - set(PACKAGES)
        if file.parent.name == "plugins":  # a user's own modules, which import each other as hers do
            hidden &= {name for name in hidden if importlib.util.find_spec(name)}
        assert not hidden, f"{file.relative_to(ROOT)} imports {hidden}, which lie beside it"


def test_6_no_package_has_the_name_of_an_installed_one() -> None:
    """None of our top-level names is taken by a library of this environment or by the standard library."""
    theirs = {name for name, owners in packages_distributions().items() if set(owners) != {"entrepot"}}
    assert not {*PACKAGES, "entrepot"} & (theirs | sys.stdlib_module_names)
