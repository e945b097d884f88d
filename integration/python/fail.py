"""Runs agent.py until it sends, and fails before or after that."""
import runpy, sys

import contract

send = contract.send


def failing(producer, records):
    if sys.argv[1] == "after":
        send(producer, records)
    raise RuntimeError("fails on purpose")


contract.send = failing
runpy.run_path("agent.py", run_name="__main__")
