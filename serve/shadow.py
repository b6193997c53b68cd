"""Asks the shadow what the served version has just answered, after the answer is sent, and counts how they differ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import numpy as np

from policies.bundle import Inference
from serve.engine import Engine
from serve.metrics import Metrics
from serve.models import ServedVersion
from serve.protocol.rows import ModuleRows

log = logging.getLogger(__name__)

MOST = 32
"""Comparisons under way at once; beyond that the shadow is not asked, for it must not slow down what is served."""


class Shadow:
    """Compares, beside the requests. For the thread of one event loop.

    Only deterministic requests are compared: two samples differ whoever drew them.

    Args:
        engine: What runs the shadow.
        metrics: Where differences are counted.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def compare(
        self,
        version: ServedVersion,
        shadow: ServedVersion,
        rows: Mapping[str, ModuleRows],
        answers: Mapping[str, Inference],
    ) -> None:
        """Asks the shadow the same as soon as there is time.

        Args:
            version: The version that answered.
            shadow: The version to ask.
            rows: What was asked, by module.
            answers: What was answered, by module.
        """
        if len(self._tasks) >= MOST:
            return
        task = asyncio.get_running_loop().create_task(self._compare(version, shadow, dict(rows), answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self,
        version: ServedVersion,
        shadow: ServedVersion,
        rows: Mapping[str, ModuleRows],
        answers: Mapping[str, Inference],
    ) -> None:
        try:
            found = await self._engine.answer(shadow, rows)
            asked, differing, total, size = 0, 0, 0.0, 0
            for module, answer in answers.items():
                off = np.abs(answer.actions - found[module].actions)  # raises where shapes differ
                asked += len(off)
                differing += int((off > 0).any(axis=1).sum())
                total += float(off.sum())
                size += off.size
        except Exception as error:  # another layout, say: the shadow's trouble is nobody else's
            self._metrics.count("entrepot_shadow_failures", version.name, version.version, shadow.version)
            log.debug("shadow %s %s: %s", shadow.name, shadow.version, error)
            return
        self._metrics.observe_shadow(
            version.name, version.version, shadow.version, asked, differing, total / max(1, size)
        )
