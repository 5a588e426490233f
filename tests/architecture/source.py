"""Reads C++ just well enough to measure it: code without comments and literals, and functions."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r'//(?:\\\n|[^\n])*'                                 # line comment
    r'|/\*.*?\*/'                                        # block comment
    r'|(?:\b(?:u8|[uUL]))?R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'                              # string
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",             # character, not a digit separator
    re.DOTALL)


def _blank(match):
    text = match.group(0)
    quote = '""' if not text.startswith("/") else ""
    return quote + re.sub(r"[^\n]", " ", text[len(quote):])


def code_of(text):
    """The text with comments and literals blanked; line numbers stay the same."""
    return _TOKEN.sub(_blank, text)


def includes_of(text):
    """(line, header, is_project) of each include."""
    for number, line in enumerate(code_lines_with_strings(text), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


def code_lines_with_strings(text):
    """The lines without block and line comments."""
    def keep_strings(match):
        found = match.group(0)
        return re.sub(r"[^\n]", " ", found) if found.startswith("/") else found
    return _TOKEN.sub(keep_strings, text).split("\n")


@dataclass
class Function:
    name: str
    line: int   # of its opening brace
    lines: int  # from the opening to the closing brace


_PREPROCESSOR = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_TYPE = re.compile(r"^(?:typedef\s+)?(?:class|struct|union|enum)\b")
_SCOPE = re.compile(r"^(?:inline\s+)?namespace\b|^extern\s*\"\"")
_NAME = re.compile(r"(~?[\w:]*\boperator\s*(?:\(\)|[^\s\w(]+|[\w ]+)|~?[\w:]+)\s*$")


def functions_of(text):
    """The functions defined in a file, lambdas and local types being part of their function."""
    code = _PREPROCESSOR.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), code_of(text))
    functions, scopes = [], []  # a scope: [kind, head, opening position]
    head_start = depth = 0
    for position, char in enumerate(code):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == ";" and depth == 0:
            head_start = position + 1
        elif char == "{":
            scopes.append((_kind(scopes, code[head_start:position], depth), head_start, position,
                           depth))
            if scopes[-1][0] != "value":
                head_start, depth = position + 1, 0
        elif char == "}" and scopes:
            kind, head, opening, depth = scopes.pop()
            if kind == "function":
                if _continues(code, position):  # a member initialiser, not the body
                    head_start = head
                    continue
                functions.append(Function(_name(code[head:opening]),
                                          code.count("\n", 0, opening) + 1,
                                          code.count("\n", opening, position) + 1))
            if kind != "value":
                head_start = position + 1
    return functions


def _kind(scopes, head, depth):
    """What a brace opens: "scope", "function", "block" (inside a function) or "value"."""
    if any(scope[0] in ("function", "block") for scope in scopes):
        return "block"
    if depth > 0:
        return "value"
    head = _without_angles(re.sub(r"\b(public|private|protected)\s*:(?!:)", " ", head)).strip()
    head = re.sub(r"^(template\s*|requires\s*\([^)]*\)\s*|\[\[[^]]*\]\]\s*)+", "", head)
    if _SCOPE.match(head) or not head:
        return "scope"
    if _TYPE.match(head) and not re.search(r"\)\s*(const|noexcept|override|final|\s)*$", head):
        return "scope"
    without_operator = re.sub(r"\boperator\s*(\(\)|[^\s\w(]+)", "operator", head)
    if "=" in _top_level(without_operator) or ")" not in head:
        return "value"
    return "function"


def _without_angles(head):
    previous = None
    while previous != head:
        previous, head = head, re.sub(r"(?<![<=-])<[^<>;(){}]*>(?!=)", "", head)
    return head


def _top_level(head):
    previous = None
    while previous != head:
        previous, head = head, re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", head)
    return head


def _continues(code, position):
    following = code[position + 1:position + 400].lstrip()
    return following.startswith((",", "{"))


def _name(head):
    before = _top_level_prefix(head)
    match = _NAME.search(before)
    return match.group(1).strip() if match else " ".join(head.split())[:60]


def _top_level_prefix(head):
    opening = head.find("(")
    if head[:opening].rstrip().endswith("operator"):
        opening = head.find("(", opening + 1)
    return head[:opening].rstrip()
