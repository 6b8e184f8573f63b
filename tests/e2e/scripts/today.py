"""The requests that MY Network sends today. Only the base URL and a token are new.

Runs in a pod: BASE_URL [TOKEN_FILE] as arguments. Writes every answer as one JSON object.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

SHARED, STORAGE = "/opt/my-network/shared", "/opt/my-network/storage"
REQUESTS = {
    "video": ("video_to_mp4", f"{SHARED}/input/big-buck-bunny.mov", f"{STORAGE}/today/bunny.mp4"),
    "audio": ("audio_to_mp3", f"{SHARED}/input/guitar.flac", f"{STORAGE}/today/guitar.mp3"),
    "image": ("image_resize", f"{SHARED}/input/hubble-deep-field.jpg", f"{STORAGE}/today/h.jpg"),
    "thumbnail": ("extract_thumbnail", f"{SHARED}/input/big-buck-bunny.mov", f"{STORAGE}/t.jpg"),
}
OPTIONS = {
    "video": {"quality": "medium", "resolution": "480p"},
    "audio": {"bitrate": "128k", "duration": "30"},
    "image": {"size": "300x300", "quality": 80},
}

base_url, *token_file = sys.argv[1:]
headers = {"Authorization": f"Bearer {Path(token_file[0]).read_text()}"} if token_file else {}
http = httpx2.Client(base_url=base_url, headers=headers, timeout=30)


def call(method: str, path: str, body: object = None) -> dict[str, Any]:
    """Status code and JSON of an answer."""
    response = http.request(method, f"/api/v1/converter{path}", json=body)
    return {"code": response.status_code, "json": response.json()}


def convert(body: object) -> dict[str, Any]:
    """The answer of a conversion that starts. Any other answer ends the program, and is shown."""
    answer = call("POST", "/convert", body)
    if answer["code"] != 200:
        sys.exit(f"POST /convert of {body}: {answer}")
    return answer


answers: dict[str, Any] = {"missing": call("POST", "/convert", {"output_file": "x.mp4"})}
started: dict[str, Any] = {}
for name, (kind, source, target) in REQUESTS.items():
    body: dict[str, Any] = {"input_file": source, "output_file": target, "conversion_type": kind}
    if name in OPTIONS:
        body["options"] = OPTIONS[name]
    started[name] = convert(body)
answers["started"] = started
answers["active"] = call("GET", "/active")
answers["stats"] = call("GET", "/stats")

ended = {}
deadline = time.monotonic() + 90
for name, answer in started.items():
    while True:
        status = call("GET", f"/status/{answer['json']['job_id']}")
        if status["json"]["status"] != "running" or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    ended[name] = status
answers["ended"] = ended
answers["unknown"] = call("GET", "/status/00000000-0000-4000-8000-000000000000")
answers["too_late"] = call("POST", f"/cancel/{started['video']['json']['job_id']}")
long: dict[str, Any] = {
    "input_file": f"{SHARED}/input/long.mp4",
    "output_file": f"{STORAGE}/today/long.mp4",
}
long |= {"conversion_type": "video_to_mp4", "options": {"resolution": "480p"}}
job = convert(long)["json"]["job_id"]
answers["cancel"] = call("POST", f"/cancel/{job}")
deadline = time.monotonic() + 60
while (status := call("GET", f"/status/{job}"))["json"]["status"] == "running":
    if time.monotonic() > deadline:
        break
    time.sleep(0.5)
answers["cancelled"] = status
print(json.dumps(answers))
