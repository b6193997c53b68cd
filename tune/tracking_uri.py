"""Where MLflow keeps its records."""

from __future__ import annotations

from pathlib import Path


def absolute_uri(uri: str) -> str:
    """Makes the path in a SQLite URI absolute: trials run in folders of their own.

    Args:
        uri: Such as `sqlite:///mlflow.db` (relative), `sqlite:////data/mlflow.db` (absolute) or a server's URL.
    """
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or uri == "sqlite:///:memory:":
        return uri
    return f"{prefix}{Path(uri.removeprefix(prefix)).expanduser().absolute()}"
