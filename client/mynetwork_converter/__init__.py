"""A client of the converter's HTTP API, with the method names that MY Network uses.

from mynetwork_converter import Client

with Client("http://my-network-converter-gateway.my-network-converter") as converter:
    job_id = converter.convert_file("in/a.mov", "out/a.mp4", "video_to_mp4")
    print(converter.get_job_status(job_id, wait=30)["status"])
"""

from mynetwork_converter.async_client import AsyncClient
from mynetwork_converter.client import Client
from mynetwork_converter.listener import Event
from mynetwork_converter.protocol import ConverterError
from mynetwork_converter.shapes import (
    AttemptStatus,
    ContentOutput,
    ContentStatus,
    ConversionDetails,
    ConversionPage,
    ConversionSummary,
    FailedRetried,
    JobNotFound,
    JobStatus,
    NamespaceShare,
    NotRetried,
    Output,
    OutputFacts,
    OutputStatus,
    PlannedOutput,
    QueuedJob,
    QueueStatus,
    Retried,
    RetryStarted,
    Settings,
    Stats,
)

__all__ = [
    "AsyncClient",
    "AttemptStatus",
    "Client",
    "ContentOutput",
    "ContentStatus",
    "ConversionDetails",
    "ConversionPage",
    "ConversionSummary",
    "ConverterError",
    "Event",
    "FailedRetried",
    "JobNotFound",
    "JobStatus",
    "NamespaceShare",
    "NotRetried",
    "Output",
    "OutputFacts",
    "OutputStatus",
    "PlannedOutput",
    "QueueStatus",
    "QueuedJob",
    "Retried",
    "RetryStarted",
    "Settings",
    "Stats",
]
