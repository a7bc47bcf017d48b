"""Whatever is sent, the answer is one that the description has: no 5xx, no other status."""

import asyncio
import time

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from random_bodies import run

from clicktide.serving_worker import state_of
from clicktide.stream_folder import StreamFolder
from features.spec_file import load_spec
from learning import ClickLearner
from learning.live import create_live
from serving.access import Access
from serving.app import build_app

TOO_STRICT = [
    # a value that the schema allows may not suit the feature spec: 422
    schemathesis.checks.positive_data_acceptance,
    # unknown fields of events are kept, by the log's own rule
    schemathesis.checks.negative_data_rejection,
]


TOKEN = {"Authorization": "Bearer 0123456789abcdef"}
TOKENS = '[all]\nscopes = ["predict", "events", "admin"]\ntoken = "0123456789abcdef"'


@pytest.fixture(scope="module")
def described(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("fuzz")
    spec = load_spec("market")
    create_live(folder / "live.weights", ClickLearner(spec), time.time_ns() // 1_000_000)
    changes = ("serve.access_log=none", "serve.request_timeout_s=100")
    stream = StreamFolder(folder, str(folder / "log.db"), "market", changes=changes)
    state = state_of(stream, stream.serve_settings(), stream.stream_settings())
    state.access = Access(TOKENS if request.param == "tokens" else "")
    yield schemathesis.openapi.from_asgi("/openapi.json", build_app(state), headers=TOKEN)
    state.close()


@pytest.mark.parametrize("described", ["open", "tokens"], indirect=True)
def test_every_operation_answers_as_described(described):
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 9
    for operation in operations:

        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(excluded_checks=TOO_STRICT, headers=TOKEN)

        check()


def test_random_bodies_are_answered_by_2xx_or_4xx(tmp_path):
    counts, _ = asyncio.run(run(tmp_path, bodies=400, seed=1))
    assert not {status for status in counts if status >= 500}, counts
    assert counts[200] > 20
    assert counts[422] > 20
