"""The commands that the README and the pages of docs/ tell their reader to paste."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELLS = ("console", "sh", "bash", "shell")
_BLOCK = re.compile(
    r"(?:<!-- tests: (?P<mark>.+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comment above it that says how the tests take it, if one does.

    ``<!-- tests: not pasted: WHY -->``, or ``<!-- tests: the stream is stopped -->``.
    """

    page: str
    line: int
    kind: str
    text: str
    mark: str

    def commands(self):
        """Each with its continuation lines."""
        lines = []
        for line in self.text.splitlines():
            lines.append(line)
            if words("\n".join(lines)) is not None:
                yield "\n".join(lines)
                lines = []
        assert not lines, f"{self.page}:{self.line}: a quote is not closed"


def words(command):
    """Of a shell command, without comments; None while a quote or a backslash leaves it open."""
    try:
        return None if command.endswith("\\") else shlex.split(command, comments=True)
    except ValueError:
        return None


def blocks():
    """All fenced blocks, page after page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for at in _BLOCK.finditer(text):
            line = text.count("\n", 0, at.start("kind")) + 1
            yield Block(page.name, line, at["kind"], at["text"], at["mark"] or "")


def inline_commands():
    """``(page, command)`` of each ``clicktide ...`` within a sentence."""
    for page in PAGES:
        prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        for command in re.findall(r"`(clicktide [^`]+)`", prose):
            yield page.name, " ".join(command.split())
