"""The OpenAPI description: made from the records that requests and replies are read by."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from serving.problem import MEDIA_TYPE, ProblemBody

__all__ = ["MEANINGS", "Operations"]

_PARAMETER = re.compile(r"^(\w[\w, ]*)\n((?:    .*\n|\n)+)", re.M)
_REF = "#/components/schemas/{name}"
MEANINGS = {
    400: "The body is not JSON, or nests too deeply",
    401: "No bearer token, or a wrong one",
    403: "The token does not allow this",
    404: "There is nothing here",
    405: "Not by this method",
    408: "The body did not come in time",
    409: "It contradicts what is there",
    413: "The body is too large",
    415: "The body is compressed",
    422: "JSON, but not what is due here: `field` names the place",
    429: "Too many requests: come back after `Retry-After` seconds",
    500: "A bug",
    503: "Busy, or not ready yet: come back after `Retry-After` seconds",
}
"""What each refusal means."""


class Operations:
    """Collects the records that an API speaks in, and describes each operation with them.

    Examples
    --------
    >>> class Ping(msgspec.Struct):
    ...     n: int
    >>> operations = Operations()
    >>> description = operations.describe(body=Ping, reply=Ping, refusals=(400,))
    >>> sorted(description["responses"]), sorted(operations.components())
    (['200', '400'], ['Ping', 'ProblemBody'])
    """

    def __init__(self) -> None:
        self._types: list[Any] = [ProblemBody]

    def describe(
        self,
        *,
        body: Any = None,
        reply: Any = None,
        examples: Mapping[str, Any] | None = None,
        refusals: Sequence[int] = (),
        parameters: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Give ``openapi_extra`` of an operation.

        Parameters
        ----------
        body, reply
            Records; ``None``: there is no JSON body.
        examples
            Of the body, by what they show; they work when pasted.
        refusals
            Statuses, of :data:`MEANINGS`.
        parameters
            As OpenAPI has them.
        """
        out: dict[str, Any] = {"responses": {}}
        if body is not None:
            shown = {name: {"value": value} for name, value in (examples or {}).items()}
            schema = {"schema": {"$ref": self._ref(body)}, **({"examples": shown} if shown else {})}
            out["requestBody"] = {"required": True, "content": {"application/json": schema}}
        if reply is not None:
            content = {"application/json": {"schema": {"$ref": self._ref(reply)}}}
            out["responses"]["200"] = {"description": "Done", "content": content}
        for status in refusals:
            out["responses"][str(status)] = self._refusal(status)
        if parameters:
            out["parameters"] = list(parameters)
        return out

    def _ref(self, record: Any) -> str:
        if record not in self._types:
            self._types.append(record)
        return _REF.format(name=record.__name__)

    def _refusal(self, status: int) -> dict[str, Any]:
        problem = {"schema": {"$ref": self._ref(ProblemBody)}}
        return {"description": MEANINGS[status], "content": {MEDIA_TYPE: problem}}

    def components(self) -> dict[str, Any]:
        """Schemas of all records, by name; what their docstrings say stands with each property."""
        _, schemas = msgspec.json.schema_components(self._types, ref_template=_REF)
        for schema in schemas.values():
            _tell(schema)
        return schemas


def _tell(schema: dict[str, Any]) -> None:
    """Take a record's numpydoc apart: what it is, and what each property means."""
    head, _, rest = inspect.cleandoc(schema.get("description", "")).partition("\nParameters\n")
    if head:
        schema["description"] = head.strip()
    for names, text in _PARAMETER.findall(rest + "\n"):
        for name in names.split(", "):
            if name in schema.get("properties", {}):
                schema["properties"][name]["description"] = " ".join(text.split())
