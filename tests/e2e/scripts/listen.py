"""Listens to the stream events of one conversion, then again from several event ids.

Runs in a pod: BASE_URL TOKEN_FILE as arguments. Writes one JSON object.
"""

import json
import sys
from pathlib import Path

from mynetwork_converter import Client

base_url, token_file = sys.argv[1:]
with Client(base_url, token_file=Path(token_file)) as converter:
    job = converter.convert_file(
        "/opt/my-network/shared/input/long.mp4",
        "/opt/my-network/storage/listen.mp4",
        "video_to_mp4",
        # Long enough for several progress events, which come every ten seconds.
        {"duration": 180, "resolution": "480p", "quality": "high"},
    )
    heard = [(event.kind, event.id) for event in converter.events(job)]
    first = next(identifier for _, identifier in heard if identifier)
    later = [(event.kind, event.id) for event in converter.events(job, last_event_id=first)]
    future = str(int(heard[-1][1]) + 10**9)
    # A stream from an unknown id starts over. It ends with the end of the conversion.
    anew = {
        name: [event.kind for event in converter.events(job, last_event_id=identifier)]
        for name, identifier in (("past", "1"), ("future", future), ("garbage", "x"))
    }
print(
    json.dumps(
        {
            "job": job,
            "heard": heard,
            "expected": [entry for entry in heard if entry[1] and int(entry[1]) > int(first)],
            "later": later,
            "anew": anew,
        }
    )
)
