import pytest

from gpus.agent.config import ConfigError, load


class TestConfig:
    def test_it_reads_a_file_and_lays_flags_over_it(self, tmp_path):
        file = tmp_path / "agent.toml"
        file.write_text(
            'server = "http://one"\nstate_dir = "/s"\nbackoff_cap_seconds = 5\n'
            '[[simulated_gpus]]\nmodel = "Simulated H200"\nvram_mib = 143771\ncompute_capability = "9.0"\n'
        )
        config = load(str(file), server="http://two", unsandboxed=None)
        assert (config.server, config.state_dir, config.backoff_cap_seconds) == ("http://two", "/s", 5.0)
        assert [gpu.model for gpu in config.simulated_gpus] == ["Simulated H200"]
        assert len(load(str(file), simulated_gpus=3).simulated_gpus) == 3

    def test_it_names_what_is_wrong(self, tmp_path):
        file = tmp_path / "agent.toml"
        for text, words in {
            'sever = "x"': "sever: no such setting",
            "server = 3": "server: str was expected",
            "unsandboxed = 1": "unsandboxed: bool",
            "simulated_gpus = -1": "not between 0 and 64",
            "simulated_gpus = [3]": "each is a table of",
            'extra_ro_binds = "/opt"': "extra_ro_binds",
            "a = ": "agent.toml",
        }.items():
            file.write_text(text)
            with pytest.raises(ConfigError, match=words):
                load(str(file))
        with pytest.raises(ConfigError, match="No such file"):
            load(str(tmp_path / "absent.toml"))
