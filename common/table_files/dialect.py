"""How a table is written as text: separators, decimal signs, groups of thousands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

GROUPS = "[,. '\u2019\u00a0\u202f]"  # signs between groups of three digits
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_STYLE = re.compile(
    rf"(?P<code>0\d+)|(?P<whole>[+\-\u2212]?\d{{1,18}})|(?P<eitherpoint>[+\-\u2212]?[1-9]\d{{0,2}}\.\d{{3}})"
    rf"|(?P<eithercomma>[+\-\u2212]?[1-9]\d{{0,2}},\d{{3}})|(?P<point>[+\-\u2212]?\d*\.\d+{_EXPONENT})"
    rf"|(?P<comma>[+\-\u2212]?\d*,\d+{_EXPONENT})|(?P<plain>[+\-\u2212]?(?:\d+\.?{_EXPONENT}|inf|infinity|nan))|(?P<truth>true|false)",
    re.IGNORECASE,
)
_STYLES = {
    "code": ("code",), "whole": ("whole",), "eitherpoint": ("either .",), "eithercomma": ("either ,",),
    "point": ("decimal .",), "comma": ("decimal ,",), "plain": ("plain",), "truth": (),
}  # fmt: skip
_GROUPED = re.compile(
    rf"[+\-\u2212]?[1-9]\d{{0,2}}(?P<group>{GROUPS})\d{{3}}(?:(?P=group)\d{{3}})*(?:([.,])\d+{_EXPONENT})?"
)


@dataclass(frozen=True)
class Dialect:
    """How a table is written. What is None is found out from the file.

    Args:
        separator: between the cells of a table of text: a comma, a semicolon, a tab or another character.
        decimal: decimal sign of a table of text, a point or a comma.
        thousands: sign between groups of three digits in a table of text; empty if there is none.
        encoding: encoding of a file of text; a byte-order mark goes before it.
        na_values: further cells that count as empty, such as `n/a` or `-999`, in a table of any format.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str = "utf-8"
    na_values: Sequence[str | int | float] = ()

    def __post_init__(self) -> None:
        named = {"tab": "\t", "comma": ",", "semicolon": ";", "\\t": "\t"}
        object.__setattr__(self, "separator", named.get(self.separator or "", self.separator))
        object.__setattr__(self, "na_values", tuple(map(str, self.na_values)))
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise ValueError(f"a separator is one character; got {self.separator!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"a decimal sign is a point or a comma; got {self.decimal!r}")
        if self.thousands and (len(self.thousands) != 1 or self.thousands.isalnum()):
            raise ValueError(f"a sign of thousands is one character, no letter or digit; got {self.thousands!r}")
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"{self.decimal!r} cannot be the decimal sign and the sign of thousands")

    def __str__(self) -> str:
        names = {",": "commas", ";": "semicolons", "\t": "tabs"}
        parts = [f"cells separated by {names.get(self.separator or '', repr(self.separator))}"]
        parts += ["decimal commas"] if self.decimal == "," else []
        parts += [f"thousands grouped by {self.thousands!r}"] if self.thousands else []
        return ", ".join(parts)

    def number(self, cell: str) -> str:
        """A number's text with a decimal point and without groups of thousands."""
        plain = cell.strip().replace("\u2212", "-")
        if self.thousands:
            plain = plain.replace(self.thousands, "")
        return plain.replace(",", ".") if self.decimal == "," else plain

    def written(self, number: str, grouped: bool = False) -> str:
        """The text of a number with a decimal point as this dialect writes it; inverse of `number`.

        Args:
            number: the text.
            grouped: whether its thousands are grouped.
        """
        whole, point, rest = number.partition(".")
        if grouped and self.thousands and whole.lstrip("+-").isdigit():
            whole = f"{int(whole):,}".replace(",", self.thousands)
        return f"{whole}{',' if point and self.decimal == ',' else point}{rest}"

    def reads(self, cell: str) -> bool:
        """Whether a cell is a number as this dialect writes numbers."""
        signs = {"decimal": (self.decimal,), "thousands": (self.thousands,), "either": (self.decimal, self.thousands)}
        styles = styles_of(cell)
        return bool(styles) and all(s[-1] in signs[s[:-2]] for s in styles if s[:-2] in signs)

    @property
    def empty_numbers(self) -> list[float]:
        """The numbers among `na_values`."""
        dialect = self if self.decimal is not None else replace(self, decimal=".")
        return [float(dialect.number(text)) for text in map(str, self.na_values) if dialect.reads(text)]


def style_of(cell: str) -> str:
    """The style of a cell without spaces around: a group of `_STYLE`, `grouped` or `text`."""
    if (match := _STYLE.fullmatch(cell)) is not None and match.lastgroup is not None:
        return match.lastgroup
    return "grouped" if _GROUPED.fullmatch(cell) else "text"


def styles_of(cell: str) -> tuple[str, ...]:
    """How a number is written: `whole`, `decimal ,`, `thousands .`, or `either ,`, which may be one or the other.

    A number with leading zeros is a `code`. Texts have no style.
    """
    style = style_of(cell)
    if style != "grouped":
        return _STYLES.get(style, ())
    match = _GROUPED.fullmatch(cell)
    assert match is not None
    return f"thousands {match[1]}", *([f"decimal {match[2]}"] if match[2] else [])
