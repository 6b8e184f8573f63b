"""A client of the converter's HTTP API, with the method names that MY Network uses.

from mynetwork_converter import Client

with Client("http://my-network-converter-gateway.my-network-converter") as converter:
    job_id = converter.convert_file("in/a.mov", "out/a.mp4", "video_to_mp4")
    print(converter.get_job_status(job_id, wait=30)["status"])
"""

from mynetwork_converter.clients import AsyncClient, Client
from mynetwork_converter.listener import Event
from mynetwork_converter.protocol import (
    ContentOutput,
    ContentStatus,
    ConverterError,
    JobNotFound,
    JobStatus,
    Output,
    OutputFacts,
    OutputStatus,
    PlannedOutput,
    QueuedJob,
    Settings,
    Stats,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ContentOutput",
    "ContentStatus",
    "ConverterError",
    "Event",
    "JobNotFound",
    "JobStatus",
    "Output",
    "OutputFacts",
    "OutputStatus",
    "PlannedOutput",
    "QueuedJob",
    "Settings",
    "Stats",
]
