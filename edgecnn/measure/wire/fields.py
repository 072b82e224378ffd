"""Field types of a probe's messages.

A field that must be there and is wrong is one clear error. What may be absent and cannot be read is None: unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from edgecnn.core.errors import StepError
from edgecnn.core.third_party import sanitize

LONGEST_NAME = 400
MOST_ITEMS = 300
LONGEST_LIST = 2000
MOST_RUNS, MOST_TENSORS, MOST_AXES = 100_000, 64, 16
LARGEST = 1e18
LARGEST_COUNT = 1 << 53

T = TypeVar("T")
M = TypeVar("M", bound="Message")


def bad_answer(device: str, what: str) -> NoReturn:
    raise StepError(
        "bad-answer",
        f"{device} sent {what}",
        why="it is not what the probe of this version says",
        hint="look who else runs on the board, and whether it is the right one",
    )


def problem(error: ValidationError) -> str:
    """The first thing that is wrong, without its value: `layers.0.name: Input should be a valid string`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return sanitize(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def _or_unknown(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:  # NaN is not
        raise ValueError("no number")
    return value


def _text(value: Any) -> str:
    text = sanitize(value) if isinstance(value, str) else ""
    if not text:
        raise ValueError("no text")
    return text


def _readable_items(value: Any, handler: ValidatorFunctionWrapHandler) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for key, item in list(value.items())[:MOST_ITEMS] if isinstance(value, Mapping) else ():
        with contextlib.suppress(ValidationError):
            items.update(handler({sanitize(key): item}))
    return items


def _readable_entries(value: Any, handler: ValidatorFunctionWrapHandler) -> list[Any]:
    entries: list[Any] = []
    for item in value[:LONGEST_LIST] if isinstance(value, list) else ():
        with contextlib.suppress(ValidationError):
            entries.extend(handler([item]))
    return entries


OrUnknown = Annotated[T | None, WrapValidator(_or_unknown), Field(default=None)]
"""A value, or None where it is absent or of another type or size."""
ItemsOf = Annotated[dict[str, T], WrapValidator(_readable_items), Field(default_factory=dict)]
ListOf = Annotated[list[T], WrapValidator(_readable_entries), Field(default_factory=list)]
"""Those of its values that can be read."""
WireNumber = Annotated[float, PlainValidator(_number)]
WireText = Annotated[str, PlainValidator(_text)]
IsTrue = Annotated[bool, PlainValidator(lambda value: value is True)]
Count = Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)]
Positive = Annotated[StrictInt, Field(ge=1, le=LARGEST_COUNT)]
Nanoseconds = Annotated[StrictFloat, Field(ge=0, le=LARGEST_COUNT, allow_inf_nan=False)]
NanosecondSeries = Annotated[tuple[Nanoseconds, ...], Field(max_length=MOST_RUNS)]
WireName = Annotated[StrictStr, AfterValidator(lambda value: sanitize(value, LONGEST_NAME))]
WireTensor = tuple[WireName, Annotated[tuple[Count, ...], Field(max_length=MOST_AXES)]]
WireTensors = Annotated[list[WireTensor], Field(default_factory=list, max_length=MOST_TENSORS)]


class Message(BaseModel):
    """What a probe sends; fields that are not listed are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def read(cls: type[M], raw: object, *, device: str = "the device") -> M:
        """Raises StepError bad-answer for the first required field that is wrong."""
        try:
            return cls.model_validate(dict(raw) if isinstance(raw, Mapping) else {})
        except ValidationError as error:
            bad_answer(device, f"an answer that makes no sense: {problem(error)}")
