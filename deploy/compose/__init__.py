"""The stack of `deploy/compose.yaml`: its secrets, starting it, and saying how to call it.

Read    secrets (keys, passwords, certificates), stack (up, down, what `stack.json` says), __main__ (the command line).
"""
