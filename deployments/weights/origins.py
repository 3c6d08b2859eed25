"""Where a file comes from: the Hub, or a node that has it already.

Decides how what the Hub refuses is told. The Hub is asked by `huggingface_hub`'s own code (its token, proxies, redirects and retries), but
what has come of a file stays in one place when a download breaks off: `huggingface_hub` itself begins each file anew in another process.
"""

import errno
import os
import shutil
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import BinaryIO, Protocol

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is there, and loaded lazily
from pydantic import ValidationError

from cluster.catalogue.weights import File, Manifest, Source, wanted
from deployments.weights.cache import READ_BYTES, Cache, WeightsError

#: Longest wait for the Hub to list a repository, and for a node to say its next word.
HUB_S = 30.0
NODE_S = 20.0
#: What a disk says that takes no more.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
#: The Hub hands larger files out by another protocol only.
MOST_PLAIN_BYTES = constants.MAX_HTTP_DOWNLOAD_SIZE


class HubUnreachable(WeightsError):
    """The Hub does not answer on this node; another node may have another way out, or the weights."""


class NotYet(Exception):
    """The node has not got the file itself so far."""


class NodeUnreachable(Exception):
    """The node does not answer, or broke off."""


class Origin(Protocol):
    """Whence files come."""

    def bring(self, file: File, out: BinaryIO, at: int) -> None:
        """Appends what is missing of a file.

        Args:
            file: which one.
            out: what has come so far, at its end.
            at: bytes that have.

        Raises:
            WeightsError: it cannot be had here.
            NotYet, NodeUnreachable: nor now.
        """


def resolve(source: Source, now_s: float, endpoint: str | None = None) -> Manifest:
    """Returns a revision as it is at the Hub, and the files of it that an engine reads.

    Raises:
        WeightsError: there is none, or this node may not have it.
        HubUnreachable: the Hub does not answer.
    """
    try:
        info = HfApi(endpoint=endpoint).model_info(source.repository, revision=source.revision, files_metadata=True, timeout=HUB_S)
        listed = [
            File(path=one.rfilename, size_bytes=one.size or 0, digest=one.lfs.sha256 if one.lfs else one.blob_id or "")
            for one in info.siblings or ()
        ]
        files = wanted(listed)
        if files and info.sha:  # anybody may list a gated repository; whether this node may have its files is known before it is chosen
            largest = max(files, key=lambda file: file.size_bytes)
            url = hf_hub_url(source.repository, largest.path, revision=info.sha, endpoint=endpoint)
            get_hf_file_metadata(url, timeout=HUB_S, endpoint=endpoint)
        manifest = Manifest(repository=source.repository, revision=source.revision, commit=info.sha or "", resolved_s=now_s, files=files)
    except ValidationError as error:
        raise WeightsError(f"{source}: the Hub's list of files cannot be used ({error.errors()[0]['msg']}).") from error
    except (OSError, httpx2.HTTPError, HFValidationError) as error:
        raise told(error, source.repository, source.revision) from error
    if not files:
        raise WeightsError(f"{source} has no file that an engine reads. Is it a model?")
    return manifest


class FromHub:
    """The Hub itself."""

    def __init__(self, cache: Cache, manifest: Manifest, endpoint: str | None = None) -> None:
        self._cache = cache
        self._manifest = manifest
        self._endpoint = endpoint

    def bring(self, file: File, out: BinaryIO, at: int) -> None:
        """See `Origin`."""
        repository, commit = self._manifest.repository, self._manifest.commit
        url = hf_hub_url(repository, file.path, revision=commit, endpoint=self._endpoint)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}  # or sizes would be those of something compressed
        try:
            http_get(url, out, resume_size=at, headers=headers, expected_size=file.size_bytes)
        except (OSError, httpx2.HTTPError) as error:
            raise told(error, repository, self._manifest.revision, file.path) from error

    def bring_large(self, file: File) -> None:
        """A file that is too large for plain HTTP, straight into the cache, under a lock that `huggingface_hub` takes itself."""
        repository, commit = self._manifest.repository, self._manifest.commit
        try:
            hf_hub_download(repository, file.path, revision=commit, cache_dir=self._cache.root, endpoint=self._endpoint)
        except (OSError, httpx2.HTTPError) as error:
            raise told(error, repository, self._manifest.revision, file.path) from error


