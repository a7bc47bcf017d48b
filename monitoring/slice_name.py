"""The name of a slice in texts."""

from __future__ import annotations

__all__ = ["slice_name"]


def slice_name(field: str, value: str, between: str = " ") -> str:
    """Field and value; a value that begins with its field's name says both.

    Examples
    --------
    >>> slice_name("campaign", "c7"), slice_name("campaign", "campaign-001")
    ('campaign c7', 'campaign-001')
    >>> slice_name("site", ""), slice_name("ad", "adidas", "="), slice_name("", "")
    ('site (empty)', 'ad=adidas', 'everywhere')
    """
    if not field:
        return "everywhere"
    rest = value[len(field) :]
    if value[: len(field)].casefold() == field.casefold() and rest and not rest[0].isalpha():
        return value
    return f"{field}{between}{value or '(empty)'}"
