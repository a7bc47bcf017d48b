"""Promote, roll back, follow and heed alarms, on a registry that lives in memory."""

import os
import threading
from typing import ClassVar

import msgspec
import numpy as np
import pandas as pd
import pytest
from small_spec import spec_of
from waiting import in_threads, until

from features.errors import SnapshotError
from features.spec import FieldSpec
from learning import ClickLearner
from learning.metrics import Tally
from learning.progress import Progress
from learning.snapshot import Snapshot, load_snapshot, save_snapshot
from monitoring.registry.actions import AlarmWatch, pin, promote, roll_back, unpin
from monitoring.registry.client import Registry
from monitoring.registry.follow import ChampionSource, Follower, read_followed
from monitoring.registry.settings import GateSettings
from monitoring.registry.snapshots import Queue, difference, snapshot_summary, stage
from monitoring.registry.versions import NoVersionError, RegistryError, Version, tags_of, version_of
from monitoring.watch.detect.alarm import Alarm

SPEC = spec_of("ad", name="shop", bits=8)


class InMemory:
    """Does what `Registry` does, as far as it is needed here; may be switched off."""

    def __init__(self, files, versions):
        self.url = self.where = "memory:"
        self.model, self.files, self.down = "shop", files, False
        self.known = {v.number: v for v in versions}
        self.names = {}
        self.fetched = []

    def _answer(self):
        if self.down:
            raise RegistryError("away")

    def aliases(self):
        self._answer()
        return dict(self.names)

    def version(self, number):
        self._answer()
        if number not in self.known:
            raise NoVersionError(f"no version {number}")
        aliases = tuple(sorted(k for k, v in self.names.items() if v == number))
        return msgspec.structs.replace(self.known[number], aliases=aliases)

    def versions(self):
        return [self.version(number) for number in sorted(self.known)]

    def update(self, version, **changes):
        self._answer()
        self.known[version.number] = msgspec.structs.replace(version, **changes)
        return self.known[version.number]

    def set_alias(self, alias, number):
        self.names[alias] = number

    def delete_alias(self, alias):
        self.names.pop(alias, None)

    def download(self, version, target):
        self._answer()
        self.fetched.append(version.number)
        try:
            stage(self.files / str(version.number), target / "x" / "data" / "snapshot")
        except SnapshotError as error:
            raise NoVersionError(str(error)) from error
        return target / "x"


def save(folder, events, spec=SPEC):
    learner, progress = ClickLearner(spec), Progress()
    frame = pd.DataFrame({"ad": [f"a{i}" for i in range(events)]})
    labels = (np.arange(events) % 3 == 0).astype(float)
    progress.add(learner.learn_hashed(learner.vectoriser.hash_frame(frame), labels), labels)
    extra = {"offsets": [events], "event_time": 1000 * events, "rejected": {"bad": 2}}
    save_snapshot(folder, Snapshot(learner, progress, extra))


@pytest.fixture
def registry(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / "files" / str(number), 10 * number)
    versions = [
        Version(number=n, created_ms=n, events=10 * n, event_time=n * 100) for n in (1, 2, 3)
    ]
    return InMemory(tmp_path / "files", versions)


def promoted(registry):
    for number in (1, 2, 3):
        promote(registry, number, 10 * number, f"good {number}")


def followed(follower, source):
    """What is served after a step of the follower: the version, and whether it is new."""
    follower.step()
    is_new = source.look()
    return source.current().version, is_new


def test_promotion_moves_previous_along(registry):
    promoted(registry)
    assert registry.names == {"champion": 3, "previous": 2}
    promote(registry, 3, 40, "again")
    assert registry.names == {"champion": 3, "previous": 2}
    assert registry.known[3].reasons == ("again",)
    with pytest.raises(NoVersionError):
        promote(registry, 9, 50, "none")


def test_rollbacks_walk_back_one_by_one(registry):
    promoted(registry)
    assert roll_back(registry, None, 50, "bots") == (3, 2)
    assert registry.names == {"champion": 2, "previous": 1, "serve": 2}
    assert (registry.known[3].gate, registry.known[3].reasons) == ("rolled_back", ("bots",))
    assert roll_back(registry, None, 60, "still") == (2, 1)
    assert registry.names == {"champion": 1, "serve": 1}
    with pytest.raises(NoVersionError, match=r"version 1 is its first champion.*--to V"):
        roll_back(registry, None, 70, "none left")
    unpin(registry)
    assert registry.names == {"champion": 1}


