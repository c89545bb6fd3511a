"""A method a call: what peers know, then the rule, then one transaction."""
