"""Place tasks on free GPUs: arithmetic in memory, no database, no clock.

Order is the caller's (priority, then age). Several GPUs of a task go to one host, all or none. Best fit by
VRAM: the smallest device that is enough, so that big ones stay free for who needs them; then the cheapest; then
what is on the most reliable host.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from heapq import heappop, heappush
from itertools import islice
from uuid import UUID


@dataclass(frozen=True)
class Slot:
    """One GPU as the matcher sees it. Prices in micro-dollars per hour; capability 90 is 9.0."""

    gpu_id: UUID
    host_id: UUID
    model: str
    vram_mib: int
    capability: int
    price_per_hour: int
    accepts_quota: bool
    is_simulated: bool
    visibility: str  # private | tree | public, lower or upper case
    owner_path: str  # path of the host's account, "/<root>/…/<id>/"
    region: str
    labels: Mapping[str, str]
    executors: frozenset[str]
    host_name: str = ""
    open_for_ms: int | None = None  # until its owner's hours end or its host's maintenance begins; None: for ever
    may_stop: bool = False  # its owner lets in what has to be stopped then
    is_occupied: bool = False  # by programs that the platform did not start
    reliability: float = 1.0  # of its host, 0 to 1

    @property
    def sort(self) -> tuple[object, ...]:
        """Give all that a task may ask of a device: what fits one of a sort fits all of it."""
        named = (getattr(self, name) for name in _OF_A_SORT)
        return (*named, frozenset(self.labels.items()))


_OF_ITS_OWN = {"gpu_id", "host_id", "host_name", "labels", "reliability"}
_OF_A_SORT = tuple(item.name for item in fields(Slot) if item.name not in _OF_ITS_OWN)


@dataclass(frozen=True)
class Need:
    """What a task asks of each of its GPUs, and where it may not go."""

    task_id: UUID
    gpus: int
    funding: str
    account_path: str
    executor: str
    min_vram_mib: int = 0
    model: str = ""
    min_capability: int = 0
    max_price_per_hour: int | None = None
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    host_id: UUID | None = None
    allow_simulated: bool = False
    not_on: frozenset[UUID] = frozenset()  # hosts that refused it lately
    limit_ms: int = 0  # what it must find open
    is_interruptible: bool = False
    owner: str = ""  # the end of the path of the one account whose GPUs it may use, "<id>/"; empty: anybody's

    @property
    def terms(self) -> tuple[object, ...]:
        """Give all but the task: two needs with the same terms fit the same GPUs and wait for the same reason."""
        named = (getattr(self, item.name) for item in fields(self) if item.name not in ("task_id", "labels"))
        return (*named, frozenset(self.labels.items()))


@dataclass(frozen=True)
class Placement:
    task_id: UUID
    host_id: UUID
    gpu_ids: tuple[UUID, ...]


@dataclass(frozen=True)
class Reason:
    """Why a task waits: a stable code, a sentence, and what would unblock it."""

    code: str
    detail: str
    hint: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "detail": self.detail, "hint": self.hint}


def _root(path: str) -> str:
    return path.split("/", 2)[1]


def may_see(slot: Slot, account_path: str) -> bool:
    """Public to all; `tree` to accounts under the same root; private to the owner's account."""
    match slot.visibility.lower():
        case "public":
            return True
        case "tree":
            return _root(slot.owner_path) == _root(account_path)
        case _:
            return account_path == slot.owner_path


# Each test with what to tell a person when no GPU passes it. The order is from what the task asks for to
# what it may use, so that the first test that empties the field is the one worth telling.
_TESTS: tuple[tuple[str, Callable[[Need, Slot], bool], str, str], ...] = (
    (
        "not_visible",
        lambda n, s: may_see(s, n.account_path),
        "No GPU is offered to your account.",
        "Ask an owner to make a GPU visible to you, or staff to list one.",
    ),
    (
        "simulated_only",
        lambda n, s: n.allow_simulated or not s.is_simulated,
        "Only simulated GPUs are there, and this installation gives them no work.",
        "Connect a host with a real GPU, or set ALLOW_SIMULATED=1.",
    ),
    (
        "no_such_host",
        lambda n, s: n.host_id is None or s.host_id == n.host_id,
        "The host that the task names offers no GPU to it.",
        "Leave `host` out, or ask its owner.",
    ),
    (
        "not_reserved",
        lambda n, s: s.owner_path.endswith(n.owner),
        "The owner with whom hours are reserved offers no GPU to the account.",
        "Ask that owner, or pay with funding `quota` or `wallet`.",
    ),
    (
        "no_such_model",
        lambda n, s: not n.model or n.model.casefold() in s.model.casefold(),
        "No GPU of that model is offered.",
        "Leave `gpu_model` out or name another.",
    ),
    (
        "too_little_vram",
        lambda n, s: s.vram_mib >= n.min_vram_mib,
        "No GPU has that much memory.",
        "Ask for less `min_vram_mib`.",
    ),
    (
        "too_old",
        lambda n, s: s.capability >= n.min_capability,
        "No GPU has that compute capability.",
        "Ask for a lower `min_compute_capability`.",
    ),
    (
        "no_such_region",
        lambda n, s: not n.region or s.region == n.region,
        "No GPU is in that region.",
        "Leave `region` out or name another.",
    ),
    (
        "no_such_labels",
        lambda n, s: all(s.labels.get(key) == value for key, value in n.labels.items()),
        "No GPU carries those labels.",
        "Leave `labels` out or name others.",
    ),
    (
        "no_executor",
        lambda n, s: n.executor in s.executors,
        "No host can run it that way.",
        "A task with `image` needs a host with a container engine; without it the host's sandbox is enough.",
    ),
    (
        "no_quota_gpu",
        lambda n, s: n.funding != "quota" or s.accepts_quota,
        "No fitting GPU accepts quota hours.",
        "Pay with funding `wallet`, or ask an owner to accept quota.",
    ),
    (
        "too_dear",
        lambda n, s: n.funding != "wallet" or n.max_price_per_hour is None or s.price_per_hour <= n.max_price_per_hour,
        "Every fitting GPU costs more than `max_price_per_hour_usd`.",
        "Raise the price you would pay.",
    ),
)


