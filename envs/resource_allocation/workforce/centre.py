"""What a service centre is made of: skills that customers call for, and teams that answer, in shifts and on call.

Units: a step is so many minutes, times of day are counted in steps since opening, money in any one currency.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CentreError(ValueError):
    """A centre does not hang together; one line that names the skill or team."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Handling(_Part):
    """How long a call takes once it is answered."""

    mean: Positive = Field(description="Mean [minutes].")
    kind: Literal["exponential", "lognormal"] = Field("exponential", description="Distribution.")
    cv: float = Field(1.0, gt=0, le=2, description="Coefficient of variation of a lognormal one.")

    @model_validator(mode="after")
    def _exponential(self) -> Self:
        if self.kind == "exponential" and self.cv != 1.0:
            raise ValueError(f"cv: got {self.cv:g}, allowed is 1 where handling is exponential")
        return self


class Skill(_Part):
    """Calls of one kind."""

    calls: Positive = Field(description="Calls of a day of level 1, on average.")
    profile: Name = Field(description="How they are spread over the day: one of the centre's profiles.")
    handling: Handling
    patience: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Mean time that callers wait [minutes], exponential; None: any."
    )
    value: Positive = Field(description="What an answered call is worth [currency].")
    penalty: Amount = Field(0.0, description="What a caller who gives up costs beyond that [currency].")
    waiting: Amount = Field(0.0, description="What waiting costs [currency a minute].")
    within: Positive = Field(20.0, description="Time in which a call should be answered [seconds].")


class Shift(_Part):
    """Workers who come and go together."""

    start: int = Field(ge=0, description="First step.")
    length: int = Field(ge=1, description="How long it is [steps].")
    workers: int = Field(ge=1, description="How many work it.")


class Team(_Part):
    """Those who answer calls of one skill, and may learn others."""

    shifts: tuple[Shift, ...] = Field(min_length=1, description="The day's roster.")
    wage: Positive = Field(description="Pay of a worker [currency an hour].")
    on_call: int = Field(0, ge=0, description="Workers who can be called in, each once a day.")
    lead: int = Field(2, ge=1, description="Time until one who is called in is there [steps].")
    stay: int = Field(8, ge=1, description="How long one who was called in stays and is paid for [steps].")
    premium: float = Field(1.5, ge=1, allow_inf_nan=False, description="Pay of one who was called in, over the wage.")
    also: dict[Name, float] = Field(
        default_factory=dict, description="Second skills: how fast calls are handled beside the skill's own team."
    )

    @model_validator(mode="after")
    def _fast_enough(self) -> Self:
        for skill, speed in self.also.items():
            if not 0.05 <= speed <= 2:
                raise ValueError(f"also.{skill}: got {speed:g}, allowed is 0.05 to 2")
        return self


class Centre(_Part):
    """Skills, and a team for each.

    Raises:
        pydantic.ValidationError: If a name is unknown, or a shift or profile does not fit into the day.
    """

    name: Name = Field(description="Name of the centre.")
    step: Positive = Field(15.0, description="Length of a step [minutes].")
    opens: float = Field(8.0, ge=0, lt=24, description="When the day begins [o'clock].")
    profiles: dict[Name, tuple[Amount, ...]] = Field(
        min_length=1, description="How calls are spread over the day's steps [relative], by name; all of one length."
    )
    skills: dict[Name, Skill] = Field(min_length=1, description="Skills by name.")
    teams: dict[Name, Team] = Field(min_length=1, description="Teams, by the skill that is theirs.")

    @property
    def steps(self) -> int:
        """Length of the day [steps]."""
        return len(next(iter(self.profiles.values())))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        lengths = sorted({len(profile) for profile in self.profiles.values()})
        if len(lengths) > 1:
            raise ValueError(f"profiles: got lengths {', '.join(map(str, lengths))}, allowed is one length")
        for name, profile in self.profiles.items():
            if sum(profile) <= 0:
                raise ValueError(f"profiles.{name}: got {sum(profile):g} in all, allowed is above 0")
        for name, skill in self.skills.items():
            _known(f"skills.{name}.profile", skill.profile, self.profiles)
            if name not in self.teams:
                raise ValueError(f"teams: got none for {name!r}, allowed is one for each skill")
        for name, team in self.teams.items():
            _known("teams", name, self.skills)
            for also in team.also:
                _known(f"teams.{name}.also", also, [skill for skill in self.skills if skill != name])
            for place, shift in enumerate(team.shifts):
                if shift.start + shift.length > self.steps:
                    raise ValueError(
                        f"teams.{name}.shifts.{place}: got an end at step {shift.start + shift.length}, "
                        f"allowed is at most {self.steps}, the day's"
                    )
        return self


def _known(key: str, name: str, allowed: Any) -> None:
    if name not in allowed:
        raise ValueError(f"{key}: got {name!r}, allowed are {', '.join(allowed) or 'none'}")
