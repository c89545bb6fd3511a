"""`make audit`: asks the services of a running stack whether what they refer to at each other is still there.

Read __main__ (the command line), streams (asks them), report (what is shown, and the exit code).
"""
