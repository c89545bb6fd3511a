"""What a machine may lack."""


class Absent(Exception):
    """A peer or a tool is not on this machine; the sentence says what is left out, and which package is missing."""
