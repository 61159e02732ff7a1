"""A setting as faces show it: light to import, unlike the schema that it is generated from."""

from __future__ import annotations

from typing import NamedTuple


class SettingHelp(NamedTuple):
    """What help says of a setting. `option` is pytest's name for it without the prefix, None where it has none.

    `metavar` stands for the value, empty for a switch; `default` is as a settings file writes it.
    """

    option: str | None
    metavar: str
    default: str
    description: str

    def help(self, more: str = "", *, default: bool = True) -> str:
        """The description and what is said `more`, with the default unless that is no value, or a switch's."""
        shown, value = default and self.metavar and self.default != "null", self.default.strip('"')
        text = self.description.replace("; null: ", "; by default: ")  # `null` is a word of settings files
        return f"{text}{more} (default: {value})" if shown else f"{text}{more}"
