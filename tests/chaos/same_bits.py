"""The same bits everywhere: trainer, API (two workers, single and in batches), River, `predict`.

``python tests/chaos/same_bits.py --impressions 10000``. A trainer learns a log one example at a
time; before each, a server that maps its weights and River's `predict_proba_one` are asked about
it, and must say what the trainer then predicts before it learns. At the end all are asked about all
impressions, at the model's last version. Exit code 1 if one bit differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "helpers")]

import httpx  # noqa: E402
import numpy as np  # noqa: E402
from command import run_clicktide  # noqa: E402
from live_stream import free_port  # noqa: E402
from waiting import until  # noqa: E402

from features.events import Example, Impression, encode_event  # noqa: E402
from features.spec_file import load_spec  # noqa: E402
from learning.click_learner import ClickLearner, probabilities  # noqa: E402
from learning.live import open_live  # noqa: E402
from streaming.log import NewRecord, open_log  # noqa: E402
from streaming.settings import EARLY_EXAMPLES, StreamSettings, TrainSettings  # noqa: E402
from streaming.train_process import Trainer  # noqa: E402

BATCH = 500


def impressions(count, folder, seed):
    """Impressions of the simulated market, each with counter values that no table would give."""
    source = f"sim:stationary?events={count}&seed={seed}"
    done = run_clicktide("simulate", source, "--out", folder / "market")
    assert done.returncode == 0, done.stderr
    rng = np.random.default_rng(seed)
    names = ClickLearner(load_spec("market")).vectoriser.counters.value_names
    out = []
    with (folder / "market" / "impressions.jsonl").open() as file:
        for line in file:
            row = json.loads(line)
            name, at = row.pop("impression_id"), row["timestamp"]
            values = rng.lognormal(0, 4, len(names))
            values[rng.random(len(names)) < 0.1] = 0.0
            kept = rng.random(len(names)) < 0.9
            counters = {n: float(v) for n, v, k in zip(names, values, kept, strict=True) if k}
            out.append(Impression(v=1, impression_id=name, timestamp=at, fields=row,
                                  counters=counters))  # fmt: skip
    return out


def write_examples(url, shown, seed):
    """One record each: the trainer can learn them one at a time."""
    rng = np.random.default_rng(seed)
    with open_log(url) as log:
        log.create_topics(StreamSettings().topics())
        with log.producer("examples").transaction() as tx:
            for one in shown:
                example = Example(v=1, label=int(rng.random() < 0.3), impression=one)
                record = NewRecord(one.impression_id.encode(), encode_event(example), 0)
                tx.append(EARLY_EXAMPLES, [record])


@contextmanager
def server(folder, url, workers):
    """`clicktide serve` on the live weights, no store: counter values come with the requests."""
    port = free_port()
    with (folder / "serve.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "clicktide", "serve", "--dir", folder, "--spec", "market",
             "--log", url, "--port", str(port), "--workers", str(workers)],
            stdout=said, stderr=said,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}", lambda: (folder / "serve.txt").read_text()
        finally:
            process.terminate()
            process.wait(60)


def ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


class Api:
    """Asks by a new connection each time, so that every worker is asked, a late one too."""

    def __init__(self, stack, url):
        anew = httpx.Limits(max_keepalive_connections=0)
        self.client = stack.enter_context(httpx.Client(base_url=url, timeout=60, limits=anew))
        self.workers, self.asked = set(), 0

    def predict(self, body):
        """The probabilities, and how many events the model had learned."""
        self.asked += 1
        reply = self.client.post("/v1/predict", json=body)
        assert reply.status_code == 200, reply.text
        self.workers.add(reply.headers["x-request-id"].split("-")[0])
        told = reply.json()
        version = int(told["model_version"].rsplit("-", 1)[1])
        return [one["probability"] for one in told["predictions"]], version


def body_of(one):
    return {"fields": one.fields, "timestamp": one.timestamp, "counters": one.counters}


def row_of(one):
    """As a log has it, for River and `clicktide predict`."""
    given = {f"counter:{name}": value for name, value in one.counters.items()}
    return one.fields | {"impression_id": one.impression_id} | given


@contextmanager
def spied(out):
    """Notes what the trainer predicts for each event before it learns it."""
    true = ClickLearner.learn_hashed

    def learn_hashed(self, hashed, labels, importance=None):
        logits = true(self, hashed, labels, importance)
        out.extend(probabilities(logits).tolist())
        return logits

    ClickLearner.learn_hashed = learn_hashed
    try:
        yield
    finally:
        ClickLearner.learn_hashed = true


def as_it_learns(trainer, shown, api, folder):
    """Differences between trainer, API and River, each event at the version before it."""
    own, differ = [], {"api": 0, "river": 0, "version": 0}
    trainer.step()  # reads the first; each further step learns one
    river = open_live(folder / "live.weights", trainer.spec).learner
    with spied(own):
        for i, one in enumerate(shown):
            [served], version = api.predict(body_of(one))
            alone = river.predict_proba_one(row_of(one))[True]
            trainer.step()
            assert len(own) == i + 1
            differ["api"] += served != own[i]
            differ["river"] += alone != own[i]
            differ["version"] += version != i
    return differ


def at_the_end(shown, api, folder, out):
    """Differences at the last version, with River's as the measure."""
    river = open_live(folder / "live.weights").learner
    wanted = [river.predict_proba_one(row_of(one))[True] for one in shown]
    single = [api.predict(body_of(one))[0][0] for one in shown]
    many = []
    for at in range(0, len(shown), BATCH):
        part = [body_of(one) for one in shown[at : at + BATCH]]
        many += api.predict({"impressions": part})[0]
    lines = "".join(json.dumps(row_of(one)) + "\n" for one in shown)
    (folder / "log.jsonl").write_text(lines)
    done = run_clicktide("predict", folder / "log.jsonl", "--model", folder / "model", "--out", out)
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        offline = [float(row["probability"]) for row in csv.DictReader(file)]
    assert len(offline) == len(shown)
    others = {"api": single, "api_in_batches": many, "clicktide_predict": offline}
    return {
        name: sum(a != b for a, b in zip(wanted, found, strict=True))
        for name, found in others.items()
    }


def run(folder, count, seed=0, workers=2):
    """How many of so many impressions differ anywhere."""
    url = str(folder / "log.db")
    shown = impressions(count, folder, seed)
    write_examples(url, shown, seed)
    with ExitStack() as stack:
        log = stack.enter_context(open_log(url))
        trainer = stack.enter_context(
            Trainer(
                log,
                load_spec("market"),
                StreamSettings(batch=1, train=TrainSettings(snapshot_every_s=3600)),
                folder / "model",
                now=time.time,
                report=lambda line: None,
                pause=time.sleep,
                live=folder / "live.weights",
            )
        )
        base, said = stack.enter_context(server(folder, url, workers))
        until(lambda: ready(base), said)
        api = Api(stack, base)
        learning = as_it_learns(trainer, shown, api, folder)
        trainer.finish()
        last = at_the_end(shown, api, folder, folder / "scored.csv")
    return {
        "impressions": count, "workers": len(api.workers), "requests": api.asked,
        "differ_as_learned": learning, "differ_at_the_end": last,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--impressions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clicktide-bits-") as folder:
        tally = run(Path(folder), options.impressions, options.seed)
    print(json.dumps(tally, indent=1))
    differ = [*tally["differ_as_learned"].values(), *tally["differ_at_the_end"].values()]
    sys.exit(1 if any(differ) else 0)


if __name__ == "__main__":
    main()
