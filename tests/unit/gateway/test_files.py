"""Files over HTTP: signatures, ranges, paths, and which files a conversion has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import files
from converter_gateway.file_server.beneath import open_file, open_root
from converter_gateway.file_server.ranges import Part, is_range, part_of
from converter_gateway.file_signature import (
    VALID_SECONDS,
    FileRequest,
    is_proof,
    is_valid,
    mounted_folder,
    prove,
    read_secret,
    sign,
)
from converter_gateway.settings import GatewaySettings
from media_converter.contract import ConversionType
from media_converter.options import FORMATS
from tests.component.support.tools import conversion_job

SECRET = b"0123456789abcdef"
NOW = 1000.5
REQUEST = FileRequest("media", "tenants/media", "/out/a.mp4", "bytes=0-1", 1000 + VALID_SECONDS)
UID = "0f0e0d0c-0000-4000-8000-000000000001"


def test_a_signed_request_is_valid() -> None:
    assert is_valid(SECRET, REQUEST, sign(SECRET, REQUEST), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "other"},
        {"folder": ""},
        {"path": "/out/b.mp4"},
        {"byte_range": ""},
        {"byte_range": "bytes=0-2"},
        {"expires": REQUEST.expires + 1},
        # The same text, but another division into parts.
        {"namespace": "mediat", "folder": "enants/media"},
        {"path": "/out/a.mp4b", "byte_range": "ytes=0-1"},
    ],
)
def test_a_signature_is_for_one_request(change: dict[str, Any]) -> None:
    assert not is_valid(SECRET, REQUEST._replace(**change), sign(SECRET, REQUEST), NOW)


def test_a_signature_needs_the_secret_and_has_its_time() -> None:
    signature = sign(SECRET, REQUEST)
    assert not is_valid(SECRET + b"x", REQUEST, signature, NOW)
    for bad in ("", signature[:-1], signature.upper(), "é" * 64):
        assert not is_valid(SECRET, REQUEST, bad, NOW)
    assert is_valid(SECRET, REQUEST, signature, REQUEST.expires)
    assert not is_valid(SECRET, REQUEST, signature, REQUEST.expires + 0.1)
    late = REQUEST._replace(expires=10**9)
    assert not is_valid(SECRET, late, sign(SECRET, late), NOW)


def test_an_answer_proves_the_secret() -> None:
    proof = prove(SECRET, "signature", "10")
    assert is_proof(SECRET, "signature", "10", proof)
    assert not is_proof(SECRET, "signature", "11", proof)
    assert not is_proof(SECRET, "another", "10", proof)
    assert not is_proof(b"another secret!!", "signature", "10", proof)
    # What the API sends is no proof.
    assert not is_proof(SECRET, sign(SECRET, REQUEST), "", sign(SECRET, REQUEST))


def test_the_folder_is_the_one_that_the_kubelet_mounts() -> None:
    assert mounted_folder(".") == ""
    assert mounted_folder("tenants/media") == "tenants/media"


@pytest.mark.parametrize(
    "text",
    ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "tenants/{namespace}", "$(POD_NAMESPACE)"],
)
def test_a_folder_that_the_kubelet_reads_in_another_way_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="FILES_FOLDER is"):
        mounted_folder(text)


def test_the_secret_of_a_namespace_replaces_the_common_one(tmp_path: Path) -> None:
    assert read_secret(tmp_path, "media") is None
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    assert read_secret(tmp_path, "media") == SECRET
    (tmp_path / "secret.media").write_bytes(b"f" * 32)
    assert (read_secret(tmp_path, "media"), read_secret(tmp_path, "b")) == (b"f" * 32, SECRET)
    (tmp_path / "secret.media").write_bytes(b"short")
    assert read_secret(tmp_path, "media") is None


@pytest.mark.parametrize(
    ("text", "size", "part"),
    [
        ("", 10, Part(0, 10)),
        ("bytes=0-", 10, Part(0, 10)),
        ("bytes=0-0", 10, Part(0, 1)),
        ("bytes=2-5", 10, Part(2, 6)),
        ("bytes=2-99", 10, Part(2, 10)),
        ("bytes=-3", 10, Part(7, 10)),
        ("bytes=-99", 10, Part(0, 10)),
        ("bytes=10-", 10, None),
        ("bytes=5-2", 10, None),
        ("bytes=-0", 10, None),
        ("bytes=0-", 0, None),
        ("bytes=-", 10, Part(0, 10)),
        ("bytes=0-1,3-4", 10, Part(0, 10)),
        ("lines=0-1", 10, Part(0, 10)),
        ("bytes=0-1\n", 10, Part(0, 10)),
        ("", 0, Part(0, 0)),
    ],
)
def test_ranges(text: str, size: int, part: Part | None) -> None:
    assert part_of(text, size) == part
    ignored = text in ("", "bytes=-", "bytes=0-1,3-4", "lines=0-1", "bytes=0-1\n")
    assert is_range(text) is not ignored


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    served = tmp_path / "served"
    (served / "out").mkdir(parents=True)
    (served / "out" / "a.mp4").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("outside")
    (served / "link").symlink_to(served / "out")
    (served / "out" / "file-link").symlink_to("a.mp4")
    (served / "out" / "outside").symlink_to(tmp_path / "secret")
    os.mkfifo(served / "out" / "pipe")
    fd = open_root(str(served))
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", ["out/a.mp4", "/out/a.mp4"])
def test_a_file_beneath_the_root(root: int, path: str) -> None:
    file = open_file(root, path)
    assert (os.pread(file.fd, 99, 0), file.size) == (b"0123456789", 10)
    os.close(file.fd)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "out", "out/", "../secret", "out/../../secret", "./out/a.mp4", "out/b"),
        *("link/a.mp4", "out/file-link", "out/outside", "out/pipe", "out/a.mp4/b", "out/a\0.mp4"),
        *("x" * 5000, "a/" * 3000 + "b"),
    ],
)
def test_nothing_else_is_opened(root: int, path: str) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(FileNotFoundError):
        open_file(root, path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


FACTS = {"sha256": "a" * 64, "container": "mp4"}
STATUS = {"phase": "Succeeded", "reason": "Completed", "message": "", "conditions": []}


def conversion(status: dict[str, Any], **spec: Any) -> Any:
    body = conversion_job("a", **spec)
    body["metadata"] |= {
        "uid": UID,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    body["status"] = STATUS | status
    return parse_conversion(body)


def test_the_file_of_a_single_output() -> None:
    made = conversion({"output": FACTS, "outputSize": 10})
    assert files.output_file(made, 0) == files.OutputFile(
        "/output/a.mp4", 10, "a" * 64, "video/mp4"
    )
    assert files.output_file(made, 1) is None
    assert files.output_file(made, -1) is None


@pytest.mark.parametrize(
    "status",
    [{}, {"phase": "Failed"}, {"phase": "Running"}, {"output": None}, {"outputSize": None}],
)
def test_what_was_not_made_has_no_file(status: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"output": FACTS, "outputSize": 10} if status else {}
    told = {key: value for key, value in (facts | status).items() if value is not None}
    assert files.output_file(conversion(told), 0) is None


def test_the_files_of_several_outputs() -> None:
    outputs = [
        {"conversionType": "extract_thumbnail", "outputFile": "o/a.jpg"},
        {"conversionType": "audio_to_mp3", "outputFile": "o/a.mp3", "optional": True},
        {"conversionType": "video_to_mp4", "outputFile": "o/a.mp4"},
    ]
    states = [
        FACTS | {"state": "Succeeded", "size": 3, "container": "jpeg"},
        {"state": "Skipped", "reason": "NoAudioStream"},
        FACTS | {"state": "Failed", "size": 3, "reason": "VerificationFailed"},
    ]
    spec: dict[str, Any] = {"conversionType": None, "outputFile": None, "outputs": outputs}
    body = conversion_job("a", **spec)
    body["spec"] = {key: value for key, value in body["spec"].items() if value is not None}
    body["metadata"] |= {
        "uid": UID,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    body["status"] = STATUS | {"phase": "Failed", "outputs": states}
    several = parse_conversion(body)
    found = files.output_file(several, 0)
    # What is complete keeps its name, even if the conversion fails later.
    assert found == files.OutputFile("/o/a.jpg", 3, "a" * 64, "image/jpeg")
    assert files.output_file(several, 1) is None
    assert files.output_file(several, 2) is None
    assert files.output_file(several, 3) is None


def test_a_dry_run_has_no_file() -> None:
    assert files.output_file(conversion({"output": FACTS, "outputSize": 1}, dryRun=True), 0) is None


def test_every_format_has_a_content_type() -> None:
    containers = {container for kind in ConversionType for container in FORMATS[kind].values()}
    assert {c for c in containers if files._CONTENT_TYPES.get(c) is None} == set()
    assert not {t for t in files._CONTENT_TYPES.values() if "html" in t or "svg" in t}


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mp4", "inline; filename=\"a.mp4\"; filename*=UTF-8''a.mp4"),
        (
            'a"; x="\r\n.mp4',
            "inline; filename=\"a__ x____.mp4\"; filename*=UTF-8''a%22%3B%20x%3D%22%0D%0A.mp4",
        ),
        ("é.mp4", "inline; filename=\"_.mp4\"; filename*=UTF-8''%C3%A9.mp4"),
    ],
)
def test_the_name_of_a_download_is_one_header(name: str, header: str) -> None:
    file = files.OutputFile(f"/out/{name}", 1, "a" * 64, "video/mp4")
    assert file.disposition == header
    assert replace(file, content_type="application/json").disposition.startswith("attachment; ")


def test_the_path_of_a_log() -> None:
    made = conversion({})
    assert files.log_path(made, 3) == f"/.conversion-logs/{UID}/3.log"
    strange = replace(made, key=replace(made.key, uid="../../etc"))
    assert files.log_path(strange, 3) is None


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        ("", True),
        ("http://my-network-converter-files.{namespace}.svc:8001", True),
        ("http://files-{namespace}.example.com", True),
        ("http://127.0.0.1:8001", True),
        ("https://{namespace}.svc", False),
        ("http://{namespace}.svc/path", False),
        ("http://u@{namespace}.svc", False),
        ("http://{other}.svc", False),
    ],
)
def test_the_address_of_the_file_servers(address: str, valid: bool) -> None:
    if valid:
        assert GatewaySettings(gateway_file_server=address).gateway_file_server == address
    else:
        with pytest.raises(ValueError, match="HOST"):
            GatewaySettings(gateway_file_server=address)
