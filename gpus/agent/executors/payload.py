"""What every executor takes: a command or a script, and an environment."""

from __future__ import annotations

from pathlib import Path

from ..protocol import Assignment

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def refusal(assignment: Assignment) -> str | None:
    """Say in a sentence why this payload cannot be run; None when it can."""
    command, script = assignment.payload.get("command"), assignment.payload.get("script")
    if (command is None) == (script is None):
        return "The payload needs either a command or a script."
    if command is not None and not (
        isinstance(command, list) and command and all(isinstance(word, str) and "\0" not in word for word in command)
    ):
        return "The command is not a list of words."
    if script is not None and not isinstance(script, str):
        return "The script is not text."
    for name, value in assignment.whole_env.items():
        if not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            return f"The environment variable {name[:80]!r} cannot be set."
    return None


def script_argv(assignment: Assignment, box: Path, inside: str) -> list[str]:
    """Write the script into the program's input folder and say what runs it; `inside` is where the program sees it."""
    script = assignment.payload["script"].encode("utf-8", "surrogateescape")
    file = box / "input" / "script"
    file.write_bytes(script)
    file.chmod(0o755)
    path = f"{inside}/input/script"
    return [path] if script.startswith(b"#!") else ["/bin/sh", path]


def environment(
    assignment: Assignment, inside: str, *, path: str | None, tmp: str, progress_fd: int, simulated_gpus: int
) -> dict[str, str]:
    """Build the program's whole environment: nothing of the agent's is in it. No `path` leaves PATH to the image."""
    env = {
        **({} if path is None else {"PATH": path}),
        "HOME": f"{inside}/work",
        "LANG": "C.UTF-8",
        "TMPDIR": tmp,
        **assignment.whole_env,
        "GAAS_TASK_ID": assignment.task_id,
        "GAAS_ATTEMPT_ID": assignment.id,
        "GAAS_OUTPUT": f"{inside}/output",
        "GAAS_INPUT": f"{inside}/input",
        "GAAS_CHECKPOINT": f"{inside}/checkpoint",
        "GAAS_PROGRESS_FD": str(progress_fd),
        "CUDA_VISIBLE_DEVICES": "" if simulated_gpus else ",".join(assignment.gpu_uuids),
    }
    if "serve" in assignment.payload:
        env["GAAS_SERVE_SOCKET"] = f"{inside}/serve/http"
    if simulated_gpus:
        env["GAAS_SIMULATED_GPUS"] = str(simulated_gpus)
    return env