# What stands in the way only for now.
_FOR_NOW: tuple[tuple[str, Callable[[Need, Slot], bool], str, str], ...] = (
    (
        "outside_hours",
        lambda n, s: s.open_for_ms is None or s.open_for_ms > 0,
        "Every fitting GPU is outside the hours that its owner set, or in maintenance.",
        "It starts when one opens; nothing is to be done.",
    ),
    (
        "closes_too_soon",
        lambda n, s: s.open_for_ms is None or s.open_for_ms >= n.limit_ms or (s.may_stop and n.is_interruptible),
        "Every fitting GPU closes before the task's time would be over.",
        "Ask for fewer `hours`, set `interruptible` if it may be stopped and placed again, or wait.",
    ),
    (
        "foreign_processes",
        lambda n, s: not s.is_occupied,
        "Every fitting GPU is used by programs that the platform did not start.",
        "It starts when those have ended; their host's owner can end them.",
    ),
)


def fits(need: Need, slot: Slot) -> bool:
    """Tell whether one GPU could serve the task, were it free and open."""
    return all(test(need, slot) for _, test, _, _ in _TESTS)


def fits_now(need: Need, slot: Slot) -> bool:
    """Tell whether a free GPU could serve the task from now on."""
    return all(test(need, slot) for _, test, _, _ in _FOR_NOW) and fits(need, slot)


def fitting(need: Need, slots: Iterable[Slot]) -> list[Slot]:
    return [slot for slot in slots if fits(need, slot)]


def why_none(need: Need, every: Sequence[Slot]) -> Reason:
    """Say why a task that was not placed waits. `every` are all listed GPUs, free or not."""
    return Fleet(every).why_none(need)


class Fleet:
    """Hold all listed GPUs by their sort, so that to tell why a task waits takes one look at each sort."""

    def __init__(self, every: Sequence[Slot]) -> None:
        sorts: dict[tuple[object, ...], int] = {}
        self._of_sort: list[Slot] = []
        self._on_host: list[Counter[UUID]] = []
        for slot in every:
            number = sorts.setdefault(slot.sort, len(sorts))
            if number == len(self._of_sort):
                self._of_sort.append(slot)
                self._on_host.append(Counter())
            self._on_host[number][slot.host_id] += 1

    def why_none(self, need: Need) -> Reason:
        """Say why a task that was not placed waits.

        1. No GPU at all → that. 2. The first test that leaves none → that. 3. Never enough on one host → that.
        4. The fitting hosts refused it lately → that. 5. All are closed, or used by others → that. 6. Otherwise they
        are busy or their hosts cannot be reached.
        """
        left = list(range(len(self._of_sort)))
        if not left:
            return Reason("no_gpus", "No GPU is listed yet.", "Connect a host and list its GPUs.")
        for code, test, detail, hint in _TESTS:
            if code == "no_such_host":  # the one test that is of the host, not of the sort
                left = [n for n in left if need.host_id is None or need.host_id in self._on_host[n]]
            else:
                left = [n for n in left if test(need, self._of_sort[n])]
            if not left:
                return Reason(code, detail, hint)
        on_host: Counter[UUID] = Counter()
        for number in left:
            on_host.update(self._on_host[number])
        if need.host_id is not None:
            on_host = Counter({need.host_id: on_host[need.host_id]})
        most = max(on_host.values())
        if most < need.gpus:
            return Reason(
                "too_many_gpus",
                f"No host has {need.gpus} fitting GPUs; the most on one is {most}.",
                f"Ask for {most} or fewer `gpus`.",
            )
        if need.not_on and all(host in need.not_on for host, count in on_host.items() if count >= need.gpus):
            return Reason(
                "refused_lately",
                "The fitting hosts could not take it just now.",
                "It is offered to them again within minutes; nothing is to be done.",
            )
        if need.host_id is not None:
            left = [n for n in left if need.host_id in self._on_host[n]]
        for code, test, detail, hint in _FOR_NOW:
            left = [n for n in left if test(need, self._of_sort[n])]
            if not left:
                return Reason(code, detail, hint)
        return Reason(
            "all_busy",
            "Fitting GPUs are busy, or their hosts cannot be reached at the moment.",
            "It starts as soon as one is free; nothing is to be done.",
        )


