"""The events of the log: versioned JSON in, typed records out, with every refusal named.

``event_schema.json`` beside this file is the one schema (made from the records below);
``docs/events.md`` explains it with samples. Unknown top-level fields are kept in ``extra`` and
written again, so that an older program passes on what a newer one has added.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from features.errors import ClicktideError

__all__ = [
    "MAX_EVENT_BYTES",
    "MAX_ID_LENGTH",
    "MAX_TIMESTAMP_MS",
    "MIN_TIMESTAMP_MS",
    "REASONS",
    "Click",
    "DeadLetter",
    "Event",
    "EventError",
    "Example",
    "Heartbeat",
    "Impression",
    "decode_event",
    "encode_event",
    "encode_example",
    "event_schema",
    "time_of",
]

MAX_EVENT_BYTES = 65_536
"""A larger impression, click or heartbeat is refused (an example or a dead letter may hold one)."""
MOST_ONE_IN = 1_000_000
MAX_ID_LENGTH = 128
"""Characters of an id."""
MIN_TIMESTAMP_MS = 946_684_800_000
"""2000-01-01 UTC: an earlier event time is a missing or a wrongly scaled one."""
MAX_TIMESTAMP_MS = 4_102_444_800_000
"""2100-01-01 UTC."""

REASONS = {
    "event_too_large": f"more than {MAX_EVENT_BYTES} bytes",
    "broken_json": "not JSON in UTF-8",
    "not_an_object": "JSON, but not an object",
    "unsupported_version": "`v` is not 1",
    "unknown_type": "`type` is none of the known ones",
    "missing_field": "a required field is absent",
    "id_length": f"an id is empty or longer than {MAX_ID_LENGTH} characters",
    "timestamp_range": "an event time outside the years 2000 to 2099",
    "probability_range": "`probability` outside 0..1, or `propensity` not in (0, 1]",
    "wrong_type": "a value of another type than the schema's",
}
"""Why :func:`decode_event` refuses an event: stable names, with what they mean."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Timestamp = Annotated[int, Meta(ge=MIN_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Propensity = Annotated[float, Meta(gt=0, le=1)]
_EXTRA = "(unknown fields)"  # msgspec has no field that is outside of JSON; see decode_event
Value = str | int | float | bool | list[str] | None


class EventError(ClicktideError):
    """An event cannot be used.

    Parameters
    ----------
    reason
        One of :data:`REASONS`; counted, and the same for ever.
    detail
        For people: which field, what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"event: {reason}: {detail}. Fix: send JSON as docs/events.md has it")


class _Event(
    msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="type"
):
    """What all events share. Not frozen: freezing doubles the cost of making one."""

    v: Literal[1]
    extra: dict[str, Raw] | UnsetType = msgspec.field(default=UNSET, name=_EXTRA)

    def unknown(self) -> dict[str, Any]:
        """Give the unknown top-level fields, decoded."""
        if self.extra is UNSET:
            return {}
        return {name: msgspec.json.decode(value) for name, value in self.extra.items()}


class Impression(_Event, kw_only=True, tag="impression"):
    """An ad was shown.

    Parameters
    ----------
    impression_id
        Names the impression; its copies are duplicates.
    timestamp
        Event time, ms since 1970 UTC.
    fields
        Raw fields by name, before any transform.
    probability
        The pCTR that was served; null if none was.
    model_version
        The model version that served it.
    propensity
        Probability with which the serving policy showed this ad, for off-policy learning.
    counters
        The counter features that the prediction used, by name.
    """

    impression_id: Id
    timestamp: Timestamp
    fields: dict[str, Value] = {}
    probability: Probability | None = None
    model_version: str | None = None
    propensity: Propensity | None = None
    counters: dict[str, float] | None = None


class Click(_Event, kw_only=True, tag="click"):
    """What a user did with an impression.

    Parameters
    ----------
    impression_id
        The impression's id: joins it.
    timestamp
        Event time of the click, ms since 1970 UTC.
    kind
        ``click``; or ``dismiss``: the user hid the ad, a strong negative.
    """

    impression_id: Id
    timestamp: Timestamp
    kind: Literal["click", "dismiss"] = "click"


class Heartbeat(_Event, kw_only=True, tag="heartbeat"):
    """A publisher's word that event time has come this far, where it has nothing else to send."""

    timestamp: Timestamp


