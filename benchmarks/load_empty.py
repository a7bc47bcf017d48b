"""The endpoint to be measured against: FastAPI that takes the same body, and does nothing.

``python -m benchmarks.load_empty PORT``, with the settings of uvicorn that ``clicktide serve`` has.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

__all__ = ["Body", "app"]

app = FastAPI()
_REPLY = b'{"probability":0.05}'


class Body(BaseModel):
    """What ``POST /v1/predict`` takes for one impression."""

    fields: dict[str, str | int | float | bool | list[str | int | float | bool | None] | None]
    impression_id: str | None = None
    timestamp: int | None = None
    counters: dict[str, float] | None = None


@app.post("/typed")
async def typed(body: Body) -> dict[str, float]:
    """As FastAPI's documentation has it: a pydantic model in, JSON out."""
    return {"probability": 0.05}


@app.post("/raw")
async def raw(request: Request) -> Response:
    """The least that FastAPI can do with a body: its bytes are read, and not looked at."""
    await request.body()
    return Response(_REPLY, media_type="application/json")


def main() -> None:
    """Serve it at a port of this machine."""
    options: dict[str, Any] = {
        "loop": "uvloop", "http": "httptools", "ws": "none", "access_log": False,
        "log_level": "warning", "server_header": False, "date_header": False,
    }  # fmt: skip
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **options)


if __name__ == "__main__":
    main()
