"""What all requests for actions are, in whichever protocol they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from serve.protocol.memory import States, recall, remember
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import Signature

if TYPE_CHECKING:
    from policies.bundle import Inference


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRequest:
    """A request that fits its version.

    Attributes:
        rows: What is asked, by module.
        deterministic: Take the most likely action instead of sampling.
        seed: Seed of the samples; None: any.
        session: Session whose recurrent state goes on; None: none.
        recurrent: Whether a module that is asked has a recurrent state.
        signature: What the version takes and gives.
    """

    rows: dict[str, ModuleRows]
    deterministic: bool
    seed: int | None
    session: str | None
    recurrent: bool
    signature: Signature

    @property
    def num_rows(self) -> int:
        """Rows of all modules together."""
        return sum(len(each.observations) for each in self.rows.values())

    def with_memory(self, states: States | None) -> Self:
        """The request with the recurrent states that its session remembers."""
        return replace(self, rows=recall(self.rows, self.keys(), states, self.signature))

    def memory(self, answers: Mapping[str, Inference]) -> States:
        """What its session is to remember."""
        return remember(self.keys(), answers)

    def keys(self) -> Mapping[str, Sequence[str]]:
        """What each row is remembered by, by module: its number, where it has no better key."""
        return {module: list(map(str, range(len(each.observations)))) for module, each in self.rows.items()}