class Example(_Event, kw_only=True, tag="example"):
    """An impression with its label.

    Parameters
    ----------
    label
        1: clicked.
    impression
        The impression; encoded byte for byte as it was received.
    click_timestamp, dismiss_timestamp
        Event times of the first click and the first dismissal, ms; null without one.
    correction
        Whether it amends an earlier example of the same impression, for a late click.
    one_in
        Of the impressions that were not clicked, one in so many has an example: one that was not
        clicked counts for so many.
    """

    label: Annotated[int, Meta(ge=0, le=1)]
    impression: Impression
    click_timestamp: Timestamp | None = None
    dismiss_timestamp: Timestamp | None = None
    correction: bool = False
    one_in: Annotated[int, Meta(ge=1, le=MOST_ONE_IN)] = 1


class DeadLetter(_Event, kw_only=True, tag="dead_letter"):
    """A record that could not be used, as it stood.

    Parameters
    ----------
    reason
        Why: a stable name.
    detail
        For people.
    topic, partition, offset
        Where it stands.
    raw
        Its bytes (base64 in JSON).
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    raw: bytes


class _ExampleWire(Example, kw_only=True, tag="example"):
    """An example whose impression is not yet decoded."""

    impression: Raw  # type: ignore[assignment]


class _Timed(msgspec.Struct):
    timestamp: int


Event = Impression | Click | Heartbeat | Example | DeadLetter
_Wire = Impression | Click | Heartbeat | _ExampleWire | DeadLetter
_TYPES: dict[str, type[_Event]] = {kind.__struct_config__.tag: kind for kind in get_args(_Wire)}
_FIELDS = {
    tag: {field.encode_name for field in msgspec.structs.fields(kind)} | {"type"}
    for tag, kind in _TYPES.items()
}
_MAX_BYTES = {"example": 2 * MAX_EVENT_BYTES, "dead_letter": 8 * MAX_EVENT_BYTES}
_fast: msgspec.json.Decoder[_Wire] = msgspec.json.Decoder(_Wire)
_objects = msgspec.json.Decoder(dict[str, Raw])
_timed = msgspec.json.Decoder(_Timed)
_encoder = msgspec.json.Encoder()


def decode_event(raw: bytes) -> Event:
    """Read an event.

    Parameters
    ----------
    raw
        One JSON object in UTF-8.

    Raises
    ------
    EventError
        It breaks the schema; ``reason`` is one of :data:`REASONS`.

    Examples
    --------
    >>> click = decode_event(
    ...     b'{"v":1,"type":"click","impression_id":"i1","timestamp":1736121600000,"page":7}'
    ... )
    >>> click.kind, click.unknown()
    ('click', {'page': 7})
    """
    try:
        event = _fast.decode(raw)
        if event.extra is not UNSET:  # a field of that very name was sent
            event = _decode_slowly(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        event = _decode_slowly(raw)
    if len(raw) > MAX_EVENT_BYTES:
        limit = _MAX_BYTES.get(str(type(event).__struct_config__.tag), MAX_EVENT_BYTES)
        if len(raw) > limit:
            raise EventError("event_too_large", f"{len(raw)} bytes, at most {limit}")
    if type(event) is not _ExampleWire:
        return event
    shown = decode_event(bytes(event.impression))
    if not isinstance(shown, Impression):
        raise EventError("wrong_type", "`impression` of an example holds another type of event")
    return Example(**{**msgspec.structs.asdict(event), "impression": shown})


def time_of(raw: bytes) -> int | None:
    """The time of any event, ms; ``None`` where there is none, whatever else is wrong.

    Examples
    --------
    >>> time_of(b'{"timestamp": 5}'), time_of(b"{")
    (5, None)
    """
    try:
        return _timed.decode(raw).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def encode_event(event: Event) -> bytes:
    """Write an event, unknown fields included.

    Examples
    --------
    >>> encode_event(Heartbeat(v=1, timestamp=1736121600000))
    b'{"type":"heartbeat","v":1,"timestamp":1736121600000}'
    """
    if isinstance(event, Example):
        shown = Raw(encode_event(event.impression))
        event = _ExampleWire(**{**msgspec.structs.asdict(event), "impression": shown})
    return _with_extra(event)


def encode_example(
    label: int,
    impression: bytes,
    *,
    click_timestamp: int | None = None,
    dismiss_timestamp: int | None = None,
    correction: bool = False,
    one_in: int = 1,
) -> bytes:
    """Write an example around the bytes of its impression, which are not looked at.

    Examples
    --------
    >>> encode_example(0, b'{"v":1}')
    b'{"type":"example","v":1,"label":0,"impression":{"v":1}}'
    """
    if label == 0 and not correction and click_timestamp is dismiss_timestamp is None:
        # as most are, in half the time
        thinned = b'"one_in":%d,' % one_in if one_in > 1 else b""
        return (
            b'{"type":"example","v":1,"label":0,' + thinned + b'"impression":' + impression + b"}"
        )
    return _encoder.encode(
        _ExampleWire(
            v=1,
            label=label,
            impression=Raw(impression),
            click_timestamp=click_timestamp,
            dismiss_timestamp=dismiss_timestamp,
            correction=correction,
            one_in=one_in,
        )
    )


def event_schema() -> dict[str, Any]:
    """Give the JSON Schema of all events: the content of ``event_schema.json``."""
    kinds = get_args(Event)
    _, parts = msgspec.json.schema_components(kinds)
    for part in parts.values():
        part["properties"].pop(_EXTRA, None)
        part["additionalProperties"] = True
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds],
        "$defs": parts,
    }


def _with_extra(event: _Event) -> bytes:
    extra = event.extra
    if extra is UNSET:
        return _encoder.encode(event)
    bare = msgspec.structs.replace(event, extra=UNSET)
    return _encoder.encode({**_objects.decode(_encoder.encode(bare)), **extra})


def _decode_slowly(raw: bytes) -> _Wire:
    """Decode what the fast way refused: find unknown fields to keep, or the reason to refuse."""
    whole = _parse(raw)
    tag = whole.get("type")
    if whole.get("v") != 1 or type(whole.get("v")) is not int:
        raise EventError("unsupported_version", f"`v` is {whole.get('v')!r:.40}, not 1")
    if not isinstance(tag, str) or tag not in _TYPES:
        raise EventError("unknown_type", f"`type` is {tag!r:.40}, not in {', '.join(_TYPES)}")
    parts = _objects.decode(raw)
    fields = {name: parts.pop(name) for name in _FIELDS[tag] & parts.keys() - {_EXTRA}}
    try:
        event = msgspec.json.decode(_encoder.encode(fields), type=_TYPES[tag])
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventError(_reason(_TYPES[tag], whole), str(error)) from error
    if parts:
        event.extra = {name: value.copy() for name, value in parts.items()}
    return event  # type: ignore[return-value]


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > max(_MAX_BYTES.values()):
        raise EventError("event_too_large", f"{len(raw)} bytes")
    try:
        whole = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("broken_json", str(error)) from error
    if not isinstance(whole, dict):
        raise EventError("not_an_object", f"a JSON {type(whole).__name__}")
    return whole


_BOUNDED: tuple[tuple[str, tuple[type, ...], Any, str], ...] = (
    ("impression_id", (str,), Id, "id_length"),
    ("timestamp", (int,), Timestamp, "timestamp_range"),
    ("click_timestamp", (int,), Timestamp, "timestamp_range"),
    ("dismiss_timestamp", (int,), Timestamp, "timestamp_range"),
    ("probability", (int, float), Probability, "probability_range"),
    ("propensity", (int, float), Propensity, "probability_range"),
)
"""Values of which one of a right kind may be refused: why then."""


def _reason(kind: type[_Event], whole: dict[str, Any]) -> str:
    for field in msgspec.structs.fields(kind):
        if field.required and field.encode_name not in whole:
            return "missing_field"
    for name, kinds, bounded, reason in _BOUNDED:
        value = whole.get(name)
        is_kind = isinstance(value, kinds) and not isinstance(value, bool)
        if is_kind and not _fits(value, bounded):
            return reason
    return "wrong_type"


def _fits(value: object, bounded: Any) -> bool:
    try:
        msgspec.convert(value, bounded)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True
