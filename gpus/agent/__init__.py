"""The agent that runs on GPU hosts: it imports neither Django nor anything else of this project."""

VERSION = "0.1.0"
