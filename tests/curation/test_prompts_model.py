"""A language model behind a stub: refusals, timeouts, half a JSON, wrong schemas, the cache, the ledger."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mosaic.curation.prompting.language_model import check_written, written_for
from mosaic.curation.prompting.ledger import Ledger, total
from mosaic.curation.stages.prompts import Section, make

pytest.importorskip("openai")

Answer = tuple[int, dict[str, str], bytes]
NO_PAUSE = {"retry-after-ms": "5", "content-type": "application/json"}


class Stub(ThreadingHTTPServer):
    """Answers chat completions as `behave` says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.behave: Callable[[int, dict[str, Any]], Answer] = lambda n, request: completion(good(request))
        self.busy, self.most_busy, self.lock = 0, 0, threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            number = len(self.server.requests)
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        try:
            status, headers, content = self.server.behave(number, request)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client did not wait
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROMPTS_KEY", "secret-key")
    server = Stub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def task_of(request: dict[str, Any]) -> dict[str, Any]:
    content = request["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return dict(json.loads(text))


def good(request: dict[str, Any]) -> str:
    task = task_of(request)
    nouns = task["subjects"]
    return json.dumps(
        {
            "subjects": [{"name": noun, "looks": f"old teal {noun} with a dent"} for noun in nouns],
            "caption": f"Here are {', '.join(nouns)} {task['place']}.",
            "detailed_caption": f"Here are {', '.join(f'an old teal {noun}' for noun in nouns)}.",
        }
    )


def completion(text: str, status: int = 200, **message: Any) -> Answer:
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text} | message,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return status, NO_PAUSE, json.dumps(body).encode()


def section(stub: Stub, cache: Path | None = None, **changes: Any) -> Section:
    model = {
        "model": "writer-1",
        "base_url": stub.url,
        "api_key_variable": "PROMPTS_KEY",
        "cache": str(cache) if cache else "",
        "timeout": 5.0,
        "retries": 2,
        "attempts": 2,
        "price": (1.0, 10.0),
    }
    return Section(kind="model", subjects=(2,), window=10, model=model | changes)


def test_a_models_words_become_records(stub: Stub, tmp_path: Path) -> None:
    found = make(section(stub, tmp_path))(range(4))
    assert [outcome.status for _, outcome in found] == ["done"] * 4
    record, outcome = found[0]
    plan = make(Section(subjects=(2,), window=10))([0])[0][0]  # of the same seed by templates
    assert [named.name for named in record.subjects] == [named.name for named in plan.subjects]
    assert record.subjects[0].looks == f"old teal {record.subjects[0].name} with a dent"
    assert record.caption.startswith("Here are") and record.origin == {"prompts": "writer-1"}
    assert outcome.facts["prompts"]["by"] == "writer-1" and record.seed == plan.seed
    request = stub.requests[0]
    assert request["model"] == "writer-1"
    assert request["response_format"]["type"] == "json_schema"
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"subjects", "caption", "detailed_caption"}
    assert stub.headers[0]["authorization"] == "Bearer secret-key"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "secret" in path.read_text()]


def test_what_is_in_the_cache_is_not_asked_for(stub: Stub, tmp_path: Path) -> None:
    first = make(section(stub, tmp_path))(range(3))
    assert len(stub.requests) == 3
    stub.behave = lambda n, request: (500, NO_PAUSE, b"")
    assert make(section(stub, tmp_path))(range(3)) == first
    assert len(stub.requests) == 3
    assert total(tmp_path / "ledger.jsonl")["replies"] == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_tried_again(stub: Stub, tmp_path: Path, status: int) -> None:
    stub.behave = lambda n, request: (status, NO_PAUSE, b"{}") if n <= 2 else completion(good(request))
    ((_, outcome),) = make(section(stub, tmp_path))([0])
    assert outcome.status == "done" and len(stub.requests) == 3
    assert total(tmp_path / "ledger.jsonl")["replies"] == 1  # only what was answered is paid


def refused(stub: Stub) -> str:
    stub.behave = lambda n, request: (401, NO_PAUSE, b'{"error": {"message": "bad key"}}')
    return "401"


def always_busy(stub: Stub) -> str:
    stub.behave = lambda n, request: (429, NO_PAUSE, b'{"error": {"message": "slow down"}}')
    return "429"


def half_a_json(stub: Stub) -> str:
    stub.behave = lambda n, request: completion(good(request)[:40])
    return "no whole JSON"


def half_a_reply(stub: Stub) -> str:
    stub.behave = lambda n, request: (200, NO_PAUSE, completion(good(request))[2][:50])
    return "completion"


def another_schema(stub: Stub) -> str:
    stub.behave = lambda n, request: completion(json.dumps({"prompt": "a dog"}))
    return "another schema"


def another_subject(stub: Stub) -> str:
    stub.behave = lambda n, request: completion(
        good(request).replace(task_of(request)["subjects"][0], "yeti")
    )
    return "the subjects are not"


