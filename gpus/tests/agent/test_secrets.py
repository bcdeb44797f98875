"""Secrets reach the program and neither its log nor its progress."""

from __future__ import annotations

from .host import GATE, mark

SECRET = "hunter2-hunter2\nsecond line of it"


class TestSecrets:
    def test_the_program_has_them_and_its_log_has_not(self, running):
        script = (
            'test "$PLAIN $TOKEN" = "seen $EXPECTED" && echo given; echo "token=$TOKEN;"; printf hunter2-; sleep 0.3;'
            " printf 'hunter2\\nsecond line'; sleep 0.3; echo ' of it.'; printf %s \"$TOKEN\" | base64 -w0 >&2; echo;"
            f'echo "GAAS_PROGRESS {{\\"step\\": 1, \\"note\\": \\"hunter2-hunter2\\"}}"; {GATE}'
        )
        work = running.peer.offer(
            payload={"script": script}, env={"PLAIN": "seen"}, secrets={"TOKEN": SECRET, "EXPECTED": SECRET}
        )
        running.peer.until(lambda: work.progress, what="its progress")
        running.let_go(work)
        running.peer.until_finished(work)
        assert bytes(work.log) == b'given\ntoken=***;\n***.\n***\nGAAS_PROGRESS {"step": 1, "note": "***"}\n'
        assert work.progress == [{"step": 1, "note": "***"}]

    def test_a_secret_cut_by_the_programs_end_is_masked_too(self, running):
        work = running.peer.offer(payload={"script": "printf 'x hunter2-hunter'"}, secrets={"TOKEN": SECRET})
        running.peer.until_finished(work)
        assert bytes(work.log) == b"x ***"

    def test_they_are_on_no_command_line(self, running):
        secret = f"of-this-test-{mark()}"
        script = "cat /proc/[0-9]*/cmdline > seen 2>/dev/null; wc -c < seen | tr -d '0-9'; grep -ac \"$TOKEN\" seen"
        work = running.peer.offer(payload={"script": script}, secrets={"TOKEN": secret})
        running.peer.until_finished(work)
        assert bytes(work.log) == b"\n0\n"
