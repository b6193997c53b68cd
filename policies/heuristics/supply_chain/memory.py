"""What takes long to find out about a task, kept in files: one that comes with Entrepot, and one of the user's own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from envs.supply_chain.config import SupplyConfig, SupplyTask
from policies.files import write_text


class Memory:
    """Entries of one kind.

    Args:
        name: Name of the files.
        how: How entries are found; who finds them in another way has forgotten the old ones.

    Attributes:
        built_in: The file that comes with Entrepot.
    """

    def __init__(self, name: str, how: str) -> None:
        self.name, self.how = name, how
        self.built_in = Path(__file__).with_name(f"{name}.json")

    @property
    def own(self) -> Path:
        """The file of this user."""
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrepot" / f"{self.name}.json"

    def recall(self, config: SupplyConfig, task: SupplyTask) -> dict[str, Any] | None:
        """The entry of a task, None if there is none.

        Args:
            config: As `alone` makes it.
            task: The task.
        """
        key = self.key_of(config, task)
        for file in (self.built_in, self.own):
            known = json.loads(file.read_text()) if file.is_file() else {}
            if key in known:
                found: dict[str, Any] = known[key]
                return found
        return None

    def keep(self, config: SupplyConfig, task: SupplyTask, entry: dict[str, Any], file: Path | None = None) -> None:
        """Adds the entry of a task, to the user's file unless another is given."""
        file = file or self.own
        known = json.loads(file.read_text()) if file.is_file() else {}
        known[self.key_of(config, task)] = {"task": task.name, "network": task.network, **entry}
        write_text(file, json.dumps(known, indent=1, sort_keys=True) + "\n")

    def key_of(self, config: SupplyConfig, task: SupplyTask) -> str:
        """What an entry is known by: all that it depends on."""
        network = config.loaded[task.network or next(iter(config.loaded))]
        settings = {"around", "reach", "smoothing", "longest_delay"}
        if config.forecast != "smoothed":
            settings |= {"forecast", "window", "learned_from", "collaboration"}
        parts = {
            "network": network.model_dump(mode="json", by_alias=True),
            "config": config.model_dump(mode="json", include=settings),
            "task": task.model_dump(mode="json", exclude={"name", "network"}),
            "how": self.how,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def alone(config: SupplyConfig, task: SupplyTask) -> SupplyConfig:
    """A run's config with the task's network only, whose arrays are no larger than it needs."""
    places = dict(zip(config.loaded, config.networks, strict=True))
    name = task.network or next(iter(places))
    return SupplyConfig(**config.model_dump() | {"networks": (places[name],), "action_mode": "continuous"})
