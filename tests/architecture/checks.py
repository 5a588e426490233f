"""The checks. Each takes a Tree and yields findings: "path:line: what is wrong"."""

import re
from pathlib import Path

import rules
from source import code_of, functions_of, includes_of

_TYPE_NAME = re.compile(r"\b(?:class|struct|enum(?:\s+class)?)\s+(?:\[\[\w+\]\]\s*)?(\w+)[^;=()]*\{")


class Tree:
    """The project's C++ sources: {path: text}, tests and benchmarks apart from the product."""

    def __init__(self, files, readmes=None):
        self.files = files
        self.readmes = {} if readmes is None else readmes

    @staticmethod
    def read(root):
        root = Path(root)
        files = {}
        for top in rules.TOP_FOLDERS:
            for path in sorted((root / top).rglob("*")):
                if path.suffix in (".h", ".cc"):
                    files[path.relative_to(root).as_posix()] = path.read_text()
        readmes = {}
        for top in rules.TOP_FOLDERS:
            readme = root / top / "README.md"
            readmes[top] = readme.read_text() if readme.is_file() else None
        return Tree(files, readmes)

    def product(self):
        return {path: text for path, text in self.files.items()
                if not path.startswith(("tests/", "bench/"))}


def folder_of(path):
    return path.rpartition("/")[0]


def check_includes(tree):
    """Each folder includes only what its row of the table names, by the path from the root."""
    for path, text in tree.product().items():
        folder = folder_of(path)
        if folder not in rules.INCLUDES:
            yield f"{path}:1: C++ in {folder}/, which has no row in tests/architecture/rules.py"
            continue
        for line, header, is_project in includes_of(text):
            if not is_project:
                continue
            target = folder_of(header)
            if header not in tree.files:
                yield (f'{path}:{line}: "{header}" is no file of this project; expected a path from'
                       " the root, and <> for other libraries")
            elif target != folder and target not in rules.INCLUDES[folder]:
                allowed = ", ".join(sorted(rules.INCLUDES[folder])) or "nothing else"
                yield f'{path}:{line}: {folder}/ may include {allowed}; found "{header}"'


def check_third_party(tree):
    """Third-party headers stand only where the table says; unknown ones nowhere."""
    users = {}  # (library, folder): files, where one .cc is allowed
    for path, text in tree.product().items():
        folder = folder_of(path)
        for line, header, is_project in includes_of(text):
            if is_project or re.fullmatch(r"[a-z_0-9]+", header):
                continue  # ours, or the standard library's
            if re.fullmatch(rules.SYSTEM, header):
                if folder in rules.PURE:
                    yield f"{path}:{line}: {folder}/ is pure; found <{header}>"
                continue
            library = next((row for row in rules.THIRD_PARTY if re.fullmatch(row[1], header)), None)
            if library is None:
                yield f"{path}:{line}: <{header}> has no row in tests/architecture/rules.py"
                continue
            name, _, places = library
            where = places.get(folder)
            if where is None or (where != rules.ANYWHERE and not path.endswith(".cc")):
                allowed = ", ".join(f"{place} of {key}/" for key, place in sorted(places.items()))
                yield f"{path}:{line}: {name} belongs in {allowed}; found <{header}>"
            elif where == rules.ONE_CC:
                users.setdefault((name, folder), {})[path] = line
    for (name, folder), files in users.items():
        if len(files) > 1:
            for path, line in files.items():
                others = ", ".join(sorted(set(files) - {path}))
                yield f"{path}:{line}: {name} belongs in one .cc of {folder}/; also in {others}"


def check_sizes(tree):
    for path, text in tree.product().items():
        limit = rules.HEADER_LINES if path.endswith(".h") else rules.CC_LINES
        lines = text.count("\n")
        if lines > limit:
            yield f"{path}:{limit + 1}: {lines} lines, expected at most {limit}: split it"
        for function in functions_of(text):
            if function.lines > rules.FUNCTION_LINES:
                yield (f"{path}:{function.line}: {function.name} has {function.lines} lines, "
                       f"expected at most {rules.FUNCTION_LINES}")


def check_language(tree):
    for path, text in tree.product().items():
        code = code_of(text)
        banned = list(rules.BANNED_CODE)
        if folder_of(path) in rules.PURE:
            banned += rules.BANNED_IN_PURE
        for pattern, reason in banned:
            for match in re.finditer(pattern, code):
                line = code.count("\n", 0, match.start()) + 1
                yield f"{path}:{line}: found `{match.group(0).strip()}`: {reason}"


def check_headers(tree):
    for path, text in tree.product().items():
        if not path.endswith(".h"):
            continue
        if len(re.findall(r"^#pragma once$", text, re.MULTILINE)) != 1:
            yield f"{path}:1: expected one line #pragma once"
        opening = re.match(r"(?://[^\n]*\n)*", text).group(0).count("\n")
        if opening == 0:
            yield f"{path}:1: expected a comment that says what it is for, who owns it, when it dies"


def check_names(tree):
    for path, text in tree.product().items():
        stem = path.rpartition("/")[2].rpartition(".")[0]
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", stem):
            yield f"{path}:1: expected a snake_case file name"
        code = code_of(text)
        for match in _TYPE_NAME.finditer(code):
            if match.group(1).endswith(rules.VAGUE_SUFFIXES):
                line = code.count("\n", 0, match.start()) + 1
                yield f"{path}:{line}: {match.group(1)}: the suffix says nothing; name what it does"
        yield from _check_namespace(path, code)


def _check_namespace(path, code):
    """A file declares in sluice (gateway/) or in sluice::<top folder>, or inside these."""
    top = path.split("/")[0]
    expected = ["sluice"] if top == "gateway" else ["sluice", top]
    found = re.findall(r"^namespace\s+(sluice[\w:]*)\s*\{", code, re.MULTILINE)

    def fits(namespace):
        parts = namespace.split("::")
        depth = len(expected)
        return parts[:depth] == expected and (
            top != "gateway" or parts[1:2] == [] or parts[1] not in rules.TOP_FOLDERS)

    if found and not any(fits(namespace) for namespace in found):
        yield f"{path}:1: expected namespace {'::'.join(expected)}, found {', '.join(found)}"


def check_readmes(tree):
    for folder, text in tree.readmes.items():
        if text is None:
            yield f"{folder}/README.md: missing: purpose, rule, file map, first file, how to test"
        elif text.count("\n") > rules.README_LINES and folder not in rules.LONG_READMES:
            yield (f"{folder}/README.md: {text.count(chr(10))} lines, expected at most "
                   f"{rules.README_LINES}")


ALL = [check_includes, check_third_party, check_sizes, check_language, check_headers, check_names,
       check_readmes]


def findings(tree):
    return [finding for check in ALL for finding in check(tree)]
