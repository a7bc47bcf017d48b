"""Commands that are imported when they are called, not when the command line starts.

Commands, contexts and formatters are Click's, of which Typer has a copy of its own or not, as its
version is: so they have no type here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperGroup

__all__ = ["LazyCommand", "lazy_group"]


class LazyCommand(NamedTuple):
    """Where a command is, and its line in ``clicktide --help``.

    Parameters
    ----------
    panel
        Heading that it stands under.
    place
        ``module:name`` of a function, or of a ``Typer`` with commands of its own.
    purpose
        What it is for.
    """

    panel: str
    place: str
    purpose: str

    def load(self, name: str) -> Any:
        """Import the command."""
        module, _, attribute = self.place.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            group = typer.main.get_command(loaded)
            group.name = name
            return group
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name)(loaded)
        return typer.main.get_command(app)


class _LazyCommands(Mapping[str, Any]):
    def __init__(self, commands: Mapping[str, LazyCommand]) -> None:
        self._commands = commands

    def __getitem__(self, name: str) -> Any:
        return self._commands[name].load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


def lazy_group(commands: Mapping[str, LazyCommand]) -> type[TyperGroup]:
    """Make the class of a group that has these commands, for ``typer.Typer(cls=...)``."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = cast(Any, _LazyCommands(commands))

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Write plain text: drawing it with rich takes longer than all the rest."""
            self.format_usage(ctx, formatter)
            self.format_help_text(ctx, formatter)
            self.format_options(ctx, formatter)
            self.format_epilog(ctx, formatter)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            panels: dict[str, list[tuple[str, str]]] = {}
            for name, command in commands.items():
                panels.setdefault(command.panel, []).append((name, command.purpose))
            widest = max(map(len, commands))
            for panel, rows in panels.items():
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(widest), purpose) for name, purpose in rows])

    return LazyGroup