def test_a_rollback_to_a_stated_version(registry):
    with pytest.raises(
        NoVersionError,
        match=r"Other versions: 3 \(pending, 30 events\), 2 .*models promote",
    ):
        roll_back(registry, 2, 50, "nothing is champion")
    promote(registry, 3, 30, "good")
    assert roll_back(registry, 1, 50, "by hand") == (3, 1)
    assert registry.names["serve"] == 1
    pin(registry, 2)
    assert registry.names["serve"] == 2 and registry.names["champion"] == 1


def test_a_follower_fetches_once_and_tidies(registry, tmp_path):
    said, now = [], [0.0]
    follower = Follower(registry, tmp_path / "served", now=lambda: now[0], report=said.append)
    source = ChampionSource(tmp_path / "served", SPEC, "champion")
    promoted(registry)
    for _ in range(3):
        assert follower.step()
    assert registry.fetched == [3] and source.look() and not source.look()
    loaded = source.current()
    assert (loaded.version, loaded.events, loaded.age_ms(13.0)) == ("v3", 30, 10)
    roll_back(registry, None, 50, "bad")
    assert followed(follower, source) == ("v2", True) and registry.fetched == [3, 2]
    registry.down = True
    assert not follower.step() and not follower.step()
    assert len([line for line in said if "does not answer" in line]) == 1
    registry.down = False
    promote(registry, 1, 60, "good")
    unpin(registry)
    assert followed(follower, source) == ("v1", True)
    assert sorted(p.name for p in (tmp_path / "served").glob("version-*")) == [
        "version-1-1",
        "version-2-2",
        "version-3-3",
    ]
    again = Follower(registry, tmp_path / "served", now=lambda: 0.0, report=said.append)
    again.step()
    assert registry.fetched == [3, 2, 1]
    assert read_followed(tmp_path / "served").versions["champion"].number == 1


def test_what_cannot_be_loaded_is_refused_and_the_old_one_stays(registry, tmp_path):
    follower = Follower(registry, tmp_path / "served", now=lambda: 0.0, report=print)
    source = ChampionSource(tmp_path / "served", None, "champion")
    promote(registry, 1, 1, "good")
    followed(follower, source)
    save(registry.files / "2", 20, msgspec.structs.replace(SPEC, name="other", fields=(
        FieldSpec(names=("site",)),)))  # fmt: skip
    promote(registry, 2, 2, "of another spec")
    assert followed(follower, source) == ("v1", False) and "another spec" in source.problem
    array = next((registry.files / "3").glob("arrays-*"))
    array.write_bytes(array.read_bytes()[:-7])
    promote(registry, 3, 3, "damaged")
    assert followed(follower, source) == ("v1", False) and "damaged" in source.problem
    promote(registry, 1, 4, "back")
    assert followed(follower, source)[0] == "v1"


def test_a_version_without_files_holds_up_no_other(registry, tmp_path):
    said = []
    follower = Follower(registry, tmp_path / "served", now=lambda: 0.0, report=said.append)
    source = ChampionSource(tmp_path / "served", SPEC, "champion")
    promoted(registry)
    follower.step()
    (registry.files / "2" / "snapshot.json").unlink()
    roll_back(registry, None, 50, "bad")
    assert follower.step() and follower.step()
    source.look()
    assert source.current().version == "v3" and len([s for s in said if "cannot be had" in s]) == 1
    pin(registry, 1)
    assert followed(follower, source)[0] == "v1"


def test_the_live_policy_serves_a_version_only_while_one_is_pinned(registry, tmp_path):
    follower = Follower(registry, tmp_path / "served", now=lambda: 0.0, report=print)
    source = ChampionSource(tmp_path / "served", SPEC, "live", every_s=0.01)
    promoted(registry)
    follower.step()
    source.start()
    try:
        assert source.current() is None
        pin(registry, 1)
        follower.step()
        until(lambda: source.current() is not None)
        assert source.current().version == "v1"
        unpin(registry)
        follower.step()
        until(lambda: source.current() is None)
    finally:
        source.close()


def alarm(number, what="calibration", status="open", since=250):
    told = Alarm(
        number=number, what=what, status=status, since_ms=since, detected_ms=since + 9,
        field="site", value="s7", size=1.4,
    )  # fmt: skip
    return msgspec.json.encode(told).decode()


def test_an_alarm_rolls_back_once_if_the_settings_say_so(registry, tmp_path):
    said, file = [], tmp_path / "alarms.jsonl"
    settings = GateSettings(roll_back_on_alarm=True)
    watch = AlarmWatch(file, tmp_path, registry, settings, said.append)
    promoted(registry)
    watch.step(1)
    file.write_text("\n".join([alarm(0, "missing"), alarm(1, status="closed"), "{", alarm(2)]))
    registry.down = True
    with pytest.raises(RegistryError):
        watch.step(2)
    registry.down = False
    watch.step(3)
    assert registry.names == {"champion": 2, "previous": 1, "serve": 2}
    assert said == ["register: alarm: calibration of site s7: from version 3 back to 2"]
    unpin(registry)
    promote(registry, 3, 99, "by hand")
    os.utime(file)
    AlarmWatch(file, tmp_path, registry, settings, said.append).step(4)  # restarted
    assert registry.names["champion"] == 3
    file.write_text(alarm(3, since=350))  # the champion learned nothing of it
    watch.step(5)
    assert registry.names["champion"] == 3


