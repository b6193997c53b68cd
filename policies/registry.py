"""Bundles in MLflow's model registry: versions, the alias of the best one, and the way back.

A version's files are the bundle's, as plain artifacts of the run that made it; no flavour of MLflow's is used, because
some of them unpickle. The version that is meant to be served bears the alias `champion`; it passes to a newcomer only
if that one's score beats the champion's on the same evaluation.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.download import bundle_folder
from policies.folder import BundleError, install
from policies.trial import tried

CHAMPION = "champion"
ARTIFACTS = "bundle"
EXPERIMENT = "entrepot-bundles"
_HISTORY = "entrepot.champions"
_CANARY, _SHADOW = "entrepot.canary", "entrepot.shadow"
_SCORE, _LOW, _HIGH, _EVALUATION = "score", "score_low", "score_high", "evaluation"


class RegistryError(ValueError):
    """The registry cannot do what is asked; the message is one line."""


@dataclass(frozen=True)
class Score:
    """How good a policy is, and by which measure.

    Attributes:
        value: The score (0 naive, 1 informed).
        low: Lower end of its confidence interval.
        high: Upper end of its confidence interval.
        evaluation: Name of the evaluation; scores of different ones are not compared.
    """

    value: float
    low: float
    high: float
    evaluation: str

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high)):
            raise RegistryError(f"score: got {self.value}, {self.low} to {self.high}, allowed are finite numbers")
        if not self.evaluation:
            raise RegistryError("evaluation: got no name, allowed is any other")


@dataclass(frozen=True)
class Version:
    """A registered bundle.

    Attributes:
        name: Name of the model.
        version: Its number.
        score: What it scored.
        aliases: Its aliases, `champion` among them if it is the champion.
        tags: All its tags.
    """

    name: str
    version: int
    score: Score
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def champion(self) -> bool:
        """Whether this is the version to be served."""
        return CHAMPION in self.aliases


@dataclass(frozen=True)
class Serving:
    """How a model is to be served.

    Attributes:
        aliases: Numbers of versions by alias.
        canary: Number of the version that gets a share of the requests, if there is one.
        percent: That share, 0 to 100.
        shadow: Number of the version that is asked besides, for comparison, if there is one.
    """

    aliases: Mapping[str, int]
    canary: int | None = None
    percent: float = 0.0
    shadow: int | None = None


class ModelRegistry:
    """MLflow's registry, for bundles.

    Args:
        tracking_uri: `sqlite:///…/mlflow.db`, or a server's URL.
        artifact_root: Folder for artifacts of runs that this registry starts; a server keeps its own if None.
    """

    def __init__(self, tracking_uri: str, artifact_root: str | Path | None = None) -> None:
        from mlflow import MlflowClient  # slow to import, and needed by few

        self.tracking_uri = tracking_uri
        self._artifact_root = None if artifact_root is None else Path(artifact_root).absolute()
        with _one_line("tracking_uri"):
            self._client = MlflowClient(tracking_uri, tracking_uri)

    def register(
        self,
        bundle: str | Path,
        name: str,
        score: Score,
        *,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Version:
        """Registers a bundle as a new version, and makes it the champion if it beats the one it finds.

        Args:
            bundle: The bundle's folder; it is tried (`policies.trial`) before it is sent, and what is sent was tried.
            name: Name of the model.
            score: What it scored.
            run_id: The run that made it; a run of its own if None.
            tags: More tags.

        Raises:
            policies.bundle.BundleError: If the bundle is not sound.
            RegistryError: If the registry does not answer.
        """
        sound = tried(bundle)
        with _one_line("register"), tempfile.TemporaryDirectory() as aside:
            model = self._model(name) or self._client.create_registered_model(name)
            if run_id is None:
                run_id = self._client.create_run(self._experiment(), run_name=f"{name} bundle").info.run_id
                self._client.set_terminated(run_id)
            folder = f"{ARTIFACTS}/{sound.sha256[:16]}"
            self._client.log_artifacts(run_id, str(install(Path(aside) / "bundle", sound.files)), folder)
            created = self._client.create_model_version(
                name,
                f"{self._client.get_run(run_id).info.artifact_uri}/{folder}",
                run_id,
                tags={
                    **(tags or {}),
                    _SCORE: repr(score.value),
                    _LOW: repr(score.low),
                    _HIGH: repr(score.high),
                    _EVALUATION: score.evaluation,
                    "domain": sound.domain,
                    "sha256": sound.sha256,
                },
            )
            version = int(created.version)
            champion = self.champion(name)
            if champion is None or beats(score, champion.score):
                self._crown(name, version, [*self._history(model), version])
        return self.version(name, version)

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, the newest first.

        Raises:
            RegistryError: If there is no such model.
        """
        with _one_line("registry"):
            model = self._known(name)
            found = self._client.search_model_versions(f"name='{name}'")
            return sorted((_described(each, model) for each in found), key=lambda each: -each.version)

    def version(self, name: str, which: int | str) -> Version:
        """One version, by number or alias.

        Raises:
            RegistryError: If there is none.
        """
        with _one_line("registry"):
            return _described(self._found(name, which), self._known(name))

    def champion(self, name: str) -> Version | None:
        """The version to be served, or None if there is none yet."""
        with _one_line("registry"):
            aliases = self._known(name).aliases
        return self.version(name, CHAMPION) if CHAMPION in aliases else None

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Gives a version an alias, which another may lose; `champion` too, whatever the scores say.

        Raises:
            RegistryError: If there is no such version, or the alias is not one that MLflow allows.
        """
        with _one_line("alias"):
            self._found(name, version)
            if alias == CHAMPION:
                self._crown(name, version, [*self._history(self._known(name)), version])
            else:
                self._client.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Takes an alias away from whichever version has it; the history of champions stays.

        Raises:
            RegistryError: If there is no such alias.
        """
        with _one_line("alias"):
            aliases = self._known(name).aliases
            if alias not in aliases:
                allowed = ", ".join(sorted(aliases)) or "none: it has no aliases"
                raise RegistryError(f"alias of {name!r}: got {alias!r}, allowed are {allowed}")
            self._client.delete_registered_model_alias(name, alias)

    def set_canary(self, name: str, version: int, percent: float) -> None:
        """Gives a version a share of the requests that pin none.

        Args:
            name: Name of the model.
            version: Number of the version.
            percent: The share, 0 to 100.

        Raises:
            RegistryError: If there is no such version, or the share is not one.
        """
        if not 0 <= percent <= 100:  # NaN, which compares false, is refused too
            raise RegistryError(f"percent: got {percent:g}, allowed is 0 to 100")
        with _one_line("canary"):
            self._found(name, version)
            self._client.set_registered_model_tag(name, _CANARY, json.dumps({"version": version, "percent": percent}))

    def clear_canary(self, name: str) -> None:
        """Gives all requests back to the version that is served; nothing happens if there is no canary."""
        self._clear(name, _CANARY)

    def set_shadow(self, name: str, version: int) -> None:
        """Has a version asked beside the one that is served, for comparison.

        Raises:
            RegistryError: If there is no such version.
        """
        with _one_line("shadow"):
            self._found(name, version)
            self._client.set_registered_model_tag(name, _SHADOW, json.dumps({"version": version}))

    def clear_shadow(self, name: str) -> None:
        """Has no version asked for comparison any more; nothing happens if there is none."""
        self._clear(name, _SHADOW)

    def serving(self, name: str) -> Serving:
        """How a model is to be served; one question to MLflow, cheap enough to be asked every second.

        Raises:
            RegistryError: If there is no such model, or a tag of it is not what this registry writes.
        """
        with _one_line("registry"):
            model = self._known(name)
            canary, shadow = _tag(model, _CANARY), _tag(model, _SHADOW)
            return Serving(
                {alias: int(version) for alias, version in model.aliases.items()},
                None if canary is None else int(canary["version"]),
                0.0 if canary is None else float(canary.get("percent", 0.0)),
                None if shadow is None else int(shadow["version"]),
            )

    def names(self) -> list[str]:
        """Names of all models."""
        with _one_line("registry"):
            return sorted(model.name for model in self._client.search_registered_models(max_results=1000))

    def rollback(self, name: str) -> Version:
        """Makes the champion before the present one the champion again.

        Raises:
            RegistryError: If there was none, or its version has been deleted.
        """
        with _one_line("rollback"):
            history = self._history(self._known(name))
            if len(history) < 2:
                raise RegistryError(
                    f"rollback: got {name!r}, which has had {len(history)} champions, allowed is 2 or more"
                )
            self._found(name, history[-2])
            self._crown(name, history[-2], history[:-1])
        return self.version(name, CHAMPION)

    def fetch(self, name: str, which: int | str, destination: str | Path) -> Path:
        """Downloads a bundle and tries it (`policies.trial`).

        Args:
            name: Name of the model.
            which: Number or alias of the version.
            destination: The folder to make; an older bundle there is replaced.

        Returns:
            The folder, with the files that were tried.

        Raises:
            RegistryError: If there is no such version, or it cannot be downloaded.
            policies.bundle.BundleError: If what comes is not sound or not what was registered, or cannot be written.
        """
        with tempfile.TemporaryDirectory() as aside, _one_line("fetch"):
            found = self._found(name, which)
            came = tried(bundle_folder(str(found.source), Path(aside), self.tracking_uri))
            expected = found.tags.get("sha256")
            if came.sha256 != expected:
                raise BundleError(
                    f"bundle: {name!r} version {found.version} has sha256 {came.sha256}, expected {expected}"
                )
            return install(Path(destination), came.files)

    # -- what MLflow keeps -----------------------------------------------------------------------------------------

    def _experiment(self) -> str:
        """Id of the experiment that holds the bundles which no training run made."""
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._artifact_root is None else self._artifact_root.as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))

    def _model(self, name: str) -> Any | None:
        """MLflow's entry of a model, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _known(self, name: str) -> Any:
        """MLflow's entry of a model that there must be."""
        model = self._model(name)
        if model is None:
            names = [other.name for other in self._client.search_registered_models(max_results=20)]
            raise RegistryError(f"model: got {name!r}, allowed are {', '.join(names) or 'none: nothing is registered'}")
        return model

    def _found(self, name: str, which: int | str) -> Any:
        """MLflow's entry of a version that there must be."""
        from mlflow.exceptions import MlflowException

        model = self._known(name)
        number = model.aliases.get(which) if isinstance(which, str) and not which.isdecimal() else str(which)
        try:
            if number is not None:
                return self._client.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        numbers = sorted(int(version.version) for version in self._client.search_model_versions(f"name='{name}'"))
        allowed = [*map(str, numbers), *sorted(model.aliases)]
        raise RegistryError(f"version of {name!r}: got {which!r}, allowed are {', '.join(allowed)}")

    def _clear(self, name: str, tag: str) -> None:
        """Deletes a tag of a model, if it has it."""
        with _one_line("registry"):
            if tag in self._known(name).tags:
                self._client.delete_registered_model_tag(name, tag)

    def _history(self, model: Any) -> list[int]:
        """The versions that were champions, the present one last."""
        return [int(version) for version in json.loads(model.tags.get(_HISTORY, "[]"))]

    def _crown(self, name: str, version: int, history: list[int]) -> None:
        """Makes a version the champion."""
        self._client.set_registered_model_alias(name, CHAMPION, str(version))
        self._client.set_registered_model_tag(name, _HISTORY, json.dumps(history))


