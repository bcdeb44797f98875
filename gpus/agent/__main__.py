"""`python -m gpus.agent join|run|doctor|status`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .config import Config
    from .state import Credential, State

EXIT_FAULT, EXIT_USAGE, EXIT_REFUSED, EXIT_BUSY = 1, 2, 3, 5

log = logging.getLogger("gaas.agent")


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", help="TOML file; flags override it")
    common.add_argument("--server", metavar="URL")
    common.add_argument(
        "--state", metavar="DIR", dest="state_dir", help="where the agent keeps what it must not forget"
    )
    common.add_argument("--ca-file", metavar="FILE", help="certificates to trust instead of the usual ones")
    common.add_argument("--simulated-gpus", type=int, metavar="N", help="declare N devices that are not there")
    common.add_argument("--verbose", action="store_true")
    parser = argparse.ArgumentParser(prog="python -m gpus.agent", description="The agent of a GPU host.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    join = verbs.add_parser("join", parents=[common], help="exchange a join token for this host's credential")
    join.add_argument("--token-file", dest="join_token_file", metavar="FILE", help="else GAAS_JOIN_TOKEN")
    join.add_argument("--force", action="store_true", help="replace the credential that is there")
    run = verbs.add_parser("run", parents=[common], help="run what the server assigns")
    run.add_argument("--join-token-file", metavar="FILE", help="join first, if this host has not; else GAAS_JOIN_TOKEN")
    run.add_argument("--unsandboxed", action="store_const", const=True, help="run programs without a sandbox")
    run.add_argument("--start-record", metavar="FILE", help="append one line for each program that is started")
    run.add_argument("--stop-programs", action="store_const", const=True, help="end programs when told to stop")
    for verb, says in (
        ("doctor", "look for faults and name what mends them"),
        ("status", "show what this host holds"),
    ):
        verbs.add_parser(verb, parents=[common], help=says).add_argument("--json", action="store_true", dest="as_json")
    return parser


def _fail(code: int, sentence: str) -> NoReturn:
    log.error("%s", sentence)
    sys.exit(code)


def _usable_sandbox(config: Config) -> str:
    """Give the path of a bubblewrap that works; empty when programs run without a sandbox by the owner's word."""
    import shutil

    from .executors import bubblewrap

    if config.unsandboxed:
        log.warning("programs run WITHOUT a sandbox: they can read and change what this user can")
        return ""
    if config.slurm is not None:
        return config.bubblewrap  # each node looks by itself
    why = bubblewrap.unusable(config.bubblewrap)
    if why is not None:
        _fail(
            EXIT_FAULT,
            f"there is no usable sandbox ({why}). `apt install bubblewrap` and `python -m gpus.agent doctor`, "
            "or give --unsandboxed if every task may do what this user may",
        )
    return shutil.which(config.bubblewrap) or config.bubblewrap


def _admitted(config: Config, state: State, *, is_sandboxed: bool, closing: threading.Event) -> Credential:
    from . import joining
    from .client import Refused

    credential = state.credential()
    if credential is not None:
        return credential
    token = joining.token_of(config)
    if not token:
        _fail(EXIT_USAGE, "this host has not joined: give a join token with --join-token-file or GAAS_JOIN_TOKEN")
    if not config.server:
        _fail(EXIT_USAGE, "give the server's address with --server URL")
    try:
        return joining.join(config, state, token, is_sandboxed=is_sandboxed, closing=closing)
    except Refused as refused:
        _fail(EXIT_REFUSED, f"the server did not take the join token ({refused}); ask the host's owner for a new one")


def _join(config: Config, *, force: bool) -> int:
    from .executors import bubblewrap
    from .state import State

    state = State(config.state_path)
    state.lock()
    known = state.credential()
    if known is not None and not force:
        _fail(EXIT_USAGE, f"this is host {known.host_id} of {known.server} already; --force joins anew")
    if known is not None:
        os.unlink(state.path / "credential.json")
    is_sandboxed = config.slurm is not None or bubblewrap.unusable(config.bubblewrap) is None
    _admitted(config, state, is_sandboxed=is_sandboxed, closing=threading.Event())
    return 0


def _run(config: Config) -> int:
    """Run the loop in a thread; this one only waits for signals, which may interrupt it anywhere."""
    from .client import Client, Unreachable
    from .loop import Agent
    from .state import State

    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    bubblewrap = _usable_sandbox(config)
    state = State(config.state_path)
    state.lock()
    if config.slurm is not None:
        state.share(Path(config.slurm.shared_dir))
    closing = threading.Event()
    agents: list[Agent] = []
    codes: list[int] = []

    def work() -> None:
        try:
            credential = _admitted(config, state, is_sandboxed=bool(bubblewrap), closing=closing)
            client = Client(config.server or credential.server, credential.secret, ca_file=config.ca_file)
            agents.append(Agent(config, state, client, bubblewrap))
            log.info("host %s, %d GPUs, server %s", credential.host_id, len(agents[0].devices.gpus), client.server)
            if not closing.is_set():
                codes.append(agents[0].run())
        except Unreachable:
            codes.append(0)
        except SystemExit as end:
            codes.append(end.code if isinstance(end.code, int) else EXIT_FAULT)
        except Exception:
            log.exception("the agent failed")
            codes.append(EXIT_FAULT)
        finally:
            os.write(tell, b"\0")

    worker = threading.Thread(target=work, name="loop", daemon=True)
    worker.start()
    while (told_of := os.read(told, 1)) != b"\0":
        log.info("%s: stopping", signal.Signals(told_of[0]).name)
        closing.set()
        for agent in agents:
            agent.stop()
    return codes[0] if codes else 0


def _doctor(config: Config, *, as_json: bool) -> int:
    from .doctor import examine

    findings = list(examine(config))
    faults = sum(not finding.is_good for finding in findings)
    if as_json:
        print(json.dumps({"is_good": not faults, "findings": [asdict(finding) for finding in findings]}))  # noqa: T201
        return EXIT_FAULT if faults else 0
    for finding in findings:
        print(f"{'ok   ' if finding.is_good else 'FAULT'} {finding.about:<10} {finding.says}")  # noqa: T201
        if finding.mend:
            print(f"      mend it: {finding.mend}")  # noqa: T201
    return EXIT_FAULT if faults else 0


def _status(config: Config, *, as_json: bool) -> int:
    from . import status

    if not config.state_path.is_dir():
        _fail(EXIT_FAULT, f"there is no state directory {config.state_path}")
    told = status.look(config)
    print(json.dumps(told) if as_json else "\n".join(status.lines(told)))  # noqa: T201
    return 0


def main(arguments: list[str] | None = None) -> int:
    given = vars(_parser().parse_args(arguments))
    verb, verbose, force = given.pop("verb"), given.pop("verbose"), given.pop("force", False)
    as_json = given.pop("as_json", False)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s agent: %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    if sys.platform != "linux":
        _fail(EXIT_USAGE, "the agent runs on Linux only")
    from .config import ConfigError, load
    from .state import StateBusy

    try:
        config = load(given.pop("config"), **given)
        if verb == "join":
            return _join(config, force=force)
        if verb == "run":
            return _run(config)
        return {"doctor": _doctor, "status": _status}[verb](config, as_json=as_json)
    except ConfigError as error:
        _fail(EXIT_USAGE, str(error))
    except StateBusy as busy:
        _fail(EXIT_BUSY, str(busy))
    except OSError as error:
        _fail(EXIT_FAULT, str(error))


if __name__ == "__main__":
    sys.exit(main())
