"""What all questions share: how they are refused, and the kinds of their values."""

from typing import Annotated, Any, Self

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MAX_NEIGHBORS = 1000
MOST_KEYS = 20  # of an object: more than any has

# `tiling.values.check_place` validates ranges, so HTTP and files share one error message.
Degrees = Annotated[float, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=MAX_NEIGHBORS, description="How many neighbours")]
Metres = Annotated[float, Field(ge=0, le=2.1e7, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


LISTS = {"within", "not_within"}  # parameters of a GET that may be repeated


class Query(BaseModel):
    """The parameters of a GET; unknown ones are refused, because they are most likely typos.

    A route reads them by `of` and documents them by `documented`. FastAPI's own way to read a model
    looks at each of its fields, given or not. That takes as long as all else that a route does.
    """

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return what a request asks; raise `RequestValidationError` for what is not valid."""
        given = request.query_params
        values = {name: given.getlist(name) if name in LISTS else given[name] for name in given}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
            raise RequestValidationError(faults) from error

    @classmethod
    def documented(cls) -> dict[str, Any]:
        """Return what a route adds to its part of the OpenAPI schema."""
        schema = cls.model_json_schema()
        required = schema.get("required", ())
        return {
            "parameters": [
                {"name": name, "in": "query", "required": name in required}
                | {"description": about["description"], "schema": about}
                for name, about in schema["properties"].items()
            ]
        }


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