def place(needs: Iterable[Need], free: Sequence[Slot]) -> list[Placement]:
    """Give free GPUs to tasks in the order of `needs`; a task gets all of its GPUs on one host or none."""
    return Field(free).place(needs)


class Field:
    """Hold what is free, in the order in which each kind of task would take it.

    Tasks that fit the same sorts of devices, in the same number and on the same hosts, have one heap of hosts. A host
    from which something was taken is ranked anew in a heap when that is used next, so a pass costs what it
    places, not tasks times hosts.
    """

    def __init__(self, free: Sequence[Slot]) -> None:
        self._sorts: dict[tuple[object, ...], int] = {}
        self._of_sort: list[Slot] = []
        hosts: dict[UUID, list[tuple[Slot, int]]] = defaultdict(list)
        for slot in free:
            key = slot.sort
            if key not in self._sorts:
                self._sorts[key] = len(self._of_sort)
                self._of_sort.append(slot)
            hosts[slot.host_id].append((slot, self._sorts[key]))
        # Best fit within a host, and hosts by their number: the order of the ties.
        self._hosts = [sorted(slots, key=lambda s: _cost(s[0])) for slots in hosts.values()]
        self._number = {host_id: number for number, host_id in enumerate(hosts)}
        self._free = len(free)
        self._changes: list[int] = []  # hosts, as they were taken from
        self._asks: dict[tuple[object, ...], _Ask] = {}
        self._ask_of: dict[tuple[object, ...], _Ask] = {}

    @property
    def is_empty(self) -> bool:
        return self._free == 0

    def place(self, needs: Iterable[Need]) -> list[Placement]:
        placements = []
        for need in needs:
            if self.is_empty:
                break
            if (placement := self._place(need)) is not None:
                placements.append(placement)
        return placements

    def _place(self, need: Need) -> Placement | None:
        ask = self._ask(need)
        number = ask.best(self._hosts, self._changes)
        if number is None:
            return None
        chosen = ask.choose(self._hosts[number])
        taken = {slot.gpu_id for slot in chosen}
        self._hosts[number] = [pair for pair in self._hosts[number] if pair[0].gpu_id not in taken]
        self._free -= len(chosen)
        self._changes.append(number)
        return Placement(need.task_id, chosen[0].host_id, tuple(slot.gpu_id for slot in chosen))

    def _ask(self, need: Need) -> _Ask:
        terms = need.terms
        if terms in self._ask_of:
            return self._ask_of[terms]
        anywhere = replace(need, host_id=None)
        sorts = frozenset(number for number, slot in enumerate(self._of_sort) if fits_now(anywhere, slot))
        key = (sorts, need.gpus, need.host_id, need.not_on)
        if key not in self._asks:
            named = range(len(self._hosts)) if need.host_id is None else [self._number.get(need.host_id, -1)]
            barred = {self._number.get(host_id) for host_id in need.not_on}
            self._asks[key] = _Ask(sorts, need.gpus, [host for host in named if host >= 0 and host not in barred])
        return self._ask_of.setdefault(terms, self._asks[key])


class _Ask:
    """Keep the hosts that could serve one kind of task, best first; an entry that was replaced is passed over."""

    def __init__(self, sorts: frozenset[int], gpus: int, hosts: Sequence[int]) -> None:
        self.sorts, self.gpus = sorts, gpus
        self._hosts = frozenset(hosts)
        self._rank: dict[int, tuple[int, int, float, int]] = {}
        self._heap: list[tuple[tuple[int, int, float, int], int]] = []
        self._seen = -1  # changes that are in the heap; before the first use nothing is

    def choose(self, slots: Sequence[tuple[Slot, int]]) -> list[Slot]:
        usable = (slot for slot, sort in slots if sort in self.sorts)
        return list(islice(usable, self.gpus))

    def best(self, hosts: Sequence[Sequence[tuple[Slot, int]]], changes: Sequence[int]) -> int | None:
        """Give the number of the best host as things are, or None."""
        stale = self._hosts if self._seen < 0 else self._hosts & set(changes[self._seen :])
        self._seen = len(changes)
        for number in stale:
            self._rank.pop(number, None)
            chosen = self.choose(hosts[number])
            if len(chosen) == self.gpus:
                # Smallest devices first, then the lowest price, then the host that is up the most, to a percent, then
                # the fullest one (gangs keep their room).
                vram, price = sum(slot.vram_mib for slot in chosen), sum(slot.price_per_hour for slot in chosen)
                self._rank[number] = (vram, price, -round(chosen[0].reliability, 2), len(hosts[number]))
                heappush(self._heap, (self._rank[number], number))
        while self._heap and self._rank.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][1] if self._heap else None


def _cost(slot: Slot) -> tuple[int, int, str]:
    return slot.vram_mib, slot.price_per_hour, str(slot.gpu_id)
