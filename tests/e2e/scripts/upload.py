"""An upload of a real video, as MY Network handles it: previews, then waiting for callbacks.

Runs in a pod: BASE_URL TOKEN_FILE RECEIVER_URL SECRET as arguments. Writes one JSON object.
"""

import base64
import json
import shutil
import sys
import time
from pathlib import Path

import httpx2

from mynetwork_converter import Client, callbacks

base_url, token_file, receiver, secret = sys.argv[1:]
upload = Path("/opt/my-network/storage/4711/my.holiday.mov")
upload.parent.mkdir(exist_ok=True)
shutil.copy("/opt/my-network/shared/input/big-buck-bunny.mov", upload)

with Client(base_url, token_file=Path(token_file)) as converter:
    first = converter.submit_content("4711", "video/quicktime", str(upload))
    again = converter.submit_content("4711", "video/quicktime", str(upload))
    jobs = {conversion["job_id"] for conversion in first["conversions"]}
    ended = [converter.get_job_status(job, wait=60) for job in jobs]
    content = converter.get_content("4711")
    other = converter.submit_content("4712", "application/pdf", str(upload))

deadline = time.monotonic() + 60
events: dict[str, object] = {}
while len(events) < len(jobs) and time.monotonic() < deadline:
    for message in httpx2.get(receiver).json():
        event = callbacks.verify(secret, message["headers"], base64.b64decode(message["body"]))
        events[event["data"]["name"]] = event
    time.sleep(0.5)
forged = "accepted"
try:
    callbacks.verify("guessed", message["headers"], base64.b64decode(message["body"]))
except callbacks.CallbackError:
    forged = "refused"
print(
    json.dumps(
        {
            "first": first,
            "again": again,
            "ended": ended,
            "content": content,
            "other": other,
            "events": events,
            "forged": forged,
        }
    )
)
