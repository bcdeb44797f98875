"""Place tasks on free GPUs: arithmetic in memory, no database, no clock.

Order is the caller's (priority, then age). Several GPUs of a task go to one host, all or none. Best fit by
VRAM: the smallest device that is enough, so that big ones stay free for who needs them; then the cheapest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
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


def fits(need: Need, slot: Slot) -> bool:
    """Tell whether one GPU could serve the task, were it free."""
    return all(test(need, slot) for _, test, _, _ in _TESTS)


def fitting(need: Need, slots: Iterable[Slot]) -> list[Slot]:
    return [slot for slot in slots if fits(need, slot)]


def why_none(need: Need, every: Sequence[Slot]) -> Reason:
    """Say why a task that was not placed waits. `every` are all listed GPUs, free or not.

    1. No GPU at all → that. 2. The first test that leaves none → that. 3. Never enough on one host → that.
    4. The fitting hosts refused it lately → that. 5. Otherwise they are busy or their hosts cannot be reached.
    """
    if not every:
        return Reason("no_gpus", "No GPU is listed yet.", "Connect a host and list its GPUs.")
    left = list(every)
    for code, test, detail, hint in _TESTS:
        left = [slot for slot in left if test(need, slot)]
        if not left:
            return Reason(code, detail, hint)
    on_host: dict[UUID, int] = defaultdict(int)
    for slot in left:
        on_host[slot.host_id] += 1
    most = max(on_host.values())
    if most < need.gpus:
        return Reason(
            "too_many_gpus",
            f"No host has {need.gpus} fitting GPUs; the most on one is {most}.",
            f"Ask for {most} or fewer `gpus`.",
        )
    if all(host in need.not_on for host, count in on_host.items() if count >= need.gpus):
        return Reason(
            "refused_lately",
            "The fitting hosts could not take it just now.",
            "It is offered to them again within minutes; nothing is to be done.",
        )
    return Reason(
        "all_busy",
        "Fitting GPUs are busy, or their hosts cannot be reached at the moment.",
        "It starts as soon as one is free; nothing is to be done.",
    )


def place(needs: Iterable[Need], free: Sequence[Slot]) -> list[Placement]:
    """Give free GPUs to tasks in the order of `needs`; a task gets all of its GPUs on one host or none."""
    by_host: dict[UUID, list[Slot]] = defaultdict(list)
    for slot in free:
        by_host[slot.host_id].append(slot)
    placements = []
    # What found no place finds none later in this pass either: GPUs only become fewer.
    hopeless: set[tuple[object, ...]] = set()
    for need in needs:
        terms = need.terms
        if terms in hopeless:
            continue
        best: tuple[tuple[int, int, int], UUID, list[Slot]] | None = None
        for host_id, slots in by_host.items():
            if host_id in need.not_on or len(slots) < need.gpus:
                continue
            usable = sorted(fitting(need, slots), key=lambda s: (s.vram_mib, s.price_per_hour, str(s.gpu_id)))
            if len(usable) < need.gpus:
                continue
            chosen = usable[: need.gpus]
            # Smallest devices first, then the lowest price, then the fullest host (gangs keep their room).
            rank = (sum(s.vram_mib for s in chosen), sum(s.price_per_hour for s in chosen), len(slots))
            if best is None or rank < best[0]:
                best = (rank, host_id, chosen)
        if best is None:
            hopeless.add(terms)
            continue
        _, host_id, chosen = best
        taken = {slot.gpu_id for slot in chosen}
        by_host[host_id] = [slot for slot in by_host[host_id] if slot.gpu_id not in taken]
        if not by_host[host_id]:
            del by_host[host_id]
        placements.append(Placement(need.task_id, host_id, tuple(slot.gpu_id for slot in chosen)))
        if not by_host:
            break
    return placements
