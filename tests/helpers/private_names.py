"""Lists every use of another package's private names in the product; exits with 1 if there is one.

A private name begins with one underscore. An attribute is ours if some file of ours defines it.
Run from the repository's root: ``python tests/helpers/private_names.py``.
"""

import ast
import sys
from pathlib import Path

ROOMS = ("features", "learning", "market", "streaming", "monitoring", "serving", "clicktide")
ALLOWED = {"streaming/log/kafka_faults.py"}
"""Faults of a library that correctness needs worked around; each says which."""
PYTHONS = {"_exit", "_replace", "_asdict", "_fields", "_getframe"}
"""Documented names of Python's own: os._exit, those of named tuples, sys._getframe."""


def private(name):
    """Whether a name is private: one underscore, not two."""
    return name.startswith("_") and not name.startswith("__") and name != "_"


def defined(tree):
    """The private names that a file defines: functions, classes, variables, attributes of self."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                yield node.attr
            case ast.Constant(value=str() as text):  # __slots__, setattr
                yield text
            case ast.alias():
                yield node.asname or ""
            case ast.arg():
                yield node.arg


def imported(tree):
    """Private names in the imports of other packages: line, name."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str() as module) if module.split(".")[0] not in ROOMS:
                for part in [*module.split("."), *(alias.name for alias in node.names)]:
                    if private(part):
                        yield node.lineno, part
            case ast.Import():
                for alias in node.names:
                    if alias.name.split(".")[0] not in ROOMS:
                        yield from ((node.lineno, p) for p in alias.name.split(".") if private(p))


def used(tree):
    """Private names of attributes: line, name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield node.lineno, node.attr


def foreign(root):
    """Uses of names that nobody of ours defines: file, line, name."""
    files = [file for room in ROOMS for file in sorted((root / room).rglob("*.py"))]
    trees = {str(file.relative_to(root)): ast.parse(file.read_bytes()) for file in files}
    ours = {name for tree in trees.values() for name in defined(tree)} | PYTHONS
    return [
        (file, line, name)
        for file, tree in trees.items()
        if file not in ALLOWED
        for line, name in [*imported(tree), *(one for one in used(tree) if one[1] not in ours)]
    ]


if __name__ == "__main__":
    found = foreign(Path.cwd())
    for file, line, name in found:
        print(f"{file}:{line}: {name} is another package's private name")
    sys.exit(bool(found))
