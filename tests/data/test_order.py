import json
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.data.index import Index, Row
from mosaic.data.order import EndlessOrder, Order, Place
from mosaic.data.problems import Problems


class Listed:
    """A collection of rows alone."""

    def __init__(self, name, rows, problems=()):
        self.name, self.found = name, Index(rows=tuple(rows), problems=tuple(problems))

    def index(self):
        return self.found


def bucket(shard, row):
    return f"{row.references} {row.width}x{row.height}"


def make(shards, *, seed=0, batch=2, window=5, limit=0):
    return Order(shards, seed=seed, batch=batch, window=window, bucket=bucket, problems=Problems(limit))


@st.composite
def worlds(draw):
    """Shards of a few samples of mixed K and aspect, some of them empty."""
    kinds = st.tuples(st.integers(0, 2), st.sampled_from([(16, 16), (16, 32)]))
    shards = draw(st.lists(st.lists(kinds, max_size=7), min_size=1, max_size=5).filter(any))
    return [
        Listed(f"{i}.tar", [Row(f"{i}-{j}", k, *size) for j, (k, size) in enumerate(rows)])
        for i, rows in enumerate(shards)
    ]


settings = {
    "shards": worlds(),
    "seed": st.integers(0, 2**40),
    "batch": st.integers(1, 6),
    "window": st.integers(1, 12),
}


def stored(order):
    return json.loads(json.dumps(order.state_dict()))


@given(**settings, taken=st.integers(0, 12))
def test_a_stream_taken_up_anywhere_goes_on_the_same(shards, seed, batch, window, taken):
    order = make(shards, seed=seed, batch=batch, window=window)
    for _ in range(taken):
        next(order)
    state = stored(order)
    wanted = [next(order) for _ in range(6)]
    again = make(shards, seed=seed + 1, batch=batch, window=window + 3)  # the state's seed and window count
    again.load_state_dict(state)
    again.window = window
    assert [next(again) for _ in range(6)] == wanted
    assert stored(again) == stored(order)


@given(**settings)
def test_an_epoch_drops_and_repeats_nothing(shards, seed, batch, window):
    order = make(shards, seed=seed, batch=batch, window=window)
    seen = []
    while order.epoch < 3:
        seen += next(order)
    waiting = list(chain.from_iterable(order.waiting.values()))
    everything = {(s, r) for s, shard in enumerate(shards) for r in range(len(shard.found.rows))}
    counts = Counter(seen + waiting)
    assert max(counts.values()) == 1
    for epoch in range(3):
        assert {(place.shard, place.row) for place in counts if place.epoch == epoch} == everything


@given(**settings)
def test_a_batch_is_of_one_bucket(shards, seed, batch, window):
    order = make(shards, seed=seed, batch=batch, window=window)
    for _ in range(8):
        places = next(order)
        assert len(places) == batch
        assert len({order._bucket(place) for place in places}) == 1


@given(**settings, other=st.integers(1, 6), taken=st.integers(0, 8))
def test_another_batch_size_goes_on_with_the_same_samples(shards, seed, batch, window, other, taken):
    """What a run resumed on other processes sees: nothing is dropped or repeated over the seam."""
    order = make(shards, seed=seed, batch=batch, window=window)
    seen = [place for _ in range(taken) for place in next(order)]
    again = make(shards, seed=seed, batch=other, window=window)
    again.load_state_dict(stored(order))
    while again.epoch < 1 + order.epoch:
        seen += next(again)
    counts = Counter(seen + list(chain.from_iterable(again.waiting.values())))
    assert max(counts.values()) == 1
    total = sum(len(shard.found.rows) for shard in shards)
    assert sum(place.epoch < again.epoch for place in counts) == total * again.epoch


def test_windows_shuffle_across_shards_and_epochs_differ():
    shards = [Listed(f"{i}.tar", [Row(f"{j}", 1, 16, 16) for j in range(10)]) for i in range(4)]
    order = make(shards, batch=20, window=20)
    batches = [next(order) for _ in range(4)]
    assert len({place.shard for place in batches[0]}) == 2  # a window of 20 mixes two shards of 10
    assert batches[0] != sorted(batches[0])
    assert [place[1:] for place in batches[0]] != [place[1:] for place in batches[2]]
    assert make(shards, batch=20, window=20, seed=1).__next__() != batches[0]


def test_the_state_is_small():
    shards = [Listed(f"{i}.tar", [Row(f"{j}", j % 4, 16, 16) for j in range(500)]) for i in range(20)]
    order = make(shards, batch=8, window=4096)
    for _ in range(100):
        next(order)
    assert len(json.dumps(order.state_dict())) < 1000


def test_other_shards_are_refused():
    rows = [Row("a", 1, 16, 16)]
    order = make([Listed("a.tar", rows)], batch=1)
    next(order)
    moved = make([Listed("elsewhere/a.tar", rows)], batch=1)
    moved.load_state_dict(stored(order))
    with pytest.raises(ValueError, match="other shards"):
        make([Listed("b.tar", rows)], batch=1).load_state_dict(stored(order))
    with pytest.raises(ValueError, match="other shards"):
        make([Listed("a.tar", rows)] * 2, batch=1).load_state_dict(stored(order))


