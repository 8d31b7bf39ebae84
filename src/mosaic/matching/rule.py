"""What a match must pass to be believed, as a recipe has it; apart from `consensus`, which brings torch."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Rule(BaseModel):
    """What a match must pass; lengths in tokens of the first matcher's grid where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agreement: float = Field(default=1.5, ge=0)  # of where two matchers see a point, in the coarsest's tokens
    cycle: float = Field(default=2.0, ge=0)  # between a point and where its match leads back to
    window: int = Field(default=7, ge=1)  # of the soft-argmax; odd
    temperature: float = Field(default=0.02, gt=0)

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"The window must be an odd number of tokens, not {window}.")
        return window
