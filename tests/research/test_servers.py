"""Many servers on one list of graphs: each item once, whatever servers do."""

import threading
import time

import pytest
from same_subject.dev.setup.errors import SetupError
from same_subject.research import servers
from same_subject.tests.research.fake_servers import FakeServer


@pytest.fixture
def started():
    """Starts fake servers, and ends them."""
    running = []

    def start(does=None, **more):
        running.append(FakeServer(does or drawn, **more))
        return running[-1]

    yield start
    for server in running:
        server.end()


def drawn(graph):
    """One picture, named after what the graph says."""
    return {"save": {"images": [{"filename": f"{graph['1']['text']}.png", "subfolder": "", "type": "output"}], "size": [64]}}


def items(count):
    return [(f"item {number}", {"1": {"text": str(number)}}) for number in range(count)]


def run(pool, count=8):
    """What came of items 0 to ``count``, by name, each once."""
    done = list(pool.run(items(count)))
    assert len({one.name for one in done}) == len(done) == count
    return {one.name: one for one in done}


def pool(*started, **more):
    return servers.Pool([one.url for one in started], **{"say": lambda _: None, "aside": 0.05, "given_up": 2.0, **more})


def test_every_item_comes_back_once_with_its_own_files_from_all_servers(started):
    both = started(), started()
    done = run(pool(*both))
    assert all(done[name].files == {"save": [f"{graph['1']['text']}.png".encode()]} for name, graph in items(8))
    assert all(1 <= len(one.queued) <= 7 for one in both) and sum(len(one.queued) for one in both) == 8


def test_a_server_that_has_an_item_is_not_asked_to_do_it_again(started):
    server = started()
    run(pool(server))
    again = run(pool(server))
    assert len(server.queued) == 8 and again["item 3"].files == {"save": [b"3.png"]}
    list(pool(server).run([("item 3", {"1": {"text": "another"}})]))
    assert len(server.queued) == 9, "a name with another graph is another item"


def test_what_a_server_has_that_ends_goes_to_the_others(started):
    good, hears = started(), []
    ends = started(lambda graph: ends.end())  # in the middle of an item
    ends_told = pool(ends, good, say=hears.append)
    done = run(ends_told)
    assert {one.server for one in done.values()} == {good.url} and not any(one.failure for one in done.values())
    assert any(ends.url in line and "put aside" in line for line in hears)


def test_a_server_that_comes_back_is_used_again(started):
    calls = []

    def forgets(graph):
        calls.append(graph)
        if len(calls) == 1:
            return None
        return drawn(graph)

    server = started(forgets)
    using = pool(server)
    running = using.run(items(3))
    threading.Timer(0.3, lambda: server.running.clear()).start()  # as one does that was started anew
    assert len({one.name for one in running}) == 3
    assert using.servers[0].done == 3 and using.servers[0].failed == 1


def test_a_server_that_is_too_slow_is_put_aside_and_its_item_done_elsewhere(started):
    slow, good = started(lambda graph: None), started()
    done = run(pool(slow, good, longest=0.4, aside=5.0))
    assert {one.server for one in done.values()} == {good.url} and len(slow.queued) == 1
    assert not slow.running, "it was told to stop"


def test_an_item_that_fails_everywhere_is_given_up_with_the_reason_and_the_others_are_done(started):
    def picky(graph):
        if graph["1"]["text"] == "3":
            raise ValueError("no memory")
        return drawn(graph)

    both = started(picky), started(picky)
    done = run(pool(*both))
    assert [one.name for one in done.values() if one.failure] == ["item 3"]
    assert done["item 3"].failure == "Sampler (node 1): no memory"
    assert sum(graph["1"]["text"] == "3" for one in both for graph in one.graphs.values()) == servers.TRIES
    assert min(sum(graph["1"]["text"] == "3" for graph in one.graphs.values()) for one in both) >= 1, "both were asked"


def test_a_server_where_all_fails_is_put_aside_and_spoils_no_item(started):
    def broken(graph):
        raise ValueError("the GPU is gone")

    bad, good = started(broken), started()
    done = run(pool(bad, good, aside=0.3), 12)
    assert not any(one.failure for one in done.values()) and {one.server for one in done.values()} == {good.url}


def test_what_is_still_to_come_keeps_no_server_waiting(started):
    came = []

    def coming():
        first, second = items(2)
        yield first
        while not came:
            yield None
        yield second

    for one in pool(started(), started()).run(coming()):
        came.append(one.name)
    assert came == ["item 0", "item 1"]


def test_an_item_that_ends_its_servers_is_given_up_and_all_others_are_done(started):
    def ending(graph):
        return FakeServer.ANEW if graph["1"]["text"] == "0" else drawn(graph)

    for count in (1, 2):
        servers_of_it = [started(ending) for _ in range(count)]
        done = run(pool(*servers_of_it))
        assert [one.name for one in done.values() if one.failure] == ["item 0"]
        assert done["item 0"].failure == "it started anew, without its queue"
        assert sum(graph["1"]["text"] == "0" for one in servers_of_it for graph in of_all(one)) == servers.TRIES


def of_all(server):
    """The graphs that came, as often as they came."""
    return (server.graphs[number] for number in server.queued)


