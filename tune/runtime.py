"""What Ray's workers need in order to import this repository's packages, and a user's own module beside them.

The packages are top-level, so a worker could meet others of the same name: Ray puts the folder a run was started in
first on its workers' path, and that folder may hold a user's own `envs/`. A `working_dir` takes that place instead.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in what `ray job submit` runs (`ray._private.runtime_env.constants`); `ray.init` reads it."""

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages."""


def runtime_env(*modules: str) -> dict[str, Any]:
    """The runtime environment to pass to `ray.init`.

    From a checkout (editable installs included), the repository becomes the workers' `working_dir`; its `.rayignore`
    keeps what is large out. A user's modules are shipped beside it by `py_modules`. Inside `ray job submit` the job's
    own `working_dir` already does both and a second one would be an error: nothing is asked for.

    Args:
        modules: Modules the workers must import, such as `her_package.her_env`, with or without `:attribute`, and
            those that they have imported from the same folder. Modules that every node has (installed, or part of this
            repository) are left out.

    Returns:
        A `runtime_env`, empty where nothing is needed.

    Raises:
        ValueError: If a module cannot be found, or has the name of one of this repository's packages.
    """
    if JOB_VARIABLE in os.environ:
        return {}
    env: dict[str, Any] = {}
    if (ROOT / "pyproject.toml").is_file():
        env["working_dir"] = str(ROOT)
    shipped = [path for module in modules if (path := _path_to_ship(module)) is not None]
    if shipped:
        env["py_modules"] = list(dict.fromkeys([*shipped, *_loaded_beside({Path(path).parent for path in shipped})]))
    return env


def add_working_folder() -> None:
    """Lets the main process import a user's modules from the folder it was started in.

    The folder goes last on the path: a user's `envs/` never takes the place of this repository's.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _path_to_ship(module: str) -> str | None:
    """Folder or file of the module's top-level package; None if the workers find it by themselves."""
    name = module.partition(":")[0].partition(".")[0]
    try:
        spec = find_spec(name)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise ValueError(f"module: got {module!r}, allowed is what can be imported from {Path.cwd()}")
    locations = list(spec.submodule_search_locations or ())
    path = Path(locations[0] if locations else str(spec.origin)).resolve()
    if spec.origin in ("built-in", "frozen") or path.parent == ROOT or _installed(path):
        return None
    if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file():
        raise ValueError(f"module: got {module!r} in {path.parent}, allowed is any name but {name!r}, which is ours")
    return str(path)


def _loaded_beside(folders: Collection[Path]) -> list[str]:
    """Files and folders of the modules that are loaded from certain folders."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or "." in name or name == "__main__":
            continue
        path = Path(file).resolve()
        path = path.parent if path.name == "__init__.py" else path
        if path.parent in folders:
            found.append(str(path))
    return sorted(found)


def _installed(path: Path) -> bool:
    """Whether `path` belongs to the interpreter, whose packages every node is expected to have."""
    return any(path.is_relative_to(Path(sysconfig.get_path(key)).resolve()) for key in ("stdlib", "purelib", "platlib"))