def test_alarms_do_nothing_by_default(registry, tmp_path):
    promoted(registry)
    (tmp_path / "alarms.jsonl").write_text(alarm(0))
    AlarmWatch(tmp_path / "alarms.jsonl", tmp_path, registry, GateSettings(), print).step(1)
    assert registry.names["champion"] == 3


def test_a_queue_keeps_the_newest_and_survives(tmp_path):
    said = []
    queue = Queue(tmp_path / "q", 2, said.append)
    for events in (10, 20, 30):
        save(tmp_path / "model", events)
        queue.put(tmp_path / "model", snapshot_summary(tmp_path / "model"), events / 10)
    assert len(said) == 1 and "left out" in said[0]
    again = Queue(tmp_path / "q", 2, said.append)
    assert again.last.last_s == 3.0
    assert again.last.last_place == snapshot_summary(tmp_path / "model").place
    assert [snapshot_summary(path).events for path in again.waiting()] == [20, 30]
    assert load_snapshot(again.waiting()[0]).learner.spec == SPEC
    again.done(again.waiting()[0])
    assert [snapshot_summary(path).events for path in again.waiting()] == [30]


def test_a_look_says_what_a_snapshot_knows(tmp_path):
    assert snapshot_summary(tmp_path / "none") is None
    save(tmp_path, 30)
    found = snapshot_summary(tmp_path)
    assert (found.events, found.offsets, found.event_time, found.rejected) == (30, (30,), 30_000, 2)
    (tmp_path / "snapshot.json").write_text("{")
    with pytest.raises(SnapshotError, match="cannot be read"):
        snapshot_summary(tmp_path)
    with pytest.raises(SnapshotError, match=r"no snapshot|cannot be kept"):
        stage(tmp_path / "none", tmp_path / "staged")


def test_figures_since_a_point_are_those_of_the_events_since():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal(5000), (rng.random(5000) < 0.4).astype(float)
    whole, first, second = Tally(), Tally(), Tally()
    whole.add(logits, labels)
    first.add(logits[:2000], labels[:2000])
    second.add(logits[2000:], labels[2000:])
    mine, true = difference(whole, first).figures(), second.figures()
    for name in ("log_loss", "calibration_ratio", "auc", "ece", "normalised_entropy"):
        assert getattr(mine, name) == pytest.approx(getattr(true, name), rel=1e-9), name
    assert difference(first, whole).events == 2000  # another life: nothing to take off


def test_a_record_travels_in_tags():
    record = Version(
        number=1, created_ms=0, events=5, offsets=(3, 4), gate="held", reasons=("x" * 9000,) * 9,
        figures={"log_loss": 0.1, "calibration_ratio": 1.5}, judged={"candidate": {"auc": 0.5}},
    )  # fmt: skip
    tags = tags_of(record)
    assert all(len(text) < 5000 for text in tags.values()) and tags["calibration"] == "1.50000"

    class Found:
        version, creation_timestamp, source = "7", 12, "file:/x"

    Found.tags = tags
    read = version_of(Found, {"champion": 7, "serve": 6})
    assert (read.number, read.aliases, read.offsets) == (7, ("champion",), (3, 4))
    assert read.judged == {"candidate": {"auc": 0.5}} and read.source == "file:/x"
    Found.tags = {"record": "nonsense"}
    assert version_of(Found, {}).gate == "foreign"


# --- MLflow makes a file's tables when first opened, and breaks if two do so at once.


def test_one_at_a_time_opens_a_file(tmp_path, monkeypatch):
    import mlflow  # takes seconds, of each worker that collects this file

    inside, most, never = 0, 0, threading.Event()

    class Client:
        def __init__(self, *_):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            never.wait(0.05)  # time for another one to come in
            inside -= 1

        def get_registered_model(self, name):
            return self

        aliases: ClassVar[dict[str, int]] = {}

    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    (tmp_path / "mlflow.db").touch()  # one that is not there is not opened to be looked at
    registries = [Registry(f"sqlite:///{tmp_path}/mlflow.db", "m") for _ in range(4)]
    in_threads(*(registry.aliases for registry in registries))
    assert most == 1
