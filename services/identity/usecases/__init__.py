"""A method a call: the rule, then one transaction. Identity asks nobody."""
