"""A client that is made from the schema alone compiles, and speaks to the platform."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

CONFIG = {
    "project_name_override": "gaas-client",
    "package_name_override": "gaas_client",
    "post_hooks": [],
    # The generator knows bytes by one name alone.
    "content_type_overrides": dict.fromkeys(("application/zip", "application/pdf"), "application/octet-stream"),
}
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a client as an outsider would, and give the folder that holds its package."""
    folder = tmp_path_factory.mktemp("client")
    document = SchemaGenerator(api_version="v1").get_schema(request=None, public=True)
    (folder / "schema.json").write_text(json.dumps(document))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    generator = Path(sys.executable).with_name("openapi-python-client")
    made = subprocess.run(
        [generator, "generate", "--path", "schema.json", "--config", "config.json", "--fail-on-warning"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "gaas-client"


class TestClient:
    def test_it_compiles(self, package: Path) -> None:
        assert compileall.compile_dir(package / "gaas_client", quiet=1)

    @pytest.mark.django_db(transaction=True)
    def test_it_gets_a_task_submitted(
        self, package: Path, live_server: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(package))
        client, models = import_module("gaas_client"), import_module("gaas_client.models")
        alice.set_password(PASSWORD)
        alice.save()

        nobody = client.Client(base_url=live_server.url, raise_on_unexpected_status=True)
        ask_token = import_module("gaas_client.api.auth.auth_token")
        pair = ask_token.sync(client=nobody, body=models.LogInRequest(email=alice.email, password=PASSWORD))
        me = client.AuthenticatedClient(base_url=live_server.url, token=pair.access, raise_on_unexpected_status=True)
        submit = import_module("gaas_client.api.tasks.tasks_create")
        wanted = {"title": "From a client", "spec": {"command": ["true"]}}
        task = submit.sync(client=me, body=models.TaskInputRequest(**wanted, hours="2"))
        refusal = submit.sync(client=me, body=models.TaskInputRequest(**wanted, hours="11"))

        assert (task.status, task.hours_held, task.title) == ("PENDING", "2.000000", "From a client")
        assert refusal.errors[0].code == "insufficient_quota"
