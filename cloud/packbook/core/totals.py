"""What many batteries amount to, in groups so large that no battery can be told from them.

In:  batteries with their traits (family, municipality, year) and figures; `least`, the size of the smallest group.
Out: a `Release`: totals of all, and of the groups of each trait. All three breakdowns are made together, whichever of
them is then shown: what stands in one table must not undo what another one hides.

A group below `least` goes into "others", with the next larger ones until that is large enough, so that none is the
total less the rest. That is not enough: where family X is all of municipality Y but two cars, the difference of two
large groups is those two. So no sum or difference of any groups that are shown, each taken as often as one likes, may
rest on fewer than `least` batteries (but on none). For two breakdowns that is a matter of cuts: take the groups of both
as points, each battery as a line from its group in one to its group in the other; what a combination rests on separates
the points, so it holds at least the smallest cut of the graph, which we measure. For three, a combination that is not
nothing is not nothing within some group of one breakdown, and there it is one of the other two: so it is enough that
within each group of one of them the graph of the other two has no small cut. Where this fails, groups of the later
breakdown go into its "others". Figures differ from battery to battery, so what a sum rests on is all that is hidden.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Final

TRAITS: Final = ("family", "municipality", "year")  # an earlier one gives way last
LEAST: Final = 10
LEAST_MIN: Final = 5  # smaller groups hide nobody: neighbours know four of five cars
KM_STEP, KWH_STEP = 100, 10  # coarser than what one car adds in a week

Labels = tuple[str | None, ...]  # of each battery its group; None: others


@dataclass(frozen=True, slots=True)
class Member:
    """One battery. A trait that nobody declared is a group of its own name."""

    traits: Mapping[str, str]
    soh_pct: float
    km: float  # while it was watched
    energy_kwh: float  # delivered while it was watched
    age_years: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """`name` None: others. Quartiles are whole percent; sums are coarse."""

    name: str | None
    batteries: int
    soh_quartiles_pct: tuple[int, int, int]
    km: int
    energy_kwh: int
    age_median_years: float | None  # None: not declared for each of them


@dataclass(frozen=True, slots=True)
class Release:
    """`total` None: too few batteries to tell anything. A breakdown of one group only tells the total again."""

    least: int
    total: Group | None
    groups: Mapping[str, tuple[Group, ...]]  # by trait, the largest first, others last


def release(members: Sequence[Member], least: int = LEAST) -> Release:
    if len(members) < least:
        return Release(least, None, dict.fromkeys(TRAITS, ()))
    shown = {trait: _groups(members, labels) for trait, labels in partitions(members, least).items()}
    return Release(least, _group(None, members), shown)


def partitions(members: Sequence[Member], least: int) -> dict[str, Labels]:
    """Which group each battery is shown in, by trait."""
    assert len(members) >= least
    first, second, third = (_large(tuple(m.traits[trait] for m in members), least) for trait in TRAITS)
    while (side := _small_cut(first, second, range(len(members)), least)) is not None:
        second = _into_others(second, {label for at, label in enumerate(second) if ("b", label) in side})
    while not _safe(first, second, third, least):
        third = _into_others(third, ())
    return dict(zip(TRAITS, (first, second, third), strict=True))


def _large(names: tuple[str, ...], least: int) -> Labels:
    """Groups that are too small go into others, and the next larger ones until others are enough."""
    rising = sorted(Counter(names).items(), key=lambda group: (group[1], group[0]))
    others: set[str] = set()
    held = 0
    for name, size in rising:
        if size >= least and (held == 0 or held >= least):
            break
        others.add(name)
        held += size
    return tuple(None if name in others else name for name in names)


def _into_others(labels: Labels, wanted: Collection[str | None]) -> Labels:
    """The smallest group that is wanted, else the smallest of all, goes into others."""
    sizes = Counter(label for label in labels if label is not None)
    chosen = min(sizes, key=lambda name: (name not in wanted, sizes[name], name))
    return tuple(None if label == chosen else label for label in labels)


def _safe(first: Labels, second: Labels, third: Labels, least: int) -> bool:
    """Within each group of some one breakdown, the other two have no small cut."""
    ways = ((third, first, second), (first, second, third), (second, first, third))
    return any(_safe_within(*way, least) for way in ways)


def _safe_within(slices: Labels, one: Labels, other: Labels, least: int) -> bool:
    places: dict[str | None, list[int]] = defaultdict(list)
    for at, label in enumerate(slices):
        places[label].append(at)
    return all(_small_cut(one, other, within, least) is None for within in places.values())


# --- cuts ---------------------------------------------------------------------------------------------------------

Point = tuple[str, str | None]  # a or b: of which breakdown; its group
Graph = dict[int, dict[int, int]]  # how many batteries lie between two points


def _small_cut(one: Labels, other: Labels, within: Iterable[int], least: int) -> set[Point] | None:
    """One side of a cut through fewer than `least` batteries; None: there is none. Parts that hang apart are apart."""
    lines = Counter((("a", one[at]), ("b", other[at])) for at in within)
    home = _joined(lines, lambda held: held >= least)  # no small cut goes through such a line
    weights: Counter[tuple[Point, Point]] = Counter()
    for (a, b), held in lines.items():
        if home[a] != home[b]:
            weights[(home[a], home[b])] += held
    apart = _joined(weights, lambda _: True)
    for part in sorted({apart[point] for point in apart}, key=repr):
        points = sorted((point for point in apart if apart[point] == part), key=repr)
        number = {point: at for at, point in enumerate(points)}
        graph: Graph = {at: defaultdict(int) for at in range(len(points))}
        for (a, b), held in weights.items():
            if a in number:
                graph[number[a]][number[b]] += held
                graph[number[b]][number[a]] += held
        side = _cut_below(graph, least)
        if side is not None:
            return {point for point in home if number.get(home[point]) in side}
    return None


def _joined(lines: Mapping[tuple[Point, Point], int], joins: Callable[[int], bool]) -> dict[Point, Point]:
    """For each point the one that stands for all it is joined to."""
    parent: dict[Point, Point] = {point: point for line in lines for point in line}

    def root(point: Point) -> Point:
        while parent[point] != point:
            parent[point] = parent[parent[point]]
            point = parent[point]
        return point

    for (a, b), held in lines.items():
        if joins(held):
            parent[root(a)] = root(b)
    return {point: root(point) for point in parent}


def _cut_below(graph: Graph, least: int) -> set[int] | None:
    """Stoer and Wagner (1997), ended at the first cut that is small enough. The graph is used up."""
    merged = {at: {at} for at in graph}
    while len(graph) > 1:
        added: list[int] = []
        pull = dict.fromkeys(graph, 0)
        last_pull = 0
        while pull:
            chosen = max(pull, key=lambda at: (pull[at], -at))
            last_pull = pull.pop(chosen)
            added.append(chosen)
            for neighbour, held in graph[chosen].items():
                if neighbour in pull:
                    pull[neighbour] += held
        before, last = added[-2], added[-1]
        if last_pull < least:
            return merged[last]
        for neighbour, held in graph.pop(last).items():
            del graph[neighbour][last]
            if neighbour != before:
                graph[before][neighbour] += held
                graph[neighbour][before] += held
        merged[before] |= merged.pop(last)
    return None


# --- figures ------------------------------------------------------------------------------------------------------


def _groups(members: Sequence[Member], labels: Labels) -> tuple[Group, ...]:
    held: dict[str | None, list[Member]] = defaultdict(list)
    for member, label in zip(members, labels, strict=True):
        held[label].append(member)
    found = [_group(name, some) for name, some in held.items()]
    return tuple(sorted(found, key=lambda group: (group.name is None, -group.batteries, group.name or "")))


def _group(name: str | None, members: Sequence[Member]) -> Group:
    low, middle, high = quantiles((m.soh_pct for m in members), n=4, method="inclusive")
    ages = [m.age_years for m in members if m.age_years is not None]
    age = quantiles(ages, n=2, method="inclusive")[0] if len(ages) == len(members) else None
    return Group(
        name=name,
        batteries=len(members),
        soh_quartiles_pct=(round(low), round(middle), round(high)),
        km=round(sum(m.km for m in members) / KM_STEP) * KM_STEP,
        energy_kwh=round(sum(m.energy_kwh for m in members) / KWH_STEP) * KWH_STEP,
        age_median_years=None if age is None else round(age, 1),
    )
