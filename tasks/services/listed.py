"""The files that an agent says an attempt has left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gaas.lib.errors import Conflict
from tasks.models import Artifact, Attempt


class ArtifactsIncomplete(Conflict):
    """State that a file that the agent lists is not whole here: send it, or leave it out and say so."""

    code = "artifacts_incomplete"


@dataclass(frozen=True)
class Named:
    """Name a file by what it is called and what it holds."""

    name: str
    size: int
    sha256: str


def require_artifacts(attempt: Attempt, listed: Iterable[Named]) -> None:
    """Raise ArtifactsIncomplete unless all that the agent lists is whole here."""
    wanted = {(item.name, item.sha256) for item in listed}
    if not wanted:
        return
    here = set(Artifact.objects.kept().filter(attempt=attempt).values_list("name", "file__sha256"))
    if missing := sorted(wanted - here):
        raise ArtifactsIncomplete(
            f"{len(missing)} files are not here whole, such as {missing[0][0]}.", attr="artifacts"
        )
