"""Names of people and places, as they are kept: in NFC, with something to see, and nothing that only changes how text is shown."""

import unicodedata

JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners: Persian, Hindi and others write words with them, and emoji are joined by one."""
BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Fillers and the empty Braille pattern: letters and symbols by their category, of which nothing is seen."""
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode: control, format (marks of direction, for instance), surrogates, separators of lines and paragraphs."""


def normalised(text: str) -> str:
    """The text as it is kept and compared: in NFC."""
    return unicodedata.normalize("NFC", text)


def problem(name: str) -> str | None:
    """What is wrong with a name, as a sentence for its field; None where it is one."""
    for index, character in enumerate(name):
        if character in JOINERS and _joins(name[index - 1 : index], name[index + 1 : index + 2]):
            continue
        if unicodedata.category(character) in UNSEEN:
            return f"the character U+{ord(character):04X} has no place in a name"
    if not any(unicodedata.category(character)[0] in "LNPS" and character not in BLANK for character in name):
        return "a name has at least one visible character"
    return None


def _joins(before: str, after: str) -> bool:
    """Whether a joiner between these stands within a word, or an emoji."""
    return all(side and unicodedata.category(side)[0] in "LMNS" for side in (before, after))
