"""Counts the lines of code in the clients, and fails when there are more than the limit given."""

import ast
import io
import sys
import tokenize
from pathlib import Path

PACKAGES = ("bus", "detector", "logger", "processor")
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def lines(source: str) -> tuple[int, int]:
    """Lines of code, without blanks and comments, and lines of docstring."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            docs.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            used.update(range(token.start[0], token.end[0] + 1))
    return len(used - docs), len(docs)


def main(limit: int) -> None:
    """Print one line per package and the total."""
    print(f"{'':10} {'code':>6} {'docstrings':>11}")
    total = 0
    for package in PACKAGES:
        counts = [lines(path.read_text()) for path in Path(package).rglob("*.py")]
        code, docs = sum(code for code, _ in counts), sum(docs for _, docs in counts)
        print(f"{package:10} {code:6} {docs:11}")
        total += code
    print(f"{'total':10} {total:6} {'of ' + str(limit):>11}")
    if total > limit:
        sys.exit(f"the clients have {total} lines of code, more than {limit}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
