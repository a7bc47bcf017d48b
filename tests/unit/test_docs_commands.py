"""Every ``clicktide ...`` of the README and docs/ is a command with options that exist."""

import pytest
import typer
from docs_commands import SHELLS, blocks, inline_commands, words

from clicktide.cli import app

FENCED = [
    (block.page, command)
    for block in blocks()
    if block.kind in SHELLS
    for command in block.commands()
    if command.startswith("clicktide ")
]


@pytest.mark.parametrize("page, command", [*FENCED, *inline_commands()])
def test_the_command_and_its_options_exist(page, command):
    at, arguments = typer.main.get_command(app), words(command)[1:]
    while hasattr(at, "commands") and arguments and arguments[0][0].islower():
        name = arguments.pop(0)
        found = at.get_command(None, name)
        assert found is not None, f"there is no command {name!r}"
        at = found
    known = {option for parameter in at.params for option in parameter.opts}
    known |= {option for parameter in at.params for option in parameter.secondary_opts}
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert given <= known | {"--help"}


def test_no_command_hides_in_a_block_that_is_not_the_shells():
    for block in blocks():
        if block.kind not in SHELLS:
            for line in block.text.splitlines():
                if "─" in line:  # a picture of the flow
                    continue
                assert not line.startswith(("clicktide ", "curl ", "make ", "$ ")), block
