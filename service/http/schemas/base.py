"""What all questions share: how they are refused, and the kinds of their values."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_NEIGHBORS = 1000
MOST_KEYS = 20  # of an object: more than any has

# `tiling.values.check_place` validates ranges, so HTTP and files share one error message.
Degrees = Annotated[float, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=MAX_NEIGHBORS, description="How many neighbours")]
Metres = Annotated[float, Field(ge=0, le=2.1e7, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Query(BaseModel):
    """The parameters of a GET; unknown ones are refused, because they are most likely typos."""

    model_config = ConfigDict(extra="forbid")


class Body(BaseModel):
    """The body of a POST, or an object in it."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any) -> Any:
        """Refuse thousands of keys at once: an error for each takes too long."""
        if isinstance(value, dict) and len(value) > MOST_KEYS:
            raise ValueError(f"{len(value)} keys: it has at most {len(cls.model_fields)}")
        return value
