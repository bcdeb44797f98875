"""How a program is run: each executor is a module with `refusal(assignment)` and `launch(...)`."""

from . import process

EXECUTORS = {"process": process}
