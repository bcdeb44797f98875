from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from gaas.lib import clock
from gpus import services
from gpus.agent.protocol import PROTOCOL
from gpus.tests.fleet import some_facts

pytestmark = pytest.mark.django_db


def run(*args):
    out, err = StringIO(), StringIO()
    call_command("add_host", *args, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue()


class TestAddHost:
    def test_it_prints_a_token_that_works(self, olga):
        token, told = run(olga.email.upper(), "rig", "--region", "eu")

        host, _ = services.join(token=token, facts=some_facts(), protocol=PROTOCOL, now=clock.now())
        assert (host.account, host.name, host.region) == (olga.personal_account, "rig", "eu")
        assert str(host.pk) in told

    def test_it_adds_to_an_organisation(self, alice, lab):
        token, _ = run(alice.email, "rig", "--account", str(lab.pk))

        host, _ = services.join(token=token, facts=some_facts(), protocol=PROTOCOL, now=clock.now())
        assert host.account == lab

    @pytest.mark.parametrize(
        "args",
        [
            ("nobody@example.test", "rig"),
            ("olga@example.test", "rig", "--account", "x"),
            ("olga@example.test", "x" * 101),
            ("olga@example.test", " "),
        ],
    )
    def test_it_refuses_what_is_not_there(self, olga, args):
        with pytest.raises(CommandError):
            run(*args)
