"""How a policy's network is built, as typed settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Width = Annotated[int, Field(ge=1, le=65_536)]
DEFAULT_SIZES: dict[str, tuple[int, ...]] = {"pooled": (64,), "flat": (256, 256)}


class NetworkConfig(BaseModel):
    """One actor-critic network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["pooled", "flat"] = Field(
        "pooled",
        description="`pooled`: one small layer shared by all entities, their mean, a trunk, and a head per entity; "
        "`flat`: a plain MLP over the whole observation.",
    )
    hidden_sizes: tuple[Width, ...] | None = Field(
        None, description="Widths of the trunk's layers; if not given, (64,) for `pooled` and (256, 256) for `flat`."
    )
    entity_width: Width = Field(32, description="Width of the layer that entities share (`pooled` only).")
    own_in_entities: bool = Field(
        False, description="Whether the entities' layer also sees the agent's own features (`pooled` only)."
    )
    activation: Literal["tanh", "relu", "silu"] = Field("tanh", description="Nonlinearity after every hidden layer.")
    share_trunk: bool = Field(
        True, description="Whether the critic reads the policy's trunk, or has a network of the same sizes of its own."
    )
    central_critic: bool = Field(
        False, description="Whether the critic also reads the global state (MAPPO); the policy never does."
    )
    messages: Literal["none", "mean", "attention"] = Field(
        "none",
        description="What the agents of a world that play with the same network tell each other between trunk and "
        "head: nothing; messages of which each hears the mean of the others' (CommNet), at a cost linear in agents; or "
        "such that each weighs by attention (TarMAC), at a cost quadratic in them. The critic hears as well.",
    )
    rounds: int = Field(1, ge=1, le=64, description="Rounds of messages in a step, each with weights of its own.")
    message_width: Width = Field(32, description="Width of a message, and of the keys and queries of attention.")
    memory: Literal["none", "gru"] = Field(
        "none",
        description="What an agent keeps in mind from step to step of an episode, between trunk and head: nothing, or "
        "the state of gated recurrent units. The critic remembers as well: what the policy does where they share a "
        "trunk, by units of its own where not.",
    )
    memory_width: Width = Field(64, description="Recurrent units.")
    std: Literal["free", "network"] = Field(
        "free",
        description="`free`: deviations of continuous actions are parameters of their own, in `pooled` shared by all "
        "entities; `network`: they are outputs of the policy head.",
    )
    initial_log_std: float = Field(
        -0.5, allow_inf_nan=False, description="Logarithm of the standard deviation of continuous actions at first."
    )
    log_std_range: tuple[float, float] = Field(
        (-5.0, 1.0), description="Bounds of that logarithm: below them exploration dies, above it is all clipped away."
    )
    policy_gain: float = Field(
        0.01, gt=0, allow_inf_nan=False, description="Gain of the policy head's orthogonal initial weights."
    )
    normalise: bool = Field(True, description="Whether observations are normalised by running statistics.")
    normalise_values: bool = Field(
        True,
        description="Whether the critic learns returns that are standardised by running statistics, so that its loss "
        "weighs the same whatever the rewards' scale; what it puts out is scaled back.",
    )
    clip: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="Bound of normalised features [standard deviations]."
    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the trunk's layers."""
        return DEFAULT_SIZES[self.kind] if self.hidden_sizes is None else self.hidden_sizes

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        if self.hidden_sizes is not None and not self.hidden_sizes:
            raise ValueError("hidden_sizes: got no layer, allowed is one or more")
        if self.memory != "none" and self.messages != "none":
            raise ValueError(f"memory: got {self.memory} with messages {self.messages}, allowed is one of the two")
        low, high = self.log_std_range
        if not low <= self.initial_log_std <= high:
            raise ValueError(f"initial_log_std: got {self.initial_log_std}, allowed is {low} to {high}, log_std_range")
        return self
