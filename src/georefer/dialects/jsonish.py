"""A forgiving reader of JSON as models write it: fences, single quotes, trailing commas, a tail that is cut off.

It is not a JSON parser. It finds every `{...}` in one pass over the tokens and gives its plain fields; work and
depth are bounded by the length of the text, nothing is evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from georefer.dialects.reader import MAX_NUMBERS, MAX_OBJECTS, Reader

STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
"""A JSON string, as it stands in the patterns of strict grammars."""

# a whole row of one or two lists of plain numbers and a plain label is one token, and so is such a list: most of an
# answer is boxes
_LIST_FIELD = r"\"([a-z0-9_]{1,20}+)\"\s{0,9}+:\s{0,9}+\[([0-9]{1,9}+(?:,\s{0,9}+[0-9]{1,9}+){1,7}+)\]"
_ROW = (
    rf"(?P<row>\{{\s{{0,9}}+{_LIST_FIELD}(?:\s{{0,9}}+,\s{{0,9}}+{_LIST_FIELD})?+"
    r"(?:\s{0,9}+,\s{0,9}+\"([a-z]{1,20}+)\"\s{0,9}+:\s{0,9}+\"([ -!#-\[\]-~]{0,200}+)\")?+\s{0,9}+\})"
)
_NEXT_ROW = re.compile(r"\s{0,9}+,\s{0,9}+" + _ROW)
_FIRST_ROW, _LAST_MARK = re.compile(r"[^\[{]*+\[\s{0,9}+" + _ROW), re.compile(r"\s{0,9}+\][^\[{]*+")
# a single quote opens a string only outside a word (it's) and closes one only where a value may end; whatever else
# stands between delimiters is one token, so that no part of 1_000, 10%, 1/2 or 0.1.2 is taken for a number
_TOKEN = re.compile(
    rf"{_ROW}|"
    r"(?P<numbers>\[\s*+[-+]?[0-9]{1,9}(?:\s*+,\s*+[-+]?[0-9]{1,9}){1,7}+\s*+\])|"
    r"""(?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\\n]|\\.|'(?!\s*[,:\]}])){0,500}')"""
    r"|(?P<mark>[{}\[\]:,])|(?P<torn>[\"'][^\n]*)|(?P<plain>[^\s{}\[\]:,\"']++(?:'[^\s{}\[\]:,\"']++)*)"
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,9}(?:\.[0-9]{0,25})?|\.[0-9]{1,25})(?:[eE][-+]?[0-9]{1,2})?")
_OPENING = re.compile(r"[{\[]")
_ESCAPE = re.compile(r'\\(["\'\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
MAX_DEPTH = 8
MAX_TOKENS = 50_000


@dataclass(slots=True)
class Item:
    """One `{...}`: its fields (strings, numbers, lists of such, nested) and where it stands."""

    start: int
    end: int = 0
    complete: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    is_row: bool = False
    """Whether it is a plain row, whose first field is a flat list of numbers."""

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def get(self, key: str) -> Any:
        return self.fields.get(key)

    def text(self, *keys: str) -> str:
        """The first of the keys that holds a string."""
        for key in keys:
            if isinstance(value := self.fields.get(key), str):
                return value.strip()
        return ""

    def number(self, key: str) -> float | None:
        value = self.fields.get(key)
        return value if isinstance(value, float) else None


def items(reader: Reader, start: int = 0, end: int | None = None) -> list[Item]:
    """Every innermost-first-closed `{...}` in reading order; notes the one that the end of the text cuts off.

    An object cut off within a list of numbers loses that list; one cut off later keeps the lists it has.
    """
    parser = _Parser(reader.text, start, len(reader.text) if end is None else end)
    found = parser.run()
    if cut := next((item for item in found if not item.complete), None):
        reader.note("truncated", cut.start, cut.end, f"{reader.quote(cut.start, cut.end)} is cut off")
    elif parser.stack and found:
        reader.note("truncated", found[-1].end, parser.end, "the list has no closing bracket")
    if parser.gave_up is not None:
        reader.too_many(parser.gave_up)
    return [item for item in found if item.complete or item.fields]


def plain_rows(text: str, start: int, end: int) -> list[re.Match[str]] | None:
    """Rows of a text that holds nothing but one closed list of them and prose around it; None for any other text.

    Groups 2 to 7 of a row are the key and the numbers of its first list, those of a second one or None, and the key
    and text of a label or None. `items` finds the same rows and takes longer.
    """
    if (row := _FIRST_ROW.match(text, start, end)) is None:
        return None
    rows = []
    while row is not None:
        rows.append(row)
        row = _NEXT_ROW.match(text, row.end(), end)
    return rows if _LAST_MARK.fullmatch(text, rows[-1].end(), end) else None


def number_list(value: Any) -> list[float] | None:
    """A list of numbers, flattened where a model nested it; None for anything else."""
    if not isinstance(value, list):
        return None
    if set(map(type, value)) <= {float}:
        return value
    flat: list[float] = []
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, list):
            stack.extend(reversed(top))
        elif isinstance(top, float):
            flat.append(top)
        else:
            return None
    return flat


class _Parser:
    """Walks the tokens with a stack of open objects and lists; what does not fit is passed over."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.start, self.end = text, start, end
        self.stack: list[tuple[str, Any]] = []
        self.keys: list[str | None] = []
        self.items: list[Item] = []
        self.gave_up: int | None = None
        """Where reading stopped although the text went on."""

    def run(self) -> list[Item]:
        place = self.start
        tokens = 0
        while tokens < MAX_TOKENS:
            # outside of any bracket is prose, whose apostrophes and inches are no strings
            match = (_TOKEN if self.stack else _OPENING).search(self.text, place, self.end)
            if match is None:
                break
            if len(self.items) > 2 * MAX_OBJECTS:
                self.gave_up = match.start()
                break
            place, kind, token = match.end(), match.lastgroup, match[0]
            tokens += 1
            if kind == "row":
                place, tokens = self._rows(match, tokens)
            elif kind == "mark" or kind is None:
                self._mark(token, match.start(), place)
            elif kind == "numbers":
                self._push("[", list(map(float, token[1:-1].split(","))))
                self._close("[", place)
            elif kind == "string":
                self._value(_unquoted(token))
            elif kind == "torn":
                # a string without an end: what the model meant to say, as far as it got
                self._value(_unquoted(token + token[0]))
            elif _NUMBER.fullmatch(token):
                self._value(float(token))
            else:
                self._value(token.strip("\u201c\u201d\u2018\u2019"))
        else:
            self.gave_up = place
        for item in self.items:
            if not item.complete:
                item.end = self.end
        return self.items

    def _rows(self, match: re.Match[str], tokens: int) -> tuple[int, int]:
        """What `_mark`, `_push`, `_value` and `_close` make of a plain row and of those that follow it in a list.

        Gives where the last ends, and the count of tokens with theirs.
        """
        # the row itself and its list would have stood on the stack
        while len(self.stack) > MAX_DEPTH - 2:
            del self.stack[0], self.keys[0]
        # between two rows is a comma, a token that says nothing in a list
        in_list = bool(self.stack) and self.stack[-1][0] == "["
        more = min((MAX_TOKENS - tokens) // 2, 2 * MAX_OBJECTS - len(self.items)) if in_list else 0
        rows = [match]
        while len(rows) <= more and (following := _NEXT_ROW.match(self.text, rows[-1].end(), self.end)):
            rows.append(following)
        for row in rows:
            key, numbers, other_key, others, label_key, label = row.group(2, 3, 4, 5, 6, 7)
            fields: dict[str, Any] = {key: list(map(float, numbers.split(",")))}
            if other_key is not None:
                fields.setdefault(other_key, list(map(float, others.split(","))))
            if label_key is not None:
                fields.setdefault(label_key, label)
            self.items.append(Item(row.start(1), row.end(), True, fields, True))
        return rows[-1].end(), tokens + 2 * len(rows) - 2

    def _mark(self, mark: str, start: int, end: int) -> None:
        if mark == "{":
            item = Item(start)
            self._push("{", item)
            self.items.append(item)
        elif mark == "[":
            self._push("[", [])
        elif mark == ":" or mark == ",":
            if mark == ":" and self._in_object_list() and self.stack[-1][1] and isinstance(self.stack[-1][1][-1], str):
                # `[1, 2, "label": ...`: the list was never closed, its last string is the next key
                key = self.stack[-1][1].pop()
                self._drop_list()
                self.keys[-1] = key
            if mark == "," and self.stack and self.stack[-1][0] == "{":
                self.keys[-1] = None
        else:
            self._close("{" if mark == "}" else "[", end)

    def _push(self, opening: str, value: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            # deeper than any answer means; the outermost is given up
            del self.stack[0], self.keys[0]
        self.stack.append((opening, value))
        self.keys.append(None)

    def _close(self, opening: str, end: int) -> None:
        if not self.stack or self.stack[-1][0] != opening:
            # `[1, 2}`: the list was never closed, the object is
            if opening == "{" and self._in_object_list():
                self._drop_list()
            else:
                return
        _, value = self.stack.pop()
        self.keys.pop()
        if opening == "{":
            value.end, value.complete = end, True
        elif self.stack:
            self._value(value)

    def _in_object_list(self) -> bool:
        return len(self.stack) > 1 and self.stack[-1][0] == "[" and self.stack[-2][0] == "{"

    def _drop_list(self) -> None:
        """Closes the list that is open, as if its bracket stood there."""
        _, value = self.stack.pop()
        self.keys.pop()
        self._value(value)

    def _value(self, value: Any) -> None:
        """A finished string, number or list: a key, a field, or one more of the list that is open."""
        if not self.stack:
            return
        opening, holder = self.stack[-1]
        if opening == "[":
            if len(holder) < MAX_NUMBERS:
                holder.append(value)
        elif self.keys[-1] is None and isinstance(value, str):
            self.keys[-1] = value
        elif self.keys[-1] is not None:
            holder.fields.setdefault(self.keys[-1], value)
            self.keys[-1] = None


def _unquoted(token: str) -> str:
    if "\\" not in token and token.isascii():
        return token[1:-1]
    text = _ESCAPE.sub(lambda m: _unescaped(m[1]), token[1:-1])
    # two escapes make one character beyond the basic plane; a half of one could not be written to a file
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(code: str) -> str:
    return chr(int(code[1:], 16)) if code[0] == "u" and len(code) == 5 else _ESCAPED.get(code, code)
