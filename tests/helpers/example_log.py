"""Joined examples as the log has them: their lines, and records of some lines each."""

import json

from streaming.log import NewRecord


def example(name, timestamp, fields=None, label=0, *, shown=(), **said):
    """The object of an example; ``shown`` is what more its impression says."""
    impression = {"v": 1, "type": "impression", "impression_id": name, "timestamp": timestamp}
    impression |= {} if fields is None else {"fields": fields}
    impression |= dict(shown)
    return {"v": 1, "type": "example", "label": label, "impression": impression, **said}


def example_line(*given, **said):
    return json.dumps(example(*given, **said), separators=(",", ":")).encode()


def fill(log, topics, lines, per_record=10, partitions=(0,)):
    """Append lines to each topic in one transaction, some to a record."""
    values = [b"\n".join(lines[at : at + per_record]) for at in range(0, len(lines), per_record)]
    with log.producer("fill").transaction() as tx:
        for topic in topics:
            records = [
                NewRecord(None, value, partitions[i % len(partitions)])
                for i, value in enumerate(values)
            ]
            tx.append(topic, records)