def _tag(model: Any, tag: str) -> dict[str, Any] | None:
    """A tag of a model that names a version; None if it is not set.

    Raises:
        RegistryError: If it is something else.
    """
    text = model.tags.get(tag)
    if not text:
        return None
    try:
        value = json.loads(text)
        int(value["version"]), float(value.get("percent", 0.0))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RegistryError(f'tag {tag!r} of {model.name!r}: got {text[:60]!r}, allowed is {{"version": 1}}') from None
    return dict(value)


def beats(challenger: Score, champion: Score) -> bool:
    """Whether a score is higher than another of the same evaluation."""
    return challenger.evaluation == champion.evaluation and challenger.value > champion.value


def _described(found: Any, model: Any) -> Version:
    """What MLflow knows of a version, as ours."""
    tags = dict(found.tags)
    missing = [tag for tag in (_SCORE, _LOW, _HIGH, _EVALUATION) if tag not in tags]
    if missing:
        raise RegistryError(
            f"model: got {found.name!r} version {found.version} without the tag {missing[0]!r}, allowed are "
            "registered bundles"
        )
    score = Score(float(tags[_SCORE]), float(tags[_LOW]), float(tags[_HIGH]), tags[_EVALUATION])
    aliases = tuple(sorted(alias for alias, version in model.aliases.items() if int(version) == int(found.version)))
    return Version(found.name, int(found.version), score, aliases, tags)


@contextmanager
def _one_line(doing: str) -> Iterator[None]:
    """Turns what MLflow, its database and the network raise into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RegistryError(f"{doing}: {' '.join(str(error).split())}") from error