def colours_in_the_caption(stub: Stub) -> str:
    stub.behave = lambda n, request: completion(good(request).replace("Here are", "Here are crimson"))
    return "tells looks: crimson"


def a_refusal(stub: Stub) -> str:
    stub.behave = lambda n, request: completion("", refusal="I would rather not")
    return "rather not"


def no_choices(stub: Stub) -> str:
    stub.behave = lambda n, request: (200, NO_PAUSE, b'{"choices": []}')
    return "no choices"


def too_slow(stub: Stub) -> str:
    def behave(n: int, request: dict[str, Any]) -> Answer:
        time.sleep(0.6)
        return completion(good(request))

    stub.behave = behave
    return "within 0.2 s"


FAULTS = [
    refused,
    always_busy,
    half_a_json,
    half_a_reply,
    another_schema,
    another_subject,
    colours_in_the_caption,
    a_refusal,
    no_choices,
    too_slow,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_a_failed_row_with_its_reason(
    stub: Stub, tmp_path: Path, fault: Callable[[Stub], str]
) -> None:
    said = fault(stub)
    source = make(section(stub, tmp_path, timeout=0.2 if fault is too_slow else 5.0, retries=1))
    found = source(range(2))
    for record, outcome in found:
        assert outcome.status == "failed" and outcome.id == record.id
        assert said in outcome.error and "\n" not in outcome.error
        assert "secret-key" not in outcome.error
    stub.behave = lambda n, request: completion(good(request))  # what failed is not kept: it can be had later
    assert [outcome.status for _, outcome in source(range(2))] == ["done", "done"]


def test_an_endpoint_that_is_not_there_is_a_failed_row(stub: Stub, tmp_path: Path) -> None:
    gone = section(stub, tmp_path, base_url="http://127.0.0.1:9/v1", retries=0)
    ((_, outcome),) = make(gone)([0])
    assert outcome.status == "failed" and "cannot be reached" in outcome.error


def test_a_wrong_reply_is_asked_for_again_and_paid_for(stub: Stub, tmp_path: Path) -> None:
    stub.behave = lambda n, request: completion("{" if n == 1 else good(request))
    ((_, outcome),) = make(section(stub, tmp_path))([0])
    assert outcome.status == "done"
    sums = total(tmp_path / "ledger.jsonl")
    assert sums == {
        "replies": 2,
        "problems": 1,
        "tokens_in": 200,
        "tokens_out": 40,
        "cost": pytest.approx((200 * 1 + 40 * 10) / 1e6),
    }


def test_requests_at_a_time_are_bounded(stub: Stub) -> None:
    def behave(n: int, request: dict[str, Any]) -> Answer:
        time.sleep(0.05)
        return completion(good(request))

    stub.behave = behave
    found = make(section(stub, concurrency=3))(range(9))
    assert {outcome.status for _, outcome in found} == {"done"}
    assert 1 < stub.most_busy <= 3
    assert [record.subjects for record, _ in found] == [
        record.subjects for record, _ in make(section(stub, concurrency=1))(range(9))
    ]


def test_near_duplicates_cost_nothing(stub: Stub) -> None:
    strict = section(stub).model_copy(update={"nearest": 0.0})
    found = make(strict)(range(4))
    assert [outcome.status for _, outcome in found] == ["done"] + ["failed"] * 3
    assert len(stub.requests) == 1


def test_a_ledger_sums_what_threads_wrote_and_passes_over_a_torn_line(tmp_path: Path) -> None:
    ledger = Ledger(path=tmp_path / "sub" / "ledger.jsonl", model="m", price=(2.0, 4.0))
    threads = [
        threading.Thread(target=lambda: [ledger.add("k", 3, 5, "x" * 1000) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.path.open("a") as file:
        file.write('{"model": "m", "tok')
    sums = total(ledger.path)
    assert sums["replies"] == sums["problems"] == 200
    assert (sums["tokens_in"], sums["tokens_out"]) == (600, 1000)
    assert sums["cost"] == pytest.approx(200 * (3 * 2 + 5 * 4) / 1e6)
    assert total(tmp_path / "none.jsonl")["replies"] == 0


def test_the_schema_that_is_sent_does_not_depend_on_the_nouns() -> None:
    assert written_for(["dog"]).model_json_schema() == written_for(["cat", "cow"]).model_json_schema()
    assert written_for(["dog"]).__name__ == "Written"


def test_a_noun_may_hold_a_colour_that_is_no_look() -> None:
    text = {"subjects": [{"name": "polar bear", "looks": "white polar bear"}]}
    captions = {"caption": "A polar bear walks.", "detailed_caption": "A white polar bear walks."}
    written = written_for(["polar bear"]).model_validate(text | captions)
    check_written(written, ["polar bear"])
    with pytest.raises(ValueError, match="lacks the noun"):
        check_written(written.model_copy(update={"detailed_caption": "A bear."}), ["polar bear"])
