"""Keccak-256 as Ethereum has it: SHA-3 with the padding of the competition, which the standard library lacks.

After the Keccak Team's specification summary (keccak.team/keccak_specs_summary.html).
"""

from __future__ import annotations

LANE = (1 << 64) - 1
RATE = 136  # bytes of the state that a block of the message is mixed into


def _constants() -> tuple[list[int], list[list[int]]]:
    """Work out the round constants by their shift register, and the rotations by their walk over the lanes."""
    rounds, register = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if register & 1:
                constant |= 1 << ((1 << bit) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        rounds.append(constant)
    turns = [[0] * 5 for _ in range(5)]
    x, y = 1, 0
    for step in range(24):
        turns[x][y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return rounds, turns


ROUNDS, TURNS = _constants()


def keccak256(data: bytes, *, padding: int = 0x01) -> bytes:
    """Give the 32 bytes of the digest; with `padding` 0x06 it is SHA3-256."""
    state = [[0] * 5 for _ in range(5)]
    padded = bytearray(data) + bytes([padding]) + bytes(-(len(data) + 1) % RATE)
    padded[-1] |= 0x80
    for start in range(0, len(padded), RATE):
        for lane in range(RATE // 8):
            word = padded[start + 8 * lane : start + 8 * lane + 8]
            state[lane % 5][lane // 5] ^= int.from_bytes(word, "little")
        _permute(state)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


def _permute(state: list[list[int]]) -> None:
    for constant in ROUNDS:
        columns = [state[x][0] ^ state[x][1] ^ state[x][2] ^ state[x][3] ^ state[x][4] for x in range(5)]
        for x in range(5):
            mixed = columns[x - 1] ^ _turned(columns[(x + 1) % 5], 1)
            for y in range(5):
                state[x][y] ^= mixed
        moved = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                moved[y][(2 * x + 3 * y) % 5] = _turned(state[x][y], TURNS[x][y])
        for x in range(5):
            for y in range(5):
                state[x][y] = moved[x][y] ^ (~moved[(x + 1) % 5][y] & moved[(x + 2) % 5][y])
        state[0][0] ^= constant


def _turned(lane: int, by: int) -> int:
    return ((lane << by) | (lane >> (64 - by))) & LANE
