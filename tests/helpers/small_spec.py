"""Specs of a few fields, for tests that need some spec."""

from features.spec import CrossSpec, FieldSpec, HashSpec, SourceSpec, Spec


def spec_of(*fields, name="x", label="click", time="", bits=None, pairs=False, **more):
    """A spec whose fields are categories, by name, or what a ``FieldSpec`` says.

    ``time`` is a column in ms; ``bits`` the size of both tables; ``pairs``: all are crossed.
    """
    given = {"source": SourceSpec(label=label, timestamp=time, timestamp_format=time and "ms")}
    if not time:
        given["source"] = SourceSpec(label=label)
    if bits:
        given["hash"] = HashSpec(bits=bits, cross_bits=bits)
    if pairs:
        given["crosses"] = CrossSpec(all_pairs=True)
    known = tuple(FieldSpec(names=(f,)) if isinstance(f, str) else f for f in fields)
    return Spec(name=name, fields=known, **(given | more))