def test_an_item_that_ends_servers_for_good_is_tried_behind_all_others(started):
    def of(number):
        def does(graph):
            if graph["1"]["text"] == "0":
                return both[number].end()
            time.sleep(0.05)
            return drawn(graph)

        return does

    both = [started(of(0)), started(of(1))]
    done = []
    with pytest.raises(SetupError, match="no server has done anything"):
        for each in pool(*both, given_up=0.5).run(items(8)):
            done.append(each.name)
    assert sorted(done) == [f"item {number}" for number in range(1, 8)]


def test_a_server_that_is_away_spoils_no_item_however_often_it_is_tried(started, monkeypatch):
    monkeypatch.setattr(servers, "LONGEST_ASIDE", 0.01)
    gone, good = started(), started(lambda graph: time.sleep(0.3) or drawn(graph))
    gone.end()
    using = pool(gone, good, aside=0.01)
    assert not any(one.failure for one in run(using, 4).values())
    assert using.servers[0].failed > servers.TRIES


def test_what_a_server_has_but_whose_files_are_gone_is_done_again(started, tmp_path):
    def writing(graph):
        outputs = drawn(graph)
        (tmp_path / outputs["save"]["images"][0]["filename"]).write_bytes(b"made")
        return outputs

    server = started(writing, folder=tmp_path)
    run(pool(server))
    (tmp_path / "3.png").unlink()
    again = run(pool(server))
    assert again["item 3"].files == {"save": [b"made"]} and len(server.queued) == 9


def test_an_item_whose_files_never_come_is_given_up(started, tmp_path):
    for number in range(1, 4):
        (tmp_path / f"{number}.png").write_bytes(b"made")
    server = started(folder=tmp_path)
    done = run(pool(server), 4)
    assert [one.name for one in done.values() if one.failure] == ["item 0"] and "/view" in done["item 0"].failure
    assert "404" in done["item 0"].failure and len(set(server.queued)) == 3 + servers.TRIES, "each time by another id"


def test_a_run_ends_where_all_fails_on_all_servers_although_one_is_always_at_work(started, monkeypatch):
    def broken(graph):
        time.sleep(0.1)
        raise ValueError("CUDA out of memory")

    monkeypatch.setattr(servers, "LONGEST_ASIDE", 0.1)
    with pytest.raises(SetupError, match="no server has done anything for 1 s.*CUDA out of memory"):
        list(pool(*(started(broken) for _ in range(4)), given_up=1.0).run(items(150)))


def test_what_is_given_up_is_not_counted_as_done(started, monkeypatch):
    def picky(graph):
        if graph["1"]["text"] == "3":
            raise ValueError("no memory")
        return drawn(graph)

    monkeypatch.setattr(servers, "REPORTED", 0.0)
    said = []
    run(pool(started(picky), say=said.append))
    assert said[-1].startswith("7 done, 1 given up, ")


def test_items_that_take_long_among_quick_ones_are_not_interrupted(started, monkeypatch):
    """Collages with sets among those without."""

    def does(graph):
        time.sleep(1.0 if int(graph["1"]["text"]) % 4 == 3 else 0.0)
        return drawn(graph)

    monkeypatch.setattr(servers, "QUICKEST", 0.1)
    using = pool(started(does), started(does))
    assert not any(one.failure for one in run(using, 24).values())
    assert [server.failed for server in using.servers] == [0, 0]


def test_each_further_time_an_item_may_take_twice_as_long(started):
    def does(graph):
        number = server.queued[-1]

        def ends():
            if number in server.running:
                server.running.remove(number)
                server.history[number] = {"outputs": drawn(graph), "status": {"status_str": "success", "messages": []}}

        for begun in timers:
            begun.cancel()
        timers.append(threading.Timer(1.0, ends))
        timers[-1].start()

    timers = []
    server = started(does)
    done = run(pool(server, longest=0.4), 1)
    assert not done["item 0"].failure and len(server.queued) == 3


def test_what_servers_had_before_says_nothing_of_what_an_item_takes(started):
    server = started()
    run(pool(server), 30)
    again = pool(server)
    run(again, 30)
    assert again._limit() == servers.LONGEST


def test_a_graph_that_one_server_refuses_goes_to_another_and_one_that_all_refuse_ends_the_run(started):
    refusing, good = started(refuses="no such model"), started()
    assert {one.server for one in run(pool(refusing, good)).values()} == {good.url}
    with pytest.raises(SetupError, match="no server can run this graph.*no such model"):
        run(pool(refusing, started(refuses="no such model")))


def test_a_run_ends_with_the_reasons_where_no_server_answers(started):
    gone = started()
    gone.end()
    with pytest.raises(SetupError, match=rf"no server has done anything for 0 s.*{gone.url}: .*refused"):
        run(pool(gone, given_up=0.3))


def test_addresses_that_are_none_are_refused():
    with pytest.raises(SetupError, match="no server was named"):
        servers.Pool([])
    with pytest.raises(SetupError, match="`10.0.0.1:8188` is no server's address"):
        servers.Pool(["10.0.0.1:8188"])


def test_with_ray_it_is_the_same(started):
    pytest.importorskip("ray", reason="Ray is left to whoever has a cluster")
    good, gone = started(), started()
    gone.end()
    done = run(pool(good, gone, ray="local"))
    assert done["item 3"].files == {"save": [b"3.png"]} and {one.server for one in done.values()} == {good.url}
