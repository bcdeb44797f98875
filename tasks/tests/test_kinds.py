"""The registry of kinds, and the kind `script`. Its refusals are told by test_bad_input.py."""

from __future__ import annotations

import pytest

from tasks import kinds


class TestRegistry:
    def test_a_name_is_taken_once(self):
        with pytest.raises(ValueError):
            kinds.register("script", kinds.get("script"))

    def test_an_unknown_one_is_told_the_known(self):
        with pytest.raises(kinds.InvalidSpec) as refusal:
            kinds.get("train")
        assert (refusal.value.attr, "script" in refusal.value.detail) == ("kind", True)

    def test_names_are_listed(self):
        assert "script" in kinds.names()


class TestScript:
    script = kinds.get("script")

    @pytest.mark.parametrize(
        ("spec", "executor"),
        [
            ({"command": ["true"]}, "process"),
            ({"script": "echo ok\n"}, "process"),
            ({"command": ["true"], "image": "python:3.11"}, "container"),
            ({"command": ["true"], "image": "python:3.11", "serve": True}, "container"),
            ({"command": ["true"], "image": "ghcr.io:5000/a-b/c__d:v1.2"}, "container"),
        ],
    )
    def test_it_takes_a_command_or_a_script(self, spec, executor):
        stored = self.script.validate(spec, account=None)
        assert stored == {**spec, "network": False}
        assert self.script.requirements(stored) == {"executor": executor}

    def test_what_is_stored_is_valid_again(self):
        stored = self.script.validate({"command": ["a", ""], "network": True}, account=None)
        assert self.script.validate(stored, account=None) == stored

    def test_it_knows_no_estimate(self):
        assert self.script.estimate({"command": ["true"]}) is None