class FromNode:
    """Another node's `deployments.weights.server`. No proxy stands between nodes, whatever the environment says of the way out."""

    def __init__(self, address: str, key: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._authorization = f"Bearer {key}"

    def bring(self, file: File, out: BinaryIO, at: int) -> None:
        """See `Origin`."""
        if at == file.size_bytes:
            return
        connection = HTTPConnection(self._host, self._port, timeout=NODE_S)
        try:
            connection.request("GET", f"/{file.digest}", headers={"authorization": self._authorization, "range": f"bytes={at}-"})
            with connection.getresponse() as answer:
                self._take(answer, out)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise told(error, file.path, "") from error
            raise NodeUnreachable(type(error).__name__) from error
        finally:
            connection.close()

    def _take(self, answer: HTTPResponse, out: BinaryIO) -> None:
        if answer.status == 404:
            raise NotYet
        if answer.status not in (200, 206):
            raise WeightsError(f"The node at {self._host}:{self._port} answered {answer.status}. Is its HERD_SECRET another one?")
        if answer.status == 200:
            out.truncate(0)
        shutil.copyfileobj(answer, out, READ_BYTES)


def told(error: Exception, repository: str, revision: str, path: str | None = None) -> WeightsError:
    """Tells a refusal of the Hub, the network or the disk, as a sentence with the way out. No header and no token is ever in it."""
    what = repository if path is None else f"{path} of {repository}"
    match error:
        case HfHubHTTPError():
            return _refused(error, repository, revision, what)
        case OfflineModeIsEnabled():
            return HubUnreachable(f"{what}: HF_HUB_OFFLINE is set on this node. Unset it for the pull, or pull from nodes that have it.")
        case httpx2.HTTPError() | OSError(errno=None):
            return HubUnreachable(
                f"{what}: the Hub ({constants.ENDPOINT}) cannot be reached or broke off ({type(error).__name__}). All parts stay: "
                "`herd pull` goes on from there. HTTPS_PROXY and HF_ENDPOINT in the environment of the node's Ray say where to go."
            )
        case _:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).partition("\n")[0]
            return WeightsError(f"{what} could not be stored ({why}). All parts that have come stay: `herd pull` goes on from there.")


def _refused(error: HfHubHTTPError, repository: str, revision: str, what: str) -> WeightsError:
    """Returns the Hub's answer, once it has come."""
    page, status, token = f"{constants.ENDPOINT}/{repository}", error.response.status_code, get_token()
    if isinstance(error, GatedRepoError):
        said = "its token has no access to it" if token else "it has no token"
        sentence = (
            f"{repository} is gated, and on this node {said}. Accept its licence at {page}, and set HF_TOKEN in the environment of the "
            "nodes' Ray, or run `hf auth login` on the node."
        )
    elif isinstance(error, RepositoryNotFoundError):
        hint = "its token may not see it" if token else "a token is needed (HF_TOKEN in the environment of the nodes' Ray)"
        sentence = f"The Hub has no repository {repository}, or it is private and {hint}. Check `checkpoint`, and {page}."
    elif isinstance(error, RevisionNotFoundError):
        sentence = f"{repository} has no revision {revision}. Its branches, tags and commits are at {page}/commits/main."
    elif status == 429 or status >= 500:
        return HubUnreachable(f"The Hub ({constants.ENDPOINT}) cannot give {what} now (it answers {status}). `herd pull` goes on later.")
    else:
        sentence = f"The Hub does not let this node have {what} ({status}). Check HF_TOKEN in the environment of its Ray."
    return WeightsError(sentence)
