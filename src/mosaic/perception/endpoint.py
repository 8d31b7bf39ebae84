"""A vision-language model behind any OpenAI-compatible endpoint, its answers of a schema.

    endpoint = Endpoint(Access(base_url="http://localhost:8000/v1", model="Qwen/Qwen3-VL-8B-Instruct"))
    verdict = endpoint.ask(PictureVerdict, "You judge pictures …", "Is this …?", [picture])

The server is asked for JSON of the schema, and what it sends is checked all the same. Connection errors,
timeouts, 429 and 5xx are tried again by the client, with growing pauses; half a JSON or a wrong schema is
asked for again.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mosaic.sample import Picture

Schema = TypeVar("Schema", bound=BaseModel)
Spent = Callable[[str, int, int, str], None]
"""Told of every reply: hash of its request, tokens in, tokens out, what was wrong with it ("": nothing)."""
REMEMBERED = 512  # answers, so that a batch that failed in the middle is not paid for twice


class Access(BaseModel):
    """Which model where, and how patient to be with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = "https://api.openai.com/v1"
    model: str = Field(min_length=1)
    api_key_variable: str = "OPENAI_API_KEY"  # of the environment; unset: none sent
    timeout: float = Field(120.0, gt=0)  # seconds for one request
    retries: int = Field(4, ge=0)  # after connection errors, timeouts, 429 and 5xx
    attempts: int = Field(3, ge=1)  # at an answer of the schema
    max_tokens: int = Field(800, ge=1)
    temperature: float | None = 0.0  # None: not sent, for models that refuse it
    side: int = Field(768, ge=32)  # longest of a picture sent; larger ones are made smaller
    cache: str = ""  # a folder that keeps answers, so that a run taken up again asks nothing twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[Schema]):
    """What the model said, and what it cost when it was asked."""

    value: Schema
    tokens_in: int
    tokens_out: int


class Endpoint:
    """Asks one model; safe to be called by several threads."""

    def __init__(self, access: Access, spent: Spent | None = None) -> None:
        from openai import OpenAI

        self.access, self.name, self._spent = access, access.model, spent
        self._answers = _Answers(access.cache)
        self._client = OpenAI(
            base_url=access.base_url,
            api_key=os.environ.get(access.api_key_variable) or "none",
            timeout=access.timeout,
            max_retries=access.retries,
        )

    def ask(
        self, schema: type[Schema], system: str, question: str, pictures: Sequence[Picture] = ()
    ) -> Answer[Schema]:
        """One answer of the schema. ValueError, in one sentence, if there is none to be had."""
        request = _request(self.access, schema, system, question, pictures)
        reply = self._reply(request, lambda content: _mismatch(content, schema))
        return Answer(
            value=schema.model_validate_json(reply["content"]),
            tokens_in=reply["tokens_in"],
            tokens_out=reply["tokens_out"],
        )

    def say(self, question: str, pictures: Sequence[Picture] = ()) -> str:
        """Free text, for models tuned to one prompt: pictures first, no system message, no schema."""
        return str(self._reply(_plain_request(self.access, question, pictures), lambda _: "")["content"])

    def _reply(self, request: dict[str, Any], wrong: Callable[[str], str]) -> dict[str, Any]:
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        reply = self._answers.get(key)
        if reply is None:
            reply = self._sent(request, wrong, key)
            self._answers.put(key, reply)
        return reply

    def _sent(self, request: dict[str, Any], wrong: Callable[[str], str], key: str) -> dict[str, Any]:
        spent, problem = [0, 0], ""
        for _ in range(self.access.attempts):
            reply = self._completion(request)
            usage = getattr(reply, "usage", None)
            tokens_in = getattr(usage, "prompt_tokens", 0) or 0
            tokens_out = getattr(usage, "completion_tokens", 0) or 0
            spent = [spent[0] + tokens_in, spent[1] + tokens_out]
            content, problem = _content(reply)
            problem = problem or wrong(content)
            if self._spent is not None:
                self._spent(key, tokens_in, tokens_out, problem)
            if not problem:
                return {"content": content, "tokens_in": spent[0], "tokens_out": spent[1]}
        times = f"{self.access.attempts} times" if self.access.attempts > 1 else "once"
        raise ValueError(f"{self._who} was asked {times} and {problem}.")

    def _completion(self, request: dict[str, Any]) -> Any:
        import openai

        try:
            return self._client.chat.completions.create(**request)
        except openai.APITimeoutError as error:
            raise ValueError(f"{self._who} did not answer within {self.access.timeout:g} s.") from error
        except openai.APIConnectionError as error:
            raise ValueError(f"{self._who} cannot be reached: check base_url.") from error
        except openai.AuthenticationError as error:
            raise ValueError(
                f"{self._who} refuses the key in ${self.access.api_key_variable} (401)."
            ) from error
        except openai.APIStatusError as error:
            said = " ".join(str(error.message).split())[:200]
            raise ValueError(f"{self._who} answered {error.status_code}: {said}") from error
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise ValueError(f"{self._who} answered what is no completion: {error}") from error

    @property
    def _who(self) -> str:
        return f"The model {self.access.model} at {self.access.base_url}"


