"""A partition of a Slurm cluster as one host: what the agent asks Slurm, and what runs on its nodes.

Nothing here needs more than the standard library, since `node` runs on the cluster's own Python.
"""
