"""Examples in one pass: from the bytes of the topic to codes of texts, without a copy of each.

What it does not know to read exactly as :class:`streaming.examples.ExampleReader` does, it leaves
to that.
"""

from monitoring.quick.reader import QuickReader, QuickRows

__all__ = ["QuickReader", "QuickRows"]