def data_url(picture: Picture, side: int) -> str:
    """The picture as a JPEG in a data: URL, its longer side at most `side`. Same pixels, same text."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def served(where: str, **more: Any) -> Access:
    """Of a model named as URL#MODEL, http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct; else ValueError."""
    base_url, _, model = where.partition("#")
    if not is_served(where) or not model:
        raise ValueError(f"{where} names no served model: give URL#MODEL, as http://localhost:8000/v1#NAME.")
    return Access(base_url=base_url, model=model, **more)


def is_served(where: str) -> bool:
    """Whether `where` speaks of an endpoint, not of a folder or a hub id."""
    return where.startswith(("http://", "https://"))


def _request(
    access: Access, schema: type[BaseModel], system: str, question: str, pictures: Sequence[Picture]
) -> dict[str, Any]:
    said = [{"type": "text", "text": question}, *_shown(pictures, access.side)]
    return _plain(access, [{"role": "system", "content": system}, {"role": "user", "content": said}]) | {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()},
        },
    }


def _plain_request(access: Access, question: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    said = [*_shown(pictures, access.side), {"type": "text", "text": question}]
    return _plain(access, [{"role": "user", "content": said}])


def _plain(access: Access, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    temperature = {} if access.temperature is None else {"temperature": access.temperature}
    asked = {"model": access.model, "messages": list(messages), "max_completion_tokens": access.max_tokens}
    return temperature | asked


def _shown(pictures: Sequence[Picture], side: int) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": data_url(picture, side)}} for picture in pictures]


def _content(reply: Any) -> tuple[str, str]:
    """The text of a reply, or what is wrong with it."""
    choices = getattr(reply, "choices", None)
    if not choices:
        return "", "sent no choices"
    message = choices[0].message
    if getattr(message, "refusal", None):
        return "", f"refused: {' '.join(message.refusal.split())[:200]}"
    if choices[0].finish_reason == "length":
        return "", "broke off at max_tokens"
    return message.content or "", "" if message.content else "sent no text"


def _mismatch(content: str, schema: type[BaseModel]) -> str:
    """What keeps a text from being of the schema; "" if nothing does."""
    try:
        schema.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return f"sent what is no whole JSON: {content[:60]!r}"
        place = ".".join(str(part) for part in first["loc"])
        return f"sent JSON of another schema ({place}: {first['msg']})"
    return ""


class _Answers:
    """The latest replies by the hash of their request, and all of them where a folder is given."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._latest: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def get(self, key: str) -> dict[str, Any] | None:
        if key in self._latest:
            return self._latest[key]
        if self._folder is None or not (self._folder / f"{key}.json").is_file():
            return None
        reply: dict[str, Any] = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
        return reply

    def put(self, key: str, reply: dict[str, Any]) -> None:
        self._latest[key] = reply
        if len(self._latest) > REMEMBERED:
            self._latest.popitem(last=False)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{key}.{os.getpid()}-{threading.get_ident()}.partial"
            partial.write_text(json.dumps(reply, ensure_ascii=False), encoding="utf-8")
            partial.replace(self._folder / f"{key}.json")
