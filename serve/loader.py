"""In a replica: from the states of the catalog to a snapshot of loaded models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from policies.bundle import BundlePolicy
from policies.folder import one_line
from serve.catalog import Files, unpacked
from serve.models import Models, ServedModel, ServedVersion
from serve.references import ModelState

log = logging.getLogger(__name__)


class Loader:
    """Keeps what is loaded from one snapshot to the next, so that only what is new costs anything.

    Args:
        fetch: Fetches a bundle's files by its hash.

    Attributes:
        missing: Why bundles of the last snapshot could not be loaded here, by hash.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[Files]]) -> None:
        self._fetch = fetch
        self.missing: dict[str, str] = {}
        self._policies: dict[str, BundlePolicy] = {}
        self._versions: dict[tuple[str, str, str, tuple[str, ...]], ServedVersion] = {}

    async def models(self, number: int, states: Iterable[ModelState], before: Models) -> Models:
        """A snapshot in which everything is loaded and has played its golden observations.

        What cannot be loaded here is left out; a model whose current version cannot be keeps the one it had. Every
        call tries it again: it was sound where the catalog looked at it, and a full disk here may not stay full.

        Args:
            number: Number of the snapshot.
            states: What is to be served.
            before: The snapshot that it will replace.
        """
        states = list(states)
        needed = {digest for state in states for digest in state.versions.values()}
        self.missing = {digest: trouble for digest, trouble in self.missing.items() if digest in needed}
        for digest in needed:
            if digest not in self._policies:
                await self._load(digest)
        models, used = {}, {}
        for state in states:
            versions = {}
            for version, digest in state.versions.items():
                if digest not in self._policies:
                    continue
                aliases = tuple(sorted(alias for alias, number in state.aliases.items() if number == version))
                key = (state.name, version, digest, aliases)
                served = self._versions.get(key) or ServedVersion(*key[:2], self._policies[digest], aliases)
                versions[version] = used[key] = served
            model = _model(state, versions, before.models)
            if model is not None:
                models[state.name] = model
        self._versions = used
        held = {id(version.policy) for model in models.values() for version in model.versions.values()}
        self._policies = {digest: policy for digest, policy in self._policies.items() if id(policy) in held}
        return Models(models, number)

    async def _load(self, digest: str) -> None:
        try:
            files = await self._fetch(digest)
            self._policies[digest] = await asyncio.to_thread(unpacked, files)
        except Exception as error:  # whatever it is, the other bundles are loaded
            if digest not in self.missing:  # said once, not at every try
                log.error("bundle %s cannot be loaded here: %s", digest[:12], one_line(error))
            self.missing[digest] = one_line(error)
        else:
            if self.missing.pop(digest, None) is not None:
                log.info("bundle %s is loaded after all", digest[:12])


def _model(
    state: ModelState, versions: dict[str, ServedVersion], before: Mapping[str, ServedModel]
) -> ServedModel | None:
    """The model as it can be served here; None if it cannot be at all."""
    current = state.current
    aliases = {alias: number for alias, number in state.aliases.items() if number in versions}
    if current not in versions:
        old = before.get(state.name)
        if old is None:
            return None
        current = old.current
        versions.setdefault(current, old.version)
        if state.reference in state.aliases:
            aliases[state.reference] = current
    return ServedModel(
        name=state.name,
        current=current,
        reference=state.reference,
        versions=versions,
        aliases=aliases,
        canary=state.canary,
        shadow=state.shadow,
    )


def local_models(states: Mapping[str, ModelState], bundles: Mapping[str, Files]) -> Models:
    """A snapshot in this process, where there is no other."""

    async def fetch(digest: str) -> Files:
        return bundles[digest]

    return asyncio.run(Loader(fetch).models(1, states.values(), Models()))
