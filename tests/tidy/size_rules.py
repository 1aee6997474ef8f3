# SPDX-License-Identifier: Apache-2.0
"""Limits on the length of files and functions."""

import ast
import re

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
CODE_SUFFIXES = {".cc", ".h", ".py", ".sh", ".go", ".ts"}

_TYPE = re.compile(r"(?:^|[\s>\])])(?:class|struct|union|enum)\b[^()=]*$|(?:^|\s)enum\b[^()]*$")
_NAMESPACE = re.compile(r"(?:^|\s)(?:namespace\b[^()=]*|extern\s*\"\s*\"\s*)$")
_NOT_A_FUNCTION = re.compile(r"^\s*(?:if|for|while|switch|catch|do|else|try|return)\b")


def file_length(file):
    """A file of code, tests apart, has at most 800 lines."""
    if file.suffix in CODE_SUFFIXES and not file.is_test and len(file.lines) > FILE_LINES_MAX:
        yield FILE_LINES_MAX + 1, f"{len(file.lines)} lines, at most {FILE_LINES_MAX}"


def function_length(file):
    """A function fits a screen: at most 70 lines."""
    if file.is_cpp:
        functions = cpp_functions(file.code)
    elif file.suffix == ".py":
        functions = python_functions(file.text)
    else:
        return
    for name, first, last in functions:
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield first, f"{name} has {last - first + 1} lines, at most {FUNCTION_LINES_MAX}"


def python_functions(text: str):
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno


def _kind(head: str, outer: str) -> str:
    """What a brace opens, from the code before it since the last ; { or }."""
    head = head.strip()
    if outer not in ("namespace", "type"):
        return "block"
    if _NAMESPACE.search(head):
        return "namespace"
    if _TYPE.search(head):
        return "type"
    if "(" in head and not _NOT_A_FUNCTION.match(head):
        return "function"
    return "block"


def cpp_functions(code: str):
    """(name, first line, last line) of each function with a body, from code without comments.

    Braces are counted; a lambda or a block belongs to the function around it.
    """
    # Preprocessor lines may hold half a brace pair.
    code = re.sub(r"^[ \t]*#(?:[^\n\\]|\\[^\n]|\\\n)*", lambda m: "\n" * m[0].count("\n"), code, flags=re.M)
    stack: list[tuple[str, str, int]] = []
    head: list[str] = []
    head_line = line = 1
    parentheses = 0
    for character in code:
        if character == "\n":
            line += 1
        if character == "{":
            outer = stack[-1][0] if stack else "namespace"
            text = "".join(head)
            # A brace within an argument list or a member initialiser's argument is no body.
            kind = "block" if parentheses else _kind(text, outer)
            stack.append((kind, text, head_line))
            if kind != "block" or outer not in ("namespace", "type"):
                head = []
            continue
        if character == "}" and stack:
            kind, text, first = stack.pop()
            if kind == "function":
                yield _name(text), first, line
            if kind != "block" or not stack or stack[-1][0] not in ("namespace", "type"):
                head = []
            continue
        if character == ";" and not parentheses:
            head = []
            continue
        parentheses = max(0, parentheses + (character == "(") - (character == ")"))
        if not head and character.isspace():
            continue
        if not head:
            head_line = line
        head.append(character)


def _name(head: str) -> str:
    match = re.search(r"([\w:~]+|operator\S+)\s*\(", head)
    return match[1] if match else "function"
