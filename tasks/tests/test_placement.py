"""Placing tasks in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.placement import Need, Slot, fits, may_see, place, why_none

ROOT = "/00000000-0000-7000-8000-000000000001/"
OTHER = "/00000000-0000-7000-8000-000000000002/"

SLOT = Slot(
    gpu_id="g",
    host_id="h",
    model="NVIDIA H100",
    vram_mib=80_000,
    capability=90,
    price_per_hour=10,
    accepts_quota=True,
    is_simulated=False,
    visibility="PUBLIC",
    owner_path=ROOT,
    region="eu",
    labels={"rack": "b3"},
    executors=frozenset({"process"}),
)
NEED = Need(task_id="t", gpus=1, funding="quota", account_path=OTHER, executor="process")

slots = st.lists(
    st.builds(
        Slot,
        gpu_id=st.integers(0, 10**6),
        host_id=st.integers(0, 3),
        model=st.sampled_from(["A100", "H100"]),
        vram_mib=st.sampled_from([16_000, 40_000, 80_000]),
        capability=st.sampled_from([80, 90]),
        price_per_hour=st.integers(0, 3),
        accepts_quota=st.booleans(),
        is_simulated=st.booleans(),
        visibility=st.sampled_from(["PUBLIC", "TREE", "PRIVATE"]),
        owner_path=st.sampled_from([ROOT, OTHER, f"{ROOT}x/"]),
        region=st.sampled_from(["", "eu"]),
        labels=st.just({}),
        executors=st.sampled_from([frozenset({"process"}), frozenset({"process", "container"})]),
    ),
    max_size=12,
    unique_by=lambda slot: slot.gpu_id,
)
needs = st.lists(
    st.builds(
        Need,
        task_id=st.integers(0, 10**6),
        gpus=st.integers(1, 4),
        funding=st.sampled_from(["quota", "wallet"]),
        account_path=st.sampled_from([ROOT, OTHER, f"{ROOT}x/"]),
        executor=st.sampled_from(["process", "container"]),
        min_vram_mib=st.sampled_from([0, 40_000]),
        model=st.sampled_from(["", "h100"]),
        min_capability=st.sampled_from([0, 90]),
        max_price_per_hour=st.none() | st.integers(0, 3),
        region=st.sampled_from(["", "eu"]),
        host_id=st.none() | st.integers(0, 3),
        allow_simulated=st.booleans(),
        not_on=st.frozensets(st.integers(0, 3), max_size=2),
    ),
    max_size=8,
    unique_by=lambda need: need.task_id,
)


class TestProperties:
    @given(needs, slots)
    def test_no_gpu_is_given_twice_and_each_fits(self, asked, free):
        by_id, wanted = {slot.gpu_id: slot for slot in free}, {need.task_id: need for need in asked}

        placements = place(asked, free)

        given_out = Counter(gpu for placement in placements for gpu in placement.gpu_ids)
        assert all(count == 1 for count in given_out.values())
        assert len({placement.task_id for placement in placements}) == len(placements)
        for placement in placements:
            need, chosen = wanted[placement.task_id], [by_id[gpu] for gpu in placement.gpu_ids]
            assert len(chosen) == need.gpus
            assert {slot.host_id for slot in chosen} == {placement.host_id}
            assert placement.host_id not in need.not_on
            assert all(fits(need, slot) for slot in chosen)

    @given(needs, slots)
    def test_nobody_is_left_who_could_be_served_by_what_is_left(self, asked, free):
        placements = place(asked, free)
        taken = {gpu for placement in placements for gpu in placement.gpu_ids}
        served = {placement.task_id for placement in placements}
        rest = [slot for slot in free if slot.gpu_id not in taken]
        for need in asked:
            if need.task_id not in served:
                assert place([need], rest) == []

    @given(needs, slots)
    def test_each_gets_what_looking_at_every_host_would_find(self, asked, free):
        rest, expected = list(free), []
        for need in asked:
            ranked = []
            for host in dict.fromkeys(slot.host_id for slot in free):
                on_host = [slot for slot in rest if slot.host_id == host]
                usable = sorted(
                    (slot for slot in on_host if fits(need, slot)),
                    key=lambda slot: (slot.vram_mib, slot.price_per_hour, str(slot.gpu_id)),
                )[: need.gpus]
                if len(usable) == need.gpus and host not in need.not_on:
                    sums = (sum(s.vram_mib for s in usable), sum(s.price_per_hour for s in usable), len(on_host))
                    ranked.append((sums, usable))
            if ranked:
                chosen = min(ranked, key=lambda pair: pair[0])[1]
                expected.append((need.task_id, tuple(slot.gpu_id for slot in chosen)))
                rest = [slot for slot in rest if slot not in chosen]

        assert [(placement.task_id, placement.gpu_ids) for placement in place(asked, free)] == expected

    @given(needs, slots)
    def test_who_comes_first_is_served_as_if_alone(self, asked, free):
        if asked:
            assert place(asked[:1], free) == place(asked, free)[: len(place(asked[:1], free))]

    @given(needs, slots)
    def test_whoever_waits_is_told_why(self, asked, free):
        for need in asked:
            reason = why_none(need, free)
            assert reason.code
            assert reason.detail.endswith(".")
            assert reason.hint.endswith(".")
            if reason.code not in ("all_busy", "refused_lately"):
                assert place([need], free) == []


class TestBestFit:
    def test_the_smallest_that_is_enough_then_the_cheapest(self):
        free = [
            replace(SLOT, gpu_id="big", host_id=1, vram_mib=80_000, price_per_hour=1),
            replace(SLOT, gpu_id="dear", host_id=2, vram_mib=40_000, price_per_hour=9),
            replace(SLOT, gpu_id="cheap", host_id=3, vram_mib=40_000, price_per_hour=8),
            replace(SLOT, gpu_id="small", host_id=4, vram_mib=16_000, price_per_hour=0),
        ]
        (placement,) = place([replace(NEED, min_vram_mib=20_000)], free)
        assert placement.gpu_ids == ("cheap",)

    def test_single_tasks_leave_pairs_to_gangs(self):
        free = [replace(SLOT, gpu_id=i, host_id="pair") for i in range(2)] + [replace(SLOT, gpu_id=9, host_id="one")]
        placements = place([NEED, replace(NEED, task_id="gang", gpus=2)], free)
        assert [p.host_id for p in placements] == ["one", "pair"]


class TestSee:
    @pytest.mark.parametrize(
        ("visibility", "account", "may"),
        [
            ("PUBLIC", OTHER, True),
            ("TREE", OTHER, False),
            ("TREE", f"{ROOT}child/", True),
            ("PRIVATE", f"{ROOT}child/", False),
            ("PRIVATE", ROOT, True),
            ("private", ROOT, True),
        ],
    )
    def test_who_may_use_a_gpu(self, visibility, account, may):
        assert may_see(replace(SLOT, visibility=visibility), account) is may

    def test_a_tree_begins_at_its_root(self):
        slot = replace(SLOT, visibility="TREE", owner_path=f"{ROOT}a/b/")
        assert may_see(slot, f"{ROOT}c/")
        assert not may_see(slot, f"{ROOT[:-2]}9/")


class TestWhy:
    @pytest.mark.parametrize(
        ("need", "slot", "code"),
        [
            ({}, {"visibility": "PRIVATE"}, "not_visible"),
            ({}, {"is_simulated": True}, "simulated_only"),
            ({"host_id": "x"}, {}, "no_such_host"),
            ({"model": "b200"}, {}, "no_such_model"),
            ({"min_vram_mib": 80_001}, {}, "too_little_vram"),
            ({"min_capability": 100}, {}, "too_old"),
            ({"region": "us"}, {}, "no_such_region"),
            ({"labels": {"rack": "b4"}}, {}, "no_such_labels"),
            ({"executor": "container"}, {}, "no_executor"),
            ({}, {"accepts_quota": False}, "no_quota_gpu"),
            ({"funding": "wallet", "max_price_per_hour": 9}, {}, "too_dear"),
            ({"gpus": 2}, {}, "too_many_gpus"),
            ({"not_on": frozenset({"h"})}, {}, "refused_lately"),
            ({}, {}, "all_busy"),
        ],
    )
    def test_the_first_thing_in_the_way_is_told(self, need, slot, code):
        assert why_none(replace(NEED, **need), [replace(SLOT, **slot)]).code == code

    def test_without_any_gpu(self):
        assert why_none(NEED, []).code == "no_gpus"
