from hypothesis import given
from hypothesis import strategies as st

from gpus.agent.progress import MAX_BYTES, PREFIX, Reader, parse

PIECES = [b"\n", b"\n\n", PREFIX, b'{"step": 1}', b'{"step": 2}', b"nonsense", b"x" * 9000, b" "]


class TestParse:
    def test_it_takes_an_object_of_plain_values(self):
        line = b'{"step": 3, "of": 10, "metrics": {"loss": 0.5, "tags": ["a", null, true]}}'
        assert parse(line) == {"step": 3, "of": 10, "metrics": {"loss": 0.5, "tags": ["a", None, True]}}

    def test_it_passes_over_what_a_server_would_refuse(self):
        for bad in (
            b"", b"[]", b"3", b"null", b"{", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}',
            b'{"a": 1%s}' % (b"0" * 40),
            b'{"a": "\\u0000"}', b'{"a": "\\ud800"}', b'{"\\u0007": 1}', b'{"a": %s}' % (b"[" * 3000 + b"]" * 3000),
            b"\xff\xfe", b'{"a": [[[[[[1]]]]]]}', b'{"a": "%s"}' % (b"x" * MAX_BYTES),
        ):  # fmt: skip
            assert parse(bad) is None, bad[:60]


class TestReader:
    def test_it_finds_lines_cut_anywhere(self):
        stream = b'noise\nGAAS_PROGRESS {"step": 1}\nGAAS_PROGRESS {"step": 2}\n'
        for cut in range(1, 20):
            reader, found = Reader(), []
            for start in range(0, len(stream), cut):
                latest = reader.feed(stream[start : start + cut])
                if latest:
                    found.append(latest)
            assert found[-1] == {"step": 2}

    def test_it_answers_the_last_of_a_chunk(self):
        assert Reader().feed(b'GAAS_PROGRESS {"step": 1}\nGAAS_PROGRESS {"step": 2}\nGAAS_PROGRESS nonsense\n') == {
            "step": 2
        }

    def test_it_does_not_guess_from_free_text(self):
        assert Reader().feed(b'{"step": 1}\nsee GAAS_PROGRESS {"step": 1}\n') is None

    def test_it_takes_bare_objects_on_the_descriptor(self):
        assert Reader(bare=True).feed(b'{"step": 1}\n') == {"step": 1}

    def test_it_holds_no_endless_line(self):
        reader = Reader()
        for _ in range(100):
            assert reader.feed(b"x" * 1000) is None
        assert len(reader._rest) < 10_000
        assert reader.feed(b'GAAS_PROGRESS {"step": 1}\n') is None  # the tail of the long line
        assert reader.feed(b'GAAS_PROGRESS {"step": 2}\n') == {"step": 2}

    @given(st.lists(st.sampled_from(PIECES), max_size=30), st.integers(1, 4000), st.booleans())
    def test_it_finds_what_a_look_at_each_line_finds(self, pieces, size, is_bare):
        stream = b"".join(pieces)
        last = None
        for line in stream.split(b"\n")[:-1]:
            if line.startswith(PREFIX) or is_bare:
                last = parse(line.removeprefix(PREFIX)) or last
        reader = Reader(bare=is_bare)
        found = [reader.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
        assert next((one for one in reversed(found) if one is not None), None) == last

    def test_a_flood_of_short_lines_takes_no_step_for_each(self):
        class Counted(bytes):
            looks = 0

            def rfind(self, *args):
                Counted.looks += 1
                return super().rfind(*args)

        assert Reader()._last(Counted(b"y\n" * 100_000), 0, 199_999) is None
        assert Counted.looks == 1
