"""The rules of identity: nouns and states. Pure: no clock, no ID, no I/O."""