def test_other_samples_under_the_same_names_are_refused():
    def shards(first=8, second=8, height=16):
        return [
            Listed("a.tar", [Row(f"{i}", 1, height, 16) for i in range(first)]),
            Listed("b.tar", [Row(f"{i}", 1, 16, 16) for i in range(second)]),
        ]

    order = make(shards(), batch=1, window=8)
    first = next(order)[0].shard
    state = stored(order)
    assert list(state["samples"]) == [str(first)]  # the other has not been read yet, and may be any
    make(shards(**{"second" if first == 0 else "first": 3}), batch=1).load_state_dict(state)
    fewer = shards(**{"first" if first == 0 else "second": 3})
    with pytest.raises(ValueError, match=rf"{'ab'[first]}.tar holds other samples \(3\) .* \(8\): put them"):
        make(fewer, batch=1).load_state_dict(state)
    for _ in range(8):
        next(order)
    again = make(shards(height=32), batch=1, window=8)  # as many pictures, of another size
    with pytest.raises(ValueError, match=r"a.tar holds other samples \(8\)"):
        again.load_state_dict(stored(order))
        [next(again) for _ in range(16)]  # at the latest when it comes to them


def test_samples_that_wait_are_looked_at_too():
    rows = [Row("x", 1, 16, 16), Row("y", 2, 16, 16)]
    order = make([Listed("a.tar", rows)] * 3, batch=3, window=2)
    next(order)
    state = stored(order) | {"shard": 0, "offset": 0, "window": 0}
    assert state["waiting"]
    with pytest.raises(ValueError, match=r"a.tar holds other samples \(1\)"):
        make([Listed("a.tar", rows[:1])] * 3, batch=3).load_state_dict(state)


def test_samples_that_wait_move_to_the_buckets_of_another_recipe():
    rows = [Row("x", 1, 16, 16), Row("y", 1, 16, 32), Row("z", 1, 32, 16)]
    order = make([Listed("a.tar", rows)], batch=2, window=3)
    next(order)
    waiting = {place for places in order.waiting.values() for place in places}
    assert len(order.waiting) > 1
    order.bucket = again = lambda shard, row: f"{row.references} square"
    order.load_state_dict(stored(order))
    assert waiting == set(order.waiting[again("a.tar", rows[0])])


def test_problems_of_an_index_are_told_and_counted(tmp_path, capsys):
    shards = [Listed("a.tar", [Row("x", 1, 16, 16)], [("y", "The sample y lacks target.webp.")])]
    with pytest.raises(ValueError, match=r"1 corrupt sample, data.corrupt allows 0; .*a.tar.*lacks target"):
        next(make(shards, batch=1))
    order = make(shards, batch=1, limit=1)
    order.problems.log = tmp_path / "corrupt.jsonl"
    for _ in range(5):  # several epochs, told once
        next(order)
    (line,) = order.problems.log.read_text().splitlines()
    assert json.loads(line) == {"shard": "a.tar", "key": "y", "problem": "The sample y lacks target.webp."}
    assert capsys.readouterr().err.count("a.tar: The sample y lacks") == 1  # what stops a run is not skipped


def test_the_limit_is_of_a_run_however_often_it_resumes(tmp_path, capsys):
    log = tmp_path / "corrupt.jsonl"
    shards = [Listed("a.tar", [Row("x", 1, 16, 16)], [("y", "It is cut."), ("z", "It is cut.")])]

    def start(limit):
        order = make(shards, batch=1)
        order.problems = Problems(limit, log)
        return order

    order = start(2)
    next(order)
    again = start(3)
    again.load_state_dict(stored(order))
    for _ in range(3):
        next(again)
    assert len(log.read_text().splitlines()) == 2  # not told again
    again.problems.tell("a.tar", "x", "It is cut.", found_by_all=False)
    third = start(3)
    third.load_state_dict(stored(again))
    with pytest.raises(ValueError, match=r"4 corrupt samples, data.corrupt allows 3"):
        third.problems.tell("a.tar", "w", "It is cut.")
    with pytest.raises(ValueError, match=r"3 corrupt samples, data.corrupt allows 1"):  # lowered since
        start(1).load_state_dict(stored(again))
    validation = Problems(0, log)
    validation.recall({"held-out.tar"})
    assert not validation.seen


def test_nothing_to_read_is_an_error():
    with pytest.raises(ValueError, match="no sample that can be used"):
        next(make([Listed("a.tar", []), Listed("b.tar", [])]))


def test_stand_ins_are_of_the_same_bucket_and_come_from_every_shard():
    rows = [Row("a", 1, 16, 16), Row("b", 2, 16, 16), Row("c", 1, 16, 16)]
    order = make([Listed("a.tar", rows), Listed("b.tar", rows)])
    found = list(order.stand_ins(Place(3, 1, 2)))
    assert found == [Place(3, 1, 0), Place(3, 0, 0), Place(3, 0, 2)]


@given(batch=st.integers(1, 4), taken=st.integers(0, 9), seed=st.integers(0, 99))
def test_endless_toys_are_never_repeated_and_go_on(batch, taken, seed):
    order = EndlessOrder({1: 0.5, 3: 1.0, 2: 0.0}, seed=seed, batch=batch)
    seen = [place for _ in range(taken) for place in next(order)]
    again = EndlessOrder({1: 0.5, 3: 1.0}, seed=0, batch=batch)
    again.load_state_dict(stored(order))
    for _ in range(5):
        places = next(order)
        assert places == next(again)
        assert len({place.shard for place in places}) == 1 and places[0].shard in (1, 3)
        seen += places
    assert len(set(seen)) == len(seen)
